//! `[[pool]]`: addresses for sessions.
//!
//! Pools never overlap, so an address names its pool.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use serde::Deserialize;

use super::{AddressRange, Config, ConfigError, is_for_hosts};
use crate::kernel::Destination;
use crate::terms::Route;

/// Addresses for sessions.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Pool {
    /// What profiles refer to.
    pub name: String,
    /// Where its addresses lie.
    pub ranges: Vec<AddressRange>,
    /// The pool that helps out when this one is exhausted.
    #[serde(default)]
    pub next: Option<String>,
}

impl Pool {
    pub(super) fn built_in() -> Self {
        Self {
            name: "default".to_owned(),
            ranges: vec![AddressRange {
                first: Ipv4Addr::new(10, 99, 0, 2),
                last: Ipv4Addr::new(10, 99, 15, 254),
            }],
            next: None,
        }
    }
}

impl Config {
    /// Whether there is a pool of that name.
    #[must_use]
    pub fn has_pool(&self, name: &str) -> bool {
        self.pool.iter().any(|pool| pool.name == name)
    }

    /// The pool that the address lies in.
    #[must_use]
    pub fn pool_of(&self, address: Ipv4Addr) -> Option<&Pool> {
        let holds = |range: &AddressRange| range.first <= address && address <= range.last;
        self.pool.iter().find(|pool| pool.ranges.iter().any(holds))
    }

    /// Whether a network can be behind a subscriber: one that holds none of our own addresses and
    /// none of a pool, because those are other subscribers'.
    ///
    /// # Errors
    /// With the reason, if it cannot.
    pub fn accepts_route(&self, route: &Route) -> Result<(), String> {
        let network = route.destination;
        let refuse = |reason: String| Err(format!("route `{route}`: {reason}"));
        if network.length == 0 {
            return refuse("a default route would send everybody's packets there".to_owned());
        }
        if !is_for_hosts(network.address) {
            return refuse("no host can have an address of that network".to_owned());
        }
        let own = self.profile.iter().filter_map(|profile| profile.local_address);
        let listen = self.server.listen.iter().map(|address| *address.ip());
        if let Some(own) = own.chain(listen).find(|own| network.contains(*own)) {
            return refuse(format!("it holds {own}, which is this server's"));
        }
        let clash = |prefix: &(Ipv4Addr, u8)| {
            Destination { address: prefix.0, length: prefix.1 }.overlaps(&network)
        };
        let pool = self
            .pool
            .iter()
            .find(|pool| pool.ranges.iter().any(|range| range.prefixes().iter().any(clash)));
        match pool {
            Some(pool) => refuse(format!("it overlaps pool `{}`", pool.name)),
            None => Ok(()),
        }
    }

    /// Whoever follows `next` comes to an end.
    fn validate_chain(&self, first: &Pool) -> Result<(), ConfigError> {
        let mut pool = first;
        for _ in &self.pool {
            let Some(next) = &pool.next else { return Ok(()) };
            pool = self.pool.iter().find(|pool| pool.name == *next).ok_or_else(|| {
                let reason = format!("pool `{}`: there is no pool `{next}` for `next`", pool.name);
                ConfigError::new(reason)
            })?;
        }
        let reason = format!("pool `{}`: `next` leads round in a circle", first.name);
        Err(ConfigError::new(reason))
    }

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
        self.pool.iter().try_for_each(|pool| self.validate_chain(pool))?;
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
