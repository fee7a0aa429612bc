//! TAP: whole Ethernet frames to and from a bridge of the kernel's, one queue.
//!
//! The kernel finishes checksums and cuts large packets before it hands frames over. Never waits,
//! and never returns a frame longer than a chunk holds. The device goes with its value and the last
//! of its ports.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use super::device::{self, TunError};
use super::reason;
use crate::frame::{CAPACITY, Frame, Pool};
use crate::io::{Link, Port, PortCounters};

/// A TAP device.
#[derive(Debug)]
pub struct StandingTap {
    name: String,
    queue: File,
    counters: Arc<PortCounters>,
}

impl StandingTap {
    /// Makes a device of this name, of 1 to 15 bytes, and MTU.
    ///
    /// # Errors
    /// In the operator's words, see [`TunError`].
    pub fn create(name: &str, mtu: u16) -> Result<Self, TunError> {
        let queue = device::create_tap(name, mtu)?;
        Ok(Self { name: name.to_owned(), queue, counters: Arc::default() })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A port on it. One at a time is to be used.
    ///
    /// # Errors
    /// If the system has no descriptor left.
    pub fn port(&self) -> io::Result<TapPort> {
        let queue = self.queue.try_clone()?;
        Ok(TapPort { queue, counters: Arc::clone(&self.counters) })
    }
}

/// The queue of a TAP device.
#[derive(Debug)]
pub struct TapPort {
    queue: File,
    counters: Arc<PortCounters>,
}

impl Port for TapPort {
    fn link(&self) -> Link {
        Link::Ethernet
    }

    fn receive(&mut self, pool: &mut Pool, into: &mut Vec<Frame>, limit: usize) {
        for _ in 0..limit {
            // Without a frame the packet waits in the kernel.
            let Some(mut frame) = pool.take() else { break };
            // A fresh frame has room for its capacity.
            let _ = frame.set_len(CAPACITY);
            let Ok(length) = self.queue.read(frame.data_mut()) else {
                pool.put(frame);
                break;
            };
            frame.truncate(length);
            self.counters.received(1, length);
            into.push(frame);
        }
    }

    fn transmit(&mut self, pool: &mut Pool, frames: &mut Vec<Frame>) {
        for frame in frames.drain(..) {
            match self.queue.write(frame.data()) {
                // The device takes a frame whole or not at all.
                Ok(_) => self.counters.sent(1, frame.len()),
                Err(error) => self.counters.dropped(reason(&error)).add(1),
            }
            pool.put(frame);
        }
    }

    fn flush(&mut self, _pool: &mut Pool) -> bool {
        false
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        Some(self.queue.as_fd())
    }

    fn held(&self) -> usize {
        0
    }

    fn counters(&self) -> &Arc<PortCounters> {
        &self.counters
    }
}
