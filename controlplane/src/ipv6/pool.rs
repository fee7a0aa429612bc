//! Prefixes for sessions: named pools and the fixed prefixes of users, each given once.
//!
//! A user gets the prefix of last time while it is free. Taking and giving back cost little however
//! large the pool is: what was never given needs no memory. Never gives a prefix that overlaps
//! another session's.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashlink::LinkedHashSet;
use protocol::ipv6::Ipv6Prefix;

use crate::config::{Config, Ipv6Pool};

/// Prefixes of a pool that are remembered for those who had them.
const REMEMBERED: usize = 65_536;

/// Why there is no prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Every prefix of the pool is in use.
    #[error("IPv6 pool `{0}` is exhausted")]
    Exhausted(String),
    /// There is no such pool.
    #[error("there is no IPv6 pool `{0}`")]
    NoSuchPool(String),
    /// The user's own prefix is another session's, or overlaps it.
    #[error("prefix {prefix} overlaps {other}, which {holder} has")]
    InUse {
        /// The prefix.
        prefix: Ipv6Prefix,
        /// What it overlaps.
        other: Ipv6Prefix,
        /// Who has that.
        holder: String,
    },
}

/// All prefixes that sessions can have. Clones share it.
#[derive(Debug, Clone)]
pub struct Prefixes(Arc<Mutex<State>>);

/// A prefix that a session has. Dropping it gives it back.
#[derive(Debug)]
pub struct Lease {
    prefix: Ipv6Prefix,
    /// Pool and number, if it is of one.
    place: Option<(usize, u64)>,
    prefixes: Prefixes,
}

impl Lease {
    /// The prefix.
    #[must_use]
    pub const fn prefix(&self) -> Ipv6Prefix {
        self.prefix
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.prefixes.state();
        state.held.remove(&self.prefix.address());
        if let Some((pool, index)) = self.place
            && let Some(pool) = state.pools.get_mut(pool)
        {
            pool.free.insert(index);
        }
    }
}

#[derive(Debug)]
struct State {
    pools: Vec<Pool>,
    /// Prefixes that sessions have, with their holders. They never overlap, so each is known by its
    /// first address.
    held: BTreeMap<Ipv6Addr, (Ipv6Prefix, Box<str>)>,
}

#[derive(Debug)]
struct Pool {
    name: String,
    prefix: Ipv6Prefix,
    length: u8,
    /// From here on none was ever given.
    fresh: u64,
    /// Given once and free again, in the order in which they became so.
    free: LinkedHashSet<u64>,
    /// The last number of each user, and who had each number.
    last_index: HashMap<Box<str>, u64>,
    last_user: HashMap<u64, Box<str>>,
}

impl Prefixes {
    /// The pools of the configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let pools = config.ipv6_pool.iter().map(Pool::new).collect();
        Self(Arc::new(Mutex::new(State { pools, held: BTreeMap::new() })))
    }

    /// Any prefix of the pool for this user, the last one if it is free.
    ///
    /// # Errors
    /// If the pool is exhausted or does not exist.
    pub fn from_pool(&self, pool: &str, user: &str) -> Result<Lease, Refusal> {
        let mut state = self.state();
        let State { pools, held } = &mut *state;
        let at = pools.iter().position(|known| known.name == pool);
        let Some((at, of)) = at.and_then(|at| Some((at, pools.get_mut(at)?))) else {
            return Err(Refusal::NoSuchPool(pool.to_owned()));
        };
        let mut blocked = Vec::new();
        let found = loop {
            let Some(index) = of.take(user) else { break None };
            let Some(prefix) = of.prefix.nth(of.length, index) else { break None };
            if overlapping(held, prefix).is_none() {
                break Some((index, prefix));
            }
            // Somebody has it as a prefix of their own.
            blocked.push(index);
        };
        of.free.extend(blocked);
        let (index, prefix) = found.ok_or_else(|| Refusal::Exhausted(pool.to_owned()))?;
        of.remember(user, index);
        held.insert(prefix.address(), (prefix, user.into()));
        drop(state);
        Ok(Lease { prefix, place: Some((at, index)), prefixes: self.clone() })
    }

    /// This prefix for this user, in a pool or not.
    ///
    /// # Errors
    /// If it overlaps another session's.
    pub fn fixed(&self, prefix: Ipv6Prefix, user: &str) -> Result<Lease, Refusal> {
        let mut state = self.state();
        if let Some((other, holder)) = overlapping(&state.held, prefix) {
            return Err(Refusal::InUse { prefix, other, holder: holder.to_owned() });
        }
        state.held.insert(prefix.address(), (prefix, user.into()));
        drop(state);
        Ok(Lease { prefix, place: None, prefixes: self.clone() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What the lock guards is whole between any two statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What of the prefixes in use overlaps this one.
fn overlapping(
    held: &BTreeMap<Ipv6Addr, (Ipv6Prefix, Box<str>)>,
    prefix: Ipv6Prefix,
) -> Option<(Ipv6Prefix, &str)> {
    // None of them overlaps another, so the last one that begins at or before its end is the only
    // one that can.
    let (_, (other, holder)) = held.range(..=prefix.last()).next_back()?;
    other.overlaps(prefix).then_some((*other, holder))
}

impl Pool {
    fn new(config: &Ipv6Pool) -> Self {
        Self {
            name: config.name.clone(),
            prefix: config.prefix.0,
            length: config.prefix_length,
            fresh: 0,
            free: LinkedHashSet::new(),
            last_index: HashMap::new(),
            last_user: HashMap::new(),
        }
    }

    /// A number that nobody has: the user's last one, one that nobody ever had, or the one that
    /// is free for longest.
    fn take(&mut self, user: &str) -> Option<u64> {
        if let Some(index) = self.last_index.get(user)
            && self.free.remove(index)
        {
            return Some(*index);
        }
        if self.fresh < self.prefix.count(self.length) && self.free.len() < REMEMBERED {
            self.fresh += 1;
            return Some(self.fresh - 1);
        }
        self.free.pop_front()
    }

    fn remember(&mut self, user: &str, index: u64) {
        if let Some(previous) = self.last_user.insert(index, user.into())
            && *previous != *user
            && self.last_index.get(&previous) == Some(&index)
        {
            self.last_index.remove(&previous);
        }
        if let Some(before) = self.last_index.insert(user.into(), index)
            && before != index
        {
            self.last_user.remove(&before);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefix(text: &str) -> Ipv6Prefix {
        text.parse().unwrap()
    }

    fn prefixes(pool: &str, length: u8) -> Prefixes {
        let pool = format!(
            "[[ipv6-pool]]\nname = \"six\"\nprefix = \"{pool}\"\nprefix-length = {length}\n"
        );
        Prefixes::new(&Config::parse(&pool).unwrap())
    }

    #[test]
    fn users_get_their_last_prefix_again_and_nobody_gets_another_ones() {
        let prefixes = prefixes("2001:db8:1::/62", 64);
        let take = |user: &str| prefixes.from_pool("six", user);
        let ann = take("ann").unwrap();
        let bob = take("bob").unwrap();
        assert_eq!(ann.prefix(), prefix("2001:db8:1::/64"));
        assert_eq!(bob.prefix(), prefix("2001:db8:1:1::/64"));
        drop(ann);
        let (carl, dora) = (take("carl").unwrap(), take("dora").unwrap());
        assert_eq!(take("ann").unwrap().prefix(), prefix("2001:db8:1::/64"));
        // Two sessions of a user have two prefixes.
        let again = take("bob").unwrap();
        assert_eq!(again.prefix(), prefix("2001:db8:1::/64"));
        assert_eq!(take("eve").unwrap_err(), Refusal::Exhausted("six".to_owned()));
        assert_eq!(take("eve").unwrap_err().to_string(), "IPv6 pool `six` is exhausted");
        drop((carl, dora, again));
        assert!(take("eve").is_ok());
        assert!(matches!(prefixes.from_pool("none", "eve"), Err(Refusal::NoSuchPool(_))));
    }

    #[test]
    fn fixed_prefixes_and_pools_keep_out_of_each_others_way() {
        let prefixes = prefixes("2001:db8:1::/62", 64);
        let fixed = prefixes.fixed(prefix("2001:db8:1:1::/64"), "ann").unwrap();
        let refused = prefixes.fixed(prefix("2001:db8:1::/56"), "bob").unwrap_err();
        assert_eq!(
            refused.to_string(),
            "prefix 2001:db8:1::/56 overlaps 2001:db8:1:1::/64, which ann has"
        );
        assert!(prefixes.fixed(prefix("2001:db8:1:1::5/128"), "bob").is_err());
        let taken: Vec<_> =
            (0..3).map(|n| prefixes.from_pool("six", &n.to_string()).unwrap()).collect();
        assert!(taken.iter().all(|lease| !lease.prefix().overlaps(fixed.prefix())));
        assert!(prefixes.from_pool("six", "late").is_err());
        drop(fixed);
        assert_eq!(
            prefixes.from_pool("six", "late").unwrap().prefix(),
            prefix("2001:db8:1:1::/64")
        );
    }

    #[test]
    fn a_pool_of_billions_costs_what_is_used_of_it() {
        let prefixes = prefixes("2001:db8::/32", 64);
        let leases: Vec<_> =
            (0..1000).map(|n| prefixes.from_pool("six", &n.to_string()).unwrap()).collect();
        assert_eq!(leases.last().unwrap().prefix(), prefix("2001:db8:0:3e7::/64"));
    }

    proptest! {
        #[test]
        fn no_two_sessions_ever_have_overlapping_prefixes(
            steps in prop::collection::vec((0_u8..4, 0_u8..6, 0_u128..64, 0_u8..=6), 1..80),
        ) {
            let prefixes = prefixes("2001:db8:1::/60", 62);
            let mut leases: Vec<Lease> = Vec::new();
            for (step, user, offset, shorter) in steps {
                let user = user.to_string();
                match step {
                    0 => leases.extend(prefixes.from_pool("six", &user)),
                    1 => {
                        let base = prefix("2001:db8:1::/48").address().to_bits() + (offset << 60);
                        let wanted = Ipv6Prefix::around(Ipv6Addr::from_bits(base), 64 - shorter);
                        leases.extend(prefixes.fixed(wanted, &user));
                    }
                    _ if leases.is_empty() => {}
                    _ => {
                        let at = offset as usize % leases.len();
                        leases.swap_remove(at);
                    }
                }
                for (at, one) in leases.iter().enumerate() {
                    for other in &leases[at + 1..] {
                        prop_assert!(!one.prefix().overlaps(other.prefix()));
                    }
                }
            }
            drop(leases);
            prop_assert!(prefixes.state().held.is_empty());
            let all: Vec<_> = (0..4).map(|n| prefixes.from_pool("six", &n.to_string())).collect();
            prop_assert!(all.iter().all(Result::is_ok));
        }
    }
}
