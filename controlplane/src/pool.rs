//! Addresses for sessions: named pools and the fixed addresses of users, each given once.
//!
//! Taking and giving back cost constant time. A user gets the address of last time while it is
//! free, because the address that was free for longest is handed out first. Never gives an address
//! that is some session's, our own end of a tunnel, or reserved for another user.

mod free_list;

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use free_list::FreeList;

use crate::config::{Config, Pool as PoolConfig};

/// Who holds our own ends of tunnels.
const SERVER: &str = "this server";

/// Why there is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No address of the pool and of those that help it out is free.
    #[error("pool `{name}` is exhausted: {used} addresses are in use, {reserved} belong to users")]
    Exhausted {
        /// The pool.
        name: String,
        /// How many addresses sessions have.
        used: usize,
        /// How many more are kept for the users that they belong to.
        reserved: usize,
    },
    /// There is no such pool.
    #[error("there is no pool `{0}`")]
    NoSuchPool(String),
    /// The user's own address is another session's.
    #[error("address {address} is in use by {holder}")]
    InUse {
        /// The address.
        address: Ipv4Addr,
        /// Who has it.
        holder: String,
    },
}

/// All addresses that sessions can have. Clones share it.
#[derive(Debug, Clone)]
pub struct Addresses(Arc<Mutex<State>>);

/// An address that a session has. Dropping it gives it back.
#[derive(Debug)]
pub struct Lease {
    address: Ipv4Addr,
    addresses: Addresses,
}

impl Lease {
    /// The address.
    #[must_use]
    pub const fn address(&self) -> Ipv4Addr {
        self.address
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.addresses.state().release(self.address);
    }
}

/// How full a pool is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The pool.
    pub name: String,
    /// Addresses that it has.
    pub size: usize,
    /// Addresses that can still be given.
    pub free: usize,
}

#[derive(Debug)]
struct State {
    pools: Vec<Pool>,
    /// Who has which address, from a pool or not.
    holders: HashMap<Ipv4Addr, String>,
    /// Addresses that belong to one user, and so are not given to another.
    reserved: HashSet<Ipv4Addr>,
}

#[derive(Debug)]
struct Pool {
    name: String,
    /// Which one helps out when this one is exhausted.
    next: Option<usize>,
    /// Address of each index, ascending, so that an address's index is found by bisection.
    ranges: Vec<Range>,
    free: FreeList,
    /// Who had each address last.
    last_user: Vec<Option<Box<str>>>,
    /// The index of each user's last address.
    last_index: HashMap<Box<str>, u32>,
}

/// Consecutive addresses and the index of the first.
#[derive(Debug)]
struct Range {
    first: u32,
    size: u32,
    index: u32,
}

impl Addresses {
    /// The pools of the configuration, less our own ends of tunnels.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let own: HashSet<Ipv4Addr> =
            config.profile.iter().filter_map(|profile| profile.local_address).collect();
        let next = |pool: &PoolConfig| {
            let next = pool.next.as_ref()?;
            config.pool.iter().position(|known| known.name == *next)
        };
        let pools = config.pool.iter().map(|pool| Pool::new(pool, next(pool), &own)).collect();
        let holders = own.into_iter().map(|address| (address, SERVER.to_owned())).collect();
        let state = State { pools, holders, reserved: HashSet::new() };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Any address of the pool for this user, the last one if it is free; of the next pool in the
    /// chain if there is none.
    ///
    /// # Errors
    /// If the pool is exhausted or does not exist.
    pub fn from_pool(&self, pool: &str, user: &str) -> Result<Lease, Refusal> {
        let mut state = self.state();
        let known = |name: &str| state.pools.iter().position(|pool| pool.name == name);
        let first = known(pool).ok_or_else(|| Refusal::NoSuchPool(pool.to_owned()))?;
        // The configuration's chains end.
        let chain: Vec<usize> =
            std::iter::successors(Some(first), |at| state.pools.get(*at)?.next).collect();
        // The address of last time first, in whichever pool of the chain it is.
        let takes = [Pool::take_again, Pool::take];
        let State { pools, holders, .. } = &mut *state;
        let address = takes
            .into_iter()
            .find_map(|take| chain.iter().find_map(|at| take(pools.get_mut(*at)?, user)));
        let Some(address) = address else { return Err(state.exhausted(pool, &chain)) };
        holders.insert(address, user.to_owned());
        Ok(Lease { address, addresses: self.clone() })
    }

    /// The user's own address, in a pool or outside of all.
    ///
    /// # Errors
    /// If a session has it.
    pub fn fixed(&self, address: Ipv4Addr, user: &str) -> Result<Lease, Refusal> {
        let mut state = self.state();
        if let Some(holder) = state.holders.get(&address) {
            return Err(Refusal::InUse { address, holder: holder.clone() });
        }
        state.withdraw(address);
        state.holders.insert(address, user.to_owned());
        Ok(Lease { address, addresses: self.clone() })
    }

    /// From now on the address belongs to one user: no pool gives it to others.
    pub fn reserve(&self, address: Ipv4Addr) {
        let mut state = self.state();
        if state.reserved.insert(address) {
            state.withdraw(address);
        }
    }

    /// The address belongs to its pool again, if it has one.
    pub fn unreserve(&self, address: Ipv4Addr) {
        let mut state = self.state();
        if state.reserved.remove(&address) && !state.holders.contains_key(&address) {
            state.restore(address);
        }
    }

    /// Whether the address belongs to one user.
    #[must_use]
    pub fn is_reserved(&self, address: Ipv4Addr) -> bool {
        self.state().reserved.contains(&address)
    }

    /// Whether the address is one of a pool: then the whole pool is routed to us already.
    #[must_use]
    pub fn in_a_pool(&self, address: Ipv4Addr) -> bool {
        self.state().pools.iter().any(|pool| pool.index(address).is_some())
    }

    /// How full each pool is.
    #[must_use]
    pub fn usage(&self) -> Vec<Usage> {
        let state = self.state();
        let usage = |pool: &Pool| Usage {
            name: pool.name.clone(),
            size: pool.last_user.len(),
            free: pool.free.len(),
        };
        state.pools.iter().map(usage).collect()
    }

    /// The state is whole after every call, so a panic elsewhere while it was held spoils nothing.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What became of all addresses of these pools.
    fn exhausted(&self, name: &str, chain: &[usize]) -> Refusal {
        let pools = || chain.iter().filter_map(|at| self.pools.get(*at));
        let has = |address: &&Ipv4Addr| pools().any(|pool| pool.index(**address).is_some());
        let kept = |address: &&Ipv4Addr| !self.holders.contains_key(address);
        let reserved = self.reserved.iter().filter(has).filter(kept).count();
        let size: usize = pools().map(|pool| pool.last_user.len()).sum();
        Refusal::Exhausted { name: name.to_owned(), used: size.saturating_sub(reserved), reserved }
    }

    fn release(&mut self, address: Ipv4Addr) {
        self.holders.remove(&address);
        if !self.reserved.contains(&address) {
            self.restore(address);
        }
    }

    /// Takes an address out of its pool's free ones, if it has a pool and is free.
    fn withdraw(&mut self, address: Ipv4Addr) {
        for pool in &mut self.pools {
            if let Some(index) = pool.index(address) {
                pool.free.remove(index);
            }
        }
    }

    /// Puts an address back to its pool's free ones, if it has a pool.
    fn restore(&mut self, address: Ipv4Addr) {
        for pool in &mut self.pools {
            if let Some(index) = pool.index(address) {
                pool.free.push_back(index);
            }
        }
    }
}

impl Pool {
    fn new(config: &PoolConfig, next: Option<usize>, own: &HashSet<Ipv4Addr>) -> Self {
        let mut addresses: Vec<Ipv4Addr> =
            config.ranges.iter().flat_map(crate::config::AddressRange::addresses).collect();
        addresses.retain(|address| !own.contains(address));
        addresses.sort_unstable();
        let mut ranges: Vec<Range> = Vec::new();
        for (index, address) in (0_u32..).zip(&addresses) {
            let bits = address.to_bits();
            match ranges.last_mut() {
                Some(range) if bits - range.first == range.size => range.size += 1,
                _ => ranges.push(Range { first: bits, size: 1, index }),
            }
        }
        Self {
            name: config.name.clone(),
            next,
            ranges,
            free: FreeList::full(addresses.len()),
            last_user: vec![None; addresses.len()],
            last_index: HashMap::new(),
        }
    }

    fn index(&self, address: Ipv4Addr) -> Option<u32> {
        let bits = address.to_bits();
        let place = self.ranges.partition_point(|range| range.first <= bits).checked_sub(1)?;
        let range = self.ranges.get(place)?;
        let offset = bits - range.first;
        (offset < range.size).then_some(range.index + offset)
    }

    fn address(&self, index: u32) -> Option<Ipv4Addr> {
        let place = self.ranges.partition_point(|range| range.index <= index).checked_sub(1)?;
        let range = self.ranges.get(place)?;
        Some(Ipv4Addr::from_bits(range.first + (index - range.index)))
    }

    /// The address that the user had last, if it is free.
    fn take_again(&mut self, user: &str) -> Option<Ipv4Addr> {
        let index = *self.last_index.get(user)?;
        if self.free.remove(index) { self.address(index) } else { None }
    }

    /// The address that was free for longest.
    fn take(&mut self, user: &str) -> Option<Ipv4Addr> {
        let index = self.free.pop_front()?;
        let last = self.last_user.get_mut(index as usize)?;
        if last.as_deref() != Some(user) {
            // One address remembers one user, so there is never more to remember than addresses.
            if let Some(previous) = last.replace(user.into())
                && self.last_index.get(&previous) == Some(&index)
            {
                self.last_index.remove(&previous);
            }
            self.last_index.insert(user.into(), index);
        }
        self.address(index)
    }
}

#[cfg(test)]
mod tests;
