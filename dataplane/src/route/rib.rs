//! All that the kernel told about routes, neighbours and interfaces, and what it means for a packet:
//! the writer's side of the snapshots. A change costs the trie nodes that it touches (those are
//! painted once per batch); next hops are resolved once for all routes that share them.
//! Never talks to the kernel.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::message::{Act, Change, Gateway, Hop, Link, Meaning, Route, Table};
use super::snapshot::{Interface, Neighbours, Snapshot, Target};
use super::trie::{NONE, Place, Trie};
use super::{Decision, Unreachable};

/// The routing information base.
#[derive(Debug, Default)]
pub(super) struct Rib {
    /// Interfaces of our ports: the only ones that packets leave by without the kernel.
    ports: HashSet<u32>,
    /// The routes of this machine: the local and the main table.
    own: Tables,
    /// The routes of subscribers' packets: the local table and another than main.
    chosen: Option<Tables>,
    meanings: Meanings,
    /// Shared with the snapshots and copied when it changes under one.
    interfaces: Arc<HashMap<u32, Interface>>,
    neighbours: Arc<Neighbours>,
    /// Those of which the kernel would make sure if it sent there.
    stale_neighbours: HashSet<(u32, Ipv4Addr)>,
}

/// Tables of routes that are asked together.
#[derive(Debug, Default)]
struct Tables {
    /// Routes of each prefix, best first. Prefixes of one trie node lie side by side, shorter ones
    /// before those that they cover.
    routes: BTreeMap<(Place, u32, u8), Vec<Entry>>,
    prefixes: Trie,
    /// Nodes of the trie that are to be painted.
    unpainted: BTreeSet<Place>,
}

/// Versions of snapshots so far, of all mirrors: what was learned by one is never taken for another's.
static VERSIONS: AtomicU32 = AtomicU32::new(0);

#[derive(Debug, Clone, Copy)]
struct Entry {
    table: Table,
    metric: u32,
    meaning: u32,
}

/// Whether the kernel told all that a change did, or did more silently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    All,
    /// Routes may have gone or changed without a message: ask for all of them.
    Part,
}

impl Told {
    pub(super) fn and(self, other: Self) -> Self {
        if self == Self::Part { self } else { other }
    }
}

impl Rib {
    /// `has_chosen`: whether subscribers' packets are routed by another table than main.
    pub(super) fn new(ports: HashSet<u32>, has_chosen: bool) -> Self {
        Self { ports, chosen: has_chosen.then(Tables::default), ..Self::default() }
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
                // The kernel says nothing of the IPv4 routes that go with an interface.
                return Told::Part;
            }
            Change::Address { ifindex, address } => {
                let addresses = &mut self.interface(ifindex).addresses;
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
            Change::AddressGone { ifindex, address } => {
                self.interface(ifindex).addresses.retain(|have| *have != address);
                // Nor of the routes that had this source address.
                return Told::Part;
            }
            Change::Neighbour { ifindex, address, mac, stale } => {
                self.set_neighbour(ifindex, address, mac);
                if stale {
                    self.stale_neighbours.insert((ifindex, address));
                } else {
                    self.stale_neighbours.remove(&(ifindex, address));
                }
            }
            Change::Route { network, length, act, route } => {
                let Self { own, chosen, meanings, .. } = self;
                if route.table != Table::Chosen {
                    own.change(meanings, (network, length), act, &route);
                }
                if let Some(chosen) = chosen
                    && route.table != Table::Main
                {
                    chosen.change(meanings, (network, length), act, &route);
                }
            }
        }
        Told::All
    }

    /// Takes a change that may be in what is known already: it came while the kernel was asked for
    /// all. [`Told::Part`] also where it cannot be said what it had changed.
    pub(super) fn repeat(&mut self, change: Change) -> Told {
        let Change::Route { network, length, act, route } = change else {
            return self.apply(change);
        };
        let Self { own, chosen, meanings, .. } = self;
        let prefix = (network, length);
        let mut told = Told::All;
        if route.table != Table::Chosen {
            told = told.and(own.repeat(meanings, prefix, act, &route));
        }
        if let Some(chosen) = chosen.as_mut().filter(|_| route.table != Table::Main) {
            told = told.and(chosen.repeat(meanings, prefix, act, &route));
        }
        told
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
        // Next hops die and revive with their interface, and routes vanish, without a message. A
        // user's device that comes and goes has none, and the Internet's table is not asked for anew.
        let changed = was_known && was != (up, running);
        if changed && self.leads_by(ifindex) { Told::Part } else { Told::All }
    }

    /// Whether a route has a next hop by this interface.
    fn leads_by(&self, ifindex: u32) -> bool {
        self.meanings.iter().any(|meaning| match meaning {
            Meaning::Forward { hops, .. } => hops.iter().any(|hop| hop.ifindex == ifindex),
            Meaning::Local | Meaning::Unreachable(_) => false,
        })
    }

    fn set_neighbour(&mut self, ifindex: u32, address: Ipv4Addr, mac: Option<[u8; 6]>) {
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

    /// Those of [`Rib::gateways`] that the kernel would look for, or make sure of, if it sent there. Never one with a static MAC address: to be told that it is in
    /// use makes the kernel forget that.
    pub(super) fn unsure_gateways(&self) -> BTreeSet<(u32, Ipv4Addr)> {
        let mut gateways = self.gateways();
        gateways.retain(|gateway| {
            !self.neighbours.contains_key(gateway) || self.stale_neighbours.contains(gateway)
        });
        gateways
    }

    /// The gateways that routes lead to by our ports.
    pub(super) fn gateways(&self) -> BTreeSet<(u32, Ipv4Addr)> {
        self.meanings
            .iter()
            .filter_map(|meaning| match meaning {
                Meaning::Forward { hops, .. } => Some(hops),
                Meaning::Local | Meaning::Unreachable(_) => None,
            })
            .flatten()
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
            targets: self.meanings.iter().map(|meaning| self.target(meaning)).collect(),
            neighbours: Arc::clone(&self.neighbours),
            interfaces: Arc::clone(&self.interfaces),
            version: VERSIONS.fetch_add(1, Ordering::Relaxed),
        }
    }

    fn target(&self, meaning: &Meaning) -> Target {
        let (hops, mtu) = match meaning {
            Meaning::Local => return Target::Decided(Decision::Local),
            Meaning::Unreachable(why) => return Target::Decided(Decision::Unreachable(*why)),
            Meaning::Forward { hops, mtu } => (hops, *mtu),
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

impl Tables {
    /// A route of a prefix comes or goes.
    fn change(
        &mut self,
        meanings: &mut Meanings,
        (network, length): (u32, u8),
        act: Act,
        route: &Route,
    ) {
        let place = Place::of(network, length);
        let key = (place, network, length);
        let entries = self.routes.entry(key).or_default();
        let rank = (route.table, route.metric);
        let first = entries.partition_point(|entry| entry.rank() < rank);
        let last = entries.partition_point(|entry| entry.rank() <= rank);
        let same = (first..last)
            .find(|&index| meanings.get(entries[index].meaning).is_same_way(&route.meaning));
        // What a message replaces or removes without being the same way is the first of its rank.
        let rival = same.or((first < last).then_some(first));

        match (act, same, rival) {
            (Act::Remove, _, Some(index)) => {
                meanings.release(entries.remove(index).meaning);
            }
            (Act::Remove, _, None) => {}
            // Told again, perhaps with other next hops alive.
            (_, Some(index), _) | (Act::Replace, None, Some(index)) => {
                let meaning = meanings.take(&route.meaning);
                let old = std::mem::replace(&mut entries[index].meaning, meaning);
                meanings.release(old);
            }
            (act, None, _) => {
                let meaning = meanings.take(&route.meaning);
                let index = if act == Act::Append { last } else { first };
                let entry = Entry { table: route.table, metric: route.metric, meaning };
                entries.insert(index, entry);
            }
        }
        if entries.is_empty() {
            self.routes.remove(&key);
        }
        self.unpainted.insert(place);
    }

    /// A route of a prefix came or went, before or after this was learned. Where one replaced
    /// another, it is the only one of its rank, for hardly anybody has several.
    fn repeat(
        &mut self,
        meanings: &mut Meanings,
        prefix: (u32, u8),
        act: Act,
        route: &Route,
    ) -> Told {
        let (network, length) = prefix;
        let place = Place::of(network, length);
        let rank = (route.table, route.metric);
        let entries = self.routes.get_mut(&(place, network, length));
        let entries = entries.map_or(&[][..], |entries| entries.as_slice());
        let of_rank = || entries.iter().filter(|entry| entry.rank() == rank);
        let is_same = |entry: &&Entry| meanings.get(entry.meaning).is_same_way(&route.meaning);
        let is_there = of_rank().any(|entry| is_same(&entry));
        if act == Act::Remove && !is_there {
            return Told::All;
        }
        let others: Vec<u32> = of_rank()
            .filter(|entry| act == Act::Replace && !is_same(entry))
            .map(|entry| entry.meaning)
            .collect();
        self.change(meanings, prefix, if is_there { act } else { act.insertion() }, route);
        if let Some(entries) = self.routes.get_mut(&(place, network, length)) {
            entries.retain(|entry| entry.rank() != rank || !others.contains(&entry.meaning));
        }
        for &other in &others {
            meanings.release(other);
        }
        if others.len() > 1 { Told::Part } else { Told::All }
    }

    /// The prefixes as they are now.
    fn paint(&mut self, meanings: &Meanings) -> Trie {
        for place in std::mem::take(&mut self.unpainted) {
            let slots = self.slots(meanings, place);
            self.prefixes.paint(place, &slots);
        }
        self.prefixes.clone()
    }

    fn slots(&self, meanings: &Meanings, place: Place) -> [u32; 256] {
        let mut slots = [NONE; 256];
        for (&(_, network, length), entries) in
            self.routes.range((place, 0, 0)..=(place, u32::MAX, u8::MAX))
        {
            let best = entries.iter().find(|entry| meanings.get(entry.meaning).is_alive());
            if let Some(best) = best {
                slots[place.slots(network, length)].fill(best.meaning);
            }
        }
        slots
    }
}

impl Entry {
    /// The lowest is used.
    fn rank(&self) -> (Table, u32) {
        (self.table, self.metric)
    }
}

impl Meaning {
    /// The kernel passes over a route whose every next hop is dead.
    fn is_alive(&self) -> bool {
        match self {
            Self::Forward { hops, .. } => hops.is_empty() || hops.iter().any(|hop| !hop.dead),
            Self::Local | Self::Unreachable(_) => true,
        }
    }

    /// Whether both differ in nothing but in which next hops are dead.
    fn is_same_way(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Forward { hops, mtu }, Self::Forward { hops: others, mtu: other_mtu }) => {
                let alive = |hop: &Hop| Hop { dead: false, ..*hop };
                mtu == other_mtu && hops.iter().map(alive).eq(others.iter().map(alive))
            }
            _ => self == other,
        }
    }
}

/// The distinct meanings of all routes, by number: a full table has few.
#[derive(Debug, Default)]
struct Meanings {
    /// Each with the routes that have it. Without routes it waits to be used again.
    meanings: Vec<(Meaning, u32)>,
    numbers: HashMap<Meaning, u32>,
    free: Vec<u32>,
}

impl Meanings {
    fn get(&self, number: u32) -> &Meaning {
        &self.meanings[number as usize].0
    }

    fn iter(&self) -> impl Iterator<Item = &Meaning> {
        self.meanings.iter().map(|(meaning, _)| meaning)
    }

    fn take(&mut self, meaning: &Meaning) -> u32 {
        if let Some(&number) = self.numbers.get(meaning) {
            self.meanings[number as usize].1 += 1;
            return number;
        }
        let number = match self.free.pop() {
            Some(number) => {
                self.meanings[number as usize] = (meaning.clone(), 1);
                number
            }
            None => {
                self.meanings.push((meaning.clone(), 1));
                // As many routes as numbers would fill the memory long before.
                u32::try_from(self.meanings.len() - 1).unwrap_or(NONE)
            }
        };
        self.numbers.insert(meaning.clone(), number);
        number
    }

    fn release(&mut self, number: u32) {
        let (meaning, routes) = &mut self.meanings[number as usize];
        *routes -= 1;
        if *routes == 0 {
            self.numbers.remove(meaning);
            *meaning = Meaning::Unreachable(Unreachable::Network);
            self.free.push(number);
        }
    }
}
