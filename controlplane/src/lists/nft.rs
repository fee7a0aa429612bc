//! nft's JSON (libnftables-json(5)): what is in a table's sets, and changes of it in one
//! transaction. No text of ours is ever read by nft's own language.

use std::collections::HashSet;
use std::io;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::config::Table;

/// What our elements have, and those of others have not.
const COMMENT: &str = "penstock";

/// How long nft may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// An address that is to be in a list, or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) list: String,
    pub(super) address: Ipv4Addr,
    pub(super) present: bool,
}

/// What there is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The table's sets of IPv4 addresses.
    pub(super) sets: HashSet<String>,
    /// What is in them and is ours.
    pub(super) ours: Vec<(String, Ipv4Addr)>,
}

/// Why nft did not do it.
#[derive(Debug, thiserror::Error)]
pub(super) enum NftError {
    /// It is not there.
    #[error("the program `nft` is not installed")]
    Missing,
    /// It cannot be run.
    #[error("nft: {0}")]
    Run(#[from] io::Error),
    /// It says no.
    #[error("nft: {0}")]
    Refused(String),
    /// It hangs.
    #[error("nft gave no answer within {} s", PATIENCE.as_secs())]
    Stuck,
}

/// Looks into a table. One that is not there is empty.
pub(super) async fn list(table: &Table) -> Result<Found, NftError> {
    let arguments = ["-j", "list", "sets", "table", &table.family, &table.name];
    match run(&arguments, b"").await {
        Ok(listing) => Ok(read(&listing)),
        Err(NftError::Refused(why)) if why.contains("No such file") => Ok(Found::default()),
        Err(error) => Err(error),
    }
}

/// Makes the table and the sets that are missing, then carries out the orders, or does nothing.
pub(super) async fn apply(
    table: &Table,
    missing: &HashSet<String>,
    orders: &[Order],
) -> Result<(), NftError> {
    let text = batch(table, missing, orders).to_string();
    run(&["-j", "-f", "-"], text.as_bytes()).await.map(drop)
}

fn batch(table: &Table, missing: &HashSet<String>, orders: &[Order]) -> Value {
    let Table { family, name } = table;
    let mut all = vec![json!({ "add": { "table": { "family": family, "name": name } } })];
    for set in missing {
        let set = json!({ "family": family, "table": name, "name": set, "type": "ipv4_addr" });
        all.push(json!({ "add": { "set": set } }));
    }
    for Order { list, address, present } in orders {
        let element = json!({ "elem": { "val": address.to_string(), "comment": COMMENT } });
        let element = json!({ "family": family, "table": name, "name": list, "elem": [element] });
        all.push(json!({ "add": { "element": element } }));
        if !present {
            // After an addition a removal cannot fail, whoever took it out before.
            all.push(json!({ "delete": { "element": element } }));
        }
    }
    json!({ "nftables": all })
}

fn read(listing: &[u8]) -> Found {
    let mut found = Found::default();
    let listing: Value = serde_json::from_slice(listing).unwrap_or_default();
    let objects = listing.get("nftables").and_then(Value::as_array);
    for set in objects.into_iter().flatten().filter_map(|object| object.get("set")) {
        let Some(name) = set.get("name").and_then(Value::as_str) else { continue };
        if set.get("type").and_then(Value::as_str) != Some("ipv4_addr") {
            continue;
        }
        found.sets.insert(name.to_owned());
        let elements = set.get("elem").and_then(Value::as_array).into_iter().flatten();
        for element in elements.filter_map(|element| element.get("elem")) {
            let address = element.get("val").and_then(Value::as_str).and_then(|v| v.parse().ok());
            let comment = element.get("comment").and_then(Value::as_str);
            if let (Some(address), Some(COMMENT)) = (address, comment) {
                found.ours.push((name.to_owned(), address));
            }
        }
    }
    found
}

async fn run(arguments: &[&str], input: &[u8]) -> Result<Vec<u8>, NftError> {
    let child = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = child.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => NftError::Missing,
        _ => NftError::Run(error),
    })?;
    let stdin = child.stdin.take();
    let work = async {
        if let Some(mut stdin) = stdin {
            // What it does not read it will say itself.
            let _ = stdin.write_all(input).await;
        }
        child.wait_with_output().await
    };
    let output = tokio::time::timeout(PATIENCE, work).await.map_err(|_| NftError::Stuck)??;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(NftError::Refused(said.lines().next().unwrap_or("it failed").to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_makes_what_is_missing_and_a_removal_cannot_fail() {
        let table = Table { family: "inet".to_owned(), name: "penstock".to_owned() };
        let order = |present| Order {
            list: "gold".to_owned(),
            address: Ipv4Addr::new(10, 99, 0, 2),
            present,
        };
        let missing = HashSet::from(["gold".to_owned()]);
        let batch = batch(&table, &missing, &[order(true), order(false)]);
        insta::assert_snapshot!(serde_json::to_string_pretty(&batch).unwrap());
    }

    #[test]
    fn only_our_own_elements_are_found() {
        let listing = br#"{"nftables": [{"metainfo": {"version": "1.0.6"}},
            {"set": {"family": "inet", "name": "gold", "table": "penstock", "type": "ipv4_addr",
             "elem": [{"elem": {"val": "10.0.0.1", "comment": "penstock"}}, "10.0.0.9",
                      {"elem": {"val": "10.0.0.8", "comment": "the office"}}]}},
            {"set": {"name": "six", "type": "ipv6_addr"}},
            {"set": {"name": "empty", "type": "ipv4_addr"}}]}"#;
        let found = read(listing);
        assert_eq!(found.ours, [("gold".to_owned(), Ipv4Addr::new(10, 0, 0, 1))]);
        assert_eq!(found.sets, HashSet::from(["gold".to_owned(), "empty".to_owned()]));
        assert_eq!(read(b"no JSON"), Found::default());
    }
}
