//! One worker: its ports, its tunnels, and the loop that moves packets between them.
//!
//! A turn receives bursts, then takes orders, then processes: a frame that arrived after an order
//! was given always finds it carried out (a tunnel is opened before the peer can know of it). A
//! turn never waits; between turns the worker sleeps on one poll set.

mod acks;
mod devices;
mod exits;
mod lines;
mod looks;
mod moving;
mod orders;
mod receivers;
mod run;
mod suggest;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use protocol::time::Instant;

use crate::api::events::EventRings;
use crate::api::{DropReason, Event, Role};
use crate::balance::Wishes;
use crate::bridge;
use crate::counters::{TunnelShared, WorkerMeter};
use crate::frame::{Frame, Pool};
use crate::inner::icmp;
use crate::io::{Link, Port, SourceToward};
use crate::link;
use crate::mailbox::{Close, Handed, Mailbox, Message, Order};
use crate::mppe::{Cipher, Engine, Kernel};
use crate::multilink::Fragments;
use crate::route::Routes;
use crate::shape::Store;
use crate::stage::{Stage, Stopwatch};
use crate::table::{ARRIVING, Direction, Table, Tunnel};
use crate::{downlink, uplink};
use acks::Acks;
pub(crate) use devices::Devices;
pub(crate) use exits::{Exit, Exits, Remembered};
pub use lines::Line;
pub(crate) use lines::Lines;
use looks::Looks;
pub(crate) use moving::Luggage;
use moving::Moves;
pub(crate) use run::Sleep;
use suggest::Suggestions;

/// Packets taken from one port in a turn.
pub(crate) const BURST: usize = 64;

/// Acknowledgements that go alone in a turn.
const LONE_ACKNOWLEDGEMENTS: usize = 4 * BURST;

/// A port and what it is for.
pub(crate) struct Attached {
    pub(crate) port: Box<dyn Port>,
    pub(crate) kind: Kind,
    /// Of an interface.
    pub(crate) lines: Lines,
}

impl Attached {
    /// Whether a look at it is a read of memory.
    const fn is_ring(&self) -> bool {
        matches!(self.kind, Kind::Interface(_))
    }

    /// Whether a look at it is a system call, and the poll set can tell that there is something.
    fn is_socket(&self) -> bool {
        !self.is_ring() && self.port.readiness().is_some()
    }
}

/// What a port is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A queue of the interface with this index: Ethernet frames.
    Interface(u32),
    /// The raw GRE socket.
    Raw,
    /// A queue of the TUN.
    Tun,
}

/// Where a packet came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    /// A port: the packet is as the network sent it.
    Port,
    /// The kernel, which has routed the packet already.
    Kernel,
    /// Another worker, which has settled the Time To Live. It is handed on again only where its
    /// tunnel has moved meanwhile.
    Worker,
}

/// What the stages work with.
pub(crate) struct Core {
    number: usize,
    /// The moment of this turn.
    pub(crate) now: Instant,
    pub(crate) table: Table,
    pub(crate) sink: Sink,
    pub(crate) exits: Exits,
    pub(crate) devices: Devices,
    pub(crate) cipher: Cipher,
    pub(crate) watch: Stopwatch,
    pub(crate) acks: Acks,
    pub(crate) icmp: icmp::Limits,
    /// Whose address errors come from that are of no tunnel.
    pub(crate) source_toward: SourceToward,
    /// Packets that wait for their tunnel's rate.
    pub(crate) waiting: Store,
    /// Fragments that wait for the others of their packet.
    pub(crate) fragments: Fragments,
    pub(crate) uplink: uplink::Stages,
    pub(crate) downlink: downlink::Stages,
    mailboxes: Vec<Arc<Mailbox>>,
    /// Workers that were handed something in this turn, a bit each.
    handed_to: u64,
    moves: Moves,
    suggestions: Suggestions,
    wishes: Arc<Wishes>,
    events: Arc<EventRings>,
    /// Whether the control plane has to be told of events.
    events_pushed: bool,
}

/// Where frames end.
#[derive(Debug)]
pub(crate) struct Sink {
    pub(crate) pool: Pool,
    pub(crate) meter: Arc<WorkerMeter>,
}

impl Sink {
    /// Drops a packet that is no tunnel's.
    #[cold]
    pub(crate) fn drop(&mut self, frame: Frame, reason: DropReason) {
        self.count(reason);
        self.pool.put(frame);
    }

    /// Drops a tunnel's packet.
    #[cold]
    pub(crate) fn drop_of(&mut self, frame: Frame, reason: DropReason, tunnel: &TunnelShared) {
        tunnel.drops.add(reason);
        self.drop(frame, reason);
    }

    /// Counts a packet for which there was no frame.
    pub(crate) fn count(&self, reason: DropReason) {
        self.meter.drops.add(reason);
    }

    /// Drops what waits for a tunnel's rate.
    fn empty_queue(&mut self, tunnel: &mut Tunnel, store: &mut Store) {
        while let Some(packet) = tunnel.queue().and_then(|queue| queue.pop(store)) {
            self.drop_of(packet.frame, DropReason::NetworkClosed, &tunnel.shared);
        }
        self.meter.queued.set(store.len() as u64);
    }

    /// Takes back the frame of a packet that did what it came for.
    pub(crate) fn consume(&mut self, frame: Frame) {
        self.meter.consumed.add(1);
        self.pool.put(frame);
    }
}

impl Core {
    /// Gives a frame to the worker that has its tunnel.
    pub(crate) fn hand_over(&mut self, owner: u16, handed: Handed, from: From) {
        if owner == ARRIVING {
            return self.keep(handed, from);
        }
        if from == From::Worker && !self.moves.passes_on() {
            self.sink.drop(handed.into_frame(), DropReason::HandoverStale);
            return;
        }
        let Some(mailbox) = self.mailboxes.get(usize::from(owner)) else {
            self.sink.drop(handed.into_frame(), DropReason::HandoverStale);
            return;
        };
        let by = self.table.worker();
        let message = match from {
            From::Worker => Message::Passed(handed),
            From::Port | From::Kernel => Message::Frame { by, handed },
        };
        match mailbox.handed.push(message) {
            Ok(()) => {
                self.sink.meter.handed_over.add(1);
                self.handed_to |= 1 << owner;
            }
            Err(Message::Frame { handed, .. } | Message::Passed(handed)) => {
                self.sink.drop(handed.into_frame(), DropReason::HandoverFull);
            }
            Err(Message::Tunnel(_) | Message::Done { .. }) => {}
        }
    }

    /// Wakes the workers that were handed something: once a turn, for it costs a fence.
    fn ring(&mut self) {
        let mut handed_to = std::mem::take(&mut self.handed_to);
        while handed_to != 0 {
            if let Some(mailbox) = self.mailboxes.get(handed_to.trailing_zeros() as usize) {
                mailbox.ring();
            }
            handed_to &= handed_to - 1;
        }
    }

    /// Tells the control plane something; `false` if the ring is full.
    pub(crate) fn tell(&mut self, event: Event) -> bool {
        let told = self.events.push(self.number, event);
        self.events_pushed |= told;
        told
    }
}

/// A worker thread's own.
pub(crate) struct Worker {
    core: Core,
    ports: Vec<Attached>,
    /// What each port received in this turn.
    received: Vec<Vec<Frame>>,
    /// What other workers handed over.
    taken_uplink: Vec<Frame>,
    taken_downlink: Vec<Frame>,
    /// The subscribers' packets of a port that brings both, and the core's.
    uplink: Vec<Frame>,
    downlink: Vec<Frame>,
    mailbox: Arc<Mailbox>,
    /// Orders that were ever taken from the letter box.
    obeyed: u64,
    /// A close that came before its time.
    next_close: Option<Close>,
    looks: Looks,
}

/// What a worker shares with the rest.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    /// All workers' letter boxes, by number.
    pub(crate) mailboxes: Vec<Arc<Mailbox>>,
    pub(crate) events: Arc<EventRings>,
    /// Where workers say which tunnels others should have.
    pub(crate) wishes: Arc<Wishes>,
    /// The kernel's routes, where there are interfaces to send by.
    pub(crate) routes: Option<Arc<Routes>>,
    /// How MPPE is computed.
    pub(crate) kernel: Kernel,
    /// Frames that one worker's queues may hold.
    pub(crate) queued: usize,
    /// Frames that may hold fragments of one worker's tunnels.
    pub(crate) fragments: usize,
    /// Our address for packets to another one.
    pub(crate) source_toward: SourceToward,
}

/// What a turn came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Something was done, and more may be there already.
    Busy,
    /// A port has frames left to push out.
    Pending,
    /// Nothing to do.
    Idle,
}

impl Worker {
    /// Worker `number`, which is one of `surroundings.mailboxes`, with these ports.
    pub(crate) fn new(
        number: u16,
        ports: Vec<Attached>,
        pool: Pool,
        meter: Arc<WorkerMeter>,
        surroundings: Surroundings,
    ) -> Self {
        let Surroundings {
            mailboxes,
            events,
            wishes,
            routes,
            kernel,
            queued,
            fragments,
            source_toward,
        } = surroundings;
        let mailbox = Arc::clone(&mailboxes[usize::from(number)]);
        let core = Core {
            number: usize::from(number),
            now: Instant::ORIGIN,
            table: Table::new(number),
            sink: Sink { pool, meter },
            exits: Exits::new(&ports, routes),
            devices: Devices::default(),
            watch: Stopwatch::default(),
            cipher: Cipher::Mppe(Engine::with_kernel(kernel).unwrap_or_default()),
            acks: Acks::default(),
            icmp: icmp::Limits::default(),
            source_toward,
            waiting: Store::new(queued),
            fragments: Fragments::new(fragments),
            uplink: uplink::Stages::default(),
            downlink: downlink::Stages::default(),
            mailboxes,
            handed_to: 0,
            moves: Moves::default(),
            suggestions: Suggestions::default(),
            wishes,
            events,
            events_pushed: false,
        };
        Self {
            core,
            received: ports.iter().map(|_| Vec::with_capacity(BURST)).collect(),
            looks: Looks::new(ports.iter().any(Attached::is_ring)),
            ports,
            taken_uplink: Vec::new(),
            taken_downlink: Vec::new(),
            uplink: Vec::new(),
            downlink: Vec::new(),
            mailbox,
            obeyed: 0,
            next_close: None,
        }
    }

    /// What its stages cost, where that is measured.
    pub(crate) fn watch(&self) -> &Stopwatch {
        &self.core.watch
    }

    /// Measures that from now on, or no more.
    pub(crate) fn measure_stages(&mut self, on: bool) {
        self.core.watch.measure(on);
    }

    /// What packets are encrypted and decrypted with from now on.
    pub(crate) fn set_cipher(&mut self, cipher: Cipher) {
        self.core.cipher = cipher;
    }

    /// One round: receive, take orders, process, send.
    pub(crate) fn turn(&mut self, now: Instant) -> Turn {
        self.core.now = now;
        self.core.watch.begin();
        self.core.exits.begin();
        let received = self.receive();
        self.core.watch.end(Stage::Receive);
        let ordered = self.take_orders();
        self.core.watch.end(Stage::Orders);
        let released = self.process();
        self.core.ring();
        self.core.watch.begin();
        let acknowledged = self.acknowledge();
        self.core.watch.end(Stage::Acknowledge);
        let pending = self.transmit();
        self.core.watch.end(Stage::Transmit);
        if std::mem::take(&mut self.core.events_pushed) {
            self.core.events.ring();
        }
        let pending = pending || self.core.moves.has_to_try_again();
        match (received || ordered || released || acknowledged, pending) {
            (true, _) => Turn::Busy,
            (false, true) => Turn::Pending,
            (false, false) => Turn::Idle,
        }
    }

    fn receive(&mut self) -> bool {
        let looks = self.looks.is_due(self.core.now);
        let (mut count, mut of_sockets) = (0, 0);
        for (attached, frames) in self.ports.iter_mut().zip(&mut self.received) {
            let is_socket = attached.is_socket();
            if is_socket && !looks {
                continue;
            }
            attached.port.receive(&mut self.core.sink.pool, frames, BURST);
            frames.iter().for_each(Frame::prefetch);
            count += frames.len();
            of_sockets += if is_socket { frames.len() } else { 0 };
        }
        let of_devices = self.core.devices.receive(&mut self.core.sink.pool, looks);
        if of_sockets + of_devices > 0 {
            self.looks.soon();
        }
        count += of_devices;
        self.core.sink.meter.received.add(count as u64);
        let messages = std::iter::from_fn(|| self.mailbox.handed.pop()).take(4 * BURST);
        let (mut taken, mut any) = (0, count > 0);
        for message in messages {
            any = true;
            let handed = match message {
                Message::Frame { by, handed } => {
                    self.core.notice(by, &handed);
                    handed
                }
                Message::Passed(handed) => {
                    taken += 1;
                    self.core.moves.take_passed(handed);
                    continue;
                }
                Message::Tunnel(luggage) => {
                    self.core.moves.take_luggage(*luggage);
                    continue;
                }
                Message::Done { tunnel, by } => {
                    self.core.moves.take_done(tunnel, by);
                    continue;
                }
            };
            taken += 1;
            handed.frame().prefetch();
            match handed {
                Handed::Uplink(frame) => self.taken_uplink.push(frame),
                Handed::Downlink(frame) => self.taken_downlink.push(frame),
            }
        }
        self.core.sink.meter.taken_over.add(taken);
        any
    }

    fn take_orders(&mut self) -> bool {
        let mut any = false;
        // What is added meanwhile waits for the next turn, so that no flood of orders stops packets.
        for _ in 0..self.mailbox.waiting() {
            any |= self.take_closes();
            let Some(order) = self.mailbox.next_order() else { break };
            any = true;
            self.obeyed += 1;
            match order {
                Order::Open(opening) => {
                    // The close of the slot's last tunnel may come after this.
                    if let Some(last) = self.core.table.tunnel(opening.tunnel.slot) {
                        let last = last.id;
                        self.core.close(last);
                    }
                    self.core.table.open(opening);
                }
                Order::Move(order) => self.core.begin_move(order),
                Order::Shed(order) => self.core.begin_shedding(order),
                Order::Command(command) => self.core.obey(command),
                Order::Prefixes { tunnel, destinations } => {
                    self.core.table.set_destinations(tunnel, destinations);
                }
                Order::PrefixesIpv6 { tunnel, prefixes } => {
                    self.core.table.set_destinations_ipv6(tunnel, prefixes);
                }
            }
        }
        any | self.take_closes()
    }

    /// Ends tunnels whose last orders were obeyed: the frame that takes leave of a peer is one.
    fn take_closes(&mut self) -> bool {
        let mut any = false;
        while let Some(close) = self.next_close.take().or_else(|| self.mailbox.next_close()) {
            // The orders before it are still in the letter box, so the worker will not sleep.
            if close.after > self.obeyed {
                self.next_close = Some(close);
                break;
            }
            any = true;
            self.core.close(close.tunnel);
        }
        any
    }

    /// `true` if packets that waited had their turn.
    fn process(&mut self) -> bool {
        let core = &mut self.core;
        core.fragments.expire(&mut core.table, &mut core.sink, core.now);
        for (port, (attached, frames)) in self.ports.iter().zip(&mut self.received).enumerate() {
            match (attached.kind, attached.lines.untagged()) {
                (Kind::Raw, _) => {
                    core.observe(frames, Direction::Uplink);
                    uplink::run(core, frames, From::Port);
                }
                (Kind::Tun, _) => {
                    core.observe(frames, Direction::Downlink);
                    downlink::admit(core, frames, From::Kernel);
                }
                (_, Some(Role::Access)) => {
                    strip(core, port, frames);
                    core.observe(frames, Direction::Uplink);
                    uplink::run(core, frames, From::Port);
                }
                (_, Some(Role::Core)) => {
                    strip(core, port, frames);
                    core.observe(frames, Direction::Downlink);
                    downlink::admit(core, frames, From::Port);
                }
                (_, Some(Role::Both) | None) => {
                    let lines = &attached.lines;
                    sort(core, port, lines, frames, &mut self.uplink, &mut self.downlink);
                    core.observe(&self.uplink, Direction::Uplink);
                    core.observe(&self.downlink, Direction::Downlink);
                    uplink::run(core, &mut self.uplink, From::Port);
                    downlink::admit(core, &mut self.downlink, From::Port);
                }
            }
        }
        let mut devices = std::mem::take(&mut core.devices);
        for (slot, link, frames) in devices.received() {
            match link {
                Link::Ip => downlink::enter(core, frames, slot),
                Link::Ethernet => bridge::enter(core, frames, slot),
            }
        }
        core.devices = devices;
        core.observe(&self.taken_uplink, Direction::Uplink);
        core.observe(&self.taken_downlink, Direction::Downlink);
        uplink::run(core, &mut self.taken_uplink, From::Worker);
        downlink::admit(core, &mut self.taken_downlink, From::Worker);
        core.settle();
        let released = downlink::run(core);
        core.end_shedding();
        core.depart();
        released
    }

    /// Sends the acknowledgements that found no data to ride on, in bounded work: after a stall
    /// thousands of tunnels owe one, more than there are frames or places to send by. `true` if there
    /// were some; there may be more.
    fn acknowledge(&mut self) -> bool {
        let core = &mut self.core;
        for sent in 0..LONE_ACKNOWLEDGEMENTS {
            let Some(tunnel) = core.acks.next(&mut core.table, core.now) else { return sent > 0 };
            downlink::send_acknowledgement(core, tunnel);
        }
        true
    }

    fn transmit(&mut self) -> bool {
        let Core { sink, exits, devices, .. } = &mut self.core;
        let mut pending = devices.transmit(sink);
        for (attached, frames) in self.ports.iter_mut().zip(exits.end()) {
            sink.meter.sent.add(frames.len() as u64);
            if !frames.is_empty() {
                attached.port.transmit(&mut sink.pool, frames);
            }
            pending |= attached.port.flush(&mut sink.pool);
        }
        pending
    }
}

/// Takes Ethernet headers and VLAN tags off, and tells subscribers' packets from the core's: by the
/// role of their line, and where that is both, by what they are.
fn sort(
    core: &mut Core,
    port: usize,
    lines: &Lines,
    frames: &mut Vec<Frame>,
    uplink: &mut Vec<Frame>,
    downlink: &mut Vec<Frame>,
) {
    let Core { exits, sink, table, .. } = core;
    let receiver = exits.receiver(port);
    for mut frame in frames.drain(..) {
        let is_ours = receiver.takes(frame.data());
        let Some(tags) = link::strip_tagged(&mut frame) else {
            sink.drop(frame, DropReason::NotIpv4);
            continue;
        };
        if !is_ours {
            sink.drop(frame, DropReason::MacForeign);
            continue;
        }
        match lines.role(tags) {
            Some(Role::Access) => uplink.push(frame),
            Some(Role::Core) => downlink.push(frame),
            Some(Role::Both) if uplink::is_for(table, frame.data()) => uplink.push(frame),
            Some(Role::Both) => downlink.push(frame),
            None => sink.drop(frame, DropReason::VlanUnknown),
        }
    }
}

/// Takes Ethernet headers off.
fn strip(core: &mut Core, port: usize, frames: &mut Vec<Frame>) {
    let Core { exits, sink, .. } = core;
    let receiver = exits.receiver(port);
    let mut at = 0;
    while let Some(frame) = frames.get_mut(at) {
        let is_ours = receiver.takes(frame.data());
        let carries_ip = link::strip(frame);
        if carries_ip && is_ours {
            at += 1;
        } else {
            // Hardly ever; the others keep their order.
            let reason = if carries_ip { DropReason::MacForeign } else { DropReason::NotIpv4 };
            sink.drop(frames.remove(at), reason);
        }
    }
}
