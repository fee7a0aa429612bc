//! What the workers see of the kernel's routes at one moment. Immutable; a lookup takes no lock and
//! makes no system call (RFC 1812 §5.2.4).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::rules::Ruled;
use super::trie::{Address, NONE, Trie};
use super::{Decision, Unreachable};

/// Routes, neighbours and interfaces at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Of subscribers' packets.
    pub(super) prefixes: Tries,
    /// Of packets to tunnels' peers: the main table's. The same, where subscribers have no table of
    /// their own.
    pub(super) peers: Tries,
    pub(super) targets: Arc<[Target]>,
    pub(super) neighbours: Arc<Neighbours>,
    pub(super) interfaces: Arc<Interfaces>,
    pub(super) ruled: Arc<Ruled>,
    pub(super) version: u32,
}

/// Targets by prefix.
#[derive(Debug, Clone, Default)]
pub(super) struct Tries {
    pub(super) ipv4: Trie<Ipv4Addr>,
    pub(super) ipv6: Trie<Ipv6Addr>,
    /// How long the prefixes are, for those who have prefixes of their own to compare.
    pub(super) ipv4_lengths: Trie<Ipv4Addr>,
    pub(super) ipv6_lengths: Trie<Ipv6Addr>,
}

/// MAC addresses by interface and address.
pub(super) type Neighbours = HashMap<(u32, IpAddr), [u8; 6], RandomState>;

/// Interfaces by index.
pub(crate) type Interfaces = HashMap<u32, Interface>;

/// What is known of an interface.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Interface {
    /// MAC address; none if it is not an Ethernet interface.
    pub mac: Option<[u8; 6]>,
    /// Largest IP packet, bytes.
    pub mtu: u32,
    /// Whether the interface is up, by the administrator's will.
    pub up: bool,
    /// Whether it has a carrier and works.
    pub running: bool,
    /// Whether a bond, if it is a member of one, sends by it.
    pub active: bool,
    /// Addresses, each family's in the kernel's order.
    pub addresses: Vec<IpAddr>,
}

/// What a route means, as far as it can be said before the destination is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// The same for all destinations.
    Decided(Decision),
    /// The destination itself is the neighbour.
    OnLink { ifindex: u32, source_mac: [u8; 6], mtu: u32 },
    /// One of several, by the destination, so that a flow stays on its way. Each with the sum of
    /// weights up to and including it.
    Several(Box<[(u32, Target)]>),
}

impl Snapshot {
    /// Where a subscriber's packet to this address goes.
    #[inline]
    pub fn lookup(&self, destination: Ipv4Addr) -> Decision {
        self.lookup_in(&self.prefixes.ipv4, destination)
    }

    /// Where a subscriber's packet of IPv6 to this address goes.
    pub fn lookup_ipv6(&self, destination: Ipv6Addr) -> Decision {
        self.lookup_in(&self.prefixes.ipv6, destination)
    }

    /// Where a packet to a tunnel's peer goes.
    pub fn lookup_peer(&self, peer: Ipv4Addr) -> Decision {
        self.lookup_in(&self.peers.ipv4, peer)
    }

    #[inline]
    fn lookup_in<A: Address>(&self, prefixes: &Trie<A>, destination: A) -> Decision {
        match prefixes.lookup(destination) {
            NONE => Decision::Unreachable(Unreachable::Network),
            target => self.decide(&self.targets[target as usize], destination),
        }
    }

    /// How long the prefix of the route is that a subscriber's packet to this address takes.
    pub(crate) fn length(&self, destination: impl Into<IpAddr>) -> Option<u8> {
        let Tries { ipv4_lengths, ipv6_lengths, .. } = &self.prefixes;
        let length = match destination.into() {
            IpAddr::V4(destination) => ipv4_lengths.lookup(destination),
            IpAddr::V6(destination) => ipv6_lengths.lookup(destination),
        };
        u8::try_from(length).ok()
    }

    /// Whether policy rules may send a subscriber's packet another way than its destination says.
    #[inline]
    pub(crate) fn is_ruled(
        &self,
        source: impl Into<IpAddr>,
        destination: impl Into<IpAddr>,
    ) -> bool {
        self.ruled.has_subscriber(source.into(), destination.into())
    }

    /// Whether it takes a packet's source to say that.
    pub(crate) fn asks_for_sources(&self) -> bool {
        self.ruled.asks_for_sources()
    }

    /// The same of a packet from an address of ours to a tunnel's peer.
    pub(crate) fn is_ruled_peer(&self, local: Ipv4Addr, peer: Ipv4Addr) -> bool {
        self.ruled.has_peer(local.into(), peer.into())
    }

    /// Has the processor fetch what lookups of these destinations read.
    pub(crate) fn expect(&self, destinations: impl Iterator<Item = Ipv4Addr> + Clone) {
        self.prefixes.ipv4.expect(destinations);
    }

    /// An interface, by its index.
    pub fn interface(&self, ifindex: u32) -> Option<&Interface> {
        self.interfaces.get(&ifindex)
    }

    /// All of them: the same ones as long as none has changed.
    pub(crate) const fn interfaces(&self) -> &Arc<Interfaces> {
        &self.interfaces
    }

    /// Differs from that of every other snapshot of years.
    pub fn version(&self) -> u32 {
        self.version
    }

    fn decide<A: Address>(&self, target: &Target, destination: A) -> Decision {
        match target {
            Target::Decided(decision) => *decision,
            &Target::OnLink { ifindex, source_mac, mtu } => {
                match self.neighbours.get(&(ifindex, destination.into())) {
                    Some(&next_hop_mac) => Decision::Via { ifindex, source_mac, next_hop_mac, mtu },
                    None => Decision::Unresolved { ifindex },
                }
            }
            Target::Several(targets) => {
                let total = targets.last().map_or(1, |(sum, _)| *sum);
                let point = destination.spread() % total.max(1);
                let at = targets.partition_point(|(sum, _)| *sum <= point);
                match targets.get(at) {
                    Some((_, target)) => self.decide(target, destination),
                    None => Decision::Unreachable(Unreachable::Network),
                }
            }
        }
    }
}
