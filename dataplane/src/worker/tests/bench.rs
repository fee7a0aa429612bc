//! A box with memory ports, turned by hand.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant as System};

use ebpf::Tags;
use protocol::time::Instant;

use super::subscriber::{Subscriber, keys};
use crate::api::events::EventRings;
use crate::api::handle::{Machinery, Party};
use crate::api::{
    Command, DropReason, Encryption, Event, Events, Handle, Network, Outer, Prefix, Report, Role,
    TunnelId,
};
use crate::balance::{self, Wish, Wishes};
use crate::counters::WorkerMeter;
use crate::frame::{Frame, Pool, Region};
use crate::io::memory::{MemoryPort, cable};
use crate::io::{Link, Port};
use crate::mailbox::Mailbox;
use crate::mppe::Choice;
use crate::route::tests::{Port as Neighbour, links};
use crate::worker::{Attached, Kind, Line, Lines, Surroundings, Worker};

const FRAMES: u32 = 4096;
const CABLE: usize = 1024;
/// Frames that a worker's queues may hold.
pub(super) const QUEUED: usize = 512;
/// Frames that may hold a worker's fragments.
pub(super) const FRAGMENTS: usize = 64;
pub(super) const LOCAL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(super) const PEER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 80);
pub(super) const INNER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
/// Our end of every tunnel, and its MTU.
pub(super) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(super) const MTU: u16 = 1456;
/// Our address in IPv6 for packets to anyone.
pub(super) const SOURCE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xDB8, 0, 0, 0, 0, 0, 1);

/// Far ends of a worker's ports, in the order of its ports.
pub(super) const RAW: usize = 0;
pub(super) const TUN: usize = 1;
pub(super) const ACCESS: usize = 2;
pub(super) const CORE: usize = 3;
pub(super) const BOTH: usize = 4;

pub(super) const ACCESS_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(super) const CORE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub(super) const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
pub(super) const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 1, 2];

/// The box.
pub(super) struct Bench {
    region: &'static Region,
    pool: Pool,
    pub(super) handle: Handle,
    pub(super) events: Events,
    workers: Vec<Worker>,
    /// By worker, then by port.
    far: Vec<Vec<MemoryPort>>,
    pub(super) now: Instant,
    wishes: Arc<Wishes>,
}

impl Bench {
    /// Each worker has a raw socket, a TUN queue, and queues of three interfaces: access, core,
    /// and one that is both. [`PEER`] and [`SERVER`] are neighbours on the first two.
    pub(super) fn new(workers: u16) -> Self {
        let region = Region::new(FRAMES).unwrap();
        let mailboxes: Vec<_> = (0..workers).map(|_| Arc::new(Mailbox::new().unwrap())).collect();
        let events = Arc::new(EventRings::new(usize::from(workers)));
        let routes = links(&[
            Neighbour {
                ifindex: 1,
                mac: ACCESS_MAC,
                prefix: "198.51.100.0/24",
                neighbour: (PEER.into(), PEER_MAC),
            },
            Neighbour {
                ifindex: 2,
                mac: CORE_MAC,
                prefix: "203.0.113.0/24",
                neighbour: (SERVER.into(), SERVER_MAC),
            },
            Neighbour {
                ifindex: 2,
                mac: CORE_MAC,
                prefix: "2001:db8:cafe::/64",
                neighbour: ("2001:db8:cafe::80".parse().unwrap(), SERVER_MAC),
            },
        ]);
        let wishes = Arc::new(balance::wishes());
        let surroundings = Surroundings {
            mailboxes: mailboxes.clone(),
            events: Arc::clone(&events),
            wishes: Arc::clone(&wishes),
            routes: Some(routes),
            kernel: Choice::fastest().kernel,
            queued: QUEUED,
            fragments: FRAGMENTS,
            source_toward: |_| Some(SOURCE),
        };
        let (mut far, mut parties, mut made) = (vec![], vec![], vec![]);
        for (number, mailbox) in (0..).zip(mailboxes) {
            let mut far_ends = Vec::new();
            let mut port = |link, kind, role| {
                let (near, far) = cable(link, CABLE);
                far_ends.push(far);
                let lines = match kind {
                    Kind::Interface(ifindex) => vec![Line { tags: Tags::None, ifindex, role }],
                    Kind::Raw | Kind::Tun => Vec::new(),
                };
                Attached { port: Box::new(near), kind, lines: Lines::new(lines) }
            };
            let ports = vec![
                port(Link::Ip, Kind::Raw, Role::Access),
                port(Link::Ip, Kind::Tun, Role::Core),
                port(Link::Ethernet, Kind::Interface(1), Role::Access),
                port(Link::Ethernet, Kind::Interface(2), Role::Core),
                port(Link::Ethernet, Kind::Interface(3), Role::Both),
            ];
            far.push(far_ends);
            let meter = Arc::new(WorkerMeter::default());
            parties.push(Party { mailbox, meter: Arc::clone(&meter), ports: vec![] });
            let pool = Pool::new(region, 64);
            made.push(Worker::new(number, ports, pool, meter, surroundings.clone()));
        }
        let machinery = Machinery::default();
        Self {
            region,
            pool: Pool::new(region, 64),
            handle: Handle::new(
                parties,
                machinery,
                1000,
                System::now(),
                Report { workers: Vec::new(), mppe: Choice::fastest().clone() },
            ),
            events: Events::new(events),
            workers: made,
            far,
            now: Instant::from_micros(1_000_000),
            wishes,
        }
    }

    /// A tunnel with MPPE and this inner address, and its subscriber.
    pub(super) fn dial(&mut self, own_call_id: u16, inner: Ipv4Addr) -> (TunnelId, Subscriber) {
        self.dial_as(outer(own_call_id), inner)
    }

    pub(super) fn dial_as(&mut self, outer: Outer, inner: Ipv4Addr) -> (TunnelId, Subscriber) {
        let tunnel = self.handle.open(outer).unwrap();
        let (receive, send) = keys(outer.own_call_id);
        self.protect(tunnel, Encryption::stateless(receive, send));
        self.network(tunnel, Some(inner));
        let calls = (outer.own_call_id, outer.peer_call_id);
        (tunnel, Subscriber::new(outer.peer, outer.local, calls, inner))
    }

    pub(super) fn protect(&self, tunnel: TunnelId, encryption: Encryption) {
        self.handle.command(Command::SetEncryption { tunnel, encryption }).unwrap();
    }

    pub(super) fn network(&self, tunnel: TunnelId, inner: Option<Ipv4Addr>) {
        let network = inner.map(|inner| Network {
            prefixes: vec![Prefix::host(inner)],
            mtu: MTU,
            local: GATEWAY,
            clamp_mss: true,
        });
        self.handle.command(Command::SetNetwork { tunnel, network }).unwrap();
    }

    /// Sends a packet to a port.
    pub(super) fn push(&mut self, worker: usize, port: usize, packet: &[u8]) {
        let mut frame = self.pool.take().unwrap();
        assert!(frame.fill(packet));
        self.far[worker][port].push(frame).unwrap();
    }

    /// All that came out of a port.
    pub(super) fn pop(&mut self, worker: usize, port: usize) -> Vec<Vec<u8>> {
        let mut frames: Vec<Frame> = std::iter::from_fn(|| self.far[worker][port].pop()).collect();
        let bytes = frames.iter().map(|frame| frame.data().to_vec()).collect();
        self.pool.put_all(&mut frames);
        bytes
    }

    /// Empties all ports.
    pub(super) fn pop_all(&mut self) {
        for worker in 0..self.far.len() {
            for port in 0..=BOTH {
                self.pop(worker, port);
            }
        }
    }

    /// What workers wished of each other.
    pub(super) fn wishes(&self) -> Vec<Wish> {
        std::iter::from_fn(|| self.wishes.pop()).collect()
    }

    pub(super) fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.events.try_next()).collect()
    }

    /// Turns every worker until all have rested, 50 µs later.
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

    /// Turns one worker once.
    pub(super) fn turn_worker(&mut self, worker: usize) {
        self.now = self.now + Duration::from_micros(50);
        self.workers[worker].turn(self.now);
    }

    /// Every frame is somewhere, and every packet is accounted for.
    fn assert_nothing_lost(&self) {
        let pools: usize = self.workers.iter().map(|worker| worker.core.sink.pool.len()).sum();
        let near = self.workers.iter().flat_map(|worker| &worker.ports);
        let near: usize = near.map(|attached| attached.port.held()).sum();
        let far: usize = self.far.iter().flatten().map(Port::held).sum();
        let queued = self.queued().iter().sum::<usize>();
        let held = self.workers.iter().map(|worker| worker.core.fragments.held());
        let moving = self.workers.iter().map(|worker| worker.core.moves.held());
        let waiting = queued + held.sum::<usize>() + moving.sum::<usize>();
        let total = self.region.depot().len() + self.pool.len() + pools + near + far + waiting;
        let places = "every frame is in a pool, a cable, a queue or the depot";
        assert_eq!(total, FRAMES as usize, "{places}");
        for (worker, queued) in self.handle.totals().workers.iter().zip(self.queued()) {
            assert_eq!(worker.queued, queued as u64);
            assert_eq!(
                worker.received + worker.taken_over + worker.originated,
                worker.sent
                    + worker.handed_over
                    + worker.consumed
                    + worker.queued
                    + worker.fragments
                    + worker.drops.total(),
                "{worker:?}"
            );
        }
    }

    /// Packets that wait in each worker for their tunnels' rates.
    pub(super) fn queued(&self) -> Vec<usize> {
        self.workers.iter().map(|worker| worker.core.waiting.len()).collect()
    }

    /// Drops so far, those that are not zero.
    pub(super) fn drops(&self) -> Vec<(DropReason, u64)> {
        self.handle.totals().drops().iter().filter(|&(_, count)| count > 0).collect()
    }
}

/// A call of [`PEER`].
pub(super) fn outer(own_call_id: u16) -> Outer {
    Outer { local: LOCAL, peer: PEER, own_call_id, peer_call_id: 7, peer_window: 64 }
}

/// An IPv4 packet in an Ethernet frame, padded as Ethernet does (IEEE 802.3: 60 octets).
pub(super) fn ethernet(destination: [u8; 6], source: [u8; 6], packet: &[u8]) -> Vec<u8> {
    let mut frame = [&destination[..], &source, &[0x08, 0x00], packet].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}
