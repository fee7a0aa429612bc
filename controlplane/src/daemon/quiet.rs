//! How many lines of the log strangers may cause: a flood of bad input must not become one of
//! lines, which would fill the disk and hide what matters.
//!
//! Limits lines alone: what they tell of is counted elsewhere, each time.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A token bucket.
#[derive(Debug)]
pub struct Quiet(Mutex<Bucket>);

#[derive(Debug)]
struct Bucket {
    lines: u32,
    filled: Instant,
}

impl Default for Quiet {
    fn default() -> Self {
        Self(Mutex::new(Bucket { lines: Self::BURST, filled: Instant::now() }))
    }
}

impl Quiet {
    /// Lines at once.
    const BURST: u32 = 100;
    /// Time in which one more may come.
    const INTERVAL: Duration = Duration::from_millis(200);

    /// Whether one more line may be written now.
    pub fn allows(&self, now: Instant) -> bool {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = now.saturating_duration_since(bucket.filled);
        let earned = waited.as_millis() / Self::INTERVAL.as_millis();
        if earned > 0 {
            let earned = u32::try_from(earned).unwrap_or(u32::MAX);
            bucket.lines = bucket.lines.saturating_add(earned).min(Self::BURST);
            bucket.filled = now;
        }
        let allowed = bucket.lines > 0;
        bucket.lines = bucket.lines.saturating_sub(1);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_to_five_lines_a_second() {
        let quiet = Quiet::default();
        let start = Instant::now();
        let allowed =
            |after| (0..500).filter(|_| quiet.allows(start + Duration::from_millis(after))).count();
        assert_eq!(allowed(0), 100);
        assert_eq!(allowed(199), 0);
        assert_eq!(allowed(1300), 6);
        assert_eq!(allowed(3_600_000), 100);
    }
}
