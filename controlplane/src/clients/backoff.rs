//! How long a client waits before it dials again.
//!
//! Twice as long each time, and never at one moment with other clients of the same server. A
//! refused login comes again more slowly: whoever counts wrong passwords must not lock us out.

use std::time::Duration;

/// After the first failure.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// After the first refused login.
const FIRST_REFUSED: Duration = Duration::from_secs(30);
const LONGEST_REFUSED: Duration = Duration::from_secs(600);
/// A call that lasted that long was a good one.
const GOOD: Duration = Duration::from_secs(60);

/// Waiting times between calls.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
    /// Apart from the others: a server that was not there says nothing of our password.
    refusals: u32,
}

impl Backoff {
    /// How long to wait after a call that was up for `up` at its end, if it was; `refused`: the
    /// server let us not in. `chance` is random and spreads the time.
    pub fn after(&mut self, up: Option<Duration>, refused: bool, chance: u32) -> Duration {
        if up.is_some_and(|up| up >= GOOD) {
            *self = Self::default();
        }
        let (count, first, longest) = match refused {
            true => (&mut self.refusals, FIRST_REFUSED, LONGEST_REFUSED),
            false => (&mut self.failures, FIRST, LONGEST),
        };
        let pause = first.saturating_mul(1 << (*count).min(16)).min(longest);
        *count = count.saturating_add(1);
        // From three to five quarters of it.
        let share = f64::from(chance) / f64::from(u32::MAX);
        pause.mul_f64(0.75 + share / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(backoff: &mut Backoff, up: Option<u64>, refused: bool) -> f64 {
        backoff.after(up.map(Duration::from_secs), refused, u32::MAX / 2).as_secs_f64().round()
    }

    #[test]
    fn failures_are_answered_with_patience_and_a_good_call_makes_them_forgotten() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..9).map(|_| seconds(&mut backoff, None, false)).collect();
        assert_eq!(pauses, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]);
        assert_eq!(seconds(&mut backoff, Some(59), false), 60.0);
        assert_eq!(seconds(&mut backoff, Some(60), false), 1.0);
    }

    #[test]
    fn a_refused_login_comes_again_slowly() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..7).map(|_| seconds(&mut backoff, None, true)).collect();
        assert_eq!(pauses, [30.0, 60.0, 120.0, 240.0, 480.0, 600.0, 600.0]);
    }

    #[test]
    fn refusals_and_failures_are_counted_apart() {
        let mut backoff = Backoff::default();
        for _ in 0..6 {
            seconds(&mut backoff, None, false);
        }
        assert_eq!(seconds(&mut backoff, None, true), 30.0);
        assert_eq!(seconds(&mut backoff, None, false), 60.0);
        assert_eq!(seconds(&mut backoff, Some(60), true), 30.0);
    }

    #[test]
    fn chance_spreads_the_time_by_a_quarter_each_way() {
        let [least, most] =
            [0, u32::MAX].map(|chance| Backoff::default().after(None, false, chance));
        assert_eq!((least.as_millis(), most.as_millis()), (750, 1250));
    }
}
