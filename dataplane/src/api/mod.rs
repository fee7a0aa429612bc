//! All that the control plane sees of the data plane: commands in, events out, counters.
//!
//! Commands and events cross by bounded rings, one pair per worker; nothing else is shared but
//! counters. A tunnel knows no server or client side.
//!
//! | module | what |
//! |---|---|
//! | [`config`] | what [`DataPlane::start`] is told, and what it chose |
//! | [`limits`] | rates of a tunnel |
//! | [`filter`] | which packets of a subscriber pass |
//! | [`counters`] | reasons to drop, counters of tunnels, workers and ports |
//! | [`handle`] | open, close and command tunnels |
//! | [`events`] | what the workers say |
//! | [`forward`] | who forwards a tunnel's packets, and devices of its own |

use std::net::{Ipv4Addr, Ipv6Addr};

pub use protocol::ipv6::Ipv6Prefix;
pub use protocol::mppe::{Cipher, Mode, SessionKey};
pub use protocol::ppp::Framing;
pub use protocol::ppp::multilink::{Format, Multilink, Receiving, Sending};

pub use crate::assembly::DataPlane;

pub mod config;
pub mod counters;
pub mod events;
pub mod filter;
pub mod forward;
pub mod handle;
pub mod limits;

pub use config::{Config, Interface, Report, Role, StartError, Tun};
pub use counters::{DropReason, Drops, Totals, TunnelCounters};
pub use events::Events;
pub use filter::{Rule, RuleError, Rules};
pub use forward::{Bridge, Device, Forward, Tap};
pub use handle::{Full, Handle, OpenError};
pub use limits::{Burst, Limit, Limits};

/// Names one tunnel for as long as it lives. A slot is used again, a generation is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TunnelId {
    /// Place in the tunnel tables.
    pub slot: u32,
    /// Tells this tunnel from the ones that had the slot before.
    pub generation: u32,
}

/// The outer side of a tunnel: what PPTP's control connection agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outer {
    /// Our address: the control connection's local one, source of all that we send (never the
    /// kernel's choice).
    pub local: Ipv4Addr,
    /// The peer's address.
    pub peer: Ipv4Addr,
    /// Our Call ID: in the key of packets that we receive (RFC 2637 §4.1).
    pub own_call_id: u16,
    /// The peer's Call ID: in the key of packets that we send.
    pub peer_call_id: u16,
    /// Packets that the peer is ready to buffer: we acknowledge at least every half of it.
    pub peer_window: u16,
}

/// What protects the data packets of a tunnel.
#[derive(Debug, Clone)]
pub enum Encryption {
    /// Plain data passes, encrypted data is dropped.
    None,
    /// MPPE. Plain data is dropped and counted, both ways.
    Mppe {
        /// Initial key and mode of what the peer sends.
        receive: Cipher,
        /// Initial key and mode of what we send.
        send: Cipher,
    },
}

impl Encryption {
    /// Stateless MPPE both ways, with these initial keys.
    #[must_use]
    pub const fn stateless(receive: SessionKey, send: SessionKey) -> Self {
        let mode = Mode::Stateless;
        Self::Mppe { receive: Cipher { key: receive, mode }, send: Cipher { key: send, mode } }
    }
}

/// An IPv4 prefix. Host bits are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix {
    /// Network address.
    pub address: Ipv4Addr,
    /// Length in bits, 0 to 32.
    pub length: u8,
}

impl Prefix {
    /// The prefix of a single address.
    #[must_use]
    pub const fn host(address: Ipv4Addr) -> Self {
        Self { address, length: 32 }
    }

    /// Whether `address` lies in it.
    #[must_use]
    pub const fn contains(self, address: Ipv4Addr) -> bool {
        (address.to_bits() ^ self.address.to_bits()) & self.mask() == 0
    }

    /// The network mask as a number. A length beyond 32 counts as 32.
    #[must_use]
    pub const fn mask(self) -> u32 {
        match self.length {
            0 => 0,
            1..=31 => u32::MAX << (32 - self.length),
            _ => u32::MAX,
        }
    }
}

/// The inner side of a tunnel: whose packets pass.
#[derive(Debug, Clone)]
pub struct Network {
    /// What lies behind the tunnel: these sources may come out of it, and packets to these
    /// destinations go into it. The longest prefix wins over all tunnels.
    pub prefixes: Vec<Prefix>,
    /// Largest inner packet that we send, bytes. A larger one is fragmented or answered.
    pub mtu: u16,
    /// Our own inner address: source of the ICMP errors about packets that are too large.
    pub local: Ipv4Addr,
    /// Whether the largest TCP segment that either side announces is lowered to what the tunnel
    /// carries whole (RFC 6691).
    pub clamp_mss: bool,
}

/// The inner side of a tunnel as far as it has IPv6.
#[derive(Debug, Clone)]
pub struct Ipv6Network {
    /// As in [`Network`].
    pub prefixes: Vec<Ipv6Prefix>,
    /// Our own address in the tunnel: source of the ICMPv6 errors about packets that are too large.
    pub local: Ipv6Addr,
    /// The peer's address on the link itself. What it says to its router is an
    /// [`Event::Packet`], and nothing of it is forwarded.
    pub peer: Ipv6Addr,
}

/// What the control plane tells a worker. Commands for one tunnel take effect in the order in
/// which they were given; those for a tunnel that was closed are ignored.
#[derive(Debug)]
pub enum Command {
    /// Send this PPP frame, in the clear. It starts with its two-octet protocol number; address
    /// and control are the worker's business.
    SendControl {
        /// Through this tunnel.
        tunnel: TunnelId,
        /// Protocol number and what follows it.
        frame: Box<[u8]>,
    },
    /// What the peer said of itself after the tunnel was opened: whoever calls opens the tunnel
    /// before it knows the peer's Call ID, because the peer's first frame races its reply.
    SetPeer {
        /// The tunnel.
        tunnel: TunnelId,
        /// The peer's Call ID, as in [`Outer`].
        peer_call_id: u16,
        /// The peer's window, as in [`Outer`].
        peer_window: u16,
    },
    /// LCP agreed on this framing; frames of LCP itself never use it. While the network is open,
    /// the worker answers LCP's echoes, and keeps both them and replies to itself.
    SetFraming {
        /// The tunnel.
        tunnel: TunnelId,
        /// The framing of all that is sent from now on.
        framing: Framing,
        /// Our magic number in echoes, zero for none (RFC 1661 §5.8).
        magic: u32,
    },
    /// LCP agreed on these fragments: their numbers begin anew, and those that wait are dropped. A
    /// tunnel begins without.
    SetMultilink {
        /// The tunnel.
        tunnel: TunnelId,
        /// What may be sent and received from now on.
        multilink: Multilink,
    },
    /// The encryption of data packets from now on, with fresh keys and coherency counts. Until
    /// this comes first no data passes.
    SetEncryption {
        /// The tunnel.
        tunnel: TunnelId,
        /// The new encryption.
        encryption: Encryption,
    },
    /// Who forwards the tunnel's packets from the next [`Self::SetNetwork`] on. Until this comes,
    /// [`Forward::Fast`].
    SetForward {
        /// The tunnel.
        tunnel: TunnelId,
        /// Who.
        forward: Forward,
    },
    /// BCP is open (or, with `None`, no longer): Ethernet frames pass while the network is up.
    SetBridge {
        /// The tunnel.
        tunnel: TunnelId,
        /// What passes.
        bridge: Option<Bridge>,
    },
    /// The peer sent a CCP Reset-Request: the next packet of stateful MPPE is flushed (RFC 3078
    /// §8.2).
    Flush {
        /// The tunnel.
        tunnel: TunnelId,
    },
    /// IPCP is open (or, with `None`, no longer): data passes (or stops).
    SetNetwork {
        /// The tunnel.
        tunnel: TunnelId,
        /// Whose packets pass.
        network: Option<Network>,
    },
    /// IPV6CP is open (or, with `None`, no longer): IPv6 passes (or stops) while the network is
    /// open.
    SetIpv6 {
        /// The tunnel.
        tunnel: TunnelId,
        /// Whose packets pass.
        ipv6: Option<Ipv6Network>,
    },
    /// Send this IP packet to the peer, as if it had come from the kernel.
    SendPacket {
        /// Through this tunnel.
        tunnel: TunnelId,
        /// From its IP header on.
        packet: Box<[u8]>,
    },
    /// How much the tunnel may carry from now on. A tunnel begins without limits.
    SetLimits {
        /// The tunnel.
        tunnel: TunnelId,
        /// The new limits, both ways.
        limits: Limits,
    },
    /// Which of the subscriber's packets pass from now on. A tunnel begins without rules.
    SetFilters {
        /// The tunnel.
        tunnel: TunnelId,
        /// For what comes from the subscriber, after its source address was checked.
        incoming: Rules,
        /// For what goes to the subscriber, before it waits for its turn.
        outgoing: Rules,
    },
}

impl Command {
    /// The tunnel that the command is for.
    #[must_use]
    pub const fn tunnel(&self) -> TunnelId {
        match *self {
            Self::SendControl { tunnel, .. }
            | Self::SetPeer { tunnel, .. }
            | Self::SetFraming { tunnel, .. }
            | Self::SetMultilink { tunnel, .. }
            | Self::SetEncryption { tunnel, .. }
            | Self::SetForward { tunnel, .. }
            | Self::SetBridge { tunnel, .. }
            | Self::Flush { tunnel }
            | Self::SetNetwork { tunnel, .. }
            | Self::SetIpv6 { tunnel, .. }
            | Self::SendPacket { tunnel, .. }
            | Self::SetLimits { tunnel, .. }
            | Self::SetFilters { tunnel, .. } => tunnel,
        }
    }
}

/// What a worker tells the control plane.
#[derive(Debug)]
pub enum Event {
    /// A PPP frame that is not data arrived. It starts with its two-octet protocol number,
    /// whatever compression the peer used.
    Control {
        /// From this tunnel.
        tunnel: TunnelId,
        /// Protocol number and what follows it.
        frame: Box<[u8]>,
    },
    /// An IP packet of the peer's for its router arrived: a Router Solicitation, an echo, DHCPv6,
    /// or DHCP over IPv4. Their rate is limited.
    Packet {
        /// From this tunnel.
        tunnel: TunnelId,
        /// From its IP header on.
        packet: Box<[u8]>,
    },
    /// A packet of stateful MPPE could not be read: the peer is to be sent a CCP Reset-Request
    /// (RFC 3078 §8.2). Comes again, a few times a second at most, until packets can be read.
    OutOfStep {
        /// The tunnel.
        tunnel: TunnelId,
    },
}
