//! What MPPE costs, per packet, against the obvious ways to do it.
//!
//! All contestants take turns in one process on one CPU, so that a noisy machine slows them all;
//! figures are medians, and ratios are what counts. Never part of the product.
//!
//! | module | what |
//! |---|---|
//! | `contestants` | the ways to encrypt |
//! | `cipher` | what libraries give, and RustCrypto's |
//! | `openssl` | the installed libcrypto |

mod cipher;
pub mod contestants;
mod openssl;

use std::ops::RangeInclusive;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::report::plot::{Data, Plot};
use crate::run::Run;
use crate::run::table::{Table, figure, left, right};
use crate::section::{Bound, Section, Target};
use crate::stats::{median, round};
use cipher::{OPENSSL, RUSTCRYPTO};
use contestants::{BOTH, Load};

/// Tunnels that are enough for packets of a burst to share lanes.
const MANY: RangeInclusive<u32> = 32..=u32::MAX;

/// What to measure.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Octets of a packet, or a mix: imix (7 of 40, 4 of 576, 1 of 1400), uniform (1 to 1500)
    #[arg(long, value_delimiter = ',', value_parser = payload,
          default_value = "40,64,128,256,512,1024,1400,imix,uniform")]
    payload: Vec<String>,
    /// Tunnels that take turns
    #[arg(long, value_delimiter = ',', default_value = "1,8,32,128",
          value_parser = clap::value_parser!(u32).range(1..=65_536))]
    tunnels: Vec<u32>,
    /// Packets of a burst
    #[arg(long, value_delimiter = ',', default_value = "1,8,32,64,128",
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    batch: Vec<u32>,
    /// Turns of each contestant, of which the median counts [default: 75, quick: 9]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
}

fn payload(text: &str) -> Result<String, String> {
    let is_known = text == "imix"
        || text == "uniform"
        || text.parse::<u16>().is_ok_and(|octets| (1..=1500).contains(&octets));
    is_known.then(|| text.to_owned()).ok_or_else(|| "1 to 1500, imix or uniform".to_owned())
}

/// A line of the result.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    kernel: String,
    payload: String,
    tunnels: u32,
    batch: usize,
    ns_per_packet: f64,
    ratio_rustcrypto: f64,
    ratio_openssl: Option<f64>,
}

/// What `--quick` leaves out.
fn is_quick(payload: &str, tunnels: u32, batch: u32) -> bool {
    matches!(payload, "64" | "imix" | "1400")
        && (tunnels, batch) != (1, 1)
        && matches!((tunnels, batch), (1, 64) | (32.., 32 | 128))
}

/// Measures and prints.
///
/// # Errors
/// When an engine does not start.
pub fn run(arguments: &Arguments, run: &mut Run) -> Result<()> {
    if let Some(core) = core_affinity::get_core_ids().and_then(|cores| cores.last().copied()) {
        core_affinity::set_for_current(core);
    }
    let rounds = arguments.rounds.unwrap_or(if run.is_quick() { 9 } else { 75 });
    let mut loads = Vec::new();
    for payload in &arguments.payload {
        for &tunnels in &arguments.tunnels {
            for &batch in &arguments.batch {
                if !run.is_quick() || is_quick(payload, tunnels, batch) {
                    loads.push((payload, tunnels, usize::try_from(batch)?));
                }
            }
        }
    }
    let progress = run.progress("MPPE", loads.len() as u64);
    let mut rows = Vec::new();
    for (payload, tunnels, batch) in loads {
        progress.set_message(format!("{payload} octets, {tunnels} tunnels, {batch} in a burst"));
        rows.extend(measure(payload, tunnels, batch, rounds)?);
        run.record(&rows)?;
        progress.inc(1);
    }
    progress.finish_and_clear();
    run.show(&table(&rows))
}

/// Lets all contestants take turns over one load.
fn measure(payload: &str, tunnels: u32, batch: usize, rounds: u32) -> Result<Vec<Row>> {
    let load = Load::new(payload, tunnels, batch);
    let mut contestants = contestants::all(&load)?;
    // A turn is short, so that a round's turns see the same machine.
    let bursts = 128_usize.div_ceil(batch);
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
    let rustcrypto = named(RUSTCRYPTO).context("RustCrypto is always there")?;
    let openssl = named(OPENSSL);
    // The ratio of two turns of one round, and of those the median.
    let ratio = |of: usize, to: usize| {
        median(times[of].iter().zip(&times[to]).map(|(of, to)| of / to).collect())
            .map(|ratio| round(ratio, 3))
    };
    contestants
        .iter()
        .enumerate()
        .map(|(index, contestant)| {
            Ok(Row {
                kernel: contestant.name(),
                payload: payload.to_owned(),
                tunnels,
                batch,
                ns_per_packet: round(median(times[index].clone()).context("no turn")?, 1),
                ratio_rustcrypto: ratio(rustcrypto, index).context("no turn")?,
                ratio_openssl: openssl.and_then(|openssl| ratio(openssl, index)),
            })
        })
        .collect()
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(
        "MPPE, one core",
        [
            left("kernel"),
            right("payload"),
            right("tunnels"),
            right("burst"),
            right("ns/packet"),
            right("x RustCrypto"),
            right("x OpenSSL"),
        ],
    );
    for row in rows {
        table.row([
            row.kernel.clone(),
            row.payload.clone(),
            row.tunnels.to_string(),
            row.batch.to_string(),
            figure(row.ns_per_packet, 1),
            figure(row.ratio_rustcrypto, 2),
            figure(row.ratio_openssl, 2),
        ]);
    }
    table.note("x: how many times the library's cost, one packet at a time, the median of turns.")
}

/// Whether a row is of a kernel of ours that only sends.
fn is_plain_kernel(row: &Row) -> bool {
    row.kernel != RUSTCRYPTO && row.kernel != OPENSSL && !row.kernel.ends_with(BOTH)
}

/// # Errors
/// When it is no result of [`run`].
pub fn section(json: &str) -> Result<Section> {
    let rows: Vec<Row> = serde_json::from_str(json)?;
    let at = |payload: &'static str, tunnels: RangeInclusive<u32>, batch: usize| {
        rows.iter().filter(move |row| {
            row.payload == payload && tunnels.contains(&row.tunnels) && row.batch == batch
        })
    };
    let mut targets = Vec::new();
    let mut target = |what: String, measured: Option<f64>, bound, stretch| {
        let bound = Bound::AtLeast(bound);
        targets.push(Target { what, measured, bound, stretch, unit: "×" });
    };
    let best = |rows: &mut dyn Iterator<Item = &Row>, of: fn(&Row) -> Option<f64>| {
        rows.filter_map(of).max_by(f64::total_cmp)
    };
    let against_rustcrypto = |row: &Row| Some(row.ratio_rustcrypto);
    let against_openssl = |row: &Row| row.ratio_openssl;
    // A processor without AVX-512 is asked for less, and what others are asked for is its stretch.
    let is_wide = rows.iter().any(|row| row.kernel == "avx512");
    for (payload, batch, narrow, [rustcrypto, better], [openssl, openssl_better]) in [
        ("64", 32, 4.5, [5.5, 6.3], [4.6, 5.2]),
        ("imix", 128, 3.7, [4.7, 5.3], [3.5, 4.0]),
        ("1400", 32, 3.5, [4.2, 5.0], [2.8, 3.3]),
    ] {
        let what = |whom| format!("MPPE, {payload} octets, 32 or more tunnels, against {whom}");
        let plain = || at(payload, MANY, batch).filter(|row| is_plain_kernel(row));
        let (bound, stretch) = if is_wide { (rustcrypto, better) } else { (narrow, rustcrypto) };
        target(what("RustCrypto"), best(&mut plain(), against_rustcrypto), bound, Some(stretch));
        let measured = best(&mut plain(), against_openssl);
        target(what("OpenSSL"), measured, openssl, Some(openssl_better));
    }
    let what = "MPPE without vectors, 1400 octets, against RustCrypto".to_owned();
    let mut portable = at("1400", MANY, 32).filter(|row| row.kernel == "portable");
    target(what, best(&mut portable, against_rustcrypto), 1.8, None);
    for (payload, bound) in [("64", 2.5), ("1400", 3.3)] {
        let of_one = |is_both: bool| {
            at(payload, 1..=1, 64).filter(move |row| {
                if is_both { row.kernel.ends_with(BOTH) } else { is_plain_kernel(row) }
            })
        };
        let what = format!("MPPE, {payload} octets, one tunnel, 64 in a burst, against RustCrypto");
        target(what.clone(), best(&mut of_one(false), against_rustcrypto), bound, None);
        let what = format!("{what}, up and down together");
        target(what, best(&mut of_one(true), against_rustcrypto), 3.0, None);
    }
    // The best kernel of each load beside the libraries.
    let payloads: Vec<_> = ["64", "imix", "1400"]
        .into_iter()
        .filter(|payload| at(payload, 32..=32, 32).next().is_some())
        .collect();
    let cheapest = |is_whom: &dyn Fn(&Row) -> bool| -> Vec<f64> {
        let cost = |payload| {
            at(payload, 32..=32, 32)
                .filter(|row| is_whom(row))
                .map(|row| row.ns_per_packet)
                .min_by(f64::total_cmp)
        };
        payloads.iter().map(|payload| cost(payload).unwrap_or(f64::NAN)).collect()
    };
    let mut plots = Vec::new();
    if !payloads.is_empty() {
        let bars = [
            ("penstock", cheapest(&is_plain_kernel)),
            ("OpenSSL", cheapest(&|row| row.kernel == OPENSSL)),
            ("RustCrypto", cheapest(&|row| row.kernel == RUSTCRYPTO)),
        ];
        plots.push(Plot {
            title: "Cost of encrypting a packet, 32 tunnels, 32 in a burst".to_owned(),
            x: "octets of a packet".to_owned(),
            y: "ns".to_owned(),
            data: Data::Bars {
                groups: payloads.iter().map(|&payload| payload.to_owned()).collect(),
                bars: bars.into_iter().map(|(name, values)| (name.to_owned(), values)).collect(),
            },
        });
    }
    Ok(Section {
        title: "MPPE",
        about: "Stateless MPPE of 128 bit: keys, keystream and the exclusive or, on one core, in \
                bursts over many tunnels. The libraries do one packet at a time, as the obvious \
                implementation would. All take turns in one process.",
        targets,
        plots,
        tables: vec![table(&rows)],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_contestants_take_their_turns_and_the_section_reads_what_was_written() {
        let mut rows = Vec::new();
        for (payload, tunnels, batch) in [("64", 32, 32), ("imix", 32, 128), ("1400", 1, 64)] {
            rows.extend(measure(payload, tunnels, batch, 1).unwrap());
        }
        let section = section(&serde_json::to_string(&rows).unwrap()).unwrap();
        let measured = section.targets.iter().filter(|target| target.measured.is_some()).count();
        assert!(measured >= 3, "{:?}", section.targets);
        assert_eq!(section.plots.len(), 1);
        section.plots[0].svg().unwrap();
        assert_eq!(section.tables[0].rows.len(), rows.len());
    }

    #[test]
    fn payloads_are_lengths_of_packets_or_mixes() {
        for good in ["1", "1500", "imix", "uniform"] {
            payload(good).unwrap();
        }
        for bad in ["0", "1501", "-1", "mix", ""] {
            payload(bad).unwrap_err();
        }
    }
}
