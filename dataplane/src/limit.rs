//! Token buckets: how often a packet may make us do more than forward it.
//!
//! Time is an argument. Never sleeps, and never holds more than its burst however long it rests.

use std::time::Duration;

use protocol::time::Instant;

/// A bucket of at most `BURST` tokens that earns one every `INTERVAL` microseconds. Starts full.
#[derive(Debug)]
pub(crate) struct Bucket<const BURST: u32, const INTERVAL: u64> {
    tokens: u32,
    filled: Instant,
}

impl<const BURST: u32, const INTERVAL: u64> Bucket<BURST, INTERVAL> {
    /// Takes a token, if there is one.
    pub(crate) fn allows(&mut self, now: Instant) -> bool {
        let allowed = self.left(now) > 0;
        self.spend(1);
        allowed
    }

    /// How many tokens there are.
    pub(crate) fn left(&mut self, now: Instant) -> u32 {
        let earned = now.since(self.filled).as_micros() / u128::from(INTERVAL);
        if earned > 0 {
            let earned = u32::try_from(earned).unwrap_or(u32::MAX);
            self.tokens = self.tokens.saturating_add(earned).min(BURST);
            self.filled = self.filled + Duration::from_micros(INTERVAL).saturating_mul(earned);
        }
        self.tokens
    }

    /// Puts tokens back that were taken.
    pub(crate) fn give_back(&mut self, tokens: u32) {
        self.tokens = self.tokens.saturating_add(tokens).min(BURST);
    }

    /// Takes as many tokens, or all that there are.
    pub(crate) fn spend(&mut self, tokens: u32) {
        self.tokens = self.tokens.saturating_sub(tokens);
    }
}

impl<const BURST: u32, const INTERVAL: u64> Default for Bucket<BURST, INTERVAL> {
    fn default() -> Self {
        Self { tokens: BURST, filled: Instant::ORIGIN }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_to_the_burst_and_then_to_the_rate() {
        let mut bucket = Bucket::<64, 50_000>::default();
        let start = Instant::from_micros(7_000_000);
        let mut passed = |at| (0..500).filter(|_| bucket.allows(at)).count();
        assert_eq!(passed(start), 64);
        assert_eq!(passed(start + Duration::from_millis(49)), 0);
        assert_eq!(passed(start + Duration::from_secs(1)), 20);
        assert_eq!(passed(start + Duration::from_secs(3600)), 64);
    }
}
