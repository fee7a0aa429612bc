//! How many connections may be there that have not logged in, in total and of one address, and how
//! fast an address may open them.
//!
//! Memory is bounded: of addresses that opened connections, the latest are remembered. Such a connection costs us and proves nothing. A permit is a value: dropping it makes room.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hashlink::LruCache;

use crate::config::Limits;

use super::counters::Count;

/// Counts connections that have not logged in. Clones share it.
#[derive(Debug, Clone)]
pub struct Admission(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    total: u32,
    per_address: u32,
    half_open: Mutex<HalfOpen>,
    rate: Option<Mutex<Rate>>,
}

/// Addresses whose rate is remembered.
const ADDRESSES: usize = 1 << 16;

/// Connections a second of one address: a token bucket each, kept as the time at which it will be
/// full again.
#[derive(Debug)]
struct Rate {
    /// The time that a connection costs.
    interval: Duration,
    /// The time that may be owed.
    burst: Duration,
    full_at: LruCache<Ipv4Addr, Instant, std::hash::RandomState>,
}

impl Rate {
    fn new(limits: &Limits) -> Option<Self> {
        let interval = Duration::from_secs(1).checked_div(limits.connection_rate)?;
        Some(Self {
            interval,
            burst: interval.saturating_mul(limits.connection_burst),
            full_at: LruCache::with_hasher(ADDRESSES, std::hash::RandomState::new()),
        })
    }

    fn allows(&mut self, peer: Ipv4Addr, now: Instant) -> bool {
        let full_at = self.full_at.get(&peer).map_or(now, |at| now.max(*at)) + self.interval;
        let allowed = full_at.saturating_duration_since(now) <= self.burst;
        if allowed {
            self.full_at.insert(peer, full_at);
        }
        allowed
    }
}

#[derive(Debug, Default)]
struct HalfOpen {
    total: u32,
    by_address: HashMap<Ipv4Addr, u32>,
}

/// A connection that may be there. Dropping it makes room for another.
#[derive(Debug)]
pub struct Permit {
    peer: Ipv4Addr,
    admission: Admission,
}

impl Admission {
    /// With these limits; zero is none.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self(Arc::new(Inner {
            total: limits.max_half_open,
            per_address: limits.max_half_open_per_address,
            half_open: Mutex::default(),
            rate: Rate::new(limits).map(Mutex::new),
        }))
    }

    /// Lets a connection in.
    ///
    /// # Errors
    /// With what to count, if there are as many as are allowed, or they come too fast.
    pub fn enter(&self, peer: Ipv4Addr) -> Result<Permit, Count> {
        let inner = &self.0;
        if let Some(rate) = &inner.rate
            && !rate.lock().unwrap_or_else(PoisonError::into_inner).allows(peer, Instant::now())
        {
            return Err(Count::RateRefused);
        }
        let mut half_open = inner.half_open.lock().unwrap_or_else(PoisonError::into_inner);
        let of_peer = half_open.by_address.get(&peer).copied().unwrap_or(0);
        if inner.per_address != 0 && of_peer >= inner.per_address {
            return Err(Count::HalfOpenAddressRefused);
        }
        if inner.total != 0 && half_open.total >= inner.total {
            return Err(Count::HalfOpenRefused);
        }
        half_open.total += 1;
        half_open.by_address.insert(peer, of_peer + 1);
        Ok(Permit { peer, admission: self.clone() })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let inner = &self.admission.0;
        let mut half_open = inner.half_open.lock().unwrap_or_else(PoisonError::into_inner);
        half_open.total -= 1;
        if let Some(of_peer) = half_open.by_address.get_mut(&self.peer) {
            *of_peer -= 1;
            if *of_peer == 0 {
                half_open.by_address.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_all_the_room() {
        let limits = Limits { max_half_open: 3, max_half_open_per_address: 2, ..Limits::default() };
        let admission = Admission::new(&limits);
        let [a, b, c] = [1, 2, 3].map(|n| Ipv4Addr::new(192, 0, 2, n));
        let first = admission.enter(a).unwrap();
        let second = admission.enter(a).unwrap();
        assert_eq!(admission.enter(a).unwrap_err(), Count::HalfOpenAddressRefused);
        let third = admission.enter(b).unwrap();
        assert_eq!(admission.enter(c).unwrap_err(), Count::HalfOpenRefused);
        drop(first);
        drop(admission.enter(a).unwrap());
        drop((second, third));
        let half_open = admission.0.half_open.lock().unwrap();
        assert_eq!((half_open.total, half_open.by_address.len()), (0, 0));
    }

    #[test]
    fn connections_beyond_the_rate_are_refused_and_the_memory_for_it_is_bounded() {
        let limits = Limits { connection_rate: 10, connection_burst: 5, ..Limits::default() };
        let (mut rate, start) = (Rate::new(&limits).unwrap(), Instant::now());
        let [a, b] = [1, 2].map(|n| Ipv4Addr::new(192, 0, 2, n));
        let mut allowed = |peer, after| {
            let now = start + Duration::from_millis(after);
            (0..100).filter(|_| rate.allows(peer, now)).count()
        };
        assert_eq!((allowed(a, 0), allowed(b, 0)), (5, 5));
        assert_eq!((allowed(a, 99), allowed(a, 100), allowed(a, 350)), (0, 1, 2));
        assert_eq!(allowed(a, 100_000), 5);
        for bits in 0..100_000 {
            rate.allows(Ipv4Addr::from_bits(bits), start);
        }
        assert_eq!(rate.full_at.len(), ADDRESSES);
    }

    #[test]
    fn zero_is_no_limit() {
        let limits = Limits { max_half_open: 0, max_half_open_per_address: 0, ..Limits::default() };
        let admission = Admission::new(&limits);
        let permits: Vec<_> =
            (0..5000).map(|_| admission.enter(Ipv4Addr::LOCALHOST).unwrap()).collect();
        assert_eq!(permits.len(), 5000);
    }
}
