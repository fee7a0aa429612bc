//! References of a draft that lead nowhere: each is named and left out, so that the rest can be
//! written. Never makes up what was meant.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use toml::{Table, Value};

use super::draft::{ipv6_pools_hold, profile_with};
use super::{Draft, Report};
use crate::config::{AddressRange, Config, DEFAULT_PROFILE};

fn word<'a>(table: &'a Table, key: &str) -> Option<&'a str> {
    table.get(key).and_then(Value::as_str)
}

fn names(tables: &[Table]) -> HashSet<String> {
    tables.iter().filter_map(|table| word(table, "name")).map(str::to_owned).collect()
}

/// Takes out of the draft what the daemon would refuse as a whole, and says so.
pub(super) fn mend(draft: &mut Draft, report: &mut Report) {
    unique(&mut draft.pools, "pool", report);
    unique(&mut draft.bindings, "binding", report);
    unique(&mut draft.clients, "client", report);
    let taken = names(&draft.bindings);
    draft.clients.retain(|client| {
        let name = word(client, "name").unwrap_or_default();
        let is_free = !taken.contains(name);
        if !is_free {
            report.remark(format!("client `{name}`: a binding has the name, so it is left out"));
        }
        is_free
    });
    separate(&mut draft.pools, report);
    chains(&mut draft.pools, report);
    separate_ipv6(&mut draft.ipv6_pools, report);
    profiles(draft, report);
    users(draft, report);
}

/// The first of a name counts.
fn unique(tables: &mut Vec<Table>, kind: &str, report: &mut Report) {
    let mut seen = HashSet::new();
    tables.retain(|table| {
        let name = word(table, "name").unwrap_or_default();
        let is_new = seen.insert(name.to_owned());
        if !is_new {
            report.remark(format!("{kind} `{name}`: given twice, the first counts"));
        }
        is_new
    });
}

/// An address belongs to one pool.
fn separate(pools: &mut Vec<Table>, report: &mut Report) {
    let mut taken: Vec<AddressRange> = Vec::new();
    for pool in pools.iter_mut() {
        let name = word(pool, "name").unwrap_or_default().to_owned();
        let Some(Value::Array(ranges)) = pool.get_mut("ranges") else { continue };
        ranges.retain(|range| {
            let Some(range) = range.as_str().and_then(|text| text.parse().ok()) else {
                return true;
            };
            let is_free = !taken.iter().any(|other| other.overlaps(&range));
            if is_free {
                taken.push(range);
            } else {
                report
                    .remark(format!("pool `{name}`: {range} overlaps an earlier range: left out"));
            }
            is_free
        });
    }
    pools.retain(|pool| {
        pool.get("ranges").and_then(Value::as_array).is_some_and(|ranges| !ranges.is_empty())
    });
}

/// As [`separate`]: the first of a name, and of what overlaps, counts.
fn separate_ipv6(pools: &mut Vec<Table>, report: &mut Report) {
    let mut good: Vec<Table> = Vec::new();
    for pool in pools.drain(..) {
        good.push(pool);
        if let Err(why) = ipv6_pools_hold(&good) {
            report.remark(format!("left out: {why}"));
            good.pop();
        }
    }
    *pools = good;
}

/// Whoever follows `next` comes to an end.
fn chains(pools: &mut [Table], report: &mut Report) {
    for at in 0..pools.len() {
        let first = word(&pools[at], "name").unwrap_or_default().to_owned();
        let (mut name, mut steps) = (first.clone(), 0);
        let why = loop {
            let Some(pool) = pools.iter().find(|pool| word(pool, "name") == Some(&name)) else {
                break Some(format!("there is no pool `{name}`"));
            };
            let Some(next) = word(pool, "next") else { break None };
            next.clone_into(&mut name);
            steps += 1;
            if steps > pools.len() {
                break Some("it leads round in a circle".to_owned());
            }
        };
        if let Some(why) = why
            && pools[at].remove("next").is_some()
        {
            report.remark(format!("pool `{first}`: `next` is left out: {why}"));
        }
    }
}

fn profiles(draft: &mut Draft, report: &mut Report) {
    let pools = names(&draft.pools);
    for profile in &mut draft.profiles {
        let name = word(profile, "name").unwrap_or_default().to_owned();
        if let Some(remote) = word(profile, "remote-address").map(str::to_owned)
            && remote.parse::<Ipv4Addr>().is_err()
            && !pools.contains(&remote)
        {
            profile.remove("remote-address");
            let why = format!("the pool `{remote}` is named but not there: users need addresses");
            report.remark(format!("profile `{name}`: {why}"));
        }
        for key in ["local-ipv6-address", "remote-ipv6-prefix-pool", "dhcpv6-pd-pool"] {
            let taken = profile
                .get(key)
                .map_or(Ok(()), |value| profile_with(key, value, &draft.ipv6_pools));
            if let Err(why) = taken {
                profile.remove(key);
                report.remark(format!("profile `{name}`: `{key}` is left out: {why}"));
            }
        }
    }
    // The built-in one, which others are completed by, names a pool that is not there.
    if let Some(first) = draft.pools.first().and_then(|pool| word(pool, "name")).map(str::to_owned)
        && !pools.contains(DEFAULT_PROFILE)
        && !draft.profile(DEFAULT_PROFILE).contains_key("remote-address")
    {
        let why = format!("names no pool: it has the first one, `{first}`");
        report.remark(format!("profile `{DEFAULT_PROFILE}`: {why}"));
        draft.profile(DEFAULT_PROFILE).insert("remote-address".to_owned(), first.into());
    }
    let known = names(&draft.profiles);
    let is_missing = |name: &str| name != DEFAULT_PROFILE && !known.contains(name);
    if let Some(name) = word(&draft.server, "default-profile").map(str::to_owned)
        && is_missing(&name)
    {
        draft.server.remove("default-profile");
        report.remark(format!("`default-profile` is left out: there is no profile `{name}`"));
    }
    for client in &mut draft.clients {
        if let Some(name) = word(client, "profile").map(str::to_owned)
            && is_missing(&name)
        {
            client.remove("profile");
            let which = word(client, "name").unwrap_or_default();
            let why = format!("there is no profile `{name}`: it has `{DEFAULT_PROFILE}`");
            report.remark(format!("client `{which}`: {why}"));
        }
    }
}

fn users(draft: &mut Draft, report: &mut Report) {
    let (known, pools) = (names(&draft.profiles), names(&draft.pools));
    // What the daemon would say of a network once its pools are these.
    let config = Config::parse(&draft.text()).ok();
    for user in draft.users_mut() {
        if let (Some(config), Some(routes)) = (&config, user.list("routes")) {
            let refused = routes.iter().find_map(|route| config.accepts_route(route).err());
            if let Some(why) = refused {
                user.drop_key("routes");
                report.remark(format!("user `{}`: its routes are left out: {why}", user.name));
            }
        }
        if let Some(name) = user.word("profile").map(str::to_owned)
            && name != DEFAULT_PROFILE
            && !known.contains(&name)
        {
            user.drop_key("profile");
            user.disable();
            let why = format!("there is no profile `{name}`, so it is disabled");
            report.remark(format!("user `{}`: {why}", user.name));
        }
        if let Some(remote) = user.word("remote-address").map(str::to_owned)
            && remote.parse::<Ipv4Addr>().is_err()
            && !pools.contains(&remote)
        {
            user.drop_key("remote-address");
            let why = format!("there is no pool `{remote}`: the profile's counts");
            report.remark(format!("user `{}`: {why}", user.name));
        }
    }
}
