//! How many logins may be on their way to a verdict at once: as many as whoever judges them
//! answers soon.
//!
//! Additive increase, multiplicative decrease over the time that verdicts take, as TCP does over
//! loss. Reads no clock.

use std::time::{Duration, Instant};

/// So many are always allowed, if the operator allows them.
const LEAST: f64 = 16.0;
/// What is tried first: a server that manages 40 a second answers so many before they ask again.
const FIRST: f64 = 32.0;
/// More than clients and judges can use: a thousand logins a second that take two seconds each.
const MOST: f64 = 2048.0;
/// So many are allowed to a machine that is itself too busy.
const BUSY: f64 = 256.0;
/// A verdict that takes longer is late, unless verdicts of an idle judge take half of that.
const LATE: Duration = Duration::from_millis(500);
/// Later than this is late for any judge: clients ask again after three seconds.
const LATEST: Duration = Duration::from_secs(2);
/// For how long the quickest verdict counts.
const MEMORY: Duration = Duration::from_secs(30);

/// The window.
#[derive(Debug)]
pub(super) struct Window {
    size: f64,
    most: f64,
    /// Until the first late verdict it grows by one with each, so that it doubles each round.
    exploring: bool,
    cut: Option<Instant>,
    /// The quickest verdict of this span of time, and of the one before.
    quickest: [Option<Duration>; 2],
    turned: Instant,
}

impl Window {
    /// `max`: the operator's limit, zero if there is none.
    pub(super) fn new(max: u32, now: Instant) -> Self {
        let most = if max == 0 { MOST } else { f64::from(max) };
        Self {
            size: FIRST.min(most),
            most,
            exploring: true,
            cut: None,
            quickest: [None; 2],
            turned: now,
        }
    }

    /// How many.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 2^32")]
    pub(super) fn size(&self) -> usize {
        self.size.max(1.0) as usize
    }

    /// A verdict came. `full`: as many as are allowed were on their way.
    pub(super) fn verdict(&mut self, took: Duration, full: bool, now: Instant) {
        self.remember(took, now);
        if took <= self.late() {
            if full {
                self.size += if self.exploring { 1.0 } else { 4.0 / self.size };
                self.size = self.size.min(self.most);
            }
            return;
        }
        // Verdicts that were asked for before the last cut say nothing of it.
        if self.cut.is_none_or(|cut| now.saturating_duration_since(cut) > took) {
            self.exploring = false;
            self.cut = Some(now);
            self.size = (self.size * 0.7).max(LEAST.min(self.most));
        }
    }

    /// A login took its time before it came to be judged: it holds up nobody's verdict.
    pub(super) fn stalled(&mut self) {
        self.size = (self.size + 1.0).min(self.most);
    }

    /// This machine itself is behind with its work.
    pub(super) fn busy(&mut self) {
        if self.size > BUSY {
            self.exploring = false;
            self.size = (self.size * 0.7).max(BUSY);
        }
    }

    fn remember(&mut self, took: Duration, now: Instant) {
        if now.saturating_duration_since(self.turned) > MEMORY {
            self.quickest = [None, self.quickest[0]];
            self.turned = now;
        }
        let quickest = self.quickest[0].map_or(took, |quickest| quickest.min(took));
        self.quickest[0] = Some(quickest);
    }

    /// From when on a verdict is late.
    fn late(&self) -> Duration {
        let quickest = self.quickest.iter().flatten().min();
        quickest.map_or(LATE, |quickest| (2 * *quickest).clamp(LATE, LATEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milliseconds(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_quick_judge_gets_more_and_a_late_one_less_once_for_each_round() {
        let start = Instant::now();
        let mut window = Window::new(0, start);
        for _ in 0..100 {
            window.verdict(milliseconds(5), true, start);
        }
        assert_eq!(window.size(), 132);
        window.verdict(milliseconds(5), false, start);
        assert_eq!(window.size(), 132, "whoever does not use it learns nothing");
        for n in 0..100 {
            window.verdict(milliseconds(800), true, start + milliseconds(n));
        }
        assert_eq!(window.size(), 92);
        window.verdict(milliseconds(800), true, start + milliseconds(900));
        assert_eq!(window.size(), 64);
        for n in 0..100 {
            window.verdict(milliseconds(3000), true, start + milliseconds(5000 * n));
        }
        assert_eq!(window.size(), 16);
    }

    #[test]
    fn a_judge_that_is_far_away_is_not_taken_for_a_busy_one() {
        let start = Instant::now();
        let mut window = Window::new(0, start);
        for _ in 0..100 {
            window.verdict(milliseconds(700), true, start);
        }
        // The first verdict is all that is known at first.
        assert!(window.size() > 90, "{}", window.size());
    }

    #[test]
    fn the_operators_limit_holds() {
        let start = Instant::now();
        let mut window = Window::new(10, start);
        for _ in 0..100 {
            window.verdict(milliseconds(1), true, start);
            window.stalled();
        }
        assert_eq!(window.size(), 10);
        window.verdict(milliseconds(5000), true, start + milliseconds(1));
        assert_eq!(window.size(), 10);
    }
}
