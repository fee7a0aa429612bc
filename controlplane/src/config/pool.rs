//! `[[pool]]`: addresses for sessions.
//!
//! Pools never overlap, so an address names its pool.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use serde::Deserialize;

use super::{AddressRange, Config, ConfigError};

/// Addresses for sessions.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Pool {
    /// What profiles refer to.
    pub name: String,
    /// Where its addresses lie.
    pub ranges: Vec<AddressRange>,
}

impl Pool {
    pub(super) fn built_in() -> Self {
        Self {
            name: "default".to_owned(),
            ranges: vec![AddressRange {
                first: Ipv4Addr::new(10, 99, 0, 2),
                last: Ipv4Addr::new(10, 99, 15, 254),
            }],
        }
    }
}

impl Config {
    pub(super) fn validate_pools(&self) -> Result<(), ConfigError> {
        let mut seen = HashSet::new();
        let mut ranges = Vec::new();
        for pool in &self.pool {
            if pool.name.is_empty() || !seen.insert(&pool.name) {
                return Err(ConfigError::new(format!(
                    "[[pool]]: the name `{}` is {}",
                    pool.name,
                    if pool.name.is_empty() { "empty" } else { "given twice" }
                )));
            }
            if pool.ranges.is_empty() {
                return Err(ConfigError::new(format!("pool `{}` has no ranges", pool.name)));
            }
            ranges.extend(pool.ranges.iter().map(|range| (range, &pool.name)));
        }
        ranges.sort_by_key(|(range, _)| range.first);
        for pair in ranges.windows(2) {
            let [(a, first), (b, second)] = pair else { continue };
            if a.overlaps(b) {
                return Err(ConfigError::new(format!(
                    "pools overlap: {a} of `{first}` and {b} of `{second}`"
                )));
            }
        }
        Ok(())
    }
}
