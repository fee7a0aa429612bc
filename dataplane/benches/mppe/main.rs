//! `make bench-mppe`: what MPPE costs, per packet, against the obvious ways to do it.
//!
//! All contestants take turns in one process on one CPU, so that a noisy machine slows them all;
//! figures are medians, and ratios are what counts. Never part of the product.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints, and stops on errors")]

mod contestants;
mod openssl;

use std::fmt::Write as _;
use std::time::Instant;

use contestants::Load;

/// Packet lengths of a load.
const PAYLOADS: [&str; 9] = ["40", "64", "128", "256", "512", "1024", "1400", "imix", "uniform"];
const TUNNELS: [u32; 4] = [1, 8, 32, 128];
const BATCHES: [usize; 4] = [1, 8, 32, 128];

struct Row {
    kernel: String,
    payload: &'static str,
    tunnels: u32,
    batch: usize,
    ns_per_packet: f64,
    ratio_rustcrypto: f64,
    ratio_openssl: Option<f64>,
}

fn main() {
    // `cargo test` runs benches with this argument: once around, to see that they work.
    let quick = std::env::args().any(|argument| argument == "--test");
    if let Some(core) = core_affinity::get_core_ids().and_then(|cores| cores.last().copied()) {
        core_affinity::set_for_current(core);
    }
    let mut rows = Vec::new();
    for payload in PAYLOADS {
        for tunnels in TUNNELS {
            for batch in BATCHES {
                rows.extend(measure(payload, tunnels, batch, quick));
            }
        }
    }
    print_table(&rows);
    if !quick {
        write_json(&rows);
    }
}

/// Lets all contestants take turns over one load.
fn measure(payload: &'static str, tunnels: u32, batch: usize, quick: bool) -> Vec<Row> {
    let load = Load::new(payload, tunnels, batch);
    let mut contestants = contestants::all(&load);
    let rounds = if quick { 1 } else { 151 };
    // A turn is short, so that a round's turns see the same machine.
    let bursts = if quick { 1 } else { 128_usize.div_ceil(batch) };
    let mut times = vec![Vec::new(); contestants.len()];
    for _ in 0..rounds {
        for (contestant, times) in contestants.iter_mut().zip(&mut times) {
            // The caches forget the other contestants.
            contestant.burst();
            let start = Instant::now();
            for _ in 0..bursts {
                contestant.burst();
            }
            times.push(start.elapsed().as_secs_f64() * 1e9 / (bursts * batch) as f64);
        }
    }
    let named = |name| contestants.iter().position(|contestant| contestant.name() == name);
    let rustcrypto = named(contestants::RUSTCRYPTO).unwrap();
    let openssl = named(contestants::OPENSSL);
    // The ratio of two turns of one round, and of those the median.
    let ratio = |of: usize, to: usize| {
        median(times[of].iter().zip(&times[to]).map(|(of, to)| of / to).collect())
    };
    contestants
        .iter()
        .enumerate()
        .map(|(index, contestant)| Row {
            kernel: contestant.name(),
            payload,
            tunnels,
            batch,
            ns_per_packet: median(times[index].clone()),
            ratio_rustcrypto: ratio(rustcrypto, index),
            ratio_openssl: openssl.map(|openssl| ratio(openssl, index)),
        })
        .collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn print_table(rows: &[Row]) {
    println!(
        "{:<14}{:>8}{:>9}{:>7}{:>12}{:>14}{:>11}",
        "kernel", "payload", "tunnels", "batch", "ns/packet", "x rustcrypto", "x openssl"
    );
    for row in rows {
        let openssl = row.ratio_openssl.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
        println!(
            "{:<14}{:>8}{:>9}{:>7}{:>12.1}{:>14.2}{:>11}",
            row.kernel,
            row.payload,
            row.tunnels,
            row.batch,
            row.ns_per_packet,
            row.ratio_rustcrypto,
            openssl
        );
    }
}

fn write_json(rows: &[Row]) {
    let mut json = String::from("[\n");
    for (index, row) in rows.iter().enumerate() {
        let openssl = row.ratio_openssl.map_or("null".to_owned(), |ratio| format!("{ratio:.3}"));
        let comma = if index + 1 < rows.len() { "," } else { "" };
        writeln!(
            json,
            r#"  {{"kernel": "{}", "payload": "{}", "tunnels": {}, "batch": {}, "ns_per_packet": {:.1}, "ratio_rustcrypto": {:.3}, "ratio_openssl": {openssl}}}{comma}"#,
            row.kernel, row.payload, row.tunnels, row.batch, row.ns_per_packet, row.ratio_rustcrypto
        )
        .unwrap();
    }
    json.push_str("]\n");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bench");
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(format!("{folder}/mppe.json"), json).unwrap();
}
