//! Inner prefixes of all tunnels: which tunnel has the longest one that covers an address.
//!
//! Subscribers have single addresses out of few pools, so these stand side by side in pages of 256:
//! those of 60,000 subscribers take 240 KiB. A few have networks too: one hash map for each length
//! in use. A lookup is one or two probes and never more than 33.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use foldhash::fast::RandomState;

use super::NONE;
use crate::api::Prefix;

/// Prefixes and the slots that have them.
#[derive(Debug, Default)]
pub(crate) struct Prefixes {
    /// Single addresses by their first 24 bits; no page is empty.
    pages: HashMap<u32, Box<Page>, RandomState>,
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

/// Slots of 256 single addresses.
#[derive(Debug)]
struct Page {
    slots: [u32; 256],
    used: u32,
}

impl Page {
    const EMPTY: Self = Self { slots: [NONE; 256], used: 0 };
}

/// An address as page and place there.
const fn place(address: Ipv4Addr) -> (u32, usize) {
    let bits = address.to_bits();
    (bits >> 8, (bits & 0xFF) as usize)
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
            let (page, at) = place(prefix.address);
            let page = self.pages.entry(page).or_insert_with(|| Box::new(Page::EMPTY));
            match std::mem::replace(&mut page.slots[at], slot) {
                NONE => page.used += 1,
                older => self.displaced(prefix, older, slot),
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
            let (number, at) = place(prefix.address);
            let page = self.pages.get_mut(&number).filter(|page| page.slots[at] == slot);
            let Some(page) = page else { return false };
            page.slots[at] = NONE;
            page.used -= 1;
            if page.used == 0 {
                self.pages.remove(&number);
            }
            return true;
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

    fn search(&self, address: Ipv4Addr) -> Option<u32> {
        let (page, at) = place(address);
        if let Some(page) = self.pages.get(&page)
            && page.slots[at] != NONE
        {
            return Some(page.slots[at]);
        }
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
        assert!(prefixes.lengths.is_empty() && prefixes.pages.is_empty());
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
            assert!(prefixes.others.is_empty() && prefixes.pages.is_empty());
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
        }
    }
}
