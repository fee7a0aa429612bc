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
