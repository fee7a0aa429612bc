//! A box with memory ports, turned by hand, and a subscriber to talk to it.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant as System};

use protocol::gre;
use protocol::mppe::{Header as MppeHeader, SessionKey, StartKey, Stateless, Strength};
use protocol::time::Instant;

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
use crate::ipv4;
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
            handle: Handle::new(parties, 1000, System::now(), Report::default()),
            events: Events::new(events),
            workers: made,
            raw,
            tun,
            now: Instant::from_micros(1_000_000),
        }
    }

    /// A tunnel with MPPE and this inner address, and its subscriber.
    pub(super) fn dial(&mut self, own_call_id: u16, inner: Ipv4Addr) -> Subscriber {
        let outer =
            Outer { local: LOCAL, peer: PEER, own_call_id, peer_call_id: 7, peer_window: 64 };
        self.dial_as(outer, inner)
    }

    pub(super) fn dial_as(&mut self, outer: Outer, inner: Ipv4Addr) -> Subscriber {
        let tunnel = self.handle.open(outer).unwrap();
        let key = |seed: u8| {
            let [low, _] = outer.own_call_id.to_be_bytes();
            SessionKey::initial(&StartKey::new(&[seed ^ low; 16], Strength::Bits128))
        };
        let encryption = Encryption::Mppe { receive: key(1), send: key(2) };
        self.command(Command::SetEncryption { tunnel, encryption });
        let network = Some(Network { prefixes: vec![Prefix::host(inner)], mtu: 1456 });
        self.command(Command::SetNetwork { tunnel, network });
        Subscriber {
            tunnel,
            outer,
            inner,
            sequence: 1,
            sending: Stateless::new(key(1)),
            receiving: Stateless::new(key(2)),
        }
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

/// The other end of a tunnel.
#[derive(Clone)]
pub(super) struct Subscriber {
    pub(super) tunnel: TunnelId,
    pub(super) outer: Outer,
    pub(super) inner: Ipv4Addr,
    pub(super) sequence: u32,
    sending: Stateless,
    receiving: Stateless,
}

impl Subscriber {
    /// An encrypted packet from the subscriber's address to `destination`.
    pub(super) fn encrypt(&mut self, destination: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
        let packet = packet(self.inner, destination, payload);
        self.encrypt_packet(&packet)
    }

    pub(super) fn encrypt_packet(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut data = [&[0x00, 0x21], packet].concat();
        let header = self.sending.encrypt(&mut data);
        self.frame(&[&[0xFF, 0x03, 0x00, 0xFD], &header.to_octets()[..], &data].concat())
    }

    /// A PPP frame in GRE, with the next sequence number.
    pub(super) fn frame(&mut self, ppp: &[u8]) -> Vec<u8> {
        self.sequence = self.sequence.wrapping_add(1);
        gre_packet(self.outer.peer, self.outer.own_call_id, self.sequence, ppp)
    }

    /// The inner packet of one that the box sent, which is the next of this tunnel.
    pub(super) fn decrypt(&mut self, packet: &[u8]) -> Vec<u8> {
        let (header, payload) = gre::Header::parse(&packet[ipv4::HEADER_LEN..]).unwrap();
        assert_eq!(header.call_id, self.outer.peer_call_id);
        let (protocol, payload) = protocol::ppp::frame::parse(payload).unwrap();
        assert_eq!(protocol.number(), 0x00FD);
        let (octets, data) = payload.split_first_chunk().unwrap();
        let mut data = data.to_vec();
        self.receiving.decrypt(MppeHeader::from_octets(*octets), &mut data).unwrap();
        assert_eq!(data[..2], [0x00, 0x21]);
        data.split_off(2)
    }
}

/// An IPv4 packet of an experimental protocol.
pub(super) fn packet(source: Ipv4Addr, destination: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).unwrap();
    [&ipv4::header(len, 1, 253, source, destination)[..], payload].concat()
}

pub(super) fn gre_packet(peer: Ipv4Addr, call_id: u16, sequence: u32, ppp: &[u8]) -> Vec<u8> {
    let payload_len = u16::try_from(ppp.len()).unwrap();
    let header =
        gre::Header { call_id, payload_len, sequence: Some(sequence), acknowledgment: None };
    let mut octets = [0; gre::MAX_HEADER_LEN];
    let len = header.emit(&mut octets);
    let total = u16::try_from(len + ppp.len()).unwrap();
    [&ipv4::header(total, 1, gre::IP_PROTOCOL, peer, LOCAL)[..], &octets[..len], ppp].concat()
}
