//! Does the peer live? RouterOS's `keepalive-timeout`: after that silence one LCP echo a second,
//! after twice as much the link is dead.
//!
//! The echo is RFC 1661 §5.8's. Traffic counts as much as an answer; nothing is sent while it
//! flows.

use std::time::Duration;

use crate::time::Instant;

/// Time between echoes to a silent peer.
const ECHO_INTERVAL: Duration = Duration::from_secs(1);

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
    silent_since: Instant,
    next_echo: Instant,
}

impl Keepalive {
    pub(super) fn new(timeout: Option<Duration>) -> Self {
        let timeout = timeout.filter(|timeout| !timeout.is_zero());
        Self { timeout, silent_since: Instant::ORIGIN, next_echo: Instant::ORIGIN }
    }

    /// The peer gave a sign of life.
    pub(super) fn heard(&mut self, now: Instant) {
        self.silent_since = now;
        self.next_echo = now + self.timeout.unwrap_or_default();
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
