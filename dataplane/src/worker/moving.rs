//! Tunnels that move from one worker to another with all that is theirs: no packet is lost on the
//! way, and none overtakes another.
//!
//! All workers are ordered to send the tunnel's frames to its new owner from now on. The old one
//! packs the tunnel up at the end of a turn, and passes on what still reaches it. Every other worker
//! says "done" behind its last frame for the old owner, which passes that on too: once the new owner
//! has the luggage and all of these words, nothing is under way any more. Until then it keeps the
//! tunnel's frames, and then takes those that were passed on before those that came straight.
//! Nobody waits here, and what finds a ring full is tried again.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use super::{BURST, Core, From, Remembered};
use crate::api::{DropReason, Multilink, TunnelId};
use crate::frame::Frame;
use crate::mailbox::{Handed, Message, Move};
use crate::multilink::Passage;
use crate::shape::Waiting;
use crate::table::{ARRIVING, Tunnel};
use crate::{downlink, uplink};

/// Frames that a worker keeps for tunnels that are on their way to it.
const KEPT: usize = 1024;

/// A tunnel and the packets that wait for its rate.
#[derive(Debug)]
pub(crate) struct Luggage {
    tunnel: Box<Tunnel>,
    waiting: Vec<Waiting>,
}

/// The tunnels that move from or to a worker.
#[derive(Debug, Default)]
pub(super) struct Moves {
    /// To leave at the end of the turn.
    leaving: Vec<Move>,
    /// Gone, while other workers' last frames may still come here.
    left: Vec<Left>,
    /// On their way here.
    coming: Vec<Coming>,
    /// What has arrived in this turn.
    arrived: Vec<Luggage>,
    /// Who is done with which tunnel's old owner.
    done: Vec<(TunnelId, u16)>,
    /// For other workers' rings.
    outbox: VecDeque<(u16, Message)>,
    passed: Kept,
    straight: Kept,
    /// What is kept now was passed on.
    repeats_passed: bool,
}

#[derive(Debug)]
struct Left {
    order: Move,
    /// Workers that are not done, a bit each.
    missing: u64,
}

#[derive(Debug)]
struct Coming {
    order: Move,
    luggage: Option<Luggage>,
    /// Workers that are not done, a bit each.
    missing: u64,
}

/// Frames for tunnels that are on their way here.
#[derive(Debug, Default)]
struct Kept {
    uplink: Vec<Frame>,
    downlink: Vec<Frame>,
}

impl Kept {
    const fn len(&self) -> usize {
        self.uplink.len() + self.downlink.len()
    }

    fn push(&mut self, handed: Handed) {
        match handed {
            Handed::Uplink(frame) => self.uplink.push(frame),
            Handed::Downlink(frame) => self.downlink.push(frame),
        }
    }
}

impl Moves {
    /// Another worker passes on a frame of a tunnel that was its own.
    pub(super) fn take_passed(&mut self, handed: Handed) {
        self.passed.push(handed);
    }

    pub(super) fn take_luggage(&mut self, luggage: Luggage) {
        self.arrived.push(luggage);
    }

    pub(super) fn take_done(&mut self, tunnel: TunnelId, by: u16) {
        self.done.push((tunnel, by));
    }

    /// Whether frames from other workers may be passed on.
    pub(super) const fn passes_on(&self) -> bool {
        !self.left.is_empty()
    }

    /// Whether a ring was full.
    pub(super) fn has_to_try_again(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Frames that are kept.
    const fn kept(&self) -> usize {
        self.passed.len() + self.straight.len()
    }

    fn is_idle(&self) -> bool {
        self.leaving.is_empty()
            && self.left.is_empty()
            && self.coming.is_empty()
            && self.arrived.is_empty()
            && self.done.is_empty()
            && self.outbox.is_empty()
            && self.kept() == 0
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        let waiting = |luggage: &Luggage| luggage.waiting.len();
        let coming = self.coming.iter().filter_map(|coming| coming.luggage.as_ref());
        self.kept() + coming.map(waiting).sum::<usize>()
    }
}

impl Core {
    /// All workers but one, a bit each.
    fn all_but(&self, worker: u16) -> u64 {
        let all = u64::MAX >> (u64::BITS as usize - self.mailboxes.len().clamp(1, 64));
        all & !(1 << worker)
    }

    /// A tunnel moves from now on.
    pub(super) fn begin_move(&mut self, order: Move) {
        let Move { tunnel, from, to } = order;
        let me = self.table.worker();
        if me == from {
            self.moves.leaving.push(order);
            return;
        }
        if me == to {
            self.table.set_owner(tunnel, ARRIVING);
            let missing = self.all_but(from);
            self.moves.coming.push(Coming { order, luggage: None, missing });
        } else {
            self.table.set_owner(tunnel, to);
        }
        // Sent at the end of the turn; what this turn received goes straight already.
        self.moves.outbox.push_back((from, Message::Done { tunnel, by: me }));
    }

    /// A tunnel is closed, wherever it is.
    pub(super) fn end_move(&mut self, tunnel: TunnelId) {
        if self.moves.is_idle() {
            return;
        }
        self.moves.leaving.retain(|order| order.tunnel != tunnel);
        self.moves.left.retain(|left| left.order.tunnel != tunnel);
        let is_it = |coming: &mut Coming| coming.order.tunnel == tunnel;
        let ended: Vec<_> = self.moves.coming.extract_if(.., is_it).collect();
        for luggage in ended.into_iter().filter_map(|coming| coming.luggage) {
            self.discard(luggage);
        }
    }

    /// Keeps a frame of a tunnel that is on its way here.
    #[cold]
    pub(super) fn keep(&mut self, handed: Handed, from: From) {
        let moves = &mut self.moves;
        if moves.kept() >= KEPT {
            return self.sink.drop(handed.into_frame(), DropReason::HandoverFull);
        }
        if moves.repeats_passed && from == From::Worker {
            moves.passed.push(handed);
        } else {
            moves.straight.push(handed);
        }
    }

    /// Makes tunnels this worker's that have wholly arrived, and takes what was kept for them through
    /// the stages.
    pub(super) fn settle(&mut self) {
        if self.moves.is_idle() {
            return;
        }
        let moves = &mut self.moves;
        let coming = &mut moves.coming;
        // The others are for this worker as an old owner.
        moves.done.retain(|&(tunnel, by)| {
            let coming = coming.iter_mut().find(|coming| coming.order.tunnel == tunnel);
            coming.map(|coming| coming.missing &= !(1 << by)).is_none()
        });
        for luggage in std::mem::take(&mut self.moves.arrived) {
            let mut coming = self.moves.coming.iter_mut();
            match coming.find(|coming| coming.order.tunnel == luggage.tunnel.id) {
                Some(coming) => coming.luggage = Some(luggage),
                // It was closed on its way.
                None => self.discard(luggage),
            }
        }
        let is_whole = |coming: &mut Coming| coming.missing == 0 && coming.luggage.is_some();
        let whole: Vec<_> = self.moves.coming.extract_if(.., is_whole).collect();
        let any = !whole.is_empty();
        for luggage in whole.into_iter().filter_map(|coming| coming.luggage) {
            self.unpack(luggage);
        }
        if self.moves.kept() > 0 && (any || self.moves.coming.is_empty()) {
            self.repeat();
        }
    }

    /// Takes all that is kept through the stages. What is for tunnels that are still on their way is
    /// kept again.
    fn repeat(&mut self) {
        let passed = std::mem::take(&mut self.moves.passed);
        let straight = std::mem::take(&mut self.moves.straight);
        for (kept, are_passed) in [(passed, true), (straight, false)] {
            self.moves.repeats_passed = are_passed;
            let Kept { mut uplink, mut downlink } = kept;
            while !uplink.is_empty() {
                let mut burst = uplink.drain(..uplink.len().min(BURST)).collect();
                uplink::run(self, &mut burst, From::Worker);
            }
            downlink::admit(self, &mut downlink, From::Worker);
        }
        self.moves.repeats_passed = false;
    }

    fn unpack(&mut self, luggage: Luggage) {
        let Luggage { mut tunnel, waiting } = luggage;
        // Ports have other numbers here, and the queues of acknowledgements do not know the tunnel.
        tunnel.exit = Remembered::NOTHING;
        (tunnel.ack_waiting, tunnel.ack_urgent) = (false, false);
        let Self { table, sink, acks, fragments, waiting: store, now, .. } = self;
        let tunnel = match table.adopt(tunnel) {
            Ok(tunnel) => tunnel,
            Err(tunnel) => return self.discard(Luggage { tunnel, waiting }),
        };
        acks.note(tunnel, *now);
        let came = fragments.transfer(tunnel, Passage::Comes, sink) + waiting.len() as u64;
        sink.meter.taken_over.add(came);
        let id = tunnel.id;
        if let Some(queue) = tunnel.queue() {
            let refused = queue.come(waiting, store, id, *now);
            for frame in refused {
                sink.drop_of(frame, DropReason::QueueFull, &tunnel.shared);
            }
            sink.meter.queued.set(store.len() as u64);
        }
        sink.meter.tunnels_taken.add(1);
        tunnel.shared.moving.store(false, Ordering::Release);
    }

    /// A tunnel that was closed on its way here.
    fn discard(&mut self, luggage: Luggage) {
        let Luggage { mut tunnel, waiting } = luggage;
        let Self { sink, fragments, .. } = self;
        let came = fragments.transfer(&mut tunnel, Passage::Comes, sink) + waiting.len() as u64;
        sink.meter.taken_over.add(came);
        for packet in waiting {
            sink.drop_of(packet.frame, DropReason::NetworkClosed, &tunnel.shared);
        }
        fragments.set(&mut tunnel, Multilink::default(), sink);
    }

    /// Sends tunnels on their way that are to leave, and says to other workers what they wait for. The
    /// frames of this turn have been dealt with.
    pub(super) fn depart(&mut self) {
        if self.moves.is_idle() {
            return;
        }
        for order in std::mem::take(&mut self.moves.leaving) {
            self.pack(order);
        }
        let Self { moves, table, mailboxes, handed_to, .. } = self;
        let Moves { done, left, outbox, .. } = moves;
        done.retain(|&(tunnel, by)| match left.iter_mut().find(|it| it.order.tunnel == tunnel) {
            Some(Left { order, missing }) => {
                *missing &= !(1 << by);
                outbox.push_back((order.to, Message::Done { tunnel, by }));
                false
            }
            // The order to this worker is the last one that is given.
            None => table.tunnel_by_id(tunnel).is_some(),
        });
        left.retain(|left| left.missing != 0);
        for _ in 0..outbox.len() {
            let Some((to, message)) = outbox.pop_front() else { break };
            let Some(mailbox) = mailboxes.get(usize::from(to)) else { continue };
            match mailbox.handed.push(message) {
                Ok(()) => *handed_to |= 1 << to,
                Err(message) => outbox.push_back((to, message)),
            }
        }
    }

    fn pack(&mut self, order: Move) {
        let missing = self.all_but(order.from);
        let Self { table, sink, fragments, waiting: store, moves, .. } = self;
        let Some(mut tunnel) = table.release(order.tunnel, order.to) else { return };
        let fragments = fragments.transfer(&mut tunnel, Passage::Leaves, sink);
        let waiting = tunnel.queue().map(|queue| queue.leave(store)).unwrap_or_default();
        sink.meter.handed_over.add(fragments + waiting.len() as u64);
        sink.meter.queued.set(store.len() as u64);
        let luggage = Box::new(Luggage { tunnel, waiting });
        moves.outbox.push_back((order.to, Message::Tunnel(luggage)));
        moves.left.push(Left { order, missing });
    }
}
