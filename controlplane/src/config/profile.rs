//! `[[profile]]`: RouterOS's `/ppp profile`.
//!
//! A key that a profile leaves out comes from the profile `default`; [`ResolvedProfile`] is the
//! outcome.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use serde::Deserialize;

use super::{Config, ConfigError, DEFAULT_PROFILE};

/// RouterOS's `/ppp profile`. A key left out is taken from the profile `default`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Profile {
    /// What users refer to.
    pub name: String,
    /// Our end of the tunnel; all sessions may share it.
    pub local_address: Option<Ipv4Addr>,
    /// The subscriber's end: the name of a pool.
    pub remote_address: Option<String>,
    /// Name servers for the subscriber, at most two.
    pub dns_server: Option<Vec<DnsServer>>,
    /// WINS servers for the subscriber, at most two.
    pub wins_server: Option<Vec<Ipv4Addr>>,
    /// Whether the segment size of TCP connections is lowered to what the tunnel carries.
    pub change_tcp_mss: Option<bool>,
}

impl Profile {
    pub(super) fn built_in() -> Self {
        Self {
            name: DEFAULT_PROFILE.to_owned(),
            local_address: Some(Ipv4Addr::new(10, 99, 0, 1)),
            remote_address: Some("default".to_owned()),
            dns_server: Some(vec![DnsServer::System]),
            wins_server: Some(Vec::new()),
            change_tcp_mss: Some(true),
        }
    }
}

/// A name server to give to subscribers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum DnsServer {
    /// Those that this machine itself asks, save loopback ones.
    System,
    /// This one.
    Address(Ipv4Addr),
}

impl TryFrom<String> for DnsServer {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "system" {
            return Ok(Self::System);
        }
        text.parse()
            .map(Self::Address)
            .map_err(|_| format!("`{text}` is neither an IPv4 address nor \"system\""))
    }
}

/// What a session gets: a profile completed by the profile `default`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedProfile {
    /// Our end of the tunnel.
    pub local_address: Ipv4Addr,
    /// The pool of the subscriber's end. `None`: only users with an address of their own.
    pub pool: Option<String>,
    /// Name servers, with `system` still to be looked up.
    pub dns_servers: Vec<DnsServer>,
    /// WINS servers.
    pub wins_servers: Vec<Ipv4Addr>,
    /// Whether the segment size of TCP connections is lowered to what the tunnel carries.
    pub change_tcp_mss: bool,
}

impl Config {
    /// What a session of this profile gets, or `None` if there is no such profile.
    #[must_use]
    pub fn resolve(&self, name: &str) -> Option<ResolvedProfile> {
        let named = |name: &str| self.profile.iter().find(|profile| profile.name == name);
        let profile = named(name)?;
        let default = named(DEFAULT_PROFILE);
        let or_default = |field: Option<Ipv4Addr>| {
            field.or_else(|| default.and_then(|default| default.local_address))
        };
        Some(ResolvedProfile {
            local_address: or_default(profile.local_address)?,
            pool: profile
                .remote_address
                .clone()
                .or_else(|| default.and_then(|default| default.remote_address.clone())),
            dns_servers: profile
                .dns_server
                .clone()
                .or_else(|| default.and_then(|default| default.dns_server.clone()))
                .unwrap_or_default(),
            wins_servers: profile
                .wins_server
                .clone()
                .or_else(|| default.and_then(|default| default.wins_server.clone()))
                .unwrap_or_default(),
            change_tcp_mss: profile
                .change_tcp_mss
                .or_else(|| default.and_then(|default| default.change_tcp_mss))
                .unwrap_or(true),
        })
    }

    pub(super) fn validate_profiles(&self) -> Result<(), ConfigError> {
        let fail = |reason: String| Err(ConfigError::new(reason));
        let mut seen = HashSet::new();
        for profile in &self.profile {
            let name = &profile.name;
            if !seen.insert(name) {
                return fail(format!("[[profile]]: the name `{name}` is given twice"));
            }
            let Some(resolved) = self.resolve(name) else {
                return fail(format!(
                    "profile `{name}` has no `local-address`, and neither has `{DEFAULT_PROFILE}`"
                ));
            };
            if resolved.dns_servers.len() > 2 || resolved.wins_servers.len() > 2 {
                return fail(format!(
                    "profile `{name}`: IPCP can give two `dns-server` and two `wins-server`"
                ));
            }
            if let Some(pool) = &resolved.pool
                && !self.pool.iter().any(|known| &known.name == pool)
            {
                return fail(format!(
                    "profile `{name}`: `remote-address = \"{pool}\"` names no [[pool]]"
                ));
            }
        }
        if seen.contains(&self.server.default_profile) {
            Ok(())
        } else {
            fail(format!(
                "`default-profile = \"{}\"` names no [[profile]]",
                self.server.default_profile
            ))
        }
    }
}
