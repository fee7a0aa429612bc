//! All that the control plane sees of the data plane: commands in, events out, counters.
//!
//! Commands and events cross by bounded rings, one pair per worker; nothing else is shared but
//! counters. A tunnel knows no server or client side.

use std::net::Ipv4Addr;

pub use protocol::mppe::SessionKey;

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

/// How we may shorten the PPP header of what we send, as LCP agreed (RFC 1661 §6.5, §6.6).
/// Whatever was agreed, every form is accepted from the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Framing {
    /// Leave FF 03 away.
    pub compress_address_control: bool,
    /// Send protocol numbers below 0x100 in one octet.
    pub compress_protocol: bool,
}

/// What protects the data packets of a tunnel.
#[derive(Debug, Clone)]
pub enum Encryption {
    /// Plain data passes, encrypted data is dropped.
    None,
    /// Stateless MPPE. Plain data is dropped and counted, both ways.
    Mppe {
        /// Initial key of what the peer sends.
        receive: SessionKey,
        /// Initial key of what we send.
        send: SessionKey,
    },
}

/// An IPv4 prefix. Host bits are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix {
    /// Network address.
    pub address: Ipv4Addr,
    /// Length in bits, 0 to 32.
    pub length: u8,
}

/// The inner side of a tunnel: whose packets pass.
#[derive(Debug, Clone)]
pub struct Network {
    /// What lies behind the tunnel: these sources may come out of it, and packets to these
    /// destinations go into it. The longest prefix wins over all tunnels.
    pub prefixes: Vec<Prefix>,
    /// Largest inner packet that we send, bytes.
    pub mtu: u16,
}

/// What the control plane tells a worker.
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
    /// LCP agreed on this framing; frames of LCP itself never use it.
    SetFraming {
        /// The tunnel.
        tunnel: TunnelId,
        /// The framing of all that is sent from now on.
        framing: Framing,
    },
    /// The encryption of data packets from now on. Until this comes no data passes.
    SetEncryption {
        /// The tunnel.
        tunnel: TunnelId,
        /// The new encryption.
        encryption: Encryption,
    },
    /// IPCP is open (or, with `None`, no longer): data passes (or stops).
    SetNetwork {
        /// The tunnel.
        tunnel: TunnelId,
        /// Whose packets pass.
        network: Option<Network>,
    },
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
}
