//! Controlled delay: which packets of a queue tell their senders that it stands.
//!
//! Implements RFC 8289 §4.4 and §5 as one question for each packet that is taken out. Holds no
//! packets: whether the sign is a mark or a drop is the queue's to choose.

use std::time::Duration;

use protocol::time::Instant;

/// The delay that a queue may have in the long run (RFC 8289 §4.4).
const TARGET: Duration = Duration::from_millis(5);
/// How long a queue may have more: a round trip of most (RFC 8289 §4.4).
const INTERVAL: Duration = Duration::from_millis(100);
/// A queue with no more than one packet never stands (RFC 8289 §4.4).
const MAX_PACKET: usize = 1500;

/// A queue's state.
#[derive(Debug, Default)]
pub(super) struct Codel {
    /// When the delay will have been above target for an interval, while it is above.
    first_above: Option<Instant>,
    /// When the next sign is due, while signs are given.
    next: Instant,
    /// Signs since they began, with what is left of an earlier time.
    count: u32,
    last_count: u32,
    is_signalling: bool,
}

/// What the judgement is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// Since when the packet has waited.
    pub(super) since: Instant,
    /// Octets that wait behind it.
    pub(super) behind: usize,
    /// Bits per second that the queue is emptied with.
    pub(super) rate: u64,
}

impl Codel {
    /// Whether a packet that leaves the queue now is to carry a sign.
    pub(super) fn signals(&mut self, sample: Sample, now: Instant) -> bool {
        // Two packets take longer than the target on slow links, and that is no standing queue.
        let two_packets = 2_000_000 * 8 * MAX_PACKET as u64 / sample.rate.max(1);
        let target = TARGET.max(Duration::from_micros(two_packets));
        let interval = INTERVAL.max(2 * target);
        if !self.stands(sample, target, interval, now) {
            self.is_signalling = false;
            return false;
        }
        if self.is_signalling {
            if now < self.next {
                return false;
            }
            self.count = self.count.saturating_add(1);
            self.next = self.next + spacing(interval, self.count);
            return true;
        }
        self.is_signalling = true;
        // Signs that ended a short while ago go on about as often as they were then.
        let recent = self.count.saturating_sub(self.last_count);
        let is_recent = now.since(self.next) < 16 * interval;
        self.count = if recent > 1 && is_recent { recent } else { 1 };
        self.last_count = self.count;
        self.next = now + spacing(interval, self.count);
        true
    }

    /// Whether the delay has been above target for a whole interval.
    fn stands(
        &mut self,
        sample: Sample,
        target: Duration,
        interval: Duration,
        now: Instant,
    ) -> bool {
        if now.since(sample.since) < target || sample.behind <= MAX_PACKET {
            self.first_above = None;
            return false;
        }
        let first_above = *self.first_above.get_or_insert(now + interval);
        now >= first_above
    }
}

/// The control law: signs come closer by the square root of their number.
fn spacing(interval: Duration, count: u32) -> Duration {
    interval.div_f64(f64::from(count.max(1)).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u64 = 10_000_000;

    /// Milliseconds at which packets that have all waited so long carry a sign, one packet a
    /// millisecond.
    fn signs(codel: &mut Codel, from: u64, millis: u64, waited: u64, rate: u64) -> Vec<u64> {
        (from..from + millis)
            .filter(|&at| {
                let now = Instant::from_micros(at * 1000);
                let since = Instant::from_micros((at - waited) * 1000);
                codel.signals(Sample { since, behind: 15_000, rate }, now)
            })
            .collect()
    }

    /// RFC 8289 §5.3: after an interval, and then by the inverse square root of the number.
    #[test]
    fn signs_come_closer_while_the_queue_stands_and_end_with_it() {
        let mut codel = Codel::default();
        assert_eq!(
            signs(&mut codel, 1000, 500, 20, RATE),
            [1100, 1200, 1271, 1329, 1379, 1424, 1464]
        );
        assert_eq!(signs(&mut codel, 1500, 500, 4, RATE), []);
        // Soon again: the drop rate is taken up where it was.
        assert_eq!(signs(&mut codel, 2000, 200, 20, RATE), [2100, 2141, 2179]);
    }

    #[test]
    fn short_delays_short_queues_and_slow_links_carry_no_sign() {
        let mut codel = Codel::default();
        assert_eq!(signs(&mut codel, 1000, 1000, 4, RATE), []);
        let now = Instant::from_micros(9_000_000);
        for step in 0..100 {
            let sample = Sample { since: Instant::ORIGIN, behind: 1500, rate: RATE };
            assert!(!codel.signals(sample, now + Duration::from_millis(step * 10)));
        }
        // Two packets at 128 kbit/s take 187 ms.
        assert_eq!(signs(&mut codel, 20_000, 2000, 180, 128_000), []);
        assert_eq!(signs(&mut codel, 30_000, 1000, 200, 128_000), [30_375, 30_750]);
    }
}
