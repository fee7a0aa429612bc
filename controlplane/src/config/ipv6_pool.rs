//! `[[ipv6-pool]]`: RouterOS's `/ipv6 pool`, prefixes for sessions.
//!
//! Pools never overlap, so a prefix names its pool.

use protocol::ipv6::Ipv6Prefix;
use serde::Deserialize;

use super::{Config, ConfigError, ResolvedProfile};
use crate::ipv6::{Prefix, is_for_links, is_for_routers, is_for_subscribers};

/// Prefixes for sessions.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Ipv6Pool {
    /// What profiles refer to.
    pub name: String,
    /// Where its prefixes lie.
    pub prefix: Prefix,
    /// How long each of them is, bits.
    pub prefix_length: u8,
}

impl Config {
    fn ipv6_pool(&self, name: &str) -> Option<&Ipv6Pool> {
        self.ipv6_pool.iter().find(|pool| pool.name == name)
    }

    pub(super) fn validate_ipv6_pools(&self) -> Result<(), ConfigError> {
        for (at, pool) in self.ipv6_pool.iter().enumerate() {
            let Ipv6Pool { name, prefix, prefix_length } = pool;
            let fail =
                |reason: String| Err(ConfigError::new(format!("IPv6 pool `{name}`: {reason}")));
            if name.is_empty() {
                return fail("the name is empty".to_owned());
            }
            if let Err(reason) = is_for_subscribers(prefix.0) {
                return fail(reason);
            }
            if *prefix_length < prefix.0.length() || *prefix_length > 128 {
                return fail(format!(
                    "`prefix-length = {prefix_length}`: {prefix} holds prefixes of {} to 128 bits",
                    prefix.0.length()
                ));
            }
            for other in &self.ipv6_pool[..at] {
                if other.name == *name {
                    return fail("the name is given twice".to_owned());
                }
                if other.prefix.0.overlaps(prefix.0) {
                    return fail(format!("{prefix} overlaps {} of `{}`", other.prefix, other.name));
                }
            }
        }
        Ok(())
    }

    /// What a profile says of IPv6.
    pub(super) fn validate_ipv6(&self, resolved: &ResolvedProfile) -> Result<(), String> {
        let ipv6 = &resolved.ipv6;
        for (key, pool) in [
            ("remote-ipv6-prefix-pool", &ipv6.remote_prefix_pool),
            ("dhcpv6-pd-pool", &ipv6.delegated_pool),
        ] {
            let Some(name) = pool else { continue };
            let Some(pool) = self.ipv6_pool(name) else {
                return Err(format!("`{key} = \"{name}\"` names no [[ipv6-pool]]"));
            };
            let first = Ipv6Prefix::around(pool.prefix.0.address(), pool.prefix_length);
            let is_good = match key {
                "dhcpv6-pd-pool" => is_for_routers(first),
                _ => is_for_links(first),
            };
            is_good.map_err(|reason| format!("`{key} = \"{name}\"`: {reason}"))?;
        }
        if ipv6.dns_servers.len() > protocol::router::Settings::MAX_DNS {
            return Err("at most three `ipv6-dns-server`".to_owned());
        }
        if let Some(local) = ipv6.local_address {
            let host = Ipv6Prefix::host(local);
            is_for_subscribers(host)
                .map_err(|_| format!("`local-ipv6-address = \"{local}\"` cannot be ours"))?;
            let pool = self.ipv6_pool.iter().find(|pool| pool.prefix.0.contains(local));
            if let Some(pool) = pool {
                return Err(format!("`local-ipv6-address` lies in IPv6 pool `{}`", pool.name));
            }
        }
        if resolved.dhcp_routes.len() > protocol::router::Ipv4Settings::MAX_ROUTES {
            return Err(format!(
                "at most {} `dhcp-routes`",
                protocol::router::Ipv4Settings::MAX_ROUTES
            ));
        }
        Ok(())
    }
}
