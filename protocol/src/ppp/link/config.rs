//! What the owner of a link decides before it starts.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::ppp::auth::{Credential, Method};
use crate::ppp::ccp;
use crate::ppp::ipv6cp::InterfaceId;

/// Which end of the link we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The peer dialled in; we authenticate it and assign its address.
    Server,
    /// We dialled; the peer authenticates us and assigns our address.
    Client,
}

impl Side {
    /// The other end.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Server => Self::Client,
            Self::Client => Self::Server,
        }
    }
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Server => "server",
            Self::Client => "client",
        })
    }
}

/// Our role, with what only that role needs.
#[derive(Debug, Clone)]
pub enum Role {
    /// Authenticator.
    Server {
        /// Our name in CHAP's Challenge.
        name: Vec<u8>,
        /// The methods that we accept. The strongest is demanded first, and where encryption is
        /// required only those that give keys.
        methods: Vec<Method>,
        /// Time between Challenges to a peer that was accepted, by which CHAP makes sure that it
        /// still is the same (RFC 1994 §2). `None`: never.
        challenge_interval: Option<Duration>,
    },
    /// Peer that is authenticated.
    Client {
        /// User name, `DOMAIN\` allowed.
        user: Vec<u8>,
        /// Its password.
        credential: Credential,
        /// The methods that we follow; where encryption is required, those that give keys.
        methods: Vec<Method>,
    },
}

/// Counters and timers of the option negotiation (RFC 1661 §4.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// Time between retransmissions.
    pub restart: Duration,
    /// Configure-Requests (and Challenges, and Responses) sent without an answer before giving up.
    pub max_configure: u32,
    /// Terminate-Requests sent without an answer before giving up.
    pub max_terminate: u32,
    /// Configure-Naks sent without an Ack between them before Rejecting instead.
    pub max_failure: u32,
}

impl Default for Timers {
    fn default() -> Self {
        // RFC 1661 §4.6's own defaults.
        Self {
            restart: Duration::from_secs(3),
            max_configure: 10,
            max_terminate: 2,
            max_failure: 5,
        }
    }
}

/// All that a link has to know when it starts.
#[derive(Debug, Clone)]
pub struct Config {
    /// Our role.
    pub role: Role,
    /// Largest PPP information field that we ask the peer to send, octets, 128 to 65535.
    pub mru: u16,
    /// Largest packet that we put together from fragments, octets of its information field, 512 to
    /// 65535 (RFC 1990 §5.1.1). `None`: neither receive nor send fragments.
    pub mrru: Option<u16>,
    /// Largest inner packet that we want to send in one piece, octets.
    pub mtu: u16,
    /// MTU of the path that carries the GRE packets, octets.
    pub outer_mtu: u16,
    /// Whether a client bridges Ethernet frames too; for a server's peers a verdict says so.
    pub bridge: bool,
    /// Encryption; a verdict may tighten it.
    pub encryption: ccp::Policy,
    /// Ask the peer to leave FF 03 away and to shorten protocol numbers.
    pub compress_header: bool,
    /// After this much silence of the peer one LCP echo a second; after twice as much the link is
    /// dead. `None`: never.
    pub keepalive: Option<Duration>,
    /// Time from the first Configure-Request (or from a renegotiation) to an open network.
    pub login_timeout: Duration,
    /// Counters and timers.
    pub timers: Timers,
}

impl Config {
    /// The defaults for a role: MRU and MTU 1450, encryption required with 128 bit, keepalive
    /// 30 s, 60 s for a login.
    #[must_use]
    pub fn new(role: Role) -> Self {
        Self {
            role,
            mru: 1450,
            mrru: None,
            mtu: 1450,
            outer_mtu: 1500,
            bridge: false,
            encryption: ccp::Policy::default(),
            compress_header: true,
            keepalive: Some(Duration::from_secs(30)),
            login_timeout: Duration::from_secs(60),
            timers: Timers::default(),
        }
    }

    /// Which end we are.
    #[must_use]
    pub const fn side(&self) -> Side {
        match self.role {
            Role::Server { .. } => Side::Server,
            Role::Client { .. } => Side::Client,
        }
    }
}

/// What the server gives to the user that logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// Our address inside the tunnel.
    pub local: Ipv4Addr,
    /// The peer's address inside the tunnel. `None`: the peer chooses, and
    /// [`Event::AddressWanted`](super::Event::AddressWanted) asks for the decision.
    pub remote: Option<Ipv4Addr>,
    /// Name servers, primary and secondary (RFC 1877 §1.1, §1.3).
    pub dns: [Option<Ipv4Addr>; 2],
    /// NetBIOS name servers, primary and secondary (RFC 1877 §1.2, §1.4).
    pub wins: [Option<Ipv4Addr>; 2],
    /// Whether there is IPv6 beside IPv4.
    pub ipv6: Ipv6,
    /// Whether Ethernet frames are bridged beside it.
    pub bridge: bool,
}

/// Whether a link has IPv6 too, by IPV6CP (RFC 5072).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ipv6 {
    /// It has not: a peer that speaks of it gets a Protocol-Reject.
    #[default]
    No,
    /// With any identifier that the peer likes.
    AnyIdentifier,
    /// The peer has to take this identifier.
    Identifier(InterfaceId),
}
