//! `/ppp profile` and `/ppp secret`: what sessions are given, and who may have one.

use std::net::Ipv4Addr;

use serde_json::json;
use toml::{Table, Value};
use zeroize::Zeroizing;

use super::lexer::Command;
use super::properties::{Properties, flag, text, time, words};
use super::tables::{is_known, name};
use crate::config::interface_name;
use crate::import::draft::profile_takes;
use crate::import::{Imported, NewSecret};
use crate::kernel::Destination;
use crate::rate_limit::RateLimit;
use crate::terms::Route;

const LAYER_2: &str = "ports of a bridge have the kernel's settings: see `bridge link`";
const IPV6: &str = "IPv6 is not taken over";
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
    let servers = |value: &str| {
        let parse =
            |word: &&str| word.parse::<Ipv4Addr>().map(|address| address.to_string().into());
        let servers = words(value).iter().take(2).map(parse).collect::<Result<Vec<Value>, _>>();
        servers.map(Value::from).map_err(|_| "not all are IPv4 addresses".to_owned())
    };
    for key in ["dns-server", "wins-server"] {
        let beyond = properties.look(key).map(words).unwrap_or_default().into_iter().skip(2);
        let beyond = beyond.collect::<Vec<_>>().join(", ");
        properties.keep(wanted, key, servers);
        if !beyond.is_empty() {
            properties.leave(key, &format!("IPCP tells two; left out: {beyond}"));
        }
    }
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
    properties.leave_all(
        &[
            "dhcpv6-lease-time",
            "dhcpv6-pd-pool",
            "dhcpv6-use-radius",
            "remote-ipv6-prefix-pool",
            "remote-ipv6-prefix-reuse",
            "use-ipv6",
        ],
        IPV6,
    );
    properties.leave_all(&["use-mpls", "use-upnp"], "no part of PPTP");
    properties.leave_all(&["insert-queue-before", "parent-queue", "queue-type"], QUEUES);
    properties
        .leave_all(&["interface-list"], "name interfaces in nftables: [[binding]] gives them");
    properties.take("comment");
    // A pool is checked with the whole.
    for key in table.keys().filter(|key| *key != "remote-address").cloned().collect::<Vec<_>>() {
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
    let password = Zeroizing::new(properties.take("password").unwrap_or_default().to_owned());
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
    properties.leave_all(&["ipv6-routes", "remote-ipv6-prefix"], IPV6);
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
    imported.draft.users.push(user);
    imported.report.taken(command.line, subject, "user".to_owned(), left);
}
