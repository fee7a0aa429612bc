//! What came out of a tunnel: whether it is a packet that its peer may send.
//!
//! Implements RFC 1812 §5.2.2 and §5.3.8 (what a router verifies), and tells what MPPE made of a
//! forgery or with a wrong key. Never changes more than where a packet begins.

use protocol::ppp::frame::Protocol;

use super::ipv6;
use crate::api::{DropReason, Ipv6Network};
use crate::bridge;
use crate::frame::Frame;
use crate::ipv4::View;
use crate::table::Inside;

/// Takes the inner protocol number off and looks at the packet.
#[expect(clippy::inline_always, reason = "nearly all packets take the first two branches")]
#[inline(always)]
pub(super) fn inspect_plaintext(
    frame: &mut Frame,
    network: Option<&Inside>,
    ipv6: Option<&Ipv6Network>,
    bridged: bool,
) -> Result<(), DropReason> {
    let field = look(frame.data(), network, ipv6, bridged)?;
    if frame.pull_front(field) { Ok(()) } else { Err(DropReason::MppeRefused) }
}

/// How many octets the inner protocol number has before the packet behind it. What is no IP packet
/// was damaged or forged, or has the wrong key: MPPE itself cannot tell.
#[expect(clippy::inline_always, reason = "nearly all packets take the first two branches")]
#[inline(always)]
pub(super) fn look(
    plaintext: &[u8],
    network: Option<&Inside>,
    ipv6: Option<&Ipv6Network>,
    bridged: bool,
) -> Result<usize, DropReason> {
    let [high, low] = Protocol::IPV4.number().to_be_bytes();
    let field = match *plaintext {
        [first, ..] if first == low => 1,
        [first, second, ..] if [first, second] == [high, low] => 2,
        _ => return look_for_others(plaintext, network.and(ipv6), bridged),
    };
    let packet = plaintext.get(field..).unwrap_or_default();
    inspect(packet, network).map_err(|reason| match reason {
        DropReason::InnerMalformed => DropReason::MppeRefused,
        other => other,
    })?;
    Ok(field)
}

/// The same for bridged frames and IPv6.
#[inline(never)]
fn look_for_others(
    plaintext: &[u8],
    network: Option<&Ipv6Network>,
    bridged: bool,
) -> Result<usize, DropReason> {
    match *plaintext {
        // The low octet stays, as the mark.
        [bridge::MARK, ..] if bridged && bridge::is_believable(plaintext) => return Ok(0),
        [0, ref rest @ ..]
            if bridged && bridge::is_bridged(rest) && bridge::is_believable(rest) =>
        {
            return Ok(1);
        }
        _ => {}
    }
    let [high, low] = Protocol::IPV6.number().to_be_bytes();
    let field = match *plaintext {
        [first, ..] if first == low => 1,
        [first, second, ..] if [first, second] == [high, low] => 2,
        _ => return Err(DropReason::MppeRefused),
    };
    match ipv6::inspect(plaintext.get(field..).unwrap_or_default(), network) {
        Ok(()) => Ok(field),
        Err(DropReason::InnerMalformed) => Err(DropReason::MppeRefused),
        Err(other) => Err(other),
    }
}

/// What a router verifies, and that the source lies behind the tunnel (RFC 1812 §5.2.2, §5.3.8).
#[expect(clippy::inline_always, reason = "fields are to stay in registers, not to be copied")]
#[inline(always)]
pub(super) fn inspect(packet: &[u8], network: Option<&Inside>) -> Result<(), DropReason> {
    let inner = View::parse(packet).ok_or(DropReason::InnerMalformed)?;
    let network = network.ok_or(DropReason::NetworkClosed)?;
    if network.covers(inner.source) { Ok(()) } else { Err(DropReason::SourceForeign) }
}
