//! What we are to the host at the other end of a link, beyond moving its packets: its IPv6 router,
//! its DHCPv6 server, and the DHCP server that it asks about IPv4.
//!
//! Implements RFC 4861 §6.2 (when a router advertises), RFC 8415 and RFC 2131 §4.3.5, and answers
//! ICMPv6 echoes to the link's own address (RFC 4443 §4.2). Takes and makes whole IP packets. Never
//! gives what its owner did not, answers no more than it is asked, and keeps nothing that grows.

mod advertisement;
mod dhcp;
mod dhcpv6;
mod packet;

use std::collections::VecDeque;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::ipv6::Ipv6Prefix;
use crate::machine::{Machine, Output};
use crate::ppp::InterfaceId;
use crate::time::Instant;
use dhcpv6::Lease;
use packet::{Ipv6, Ipv6Payload};

/// All nodes, and all routers, of the link (RFC 4291 §2.7.1).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xFF02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xFF02, 0, 0, 0, 0, 0, 0, 2);
/// All DHCPv6 servers and relay agents of the link (RFC 8415 §7.1).
const ALL_DHCP: Ipv6Addr = Ipv6Addr::new(0xFF02, 0, 0, 0, 0, 0, 1, 2);

/// ICMPv6 types (RFC 4443 §4).
const ECHO_REQUEST: u8 = 128;
const ECHO_REPLY: u8 = 129;

/// Advertisements that begin a link's life, and the time between them (RFC 4861 §10).
const INITIAL_ADVERTISEMENTS: u8 = 3;
const INITIAL_INTERVAL: Duration = Duration::from_secs(16);
/// Advertisements after that come this often and up to a quarter later (RFC 4861 §6.2.1:
/// MaxRtrAdvInterval is 600 s at most).
const INTERVAL_SECONDS: u64 = 450;
/// Solicited ones come no closer together than this (RFC 4861 §10, MIN_DELAY_BETWEEN_RAS).
const SOLICITED_INTERVAL: Duration = Duration::from_secs(3);

/// What a host is told over IPv6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Our end of the link.
    pub local: InterfaceId,
    /// The host's.
    pub remote: InterfaceId,
    /// The prefix of the link, of which the host makes its addresses.
    pub prefix: Option<Ipv6Prefix>,
    /// The prefix that is delegated to it, for what lies behind it.
    pub delegated: Option<Ipv6Prefix>,
    /// Name servers, [`Self::MAX_DNS`] at most.
    pub dns: Vec<Ipv6Addr>,
    /// Domain to search.
    pub domain: Option<Domain>,
    /// Largest packet on the link, bytes, at least 1280 (RFC 8200 §5).
    pub mtu: u16,
    /// The server's identifier in DHCPv6, the same for all links and after each start (RFC 8415
    /// §11).
    pub duid: Arc<[u8]>,
    /// How long the prefixes hold.
    pub lifetimes: Lifetimes,
}

impl Settings {
    /// Name servers that a host is told at most.
    pub const MAX_DNS: usize = 3;
}

/// How long prefixes hold, seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// Addresses of them begin no new conversations after this.
    pub preferred: u32,
    /// And carry none after this.
    pub valid: u32,
}

impl Default for Lifetimes {
    /// A host that lost its link without a word forgets the prefix after an hour; it renews well
    /// before.
    fn default() -> Self {
        Self { preferred: 1800, valid: 3600 }
    }
}

/// What a host is told that asks by DHCP over IPv4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ipv4Settings {
    /// Our end of the link.
    pub local: Ipv4Addr,
    /// The host's.
    pub remote: Ipv4Addr,
    /// Name servers.
    pub dns: [Option<Ipv4Addr>; 2],
    /// NetBIOS name servers.
    pub wins: [Option<Ipv4Addr>; 2],
    /// Domain of the connection.
    pub domain: Option<Domain>,
    /// Networks that are reached through the link, with their lengths: at most
    /// [`Self::MAX_ROUTES`].
    pub routes: Vec<(Ipv4Addr, u8)>,
}

impl Ipv4Settings {
    /// Routes that fit a packet in both of their options.
    pub const MAX_ROUTES: usize = 50;
}

/// A domain name: labels of letters, digits and hyphens (RFC 1123 §2.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Domain(String);

impl Domain {
    /// The name, without a dot at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as DNS writes it (RFC 1035 §3.1).
    fn labels(&self) -> Vec<u8> {
        let mut octets = Vec::with_capacity(self.0.len() + 2);
        for label in self.0.split('.') {
            octets.push(u8::try_from(label.len()).unwrap_or(0));
            octets.extend(label.as_bytes());
        }
        octets.push(0);
        octets
    }
}

impl FromStr for Domain {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.strip_suffix('.').unwrap_or(text);
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
        };
        if name.len() <= 253 && name.split('.').all(is_label) {
            Ok(Self(name.to_owned()))
        } else {
            Err(format!("`{text}` is no domain name: write example.com"))
        }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the owner tells a router.
#[derive(Debug)]
pub enum Input<'a> {
    /// IPv4 is up with these settings, or they changed; `None`: it is down.
    Ipv4(Option<Ipv4Settings>),
    /// IPv6 is up with these settings, or they changed; `None`: it is down.
    Ipv6(Option<Settings>),
    /// A packet of the host's that is for its router.
    Packet(&'a [u8]),
    /// The deadline passed that the last wait named. Harmless when early.
    Deadline,
}

/// What a router tells its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The host took the delegated prefix.
    Delegated,
    /// It gave it back.
    Released,
}

/// The router's end of one link. Plain data.
#[derive(Debug, Clone, Default)]
pub struct Router {
    ipv4: Option<Ipv4Settings>,
    ipv6: Option<Settings>,
    server: dhcpv6::Server,
    /// Advertisements sent since the link came up, as far as they are counted.
    advertised: u8,
    next: Option<Instant>,
    /// When the last advertisement was sent.
    last: Option<Instant>,
    out: VecDeque<Output<Box<[u8]>, Event>>,
}

impl Router {
    fn set_ipv6(&mut self, settings: Option<Settings>, now: Instant) {
        if self.ipv6 == settings {
            return;
        }
        self.advertised = 0;
        self.next = settings.is_some().then_some(now);
        if settings.is_none() {
            self.server = dhcpv6::Server::default();
        }
        self.ipv6 = settings;
        self.tick(now);
    }

    fn tick(&mut self, now: Instant) {
        if self.next.is_some_and(|at| at <= now) {
            self.advertise(now);
        }
    }

    fn advertise(&mut self, now: Instant) {
        let Some(settings) = &self.ipv6 else { return };
        let mut message = advertisement::emit(settings);
        let advertisement = packet::icmpv6(settings.local.link_local(), ALL_NODES, &mut message);
        self.advertised = self.advertised.saturating_add(1);
        // Links that came up together do not go on in step.
        let spread = settings.local.bits() % (INTERVAL_SECONDS / 4);
        let interval = if self.advertised < INITIAL_ADVERTISEMENTS {
            INITIAL_INTERVAL
        } else {
            Duration::from_secs(INTERVAL_SECONDS + spread)
        };
        self.next = Some(now + interval);
        self.last = Some(now);
        self.out.push_back(Output::Send(advertisement));
    }

    /// A solicitation is answered at once, unless the last advertisement is too fresh: then by one
    /// that comes earlier than it would have (RFC 4861 §6.2.6).
    fn solicited(&mut self, now: Instant) {
        match self.last.map(|last| last + SOLICITED_INTERVAL) {
            Some(earliest) if earliest > now => {
                self.next = self.next.map(|next| next.min(earliest));
            }
            _ => self.advertise(now),
        }
    }

    fn packet(&mut self, packet: &[u8], now: Instant) {
        match packet.first().map(|octet| octet >> 4) {
            Some(4) => self.ipv4_packet(packet),
            Some(6) => self.ipv6_packet(packet, now),
            _ => {}
        }
    }

    fn ipv4_packet(&mut self, packet: &[u8]) {
        let Some(settings) = &self.ipv4 else { return };
        let Some((source, dhcp::SERVER_PORT, message)) = packet::parse_udp_ipv4(packet) else {
            return;
        };
        if source == settings.remote
            && let Some(answer) = dhcp::answer(message, settings)
        {
            let from = (settings.local, dhcp::SERVER_PORT);
            let to = (settings.remote, dhcp::CLIENT_PORT);
            self.out.push_back(Output::Send(packet::udp_ipv4(from, to, &answer)));
        }
    }

    fn ipv6_packet(&mut self, packet: &[u8], now: Instant) {
        let Some(settings) = &self.ipv6 else { return };
        let Some(Ipv6 { source, destination, hop_limit, payload }) = packet::parse_ipv6(packet)
        else {
            return;
        };
        let local = settings.local.link_local();
        let host = settings.remote.link_local();
        // Nothing on the link is anybody else's.
        if source != host && !source.is_unspecified() {
            return;
        }
        let is_ours = destination == local;
        match payload {
            Ipv6Payload::Icmp(message) if is_ours || destination == ALL_ROUTERS => {
                if advertisement::is_solicitation(message, source, hop_limit) {
                    self.solicited(now);
                } else if message.starts_with(&[ECHO_REQUEST, 0]) && source == host && is_ours {
                    let mut reply = message.to_vec();
                    reply[0] = ECHO_REPLY;
                    reply[2..4].fill(0);
                    self.out.push_back(Output::Send(packet::icmpv6(local, host, &mut reply)));
                }
            }
            Ipv6Payload::Udp(dhcpv6::SERVER_PORT, message)
                if source == host && (is_ours || destination == ALL_DHCP) =>
            {
                let Some((answer, lease)) = self.server.answer(message, settings) else { return };
                let (from, to) = ((local, dhcpv6::SERVER_PORT), (host, dhcpv6::CLIENT_PORT));
                self.out.push_back(Output::Send(packet::udp_ipv6(from, to, &answer)));
                let event = lease.map(|lease| match lease {
                    Lease::Taken => Event::Delegated,
                    Lease::Released => Event::Released,
                });
                self.out.extend(event.map(Output::Event));
            }
            _ => {}
        }
    }
}

impl Machine for Router {
    type Input<'a> = Input<'a>;
    type Send = Box<[u8]>;
    type Event = Event;

    fn handle(&mut self, input: Input<'_>, now: Instant) {
        match input {
            Input::Ipv4(settings) => self.ipv4 = settings,
            Input::Ipv6(settings) => self.set_ipv6(settings, now),
            Input::Packet(packet) => self.packet(packet, now),
            Input::Deadline => self.tick(now),
        }
    }

    fn poll_output(&mut self) -> Output<Box<[u8]>, Event> {
        self.out.pop_front().unwrap_or(Output::Wait(self.next))
    }
}

#[cfg(test)]
mod tests;
