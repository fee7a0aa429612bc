//! Who has a say in what the XDP program does with a prefix: pools, addresses of ours, and tunnels, of
//! which several may have one prefix (a router and its backup).
//!
//! Counts them, so that whoever leaves takes nothing from those that stay. Never talks to the program.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use ebpf::PrefixAction;

use super::Block;
use crate::api::Forward;

/// Why a prefix is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// It is an address of ours.
    Own,
    /// Subscribers are there whose packets workers forward.
    Workers,
    /// Subscribers are there whose packets the kernel forwards.
    Kernel,
    /// They are there whom the kernel reaches by interfaces of their own.
    Devices,
}

impl From<&Forward> for Claim {
    fn from(forward: &Forward) -> Self {
        match forward {
            Forward::Fast => Self::Workers,
            Forward::Kernel => Self::Kernel,
            Forward::Device(_) => Self::Devices,
        }
    }
}

/// What the program is to know of a prefix from now on. `None`: nothing.
pub(super) type Change = (Block, Option<PrefixAction>);

/// Every prefix of which anyone says anything.
#[derive(Debug, Default)]
pub(super) struct Claims {
    pools: Vec<Block>,
    claimed: HashMap<Block, Count>,
}

/// How many say what of a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Count {
    own: u32,
    workers: u32,
    kernel: u32,
    devices: u32,
}

impl Count {
    fn of(&mut self, claim: Claim) -> &mut u32 {
        match claim {
            Claim::Own => &mut self.own,
            Claim::Workers => &mut self.workers,
            Claim::Kernel => &mut self.kernel,
            Claim::Devices => &mut self.devices,
        }
    }
}

impl Claims {
    pub(super) fn new(pools: &[Block]) -> Self {
        Self { pools: pools.to_vec(), claimed: HashMap::new() }
    }

    /// One more says this of a prefix. The value is what it changes, if anything.
    pub(super) fn add(&mut self, prefix: Block, claim: Claim) -> Option<Change> {
        self.change(prefix, |count| *count.of(claim) += 1)
    }

    /// One of those that said this of a prefix says it no more.
    pub(super) fn remove(&mut self, prefix: Block, claim: Claim) -> Option<Change> {
        self.change(prefix, |count| *count.of(claim) = count.of(claim).saturating_sub(1))
    }

    fn change(&mut self, prefix: Block, change: impl FnOnce(&mut Count)) -> Option<Change> {
        let before = self.known(prefix);
        match self.claimed.entry(prefix) {
            Entry::Occupied(mut entry) => {
                change(entry.get_mut());
                if *entry.get() == Count::default() {
                    entry.remove();
                }
            }
            Entry::Vacant(entry) => change(entry.insert(Count::default())),
        }
        let after = self.known(prefix);
        (before != after).then_some((prefix, after))
    }

    /// What the program has to know of a prefix. Where tunnels differ, packets go to the workers: they
    /// know which tunnel has the prefix now, and give the kernel what is for it to forward.
    fn known(&self, prefix: Block) -> Option<PrefixAction> {
        let in_pool = self.pools.iter().any(|pool| pool.exceeds(prefix));
        match *self.claimed.get(&prefix)? {
            Count { own: 1.., .. } => Some(PrefixAction::Own),
            // A pool is steered as a whole: tens of thousands of subscribers are one entry.
            Count { workers: 1.., .. } => (!in_pool).then_some(PrefixAction::Steer),
            Count { kernel: 1.., .. } => Some(PrefixAction::Kernel),
            // Elsewhere the kernel's routes say what is behind a device. What a client has behind it may
            // be all the world, of which an access port is a part.
            Count { devices: 1.., .. } => in_pool.then_some(PrefixAction::Kernel),
            Count { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::api::Prefix;

    fn prefix(text: &str) -> Block {
        if let Ok(prefix) = text.parse() {
            return Block::Ipv6(prefix);
        }
        let (address, length) = text.split_once('/').unwrap();
        let (address, length) = (address.parse().unwrap(), length.parse().unwrap());
        Block::Ipv4(Prefix { address, length })
    }

    #[test]
    fn the_last_of_several_takes_a_prefix_with_it() {
        let both = prefix("192.168.7.0/24");
        let mut claims = Claims::default();
        let steered = Some((both, Some(PrefixAction::Steer)));
        assert_eq!(claims.add(both, Claim::Workers), steered);
        assert_eq!(claims.add(both, Claim::Workers), None);
        assert_eq!(claims.remove(both, Claim::Workers), None);
        assert_eq!(claims.remove(both, Claim::Workers), Some((both, None)));
        assert!(claims.claimed.is_empty());
    }

    #[test]
    fn workers_judge_where_tunnels_differ() {
        let both = prefix("192.168.7.0/24");
        let mut claims = Claims::default();
        let to = |action| Some((both, Some(action)));
        assert_eq!(claims.add(both, Claim::Kernel), to(PrefixAction::Kernel));
        assert_eq!(claims.add(both, Claim::Workers), to(PrefixAction::Steer));
        assert_eq!(claims.remove(both, Claim::Workers), to(PrefixAction::Kernel));
        assert_eq!(claims.add(both, Claim::Workers), to(PrefixAction::Steer));
        assert_eq!(claims.remove(both, Claim::Kernel), None);
    }

    #[test]
    fn what_a_pool_covers_is_one_entry_and_a_tunnel_does_not_take_the_pool_away() {
        let (pool, host) = (prefix("10.9.0.0/16"), prefix("10.9.0.5/32"));
        let mut claims = Claims::new(&[pool]);
        assert_eq!(claims.add(pool, Claim::Workers), Some((pool, Some(PrefixAction::Steer))));
        assert_eq!(claims.add(host, Claim::Workers), None);
        assert_eq!(claims.remove(host, Claim::Workers), None);
        assert_eq!(claims.add(host, Claim::Kernel), Some((host, Some(PrefixAction::Kernel))));
        assert_eq!(claims.add(host, Claim::Workers), Some((host, None)));
        for claim in [Claim::Workers, Claim::Kernel] {
            assert_eq!(claims.add(pool, claim), None);
            assert_eq!(claims.remove(pool, claim), None);
        }
        assert_eq!(claims.add(host, Claim::Own), Some((host, Some(PrefixAction::Own))));
    }

    #[test]
    fn devices_are_known_in_pools_alone() {
        let (pool, host) = (prefix("10.9.0.0/16"), prefix("10.9.0.5/32"));
        let mut claims = Claims::new(&[pool]);
        assert_eq!(claims.add(host, Claim::Devices), Some((host, Some(PrefixAction::Kernel))));
        assert_eq!(claims.remove(host, Claim::Devices), Some((host, None)));
        assert_eq!(claims.add(prefix("0.0.0.0/0"), Claim::Devices), None);
    }

    proptest! {
        /// Whatever comes and goes, the program knows what those say that are there.
        #[test]
        fn the_program_knows_what_is_said_now(
            steps in prop::collection::vec((0..7_usize, 0..4_usize, any::<bool>()), 0..90),
        ) {
            let prefixes = [
                "10.9.0.0/16", "10.9.0.5/32", "10.9.0.0/24", "172.16.0.0/12",
                "2001:db8:1::/48", "2001:db8:1:7::/64", "2001:db8:2::/56",
            ]
            .map(prefix);
            let kinds = [Claim::Own, Claim::Workers, Claim::Kernel, Claim::Devices];
            let mut claims = Claims::new(&[prefixes[0], prefixes[4]]);
            let mut program = HashMap::new();
            let mut there = Vec::new();
            for (which, kind, adds) in steps {
                let said = (prefixes[which], kinds[kind]);
                let change = if adds {
                    there.push(said);
                    claims.add(said.0, said.1)
                } else if let Some(at) = there.iter().position(|have| *have == said) {
                    there.swap_remove(at);
                    claims.remove(said.0, said.1)
                } else {
                    None
                };
                match change {
                    Some((prefix, Some(action))) => {
                        prop_assert_ne!(program.insert(prefix, action), Some(action));
                    }
                    Some((prefix, None)) => prop_assert!(program.remove(&prefix).is_some()),
                    None => {}
                }
                for (number, prefix) in prefixes.iter().enumerate() {
                    let says = |claim| there.contains(&(*prefix, claim));
                    let in_pool = matches!(number, 1 | 2 | 5);
                    let expected = if says(Claim::Own) {
                        Some(PrefixAction::Own)
                    } else if says(Claim::Workers) {
                        (!in_pool).then_some(PrefixAction::Steer)
                    } else {
                        let passes = says(Claim::Kernel) || in_pool && says(Claim::Devices);
                        passes.then_some(PrefixAction::Kernel)
                    };
                    prop_assert_eq!(program.get(prefix).copied(), expected);
                }
            }
        }
    }
}
