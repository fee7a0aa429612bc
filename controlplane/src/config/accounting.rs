//! `[accounting]`: what RADIUS servers are told of sessions, and the queue that it goes through.
//!
//! Accounts are made where a RADIUS server takes them; without one there is no queue.

use std::path::PathBuf;

use serde::Deserialize;

use super::{Config, ConfigError, Span};

/// What RADIUS servers are told of sessions.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Accounting {
    /// How often a session is told of while it lives, where RADIUS does not say. Zero: never;
    /// below a minute is a minute.
    pub interim_update: Span,
    /// SQLite file of what no server has acknowledged yet; beside the users' if left out.
    pub queue: Option<PathBuf>,
    /// Records that it may hold.
    pub max_records: u64,
}

impl Default for Accounting {
    fn default() -> Self {
        Self { interim_update: Span::seconds(0), queue: None, max_records: 1_000_000 }
    }
}

impl Accounting {
    /// The fewest records that make sense.
    const FEWEST: u64 = 1000;

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if self.max_records < Self::FEWEST {
            return Err(ConfigError::new(format!(
                "`max-records` is {}: a queue that holds fewer than {} loses accounts at once",
                self.max_records,
                Self::FEWEST
            )));
        }
        Ok(())
    }
}

impl Config {
    /// The accounting queue's file.
    #[must_use]
    pub fn accounting_queue(&self) -> PathBuf {
        let beside = || self.database.with_file_name("accounting.db");
        self.accounting.queue.clone().unwrap_or_else(beside)
    }
}
