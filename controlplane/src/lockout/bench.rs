//! Logins of one address that are judged at once: whoever wants to be judged sits down, and gets up
//! when that is done.
//!
//! Knows nothing of failures: who may sit is for the caller to say.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// The benches of all addresses that somebody sits or waits for. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Benches(Arc<Mutex<HashMap<Ipv4Addr, Bench>>>);

#[derive(Debug, Default)]
struct Bench {
    seated: usize,
    moved: Arc<Notify>,
}

/// A place on a bench. Dropping it is getting up.
#[derive(Debug)]
pub(super) struct Seat {
    benches: Benches,
    peer: Ipv4Addr,
}

impl Benches {
    /// Sits down beside those who sit there, if that many leave room.
    ///
    /// # Errors
    /// With the moment when somebody gets up, if they do not. Whoever is alone must have room.
    pub(super) fn sit(
        &self,
        peer: Ipv4Addr,
        has_room: impl FnOnce(usize) -> bool,
    ) -> Result<Seat, OwnedNotified> {
        let mut benches = self.lock();
        let bench = benches.entry(peer).or_default();
        if bench.seated > 0 && !has_room(bench.seated) {
            return Err(Arc::clone(&bench.moved).notified_owned());
        }
        bench.seated += 1;
        Ok(Seat { benches: self.clone(), peer })
    }

    /// A count is whole between any two statements.
    fn lock(&self) -> MutexGuard<'_, HashMap<Ipv4Addr, Bench>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut benches = self.benches.lock();
        let Some(bench) = benches.get_mut(&self.peer) else { return };
        bench.seated -= 1;
        bench.moved.notify_waiters();
        if bench.seated == 0 {
            benches.remove(&self.peer);
        }
    }
}
