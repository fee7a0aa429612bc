//! The network that the bench pretends: who has which address, and where routes lead.
//!
//! Addresses are of RFC 1918, RFC 6598 and RFC 5737, destinations all over the rest.

use std::net::Ipv4Addr;
use std::sync::Arc;

use dataplane::api::{Outer, Prefix};
use dataplane::route::{Gateway, Routes};
use protocol::mppe::{SessionKey, StartKey, Strength};

/// Interfaces' indices.
pub const ACCESS: u32 = 1;
pub const CORE: u32 = 2;
const LOCAL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const MTU: u32 = 1500;
/// The MAC address of both interfaces.
pub const OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// A tunnel and what is at its other end. Numbers go from 0 to 65,535.
#[derive(Debug, Clone, Copy)]
pub struct Subscriber {
    number: u16,
}

impl Subscriber {
    pub const fn new(number: u16) -> Self {
        Self { number }
    }

    /// What its control connection agreed on. Each has an address and a Call ID of its own.
    pub fn outer(self) -> Outer {
        Outer {
            local: LOCAL,
            peer: Ipv4Addr::from_bits(0x6440_0000 | u32::from(self.number)),
            own_call_id: self.number,
            peer_call_id: self.number ^ 0x5555,
            peer_window: 64,
        }
    }

    /// Its address inside the tunnel.
    pub fn inner(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(0x0A00_0000 | u32::from(self.number))
    }

    /// The keys that we receive and send with.
    pub fn keys(self) -> (SessionKey, SessionKey) {
        let [high, low] = self.number.to_be_bytes();
        let key = |direction| {
            let octets = std::array::from_fn(|at| direction ^ if at % 2 == 0 { high } else { low });
            SessionKey::initial(&StartKey::new(&octets, Strength::Bits128))
        };
        (key(1), key(2))
    }
}

/// The worker that has a tunnel: Call IDs are dealt to workers in turn.
pub fn owner(number: u16, workers: usize) -> usize {
    usize::from(number) % workers
}

/// Destinations in the core network and the routes that lead there.
#[derive(Debug, Clone)]
pub struct Core {
    pub routes: Arc<Routes>,
    pub destinations: Arc<[Ipv4Addr]>,
}

impl Core {
    /// `count` prefixes of 24 bits all over the address space behind the core port's router, and one
    /// route to the subscribers' own addresses behind the access port's.
    pub fn new(count: u32) -> Self {
        let access = gateway(ACCESS);
        let core = gateway(CORE);
        let prefix = |number: u32| {
            // An odd factor permutes all prefixes of 24 bits from 16.0.0.0 to 79.255.255.0.
            let place = number.wrapping_mul(0x9E37_79B1) % (1 << 22);
            Prefix { address: Ipv4Addr::from_bits(0x1000_0000 + (place << 8)), length: 24 }
        };
        let peers = Prefix { address: Ipv4Addr::new(100, 64, 0, 0), length: 10 };
        let routes = (0..count).map(|number| (prefix(number), core)).chain([(peers, access)]);
        Self {
            routes: Routes::fixed(routes),
            destinations: (0..count)
                .map(|number| Ipv4Addr::from_bits(prefix(number).address.to_bits() | 80))
                .collect(),
        }
    }
}

fn gateway(ifindex: u32) -> Gateway {
    let [.., low] = ifindex.to_be_bytes();
    Gateway {
        ifindex,
        source_mac: OURS,
        mtu: MTU,
        address: Ipv4Addr::new(192, 0, 2, low + 1),
        mac: [2, 0, 0, 0, 1, low],
    }
}
