//! `[accounting]`: the queue of what RADIUS servers are told of sessions.
//!
//! There is one where `[aaa]` wants accounting and a server of `[[radius]]` takes it.

use std::path::PathBuf;

use serde::Deserialize;

use super::{Config, ConfigError};

/// The queue of what RADIUS servers are told of sessions.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Accounting {
    /// SQLite file of what no server has acknowledged yet; beside the users' if left out.
    pub queue: Option<PathBuf>,
    /// Records that it may hold.
    pub max_records: u64,
}

impl Default for Accounting {
    fn default() -> Self {
        Self { queue: None, max_records: 1_000_000 }
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
    /// Whether sessions are accounted.
    #[must_use]
    pub fn accounts(&self) -> bool {
        self.aaa.accounting && self.radius.iter().any(|server| server.accounting_port != 0)
    }

    /// The accounting queue's file.
    #[must_use]
    pub fn accounting_queue(&self) -> PathBuf {
        let beside = || self.database.with_file_name("accounting.db");
        self.accounting.queue.clone().unwrap_or_else(beside)
    }
}
