//! Inner prefixes of all tunnels: which tunnel has the longest one that covers an address.
//!
//! Subscribers have single addresses out of few pools, so these stand side by side, an array for
//! each area of 16 bits: those of 60,000 subscribers take 240 KiB. A few have networks too: one hash
//! map for each length in use. A lookup is two places in arrays and nothing else where no network is
//! near, and never more than 32 probes.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use foldhash::fast::RandomState;

use crate::api::Prefix;

/// Prefixes and the slots that have them.
#[derive(Debug, Default)]
pub(crate) struct Prefixes {
    addresses: Addresses,
    /// Other prefixes, longest length first; no map is empty.
    lengths: Vec<(u8, HashMap<u32, u32, RandomState>)>,
    /// Slots that have a prefix, too, which a newer one got, the newest last; no list is empty.
    others: HashMap<(u32, u8), Vec<u32>, RandomState>,
    areas: Areas,
}

/// The areas of 16 bits in which there ever was a prefix, a bit for each. Nearly all destinations of
/// subscribers lie elsewhere, and this says so out of the nearest cache.
#[derive(Debug)]
struct Areas(Box<[u64; 1024]>);

impl Default for Areas {
    fn default() -> Self {
        Self(Box::new([0; 1024]))
    }
}

impl Areas {
    fn add(&mut self, prefix: Prefix) {
        let first = (prefix.address.to_bits() & prefix.mask()) >> 16;
        let last = (prefix.address.to_bits() | !prefix.mask()) >> 16;
        for area in first..=last {
            self.0[(area / 64) as usize] |= 1 << (area % 64);
        }
    }

    #[inline]
    fn has(&self, address: Ipv4Addr) -> bool {
        let area = address.to_bits() >> 16;
        self.0[(area / 64) as usize] >> (area % 64) & 1 == 1
    }
}

/// The slots of single addresses.
#[derive(Debug)]
struct Addresses {
    /// Which block an area of 16 bits has, counted from one; zero for none.
    areas: Box<[u32]>,
    /// No block is empty but those that are `None`.
    blocks: Vec<Option<Block>>,
}

/// The addresses of an area.
#[derive(Debug)]
struct Block {
    /// By the low half of the address: the slot, counted from one; zero for none. The system gives
    /// memory for zeros only where something else is written.
    slots: Box<[u32]>,
    used: u32,
}

impl Default for Addresses {
    fn default() -> Self {
        Self { areas: vec![0; 1 << 16].into(), blocks: Vec::new() }
    }
}

/// An address as area and place there.
const fn place(address: Ipv4Addr) -> (usize, usize) {
    let bits = address.to_bits();
    ((bits >> 16) as usize, (bits & 0xFFFF) as usize)
}

impl Addresses {
    #[inline]
    fn get(&self, address: Ipv4Addr) -> Option<u32> {
        let (area, at) = place(address);
        let block = (*self.areas.get(area)? as usize).checked_sub(1)?;
        let slot = *self.blocks.get(block)?.as_ref()?.slots.get(at)?;
        slot.checked_sub(1)
    }

    /// Gives an address to a slot; returns who had it.
    fn insert(&mut self, address: Ipv4Addr, slot: u32) -> Option<u32> {
        let (area, at) = place(address);
        if self.areas[area] == 0 {
            let free = self.blocks.iter().position(Option::is_none);
            let place = free.unwrap_or(self.blocks.len());
            if free.is_none() {
                self.blocks.push(None);
            }
            self.blocks[place] = Some(Block { slots: vec![0; 1 << 16].into(), used: 0 });
            // There are 65,536 areas at most.
            self.areas[area] = u32::try_from(place + 1).ok()?;
        }
        let block = (self.areas[area] as usize).checked_sub(1)?;
        let block = self.blocks.get_mut(block)?.as_mut()?;
        let before = std::mem::replace(&mut block.slots[at], slot + 1).checked_sub(1);
        block.used += u32::from(before.is_none());
        before
    }

    /// Takes an address from a slot, if it is not another one's. Says whether it was not.
    fn remove(&mut self, address: Ipv4Addr, slot: u32) -> bool {
        let (area, at) = place(address);
        if self.get(address) != Some(slot) {
            return false;
        }
        let Some(number) = (self.areas[area] as usize).checked_sub(1) else { return false };
        let Some(Some(block)) = self.blocks.get_mut(number) else { return false };
        block.slots[at] = 0;
        block.used -= 1;
        if block.used == 0 {
            self.blocks[number] = None;
            self.areas[area] = 0;
        }
        true
    }
}

/// A prefix as a key.
const fn key(prefix: Prefix) -> (u32, u8) {
    let length = if prefix.length > 32 { 32 } else { prefix.length };
    (prefix.address.to_bits() & prefix.mask(), length)
}

impl Prefixes {
    /// Gives a prefix to a slot. If another slot has it already, the newer one gets it until it is
    /// taken from that one again.
    pub(crate) fn insert(&mut self, prefix: Prefix, slot: u32) {
        let length = prefix.length.min(32);
        self.areas.add(prefix);
        if length == 32 {
            if let Some(older) = self.addresses.insert(prefix.address, slot) {
                self.displaced(prefix, older, slot);
            }
            return;
        }
        let at = self.lengths.partition_point(|&(have, _)| have > length);
        if self.lengths.get(at).is_none_or(|&(have, _)| have != length) {
            self.lengths.insert(at, (length, HashMap::default()));
        }
        if let Some((_, map)) = self.lengths.get_mut(at) {
            let older = map.insert(prefix.address.to_bits() & prefix.mask(), slot);
            if let Some(older) = older {
                self.displaced(prefix, older, slot);
            }
        }
    }

    fn displaced(&mut self, prefix: Prefix, older: u32, newer: u32) {
        if older != newer {
            let others = self.others.entry(key(prefix)).or_default();
            others.retain(|other| *other != newer);
            others.push(older);
        }
    }

    /// Takes a prefix from a slot. Of the others that have it, the newest gets it.
    pub(crate) fn remove(&mut self, prefix: Prefix, slot: u32) {
        let had = self.vacate(prefix, slot);
        let Some(others) = self.others.get_mut(&key(prefix)) else { return };
        let next = if had { others.pop() } else { None };
        others.retain(|other| *other != slot);
        if others.is_empty() {
            self.others.remove(&key(prefix));
        }
        if let Some(next) = next {
            self.insert(prefix, next);
        }
    }

    /// Takes a prefix from a slot, if it is not another one's. Says whether it was not.
    fn vacate(&mut self, prefix: Prefix, slot: u32) -> bool {
        let length = prefix.length.min(32);
        if length == 32 {
            return self.addresses.remove(prefix.address, slot);
        }
        let Some(at) = self.lengths.iter().position(|&(have, _)| have == length) else {
            return false;
        };
        let Some((_, map)) = self.lengths.get_mut(at) else { return false };
        let network = prefix.address.to_bits() & prefix.mask();
        let had = map.get(&network) == Some(&slot);
        if had {
            map.remove(&network);
        }
        if map.is_empty() {
            self.lengths.remove(at);
        }
        had
    }

    /// The slot whose prefix covers `address` most closely.
    #[inline]
    pub(crate) fn lookup(&self, address: Ipv4Addr) -> Option<u32> {
        if self.areas.has(address) { self.search(address) } else { None }
    }

    /// How long the prefix is that [`Self::lookup`] finds, if it is no single address.
    #[inline]
    pub(crate) fn network(&self, address: Ipv4Addr) -> Option<u8> {
        if self.lengths.is_empty() { None } else { self.length_of_network(address) }
    }

    #[inline(never)]
    fn length_of_network(&self, address: Ipv4Addr) -> Option<u8> {
        if self.addresses.get(address).is_some() {
            return None;
        }
        let mut lengths = self.lengths.iter();
        lengths.find_map(|&(length, ref map)| {
            let mask = Prefix { address, length }.mask();
            map.contains_key(&(address.to_bits() & mask)).then_some(length)
        })
    }

    #[inline]
    fn search(&self, address: Ipv4Addr) -> Option<u32> {
        match self.addresses.get(address) {
            None if !self.lengths.is_empty() => self.search_networks(address),
            slot => slot,
        }
    }

    #[inline(never)]
    fn search_networks(&self, address: Ipv4Addr) -> Option<u32> {
        self.lengths.iter().find_map(|(length, map)| {
            let mask = Prefix { address, length: *length }.mask();
            map.get(&(address.to_bits() & mask)).copied()
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefix(text: &str) -> Prefix {
        let (address, length) = text.split_once('/').unwrap();
        Prefix { address: address.parse().unwrap(), length: length.parse().unwrap() }
    }

    #[test]
    fn the_longest_prefix_wins() {
        let mut prefixes = Prefixes::default();
        prefixes.insert(prefix("10.0.0.0/8"), 1);
        prefixes.insert(prefix("10.1.2.3/32"), 2);
        prefixes.insert(prefix("10.1.0.0/16"), 3);
        assert_eq!(prefixes.lookup(Ipv4Addr::new(10, 1, 2, 3)), Some(2));
        assert_eq!(prefixes.lookup(Ipv4Addr::new(10, 1, 2, 4)), Some(3));
        assert_eq!(prefixes.lookup(Ipv4Addr::new(10, 2, 2, 4)), Some(1));
        assert_eq!(prefixes.lookup(Ipv4Addr::new(11, 1, 2, 3)), None);
    }

    #[test]
    fn a_prefix_that_moved_on_is_not_taken_from_its_new_owner() {
        let mut prefixes = Prefixes::default();
        prefixes.insert(prefix("10.1.2.3/32"), 1);
        prefixes.insert(prefix("10.1.2.3/32"), 2);
        prefixes.remove(prefix("10.1.2.3/32"), 1);
        assert_eq!(prefixes.lookup(Ipv4Addr::new(10, 1, 2, 3)), Some(2));
        prefixes.remove(prefix("10.1.2.3/32"), 2);
        assert_eq!(prefixes.lookup(Ipv4Addr::new(10, 1, 2, 3)), None);
        assert!(
            prefixes.lengths.is_empty() && prefixes.addresses.blocks.iter().all(Option::is_none)
        );
    }

    #[test]
    fn a_prefix_of_several_stays_with_those_that_are_left() {
        for text in ["10.1.0.0/16", "10.1.2.3/32"] {
            let (both, inside) = (prefix(text), Ipv4Addr::new(10, 1, 2, 3));
            let mut prefixes = Prefixes::default();
            for slot in [1, 2, 3, 3] {
                prefixes.insert(both, slot);
            }
            assert_eq!(prefixes.lookup(inside), Some(3));
            prefixes.remove(both, 1);
            prefixes.remove(both, 3);
            assert_eq!(prefixes.lookup(inside), Some(2));
            prefixes.insert(both, 4);
            prefixes.insert(both, 2);
            prefixes.remove(both, 2);
            assert_eq!(prefixes.lookup(inside), Some(4));
            prefixes.remove(both, 4);
            assert_eq!(prefixes.lookup(inside), None);
            assert!(
                prefixes.others.is_empty() && prefixes.addresses.blocks.iter().all(Option::is_none)
            );
            assert!(prefixes.lengths.is_empty());
        }
    }

    proptest! {
        #[test]
        fn it_answers_like_a_search_through_a_list(
            list in proptest::collection::vec((0_u32..64, 26_u8..=32), 0..20),
            address in 0_u32..64,
        ) {
            let mut prefixes = Prefixes::default();
            let mut oracle: Vec<(Prefix, u32)> = Vec::new();
            for (slot, (bits, length)) in (0..).zip(list) {
                let mut prefix = Prefix { address: Ipv4Addr::from_bits(bits), length };
                prefix.address = Ipv4Addr::from_bits(bits & prefix.mask());
                prefixes.insert(prefix, slot);
                oracle.retain(|&(have, _)| have != prefix);
                oracle.push((prefix, slot));
            }
            let address = Ipv4Addr::from_bits(address);
            let best = oracle
                .iter()
                .filter(|(prefix, _)| prefix.contains(address))
                .max_by_key(|(prefix, _)| prefix.length)
                .map(|&(_, slot)| slot);
            prop_assert_eq!(prefixes.lookup(address), best);
            let longest = oracle.iter().filter(|(prefix, _)| prefix.contains(address));
            let longest = longest.map(|(prefix, _)| prefix.length).max();
            prop_assert_eq!(prefixes.network(address), longest.filter(|&length| length < 32));
        }
    }
}
