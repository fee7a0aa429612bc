//! `/ppp profile` and `/ppp secret`: what sessions are given, and who may have one.

use std::net::{IpAddr, Ipv4Addr};

use protocol::ipv6::NoPrefix;
use serde_json::json;
use toml::{Table, Value};
use zeroize::Zeroizing;

use super::lexer::Command;
use super::properties::{Properties, flag, text, time, words};
use super::tables::{is_known, name};
use crate::config::interface_name;
use crate::import::draft::profile_takes;
use crate::import::{Imported, NewSecret};
use crate::ipv6::{Prefix, is_for_links, is_for_subscribers};
use crate::kernel::Destination;
use crate::rate_limit::RateLimit;
use crate::terms::Route;

const LAYER_2: &str = "ports of a bridge have the kernel's settings: see `bridge link`";
const NO_PASSWORD: &str = "has no password in this export: export with show-sensitive";
const NO_COMPRESSION: &str = "there is no compression";
const QUEUES: &str = "queues of the kernel do not see tunnels of the fast path";

pub(super) fn profile(command: &Command, imported: &mut Imported) {
    if !is_known(command, imported) {
        return;
    }
    let mut properties = Properties::new(command);
    let Some(name) = name(&mut properties, command) else {
        imported.report.left(command.line, "/ppp profile".to_owned(), "it has no name");
        return;
    };
    let mut table = Table::new();
    let wanted = &mut table;
    properties.keep(wanted, "local-address", |value| match value.parse::<Ipv4Addr>() {
        Ok(address) => Ok(address.to_string().into()),
        Err(_) => Err("one address of ours serves all tunnels; a pool is not needed".to_owned()),
    });
    properties.keep(wanted, "remote-address", text);
    servers(&mut properties, wanted);
    properties.keep(wanted, "rate-limit", |value| {
        value
            .parse::<RateLimit>()
            .map(|rate| rate.to_string().into())
            .map_err(|why| why.to_string())
    });
    properties.keep(wanted, "session-timeout", time);
    properties.keep(wanted, "idle-timeout", time);
    if let Some(value) = properties.take("only-one") {
        match value {
            "yes" => drop(wanted.insert("only-one".to_owned(), "yes".into())),
            "no" => drop(wanted.insert("only-one".to_owned(), "no".into())),
            _ => {}
        }
    }
    match properties.take("use-encryption") {
        Some(word @ ("required" | "yes" | "no")) => {
            wanted.insert("use-encryption".to_owned(), word.into());
        }
        Some("default") | None => {}
        Some(_) => properties.leave("use-encryption", "not yes, no, required or default"),
    }
    if let Some(value) = properties.take("change-tcp-mss")
        && value != "default"
    {
        match flag(value) {
            Ok(value) => drop(wanted.insert("change-tcp-mss".to_owned(), value.into())),
            Err(why) => properties.leave("change-tcp-mss", &why),
        }
    }
    if let Some(value) = properties.take("address-list") {
        let lists = words(value).into_iter().map(Value::from).collect::<Vec<_>>();
        wanted.insert("address-list".to_owned(), lists.into());
    }
    properties.keep(wanted, "bridge", |value| interface_name(value).map(|()| Value::from(value)));
    properties.leave_all(
        &["incoming-filter", "outgoing-filter"],
        "chains of /ip firewall filter: write their rules as [[filter]]",
    );
    properties.leave_all(&["on-up", "on-down"], "scripts of RouterOS do not run here: see hooks");
    properties.leave_all(&["use-compression", "use-vj-compression"], NO_COMPRESSION);
    properties.leave_all(
        &[
            "bridge-horizon",
            "bridge-learning",
            "bridge-path-cost",
            "bridge-port-priority",
            "bridge-port-trusted",
            "bridge-port-vid",
        ],
        LAYER_2,
    );
    ipv6(&mut properties, wanted);
    properties.leave_all(&["use-mpls", "use-upnp"], "no part of PPTP");
    properties.leave_all(&["insert-queue-before", "parent-queue", "queue-type"], QUEUES);
    properties
        .leave_all(&["interface-list"], "name interfaces in nftables: [[binding]] gives them");
    properties.take("comment");
    // Pools are checked with the whole.
    let is_pool = |key: &&String| {
        ["remote-address", "remote-ipv6-prefix-pool", "dhcpv6-pd-pool"].contains(&key.as_str())
    };
    for key in table.keys().filter(|key| !is_pool(key)).cloned().collect::<Vec<_>>() {
        if let Err(why) = profile_takes(&key, &table[&key]) {
            properties.leave(&key, &why);
            table.remove(&key);
        }
    }
    let left = properties.finish();
    imported.draft.profile(&name).extend(table);
    let became = format!("[[profile]] `{name}`");
    imported.report.taken(command.line, format!("/ppp profile `{name}`"), became, left);
}

/// IPCP tells two name servers, router advertisements and DHCPv6 three.
fn servers(properties: &mut Properties<'_>, wanted: &mut Table) {
    for key in ["dns-server", "wins-server"] {
        let (mut ipv4, mut ipv6, mut left) = (Vec::new(), Vec::new(), Vec::new());
        for word in properties.take(key).map(words).unwrap_or_default() {
            match word.parse() {
                Ok(IpAddr::V4(_)) if ipv4.len() < 2 => ipv4.push(Value::from(word)),
                Ok(IpAddr::V6(_)) if key == "dns-server" && ipv6.len() < 3 => {
                    ipv6.push(Value::from(word));
                }
                _ => left.push(word),
            }
        }
        if !ipv4.is_empty() {
            wanted.insert(key.to_owned(), ipv4.into());
        }
        if !ipv6.is_empty() {
            wanted.insert("ipv6-dns-server".to_owned(), ipv6.into());
        }
        if !left.is_empty() {
            let left = left.join(", ");
            properties.leave(key, &format!("left out, for IPCP tells two addresses: {left}"));
        }
    }
}

fn ipv6(properties: &mut Properties<'_>, wanted: &mut Table) {
    match properties.take("use-ipv6") {
        Some("required") => {
            wanted.insert("use-ipv6".to_owned(), true.into());
            properties.leave("use-ipv6", "a peer without IPv6 keeps its session");
        }
        Some("default") | None => {}
        Some(value) => match flag(value) {
            Ok(value) => drop(wanted.insert("use-ipv6".to_owned(), value.into())),
            Err(why) => properties.leave("use-ipv6", &why),
        },
    }
    for key in ["remote-ipv6-prefix-pool", "dhcpv6-pd-pool"] {
        properties.keep(wanted, key, |value| match value {
            "none" => Ok("".into()),
            pool => text(pool),
        });
    }
    properties.leave_all(
        &["dhcpv6-lease-time"],
        "a prefix is the session's while it lasts: hosts are told a fixed time, which they renew",
    );
    if properties.take("dhcpv6-use-radius") == Some("yes") {
        properties.leave(
            "dhcpv6-use-radius",
            "RADIUS gives the prefix at login (Delegated-IPv6-Prefix), not for each request",
        );
    }
    if properties.take("remote-ipv6-prefix-reuse") == Some("no") {
        properties.leave(
            "remote-ipv6-prefix-reuse",
            "a user gets the prefix of last time while it is free",
        );
    }
}

pub(super) fn secret(command: &Command, imported: &mut Imported) {
    let mut properties = Properties::new(command);
    let name = name(&mut properties, command).unwrap_or_default();
    let subject = format!("/ppp secret `{name}`");
    if command.verb != "add" {
        imported.report.left(command.line, subject, "only `add` is taken over");
        return;
    }
    if let Some(service) = properties.take("service")
        && !["any", "pptp"].contains(&service)
    {
        let why = format!("service={service}: not for PPTP");
        imported.report.left(command.line, subject, why);
        return;
    }
    if name.is_empty() || name.len() > crate::users::MAX_NAME || name.chars().any(char::is_control)
    {
        let why = "a name has 1 to 255 bytes and no control characters";
        imported.report.left(command.line, subject, why);
        return;
    }
    let Some(password) = properties.take("password").map(|word| Zeroizing::new(word.to_owned()))
    else {
        imported.report.left(command.line, subject, NO_PASSWORD);
        return;
    };
    let mut more = Vec::new();
    let address = |value: &str| {
        let address = value.parse::<Ipv4Addr>().map_err(|_| "not an IPv4 address".to_owned())?;
        Ok(json!(address))
    };
    let networks = |value: &str| {
        let parse = |word: &&str| word.parse::<Destination>().map(|found| found.to_string());
        words(value).iter().map(parse).collect::<Result<Vec<_>, _>>().map(|all| json!(all))
    };
    if imported.draft.has_user(&name) {
        let why = "an earlier line has the name, and counts: a user has one secret here";
        imported.report.left(command.line, subject, why);
        return;
    }
    let routes = |value: &str| {
        let parse = |word: &&str| word.parse::<Route>().map(|route| route.to_string());
        words(value).iter().map(parse).collect::<Result<Vec<_>, _>>().map(|all| json!(all))
    };
    let octets = |value: &str| {
        let octets = value.parse::<u64>().map_err(|_| "not a number of bytes".to_owned())?;
        Ok(json!((octets > 0).then_some(octets)))
    };
    let plain = |value: &str| -> Result<serde_json::Value, String> { Ok(json!(value)) };
    let mut keep = |key: &'static str, value: Option<serde_json::Value>| {
        more.extend(value.filter(|value| !value.is_null()).map(|value| (key, value)));
    };
    keep("profile", properties.parse("profile", plain));
    keep("local-address", properties.parse("local-address", address));
    keep("remote-address", properties.parse("remote-address", plain));
    let restricted = properties.take("caller-id").map(networks);
    let unknown_caller = matches!(restricted, Some(Err(_)));
    keep("caller-id", restricted.and_then(Result::ok));
    keep("routes", properties.parse("routes", routes));
    keep("limit-bytes-in", properties.parse("limit-bytes-in", octets));
    keep("limit-bytes-out", properties.parse("limit-bytes-out", octets));
    let disabled = |value: &str| flag(value).map(|value| json!(value.then_some(true)));
    keep("disabled", properties.parse("disabled", disabled));
    keep("comment", properties.parse("comment", plain));
    keep("remote-ipv6-prefix", properties.parse("remote-ipv6-prefix", link_prefix));
    keep("ipv6-routes", properties.parse("ipv6-routes", ipv6_routes));
    for key in ["last-logged-out", "last-caller-id", "last-disconnect-reason"] {
        // What was, not what is to be.
        properties.take(key);
    }
    let mut user = NewSecret { name, password, more };
    if unknown_caller {
        user.disable();
        let why = "not all are IPv4 networks: the user is disabled, or it could call from anywhere";
        properties.leave("caller-id", why);
    }
    let left = properties.finish();
    imported.draft.add_user(user);
    imported.report.taken(command.line, subject, "user".to_owned(), left);
}

fn link_prefix(value: &str) -> Result<serde_json::Value, String> {
    let prefix: Prefix = value.parse().map_err(|why: NoPrefix| why.to_string())?;
    is_for_links(prefix.0).map(|()| json!(prefix))
}

/// `prefix [gateway [metric]]`, several between commas: the gateway is the user whoever is named.
fn ipv6_routes(value: &str) -> Result<serde_json::Value, String> {
    let prefix = |route: &&str| {
        let prefix = route.split_whitespace().next().unwrap_or_default();
        let prefix: Prefix = prefix.parse().map_err(|why: NoPrefix| why.to_string())?;
        is_for_subscribers(prefix.0).map(|()| prefix)
    };
    words(value).iter().map(prefix).collect::<Result<Vec<_>, _>>().map(|all| json!(all))
}
