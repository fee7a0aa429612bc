//! What is in an Accounting-Request: RFC 2866 §5, RFC 2867 §4, RFC 2869 §5.1 to §5.3.
//!
//! Requests are laid out once, when the event happens, with its own time, and never change after
//! that; Acct-Delay-Time (RFC 2866 §5.2) is whoever sends them to add.

use std::net::Ipv4Addr;

use protocol::ipv6::Ipv6Prefix;
use protocol::ppp::InterfaceId;
use protocol::radius::Attributes;
use protocol::radius::dictionary as names;

use super::{Status, Usage};
use crate::daemon::ending::TerminateCause;

/// Who vouched for the user: Acct-Authentic, RFC 2866 §5.6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentic {
    /// A RADIUS server.
    Radius,
    /// Our own users.
    Local,
}

/// What is told of a session besides what its Access-Request had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts<'a> {
    /// Who vouched for the user.
    pub authentic: Authentic,
    /// The subscriber's address in the tunnel.
    pub address: Ipv4Addr,
    /// The prefix behind it.
    pub netmask: Option<Ipv4Addr>,
    /// The IPv6 prefix of its link (RFC 3162 §2.3).
    pub ipv6_prefix: Option<Ipv6Prefix>,
    /// The IPv6 prefix that is delegated to it (RFC 4818 §3).
    pub delegated_ipv6_prefix: Option<Ipv6Prefix>,
    /// The subscriber's identifier in IPv6 (RFC 3162 §2.2).
    pub interface_id: Option<InterfaceId>,
    /// Every Class of the Access-Accept in order (RFC 2865 §5.25).
    pub class: &'a [Vec<u8>],
}

impl Facts<'_> {
    /// What all requests of a session have in common, given what its Access-Request had: the
    /// user, the NAS, the tunnel, the Acct-Session-Id.
    #[must_use]
    pub fn attributes(&self, request: &Attributes) -> Attributes {
        let mut attributes = request.clone();
        attributes
            .integer(
                names::ACCT_AUTHENTIC,
                match self.authentic {
                    Authentic::Radius => 1,
                    Authentic::Local => 2,
                },
            )
            .address(names::FRAMED_IP_ADDRESS, self.address);
        if let Some(netmask) = self.netmask {
            attributes.address(names::FRAMED_IP_NETMASK, netmask);
        }
        for (definition, prefix) in [
            (names::FRAMED_IPV6_PREFIX, self.ipv6_prefix),
            (names::DELEGATED_IPV6_PREFIX, self.delegated_ipv6_prefix),
        ] {
            if let Some(prefix) = prefix {
                attributes.octets(definition, &octets(prefix));
            }
        }
        if let Some(id) = self.interface_id {
            attributes.octets(names::FRAMED_INTERFACE_ID, &id.bits().to_be_bytes());
        }
        for class in self.class {
            attributes.octets(names::CLASS, class);
        }
        attributes
    }
}

/// A prefix as RADIUS has it: a reserved octet, the length, and the octets that are not zero.
fn octets(prefix: Ipv6Prefix) -> Vec<u8> {
    let significant = usize::from(prefix.length().div_ceil(8));
    let address = prefix.address().octets();
    [&[0, prefix.length()], address.get(..significant).unwrap_or(&address)].concat()
}

/// Lays out requests.
#[derive(Debug, Clone)]
pub struct Records {
    nas: Attributes,
    /// The Acct-Session-Id of what concerns all sessions.
    id: String,
}

impl Records {
    /// `nas` says who we are; `id` is told from all other starts of the daemon.
    #[must_use]
    pub const fn new(nas: Attributes, id: String) -> Self {
        Self { nas, id }
    }

    /// A session began.
    #[must_use]
    pub fn start(&self, session: &[u8], at: u64) -> Vec<u8> {
        let mut attributes = Attributes::new();
        head(&mut attributes, Status::Start, at);
        join(session, &attributes)
    }

    /// A session goes on.
    #[must_use]
    pub fn interim(&self, session: &[u8], usage: Usage, at: u64) -> Vec<u8> {
        let mut attributes = Attributes::new();
        head(&mut attributes, Status::Interim, at);
        figures(&mut attributes, usage);
        join(session, &attributes)
    }

    /// A session ended.
    #[must_use]
    pub fn stop(&self, session: &[u8], usage: Usage, cause: TerminateCause, at: u64) -> Vec<u8> {
        let mut attributes = Attributes::new();
        head(&mut attributes, Status::Stop, at);
        figures(&mut attributes, usage);
        attributes.integer(names::ACCT_TERMINATE_CAUSE, cause.code());
        join(session, &attributes)
    }

    /// The daemon begins or ends to account.
    #[must_use]
    pub fn service(&self, status: Status, at: u64) -> Vec<u8> {
        let mut attributes = self.nas.clone();
        // RFC 2866 §4.1: an Accounting-Request must have one.
        attributes.text(names::ACCT_SESSION_ID, &self.id);
        head(&mut attributes, status, at);
        attributes.as_bytes().map(<[u8]>::to_vec).unwrap_or_default()
    }
}

fn head(attributes: &mut Attributes, status: Status, at: u64) {
    attributes
        .integer(names::ACCT_STATUS_TYPE, status.code())
        .integer(names::EVENT_TIMESTAMP, u32::try_from(at).unwrap_or(u32::MAX));
}

fn figures(attributes: &mut Attributes, usage: Usage) {
    let Usage { seconds, volume } = usage;
    let (input, input_gigawords) = split(volume.input_octets);
    let (output, output_gigawords) = split(volume.output_octets);
    attributes
        .integer(names::ACCT_SESSION_TIME, u32::try_from(seconds).unwrap_or(u32::MAX))
        .integer(names::ACCT_INPUT_OCTETS, input)
        .integer(names::ACCT_INPUT_GIGAWORDS, input_gigawords)
        .integer(names::ACCT_INPUT_PACKETS, split(volume.input_packets).0)
        .integer(names::ACCT_OUTPUT_OCTETS, output)
        .integer(names::ACCT_OUTPUT_GIGAWORDS, output_gigawords)
        .integer(names::ACCT_OUTPUT_PACKETS, split(volume.output_packets).0);
}

/// The lower and the upper 32 bits (RFC 2869 §5.1: how often the lower ones went around).
fn split(value: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = value.to_be_bytes();
    (u32::from_be_bytes([e, f, g, h]), u32::from_be_bytes([a, b, c, d]))
}

fn join(session: &[u8], attributes: &Attributes) -> Vec<u8> {
    // A handful of numbers always fits.
    [session, attributes.as_bytes().unwrap_or_default()].concat()
}
