//! Frame I/O: a small trait and its drivers.
//!
//! | driver | packets | used as |
//! |---|---|---|
//! | [`xsk`] | Ethernet frames of one NIC queue (AF_XDP) | access and core ports |
//! | [`raw`] | IPv4 packets of protocol 47 (raw socket) | access port of the embedded default; reassembled GRE from the kernel beside AF_XDP |
//! | [`tun`] | IP packets of one TUN queue | core port of the embedded default; the way to the kernel beside AF_XDP |
//! | [`memory`] | either | tests and benches |

mod counters;
pub mod memory;
pub(crate) mod nic;
pub mod offload;
pub mod raw;
mod source;
mod sys;
pub mod tun;
pub mod xsk;

use std::os::fd::BorrowedFd;
use std::sync::Arc;

pub use counters::{Counter, PortCounters, PortDrop};
pub(crate) use source::{SourceToward, source_toward};

use crate::frame::{Frame, Pool};

/// What a port's frames start with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// An Ethernet header.
    Ethernet,
    /// An IP header.
    Ip,
}

/// One queue of one port, as the worker that owns it sees it.
///
/// Frames are owned values: `receive` takes them from the pool and gives them to the worker,
/// `transmit` takes them back. No call waits.
pub trait Port: Send {
    /// What the frames start with.
    fn link(&self) -> Link;

    /// Appends the packets that have arrived, at most `limit`, to `into`.
    fn receive(&mut self, pool: &mut Pool, into: &mut Vec<Frame>, limit: usize);

    /// Takes all of `frames` for transmission and leaves it empty. What finds no room goes back
    /// to the pool and is counted as dropped by the port.
    fn transmit(&mut self, pool: &mut Pool, frames: &mut Vec<Frame>);

    /// Pushes out what was queued and takes finished frames back into the pool. `true` if work
    /// remains and the call is to be repeated soon. To be called once per round of the worker,
    /// also when nothing was transmitted: a driver keeps its receive side stocked here.
    fn flush(&mut self, pool: &mut Pool) -> bool;

    /// Readable when `receive` would find packets. `None` for a port without a descriptor.
    fn readiness(&self) -> Option<BorrowedFd<'_>>;

    /// Frames that are in the driver's or the kernel's hands, neither in a pool nor the worker's.
    fn held(&self) -> usize;

    /// The port's counters, to be read by anyone.
    fn counters(&self) -> &Arc<PortCounters>;

    /// Fetches the drops that the kernel counts into the counters. One system call or none: for
    /// about once a second, not once a burst.
    fn refresh_counters(&mut self) {}
}
