//! The line of logins that wait for their turn, and the turns that are taken.
//!
//! First come, first served. Whoever leaves the line costs nothing, and whoever dawdles in its
//! turn does not hold up the line. Reads no clock.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use super::window::Window;

/// A login that nobody is to judge yet after this time goes on, but its turn is over: it may be stuck
/// behind a filter for GRE, or mean no good.
const TURN: Duration = Duration::from_secs(3);

/// Those who wait, each with what its owner needs to be told.
#[derive(Debug)]
pub(super) struct Line<T> {
    waiting: BTreeMap<u64, (Instant, T)>,
    /// Those whose turn it is and who did not come to be judged yet, since when.
    turns: BTreeMap<u64, Instant>,
    /// Those who are being judged.
    judged: HashSet<u64>,
    window: Window,
    last: u64,
    /// Turns that were given so far.
    given: u64,
}

impl<T> Line<T> {
    pub(super) fn new(window: Window) -> Self {
        Self {
            waiting: BTreeMap::new(),
            turns: BTreeMap::new(),
            judged: HashSet::new(),
            window,
            last: 0,
            given: 0,
        }
    }

    /// Joins the line, at its end. Names the place.
    pub(super) fn join(&mut self, owner: T, now: Instant) -> u64 {
        self.last += 1;
        self.waiting.insert(self.last, (now, owner));
        self.last
    }

    /// Gives a turn to the first, if there is one to give.
    pub(super) fn next(&mut self, now: Instant) -> Option<T> {
        if self.turns() >= self.window.size() {
            return None;
        }
        let (place, (_, owner)) = self.waiting.pop_first()?;
        self.turns.insert(place, now);
        self.given += 1;
        Some(owner)
    }

    /// Leaves the line, or ends the turn.
    pub(super) fn leave(&mut self, place: u64) {
        self.waiting.remove(&place);
        self.turns.remove(&place);
        self.judged.remove(&place);
    }

    /// The login came to be judged, in its turn or, if it dawdled, after it.
    pub(super) fn asked(&mut self, place: u64) {
        self.turns.remove(&place);
        self.judged.insert(place);
    }

    /// The turn ends with a verdict that took so long.
    pub(super) fn verdict(&mut self, place: u64, took: Duration, now: Instant) {
        let full = !self.waiting.is_empty() || self.turns() >= self.window.size();
        self.leave(place);
        self.window.verdict(took, full, now);
    }

    /// This machine is behind with its work.
    pub(super) fn busy(&mut self) {
        self.window.busy();
    }

    /// Ends a turn that took too long, through no fault of a `busy` machine. Whether there was one.
    pub(super) fn end_stalled(&mut self, busy: bool, now: Instant) -> bool {
        match self.turns.first_key_value() {
            Some((_, since)) if now.saturating_duration_since(*since) >= TURN => {
                self.turns.pop_first();
                if !busy {
                    self.window.stalled();
                }
                true
            }
            _ => false,
        }
    }

    /// Takes the first out of the line if it waited for longer than `patience`.
    pub(super) fn end_waiting(&mut self, patience: Duration, now: Instant) -> Option<T> {
        if self.longest_wait(now)? < patience {
            return None;
        }
        self.waiting.pop_first().map(|(_, (_, owner))| owner)
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many have their turn, or are being judged after it.
    pub(super) fn turns(&self) -> usize {
        self.turns.len() + self.judged.len()
    }

    /// Turns that were given so far.
    pub(super) const fn given(&self) -> u64 {
        self.given
    }

    /// How long the first has waited.
    pub(super) fn longest_wait(&self, now: Instant) -> Option<Duration> {
        let (_, (since, _)) = self.waiting.first_key_value()?;
        Some(now.saturating_duration_since(*since))
    }
}
