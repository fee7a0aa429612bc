//! Ethernet as far as a worker needs it: off on the way in, on by the way out.
//!
//! IEEE 802.3 type-encoded frames that carry IPv4. Tagged frames never reach a worker (XDP leaves
//! them to the kernel), so none are understood here.

use crate::frame::Frame;

/// Octets of a header without tags.
const HEADER_LEN: usize = 14;
/// IPv4 (RFC 894).
const IPV4: [u8; 2] = [0x08, 0x00];

/// Takes the Ethernet header off. `false`, and the frame as it was, if it does not carry IPv4.
#[inline]
pub(crate) fn strip(frame: &mut Frame) -> bool {
    let carries_ipv4 =
        frame.data().first_chunk::<HEADER_LEN>().is_some_and(|header| header[12..] == IPV4);
    carries_ipv4 && frame.pull_front(HEADER_LEN)
}

/// Puts an Ethernet header on. `false` if there is no room.
#[inline]
pub(crate) fn add(frame: &mut Frame, destination: [u8; 6], source: [u8; 6]) -> bool {
    let Some(header) = frame.push_front(HEADER_LEN) else { return false };
    let (addresses, protocol) = header.split_at_mut(12);
    let (to, from) = addresses.split_at_mut(6);
    to.copy_from_slice(&destination);
    from.copy_from_slice(&source);
    protocol.copy_from_slice(&IPV4);
    true
}
