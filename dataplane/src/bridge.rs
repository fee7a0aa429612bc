//! Ethernet frames between tunnels and a bridge of the kernel's, by a TAP device for each tunnel.
//!
//! Implements RFC 3518 §4.2 on the path of packets. Learns no addresses and knows no loops: the
//! bridge does. Inside of a worker a bridged packet begins with the low octet of its protocol
//! number, which no IP packet begins with.

use protocol::ppp::bcp;
use protocol::ppp::frame::Protocol;

use crate::api::{Bridge, DropReason};
use crate::frame::Frame;
use crate::worker::Core;

/// What bridged packets begin with.
pub(crate) const MARK: u8 = Protocol::BRIDGED.number().to_be_bytes()[1];
/// Its octets.
pub(crate) const MARK_LEN: usize = 1;
/// The mark and the header of bridged frames.
const BEFORE: usize = MARK_LEN + bcp::HEADER.len();

/// A tunnel's bridging.
#[derive(Debug)]
pub(crate) struct State {
    /// Its device's place among the worker's.
    pub(crate) place: u32,
    largest: usize,
    tagged: bool,
    /// That a frame was too long was said.
    said: bool,
}

impl State {
    pub(crate) fn new(bridge: &Bridge, place: u32) -> Self {
        let (largest, tagged) = (usize::from(bridge.largest), bridge.tagged);
        Self { place, largest, tagged, said: false }
    }
}

/// Whether this is a bridged packet.
#[inline]
pub(crate) fn is_bridged(packet: &[u8]) -> bool {
    packet.first() == Some(&MARK)
}

/// Whether a packet that was marked may be its peer's: MPPE itself cannot tell.
pub(crate) fn is_believable(packet: &[u8]) -> bool {
    packet.split_first().is_some_and(|(_, rest)| bcp::parse(rest).is_some())
}

/// Octets of a frame in a marked packet, for the counters.
pub(crate) const fn payload(packet: usize) -> usize {
    packet.saturating_sub(BEFORE)
}

/// Brings an accepted packet of a tunnel's to its bridge.
pub(crate) fn deliver(core: &mut Core, mut frame: Frame, slot: u32) {
    let Core { table, sink, devices, now, .. } = core;
    let Some(tunnel) = table.tunnel(slot) else {
        return sink.drop(frame, DropReason::TunnelUnknown);
    };
    let Some(bridge) = &tunnel.bridge else {
        return sink.drop_of(frame, DropReason::NetworkClosed, &tunnel.shared);
    };
    let len = frame.data().get(1..).and_then(bcp::parse).map_or(0, <[u8]>::len);
    if !frame.pull_front(BEFORE) {
        return sink.drop_of(frame, DropReason::InnerMalformed, &tunnel.shared);
    }
    frame.truncate(len);
    tunnel.shared.rx_packets.add(1);
    tunnel.shared.rx_bytes.add(len as u64);
    tunnel.shared.rx_active.set(*now);
    let meter = tunnel.policy.as_mut().and_then(|policy| policy.uplink.as_mut());
    if meter.is_some_and(|meter| !meter.take(len, *now)) {
        return sink.drop_of(frame, DropReason::RateExceeded, &tunnel.shared);
    }
    devices.put(sink, frame, bridge.place);
}

/// Puts frames that the bridge sends into the tunnel in `slot`.
pub(crate) fn enter(core: &mut Core, frames: &mut Vec<Frame>, slot: u32) {
    let Core { table, sink, downlink, .. } = core;
    for mut frame in frames.drain(..) {
        let Some(tunnel) = table.tunnel(slot) else {
            sink.drop(frame, DropReason::NoTunnel);
            continue;
        };
        let (Some(bridge), Some(_)) = (&mut tunnel.bridge, &tunnel.network) else {
            sink.drop_of(frame, DropReason::NetworkClosed, &tunnel.shared);
            continue;
        };
        let too_long = frame.len() > bridge.largest;
        if too_long && !bridge.said {
            bridge.said = true;
            tracing::warn!(
                peer = %tunnel.outer.peer,
                octets = frame.len(),
                largest = bridge.largest,
                "frames of the bridge are too long for this tunnel and are dropped: give both ends \
                 `mrru` of 1600"
            );
        }
        if too_long || (!bridge.tagged && bcp::is_tagged(frame.data())) {
            sink.drop_of(frame, DropReason::FrameRefused, &tunnel.shared);
            continue;
        }
        let Some(room) = frame.push_front(BEFORE) else {
            sink.drop_of(frame, DropReason::NoHeadroom, &tunnel.shared);
            continue;
        };
        let [flags, mac] = bcp::HEADER;
        room.copy_from_slice(&[MARK, flags, mac]);
        downlink.push(frame, slot);
    }
}
