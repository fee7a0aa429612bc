//! Explicit Congestion Notification across the tunnel.
//!
//! Implements RFC 6040 §4.1 in compatibility mode and §4.2 (what a decapsulated packet says). PPTP
//! cannot tell whether the peer passes an outer mark on, so the outer packets ask for none (§4.3):
//! a router in between drops where it would have marked, and no signal of congestion is lost.

use crate::{ipv4, ipv6};

/// ECN's codepoints, in the two low bits of the octet (RFC 3168 §5).
const MASK: u8 = 0b11;
const NOT_ECT: u8 = 0b00;
const ECT_1: u8 = 0b01;
const CE: u8 = 0b11;

/// Congestion was experienced on the way, and the inner packet's ends cannot be told: it has to be
/// dropped, which tells them too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Congested;

/// The octet of the outer header for an inner packet with this one: its DSCP, and Not-ECT.
#[inline]
pub(crate) const fn encapsulate(inner: u8) -> u8 {
    inner & !MASK
}

/// Whether an outer header with this octet says nothing of congestion, as those of nearly all peers.
#[inline]
pub(crate) const fn is_unmarked(outer: u8) -> bool {
    outer & MASK == NOT_ECT
}

/// Brings into an inner packet what its outer header, with the octet `outer`, has met. The inner
/// octet as it is then.
#[inline]
pub(crate) fn decapsulate(packet: &mut [u8], outer: u8) -> Result<u8, Congested> {
    let inner = packet.get(1).copied().unwrap_or_default();
    if is_unmarked(outer) {
        return Ok(inner);
    }
    let combined = combine(inner & MASK, outer & MASK).ok_or(Congested)?;
    let tos = inner & !MASK | combined;
    if tos != inner {
        ipv4::set_tos(packet, tos);
    }
    Ok(tos)
}

/// The octet of what came in two pieces: the first one's, with congestion that either has met (RFC
/// 3168 §5.3).
pub(crate) const fn of_both(first: u8, second: u8) -> u8 {
    if second & MASK == CE { first | CE } else { first }
}

/// The same for an inner packet of IPv6, whose octet is `inner`.
pub(crate) fn decapsulate_ipv6(packet: &mut [u8], inner: u8, outer: u8) -> Result<u8, Congested> {
    let combined = combine(inner & MASK, outer & MASK).ok_or(Congested)?;
    let class = inner & !MASK | combined;
    if class != inner {
        ipv6::set_traffic_class(packet, class);
    }
    Ok(class)
}

/// Says in a packet that it has met congestion (RFC 3168 §5); its octet as it is then. `None` if
/// its ends do not know ECN.
pub(crate) fn mark(packet: &mut [u8]) -> Option<u8> {
    if ipv6::is_ipv6(packet) {
        let class = ipv6::traffic_class(packet).filter(|class| class & MASK != NOT_ECT)?;
        ipv6::set_traffic_class(packet, class | CE);
        return Some(class | CE);
    }
    let tos = *packet.get(1)?;
    if tos & MASK == NOT_ECT {
        return None;
    }
    ipv4::set_tos(packet, tos | CE);
    Some(tos | CE)
}

/// The table of RFC 6040 §4.2, figure 4; `None` is to be dropped.
const fn combine(inner: u8, outer: u8) -> Option<u8> {
    match (inner, outer) {
        (NOT_ECT, CE) => None,
        (NOT_ECT, _) => Some(NOT_ECT),
        (CE, _) | (_, CE) => Some(CE),
        (_, ECT_1) => Some(ECT_1),
        (inner, _) => Some(inner),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::ipv4::View;

    const ECT_0: u8 = 0b10;

    /// RFC 6040 §4.2, figure 4: a row for each inner codepoint, a column for each outer one.
    #[test]
    fn every_pair_of_codepoints_combines_as_the_table_says() {
        let outer = [NOT_ECT, ECT_0, ECT_1, CE];
        let rows = [
            (NOT_ECT, [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), None]),
            (ECT_0, [Some(ECT_0), Some(ECT_0), Some(ECT_1), Some(CE)]),
            (ECT_1, [Some(ECT_1), Some(ECT_1), Some(ECT_1), Some(CE)]),
            (CE, [Some(CE), Some(CE), Some(CE), Some(CE)]),
        ];
        for (inner, expected) in rows {
            assert_eq!(outer.map(|outer| combine(inner, outer)), expected, "{inner:02b}");
        }
    }

    #[test]
    fn the_rest_of_the_octet_stays_and_the_checksum_is_right() {
        let (source, destination) = (Ipv4Addr::new(10, 0, 0, 5), Ipv4Addr::new(203, 0, 113, 80));
        for (tos, outer) in (0..=u8::MAX).flat_map(|tos| (0..=u8::MAX).map(move |by| (tos, by))) {
            let mut packet = ipv4::header(0, tos, 7, 17, source, destination);
            let before = packet;
            let mut marked = packet;
            match mark(&mut marked) {
                Some(now) => assert_eq!((now, View::parse(&marked).unwrap().tos), (tos | CE, now)),
                None => assert_eq!((tos & MASK, marked), (NOT_ECT, packet)),
            }
            match decapsulate(&mut packet, outer) {
                Err(Congested) => assert_eq!((tos & MASK, outer & MASK), (NOT_ECT, CE)),
                Ok(tos_now) => {
                    let view = View::parse(&packet).unwrap();
                    assert_eq!(view.tos, tos_now);
                    assert_eq!(view.tos & !MASK, tos & !MASK);
                    assert_eq!(Some(view.tos & MASK), combine(tos & MASK, outer & MASK));
                    continue;
                }
            }
            assert_eq!(packet, before);
        }
        assert_eq!(decapsulate(&mut [], NOT_ECT), Ok(0));
    }
}
