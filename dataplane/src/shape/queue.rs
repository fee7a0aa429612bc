//! Packets to subscribers that wait for their tunnel's rate.
//!
//! Implements RFC 8289 (through `codel`) and RFC 3168 §5 (a mark instead of a drop). Packets wait
//! as plain IP, before sequence numbers and keys are given to them, so that none that is dropped
//! here is missed by the peer. Never holds more packets than its share of the worker's frames.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use protocol::time::Instant;

use super::Meter;
use super::codel::{Codel, Sample};
use crate::api::TunnelId;
use crate::frame::Frame;
use crate::inner::ecn;

/// The most packets that one tunnel's queue holds.
const MOST: u32 = 256;
/// A queue holds what its rate carries in half a second…
const LONGEST_MILLIS: u64 = 500;
/// …or this many octets, if that is more.
const LEAST_OCTETS: usize = 10 * 1500;
/// A tunnel whose rate allows no more comes up no sooner than this: the rate is kept over time, not
/// from packet to packet, and a worker has others to serve.
const SHORTEST: Duration = Duration::from_micros(500);
/// And no later: what a closed tunnel leaves in the schedule is gone then.
const LATEST: Duration = Duration::from_secs(1);
/// No place in the store.
const NONE: u32 = u32::MAX;

/// A packet that waits, from the IP header on.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) frame: Frame,
    /// Its type of service.
    pub(crate) tos: u8,
    since: Instant,
}

/// What became of a packet that was offered.
#[derive(Debug)]
pub(crate) enum Offer {
    /// It may be sent at once.
    Pass(Frame),
    /// It waits.
    Waits,
    /// There is no room for it.
    Full(Frame),
}

/// A packet that leaves its queue.
#[derive(Debug)]
pub(crate) enum Release {
    /// To be sent; `marked` if it now says that there is congestion.
    Send {
        /// The packet.
        packet: Waiting,
        /// Whether it was marked here.
        marked: bool,
    },
    /// To be dropped, as a sign to its sender.
    Drop(Frame),
}

/// What waits in all queues of a worker, and which tunnel's turn is when.
#[derive(Debug)]
pub(crate) struct Store {
    nodes: Vec<Node>,
    /// First of the free nodes.
    free: u32,
    used: usize,
    limit: usize,
    /// One valid entry for each queue that is not empty.
    schedule: BinaryHeap<Reverse<(Instant, TunnelId)>>,
}

#[derive(Debug)]
struct Node {
    packet: Option<Waiting>,
    next: u32,
}

impl Store {
    /// A store for at most `limit` packets.
    pub(crate) fn new(limit: usize) -> Self {
        // The number of a place is less than NONE.
        let limit = limit.min(NONE as usize - 1);
        Self { nodes: Vec::new(), free: NONE, used: 0, limit, schedule: BinaryHeap::new() }
    }

    /// Packets that wait.
    pub(crate) const fn len(&self) -> usize {
        self.used
    }

    /// When a tunnel's turn comes, at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.schedule.peek().map(|&Reverse((at, _))| at)
    }

    /// The next tunnel whose turn has come, and when it came. It counts only if the tunnel's queue
    /// says the same.
    pub(crate) fn next_due(&mut self, now: Instant) -> Option<(Instant, TunnelId)> {
        if self.deadline()? > now {
            return None;
        }
        self.schedule.pop().map(|Reverse(entry)| entry)
    }

    fn put(&mut self, packet: Waiting) -> Result<u32, Frame> {
        if self.used == self.limit {
            return Err(packet.frame);
        }
        self.used += 1;
        let place = self.free;
        if let Some(node) = self.nodes.get_mut(place as usize) {
            self.free = node.next;
            *node = Node { packet: Some(packet), next: NONE };
            return Ok(place);
        }
        self.nodes.push(Node { packet: Some(packet), next: NONE });
        // There are fewer nodes than the limit.
        Ok(u32::try_from(self.nodes.len() - 1).unwrap_or(NONE))
    }

    fn get(&self, place: u32) -> Option<&Waiting> {
        self.nodes.get(place as usize)?.packet.as_ref()
    }

    /// Takes the packet at a place out; the place that follows it comes along.
    fn take(&mut self, place: u32) -> Option<(Waiting, u32)> {
        let node = self.nodes.get_mut(place as usize)?;
        let packet = node.packet.take()?;
        let next = std::mem::replace(&mut node.next, self.free);
        self.free = place;
        self.used -= 1;
        Some((packet, next))
    }

    fn link(&mut self, place: u32, next: u32) {
        if let Some(node) = self.nodes.get_mut(place as usize) {
            node.next = next;
        }
    }
}

/// One tunnel's queue. Its packets are in the worker's [`Store`]: it has to be emptied before it
/// is dropped.
#[derive(Debug)]
pub(crate) struct Queue {
    /// `None` once the limit was lifted: what waits goes, in its order.
    meter: Option<Meter>,
    first: u32,
    last: u32,
    count: u32,
    octets: usize,
    codel: Codel,
    /// When the schedule has its turn.
    due: Option<Instant>,
}

impl Queue {
    pub(crate) fn new(meter: Meter) -> Self {
        Self {
            meter: Some(meter),
            first: NONE,
            last: NONE,
            count: 0,
            octets: 0,
            codel: Codel::default(),
            due: None,
        }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether it has neither a limit nor packets, and can go.
    pub(crate) const fn is_over(&self) -> bool {
        self.meter.is_none() && self.is_empty()
    }

    /// Sets or lifts the limit. What waits is looked at again at once.
    pub(crate) fn set_meter(
        &mut self,
        meter: Option<Meter>,
        store: &mut Store,
        id: TunnelId,
        now: Instant,
    ) {
        self.meter = meter;
        if !self.is_empty() {
            self.schedule_at(now, store, id);
        }
    }

    /// Takes a packet that may be sent at once if none waits and the rate allows.
    pub(crate) fn offer(
        &mut self,
        frame: Frame,
        tos: u8,
        store: &mut Store,
        id: TunnelId,
        now: Instant,
    ) -> Offer {
        let len = frame.len();
        if self.is_empty() && self.meter.as_mut().is_none_or(|meter| meter.take(len, now)) {
            return Offer::Pass(frame);
        }
        if !self.has_room(len, store) {
            return Offer::Full(frame);
        }
        if let Err(frame) = self.append(Waiting { frame, tos, since: now }, store) {
            return Offer::Full(frame);
        }
        if self.due.is_none() {
            self.schedule(store, id, now);
        }
        Offer::Waits
    }

    /// A queue may be as long as what all queues leave free, so that many slow tunnels share the
    /// worker's frames evenly and some are always left for one that was quiet.
    fn has_room(&self, len: usize, store: &Store) -> bool {
        let rate = self.meter.as_ref().map_or(u64::MAX, Meter::rate);
        let octets = rate.saturating_mul(LONGEST_MILLIS) / 8_000;
        let octets = usize::try_from(octets).unwrap_or(usize::MAX).max(LEAST_OCTETS);
        self.count < MOST
            && (self.count as usize) < store.limit - store.used
            && self.octets + len <= octets
    }

    /// The next packet that leaves the queue now. `None` if the rate allows no more, or none waits.
    pub(crate) fn release(&mut self, store: &mut Store, now: Instant) -> Option<Release> {
        let len = store.get(self.first)?.frame.len();
        if self.meter.as_mut().is_some_and(|meter| !meter.has(len, now)) {
            return None;
        }
        let mut packet = self.pop(store)?;
        if let Some(meter) = &mut self.meter {
            let rate = meter.rate();
            let sample = Sample { since: packet.since, behind: self.octets, rate };
            if self.codel.signals(sample, now) {
                let Some(tos) = ecn::mark(packet.frame.data_mut()) else {
                    return Some(Release::Drop(packet.frame));
                };
                packet.tos = tos;
                meter.take(len, now);
                return Some(Release::Send { packet, marked: true });
            }
            meter.take(len, now);
        }
        Some(Release::Send { packet, marked: false })
    }

    /// Whether this is the queue's turn in the schedule, which is over with that.
    pub(crate) fn begin(&mut self, at: Instant) -> bool {
        self.due.take_if(|due| *due == at).is_some()
    }

    /// Enters the queue's next turn in the schedule, if anything waits.
    pub(crate) fn schedule(&mut self, store: &mut Store, id: TunnelId, now: Instant) {
        let Some(len) = store.get(self.first).map(|packet| packet.frame.len()) else { return };
        let wait = self.meter.as_mut().map_or(Duration::ZERO, |meter| meter.wait(len, now));
        let wait = if wait.is_zero() { wait } else { wait.clamp(SHORTEST, LATEST) };
        self.schedule_at(now + wait, store, id);
    }

    fn schedule_at(&mut self, at: Instant, store: &mut Store, id: TunnelId) {
        self.due = Some(at);
        store.schedule.push(Reverse((at, id)));
    }

    /// Takes all packets out: the queue goes to another worker's store, whose schedule is another.
    pub(crate) fn leave(&mut self, store: &mut Store) -> Vec<Waiting> {
        self.due = None;
        std::iter::from_fn(|| self.pop(store)).collect()
    }

    /// Puts packets behind those that wait. Those for which the store has no room come back.
    pub(crate) fn come(
        &mut self,
        packets: Vec<Waiting>,
        store: &mut Store,
        id: TunnelId,
        now: Instant,
    ) -> Vec<Frame> {
        let mut refused = Vec::new();
        for packet in packets {
            match self.append(packet, store) {
                Ok(()) => {}
                Err(frame) => refused.push(frame),
            }
        }
        if self.due.is_none() {
            self.schedule(store, id, now);
        }
        refused
    }

    fn append(&mut self, packet: Waiting, store: &mut Store) -> Result<(), Frame> {
        let len = packet.frame.len();
        let place = store.put(packet)?;
        if self.is_empty() {
            self.first = place;
        } else {
            store.link(self.last, place);
        }
        self.last = place;
        self.count += 1;
        self.octets += len;
        Ok(())
    }

    /// Takes the first packet out, whatever the rate says.
    pub(crate) fn pop(&mut self, store: &mut Store) -> Option<Waiting> {
        let (packet, next) = store.take(self.first)?;
        self.first = next;
        self.count -= 1;
        self.octets -= packet.frame.len();
        Some(packet)
    }
}
