//! `/radius`, `/radius incoming` and `/ppp aaa`: who judges logins and is told of sessions.
//!
//! RouterOS asks RADIUS about whoever has no secret of its own, and so does ours. Secrets go into
//! the configuration, and never into the report.

use std::net::IpAddr;

use toml::{Table, Value};

use super::lexer::Command;
use super::properties::{Properties, flag, time, words};
use crate::import::draft::Draft;
use crate::import::{Imported, Report};

/// RouterOS's lengths of time of a server, ours in milliseconds: `300ms`, `3s`, `1s500ms`.
fn timeout(value: &str) -> Result<Value, String> {
    let wrong = || "no time that is understood".to_owned();
    let (seconds, rest) = value.split_once('s').filter(|(_, rest)| !rest.starts_with('s')).unzip();
    let milliseconds = match (seconds, rest) {
        // `300ms` splits behind its m.
        (Some(number), Some("")) if number.ends_with('m') => {
            number.trim_end_matches('m').parse::<u64>().map_err(|_| wrong())?
        }
        (Some(seconds), Some(rest)) => {
            let whole = seconds.parse::<u64>().map_err(|_| wrong())?;
            let part = match rest.strip_suffix("ms") {
                Some(part) => part.parse::<u64>().map_err(|_| wrong())?,
                None if rest.is_empty() => 0,
                None => return Err(wrong()),
            };
            whole.checked_mul(1000).and_then(|whole| whole.checked_add(part)).ok_or_else(wrong)?
        }
        _ => return Err(wrong()),
    };
    if !(100..=60_000).contains(&milliseconds) {
        return Err("not from 100ms to 60s".to_owned());
    }
    Ok(format!("{milliseconds}ms").into())
}

fn port(value: &str) -> Result<Value, String> {
    value.parse::<u16>().map(|port| i64::from(port).into()).map_err(|_| "no port".to_owned())
}

fn address(value: &str) -> Result<Value, String> {
    value.parse::<IpAddr>().map(|_| value.into()).map_err(|_| "no IP address".to_owned())
}

/// `/radius add`.
pub(super) fn server(command: &Command, imported: &mut Imported) {
    let mut properties = Properties::new(command);
    let server = properties.take("address").unwrap_or("?").to_owned();
    let subject = format!("/radius `{server}`");
    let mut left = |why: &str| imported.report.left(command.line, subject.clone(), why);
    if !properties.take("service").map(words).unwrap_or_default().contains(&"ppp") {
        return left("it does not serve /ppp");
    }
    if properties.take("disabled") == Some("yes") {
        return left("it is disabled");
    }
    if properties.take("protocol").is_some_and(|protocol| protocol != "udp") {
        return left("RADIUS over TLS (RadSec) is not there: name a server that is asked by UDP");
    }
    let Ok(known) = address(&server) else {
        return left("its address is no IP address");
    };
    let Some(secret) = properties.take("secret") else {
        return left("its secret is not in the export (say `export show-sensitive`)");
    };
    let same = |table: &Table| table.get("address") == Some(&known);
    if imported.draft.radius.iter().any(same) {
        return left("that server is there already");
    }
    let mut table =
        Table::from_iter([("address".to_owned(), known), ("secret".to_owned(), secret.into())]);
    properties.keep(&mut table, "authentication-port", port);
    properties.keep(&mut table, "accounting-port", port);
    properties.keep(&mut table, "timeout", timeout);
    properties.keep(&mut table, "src-address", address);
    if let Some(required) = properties.take("require-message-auth") {
        let required = required != "no";
        table.insert("require-message-authenticator".to_owned(), required.into());
    }
    if properties.take("accounting-backup") == Some("yes") {
        properties.leave("accounting-backup", "servers are asked in the order of the file");
    }
    properties.leave_all(&["called-id", "domain"], "a server is asked about every login");
    properties.leave_all(&["realm"], "see `default-realm` and `strip-realm` of [aaa]");
    properties.leave_all(&["certificate"], "there is no RadSec");
    properties.take("comment");
    imported.draft.radius.push(table);
    imported.report.taken(command.line, subject, "[[radius]]".to_owned(), properties.finish());
}

/// `/radius incoming set`.
pub(super) fn incoming(command: &Command, imported: &mut Imported) {
    let mut properties = Properties::new(command);
    let table = &mut imported.draft.incoming;
    properties.keep(table, "accept", |value| flag(value).map(Value::from));
    properties.keep(table, "port", port);
    properties.leave_all(&["vrf"], "penstock listens where `address` says");
    let left = properties.finish();
    let became = "[radius-incoming]".to_owned();
    imported.report.taken(command.line, "/radius incoming".to_owned(), became, left);
}

/// `/ppp aaa set`.
pub(super) fn aaa(command: &Command, imported: &mut Imported) {
    let mut properties = Properties::new(command);
    let table = &mut imported.draft.aaa;
    properties.keep(table, "use-radius", |value| flag(value).map(Value::from));
    properties.keep(table, "accounting", |value| flag(value).map(Value::from));
    properties.keep(table, "interim-update", time);
    properties.leave_all(&["use-circuit-id-in-nas-port-id"], "PPTP has no circuits");
    properties.leave_all(&["enable-ipv6-accounting"], "accounts count both kinds of packets");
    let left = properties.finish();
    imported.report.taken(command.line, "/ppp aaa".to_owned(), "[aaa]".to_owned(), left);
}

/// What the parts mean together.
pub(super) fn complete(draft: &mut Draft, report: &mut Report) {
    let uses = draft.aaa.get("use-radius").and_then(Value::as_bool) == Some(true);
    if uses && draft.radius.is_empty() {
        draft.aaa.insert("use-radius".to_owned(), false.into());
        report.remark(
            "`use-radius` stays off: no server of the export could be taken over. Name it as \
             [[radius]] and switch `use-radius` of [aaa] on",
        );
    }
    if !uses && !draft.radius.is_empty() {
        // RouterOS tells its servers of no session either, while it does not ask them.
        draft.aaa.insert("accounting".to_owned(), false.into());
        report
            .remark("`use-radius` of /ppp aaa is off, so the servers of [[radius]] are not asked");
    }
    let accepts = draft.incoming.get("accept").and_then(Value::as_bool) == Some(true);
    if accepts && draft.radius.is_empty() {
        draft.incoming.insert("accept".to_owned(), false.into());
        report.remark("[radius-incoming] stays off: there is no server to take orders from");
    }
    if !draft.radius.is_empty() {
        report.remark("the configuration holds secrets of RADIUS: keep it to its owner");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_of_servers_are_read() {
        for (theirs, ours) in [
            ("300ms", Ok("300ms")),
            ("3s", Ok("3000ms")),
            ("1s500ms", Ok("1500ms")),
            ("50ms", Err("not from 100ms to 60s")),
            ("1m", Err("no time that is understood")),
            ("s", Err("no time that is understood")),
        ] {
            let read = timeout(theirs);
            assert_eq!(read, ours.map(Value::from).map_err(str::to_owned), "{theirs}");
        }
    }

    proptest! {
        #[test]
        fn no_time_panics(value in "[0-9ms]{0,12}|.{0,8}") {
            let _ = timeout(&value);
        }
    }
}
