//! `penstock-bench wire` with few packets. That none is lost it finds out by itself; how fast is nothing
//! that a test can say.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

const SMALL: [&str; 7] = ["wire", "--packets", "512", "--rounds", "1", "--tunnels", "5"];

fn wire(out: &std::path::Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_penstock-bench"));
    command.args(["--out", &out.to_string_lossy()]).args(SMALL);
    command
}

fn said(ended: &Output) -> String {
    String::from_utf8_lossy(&ended.stderr).into_owned()
}

#[test]
fn plain_and_encrypted_packets_of_both_sizes_pass_both_drivers_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let ended = wire(folder.path()).output().unwrap();
    assert!(ended.status.success(), "{}", said(&ended));
    let rows = fs::read(folder.path().join("wire.json")).unwrap();
    let rows: Vec<Value> = serde_json::from_slice(&rows).unwrap();
    let names: Vec<_> = rows
        .iter()
        .map(|row| format!("{} {} {}", row["driver"], row["direction"], row["payload"]))
        .collect();
    let expected = ["\"AF_XDP\"", "\"raw+TUN\""].into_iter().flat_map(|driver| {
        ["\"uplink\"", "\"downlink\""].into_iter().flat_map(move |direction| {
            [64, 1400].map(|payload| format!("{driver} {direction} {payload}"))
        })
    });
    assert_eq!(names, expected.collect::<Vec<_>>());
    for name in ["plain_kpps", "plain_ns", "mppe_kpps", "mppe_ns", "engine_ns", "busy_percent"] {
        assert!(rows.iter().all(|row| row[name].as_f64().unwrap() > 0.0), "{name}: {rows:?}");
    }
}

#[test]
fn one_core_is_too_few_and_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let ended = Command::new("taskset")
        .args(["-c", "0"])
        .arg(wire(folder.path()).get_program())
        .args(["--out", &folder.path().to_string_lossy()])
        .args(SMALL)
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(said(&ended).contains("need a core each"), "{}", said(&ended));
}
