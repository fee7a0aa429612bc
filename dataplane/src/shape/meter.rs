//! A token bucket whose rate rises for a while after rest, as RouterOS's bursts do.
//!
//! Implements no RFC section. Tokens are counted in millionths of a bit, so that a rate in bits per
//! second times microseconds is exact. Never looks at a clock, and costs one multiplication and a
//! comparison for each packet where there is no burst.

use std::time::Duration;

use protocol::time::Instant;

use crate::api::{Burst, Limit};

/// Tokens of one octet.
const OCTET: i64 = 8_000_000;
/// A bucket never holds less than this many octets, or low rates could not pass a packet at once.
const LEAST: i64 = 8 * 1500 * OCTET;
/// Rates beyond count as this: a bucket of a second then still fits its number.
const FASTEST: u64 = 1_000_000_000_000;

/// How long a rate's unused tokens are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// For a policer. TCP without a queue falls to half of what it had: a bucket that holds the
    /// difference over its way back keeps the average at the rate, on paths of up to about 70 ms.
    Policer,
    /// For the queue, RouterOS's `bucket-size=0.1`: makes up for waking late.
    Queue,
}

impl Depth {
    const fn micros(self) -> u64 {
        match self {
            Self::Policer => 250_000,
            Self::Queue => 100_000,
        }
    }
}

/// A limit in force.
#[derive(Debug)]
pub(crate) struct Meter {
    /// Bits per second that tokens come with now.
    rate: u64,
    depth: Depth,
    /// What the bucket holds.
    tokens: i64,
    /// When tokens were added last.
    filled: Instant,
    /// Where there are bursts.
    average: Option<Box<Average>>,
}

impl Meter {
    /// A limit whose bucket is full and whose burst is allowed.
    pub(crate) fn new(limit: Limit, depth: Depth, now: Instant) -> Self {
        let base = limit.rate.get().min(FASTEST);
        let average = limit.burst.map(|burst| Box::new(Average::new(base, burst, now)));
        let rate = average.as_ref().map_or(base, |average| average.rate());
        let mut meter = Self { rate, depth, tokens: 0, filled: now, average };
        meter.tokens = meter.capacity();
        meter
    }

    /// The rate in force, bits per second.
    pub(crate) const fn rate(&self) -> u64 {
        self.rate
    }

    /// Takes the tokens of a packet of `octets`, if there are as many.
    #[inline]
    pub(crate) fn take(&mut self, octets: usize, now: Instant) -> bool {
        self.fill(now);
        let cost = cost(octets);
        if self.tokens < cost {
            return false;
        }
        self.tokens -= cost;
        if let Some(average) = &mut self.average {
            average.add(octets);
        }
        true
    }

    /// Whether a packet of `octets` could have its tokens.
    pub(crate) fn has(&mut self, octets: usize, now: Instant) -> bool {
        self.fill(now);
        self.tokens >= cost(octets)
    }

    /// How long until a packet of `octets` has its tokens, if nothing else takes them and no burst
    /// begins or ends before.
    pub(crate) fn wait(&mut self, octets: usize, now: Instant) -> Duration {
        self.fill(now);
        let missing = u64::try_from(cost(octets) - self.tokens).unwrap_or_default();
        let wait = Duration::from_micros(missing.div_ceil(self.rate.max(1)));
        let turn = self.average.as_ref().map(|average| average.turns.since(now));
        turn.map_or(wait, |turn| wait.min(turn))
    }

    fn fill(&mut self, now: Instant) {
        let elapsed = now.since(self.filled);
        if elapsed.is_zero() {
            return;
        }
        self.filled = now;
        if let Some(average) = &mut self.average {
            average.advance(now);
            self.rate = average.rate();
        }
        // A second fills any bucket.
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX).min(1_000_000);
        let earned = i64::try_from(self.rate * micros).unwrap_or(i64::MAX);
        self.tokens = self.tokens.saturating_add(earned).min(self.capacity());
    }

    fn capacity(&self) -> i64 {
        i64::try_from(self.rate * self.depth.micros()).unwrap_or(i64::MAX).max(LEAST)
    }
}

fn cost(octets: usize) -> i64 {
    i64::try_from(octets).unwrap_or(i64::MAX).saturating_mul(OCTET)
}

/// RouterOS looks at the average this often in the time that it is taken over.
const SLOTS: u32 = 16;

/// What passed lately, in sixteen slots, and whether it leaves room for a burst.
#[derive(Debug)]
struct Average {
    base: u64,
    burst: u64,
    /// Octets over all slots with which bursts end.
    threshold: u64,
    slots: [u64; SLOTS as usize],
    slot: Duration,
    current: usize,
    sum: u64,
    /// When the current slot ends.
    turns: Instant,
    bursting: bool,
}

impl Average {
    fn new(base: u64, burst: Burst, now: Instant) -> Self {
        let slot = (burst.time / SLOTS).max(Duration::from_millis(1));
        let micros = slot.as_micros() * u128::from(SLOTS);
        let threshold = u128::from(burst.threshold.get()) * micros / 8_000_000;
        Self {
            base,
            burst: burst.rate.get().min(FASTEST),
            threshold: u64::try_from(threshold).unwrap_or(u64::MAX),
            slots: [0; SLOTS as usize],
            slot,
            current: 0,
            sum: 0,
            turns: now + slot,
            bursting: true,
        }
    }

    const fn rate(&self) -> u64 {
        if self.bursting { self.burst } else { self.base }
    }

    fn add(&mut self, octets: usize) {
        self.sum += octets as u64;
        if let Some(slot) = self.slots.get_mut(self.current) {
            *slot += octets as u64;
        }
    }

    /// Ends slots that are over, and decides then about the burst.
    fn advance(&mut self, now: Instant) {
        if now < self.turns {
            return;
        }
        let slot = self.slot.as_micros();
        let over = 1 + now.since(self.turns).as_micros() / slot;
        for _ in 0..over.min(SLOTS.into()) {
            self.current = (self.current + 1) % self.slots.len();
            if let Some(oldest) = self.slots.get_mut(self.current) {
                self.sum -= std::mem::take(oldest);
            }
        }
        let passed = u64::try_from(over * slot).unwrap_or(u64::MAX);
        self.turns = self.turns + Duration::from_micros(passed);
        self.bursting = self.sum < self.threshold;
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use proptest::prelude::*;

    use super::*;

    const START: Instant = Instant::from_micros(5_000_000);

    fn bits(rate: u64) -> NonZeroU64 {
        NonZeroU64::new(rate).unwrap()
    }

    /// Octets that pass of an endless supply of packets, by tenths of a second.
    fn flood(meter: &mut Meter, tenths: usize, octets: usize) -> Vec<usize> {
        let mut passed = vec![0; tenths];
        for (tenth, passed) in passed.iter_mut().enumerate() {
            for step in 0..100 {
                let now = START + Duration::from_millis(tenth as u64 * 100 + step);
                while meter.take(octets, now) {
                    *passed += octets;
                }
            }
        }
        passed
    }

    #[test]
    fn the_rate_holds_and_rest_is_saved_up_to_the_depth() {
        for (depth, saved) in [(Depth::Queue, 125_000), (Depth::Policer, 312_500)] {
            let mut meter = Meter::new(Limit::of(bits(10_000_000)), depth, START);
            let passed: usize = flood(&mut meter, 20, 1000).iter().sum();
            assert!(passed.abs_diff(2_500_000 + saved) < 2_500, "{passed}");
            let later = START + Duration::from_secs(3600);
            let burst = (0..).take_while(|_| meter.take(1000, later)).count();
            assert_eq!(burst, saved / 1000);
        }
    }

    #[test]
    fn the_slowest_rate_lets_a_packet_through_and_the_fastest_overflows_nothing() {
        let mut slow = Meter::new(Limit::of(bits(1)), Depth::Queue, START);
        assert!(slow.take(1500, START));
        assert!((0..7).all(|_| slow.take(1500, START)) && !slow.take(1, START));
        assert_eq!(slow.wait(1, START), Duration::from_secs(8));
        let mut fast = Meter::new(Limit::of(bits(u64::MAX)), Depth::Policer, START);
        let far = START + Duration::from_secs(1 << 40);
        assert!((0..1000).all(|_| fast.take(65_535, far)));
    }

    /// The example of RouterOS's manual: max-limit 1M, burst-limit 2M, burst-threshold 1.5M over
    /// 8 s after rest makes a burst of 8 s × 1.5M / 2M = 6 s.
    #[test]
    fn a_burst_lasts_as_long_as_routeros_says() {
        let burst = Burst {
            rate: bits(2_000_000),
            threshold: bits(1_500_000),
            time: Duration::from_secs(8),
        };
        let limit = Limit { rate: bits(1_000_000), burst: Some(burst) };
        let mut meter = Meter::new(limit, Depth::Queue, START);
        let rates = flood(&mut meter, 80, 500);
        let fast = rates.iter().filter(|&&octets| octets > 20_000).count();
        assert!((58..=62).contains(&fast), "{rates:?}");
        assert!(rates[..56].iter().all(|&octets| octets > 20_000));
        assert!(rates[64..].iter().all(|&octets| octets < 15_000));
    }

    #[test]
    fn a_burst_comes_back_after_rest() {
        let burst =
            Burst { rate: bits(8_000_000), threshold: bits(500_000), time: Duration::from_secs(1) };
        let limit = Limit { rate: bits(1_000_000), burst: Some(burst) };
        let mut meter = Meter::new(limit, Depth::Queue, START);
        flood(&mut meter, 30, 500);
        assert_eq!(meter.rate(), 1_000_000);
        let later = START + Duration::from_secs(5);
        assert!(meter.take(500, later));
        assert_eq!(meter.rate(), 8_000_000);
    }

    proptest! {
        #[test]
        fn never_more_than_the_bucket_and_the_rate(
            rate in 1_u64..10_000_000_000,
            packets in proptest::collection::vec((0_u64..50_000, 1_usize..3000), 1..200),
        ) {
            let mut meter = Meter::new(Limit::of(bits(rate)), Depth::Queue, START);
            let bucket = u128::from(rate / 80).max(8 * 1500) + 1;
            let (mut now, mut passed) = (START, 0_u128);
            for (pause, octets) in packets {
                now = now + Duration::from_micros(pause);
                if meter.take(octets, now) {
                    passed += octets as u128;
                } else {
                    // After the wait that it tells, and not before, the packet passes.
                    let wait = meter.wait(octets, now);
                    prop_assert!(!wait.is_zero());
                    now = now + wait;
                    prop_assert!(meter.take(octets, now));
                    passed += octets as u128;
                }
                let earned = u128::from(rate) * now.since(START).as_micros() / 8_000_000;
                prop_assert!(passed <= bucket + earned + 1);
            }
        }
    }
}
