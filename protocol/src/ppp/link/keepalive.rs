//! Does the peer live? RouterOS's `keepalive-timeout`: after that silence one LCP echo a second,
//! after twice as much the link is dead.
//!
//! The echo is RFC 1661 §5.8's. Traffic counts as much as an answer; nothing is sent while it
//! flows. Whoever owns the link tells of traffic when a deadline passes, not before: a peer that
//! lives costs one look in the time of silence that it is allowed.

use std::time::Duration;

use super::config::Side;
use crate::time::Instant;

/// Time between echoes to a silent peer.
const ECHO_INTERVAL: Duration = Duration::from_secs(1);

/// A server asks that much before the time of silence is over, or an eighth of it: clients that are
/// content with the same time then need not ask, and one exchange serves both ends. A server can
/// ask many of them at once.
const EARLY: Duration = Duration::from_millis(250);

/// What a moment asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    Echo,
    Dead,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Keepalive {
    timeout: Option<Duration>,
    /// From a sign of life to the first echo.
    patience: Duration,
    silent_since: Instant,
    next_echo: Instant,
}

impl Keepalive {
    pub(super) fn new(timeout: Option<Duration>, side: Side) -> Self {
        let timeout = timeout.filter(|timeout| !timeout.is_zero());
        let all = timeout.unwrap_or_default();
        let patience = match side {
            Side::Server => all.saturating_sub(EARLY.min(all / 8)),
            Side::Client => all,
        };
        Self { timeout, patience, silent_since: Instant::ORIGIN, next_echo: Instant::ORIGIN }
    }

    /// The peer gave a sign of life, then. One that is older than the last changes nothing.
    pub(super) fn heard(&mut self, at: Instant) {
        if at >= self.silent_since {
            self.silent_since = at;
            self.next_echo = at + self.patience;
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.timeout
            .map(|timeout| self.next_echo.min(self.silent_since + timeout.saturating_mul(2)))
    }

    pub(super) fn due(&mut self, now: Instant) -> Due {
        let Some(timeout) = self.timeout else { return Due::Nothing };
        if now >= self.silent_since + timeout.saturating_mul(2) {
            Due::Dead
        } else if now >= self.next_echo {
            self.next_echo = now + ECHO_INTERVAL;
            Due::Echo
        } else {
            Due::Nothing
        }
    }
}
