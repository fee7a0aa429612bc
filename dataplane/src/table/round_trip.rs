//! The round-trip time of a tunnel, from the peer's acknowledgements (RFC 2637 §4.4).
//!
//! One packet at a time is timed, so that a packet costs a comparison. No packet is ever sent again
//! under its number, so each measurement is of one packet. Nothing waits for what is measured here:
//! whoever forges an acknowledgement falsifies a figure.

use std::time::Duration;

use protocol::time::Instant;

/// The packet that is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RoundTrip {
    sequence: u32,
    /// When it was sent: the low half of the microseconds, of which an hour has fewer. Zero: none is
    /// timed.
    sent: u32,
}

impl RoundTrip {
    /// A packet with a sequence number leaves.
    #[inline]
    pub(crate) fn sent(&mut self, sequence: u32, now: Instant) {
        if self.sent == 0 {
            *self = Self { sequence, sent: low(now).max(1) };
        }
    }

    /// The peer acknowledges all up to this number, where `next` is the first that was not sent.
    /// The time that it took, if the packet is the one that was timed or a later one.
    #[inline]
    pub(crate) fn acknowledged(
        &mut self,
        number: u32,
        next: u32,
        now: Instant,
    ) -> Option<Duration> {
        let sent = number.wrapping_sub(self.sequence) < next.wrapping_sub(self.sequence);
        if self.sent == 0 || !sent {
            return None;
        }
        let time = low(now).wrapping_sub(self.sent);
        self.sent = 0;
        Some(Duration::from_micros(time.into()))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is kept")]
fn low(now: Instant) -> u32 {
    now.as_micros() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Instant {
        // Shortly before the low half turns over.
        Instant::from_micros((1 << 32) - 10_000 + millis * 1000)
    }

    #[test]
    fn an_acknowledgement_of_the_timed_packet_or_a_later_one_is_measured() {
        for number in [7, 8, 9] {
            let mut timed = RoundTrip::default();
            timed.sent(7, at(0));
            timed.sent(8, at(5));
            timed.sent(9, at(6));
            assert_eq!(timed.acknowledged(number, 10, at(40)), Some(Duration::from_millis(40)));
            assert_eq!(timed.acknowledged(number, 10, at(50)), None, "none is timed");
        }
    }

    #[test]
    fn an_acknowledgement_of_older_packets_or_of_none_is_not() {
        let mut timed = RoundTrip::default();
        assert_eq!(timed.acknowledged(0, 0, at(0)), None);
        timed.sent(u32::MAX, at(0));
        for number in [u32::MAX - 1, 1, 7] {
            assert_eq!(timed.acknowledged(number, 1, at(1)), None, "{number}");
        }
        assert_eq!(timed.acknowledged(0, 1, at(2)), Some(Duration::from_millis(2)));
    }
}
