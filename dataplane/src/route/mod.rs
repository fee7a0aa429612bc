//! The kernel's routes, neighbours, addresses and links, of IPv4 and IPv6, mirrored for the workers,
//! so that BIRD, FRR and `ip route` work as usual.
//!
//! Decides as a router does (RFC 1812 §5.2.4: longest match; metrics break ties), over the local
//! table and main, or for subscribers' packets another table or that of a VRF. Never waits, never
//! asks the kernel on the path of a packet, and looks into no other table: what is in none of these is
//! the kernel's to decide, as is what policy rules may send another way.
//!
//! | module | what |
//! |---|---|
//! | `mirror` | the thread that follows the kernel by netlink |
//! | `dump` | asking the kernel for all there is, beside that thread |
//! | `message` | netlink's messages as changes |
//! | `next_hop` | those of next hops that are objects of their own |
//! | `meanings` | what routes mean, each meaning once |
//! | `rules` | which packets policy rules keep from the workers |
//! | `rib` | all that the kernel told, and what it means |
//! | `tables` | the routes of each prefix, and which of them counts |
//! | `trie` | longest prefix match that readers share with the writer |
//! | `snapshot` | what a worker sees: immutable, swapped whole |
//! | `fixed` | routes that are given instead |

mod dump;
mod fixed;
mod meanings;
mod message;
mod mirror;
mod next_hop;
mod rib;
mod rules;
mod snapshot;
mod tables;
mod trie;

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

pub use fixed::Gateway;
pub(crate) use mirror::policy_rules;
pub use mirror::{Mirror, MirrorError};
pub(crate) use snapshot::Interfaces;
pub use snapshot::{Interface, Snapshot};
pub(crate) use trie::{Address, SPREAD_BITS};

/// How the kernel comes to route subscribers' packets.
#[derive(Debug, Clone, Default)]
pub struct Routing {
    /// The name of the interface by which it gets them: what policy rules may name.
    pub tun: String,
    /// The number of the table that they are routed by; `None`: main.
    pub table: Option<u32>,
}

/// Where a packet to an address goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Out of one of our ports, to a neighbour whose MAC address is known.
    Via {
        /// The port's interface.
        ifindex: u32,
        /// The interface's MAC address.
        source_mac: [u8; 6],
        /// The neighbour's MAC address.
        next_hop_mac: [u8; 6],
        /// Largest IP packet that may leave, bytes: the interface's or the route's own.
        mtu: u32,
    },
    /// To this machine: an address of ours, or a broadcast or multicast that the kernel judges.
    Local,
    /// Out of one of our ports, to a neighbour that the kernel has yet to find.
    Unresolved {
        /// The port's interface.
        ifindex: u32,
    },
    /// Out of an interface that is no port of ours, or in a way that only the kernel knows.
    Kernel {
        /// The interface; 0 if the kernel did not tell.
        ifindex: u32,
    },
    /// Nowhere.
    Unreachable(Unreachable),
}

/// Why a packet goes nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unreachable {
    /// No route: network unreachable, code 0 (RFC 1812 §5.2.7.1).
    Network,
    /// A route says so: host unreachable, code 1.
    Host,
    /// A route forbids it: communication administratively prohibited, code 13.
    Prohibited,
    /// A route swallows it: no answer.
    Blackhole,
}

/// The routes that the workers read: always whole, never waited for.
#[derive(Debug, Default)]
pub struct Routes(ArcSwap<Snapshot>);

impl Routes {
    /// The newest snapshot. Hold it for a burst, not longer: what it names stays in memory.
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.0.load()
    }

    fn publish(&self, snapshot: Snapshot) {
        self.0.store(Arc::new(snapshot));
    }
}

#[cfg(test)]
pub(crate) mod tests;
