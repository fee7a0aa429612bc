//! A box with memory ports, turned by hand, and a subscriber to talk to it.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant as System};

use protocol::time::Instant;

use super::subscriber::{Subscriber, keys};

use crate::api::events::EventRings;
use crate::api::handle::Party;
use crate::api::{
    Command, DropReason, Encryption, Events, Handle, Network, Outer, Prefix, Report, Role, Totals,
    TunnelId,
};
use crate::counters::WorkerMeter;
use crate::frame::{Frame, Pool, Region};
use crate::io::Link;
use crate::io::memory::{MemoryPort, cable};
use crate::mailbox::Mailbox;
use crate::worker::{Attached, Kind, Surroundings, Worker};

pub(super) const FRAMES: u32 = 2048;
pub(super) const LOCAL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(super) const PEER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 80);

/// The box.
pub(super) struct Bench {
    region: &'static Region,
    pool: Pool,
    pub(super) handle: Handle,
    pub(super) events: Events,
    workers: Vec<Worker>,
    /// Far ends of the raw sockets, by worker.
    pub(super) raw: Vec<MemoryPort>,
    /// Far ends of the TUN's queues, by worker.
    pub(super) tun: Vec<MemoryPort>,
    pub(super) now: Instant,
}

impl Bench {
    pub(super) fn new(workers: u16) -> Self {
        let region = Region::new(FRAMES).unwrap();
        let mailboxes: Vec<_> = (0..workers).map(|_| Arc::new(Mailbox::new().unwrap())).collect();
        let events = Arc::new(EventRings::new(usize::from(workers)));
        let surroundings =
            Surroundings { mailboxes: mailboxes.clone(), events: Arc::clone(&events) };
        let (mut raw, mut tun, mut parties, mut made) = (vec![], vec![], vec![], vec![]);
        for (number, mailbox) in (0..).zip(mailboxes) {
            let (near_raw, far_raw) = cable(Link::Ip, 256);
            let (near_tun, far_tun) = cable(Link::Ip, 256);
            raw.push(far_raw);
            tun.push(far_tun);
            let meter = Arc::new(WorkerMeter::default());
            parties.push(Party { mailbox, meter: Arc::clone(&meter), ports: vec![] });
            let ports = vec![
                Attached { port: Box::new(near_raw), kind: Kind::Raw, role: Role::Access },
                Attached { port: Box::new(near_tun), kind: Kind::Tun, role: Role::Core },
            ];
            let pool = Pool::new(region, 64);
            made.push(Worker::new(number, ports, pool, meter, surroundings.clone()));
        }
        Self {
            region,
            pool: Pool::new(region, 64),
            handle: Handle::new(parties, None, 1000, System::now(), Report::default()),
            events: Events::new(events),
            workers: made,
            raw,
            tun,
            now: Instant::from_micros(1_000_000),
        }
    }

    /// A tunnel with MPPE and this inner address, and its subscriber.
    pub(super) fn dial(&mut self, own_call_id: u16, inner: Ipv4Addr) -> (TunnelId, Subscriber) {
        let outer =
            Outer { local: LOCAL, peer: PEER, own_call_id, peer_call_id: 7, peer_window: 64 };
        self.dial_as(outer, inner)
    }

    pub(super) fn dial_as(&mut self, outer: Outer, inner: Ipv4Addr) -> (TunnelId, Subscriber) {
        let tunnel = self.handle.open(outer).unwrap();
        let (receive, send) = keys(outer.own_call_id);
        let encryption = Encryption::Mppe { receive, send };
        self.command(Command::SetEncryption { tunnel, encryption });
        let network = Some(Network { prefixes: vec![Prefix::host(inner)], mtu: 1456 });
        self.command(Command::SetNetwork { tunnel, network });
        let calls = (outer.own_call_id, outer.peer_call_id);
        (tunnel, Subscriber::new(outer.peer, outer.local, calls, inner))
    }

    pub(super) fn command(&self, command: Command) {
        self.handle.command(command).unwrap();
    }

    /// Puts a packet into a port's far end.
    pub(super) fn push_raw(&mut self, worker: usize, packet: &[u8]) {
        let mut frame = self.pool.take().unwrap();
        assert!(frame.fill(packet));
        self.raw[worker].push(frame).unwrap();
    }

    pub(super) fn push_tun(&mut self, worker: usize, packet: &[u8]) {
        let mut frame = self.pool.take().unwrap();
        assert!(frame.fill(packet));
        self.tun[worker].push(frame).unwrap();
    }

    /// All that a worker sent as GRE.
    pub(super) fn sent(&mut self, worker: usize) -> Vec<Vec<u8>> {
        let frames: Vec<Frame> = std::iter::from_fn(|| self.raw[worker].pop()).collect();
        self.bytes(frames)
    }

    /// All that a worker gave to the kernel.
    pub(super) fn kernel(&mut self, worker: usize) -> Vec<Vec<u8>> {
        let frames: Vec<Frame> = std::iter::from_fn(|| self.tun[worker].pop()).collect();
        self.bytes(frames)
    }

    fn bytes(&mut self, mut frames: Vec<Frame>) -> Vec<Vec<u8>> {
        let bytes = frames.iter().map(|frame| frame.data().to_vec()).collect();
        self.pool.put_all(&mut frames);
        bytes
    }

    /// Turns every worker until all have rested, in 50 µs.
    pub(super) fn turn(&mut self) {
        self.turn_after(Duration::from_micros(50));
    }

    pub(super) fn turn_after(&mut self, time: Duration) {
        self.now = self.now + time;
        for _ in 0..4 {
            for worker in &mut self.workers {
                worker.turn(self.now);
            }
        }
        self.assert_nothing_lost();
    }

    /// Every frame is somewhere, and every packet is accounted for.
    fn assert_nothing_lost(&self) {
        let pools: usize = self.workers.iter().map(|worker| worker.core.sink.pool.len()).sum();
        let cables: usize = self
            .workers
            .iter()
            .flat_map(|worker| &worker.ports)
            .map(|attached| attached.port.held())
            .chain(self.raw.iter().chain(&self.tun).map(crate::io::Port::held))
            .sum();
        let total = self.region.depot().len() + self.pool.len() + pools + cables;
        assert_eq!(total, FRAMES as usize, "every frame is in a pool, a cable or the depot");
        for worker in self.totals().workers {
            assert_eq!(
                worker.received + worker.taken_over + worker.originated,
                worker.sent + worker.handed_over + worker.consumed + worker.drops.total(),
                "{worker:?}"
            );
        }
    }

    pub(super) fn totals(&self) -> Totals {
        self.handle.totals()
    }

    /// Drops so far, those that are not zero.
    pub(super) fn drops(&self) -> Vec<(DropReason, u64)> {
        self.totals().drops().iter().filter(|&(_, count)| count > 0).collect()
    }
}
