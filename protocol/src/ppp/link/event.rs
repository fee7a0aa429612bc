//! What the owner tells a link, and what a link tells its owner.

use std::fmt;
use std::net::Ipv4Addr;

use crate::mppe::Cipher;
use crate::ppp::auth::{Accepted, Attempt, Refusal};
use crate::ppp::ccp;
use crate::ppp::frame::Framing;
use crate::ppp::ipv6cp::InterfaceId;
use crate::ppp::multilink::Multilink;
use crate::time::Instant;

use super::config::Addresses;
use super::reason::Reason;

/// What the owner tells a link.
#[derive(Debug)]
pub enum Input<'a> {
    /// The tunnel is there: begin.
    Open,
    /// A PPP frame came, in any form of its header. Control protocols and data that the data plane
    /// did not expect; other data is not for the link.
    Frame(&'a [u8]),
    /// The deadline passed that the last [`Wait`](crate::machine::Output::Wait) named. Harmless
    /// when early.
    Deadline,
    /// The answer to [`Event::Authenticate`]. Ignored if its exchange is over.
    Verdict {
        /// Identifier of the [`Attempt`].
        identifier: u8,
        /// The decision.
        verdict: Verdict,
    },
    /// The answer to [`Event::AddressWanted`]: what the peer wanted, or what it has to take instead.
    /// Ignored if nothing was asked.
    Assign(Ipv4Addr),
    /// The newest packet of the peer came then: the peer lived. Needed no earlier than with
    /// [`Self::Deadline`], before it.
    Heard(Instant),
    /// The data plane lost a packet of the peer's in stateful mode, and discards what comes until
    /// the peer starts again (RFC 3078 §8.2). To be repeated while that lasts, as often as it is to
    /// be asked.
    OutOfStep,
    /// End the link in good order.
    Close(Reason),
    /// The tunnel is gone: the link ends at once, for this reason unless it was ending for another
    /// already.
    Lost(Reason),
}

/// The decision about an [`Attempt`].
#[derive(Debug, Clone)]
pub enum Verdict {
    /// The user may come in.
    Accept {
        /// From [`Attempt::verify`] or from RADIUS.
        accepted: Accepted,
        /// What IPCP assigns.
        addresses: Addresses,
        /// Encryption for this user in place of the configured one.
        encryption: Option<ccp::Policy>,
        /// `M=` of the Success packet.
        message: String,
    },
    /// The user may not.
    Reject {
        /// `E=` of the Failure packet.
        refusal: Refusal,
        /// `M=` of the Failure packet.
        message: String,
        /// MS-CHAP's `C=` with `R=1`: the challenge of another try in the same exchange, 8 octets
        /// for MS-CHAPv1, 16 for MS-CHAPv2. `None`, or too many tries: the link ends.
        retry: Option<Vec<u8>>,
    },
}

/// A step of a login that was reached, for its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// LCP is open.
    LcpUp,
    /// The peer (server) or we (client) proved the password.
    Authenticated,
    /// CCP is open: encryption is agreed.
    CcpUp,
    /// IPCP is open.
    IpcpUp,
    /// IPV6CP is open.
    Ipv6cpUp,
    /// BCP is open.
    BcpUp,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LcpUp => "lcp-up",
            Self::Authenticated => "authenticated",
            Self::CcpUp => "ccp-up",
            Self::IpcpUp => "ipcp-up",
            Self::Ipv6cpUp => "ipv6cp-up",
            Self::BcpUp => "bcp-up",
        })
    }
}

/// What protects data packets.
#[derive(Clone, PartialEq, Eq)]
pub enum Encryption {
    /// Nothing.
    None,
    /// MPPE in both directions.
    Mppe {
        /// Of what the peer sends.
        receive: Cipher,
        /// Of what we send.
        send: Cipher,
    },
}

impl fmt::Display for Encryption {
    /// RouterOS's word for it: `MPPE128 stateless`, `none`; `rx/tx` where they differ.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Mppe { receive, send } => {
                let (rx, tx) = (receive.to_string(), send.to_string());
                if rx == tx { f.write_str(&rx) } else { write!(f, "{rx}/{tx}") }
            }
        }
    }
}

impl fmt::Debug for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encryption({self})")
    }
}

/// What IPCP agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Our address.
    pub local: Ipv4Addr,
    /// The peer's address; 0.0.0.0 if it does not tell (clients only).
    pub remote: Ipv4Addr,
    /// Name servers: given to the peer (server) or by the peer (client).
    pub dns: [Option<Ipv4Addr>; 2],
    /// NetBIOS name servers, likewise.
    pub wins: [Option<Ipv4Addr>; 2],
    /// Largest inner packet to send, octets: the least of the configured MTU, the peer's MRU − 4
    /// (MPPE's header and the inner protocol field) and the outer MTU − 44 (IP, GRE, PPP). With
    /// multilink, what both ends reassemble − 4, but 1500 at most if the configured MTU is no more.
    pub mtu: u16,
}

/// What BCP agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bridging {
    /// Longest Ethernet frame to send, octets without its check sequence: what fits the peer's MRU,
    /// or its MRRU where there is multilink. Frames cannot be fragmented otherwise.
    pub largest: u16,
    /// Whether the peer takes frames with VLAN tags.
    pub tagged: bool,
}

/// What IPV6CP agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identifiers {
    /// Ours.
    pub local: InterfaceId,
    /// The peer's.
    pub remote: InterfaceId,
}

/// What a link tells its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A step of the login was reached, now.
    Step(Step),
    /// LCP is open: send by this framing from now on.
    FramingAgreed {
        /// What the peer asked us to leave away.
        framing: Framing,
        /// Largest information field that the peer takes, octets.
        peer_mru: u16,
    },
    /// Which fragments may be sent and received from now on: numbers begin anew (RFC 1990 §4.1).
    /// Comes with [`Self::FramingAgreed`] where there is multilink, or was.
    MultilinkAgreed(Multilink),
    /// To be answered with [`Input::Verdict`].
    Authenticate(Attempt),
    /// The peer, which may choose its address, wants this one; or any, with `None`. To be answered
    /// with [`Input::Assign`]: until then IPCP waits.
    AddressWanted(Option<Ipv4Addr>),
    /// The encryption of data packets from now on; before this none may pass.
    Encryption(Encryption),
    /// The peer lost a packet of ours in stateful mode: the next one has to be flushed
    /// (RFC 3078 §8.2).
    Resynchronise,
    /// Data may pass.
    NetworkUp(Network),
    /// Data may pass no longer: after [`Event::NetworkUp`] only. A renegotiation may bring it
    /// back, with new keys.
    NetworkDown,
    /// BCP is open: as long as [`Event::NetworkUp`] holds too, Ethernet frames may pass.
    BridgeUp(Bridging),
    /// BCP is open no longer. IP passes as before.
    BridgeDown,
    /// IPV6CP is open: as long as [`Event::NetworkUp`] holds too, IPv6 may pass.
    Ipv6Up(Identifiers),
    /// IPV6CP is open no longer. IPv4 passes as before.
    Ipv6Down,
    /// The link has ended; it takes no more inputs.
    Down(Reason),
}
