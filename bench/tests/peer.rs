//! `penstock-bench peer kernel` with a real kernel in User Mode Linux, as small as it can be. That packets
//! arrive, and encrypted, it finds out by itself; how fast is nothing that a test can say.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn bench(out: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_penstock-bench"))
        .args(["--out", &out.to_string_lossy()])
        .args(arguments)
        .output()
        .unwrap()
}

const SMALL: [&str; 10] =
    ["peer", "kernel", "--packets", "200", "--rounds", "1", "--tunnels", "3", "--frames", "2048"];

#[test]
fn each_size_of_packets_passes_the_kernels_tunnels_and_ours() {
    let folder = tempfile::tempdir().unwrap();
    let ended = bench(folder.path(), &[&SMALL[..], &["--payload", "64,1400"]].concat());
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let text = String::from_utf8(ended.stdout).unwrap();
    assert!(text.contains("Not comparable:"), "{text}");

    let rows = fs::read(folder.path().join("peer.json")).unwrap();
    let rows: Vec<Value> = serde_json::from_slice(&rows).unwrap();
    let of = |name: &str| rows.iter().map(|row| row[name].as_f64().unwrap()).collect::<Vec<_>>();
    assert_eq!(of("payload"), [64.0, 1400.0]);
    for name in ["penstock_downlink_ns", "penstock_roundtrip_ns"] {
        assert!(of(name).iter().all(|&ns| ns > 0.0), "{name}: {rows:?}");
    }
    // A row has all that others read.
    for name in ["kernel_encrypt_ns", "kernel_roundtrip_ns", "ratio_encrypt", "ratio_roundtrip"] {
        of(name);
    }
}

#[test]
fn without_a_guest_it_says_what_is_missing_and_fails() {
    let folder = tempfile::tempdir().unwrap();
    let ended = Command::new(env!("CARGO_BIN_EXE_penstock-bench"))
        .args(["--out", &folder.path().to_string_lossy()])
        .args(SMALL)
        // Nothing that can be started is there.
        .env("PATH", folder.path())
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(!folder.path().join("peer.json").exists());
    let about = fs::read_to_string(folder.path().join("about/peer.json")).unwrap();
    assert!(about.contains("\"error\""), "{about}");
}
