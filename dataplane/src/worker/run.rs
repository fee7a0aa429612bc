//! The thread of a worker: turns as long as there is work, then sleep on one poll set.

use std::os::fd::AsFd;
use std::time::{Duration, Instant as System};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use protocol::time::Instant;

use super::{Attached, Core, Turn, Worker};
use crate::clock;

/// Turns without work before the worker sleeps: what comes in bursts is often not alone, and a look
/// at a ring is cheap. A look at a socket is a system call, as is the sleep, which ends at once if
/// something is there.
const SPIN: u32 = 8;
const SPIN_ON_SOCKETS: u32 = 1;
/// Marks the letter box's bell in the poll set.
const BELL: u64 = 1;
/// How often the kernel's own counters are fetched, and the longest sleep.
const REFRESH: Duration = Duration::from_secs(1);
/// Sleep while a port has frames to push out that the kernel did not take, or where a port cannot
/// wake the worker.
const PENDING: Duration = Duration::from_millis(1);

/// When a worker sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sleep {
    /// When there is nothing to do.
    WhenIdle,
    /// Never: its core is its own.
    Never,
}

impl Worker {
    /// The poll set: every port that has a descriptor, the devices of tunnels, and the mailbox.
    pub(crate) fn poll_set(&mut self) -> nix::Result<Epoll> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let readable = || EpollEvent::new(EpollFlags::EPOLLIN, 0);
        epoll.add(self.mailbox.bell(), EpollEvent::new(EpollFlags::EPOLLIN, BELL))?;
        epoll.add(&self.core.devices.watch()?.0, readable())?;
        for attached in &self.ports {
            if let Some(fd) = attached.port.readiness() {
                epoll.add(fd.as_fd(), readable())?;
            }
        }
        Ok(epoll)
    }

    /// Works until the mailbox says stop.
    pub(crate) fn run(mut self, epoll: &Epoll, epoch: System, rest: Sleep) {
        let wakes = self.ports.iter().all(|attached| attached.port.readiness().is_some());
        let has_rings = self.ports.iter().any(Attached::is_ring);
        let spin = if has_rings { SPIN } else { SPIN_ON_SOCKETS };
        let mut idle = 0;
        let mut refreshed = clock::since(epoch);
        let mut worked_since = None;
        while !self.mailbox.stopped() {
            let now = clock::since(epoch);
            if let Some(since) = worked_since.take() {
                let time = now.since(since).as_micros();
                self.core.sink.meter.busy_micros.add(u64::try_from(time).unwrap_or(u64::MAX));
            }
            let turn = self.turn(now);
            if now.since(refreshed) >= REFRESH {
                refreshed = now;
                for attached in &mut self.ports {
                    attached.port.refresh_counters();
                }
            }
            if turn == Turn::Busy {
                worked_since = Some(now);
                idle = 0;
                continue;
            }
            idle = u32::saturating_add(idle, 1);
            if idle < spin || rest == Sleep::Never {
                std::hint::spin_loop();
                continue;
            }
            if self.mailbox.prepare_sleep() {
                let is_short = turn == Turn::Pending || !wakes;
                let until = now + if is_short { PENDING } else { REFRESH };
                let Core { acks, waiting, fragments, .. } = &self.core;
                let deadlines = [acks.deadline(), waiting.deadline(), fragments.deadline()];
                let until = deadlines.into_iter().flatten().fold(until, Instant::min);
                let rang = self.sleep(epoll, until.since(now));
                self.looks.soon();
                self.mailbox.awake(rang);
            }
        }
    }

    /// Whether the letter box's bell may have rung.
    fn sleep(&self, epoll: &Epoll, time: Duration) -> bool {
        // Rounded up: a sleep that ends before the deadline would only spin.
        let millis = time.as_micros().div_ceil(1000);
        let timeout = EpollTimeout::from(u16::try_from(millis).unwrap_or(u16::MAX));
        let mut events = [EpollEvent::empty(); 8];
        match epoll.wait(&mut events, timeout) {
            // With more than there is room for, it may be among the rest.
            Ok(ready) if ready < events.len() => {
                events.iter().take(ready).any(|event| event.data() == BELL)
            }
            Ok(_) | Err(Errno::EINTR) => true,
            Err(error) => {
                // Without its poll set a worker still works, only later.
                tracing::error!(%error, "waiting for packets failed");
                std::thread::sleep(PENDING);
                true
            }
        }
    }
}
