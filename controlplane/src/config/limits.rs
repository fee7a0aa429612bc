//! `[limits]`: what a peer can cost us.
//!
//! Zero is no limit everywhere but in `login-timeout` and `login-queue-timeout`, which must end
//! some day.

use serde::Deserialize;

use super::{ConfigError, Span};

/// What a peer can cost us. Zero is no limit.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// Sessions in total.
    pub max_sessions: u32,
    /// The same for one user; profiles and RADIUS may allow less.
    pub max_sessions_per_user: u32,
    /// The same for one peer address.
    pub max_sessions_per_address: u32,
    /// Control connections with no session up, in total.
    pub max_half_open: u32,
    /// The same for one peer address.
    pub max_half_open_per_address: u32,
    /// Connections a second that one peer address may open.
    pub connection_rate: u32,
    /// Connections that it may open at once nevertheless.
    pub connection_burst: u32,
    /// Logins on their way to a verdict at once, further ones wait.
    pub max_starting: u32,
    /// How long a login waits for its turn; then it is refused.
    pub login_queue_timeout: Span,
    /// Time from the turn of a login to the session's address.
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
            max_sessions_per_user: 0,
            max_sessions_per_address: 0,
            max_half_open: 30_000,
            max_half_open_per_address: 50,
            connection_rate: 0,
            connection_burst: 20,
            max_starting: 0,
            login_queue_timeout: Span::seconds(60),
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
        if self.login_queue_timeout.unless_zero().is_none() {
            return Err(ConfigError::new(
                "`login-queue-timeout` must not be zero: nobody could wait".to_owned(),
            ));
        }
        if self.connection_rate != 0 && self.connection_burst == 0 {
            return Err(ConfigError::new(
                "`connection-burst` must not be zero: nobody could connect".to_owned(),
            ));
        }
        Ok(())
    }
}
