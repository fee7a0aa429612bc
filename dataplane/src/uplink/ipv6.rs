//! IPv6 from the subscriber: which packets are believed, and what is said to the router alone.
//!
//! Implements RFC 4291 §2.5.6 (what ends on its link) and the source check of RFC 2827 for prefixes.
//! Never forwards what is of the link: a solicitation or a question to DHCPv6 goes to the control
//! plane, all else of that kind is dropped.

use super::{Data, to_router};
use crate::api::{DropReason, Ipv6Network};
use crate::forward;
use crate::inner::{ecn, mss};
use crate::ipv6::{self, View};
use crate::table::Way;
use crate::worker::Core;

/// Next headers that a packet may begin with (IANA): what damage or a wrong key makes of a header
/// rarely has one of them.
const KNOWN: [u8; 13] = [0, 1, 4, 6, 17, 41, 43, 44, 47, 50, 51, 58, 60];

/// What is asked of a router on its link: ICMPv6 types, and DHCPv6's port.
const ECHO_REQUEST: u8 = 128;
const ROUTER_SOLICITATION: u8 = 133;
const UDP: u8 = 17;
const DHCPV6: [u8; 2] = 547_u16.to_be_bytes();

/// What a router verifies, and that the source is the peer's. There is no checksum: 64 bits of
/// prefix tell as much. A source that the peer has from elsewhere is told from garbage by its
/// length, which has to be exact, and by what follows the header.
pub(super) fn inspect(packet: &[u8], network: Option<&Ipv6Network>) -> Result<(), DropReason> {
    let view = View::parse(packet).ok_or(DropReason::InnerMalformed)?;
    if network.is_some_and(|network| is_own(network, &view)) {
        return Ok(());
    }
    let is_plausible = view.total_len == packet.len() && KNOWN.contains(&view.next_header);
    Err(if is_plausible { DropReason::SourceForeign } else { DropReason::InnerMalformed })
}

fn is_own(network: &Ipv6Network, view: &View) -> bool {
    network.prefixes.iter().any(|prefix| prefix.contains(view.source))
        || view.source == network.peer
        // A host that has no address yet (RFC 4862 §5.4.2, RFC 4861 §4.1).
        || (view.source.is_unspecified() && view.destination.is_multicast())
}

/// An accepted packet is counted and goes on its way.
pub(super) fn pass(core: &mut Core, data: Data) {
    let Data { mut frame, slot, tos, .. } = data;
    let now = core.now;
    let view = View::parse(frame.data());
    let (Some(view), Some(tunnel)) = (view, core.table.tunnel(slot)) else {
        return core.sink.drop(frame, DropReason::TunnelUnknown);
    };
    // What follows is padding of PPP (RFC 1661 §2).
    frame.truncate(view.total_len);
    if ecn::decapsulate_ipv6(frame.data_mut(), view.traffic_class, tos).is_err() {
        return core.sink.drop_of(frame, DropReason::Congestion, &tunnel.shared);
    }
    tunnel.shared.rx_packets.add(1);
    tunnel.shared.rx_bytes.add(view.total_len as u64);
    tunnel.shared.rx_active.set(now);
    if ipv6::is_of_link(view.destination) || !ipv6::is_forwarded(view.source) {
        if is_asked_of_router(frame.data(), &view) {
            return to_router(core, frame, slot);
        }
        return core.sink.drop_of(frame, DropReason::DestinationForbidden, &tunnel.shared);
    }
    let way: Way = tunnel.way;
    if let Some(policy) = &mut tunnel.policy
        && let Err(reason) = policy.judge_uplink_ipv6(frame.data(), &view, now)
    {
        return core.sink.drop_of(frame, reason, &tunnel.shared);
    }
    if let Some(network) = tunnel.network.as_ref().filter(|network| network.clamp_mss)
        && mss::clamp_ipv6(frame.data_mut(), &view, network.mtu)
    {
        core.sink.meter.mss_clamped.add(1);
    }
    forward::from_subscriber_ipv6(core, frame, view, slot, way);
}

fn is_asked_of_router(packet: &[u8], view: &View) -> bool {
    let payload = packet.get(ipv6::HEADER_LEN..).unwrap_or_default();
    match (view.next_header, payload) {
        (ipv6::ICMPV6, [ECHO_REQUEST | ROUTER_SOLICITATION, ..]) => true,
        (UDP, [_, _, high, low, ..]) => [*high, *low] == DHCPV6,
        _ => false,
    }
}
