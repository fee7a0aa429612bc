//! IPv6 of accel-ppp: `[ipv6-pool]`, `[ipv6-dns]`, `[ipv6-dhcp]`, `[ipv6-nd]` and its options of `[ppp]`.
//!
//! There, pools of links and of delegation have names of their own each, and a name may have several
//! prefixes. Here a name is one prefix: the first counts, and delegation's have `-delegated` behind
//! their names. Times and flags of advertisements are not taken over: they are fixed.

use std::net::Ipv6Addr;

use toml::{Table, Value};

use super::{Fate, Setting, left, set};
use crate::config::DEFAULT_PROFILE;
use crate::import::draft::{ipv6_pools_hold, profile_takes};
use crate::import::{Draft, Report};
use crate::ipv6::Prefix;

/// What the pool of delegation is called here.
fn delegated(name: &str) -> String {
    format!("{name}-delegated")
}

/// `[pptp] ipv6-pool` and `ipv6-pool-delegate`.
pub(super) fn of_server(setting: &Setting<'_>, draft: &mut Draft) -> Fate {
    let profile = draft.profile(DEFAULT_PROFILE);
    match (setting.key, setting.value) {
        (_, "") => left("names no pool"),
        ("ipv6-pool", name) => set(profile, "remote-ipv6-prefix-pool", name),
        (_, name) => set(profile, "dhcpv6-pd-pool", delegated(name)),
    }
}

/// `[ppp] ipv6` and what begins with it.
pub(super) fn of_link(setting: &Setting<'_>, draft: &mut Draft) -> Fate {
    match (setting.key, setting.value) {
        ("ipv6", "deny" | "0") => set(draft.profile(DEFAULT_PROFILE), "use-ipv6", false),
        ("ipv6", "require") => {
            draft.profile(DEFAULT_PROFILE).insert("use-ipv6".to_owned(), true.into());
            let became = "use-ipv6 = true".to_owned();
            Fate::InPart(became, "a peer without IPv6 keeps its session".to_owned())
        }
        ("ipv6", _) => set(draft.profile(DEFAULT_PROFILE), "use-ipv6", true),
        ("ipv6-accept-peer-intf-id", "1") => {
            Fate::Became("as here: what the peer asks for".to_owned())
        }
        ("ipv6-intf-id", _) => left("identifiers of ours are drawn for each session"),
        _ => left("a peer chooses its identifier, or RADIUS does: Framed-Interface-Id"),
    }
}

/// `[ipv6-pool]`.
pub(super) fn pool(setting: &Setting<'_>, draft: &mut Draft) -> Fate {
    match setting.key {
        "gw-ip6-address" => match setting.value.parse::<Ipv6Addr>() {
            Ok(address) => {
                set(draft.profile(DEFAULT_PROFILE), "local-ipv6-address", address.to_string())
            }
            Err(_) => left("not an IPv6 address"),
        },
        "vendor" | "attr-prefix" | "attr-address" => {
            left("RADIUS names pools by Framed-IPv6-Pool and Delegated-IPv6-Prefix-Pool")
        }
        "delegate" => match setting.value.split_once(',') {
            Some((prefix, rest)) => add(prefix, rest, true, draft),
            None => left("names no length"),
        },
        prefix => add(prefix, setting.value, false, draft),
    }
}

/// `prefix,length[,name=NAME][,next=NAME]`.
fn add(prefix: &str, rest: &str, is_delegated: bool, draft: &mut Draft) -> Fate {
    let mut parts = rest.split(',').map(str::trim);
    let Ok(prefix) = prefix.trim().parse::<Prefix>() else { return left("not an IPv6 prefix") };
    let Some(Ok(length)) = parts.next().map(str::parse::<u8>) else {
        return left("names no length");
    };
    let (mut name, mut next) = ("default", None);
    for part in parts {
        match part.split_once('=') {
            Some(("name", given)) => name = given,
            Some(("next", given)) => next = Some(given),
            // Its older form is the name alone.
            None if !part.is_empty() => name = part,
            _ => return Fate::Left(format!("unknown: {part}")),
        }
    }
    let name = if is_delegated { delegated(name) } else { name.to_owned() };
    let is_taken = |pool: &Table| pool.get("name").and_then(Value::as_str) == Some(&name);
    if draft.ipv6_pools.iter().any(is_taken) {
        return Fate::Left(format!("a pool is one prefix, and `{name}` has one: name another"));
    }
    let table = Table::from_iter([
        ("name".to_owned(), name.clone().into()),
        ("prefix".to_owned(), prefix.to_string().into()),
        ("prefix-length".to_owned(), i64::from(length).into()),
    ]);
    if let Err(why) = ipv6_pools_hold(std::slice::from_ref(&table)) {
        return Fate::Left(why);
    }
    draft.ipv6_pools.push(table);
    let became = format!("[[ipv6-pool]] `{name}`");
    match next {
        None => Fate::Became(became),
        Some(next) => Fate::InPart(became, format!("next={next}: IPv6 pools are not chained")),
    }
}

/// `[ipv6-dns]`: addresses, with and without `dns=`, and domains.
pub(super) fn name_server(setting: &Setting<'_>, draft: &mut Draft) -> Fate {
    let profile = draft.profile(DEFAULT_PROFILE);
    let address = match setting.key {
        "dnssl" => {
            let domain = setting.value.trim_end_matches('.');
            return match profile.contains_key("domain") {
                true => left("the profile tells one domain"),
                false => match profile_takes("domain", &domain.into()) {
                    Ok(()) => set(profile, "domain", domain),
                    Err(why) => Fate::Left(why),
                },
            };
        }
        "dns" => setting.value,
        address => address,
    };
    let Ok(address) = address.parse::<Ipv6Addr>() else { return left("not an IPv6 address") };
    let servers = profile.entry("ipv6-dns-server").or_insert_with(|| Value::Array(Vec::new()));
    match servers {
        Value::Array(servers) if servers.len() < protocol::router::Settings::MAX_DNS => {
            servers.push(address.to_string().into());
            Fate::Became(format!("ipv6-dns-server of the profile `{DEFAULT_PROFILE}`"))
        }
        _ => left("three can be told"),
    }
}

/// Pools without a name are everybody's there, and IPv6 is denied unless something else is said.
pub(super) fn complete(draft: &mut Draft, report: &mut Report) {
    if draft.ipv6_pools.is_empty() {
        return;
    }
    let has = |name: &str| {
        draft.ipv6_pools.iter().any(|pool| pool.get("name").and_then(Value::as_str) == Some(name))
    };
    let unnamed = [
        ("remote-ipv6-prefix-pool", "default".to_owned()),
        ("dhcpv6-pd-pool", delegated("default")),
    ];
    let unnamed: Vec<_> = unnamed.into_iter().filter(|(_, name)| has(name)).collect();
    let profile = draft.profile(DEFAULT_PROFILE);
    for (key, name) in unnamed {
        profile.entry(key).or_insert_with(|| name.into());
    }
    if !profile.contains_key("use-ipv6") {
        profile.insert("use-ipv6".to_owned(), false.into());
        report.remark("the file does not say `ipv6`, which is deny there: `use-ipv6 = false`");
    }
}
