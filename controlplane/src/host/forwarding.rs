//! What the kernel does with packets that pass through: forwarding, reverse path, forward chains.
//!
//! Only says what is: sysctls are the operator's.

use std::fmt;
use std::fs;
use std::process::{Command, Stdio};

/// What decides whether a subscriber's packets pass the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forwarding {
    /// `net.ipv4.ip_forward`.
    pub enabled: bool,
    /// `net.ipv6.conf.all.forwarding`.
    pub ipv6: bool,
    /// `net.ipv4.conf.all.rp_filter`; an interface's own value counts where it is higher.
    pub reverse_path: ReversePath,
}

/// How the kernel checks sources against its routes (RFC 3704).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReversePath {
    /// Not at all.
    Off,
    /// The source must be reachable by the interface that it came from.
    Strict,
    /// The source must be reachable.
    Loose,
}

impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Strict => "strict",
            Self::Loose => "loose",
        })
    }
}

impl Forwarding {
    /// Reads the kernel's values.
    #[must_use]
    pub fn read() -> Self {
        let value = |key: &str| {
            let text = fs::read_to_string(format!("/proc/sys/net/{key}")).unwrap_or_default();
            text.trim().parse::<u8>().unwrap_or(0)
        };
        Self {
            enabled: value("ipv4/ip_forward") != 0,
            ipv6: value("ipv6/conf/all/forwarding") != 0,
            reverse_path: match value("ipv4/conf/all/rp_filter") {
                1 => ReversePath::Strict,
                2 => ReversePath::Loose,
                _ => ReversePath::Off,
            },
        }
    }
}

/// What is known of the firewall.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Firewall {
    /// Chains that see forwarded packets, as `family table chain`.
    ForwardChains(Vec<String>),
    /// It could not be asked.
    Unknown(String),
}

/// Asks `nft` for chains on the forward hook.
#[must_use]
pub fn firewall() -> Firewall {
    let output = Command::new("nft").args(["-j", "list", "chains"]).stdin(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => forward_chains(&output.stdout),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Firewall::Unknown(said.lines().next().unwrap_or("nft failed").to_owned())
        }
        Err(error) => Firewall::Unknown(format!("nft: {error}")),
    }
}

fn forward_chains(json: &[u8]) -> Firewall {
    let Ok(listing) = serde_json::from_slice::<serde_json::Value>(json) else {
        return Firewall::Unknown("nft's answer is not JSON".to_owned());
    };
    let objects = listing.get("nftables").and_then(|list| list.as_array());
    let chains = objects.into_iter().flatten().filter_map(|object| object.get("chain"));
    let field = |chain: &serde_json::Value, key: &str| {
        chain.get(key).and_then(|value| value.as_str()).unwrap_or_default().to_owned()
    };
    Firewall::ForwardChains(
        chains
            .filter(|chain| field(chain, "hook") == "forward")
            .map(|chain| {
                format!(
                    "{} {} {}",
                    field(chain, "family"),
                    field(chain, "table"),
                    field(chain, "name")
                )
            })
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_on_the_forward_hook_are_found() {
        let json = br#"{"nftables": [{"metainfo": {"version": "1.0.6"}},
            {"chain": {"family": "inet", "table": "filter", "name": "input", "handle": 1,
                       "type": "filter", "hook": "input", "prio": 0, "policy": "accept"}},
            {"chain": {"family": "inet", "table": "filter", "name": "fwd", "handle": 2,
                       "type": "filter", "hook": "forward", "prio": 0, "policy": "drop"}},
            {"chain": {"family": "ip", "table": "nat", "name": "helper", "handle": 3}}]}"#;
        assert_eq!(
            forward_chains(json),
            Firewall::ForwardChains(vec!["inet filter fwd".to_owned()])
        );
        assert!(matches!(forward_chains(b"oops"), Firewall::Unknown(_)));
    }
}
