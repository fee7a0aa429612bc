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

impl Prefixes {
    /// Gives a prefix to a slot. If another slot has it already, the newer one gets it.
    pub(crate) fn insert(&mut self, prefix: Prefix, slot: u32) {
        let length = prefix.length.min(32);
        if length == 32 {
            let (page, at) = place(prefix.address);
            let page = self.pages.entry(page).or_insert_with(|| Box::new(Page::EMPTY));
            if std::mem::replace(&mut page.slots[at], slot) == NONE {
                page.used += 1;
            }
            return;
        }
        let at = self.lengths.partition_point(|&(have, _)| have > length);
        if self.lengths.get(at).is_none_or(|&(have, _)| have != length) {
            self.lengths.insert(at, (length, HashMap::default()));
        }
        if let Some((_, map)) = self.lengths.get_mut(at) {
            map.insert(prefix.address.to_bits() & prefix.mask(), slot);
        }
    }

    /// Takes a prefix from a slot, unless another one has it by now.
    pub(crate) fn remove(&mut self, prefix: Prefix, slot: u32) {
        let length = prefix.length.min(32);
        if length == 32 {
            let (number, at) = place(prefix.address);
            if let Some(page) = self.pages.get_mut(&number).filter(|page| page.slots[at] == slot) {
                page.slots[at] = NONE;
                page.used -= 1;
                if page.used == 0 {
                    self.pages.remove(&number);
                }
            }
            return;
        }
        let Some(at) = self.lengths.iter().position(|&(have, _)| have == length) else { return };
        if let Some((_, map)) = self.lengths.get_mut(at) {
            let network = prefix.address.to_bits() & prefix.mask();
            if map.get(&network) == Some(&slot) {
                map.remove(&network);
            }
            if map.is_empty() {
                self.lengths.remove(at);
            }
        }
    }

    /// The slot whose prefix covers `address` most closely.
    #[inline]
    pub(crate) fn lookup(&self, address: Ipv4Addr) -> Option<u32> {
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
