//! How many connections may be there that have not logged in: in total, and of one address.
//!
//! Such a connection costs us and proves nothing. A permit is a value: dropping it makes room.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

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
        }))
    }

    /// Lets a connection in.
    ///
    /// # Errors
    /// With what to count, if there are as many as are allowed.
    pub fn enter(&self, peer: Ipv4Addr) -> Result<Permit, Count> {
        let inner = &self.0;
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
    fn zero_is_no_limit() {
        let limits = Limits { max_half_open: 0, max_half_open_per_address: 0, ..Limits::default() };
        let admission = Admission::new(&limits);
        let permits: Vec<_> =
            (0..5000).map(|_| admission.enter(Ipv4Addr::LOCALHOST).unwrap()).collect();
        assert_eq!(permits.len(), 5000);
    }
}
