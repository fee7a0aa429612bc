//! A TUN device of one queue that stays while ports on it come and go.
//!
//! It is an interface that rules and routes of the kernel name, also while nothing passes it. Its
//! line is down until it is said to be up. It goes with its value and the last of its ports.

use std::fs::File;
use std::io;
use std::sync::Arc;

use super::device::{self, TunConfig, TunError};
use super::{PortCounters, TunPort};

/// The device.
#[derive(Debug)]
pub struct StandingTun {
    name: String,
    index: u32,
    queue: File,
    counters: Arc<PortCounters>,
}

impl StandingTun {
    /// Makes a device of this name, of 1 to 15 bytes, and MTU.
    ///
    /// # Errors
    /// In the operator's words, see [`TunError`].
    pub fn create(name: &str, mtu: u16) -> Result<Self, TunError> {
        let config = TunConfig { name: name.to_owned(), queues: 1, mtu, address: None };
        let queue = device::create(&config)?.pop().ok_or(TunError::Invalid("a queue"))?;
        let index = index(name).ok_or(TunError::Invalid("an index"))?;
        let standing = Self { name: config.name, index, queue, counters: Arc::default() };
        standing.set_carrier(false);
        Ok(standing)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the interface is still there: somebody may have deleted it.
    #[must_use]
    pub fn exists(&self) -> bool {
        index(&self.name) == Some(self.index)
    }

    /// What all of its ports count together.
    #[must_use]
    pub const fn counters(&self) -> &Arc<PortCounters> {
        &self.counters
    }

    /// Says whether the line is up. Without it the kernel keeps addresses and routes and drops what
    /// it would send.
    pub fn set_carrier(&self, up: bool) {
        if let Err(error) = device::set_carrier(&self.queue, up) {
            // Older kernels do not know lines of TUN devices: theirs is always up.
            tracing::debug!(%error, device = self.name, "the line's state is not shown");
        }
    }

    /// A port on it. One at a time is to be used.
    ///
    /// # Errors
    /// If the system has no descriptor left.
    pub fn port(&self) -> io::Result<TunPort> {
        Ok(TunPort::of(self.queue.try_clone()?, Arc::clone(&self.counters)))
    }
}

fn index(name: &str) -> Option<u32> {
    nix::net::if_::if_nametoindex(name).ok()
}
