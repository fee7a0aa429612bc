//! What more tunnels and more workers make of packets per second, and of memory.
//!
//! Packets per second are those of the product's workers between ports in memory, as in
//! [`pipeline`](crate::pipeline). Memory is that of a daemon on which as many clients have dialled in, each with
//! an address, a user and keys of its own.
//!
//! | module | what |
//! |---|---|
//! | `memory` | a daemon's, by sessions |

mod memory;

use std::thread::available_parallelism;

use anyhow::{Context, Result, ensure};
use dataplane::mppe::{Cipher, Engine};
use serde::{Deserialize, Serialize};

use crate::pipeline::network::Core;
use crate::pipeline::rig::{Handover, Rig};
use crate::pipeline::traffic::Direction;
use crate::report::plot::{Data, Plot};
use crate::run::Run;
use crate::run::table::{Table, figure, right};
use crate::section::Section;
use crate::stats::{median, round};

/// Those of an access router.
const ROUTES: u32 = 10_000;
/// Sessions that are dialled where time is short.
const QUICK: u16 = 1000;

/// What to measure.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Tunnels, of which each packet takes one at random
    #[arg(long, value_delimiter = ',', default_value = "1,10,100,1000,10000,60000",
          value_parser = clap::value_parser!(u16).range(1..=60_000))]
    tunnels: Vec<u16>,
    /// Workers that share them
    #[arg(long, value_delimiter = ',', default_value = "1,2",
          value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: Vec<u16>,
    /// Octets of the inner IP packet
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(20..=1456))]
    payload: u16,
    /// Frames of a worker, of 4 KiB each: more than any cache holds
    #[arg(long, default_value_t = 32_768, value_parser = clap::value_parser!(u32).range(2048..=1 << 20))]
    frames: u32,
    /// How often each contestant sends all its frames, each way [default: 5, quick: 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// The most tunnels that are dialled, for the daemon's memory; 0: none [default: all, quick: 1000]
    #[arg(long)]
    dialled: Option<u16>,
}

/// A line of the result.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Row {
    tunnels: u16,
    workers: u16,
    /// Octets of the inner IP packet.
    payload: u16,
    /// Million packets a second of all workers together, as many from subscribers as to them.
    mpps: f64,
    /// The daemon's resident memory and the kernel's for its sockets, over what they were without
    /// sessions, for each session. None: so many were not dialled.
    bytes_per_tunnel: Option<f64>,
}

/// Measures and prints.
///
/// # Errors
/// When a packet was lost, for more workers than cores, and of what was dialled: without root, or
/// when not all sessions came up or stayed.
pub fn run(arguments: &Arguments, run: &mut Run) -> Result<()> {
    let rounds = arguments.rounds.unwrap_or(if run.is_quick() { 1 } else { 5 });
    let dialled = arguments.dialled.unwrap_or(if run.is_quick() { QUICK } else { u16::MAX });
    let cores = available_parallelism().map_or(1, usize::from);
    let (workers, too_many): (Vec<u16>, Vec<u16>) =
        arguments.workers.iter().partition(|&&workers| usize::from(workers) <= cores);
    let core = Core::new(ROUTES);
    let progress = run.progress("tunnels", 2 * arguments.tunnels.len() as u64);
    let mut rows = Vec::new();
    for &tunnels in &arguments.tunnels {
        progress.set_message(format!("packets of {tunnels}"));
        // A tunnel has one owner.
        for &workers in workers.iter().filter(|&&workers| workers <= tunnels) {
            let mut rig = Rig::new(workers.into(), tunnels, arguments.frames, &core)?;
            rig.set_cipher(|| Cipher::Mppe(Engine::new()));
            let mpps = speed(&mut rig, workers, arguments.payload, rounds)?;
            let payload = arguments.payload;
            rows.push(Row { tunnels, workers, payload, mpps, bytes_per_tunnel: None });
            run.record(&rows)?;
        }
        progress.inc(1);
    }
    for &tunnels in &arguments.tunnels {
        if tunnels <= dialled {
            progress.set_message(format!("dialling {tunnels}"));
            let octets = memory::octets_per_session(tunnels)
                .with_context(|| format!("dialling {tunnels} tunnels"))?;
            for row in rows.iter_mut().filter(|row| row.tunnels == tunnels) {
                row.bytes_per_tunnel = Some(round(octets, 0));
            }
            run.record(&rows)?;
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    run.show(&table(&rows))?;
    ensure!(too_many.is_empty(), "this machine has {cores} cores for {too_many:?} workers");
    Ok(())
}

/// Million packets a second that the workers carry together, half of them each way.
fn speed(rig: &mut Rig, workers: u16, payload: u16, rounds: u32) -> Result<f64> {
    let (mut up, mut down) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        up.extend(rig.round(Direction::Uplink, payload.into(), Handover::None)?);
        down.extend(rig.round(Direction::Downlink, payload.into(), Handover::None)?);
    }
    let both = median(up).zip(median(down)).context("nothing was measured")?;
    Ok(round(f64::from(workers) * 1000.0 / ((both.0 + both.1) / 2.0), 3))
}

fn table(rows: &[Row]) -> Table {
    let columns = ["tunnels", "workers", "payload", "Mpps", "KiB/tunnel"].map(right);
    let mut table = Table::new("More tunnels, more workers", columns);
    for row in rows {
        table.row([
            row.tunnels.to_string(),
            row.workers.to_string(),
            row.payload.to_string(),
            figure(row.mpps, 2),
            figure(row.bytes_per_tunnel.map(|octets| octets / 1024.0), 1),
        ]);
    }
    table.note(
        "Mpps: what the workers carry together between ports in memory, encrypted and decrypted in \
         equal parts. KiB: of a daemon on which so many clients have dialled in, its sockets in the \
         kernel included; with few of them it is what the first session needs once.",
    )
}

/// # Errors
/// When it is no result of [`run`].
pub fn section(json: &str) -> Result<Section> {
    let rows: Vec<Row> = serde_json::from_str(json)?;
    let mut workers: Vec<_> = rows.iter().map(|row| row.workers).collect();
    workers.sort_unstable();
    workers.dedup();
    let speeds = workers.into_iter().map(|workers| {
        let of = rows.iter().filter(|row| row.workers == workers);
        let points = of.map(|row| (f64::from(row.tunnels), row.mpps)).collect();
        let name = if workers == 1 { "1 worker".to_owned() } else { format!("{workers} workers") };
        (name, points)
    });
    let mut plots = vec![plot("Packets per second", "Mpps", speeds.collect())];
    // The first session's own share of what is there once says nothing about the others.
    let octets = rows.iter().filter(|row| row.workers == 1 && row.tunnels >= 100);
    let memory: Vec<_> = octets
        .filter_map(|row| Some((f64::from(row.tunnels), row.bytes_per_tunnel? / 1024.0)))
        .collect();
    if !memory.is_empty() {
        plots.push(plot("Memory for each tunnel", "KiB", vec![("daemon".to_owned(), memory)]));
    }
    Ok(Section {
        title: "More tunnels, more workers",
        about: "Packets of random tunnels between ports in memory, and the memory of a daemon on \
                which so many clients have dialled in, each with an address, a user and keys of its \
                own.",
        targets: Vec::new(),
        plots: if rows.is_empty() { Vec::new() } else { plots },
        tables: vec![table(&rows)],
    })
}

fn plot(title: &str, y: &str, lines: Vec<(String, Vec<(f64, f64)>)>) -> Plot {
    let (title, y) = (title.to_owned(), y.to_owned());
    Plot { title, x: "tunnels".to_owned(), y, data: Data::Lines(lines) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(tunnels: u16, workers: u16, octets: Option<f64>) -> Row {
        let mpps = f64::from(workers) * 2.5;
        Row { tunnels, workers, payload: 64, mpps, bytes_per_tunnel: octets }
    }

    #[test]
    fn the_section_draws_a_line_for_each_number_of_workers_and_one_for_memory() {
        let rows = [
            row(1, 1, Some(9e6)),
            row(100, 1, Some(8e3)),
            row(100, 2, Some(8e3)),
            row(1000, 1, None),
        ];
        let section = section(&serde_json::to_string(&rows).unwrap()).unwrap();
        let lines = |plot: &Plot| match &plot.data {
            Data::Lines(lines) => lines.iter().map(|(_, points)| points.len()).collect(),
            Data::Bars { .. } => Vec::new(),
        };
        assert_eq!(section.plots.iter().map(lines).collect::<Vec<_>>(), [vec![3, 1], vec![1]]);
        for plot in &section.plots {
            plot.svg().unwrap();
        }
        insta::assert_snapshot!(section.tables[0].to_string());
    }
}
