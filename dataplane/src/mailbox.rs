//! What reaches a worker from other threads: orders of the control plane, frames of other workers.
//!
//! All queues are bounded but the one of closed tunnels, which never holds more than there were
//! tunnels. Nobody waits here: a full queue is the sender's to answer.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use crossbeam::queue::{ArrayQueue, SegQueue};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::api::{Command, Forward, Ipv6Network, Ipv6Prefix, Outer, Prefix, TunnelId};
use crate::counters::TunnelShared;
use crate::frame::Frame;
use crate::worker::Luggage;

/// Orders that wait for a worker.
const ORDERS: usize = 4096;
/// Frames on their way to one worker.
const HANDED: usize = 1024;

/// What the control plane wants of a worker.
#[derive(Debug)]
pub(crate) enum Order {
    /// A tunnel moves. Every worker learns of it.
    Move(Move),
    /// For a worker that has too much: to name tunnels that another one should have.
    Shed(Shed),
    /// A tunnel exists. Every worker learns of it, to know whom its frames belong to.
    Open(Opening),
    /// For the owner of a tunnel.
    Command(Command),
    /// For the others: which inner destinations the tunnel has now.
    Prefixes { tunnel: TunnelId, destinations: Destinations },
    /// The same of IPv6.
    PrefixesIpv6 { tunnel: TunnelId, prefixes: Vec<Ipv6Prefix> },
}

/// The inner destinations that workers bring to a tunnel.
#[derive(Debug, Clone, Default)]
pub(crate) struct Destinations {
    pub(crate) prefixes: Vec<Prefix>,
    /// Only what the kernel sends to them goes into the tunnel; all else goes to the kernel.
    pub(crate) through_kernel: bool,
}

impl Destinations {
    /// Those of a tunnel behind which these prefixes lie.
    pub(crate) fn of(forward: &Forward, prefixes: &[Prefix]) -> Self {
        match forward {
            Forward::Fast => Self { prefixes: prefixes.to_vec(), through_kernel: false },
            Forward::Kernel => Self { prefixes: prefixes.to_vec(), through_kernel: true },
            // The kernel chose the tunnel when it chose the device.
            Forward::Device(_) => Self::default(),
        }
    }
}

/// The inner destinations of IPv6 that workers bring to a tunnel.
pub(crate) fn destinations_ipv6(forward: &Forward, ipv6: Option<&Ipv6Network>) -> Vec<Ipv6Prefix> {
    match forward {
        Forward::Fast | Forward::Kernel => {
            ipv6.map(|ipv6| ipv6.prefixes.clone()).unwrap_or_default()
        }
        Forward::Device(_) => Vec::new(),
    }
}

/// A tunnel as it is announced.
#[derive(Debug, Clone)]
pub(crate) struct Opening {
    pub(crate) tunnel: TunnelId,
    pub(crate) outer: Outer,
    /// The number of the worker that has the tunnel.
    pub(crate) owner: u16,
    pub(crate) shared: Arc<TunnelShared>,
}

/// A frame for its tunnel's owner, found on another worker's queue.
#[derive(Debug)]
pub(crate) enum Handed {
    /// Starts with the outer IP header.
    Uplink(Frame),
    /// Starts with the inner IP header, whose Time To Live is settled.
    Downlink(Frame),
}

impl Handed {
    pub(crate) const fn frame(&self) -> &Frame {
        match self {
            Self::Uplink(frame) | Self::Downlink(frame) => frame,
        }
    }

    pub(crate) fn into_frame(self) -> Frame {
        match self {
            Self::Uplink(frame) | Self::Downlink(frame) => frame,
        }
    }
}

/// A tunnel that moves from one worker to another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Move {
    pub(crate) tunnel: TunnelId,
    pub(crate) from: u16,
    pub(crate) to: u16,
}

/// What a worker that has too much is to get rid of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shed {
    /// Who should have it.
    pub(crate) to: u16,
    /// Which part of the worker's packets, in percent.
    pub(crate) percent: u32,
}

/// What one worker puts into another one's ring.
#[derive(Debug)]
pub(crate) enum Message {
    /// A frame, and the worker that found it.
    Frame { by: u16, handed: Handed },
    /// The same of a tunnel that has just moved, by the worker that had it until then.
    Passed(Handed),
    /// A tunnel's state.
    Tunnel(Box<Luggage>),
    /// The worker `by` has sent all that it sends to the worker from which the tunnel moves.
    Done { tunnel: TunnelId, by: u16 },
}

/// A tunnel that is gone, and what was ordered before that.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Close {
    pub(crate) tunnel: TunnelId,
    /// Orders that were given before: among them the tunnel's last words.
    pub(crate) after: u64,
}

/// One worker's letter box.
#[derive(Debug)]
pub(crate) struct Mailbox {
    orders: ArrayQueue<Order>,
    /// Orders that were ever put in.
    ordered: AtomicU64,
    /// Not bounded: a close must not fail, and each tunnel is closed once.
    closes: SegQueue<Close>,
    pub(crate) handed: ArrayQueue<Message>,
    stop: AtomicBool,
    asleep: AtomicBool,
    bell: EventFd,
}

impl Mailbox {
    pub(crate) fn new() -> nix::Result<Self> {
        Ok(Self {
            orders: ArrayQueue::new(ORDERS),
            ordered: AtomicU64::new(0),
            closes: SegQueue::new(),
            handed: ArrayQueue::new(HANDED),
            stop: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            bell: EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?,
        })
    }

    /// Gives an order, which comes back if there is no room. Only one thread at a time may call
    /// this or [`Self::close`], so that the order of orders and closes is known.
    pub(crate) fn order(&self, order: Order) -> Result<(), Order> {
        self.orders.push(order)?;
        self.ordered.fetch_add(1, Ordering::Relaxed);
        self.ring();
        Ok(())
    }

    /// Ends a tunnel, after all that was ordered so far.
    pub(crate) fn close(&self, tunnel: TunnelId) {
        self.closes.push(Close { tunnel, after: self.ordered.load(Ordering::Relaxed) });
        self.ring();
    }

    /// Whether an order would find room. Only whoever may call [`Self::order`] knows for how long.
    pub(crate) fn has_room(&self) -> bool {
        !self.orders.is_full()
    }

    /// Orders that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.orders.len()
    }

    /// The next order.
    pub(crate) fn next_order(&self) -> Option<Order> {
        self.orders.pop()
    }

    /// The next close, whether it is due or not.
    pub(crate) fn next_close(&self) -> Option<Close> {
        self.closes.pop()
    }

    /// To be called after something was put in: wakes the worker if it sleeps.
    pub(crate) fn ring(&self) {
        // Pairs with the fence in `prepare_sleep`: either we see that the worker sleeps, or it
        // sees what we put in.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed) {
            // Only a counter at its maximum refuses, and then the bell is ringing already.
            let _ = self.bell.write(1);
        }
    }

    /// The worker is about to wait. `false` if something is here, and it must not.
    pub(crate) fn prepare_sleep(&self) -> bool {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let empty = self.orders.is_empty()
            && self.closes.is_empty()
            && self.handed.is_empty()
            && !self.stopped();
        if !empty {
            self.asleep.store(false, Ordering::Relaxed);
        }
        empty
    }

    /// The worker is awake again; `rang` if the bell may have woken it. A bell that rings later is
    /// heard before the next sleep.
    pub(crate) fn awake(&self, rang: bool) {
        self.asleep.store(false, Ordering::Relaxed);
        if rang {
            // Nothing to read means that something else woke the worker.
            let _ = self.bell.read();
        }
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.ring();
    }

    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Readable when the worker is to wake up.
    pub(crate) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
