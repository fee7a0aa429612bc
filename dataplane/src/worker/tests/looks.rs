//! Sockets beside rings: a look at them is a system call, which a turn does not make for nothing.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::eventfd::EventFd;
use protocol::time::Instant;

use super::subscriber::packet;
use crate::api::Role;
use crate::api::events::EventRings;
use crate::balance;
use crate::counters::WorkerMeter;
use crate::frame::{Frame, Pool, Region};
use crate::io::memory::{MemoryPort, cable};
use crate::io::{Link, Port, PortCounters};
use crate::mailbox::Mailbox;
use crate::mppe::Kernel;
use crate::worker::{Attached, Kind, Line, Lines, Surroundings, Worker};

/// A port that the kernel has, as far as a worker can tell.
struct Socket {
    port: MemoryPort,
    descriptor: EventFd,
    looks: Arc<AtomicUsize>,
}

impl Port for Socket {
    fn link(&self) -> Link {
        self.port.link()
    }

    fn receive(&mut self, pool: &mut Pool, into: &mut Vec<Frame>, limit: usize) {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.port.receive(pool, into, limit);
    }

    fn transmit(&mut self, pool: &mut Pool, frames: &mut Vec<Frame>) {
        self.port.transmit(pool, frames);
    }

    fn flush(&mut self, pool: &mut Pool) -> bool {
        self.port.flush(pool)
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        Some(self.descriptor.as_fd())
    }

    fn held(&self) -> usize {
        self.port.held()
    }

    fn counters(&self) -> &Arc<PortCounters> {
        self.port.counters()
    }
}

/// A worker with a ring and a TUN; how often it looked at the TUN, and the TUN's far end.
fn worker() -> (Worker, Arc<AtomicUsize>, MemoryPort, Pool) {
    let region = Region::new(256).unwrap();
    let (near, _) = cable(Link::Ethernet, 64);
    let line = Line { tags: ebpf::Tags::None, ifindex: 1, role: Role::Access };
    let lines = Lines::new(vec![line]);
    let ring = Attached { port: Box::new(near), kind: Kind::Interface(1), lines };
    let (port, far) = cable(Link::Ip, 64);
    let looks = Arc::new(AtomicUsize::new(0));
    let descriptor = EventFd::new().unwrap();
    let tun = Socket { port, descriptor, looks: Arc::clone(&looks) };
    let tun = Attached { port: Box::new(tun), kind: Kind::Tun, lines: Lines::default() };
    let surroundings = Surroundings {
        mailboxes: vec![Arc::new(Mailbox::new().unwrap())],
        events: Arc::new(EventRings::new(1)),
        wishes: Arc::new(balance::wishes()),
        routes: None,
        kernel: Kernel::Portable,
        queued: 0,
        fragments: 0,
        source_toward: |_| None,
    };
    let meter = Arc::new(WorkerMeter::default());
    let worker = Worker::new(0, vec![ring, tun], Pool::new(region, 64), meter, surroundings);
    (worker, looks, far, Pool::new(region, 64))
}

#[test]
fn a_busy_worker_makes_a_system_call_for_its_tun_once_in_many_turns() {
    let (mut worker, looks, far, mut pool) = worker();
    let mut now = Instant::from_micros(1_000_000);
    // A burst takes some microseconds.
    for _ in 0..1000 {
        worker.turn(now);
        now = now + Duration::from_micros(10);
    }
    assert_eq!(looks.load(Ordering::Relaxed), 100);
    // While something comes, each turn looks: a burst of it waits no longer than one of a ring.
    for turns in 1..10 {
        let mut frame = pool.take().unwrap();
        assert!(frame.fill(&packet([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), &[0; 8])));
        far.push(frame).unwrap();
        now = now + Duration::from_micros(if turns == 1 { 100 } else { 10 });
        worker.turn(now);
        assert_eq!(looks.load(Ordering::Relaxed), 100 + turns);
    }
}
