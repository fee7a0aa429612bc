//! `[lockout]`: how many wrong passwords are too many, and for how long.

use serde::Deserialize;

use super::{ConfigError, Span};
use crate::kernel::Destination;

/// Each failure that counts is remembered for its window.
const MAX_FAILURES: u32 = 100;

/// When an address or a user name is locked out, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Lockout {
    /// Failures in a window that are still borne; one more locks. Zero: nobody is ever locked out.
    pub failures: u32,
    /// For how long a failure counts.
    pub window: Span,
    /// Length of the first lock; each further one is twice as long.
    pub time: Span,
    /// The longest lock, and the quiet after which the next one is a first one again.
    pub max_time: Span,
    /// Peer addresses that are never locked out.
    pub allow: Vec<Destination>,
}

impl Default for Lockout {
    fn default() -> Self {
        Self {
            failures: 6,
            window: Span::seconds(600),
            time: Span::seconds(300),
            max_time: Span::seconds(86_400),
            allow: Vec::new(),
        }
    }
}

impl Lockout {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let fail = |reason: &str| Err(ConfigError::new(format!("[lockout]: {reason}")));
        if self.failures > MAX_FAILURES {
            return fail(&format!("`failures` is at most {MAX_FAILURES}"));
        }
        if self.window.unless_zero().is_none() || self.time.unless_zero().is_none() {
            return fail("`window` and `time` must not be zero: `failures = 0` switches it off");
        }
        if self.max_time < self.time {
            return fail("`max-time` is shorter than `time`");
        }
        Ok(())
    }
}
