//! `[limits]`: what a peer can cost us.
//!
//! Zero is no limit everywhere but in `login-timeout`, which must end some day.

use serde::Deserialize;

use super::{ConfigError, Span};

/// What a peer can cost us. Zero is no limit.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// Sessions in total.
    pub max_sessions: u32,
    /// Control connections with no session up, in total.
    pub max_half_open: u32,
    /// The same for one peer address.
    pub max_half_open_per_address: u32,
    /// Time from the TCP connection to the session's address.
    pub login_timeout: Span,
    /// Calls that one control connection may carry at once.
    pub max_calls_per_connection: u32,
    /// How long a stop waits for peers to take leave.
    pub shutdown_timeout: Span,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_sessions: 0,
            max_half_open: 1000,
            max_half_open_per_address: 50,
            login_timeout: Span::seconds(60),
            max_calls_per_connection: 16,
            shutdown_timeout: Span::seconds(5),
        }
    }
}

impl Limits {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if self.login_timeout.unless_zero().is_none() {
            return Err(ConfigError::new(
                "`login-timeout` must not be zero: a silent peer would stay".to_owned(),
            ));
        }
        Ok(())
    }
}
