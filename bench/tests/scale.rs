//! `penstock-bench scale` with few tunnels, which are dialled too.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn scale(out: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_penstock-bench"))
        .args(["--out", &out.to_string_lossy(), "scale", "--frames", "2048", "--rounds", "1"])
        .args(arguments)
        .output()
        .unwrap()
}

fn rows(out: &Path) -> Vec<Value> {
    serde_json::from_slice(&fs::read(out.join("scale.json")).unwrap()).unwrap()
}

#[test]
fn all_tunnels_carry_packets_and_those_that_are_dialled_have_their_memory_counted() {
    let folder = tempfile::tempdir().unwrap();
    let ended = scale(folder.path(), &["--tunnels", "1,20", "--workers", "1,2", "--dialled", "19"]);
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let rows = rows(folder.path());
    let of = |row: &Value| (row["tunnels"].as_u64().unwrap(), row["workers"].as_u64().unwrap());
    // A tunnel has one owner.
    assert_eq!(rows.iter().map(of).collect::<Vec<_>>(), [(1, 1), (20, 1), (20, 2)]);
    assert!(rows.iter().all(|row| row["mpps"].as_f64().unwrap() > 0.0), "{rows:?}");
    assert!(rows[0]["bytes_per_tunnel"].as_f64().unwrap() > 0.0, "{rows:?}");
    assert!(rows[1]["bytes_per_tunnel"].is_null(), "{rows:?}");
}

#[test]
fn more_workers_than_cores_are_refused_and_what_was_measured_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let ended = scale(folder.path(), &["--tunnels", "64", "--workers", "1,64", "--dialled", "0"]);
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(said.contains("cores for [64] workers"), "{said}");
    assert_eq!(rows(folder.path()).len(), 1);
}
