//! What each menu becomes.

use std::net::Ipv4Addr;

use serde_json::json;
use toml::{Table, Value};
use zeroize::Zeroizing;

use super::lexer::Command;
use super::properties::{Properties, flag, size, text, time, words};
use super::radius;
use crate::config::{AddressRange, Mrru, interface_name};
use crate::import::draft::profile_takes;
use crate::import::{Imported, NewSecret};
use crate::kernel::Destination;
use crate::rate_limit::RateLimit;
use crate::terms::Route;

const LAYER_2: &str = "ports of a bridge have the kernel's settings: see `bridge link`";
const IPV6: &str = "IPv6 is not taken over";
const NO_COMPRESSION: &str = "there is no compression";
const QUEUES: &str = "queues of the kernel do not see tunnels of the fast path";

/// The name that an item has, or a word for the one that has none.
fn name(properties: &mut Properties<'_>, command: &Command) -> Option<String> {
    let target = || {
        let target = command.target.as_deref()?.trim_matches(['[', ']']);
        let named = target.strip_prefix("find ").unwrap_or(target).trim();
        let named = named.strip_prefix("name=").unwrap_or(named).trim_matches('"');
        match named {
            "default=yes" | "*0" | "0" => Some("default"),
            "*FFFFFFFE" => Some("default-encryption"),
            other => Some(other),
        }
    };
    properties.take("name").or_else(target).map(str::to_owned)
}

/// `false`, with a line in the report, for a verb that is neither `add` nor `set`.
fn is_known(command: &Command, imported: &mut Imported) -> bool {
    let known = ["add", "set"].contains(&command.verb.as_str());
    if !known {
        let subject = format!("/{} {}", command.menu, command.verb);
        imported.report.left(command.line, subject, "only `add` and `set` are taken over");
    }
    known
}

pub(super) fn pool(command: &Command, imported: &mut Imported) {
    if !is_known(command, imported) {
        return;
    }
    let mut properties = Properties::new(command);
    let name = name(&mut properties, command).unwrap_or_default();
    let subject = format!("/ip pool `{name}`");
    let ranges = properties.parse("ranges", |value| {
        let parse = |word: &&str| word.parse::<AddressRange>().map(|range| range.to_string());
        words(value).iter().map(parse).collect::<Result<Vec<_>, _>>()
    });
    properties.take("comment");
    let next = properties.take("next-pool").filter(|next| *next != "none");
    let left = properties.finish();
    match ranges {
        Some(ranges) if !ranges.is_empty() && !name.is_empty() => {
            let ranges = ranges.into_iter().map(Value::from).collect::<Vec<_>>();
            let table = [("name".to_owned(), name.into()), ("ranges".to_owned(), ranges.into())];
            let next = next.map(|next| ("next".to_owned(), Value::from(next)));
            imported.draft.pools.push(table.into_iter().chain(next).collect());
            imported.report.taken(command.line, subject, "[[pool]]".to_owned(), left);
        }
        _ => imported.report.left(command.line, subject, left.join("; ")),
    }
}

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

pub(super) fn server(command: &Command, imported: &mut Imported) {
    if !is_known(command, imported) {
        return;
    }
    let mut properties = Properties::new(command);
    let table = &mut imported.draft.server;
    properties.keep(table, "enabled", |value| flag(value).map(Value::from));
    properties.keep(table, "authentication", methods);
    properties.keep(table, "max-mtu", size);
    properties.keep(table, "max-mru", size);
    properties.keep(table, "keepalive-timeout", |value| match value {
        "disabled" => Ok("0s".into()),
        value => time(value),
    });
    properties.keep(table, "default-profile", text);
    properties.keep(table, "mrru", mrru);
    let left = properties.finish();
    let subject = "/interface pptp-server server".to_owned();
    imported.report.taken(command.line, subject, "[server]".to_owned(), left);
}

fn mrru(value: &str) -> Result<Value, String> {
    let mrru: Mrru = value.parse()?;
    Value::try_from(mrru).map_err(|error| error.to_string())
}

fn methods(value: &str) -> Result<Value, String> {
    let known = |word: &&str| ["mschap2", "mschap1", "chap", "pap"].contains(word);
    let words = words(value);
    if words.is_empty() || !words.iter().all(known) {
        return Err("not mschap2, mschap1, chap or pap".to_owned());
    }
    Ok(words.into_iter().map(Value::from).collect::<Vec<_>>().into())
}

pub(super) fn binding(command: &Command, imported: &mut Imported) {
    if !is_known(command, imported) {
        return;
    }
    let mut properties = Properties::new(command);
    let named = name(&mut properties, command);
    let name = named.unwrap_or_else(|| format!("pptp-in{}", imported.draft.bindings.len() + 1));
    let subject = format!("/interface pptp-server `{name}`");
    let mut table = Table::from_iter([("name".to_owned(), name.clone().into())]);
    properties.keep(&mut table, "user", text);
    properties.keep(&mut table, "disabled", |value| flag(value).map(Value::from));
    properties.keep(&mut table, "comment", text);
    let left = properties.finish();
    let wrong = match table.contains_key("user") {
        true => interface_name(&name).err(),
        false => Some("it names no user".to_owned()),
    };
    match wrong {
        None => {
            imported.draft.bindings.push(table);
            imported.report.taken(command.line, subject, "[[binding]]".to_owned(), left);
        }
        Some(why) => imported.report.left(command.line, subject, why),
    }
}

pub(super) fn client(command: &Command, imported: &mut Imported) {
    if !is_known(command, imported) {
        return;
    }
    let mut properties = Properties::new(command);
    let named = name(&mut properties, command);
    let name = named.unwrap_or_else(|| format!("pptp-out{}", imported.draft.clients.len() + 1));
    let subject = format!("/interface pptp-client `{name}`");
    let mut table = Table::from_iter([("name".to_owned(), name.clone().into())]);
    let wanted = &mut table;
    for key in ["connect-to", "user", "password", "profile", "comment"] {
        properties.keep(wanted, key, text);
    }
    properties.keep(wanted, "allow", methods);
    for key in ["add-default-route", "disabled"] {
        properties.keep(wanted, key, |value| flag(value).map(Value::from));
    }
    // RouterOS's own default.
    wanted.entry("disabled").or_insert_with(|| true.into());
    properties.keep(wanted, "default-route-distance", |value| match value.parse::<u32>() {
        Ok(distance) if distance > 0 => Ok(i64::from(distance).into()),
        _ => Err("not a number from 1 on".to_owned()),
    });
    properties.keep(wanted, "max-mtu", size);
    properties.keep(wanted, "max-mru", size);
    properties.keep(wanted, "keepalive-timeout", |value| match value {
        "disabled" => Ok("0s".into()),
        value => time(value),
    });
    properties.keep(wanted, "mrru", mrru);
    if properties.take("dial-on-demand") == Some("yes") {
        properties.leave("dial-on-demand", "a client that is enabled is always connected");
    }
    if properties.take("use-peer-dns").is_some_and(|value| value != "no") {
        properties.leave("use-peer-dns", "the name servers are shown by `penstock client monitor`");
    }
    let left = properties.finish();
    let wrong = match (table.contains_key("connect-to"), table.contains_key("user")) {
        (true, true) => interface_name(&name).err(),
        _ => Some("it names no server or no user".to_owned()),
    };
    match wrong {
        None => {
            imported.draft.clients.push(table);
            imported.report.taken(command.line, subject, "[[client]]".to_owned(), left);
        }
        Some(why) => imported.report.left(command.line, subject, why),
    }
}

pub(super) fn proxy_arp(command: &Command, imported: &mut Imported) {
    let mut properties = Properties::new(command);
    let name = name(&mut properties, command).unwrap_or_default();
    let subject = format!("/{} `{name}`", command.menu);
    properties.take("arp");
    if let Err(why) = interface_name(&name) {
        imported.report.left(command.line, subject, why);
        return;
    }
    let table = &mut imported.draft.server;
    let interfaces = table.entry("proxy-arp").or_insert_with(|| Value::Array(Vec::new()));
    if let Value::Array(interfaces) = interfaces {
        interfaces.push(name.as_str().into());
    }
    let became = "`proxy-arp` of [server]: say what the interface is called here".to_owned();
    imported.report.taken(command.line, subject, became, Vec::new());
}

/// What RouterOS takes for granted, and who is named but not there.
pub(super) fn complete(commands: &[Command], imported: &mut Imported) {
    let Imported { draft, report } = imported;
    radius::complete(draft, report);
    let named = draft.users.iter().flat_map(|user| &user.more);
    let named = named.filter(|(key, _)| *key == "profile").filter_map(|(_, value)| value.as_str());
    let of_clients = draft.clients.iter().filter_map(|client| client.get("profile")?.as_str());
    let of_server = draft.server.get("default-profile").and_then(Value::as_str);
    let uses = named.chain(of_clients).chain(of_server).any(|name| name == "default-encryption");
    let is_named = draft
        .profiles
        .iter()
        .any(|profile| profile.get("name").and_then(Value::as_str) == Some("default-encryption"));
    if uses || is_named {
        // It is in every router and in no export.
        let table = draft.profile("default-encryption");
        let encryption = Value::from("required");
        if profile_takes("use-encryption", &encryption).is_ok() {
            table.entry("use-encryption").or_insert(encryption);
        }
    }
    let has_server = commands.iter().any(|command| command.menu == "interface pptp-server server");
    if has_server && !draft.server.contains_key("authentication") {
        report.remark(
            "the export names no `authentication`: RouterOS takes mschap1 and mschap2, ours stays \
             mschap2",
        );
    }
    if has_server && !draft.server.contains_key("enabled") {
        draft.server.insert("enabled".to_owned(), false.into());
        report.remark("the export does not enable the server, so neither does ours");
    }
    if draft.clients.iter().any(|client| client.contains_key("password")) {
        report.remark("the configuration holds passwords of clients: keep it to its owner");
    }
}
