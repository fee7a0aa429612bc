//! The ways out of a worker: one queue of frames per port, and which port leads where.
//!
//! Decides as the kernel's routes do. What the worker's own interfaces cannot reach goes to the
//! kernel: IP packets by the TUN, GRE by the raw socket. Nothing is sent here; the worker empties
//! the queues at the end of a turn.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;
use std::sync::Arc;

use arc_swap::Guard;
use ebpf::Tags;

use super::receivers::{Receiver, Receivers};
use super::{Attached, BURST, Kind, Line, Sink};
use crate::api::{DropReason, Outer, Role};
use crate::frame::Frame;
use crate::link::{self, Ethertype};
use crate::prefetch::prefetch;
use crate::route::{Address, Decision, Routes, SPREAD_BITS, Snapshot};

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
    /// The version of this turn's routes, by which members of bonds were chosen.
    version: u32,
    /// By a hash of the destination.
    recent: Box<[Recent]>,
    receivers: Receivers,
    /// The same for IPv6, once there was some. A destination has one place.
    recent_ipv6: Vec<(Ipv6Addr, Remembered)>,
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
    fn port(&self, destination: impl Address) -> Option<usize> {
        match *self.usable.as_slice() {
            [port] => Some(port),
            [] => None,
            ref several => several.get(destination.spread() as usize % several.len()).copied(),
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
    /// The interface's place among the worker's, if its frames have tags.
    tagged: Option<NonZeroU16>,
    pub(crate) port: u16,
    pub(crate) ends: link::Ends,
}

/// The way out to an address, found once and good for as long as the kernel's routes stay as they
/// are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Remembered {
    version: u32,
    /// Largest IP packet.
    mtu: u32,
    exit: Exit,
}

impl Remembered {
    /// Nothing yet.
    pub(crate) const NOTHING: Self = Self {
        version: UNKNOWN,
        mtu: 0,
        exit: Exit { tagged: None, port: 0, ends: link::Ends([0; 12]) },
    };
}

/// A version that no routes have.
const UNKNOWN: u32 = u32::MAX;

/// Cache lines of destinations in the core network whose ways out are kept.
const RECENT: usize = 1 << 14;

/// Two destinations and the ways out to them, the one that was found last before the other.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Recent([(Ipv4Addr, Remembered); 2]);

const _: () = assert!(size_of::<Recent>() == 64);

impl Recent {
    const NOTHING: Self = Self([(Ipv4Addr::UNSPECIFIED, Remembered::NOTHING); 2]);

    #[inline]
    fn way(&self, to: Ipv4Addr, version: u32) -> Option<&Remembered> {
        let [(first, way), (second, other)] = &self.0;
        if *first == to && way.version == version {
            Some(way)
        } else if *second == to && other.version == version {
            Some(other)
        } else {
            None
        }
    }

    fn keep(&mut self, to: Ipv4Addr, way: Remembered) {
        self.0 = [(to, way), self.0[0]];
    }
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
            version: UNKNOWN,
            recent: vec![Recent::NOTHING; RECENT].into(),
            receivers: Receivers::new(ports),
            recent_ipv6: Vec::new(),
        }
    }

    /// A turn begins: its packets see the newest routes.
    pub(super) fn begin(&mut self) {
        self.snapshot = self.routes.as_ref().map(|routes| routes.load());
        if let Some(snapshot) = &self.snapshot
            && snapshot.version() != self.version
        {
            self.version = snapshot.version();
            self.receivers.renew(snapshot);
            for interface in &mut self.interfaces {
                interface.choose(snapshot);
            }
        }
    }

    /// Whom frames of a port are for.
    #[inline]
    pub(super) fn receiver(&self, port: usize) -> Receiver<'_> {
        self.receivers.of_port(port)
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

    /// Whether policy rules may send a subscriber's packet another way than its destination says: the
    /// kernel follows them.
    #[inline]
    pub(crate) fn is_ruled(
        &self,
        source: impl Into<IpAddr>,
        destination: impl Into<IpAddr>,
    ) -> bool {
        self.snapshot.as_ref().is_some_and(|snapshot| snapshot.is_ruled(source, destination))
    }

    /// Whether the kernel has a route to an address with a longer prefix than this.
    pub(crate) fn has_longer(&self, destination: impl Into<IpAddr>, length: u8) -> bool {
        let longest = self.snapshot.as_ref().and_then(|snapshot| snapshot.length(destination));
        longest.is_some_and(|longest| longest > length)
    }

    /// The way of an inner packet of `len` octets into the core network, if it is one of ours.
    pub(crate) fn core(&mut self, destination: Ipv4Addr, len: usize) -> Option<Exit> {
        let way = match self.recent[recent(destination)].way(destination, self.version) {
            Some(way) => *way,
            None => self.find_core(destination)?,
        };
        (len <= way.mtu as usize).then_some(way.exit)
    }

    /// Whether a destination that [`Self::core`] has no way to is the kernel's alone: an address of ours,
    /// or nobody's yet. Others have a way that leads by an interface that is none of the worker's.
    pub(crate) fn is_kernels(&self, destination: IpAddr) -> bool {
        let Some(snapshot) = &self.snapshot else { return false };
        let decision = match destination {
            IpAddr::V4(address) => snapshot.lookup(address),
            IpAddr::V6(address) => snapshot.lookup_ipv6(address),
        };
        matches!(decision, Decision::Local | Decision::Unresolved { .. } | Decision::Unreachable(_))
    }

    /// The way that [`Self::core`] tells, if it was found before.
    #[inline]
    pub(crate) fn remembered(&self, destination: Ipv4Addr, len: usize) -> Option<Exit> {
        let way = self.recent.get(recent(destination))?.way(destination, self.version)?;
        (len <= way.mtu as usize).then_some(way.exit)
    }

    fn find_core(&mut self, destination: Ipv4Addr) -> Option<Remembered> {
        let decision = self.snapshot.as_ref()?.lookup(destination);
        let way = self.find(destination, decision, Role::is_core)?;
        // A way that was found before is taken whatever the source is.
        if !self.snapshot.as_ref()?.asks_for_sources() {
            self.recent[recent(destination)].keep(destination, way);
        }
        Some(way)
    }

    /// The way of an inner packet of IPv6 of `len` octets into the core network, if it is one of
    /// ours.
    pub(crate) fn core_ipv6(&mut self, destination: Ipv6Addr, len: usize) -> Option<Exit> {
        let way = match self.recent_ipv6.get(recent(destination)) {
            Some((known, way)) if *known == destination && way.version == self.version => *way,
            _ => self.find_core_ipv6(destination)?,
        };
        (len <= way.mtu as usize).then_some(way.exit)
    }

    fn find_core_ipv6(&mut self, destination: Ipv6Addr) -> Option<Remembered> {
        let decision = self.snapshot.as_ref()?.lookup_ipv6(destination);
        let way = self.find(destination, decision, Role::is_core)?;
        if self.recent_ipv6.is_empty() {
            self.recent_ipv6 = vec![(Ipv6Addr::UNSPECIFIED, Remembered::NOTHING); RECENT];
        }
        self.recent_ipv6[recent(destination)] = (destination, way);
        Some(way)
    }

    /// A packet by a way out that was found.
    #[inline]
    pub(crate) fn by(
        &mut self,
        sink: &mut Sink,
        mut frame: Frame,
        exit: &Exit,
        carried: Ethertype,
    ) {
        let Exit { tagged, port, ends } = exit;
        let fits = match tagged {
            None => link::add(&mut frame, ends, carried),
            Some(place) => {
                let line = self.interfaces.get(usize::from(place.get() - 1)).map(|to| to.line);
                line.is_some_and(|line| {
                    link::add_tagged(&mut frame, ends, line.tags.as_slice(), carried)
                })
            }
        };
        if fits {
            self.put(sink, frame, Some((*port).into()));
        } else {
            sink.drop(frame, DropReason::NoHeadroom);
        }
    }

    /// The way to a tunnel's peer that was found before, if it is good still, takes an IP packet of
    /// `len` octets and has no tags.
    #[inline]
    pub(crate) fn known(&self, way: &Remembered, len: usize) -> Option<Exit> {
        let is_good =
            way.version == self.version && len <= way.mtu as usize && way.exit.tagged.is_none();
        is_good.then_some(way.exit)
    }

    /// A packet that starts with the outer IP header, to a tunnel's peer. `way` is the tunnel's.
    #[inline]
    pub(crate) fn peer(
        &mut self,
        sink: &mut Sink,
        frame: Frame,
        Outer { local, peer, .. }: Outer,
        way: &mut Remembered,
    ) {
        if way.version != self.version {
            let snapshot = self.snapshot.as_ref();
            let snapshot = snapshot.filter(|snapshot| !snapshot.is_ruled_peer(local, peer));
            let decision = snapshot.map(|snapshot| snapshot.lookup_peer(peer));
            let found = decision.and_then(|decision| self.find(peer, decision, Role::is_access));
            *way = found.unwrap_or(Remembered::NOTHING);
        }
        // What is too big the kernel fragments, or answers.
        if frame.len() <= way.mtu as usize {
            self.by(sink, frame, &way.exit, Ethertype::IPV4);
        } else {
            self.put(sink, frame, self.raw);
        }
    }

    /// Has the processor fetch the way out to this destination in the core network, if one is
    /// remembered.
    #[inline]
    pub(crate) fn expect_remembered(&self, destination: Ipv4Addr) {
        prefetch(&self.recent[recent(destination)]);
    }

    /// The same for what has to be looked up to find the ways out to these destinations.
    pub(crate) fn expect(&self, destinations: impl Iterator<Item = Ipv4Addr>) {
        let Some(snapshot) = &self.snapshot else { return };
        let mut unknown = [Ipv4Addr::UNSPECIFIED; BURST];
        let is_unknown = |&destination: &Ipv4Addr| {
            self.recent[recent(destination)].way(destination, self.version).is_none()
        };
        let mut count = 0;
        for (place, destination) in unknown.iter_mut().zip(destinations.filter(is_unknown)) {
            *place = destination;
            count += 1;
        }
        if let Some(unknown) = unknown.get(..count).filter(|unknown| !unknown.is_empty()) {
            snapshot.expect(unknown.iter().copied());
        }
    }

    fn find(
        &self,
        destination: impl Address,
        decision: Decision,
        may: fn(Role) -> bool,
    ) -> Option<Remembered> {
        let Decision::Via { ifindex, source_mac, next_hop_mac, mtu } = decision else {
            return None;
        };
        let mut interfaces = self.interfaces.iter().enumerate();
        let (place, interface) = interfaces
            .find(|(_, Interface { line, .. })| line.ifindex == ifindex && may(line.role))?;
        let is_tagged = interface.line.tags != Tags::None;
        let exit = Exit {
            // Counted from one.
            tagged: NonZeroU16::new(u16::try_from(place + 1).ok()?).filter(|_| is_tagged),
            port: u16::try_from(interface.port(destination)?).ok()?,
            ends: link::Ends::new(next_hop_mac, source_mac),
        };
        Some(Remembered { version: self.version, mtu, exit })
    }

    /// A frame that has all of its headers, by this port.
    #[inline]
    pub(crate) fn put(&mut self, sink: &mut Sink, frame: Frame, port: Option<usize>) {
        match port.and_then(|port| self.queues.get_mut(port)) {
            Some(queue) => queue.push(frame),
            None => sink.drop(frame, DropReason::NoPort),
        }
    }
}

/// Where the way out to a destination is kept.
#[inline]
fn recent(destination: impl Address) -> usize {
    destination.spread() as usize >> (SPREAD_BITS - RECENT.trailing_zeros())
}
