//! Fragments of a peer made frames again.
//!
//! Implements RFC 1990 §2 (what may be inside) and §4. Moves no window and no acknowledgement:
//! whoever believes the whole packet does.

use protocol::gre::Verdict;
use protocol::ppp::frame::{self as ppp, Protocol};
use protocol::ppp::multilink::{Header, reassembly};
use protocol::ppp::packet::code;

use super::{Piece, State};
use crate::api::DropReason;
use crate::frame::Frame;
use crate::inner::ecn;
use crate::worker::Core;

/// A fragment, from its header on.
pub(crate) struct Fragment {
    pub(crate) frame: Frame,
    pub(crate) slot: u32,
    pub(crate) sequence: u32,
    /// The outer type of service.
    pub(crate) tos: u8,
}

/// A PPP frame that was in fragments, from the protocol field on.
pub(crate) struct Whole {
    pub(crate) frame: Frame,
    /// The highest sequence number that it used up.
    pub(crate) sequence: u32,
    /// The outer type of service: congestion that any fragment has met (RFC 3168 §5.3).
    pub(crate) tos: u8,
}

/// Takes a fragment; the frame that it completes, if it does.
pub(crate) fn receive(core: &mut Core, fragment: Fragment) -> Option<Whole> {
    let Fragment { mut frame, slot, sequence, tos } = fragment;
    let Some(tunnel) = core.table.tunnel(slot) else {
        core.sink.drop(frame, DropReason::TunnelUnknown);
        return None;
    };
    let Some(State { receive: Some(reassembler), .. }) = tunnel.multilink.as_deref_mut() else {
        core.sink.drop_of(frame, DropReason::NetworkClosed, &tunnel.shared);
        return None;
    };
    if matches!(tunnel.window.check(sequence), Verdict::Duplicate | Verdict::TooOld) {
        tunnel.shared.duplicates.add(1);
        core.sink.drop_of(frame, DropReason::SequenceReplayed, &tunnel.shared);
        return None;
    }
    let format = reassembler.format();
    let header = Header::parse(format, frame.data()).map(|(header, _)| header);
    let Some(header) = header.filter(|_| frame.pull_front(format.header_len())) else {
        core.sink.drop_of(frame, DropReason::FragmentMalformed, &tunnel.shared);
        return None;
    };

    let fragments = &mut core.fragments;
    let (before, octets) = (reassembler.len(), frame.len());
    let piece = Piece { frame, sequence, tos };
    let fragment = reassembly::Fragment { header, carrier: sequence, octets, piece };
    reassembler.insert(fragment, fragments.room(), core.now, &mut fragments.released);
    fragments.held = fragments.held + reassembler.len() - before;
    if let Some(state) = tunnel.multilink.as_deref_mut() {
        fragments.list(state, tunnel.id);
    }
    fragments.drop_refused(&mut core.sink, &tunnel.shared);

    let sequence = fragments.released.carrier;
    let mut pieces = std::mem::take(&mut fragments.released.whole);
    // The packet is the last one's to the tunnel. The others were not lost.
    for piece in pieces.iter().filter(|piece| piece.sequence != sequence) {
        tunnel.came_besides(piece.sequence);
    }
    let whole = join(core, slot, &mut pieces);
    core.fragments.released.whole = pieces;
    let (frame, tos) = whole?;
    Some(Whole { frame, sequence, tos })
}

/// Puts pieces into the first one's frame, if that is what a peer may send in fragments.
fn join(core: &mut Core, slot: u32, pieces: &mut Vec<Piece>) -> Option<(Frame, u8)> {
    let count = pieces.len();
    let total: usize = pieces.iter().map(|piece| piece.frame.len()).sum();
    let mut pieces = pieces.drain(..);
    let Piece { mut frame, mut tos, .. } = pieces.next()?;
    let mut at = frame.len();
    let fits = frame.set_len(total);
    for piece in pieces {
        if let Some(room) = frame.data_mut().get_mut(at..at + piece.frame.len()) {
            room.copy_from_slice(piece.frame.data());
        }
        at += piece.frame.len();
        tos = ecn::of_both(tos, piece.tos);
        core.sink.consume(piece.frame);
    }
    core.sink.meter.multilink_received.add(u64::from(count > 1));
    if total == 0 {
        // A fragment without a piece keeps a link from being idle (RFC 1990 §4.1).
        core.sink.consume(frame);
        return None;
    }
    if fits && may_be_inside(frame.data()) {
        return Some((frame, tos));
    }
    match core.table.tunnel(slot) {
        Some(tunnel) => core.sink.drop_of(frame, DropReason::FragmentMalformed, &tunnel.shared),
        None => core.sink.drop(frame, DropReason::TunnelUnknown),
    }
    None
}

/// LCP is not negotiated by the packets of a bundle (RFC 1990 §2), and no bundle is inside of one.
fn may_be_inside(frame: &[u8]) -> bool {
    match ppp::parse(frame) {
        Ok((Protocol::MULTILINK, _)) => false,
        Ok((Protocol::LCP, [code, ..])) => *code > code::TERMINATE_ACK,
        _ => true,
    }
}
