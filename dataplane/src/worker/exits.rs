//! The ways out of a worker: one queue of frames per port, and which port leads where.
//!
//! Decides as the kernel's routes do. What the worker's own interfaces cannot reach goes to the
//! kernel: IP packets by the TUN, GRE by the raw socket. Nothing is sent here; the worker empties
//! the queues at the end of a turn.

use std::net::Ipv4Addr;
use std::sync::Arc;

use arc_swap::Guard;
use ebpf::Tags;

use super::{Attached, Kind, Line, Sink};
use crate::api::{DropReason, Role};
use crate::frame::Frame;
use crate::link;
use crate::route::{Decision, Routes, Snapshot, spread};

/// Queues of frames that wait for the end of the turn.
#[derive(Debug)]
pub(crate) struct Exits {
    queues: Vec<Vec<Frame>>,
    raw: Option<usize>,
    tun: Option<usize>,
    interfaces: Vec<Interface>,
    /// `None` without interfaces: all goes by the kernel.
    routes: Option<Arc<Routes>>,
    /// The routes of this turn.
    snapshot: Option<Guard<Arc<Snapshot>>>,
    /// The version of the routes by which members of bonds were chosen.
    chosen: u64,
}

/// An interface of the kernel whose frames leave by ports of this worker.
#[derive(Debug)]
struct Interface {
    line: Line,
    /// One, or those of a bond.
    members: Vec<Member>,
    /// Ports of members that can send, as the kernel saw it last.
    usable: Vec<usize>,
}

#[derive(Debug)]
struct Member {
    ifindex: u32,
    port: usize,
}

impl Interface {
    /// The port for packets to an address: always the same one, so that flows keep their order.
    #[inline]
    fn port(&self, destination: Ipv4Addr) -> Option<usize> {
        match *self.usable.as_slice() {
            [port] => Some(port),
            [] => None,
            ref several => several.get(spread(destination) as usize % several.len()).copied(),
        }
    }

    /// A member without a link sends nothing, nor does one that its bond keeps in reserve.
    fn choose(&mut self, snapshot: &Snapshot) {
        if self.members.len() > 1 {
            let usable = self.members.iter().filter(|member| {
                let interface = snapshot.interface(member.ifindex);
                interface.is_some_and(|interface| interface.running && interface.active)
            });
            self.usable.clear();
            self.usable.extend(usable.map(|member| member.port));
        }
    }
}

/// A way out by an interface of this worker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exit {
    port: usize,
    source_mac: [u8; 6],
    next_hop_mac: [u8; 6],
    tags: Tags,
}

impl Exits {
    pub(super) fn new(ports: &[Attached], routes: Option<Arc<Routes>>) -> Self {
        let mut interfaces: Vec<Interface> = Vec::new();
        for (port, attached) in ports.iter().enumerate() {
            let Kind::Interface(ifindex) = attached.kind else { continue };
            let member = || Member { ifindex, port };
            for &line in attached.lines.iter() {
                match interfaces.iter_mut().find(|interface| interface.line == line) {
                    // One queue of a port is enough.
                    Some(known) if known.members.iter().any(|one| one.ifindex == ifindex) => {}
                    Some(known) => known.members.push(member()),
                    None => {
                        let members = vec![member()];
                        interfaces.push(Interface { line, members, usable: vec![port] });
                    }
                }
            }
        }
        Self {
            queues: ports.iter().map(|_| Vec::new()).collect(),
            raw: ports.iter().position(|port| port.kind == Kind::Raw),
            tun: ports.iter().position(|port| port.kind == Kind::Tun),
            interfaces,
            routes,
            snapshot: None,
            chosen: u64::MAX,
        }
    }

    /// A turn begins: its packets see the newest routes.
    pub(super) fn begin(&mut self) {
        self.snapshot = self.routes.as_ref().map(|routes| routes.load());
        if let Some(snapshot) = &self.snapshot
            && snapshot.version() != self.chosen
        {
            self.chosen = snapshot.version();
            for interface in &mut self.interfaces {
                interface.choose(snapshot);
            }
        }
    }

    /// A turn ends: old routes need not stay in memory for it. What has to be sent, by port.
    pub(super) fn end(&mut self) -> &mut [Vec<Frame>] {
        self.snapshot = None;
        &mut self.queues
    }

    /// An IP packet for the kernel.
    pub(crate) fn kernel(&mut self, sink: &mut Sink, frame: Frame) {
        self.put(sink, frame, self.tun);
    }

    /// A packet of ours, which the kernel sends by its own routes like one of any process.
    pub(crate) fn own(&mut self, sink: &mut Sink, frame: Frame) {
        // The raw socket takes any protocol that has a header. By the TUN our own address would
        // be a martian source.
        self.put(sink, frame, self.raw);
    }

    /// The way of an inner packet of `len` octets into the core network, if it is one of ours.
    pub(crate) fn core(&self, destination: Ipv4Addr, len: usize) -> Option<Exit> {
        self.exit(destination, len, Role::is_core)
    }

    /// A packet by a way out that was found.
    pub(crate) fn by(&mut self, sink: &mut Sink, mut frame: Frame, exit: Exit) {
        if link::add(&mut frame, exit.next_hop_mac, exit.source_mac, exit.tags) {
            self.put(sink, frame, Some(exit.port));
        } else {
            sink.drop(frame, DropReason::NoHeadroom);
        }
    }

    /// A packet that starts with the outer IP header, to a tunnel's peer.
    pub(crate) fn peer(&mut self, sink: &mut Sink, frame: Frame, peer: Ipv4Addr) {
        match self.exit(peer, frame.len(), Role::is_access) {
            Some(exit) => self.by(sink, frame, exit),
            None => self.put(sink, frame, self.raw),
        }
    }

    /// Has the processor fetch the routes to these destinations.
    pub(crate) fn expect(&self, destinations: impl Iterator<Item = Ipv4Addr> + Clone) {
        if let Some(snapshot) = &self.snapshot {
            snapshot.expect(destinations);
        }
    }

    fn exit(&self, destination: Ipv4Addr, len: usize, may: fn(Role) -> bool) -> Option<Exit> {
        match self.snapshot.as_ref()?.lookup(destination) {
            // What is too big the kernel fragments, or answers.
            Decision::Via { ifindex, source_mac, next_hop_mac, mtu } if len <= mtu as usize => {
                let interface = self
                    .interfaces
                    .iter()
                    .find(|Interface { line, .. }| line.ifindex == ifindex && may(line.role))?;
                let port = interface.port(destination)?;
                Some(Exit { port, source_mac, next_hop_mac, tags: interface.line.tags })
            }
            _ => None,
        }
    }

    fn put(&mut self, sink: &mut Sink, frame: Frame, port: Option<usize>) {
        match port.and_then(|port| self.queues.get_mut(port)) {
            Some(queue) => queue.push(frame),
            None => sink.drop(frame, DropReason::NoPort),
        }
    }
}
