//! IPv6 prefixes of all tunnels: which tunnel has the longest one that covers an address.
//!
//! Subscribers have prefixes of few lengths (a /64 for the link, a /56 delegated), so there is one
//! hash map for each length in use, and a lookup is as many probes. Never more than 129.

use std::collections::HashMap;
use std::net::Ipv6Addr;

use foldhash::fast::RandomState;
use protocol::ipv6::Ipv6Prefix;

/// Prefixes and the slots that have them.
#[derive(Debug, Default)]
pub(crate) struct PrefixesIpv6 {
    /// Longest length first; no map is empty.
    lengths: Vec<(u8, HashMap<Ipv6Prefix, u32, RandomState>)>,
}

impl PrefixesIpv6 {
    /// Gives a prefix to a slot. If another slot has it already, the newer one gets it.
    pub(crate) fn insert(&mut self, prefix: Ipv6Prefix, slot: u32) {
        let length = prefix.length();
        let at = self.lengths.partition_point(|&(have, _)| have > length);
        if self.lengths.get(at).is_none_or(|&(have, _)| have != length) {
            self.lengths.insert(at, (length, HashMap::default()));
        }
        if let Some((_, map)) = self.lengths.get_mut(at) {
            map.insert(prefix, slot);
        }
    }

    /// Takes a prefix from a slot, unless another one has it by now.
    pub(crate) fn remove(&mut self, prefix: Ipv6Prefix, slot: u32) {
        let at = self.lengths.iter().position(|&(have, _)| have == prefix.length());
        let Some((at, (_, map))) = at.and_then(|at| Some((at, self.lengths.get_mut(at)?))) else {
            return;
        };
        if map.get(&prefix) == Some(&slot) {
            map.remove(&prefix);
        }
        if map.is_empty() {
            self.lengths.remove(at);
        }
    }

    /// The slot whose prefix covers `address` most closely, and how long that is.
    pub(crate) fn lookup(&self, address: Ipv6Addr) -> Option<(u32, u8)> {
        self.lengths.iter().find_map(|(length, map)| {
            let slot = map.get(&Ipv6Prefix::around(address, *length))?;
            Some((*slot, *length))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_answers_like_a_search_through_a_list(
            list in proptest::collection::vec((0_u128..64, 122_u8..=128, any::<bool>()), 0..20),
            address in 0_u128..64,
        ) {
            let mut prefixes = PrefixesIpv6::default();
            let mut oracle: Vec<(Ipv6Prefix, u32)> = Vec::new();
            for (slot, (bits, length, stays)) in (0..).zip(list) {
                let prefix = Ipv6Prefix::around(Ipv6Addr::from_bits(bits), length);
                prefixes.insert(prefix, slot);
                oracle.retain(|&(have, _)| have != prefix);
                oracle.push((prefix, slot));
                if !stays {
                    prefixes.remove(prefix, slot + 1);
                    prefixes.remove(prefix, slot);
                    oracle.pop();
                }
            }
            let address = Ipv6Addr::from_bits(address);
            let best = oracle
                .iter()
                .filter(|(prefix, _)| prefix.contains(address))
                .max_by_key(|(prefix, _)| prefix.length())
                .map(|&(prefix, slot)| (slot, prefix.length()));
            prop_assert_eq!(prefixes.lookup(address), best);
            prop_assert!(prefixes.lengths.iter().all(|(_, map)| !map.is_empty()));
        }
    }
}
