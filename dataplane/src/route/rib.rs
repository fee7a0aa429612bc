//! All that the kernel told about routes, neighbours and interfaces, and what it means for a packet:
//! the writer's side of the snapshots. Next hops are resolved once for all routes that share them.
//! Never talks to the kernel.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::meanings::{Meanings, Way};
use super::message::{Change, Gateway, Hop, Link, Route, Table};
use super::rules::{Rule, Ruled};
use super::snapshot::{Interface, Neighbours, Snapshot, Target};
use super::tables::{Tables, Told};
use super::{Decision, Routing};

/// The routing information base.
#[derive(Debug, Default)]
pub(super) struct Rib {
    /// Interfaces of our ports: the only ones that packets leave by without the kernel.
    ports: HashSet<u32>,
    routing: Routing,
    /// Policy rules, in no order.
    rules: Vec<Rule>,
    /// What they come to.
    ruled: Arc<Ruled>,
    /// The routes of this machine: the local and the main table.
    own: Tables,
    /// The routes of subscribers' packets: the local table and another than main.
    chosen: Option<Tables>,
    meanings: Meanings,
    /// Shared with the snapshots and copied when it changes under one.
    interfaces: Arc<HashMap<u32, Interface>>,
    neighbours: Arc<Neighbours>,
    /// Addresses that routes gave their packets, ever since all was asked for: few.
    sources: HashSet<IpAddr>,
    /// Those of which the kernel would make sure if it sent there.
    stale_neighbours: BTreeSet<(u32, IpAddr)>,
}

/// Versions of snapshots so far, of all mirrors: what was learned by one is never taken for another's.
static VERSIONS: AtomicU32 = AtomicU32::new(0);

impl Rib {
    pub(super) fn new(ports: HashSet<u32>, routing: Routing) -> Self {
        let chosen = routing.table.map(|_| Tables::default());
        Self { ports, routing, chosen, ..Self::default() }
    }

    pub(super) fn set_ports(&mut self, ports: HashSet<u32>) {
        self.ports = ports;
    }

    pub(super) fn ports(&self) -> &HashSet<u32> {
        &self.ports
    }

    pub(super) fn apply(&mut self, change: Change) -> Told {
        match change {
            Change::Link { ifindex, link } => return self.set_link(ifindex, link),
            Change::LinkGone { ifindex } => {
                Arc::make_mut(&mut self.interfaces).remove(&ifindex);
                return self.told_of_routes_by(ifindex);
            }
            Change::Address { ifindex, address } => {
                let addresses = &mut self.interface(ifindex).addresses;
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
            Change::AddressGone { ifindex, address } => {
                self.interface(ifindex).addresses.retain(|have| *have != address);
                // The kernel says nothing of the IPv4 routes that had this source address, nor of
                // those by an interface that has no other; IPv6's only forget it.
                let is_source = self.sources.contains(&address);
                return match address {
                    IpAddr::V4(_) if is_source => Told::Part,
                    IpAddr::V4(_) => self.told_of_routes_by(ifindex),
                    IpAddr::V6(_) => Told::All,
                };
            }
            Change::Neighbour { ifindex, address, mac, stale } => {
                self.set_neighbour(ifindex, address, mac);
                if stale {
                    self.stale_neighbours.insert((ifindex, address));
                } else {
                    self.stale_neighbours.remove(&(ifindex, address));
                }
            }
            Change::NextHop { id, next_hop } => self.meanings.set_object(id, next_hop),
            Change::NextHopGone { id } => {
                // Nor of the routes that named it.
                return if self.meanings.forget_object(id) { Told::Part } else { Told::All };
            }
            Change::Rule(rule) => {
                self.rules.push(rule);
                self.ruled = Arc::new(Ruled::new(&self.rules, &self.routing));
            }
            Change::RuleGone(rule) => {
                if let Some(index) = self.rules.iter().position(|have| *have == rule) {
                    self.rules.swap_remove(index);
                }
                self.ruled = Arc::new(Ruled::new(&self.rules, &self.routing));
            }
            Change::Route { prefix, act, route } => {
                return self.change(&route, |tables, meanings| {
                    tables.change(meanings, prefix, act, &route)
                });
            }
        }
        Told::All
    }

    /// Takes a change that may be in what is known already: it came while the kernel was asked for
    /// all. [`Told::Part`] also where it cannot be said what it had changed.
    pub(super) fn repeat(&mut self, change: Change) -> Told {
        let (prefix, act, route) = match change {
            Change::Route { prefix, act, route } => (prefix, act, route),
            Change::Rule(rule) if self.rules.contains(&rule) => return Told::All,
            other => return self.apply(other),
        };
        self.change(&route, |tables, meanings| tables.repeat(meanings, prefix, act, &route))
    }

    /// Changes the tables that have this route.
    fn change(
        &mut self,
        route: &Route,
        change: impl Fn(&mut Tables, &mut Meanings) -> Told,
    ) -> Told {
        let Self { own, chosen, meanings, sources, .. } = self;
        sources.extend(route.source);
        let mut told = Told::All;
        if route.table != Table::Chosen {
            told = change(own, meanings);
        }
        if let Some(chosen) = chosen.as_mut().filter(|_| route.table != Table::Main) {
            told = told.and(change(chosen, meanings));
        }
        told
    }

    /// Which packets policy rules have the kernel route.
    pub(super) fn ruled(&self) -> &Ruled {
        &self.ruled
    }

    /// Does what of a snapshot costs time, for the routes so far.
    pub(super) fn prepare(&mut self) {
        let Self { own, chosen, meanings, .. } = self;
        own.paint(meanings);
        if let Some(chosen) = chosen {
            chosen.paint(meanings);
        }
    }

    fn interface(&mut self, ifindex: u32) -> &mut Interface {
        Arc::make_mut(&mut self.interfaces).entry(ifindex).or_default()
    }

    fn set_link(&mut self, ifindex: u32, Link { mac, mtu, up, running, active }: Link) -> Told {
        let was_known = self.interfaces.contains_key(&ifindex);
        let interface = self.interface(ifindex);
        let was = (interface.up, interface.running);
        *interface = Interface {
            mac,
            mtu,
            up,
            running,
            active,
            addresses: std::mem::take(&mut interface.addresses),
        };
        let changed = was_known && was != (up, running);
        if changed { self.told_of_routes_by(ifindex) } else { Told::All }
    }

    /// What is told of routes when this interface comes, goes or changes: next hops die and revive
    /// with it, and IPv4 routes vanish, without a message. By a user's device or a container's none
    /// leads, and the Internet's table is not asked for anew whenever one of these comes or goes.
    fn told_of_routes_by(&self, ifindex: u32) -> Told {
        let lead_by_it = self.meanings.hops().any(|hop| hop.ifindex == ifindex);
        if lead_by_it { Told::Part } else { Told::All }
    }

    fn set_neighbour(&mut self, ifindex: u32, address: IpAddr, mac: Option<[u8; 6]>) {
        // States change all the time, MAC addresses hardly ever: spare the copy.
        if self.neighbours.get(&(ifindex, address)).copied() == mac {
            return;
        }
        let neighbours = Arc::make_mut(&mut self.neighbours);
        match mac {
            Some(mac) => neighbours.insert((ifindex, address), mac),
            None => neighbours.remove(&(ifindex, address)),
        };
    }

    /// Neighbours on our ports of which the kernel would make sure if it sent there, in turn: as
    /// many as are asked for, beginning behind the one that was the last before.
    pub(super) fn stale_neighbours(
        &self,
        last: Option<(u32, IpAddr)>,
        count: usize,
    ) -> Vec<(u32, IpAddr)> {
        let stale = &self.stale_neighbours;
        let behind = last.map_or(Bound::Unbounded, Bound::Excluded);
        let others = last.map(|last| stale.range(..=last));
        stale
            .range((behind, Bound::Unbounded))
            .chain(others.into_iter().flatten())
            .filter(|(ifindex, _)| self.ports.contains(ifindex))
            .take(count)
            .copied()
            .collect()
    }

    /// Those of [`Rib::gateways`] that the kernel would look for, or make sure of, if it sent there.
    /// Never one with a static MAC address: to be told that it is in use makes the kernel forget that.
    pub(super) fn unsure_gateways(&self) -> BTreeSet<(u32, IpAddr)> {
        let mut gateways = self.gateways();
        gateways.retain(|gateway| {
            !self.neighbours.contains_key(gateway) || self.stale_neighbours.contains(gateway)
        });
        gateways
    }

    /// The gateways that routes lead to by our ports.
    pub(super) fn gateways(&self) -> BTreeSet<(u32, IpAddr)> {
        self.meanings
            .hops()
            .filter(|hop| !hop.dead && self.ports.contains(&hop.ifindex))
            .filter_map(|hop| match hop.gateway {
                Gateway::Address(address) => Some((hop.ifindex, address)),
                Gateway::None | Gateway::Foreign => None,
            })
            .collect()
    }

    /// What the workers shall see from now on.
    pub(super) fn snapshot(&mut self) -> Snapshot {
        let Self { own, chosen, meanings, .. } = self;
        let peers = own.paint(meanings);
        let prefixes = chosen.as_mut().map_or_else(|| peers.clone(), |it| it.paint(meanings));
        Snapshot {
            prefixes,
            peers,
            targets: self.meanings.ways().map(|way| self.target(&way)).collect(),
            neighbours: Arc::clone(&self.neighbours),
            interfaces: Arc::clone(&self.interfaces),
            ruled: Arc::clone(&self.ruled),
            version: VERSIONS.fetch_add(1, Ordering::Relaxed),
        }
    }

    fn target(&self, way: &Way<'_>) -> Target {
        let (hops, mtu) = match way {
            Way::Local => return Target::Decided(Decision::Local),
            Way::Unreachable(why) => return Target::Decided(Decision::Unreachable(*why)),
            Way::Forward { hops, mtu } => (hops, *mtu),
        };
        let mut alive: Vec<(u32, Target)> = Vec::new();
        let mut sum = 0;
        for hop in hops.iter().filter(|hop| !hop.dead) {
            sum += hop.weight;
            alive.push((sum, self.hop_target(hop, mtu)));
        }
        match alive.len() {
            0 => Target::Decided(Decision::Kernel { ifindex: 0 }),
            1 => alive.swap_remove(0).1,
            _ => Target::Several(alive.into()),
        }
    }

    fn hop_target(&self, hop: &Hop, mtu: Option<u32>) -> Target {
        let &Hop { ifindex, gateway, .. } = hop;
        let by_kernel = Target::Decided(Decision::Kernel { ifindex });
        let Some(interface) = self.interfaces.get(&ifindex) else { return by_kernel };
        let Some(source_mac) = interface.mac else { return by_kernel };
        if !self.ports.contains(&ifindex) || !interface.up {
            return by_kernel;
        }
        let mtu = mtu.unwrap_or(interface.mtu).min(interface.mtu);
        match gateway {
            Gateway::Foreign => by_kernel,
            Gateway::None => Target::OnLink { ifindex, source_mac, mtu },
            Gateway::Address(gateway) => {
                Target::Decided(match self.neighbours.get(&(ifindex, gateway)) {
                    Some(&next_hop_mac) => Decision::Via { ifindex, source_mac, next_hop_mac, mtu },
                    None => Decision::Unresolved { ifindex },
                })
            }
        }
    }
}
