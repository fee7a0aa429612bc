//! `accel-ppp.conf`: its PPTP server, its pools, its name servers and where its users are.
//!
//! An option of accel-ppp that has another meaning here is named rather than guessed at.

mod ipv6;

use std::net::Ipv4Addr;

use toml::{Table, Value};

use super::draft::profile_takes;
use super::mend::mend;
use super::{Draft, Imported, unmarked};
use crate::config::{AddressRange, DEFAULT_PROFILE};
use crate::kernel::Destination;

/// An option where it stands.
struct Setting<'a> {
    section: &'a str,
    key: &'a str,
    value: &'a str,
}

/// Reads a file.
#[must_use]
pub fn import(bytes: &[u8]) -> Imported {
    let mut imported = Imported::default();
    let mut section = String::new();
    for (number, line) in (1..).zip(unmarked(bytes).split(|byte| *byte == b'\n')) {
        let Ok(line) = std::str::from_utf8(line) else {
            imported.report.left(number, "unreadable".to_owned(), "is not UTF-8");
            continue;
        };
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.trim().clone_into(&mut section);
        } else if !line.is_empty() {
            // A range of addresses is not a key, whatever follows it.
            let first = line.split(['=', ',']).next().unwrap_or_default();
            let is_range =
                first.starts_with(|first: char| first.is_ascii_digit()) || first.contains("::");
            let apart = if is_range { line.split_once(',') } else { line.split_once('=') };
            let (key, value) = apart.unwrap_or((line, ""));
            let setting = Setting { section: &section, key: key.trim(), value: value.trim() };
            take(number, &setting, &mut imported);
        }
    }
    complete(&mut imported);
    imported
}

/// What became of an option.
enum Fate {
    Became(String),
    /// It became this, less what cannot be.
    InPart(String, String),
    Left(String),
    Foreign,
}

fn take(number: usize, setting: &Setting<'_>, imported: &mut Imported) {
    let Setting { section, key, .. } = setting;
    let subject = format!("[{section}] {key}");
    match fate(setting, &mut imported.draft) {
        Fate::Became(what) => imported.report.taken(number, subject, what, Vec::new()),
        Fate::InPart(what, why) => imported.report.taken(number, subject, what, vec![why]),
        Fate::Left(why) => imported.report.left(number, subject, why),
        Fate::Foreign => imported.report.foreign(number, format!("[{section}]")),
    }
}

fn fate(setting: &Setting<'_>, draft: &mut Draft) -> Fate {
    match setting.section {
        "modules" => module(setting.key, draft),
        "common" | "ppp" | "lcp" | "auth" => ppp(setting, draft),
        "pptp" => pptp(setting, draft),
        "dns" | "wins" => name_server(setting, draft),
        "ip-pool" => pool(setting, draft),
        "chap-secrets" => chap_secrets(setting, draft),
        "radius" => left("write it as [[radius]], [aaa] and [radius-incoming]"),
        "ipv6-pool" => ipv6::pool(setting, draft),
        "ipv6-dns" => ipv6::name_server(setting, draft),
        "ipv6-dhcp" if setting.key == "verbose" => left("see log-level"),
        "ipv6-dhcp" => left("prefixes are the session's while it lasts; times are fixed"),
        "ipv6-nd" if setting.key == "verbose" => left("see log-level"),
        "ipv6-nd" => left("advertisements have fixed times and flags: see docs/routeros.md"),
        "client-ip-range" => client_range(setting, draft),
        "shaper" => left("rates come from profiles, users and RADIUS: see rate-limit"),
        "connlimit" => left("see [limits]"),
        "core" | "log" | "cli" => left("see [dataplane], log-level and the API"),
        _ => Fate::Foreign,
    }
}

fn left(why: &str) -> Fate {
    Fate::Left(why.to_owned())
}

fn module(name: &str, draft: &mut Draft) -> Fate {
    let method = match name {
        "auth_mschap_v2" => "mschap2",
        "auth_mschap_v1" => "mschap1",
        "auth_chap_md5" | "auth_chap" => "chap",
        "auth_pap" => "pap",
        "pptp" => return Fate::Became("always there".to_owned()),
        "radius" => return left("name the servers as [[radius]]"),
        "chap-secrets" => return Fate::Became("the users-file".to_owned()),
        "ipv6_nd" | "ipv6_dhcp" => return Fate::Became("always there".to_owned()),
        "ipv6pool" => return Fate::Became("[[ipv6-pool]]".to_owned()),
        "ippool" => return Fate::Became("[[pool]]".to_owned()),
        "log_file" | "log_tcp" | "log_pgsql" | "log_syslog" => return left("see log-format"),
        "shaper" => return left("see rate-limit"),
        "sigchld" | "pppd_compat" => return left("see hooks"),
        "connlimit" => return left("see [limits]"),
        _ => return left("penstock has nothing of this kind"),
    };
    let methods = draft.server.entry("authentication").or_insert_with(|| Value::Array(Vec::new()));
    if let Value::Array(methods) = methods {
        methods.push(method.into());
    }
    Fate::Became(format!("`authentication` has \"{method}\""))
}

fn set(table: &mut Table, key: &str, value: impl Into<Value>) -> Fate {
    let value = value.into();
    let shown = format!("{key} = {value}");
    table.insert(key.to_owned(), value);
    Fate::Became(shown)
}

fn size(table: &mut Table, key: &str, value: &str) -> Fate {
    match value.parse::<u16>() {
        Ok(size) if (576..=1500).contains(&size) => set(table, key, i64::from(size)),
        _ => left("not from 576 to 1500"),
    }
}

fn ppp(setting: &Setting<'_>, draft: &mut Draft) -> Fate {
    let server = &mut draft.server;
    match (setting.key, setting.value) {
        ("mtu", value) => size(server, "max-mtu", value),
        ("mru", value) => size(server, "max-mru", value),
        ("mppe", value) => mppe(value, server),
        ("lcp-echo-interval" | "echo-interval", value) => match value.parse::<u64>() {
            Ok(seconds) => {
                set(server, "keepalive-timeout", crate::config::Span::seconds(seconds).to_string())
            }
            Err(_) => left("not a number of seconds"),
        },
        ("lcp-echo-failure" | "lcp-echo-timeout" | "echo-failure" | "echo-timeout", _) => {
            left("a peer is gone after twice `keepalive-timeout`")
        }
        ("single-session", "replace" | "deny") => {
            let only_one = if setting.value == "deny" { "yes" } else { "replace" };
            match profile_takes("only-one", &only_one.into()) {
                Ok(()) => set(draft.profile(DEFAULT_PROFILE), "only-one", only_one),
                Err(why) => Fate::Left(why),
            }
        }
        ("session-timeout", value) => session_timeout(value, draft),
        (key @ ("max-sessions" | "max-starting"), value) => limit(key, value, draft),
        ("single-session-ignore-case", _) => {
            Fate::Became("as here: upper and lower case are one user".to_owned())
        }
        ("accomp" | "pcomp" | "noauth", "0" | "deny" | "allow") => {
            Fate::Became("as here: what the peer asks for".to_owned())
        }
        ("ccp", "0") => set(server, "encryption", "deny"),
        ("ccp" | "ipv4", _) => Fate::Became("as here".to_owned()),
        ("min-mtu", _) => left("a session has the MTU that its link agrees on"),
        ("ipv6" | "ipv6-intf-id" | "ipv6-peer-intf-id" | "ipv6-accept-peer-intf-id", _) => {
            ipv6::of_link(setting, draft)
        }
        ("verbose" | "check-ip" | "unit-cache" | "unit-preallocate" | "any-login", _) => {
            left("not needed here")
        }
        _ => left("penstock has nothing of this kind"),
    }
}

fn session_timeout(value: &str, draft: &mut Draft) -> Fate {
    match value.parse::<u64>() {
        Ok(seconds) => {
            let time = crate::config::Span::seconds(seconds).to_string();
            set(draft.profile(DEFAULT_PROFILE), "session-timeout", time)
        }
        Err(_) => left("not a number of seconds"),
    }
}

/// Of the machine, not of the port.
fn limit(key: &str, value: &str, draft: &mut Draft) -> Fate {
    let Ok(count @ 1..) = value.parse::<u32>() else { return left("no number from 1 on") };
    let limits = draft.top.entry("limits").or_insert_with(|| Value::Table(Table::new()));
    let Value::Table(limits) = limits else { return left("not understood") };
    set(limits, key, i64::from(count))
}

fn mppe(value: &str, server: &mut Table) -> Fate {
    match value {
        "require" | "prefer" | "allow" | "deny" => set(server, "encryption", value),
        _ => left("not deny, allow, prefer or require"),
    }
}

fn pptp(setting: &Setting<'_>, draft: &mut Draft) -> Fate {
    match (setting.key, setting.value) {
        ("bind", value) => match value.parse::<Ipv4Addr>() {
            Ok(address) => listen(draft, Some(address), None),
            Err(_) => left("not an IPv4 address"),
        },
        ("port", value) => match value.parse::<u16>() {
            Ok(port) => listen(draft, None, Some(port)),
            Err(_) => left("not a port"),
        },
        ("mppe", value) => mppe(value, &mut draft.server),
        ("ppp-max-mtu" | "mtu", value) => size(&mut draft.server, "max-mtu", value),
        ("ip-pool", name) if !name.is_empty() => {
            set(draft.profile(DEFAULT_PROFILE), "remote-address", name)
        }
        ("ipv6-pool" | "ipv6-pool-delegate", _) => ipv6::of_server(setting, draft),
        ("ifname", _) => left("sessions have no interfaces but those of [[binding]]"),
        ("echo-interval" | "echo-failure", _) => left("PPTP's own echoes are always sent"),
        ("timeout", value) => match value.parse::<u64>() {
            Ok(_) => left("see login-timeout of [limits]"),
            Err(_) => left("not a number of seconds"),
        },
        ("session-timeout", value) => session_timeout(value, draft),
        ("verbose", _) => left("see log-level"),
        _ => left("penstock has nothing of this kind"),
    }
}

/// Address and port stand in two options there.
fn listen(draft: &mut Draft, address: Option<Ipv4Addr>, port: Option<u16>) -> Fate {
    let before = draft.server.get("listen").and_then(|listen| listen.get(0)?.as_str());
    let before = before.and_then(|text| text.parse::<std::net::SocketAddrV4>().ok());
    let address = address.or_else(|| Some(*before?.ip())).unwrap_or(Ipv4Addr::UNSPECIFIED);
    let port = port.or_else(|| Some(before?.port())).unwrap_or(protocol::pptp::PORT);
    set(&mut draft.server, "listen", vec![Value::from(format!("{address}:{port}"))])
}

fn name_server(setting: &Setting<'_>, draft: &mut Draft) -> Fate {
    let Ok(address) = setting.value.parse::<Ipv4Addr>() else { return left("not an IPv4 address") };
    let key = if setting.section == "dns" { "dns-server" } else { "wins-server" };
    let servers =
        draft.profile(DEFAULT_PROFILE).entry(key).or_insert_with(|| Value::Array(Vec::new()));
    match servers {
        Value::Array(servers) if servers.len() < 2 => {
            servers.push(address.to_string().into());
            Fate::Became(format!("{key} of the profile `{DEFAULT_PROFILE}`"))
        }
        _ => left("IPCP can give two"),
    }
}

/// Who may connect at all.
fn client_range(setting: &Setting<'_>, draft: &mut Draft) -> Fate {
    if setting.key == "disable" {
        return Fate::Became("as here: from everywhere".to_owned());
    }
    let networks = match (setting.key.parse::<Destination>(), expanded(setting.key).parse()) {
        (Ok(network), _) => vec![network.to_string()],
        (Err(_), Ok::<AddressRange, _>(range)) => {
            let prefixes = range.prefixes().into_iter();
            prefixes.map(|(address, length)| format!("{address}/{length}")).collect()
        }
        (Err(why), Err(_)) => return Fate::Left(why),
    };
    let networks: Vec<Value> = networks.into_iter().map(Value::from).collect();
    let shown = networks.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
    let entry = draft.server.entry("client-ip-range").or_insert_with(|| Value::Array(Vec::new()));
    if let Value::Array(before) = entry {
        before.extend(networks);
    }
    Fate::Became(format!("`client-ip-range` of [server]: {shown}"))
}

fn pool(setting: &Setting<'_>, draft: &mut Draft) -> Fate {
    match setting.key {
        "gw-ip-address" => gateway(setting.value, draft),
        "gw" | "attr" | "vendor" | "shuffle" => left("penstock has nothing of this kind"),
        range => {
            let range = expanded(range);
            let (mut name, mut next, mut unknown) = ("default", None, Vec::new());
            for attribute in setting.value.split(',').map(str::trim).filter(|part| !part.is_empty())
            {
                match attribute.split_once('=') {
                    Some(("name", given)) => name = given,
                    Some(("next", given)) => next = Some(given),
                    // Its older form is the name alone.
                    None => name = attribute,
                    Some((other, _)) => unknown.push(other),
                }
            }
            if !unknown.is_empty() {
                return Fate::Left(format!("unknown: {}", unknown.join(", ")));
            }
            match range.parse::<AddressRange>() {
                Ok(range) => {
                    add_range(draft, name, range.to_string());
                    let with = next.map(|next| format!(", `next = \"{next}\"`"));
                    let is_it =
                        |pool: &&mut Table| pool.get("name").and_then(Value::as_str) == Some(name);
                    if let (Some(next), Some(pool)) = (next, draft.pools.iter_mut().find(is_it)) {
                        pool.insert("next".to_owned(), next.into());
                    }
                    Fate::Became(format!("[[pool]] `{name}`{}", with.unwrap_or_default()))
                }
                Err(why) => Fate::Left(why),
            }
        }
    }
}

/// accel-ppp's `10.0.0.2-254` ends in the last octet alone.
fn expanded(range: &str) -> String {
    match range.split_once('-') {
        Some((first, last)) if last.parse::<u8>().is_ok() => {
            let network = first.rsplit_once('.').map_or(first, |(network, _)| network);
            format!("{first}-{network}.{last}")
        }
        _ => range.to_owned(),
    }
}

fn add_range(draft: &mut Draft, name: &str, range: String) {
    let is_it = |table: &&mut Table| table.get("name").and_then(Value::as_str) == Some(name);
    let range = Value::from(range);
    if let Some(Value::Array(ranges)) =
        draft.pools.iter_mut().find(is_it).and_then(|pool| pool.get_mut("ranges"))
    {
        ranges.push(range);
    } else {
        let table = [("name".to_owned(), name.into()), ("ranges".to_owned(), vec![range].into())];
        draft.pools.push(Table::from_iter(table));
    }
}

fn gateway(value: &str, draft: &mut Draft) -> Fate {
    // It may have a prefix there; here a tunnel has two ends.
    match value.split('/').next().unwrap_or_default().parse::<Ipv4Addr>() {
        Ok(address) => set(draft.profile(DEFAULT_PROFILE), "local-address", address.to_string()),
        Err(_) => left("not an IPv4 address"),
    }
}

fn chap_secrets(setting: &Setting<'_>, draft: &mut Draft) -> Fate {
    match setting.key {
        "gw-ip-address" => gateway(setting.value, draft),
        "chap-secrets" => set(&mut draft.top, "users-file", setting.value),
        "encrypted" if setting.value == "0" => Fate::Became("as here".to_owned()),
        "encrypted" => left("users-files have clear passwords: import their users otherwise"),
        _ => left("penstock has nothing of this kind"),
    }
}

/// What accel-ppp takes for granted.
fn complete(imported: &mut Imported) {
    let Imported { draft, report } = imported;
    let has_default =
        draft.pools.iter().any(|pool| pool.get("name").and_then(Value::as_str) == Some("default"));
    let default = draft
        .profiles
        .iter()
        .find(|profile| profile.get("name").and_then(Value::as_str) == Some(DEFAULT_PROFILE));
    let is_named = default.is_some_and(|profile| profile.contains_key("remote-address"));
    if has_default && !is_named {
        draft.profile(DEFAULT_PROFILE).insert("remote-address".to_owned(), "default".into());
    }
    ipv6::complete(draft, report);
    mend(draft, report);
}
