//! LCP's echoes of tunnels whose network is open, answered by the worker itself.
//!
//! Implements RFC 1661 §5.8 for what is usual. An echo that carries our own magic number, or one so
//! long that its answer might have to be cut, is left to the control plane, as is all else of LCP.
//! That the peer lives is known from its tunnel's counters, so nobody has to be told of an echo.

use std::ops::Range;

use protocol::ppp::Protocol;
use protocol::ppp::lcp::MIN_MRU;
use protocol::ppp::packet::{HEADER_LEN, Packet, code};

use crate::downlink;
use crate::frame::Frame;
use crate::table::Tunnel;
use crate::worker::Core;

/// What is ours to deal with.
pub(super) enum Echo {
    /// An Echo-Request of so many octets.
    Request(usize),
    /// An Echo-Reply.
    Reply,
}

/// Whether a control frame is.
pub(super) fn read(tunnel: &Tunnel, protocol: Protocol, payload: &[u8]) -> Option<Echo> {
    // An open network says that LCP is open, too: in other states echoes are discarded.
    if protocol != Protocol::LCP || tunnel.network.is_none() {
        return None;
    }
    let packet = Packet::parse(payload).ok()?;
    let length = HEADER_LEN + packet.data.len();
    match (packet.code, packet.data.first_chunk()) {
        (code::ECHO_REPLY, _) => Some(Echo::Reply),
        (code::ECHO_REQUEST, Some(magic)) if length <= usize::from(MIN_MRU) => {
            // RFC 1661 §5.8: ours would come by a looped-back link.
            let is_ours = tunnel.magic != 0 && u32::from_be_bytes(*magic) == tunnel.magic;
            (!is_ours).then_some(Echo::Request(length))
        }
        _ => None,
    }
}

/// Turns the Echo-Request at `packet` of the frame into its reply: identifier and data stay.
pub(super) fn answer(core: &mut Core, mut frame: Frame, slot: u32, packet: Range<usize>) {
    let magic = core.table.tunnel(slot).map_or(0, |tunnel| tunnel.magic);
    frame.truncate(packet.end);
    let fits = frame.pull_front(packet.start);
    debug_assert!(fits, "the packet was parsed out of this frame");
    if let Some((code, rest)) = frame.data_mut().split_first_mut() {
        *code = code::ECHO_REPLY;
        if let Some(field) = rest.get_mut(HEADER_LEN - 1..).and_then(|data| data.first_chunk_mut())
        {
            *field = magic.to_be_bytes();
        }
    }
    downlink::reply_control(core, frame, slot, Protocol::LCP);
}
