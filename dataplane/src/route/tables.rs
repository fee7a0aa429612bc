//! Tables of routes as the kernel keeps them, prefix by prefix, and the tries that workers read in
//! their place: a change costs the trie nodes that it touches, which are painted once per batch.
//!
//! Which route of a prefix counts is the kernel's rule: the local table before others, then the
//! metric (RFC 1812 §5.2.4.3), then the order in which they came. Knows nothing of interfaces and
//! neighbours.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::meanings::Meanings;
use super::message::{Act, Route, Table};
use super::snapshot::Tries;
use super::trie::{Address, NONE, Place, Trie};

/// Tables of routes that are asked together.
#[derive(Debug, Default)]
pub(super) struct Tables {
    ipv4: Prefixes<Ipv4Addr>,
    ipv6: Prefixes<Ipv6Addr>,
}

/// A prefix of either family: its first address, and its length in bits.
pub(super) type Prefix = (IpAddr, u8);

/// Those of one family.
#[derive(Debug)]
struct Prefixes<A> {
    /// Routes of each prefix, best first. Prefixes of one trie node lie side by side, shorter ones
    /// before those that they cover.
    routes: BTreeMap<(Place<A>, A, u8), Vec<Entry>>,
    trie: Trie<A>,
    /// By the same prefixes, their lengths.
    lengths: Trie<A>,
    /// Nodes of the trie that are to be painted.
    unpainted: BTreeSet<Place<A>>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    table: Table,
    tos: Reverse<u8>,
    metric: u32,
    joins: bool,
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

impl Tables {
    /// A route of a prefix comes or goes. [`Told::Part`] if it was not known before it went.
    pub(super) fn change(
        &mut self,
        meanings: &mut Meanings,
        (network, length): Prefix,
        act: Act,
        route: &Route,
    ) -> Told {
        match network {
            IpAddr::V4(network) => self.ipv4.change(meanings, (network, length), act, route),
            IpAddr::V6(network) => self.ipv6.change(meanings, (network, length), act, route),
        }
    }

    /// A route of a prefix came or went, before or after this was learned.
    pub(super) fn repeat(
        &mut self,
        meanings: &mut Meanings,
        (network, length): Prefix,
        act: Act,
        route: &Route,
    ) -> Told {
        match network {
            IpAddr::V4(network) => self.ipv4.repeat(meanings, (network, length), act, route),
            IpAddr::V6(network) => self.ipv6.repeat(meanings, (network, length), act, route),
        }
    }

    /// The prefixes as they are now.
    pub(super) fn paint(&mut self, meanings: &Meanings) -> Tries {
        let (ipv4, ipv4_lengths) = self.ipv4.paint(meanings);
        let (ipv6, ipv6_lengths) = self.ipv6.paint(meanings);
        Tries { ipv4, ipv6, ipv4_lengths, ipv6_lengths }
    }
}

impl<A> Default for Prefixes<A> {
    fn default() -> Self {
        Self {
            routes: BTreeMap::new(),
            trie: Trie::default(),
            lengths: Trie::default(),
            unpainted: BTreeSet::new(),
        }
    }
}

impl<A: Address> Prefixes<A> {
    /// A route of a prefix comes or goes.
    fn change(
        &mut self,
        meanings: &mut Meanings,
        (network, length): (A, u8),
        act: Act,
        route: &Route,
    ) -> Told {
        let place = Place::of(network, length);
        let key = (place, network, length);
        let entries = self.routes.entry(key).or_default();
        let rank = route.rank();
        let first = entries.partition_point(|entry| entry.rank() < rank);
        let last = entries.partition_point(|entry| entry.rank() <= rank);
        let is_same = |entry: &Entry| meanings.get(entry.meaning).is_same_way(&route.meaning);
        let find = |is: &dyn Fn(&Entry) -> bool| (first..last).find(|&index| is(&entries[index]));
        let same = match route.joins {
            false => find(&is_same),
            // All that join are one, and a message that one came tells of all of them.
            true => find(&|entry| entry.joins),
        };
        let has_rivals = first < last;
        // What a message replaces without being the same way is the first of its rank that is of
        // its kind, or the first.
        let alike = || find(&|entry| entry.joins == route.joins);
        let rival = || alike().or_else(|| has_rivals.then_some(first));
        let replaced = same.or_else(|| if act == Act::Replace { rival() } else { None });
        let rest = same
            .filter(|_| route.joins && act == Act::Remove)
            .and_then(|index| meanings.get(entries[index].meaning).without(&route.meaning));

        match (act, replaced) {
            (Act::Remove, Some(index)) if rest.is_none() => {
                meanings.release(entries.remove(index).meaning);
            }
            (Act::Remove, None) => {
                // Those that join go one by one. Of others one was missed that went or changed.
                let told = if has_rivals && !route.joins { Told::Part } else { Told::All };
                if entries.is_empty() {
                    self.routes.remove(&key);
                }
                return told;
            }
            // Told again, perhaps with other next hops alive.
            (_, Some(index)) => {
                let meaning = meanings.take(rest.as_ref().unwrap_or(&route.meaning));
                let old = std::mem::replace(&mut entries[index].meaning, meaning);
                let had_joined = std::mem::replace(&mut entries[index].joins, route.joins);
                meanings.release(old);
                if (old, had_joined) == (meaning, route.joins) {
                    return Told::All;
                }
            }
            (act, None) => {
                let meaning = meanings.take(&route.meaning);
                let index = if act == Act::Append { last } else { first };
                let (table, tos, metric) = rank;
                entries.insert(index, Entry { table, tos, metric, joins: route.joins, meaning });
            }
        }
        if entries.is_empty() {
            self.routes.remove(&key);
        }
        self.unpainted.insert(place);
        Told::All
    }

    /// A route of a prefix came or went, before or after this was learned. Where one replaced
    /// another, it is the only one of its rank, for hardly anybody has several.
    fn repeat(
        &mut self,
        meanings: &mut Meanings,
        prefix: (A, u8),
        act: Act,
        route: &Route,
    ) -> Told {
        let (network, length) = prefix;
        let place = Place::of(network, length);
        let rank = route.rank();
        let entries = self.routes.get_mut(&(place, network, length));
        let entries = entries.map_or(&[][..], |entries| entries.as_slice());
        if route.joins {
            // Each message tells of all next hops, or of those that go.
            return self.change(meanings, prefix, act, route);
        }
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
        let told =
            self.change(meanings, prefix, if is_there { act } else { act.insertion() }, route);
        if let Some(entries) = self.routes.get_mut(&(place, network, length)) {
            entries.retain(|entry| entry.rank() != rank || !others.contains(&entry.meaning));
        }
        for &other in &others {
            meanings.release(other);
        }
        if others.len() > 1 { Told::Part } else { told }
    }

    /// The prefixes as they are now, and how long they are.
    fn paint(&mut self, meanings: &Meanings) -> (Trie<A>, Trie<A>) {
        for place in std::mem::take(&mut self.unpainted) {
            let (slots, lengths) = self.slots(meanings, place);
            self.trie.paint(place, &slots);
            self.lengths.paint(place, &lengths);
        }
        (self.trie.clone(), self.lengths.clone())
    }

    fn slots(&self, meanings: &Meanings, place: Place<A>) -> ([u32; 256], [u32; 256]) {
        let mut slots = [NONE; 256];
        let mut lengths = [NONE; 256];
        let from_here = self.routes.range((place, place.first(), 0)..);
        for (&(_, network, length), entries) in from_here.take_while(|((at, ..), _)| *at == place) {
            let best = entries.iter().find(|entry| meanings.get(entry.meaning).is_alive());
            if let Some(best) = best {
                let covered = place.slots(network, length);
                slots[covered.clone()].fill(best.meaning);
                lengths[covered].fill(length.into());
            }
        }
        (slots, lengths)
    }
}

/// The order in which the kernel asks the routes of a prefix.
type Rank = (Table, Reverse<u8>, u32);

impl Route {
    fn rank(&self) -> Rank {
        (self.table, Reverse(self.tos), self.metric)
    }
}

impl Entry {
    /// The lowest is used.
    fn rank(&self) -> Rank {
        (self.table, self.tos, self.metric)
    }
}
