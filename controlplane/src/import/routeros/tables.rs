//! What each menu becomes.

use toml::{Table, Value};

use super::lexer::Command;
use super::properties::{Properties, flag, size, text, time, words};
use super::radius;
use crate::config::{AddressRange, Mrru, interface_name};
use crate::import::draft::{client_holds, ipv6_pools_hold, profile_takes};
use crate::import::{Draft, Imported, Report};
use crate::ipv6::Prefix;

/// The name that an item has, or a word for the one that has none.
pub(super) fn name(properties: &mut Properties<'_>, command: &Command) -> Option<String> {
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
pub(super) fn is_known(command: &Command, imported: &mut Imported) -> bool {
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

pub(super) fn ipv6_pool(command: &Command, imported: &mut Imported) {
    if !is_known(command, imported) {
        return;
    }
    let mut properties = Properties::new(command);
    let name = name(&mut properties, command).unwrap_or_default();
    let subject = format!("/ipv6 pool `{name}`");
    let mut table = Table::from_iter([("name".to_owned(), name.into())]);
    properties.keep(&mut table, "prefix", |value| {
        value
            .parse::<Prefix>()
            .map(|prefix| prefix.to_string().into())
            .map_err(|why| why.to_string())
    });
    properties.keep(&mut table, "prefix-length", |value| {
        value
            .parse::<u8>()
            .map(|length| i64::from(length).into())
            .map_err(|_| "no length".to_owned())
    });
    properties.leave_all(&["from-pool"], "pools of another router's prefix: write the prefix");
    properties.take("comment");
    let left = properties.finish();
    let good = match table.contains_key("prefix") && table.contains_key("prefix-length") {
        true => ipv6_pools_hold(std::slice::from_ref(&table)),
        false => Err("it needs `prefix` and `prefix-length`".to_owned()),
    };
    match good {
        Ok(()) => {
            imported.draft.ipv6_pools.push(table);
            imported.report.taken(command.line, subject, "[[ipv6-pool]]".to_owned(), left);
        }
        Err(why) => {
            let why = left.into_iter().chain([why]).collect::<Vec<_>>().join("; ");
            imported.report.left(command.line, subject, why);
        }
    }
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
    if !wanted.contains_key("password") {
        properties.leave("password", "none in this export: export with show-sensitive");
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
        (true, true) => interface_name(&name).and_then(|()| client_holds(&table)).err(),
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
    let named = draft.users().iter().flat_map(|user| &user.more);
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
    encryption(draft, report);
    if draft.clients.iter().any(|client| client.contains_key("password")) {
        report.remark("the configuration holds passwords of clients: keep it to its owner");
    }
}

/// RouterOS lets in who does not encrypt unless a profile requires it, ours does not: where the
/// export has methods that give no keys, clients of theirs are there.
fn encryption(draft: &mut Draft, report: &mut Report) {
    let word = |table: &Table, key: &str| table.get(key).and_then(Value::as_str).map(str::to_owned);
    let default = word(&draft.server, "default-profile").unwrap_or_else(|| "default".to_owned());
    let is_required = draft.profiles.iter().any(|profile| {
        word(profile, "name").as_deref() == Some(&default)
            && word(profile, "use-encryption").as_deref() == Some("required")
    });
    let methods = draft.server.get("authentication").and_then(Value::as_array);
    let Some(methods) = methods.filter(|_| !is_required) else { return };
    let gives_keys = |method: &Value| method.as_str().is_some_and(|name| name.starts_with("ms"));
    if methods.iter().all(gives_keys) {
        report.remark(
            "no profile requires encryption there; here it is required: `encryption` of [server] \
             says otherwise",
        );
    } else {
        draft.server.insert("encryption".to_owned(), "prefer".into());
        report.remark(
            "`encryption = \"prefer\"`: pap and chap give no keys, and no profile requires \
             encryption there; data of such clients is in the clear, as before",
        );
    }
}
