//! Multilink on one link: packets that are larger than one frame may be, in fragments.
//!
//! Implements RFC 1990 §3 and §4 on the path of packets: cuts what was encrypted, and puts
//! together what is to be decrypted. Fragments wait in frames of the worker's, a bounded number of
//! them. A tunnel without multilink never comes here.

mod receive;
mod send;

use std::collections::VecDeque;

use protocol::ppp::multilink::reassembly::{self, Refused};
use protocol::ppp::multilink::{Multilink, Released, Sending};
use protocol::time::Instant;

use crate::api::{DropReason, TunnelId};
use crate::counters::TunnelShared;
use crate::frame::Frame;
use crate::table::{Table, Tunnel};
use crate::worker::Sink;
pub(crate) use receive::{Fragment, Whole, receive};
pub(crate) use send::{Outgoing, send};

/// A tunnel's fragments.
#[derive(Debug)]
pub(crate) struct State {
    /// What may be sent, and the number of the next fragment.
    send: Option<(Sending, u32)>,
    receive: Option<Reassembler>,
    /// It is among those of [`Fragments::listed`].
    listed: bool,
}

type Reassembler = reassembly::Reassembler<Piece>;

/// A fragment's piece of a packet.
#[derive(Debug)]
struct Piece {
    frame: Frame,
    /// The GRE sequence number that it used up.
    sequence: u32,
    /// The outer type of service.
    tos: u8,
}

impl State {
    pub(crate) fn new(agreed: Multilink) -> Self {
        Self {
            // RFC 1990 §4.1: the first fragment has the number zero.
            send: agreed.send.map(|sending| (sending, 0)),
            receive: agreed.receive.map(Reassembler::new),
            listed: false,
        }
    }

    /// Whether fragments are expected of the peer.
    pub(crate) const fn receives(&self) -> bool {
        self.receive.is_some()
    }

    /// Octets of the longest information field that goes in one piece.
    pub(crate) fn largest(&self) -> usize {
        self.send.map_or(usize::MAX, |(sending, _)| usize::from(sending.largest))
    }
}

/// What a tunnel that moves does from the worker's point of view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passage {
    Leaves,
    Comes,
}

/// The fragments of all tunnels of a worker that wait.
#[derive(Debug)]
pub(crate) struct Fragments {
    held: usize,
    limit: usize,
    /// Tunnels with fragments that wait, once each, and when to look at them.
    listed: VecDeque<(Instant, TunnelId)>,
    /// Empty between packets; kept for their capacity.
    released: Released<Piece>,
    cut: Vec<Frame>,
}

impl Fragments {
    /// Of at most `limit` frames.
    pub(crate) fn new(limit: usize) -> Self {
        let (listed, released) = (VecDeque::new(), Released::default());
        Self { held: 0, limit, listed, released, cut: Vec::new() }
    }

    /// How many wait.
    #[cfg(test)]
    pub(crate) const fn held(&self) -> usize {
        self.held
    }

    /// How many of one tunnel may: half of what is free, so that no crowd leaves nothing to one
    /// that was quiet.
    const fn room(&self) -> usize {
        self.limit.saturating_sub(self.held) / 2
    }

    /// When [`Self::expire`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.listed.front().map(|&(at, _)| at)
    }

    /// Gives up what has waited for too long.
    pub(crate) fn expire(&mut self, table: &mut Table, sink: &mut Sink, now: Instant) {
        while let Some((_, id)) = self.listed.pop_front_if(|&mut (at, _)| at <= now) {
            let Some(tunnel) = table.tunnel_by_id(id) else { continue };
            let Some(state) = &mut tunnel.multilink else { continue };
            state.listed = false;
            let Some(reassembler) = &mut state.receive else { continue };
            let before = reassembler.len();
            reassembler.expire(now, &mut self.released);
            self.held -= before - reassembler.len();
            self.list(state, id);
            self.drop_refused(sink, &tunnel.shared);
        }
    }

    /// Gives up all of a tunnel's, and has it begin anew.
    pub(crate) fn set(&mut self, tunnel: &mut Tunnel, agreed: Multilink, sink: &mut Sink) {
        let state = tunnel.multilink.take();
        if let Some(mut reassembler) = state.and_then(|state| state.receive) {
            self.held -= reassembler.len();
            reassembler.clear(&mut self.released);
            self.drop_refused(sink, &tunnel.shared);
        }
        if agreed != Multilink::default() {
            tunnel.multilink = Some(Box::new(State::new(agreed)));
        }
    }

    /// A tunnel leaves, or comes, with the fragments of it that wait; how many those are.
    pub(crate) fn transfer(&mut self, tunnel: &mut Tunnel, passage: Passage, sink: &Sink) -> u64 {
        let Some(state) = tunnel.multilink.as_deref_mut() else { return 0 };
        let count = state.receive.as_ref().map_or(0, Reassembler::len);
        state.listed = false;
        match passage {
            Passage::Leaves => self.held -= count,
            Passage::Comes => {
                self.held += count;
                self.list(state, tunnel.id);
            }
        }
        sink.meter.fragments.set(self.held as u64);
        count as u64
    }

    /// Has a tunnel looked at when its oldest fragment has waited for long enough.
    fn list(&mut self, state: &mut State, id: TunnelId) {
        let deadline = state.receive.as_ref().and_then(Reassembler::deadline);
        if let Some(at) = deadline.filter(|_| !state.listed) {
            state.listed = true;
            // All wait equally long, so those that come later are due later.
            self.listed.push_back((at, id));
        }
    }

    fn drop_refused(&mut self, sink: &mut Sink, shared: &TunnelShared) {
        for (piece, why) in self.released.refused.drain(..) {
            let reason = match why {
                Refused::Duplicate => DropReason::SequenceReplayed,
                Refused::Incomplete => DropReason::FragmentLost,
                Refused::NoRoom => DropReason::FragmentsFull,
                Refused::TooLong => DropReason::FragmentMalformed,
            };
            sink.drop_of(piece.frame, reason, shared);
        }
        sink.meter.fragments.set(self.held as u64);
    }
}
