//! What a packet costs a worker from port to port, between memory ports.
//!
//! Each figure is the median of many intervals of 512 packets. Contestants take turns, so that what
//! else the machine does hits all of them alike. Measures processor time, never elapsed time.
//!
//! | module | what |
//! |---|---|
//! | `network` | addresses and routes |
//! | `traffic` | packets |
//! | `rig` | workers, and what their turns cost |

mod network;
mod rig;
mod traffic;

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, ensure};
use dataplane::mppe::{Cipher, Engine};
use serde::Serialize;

use network::Core;
use rig::{Handover, Rig};
use traffic::Direction;

/// Routes of an access router, and the Internet's.
const ROUTES: u32 = 10_000;
const FULL_TABLE: u32 = 1_000_000;
/// The packet for which the Internet's routes are measured too.
const SMALL: usize = 64;

/// What to measure.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Directions
    #[arg(long, value_delimiter = ',', default_value = "uplink,downlink")]
    direction: Vec<Direction>,
    /// Octets of the inner IP packet
    #[arg(long, value_delimiter = ',', default_value = "64,512,1400",
          value_parser = clap::value_parser!(u16).range(20..=1456))]
    payload: Vec<u16>,
    /// Tunnels, of which each packet takes one at random
    #[arg(long, value_delimiter = ',', default_value = "1,10000,60000",
          value_parser = clap::value_parser!(u16).range(1..))]
    tunnels: Vec<u16>,
    /// One worker alone
    #[arg(long)]
    alone: bool,
    /// The road alone, without MPPE
    #[arg(long)]
    null: bool,
    /// Frames of a worker, of 4 KiB each: more than any cache holds
    #[arg(long, default_value_t = 32_768, value_parser = clap::value_parser!(u32).range(2048..=1 << 20))]
    frames: u32,
    /// How often each contestant sends all its frames
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Where the figures go
    #[arg(long, default_value = "target/bench/pipeline.json")]
    json: PathBuf,
}

/// A line of the result.
#[derive(Debug, Serialize)]
struct Row {
    direction: Direction,
    /// Octets of the inner IP packet.
    payload: u16,
    tunnels: u16,
    workers: usize,
    /// Whether each packet is handed over to another worker.
    handover: bool,
    routes: u32,
    /// The engine of `ns_per_packet`.
    mppe: String,
    /// Processor time for a packet, of all workers together. None if only the road was measured.
    ns_per_packet: Option<f64>,
    /// The same with a keystream that costs nothing.
    ns_without_crypto: f64,
    /// Million packets per second of all workers together.
    mpps: Option<f64>,
    /// Gigabits of inner packets per second.
    gbps: Option<f64>,
}

/// Rigs of one number of tunnels.
struct Contestant {
    rig: usize,
    workers: usize,
    routes: u32,
    handover: Handover,
    /// Samples, nanoseconds.
    with_mppe: Vec<f64>,
    road: Vec<f64>,
}

/// Measures, prints and writes.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let core = Core::new(ROUTES);
    let full = if arguments.alone { None } else { Some(Core::new(FULL_TABLE)) };
    let frames = arguments.frames;
    let mut rows = Vec::new();
    let mut out = io::stdout();
    writeln!(out, "{HEAD}")?;
    for &tunnels in &arguments.tunnels {
        let mut rigs = vec![Rig::new(1, tunnels, frames, &core)?];
        if let Some(full) = &full {
            rigs.push(Rig::new(1, tunnels, frames, full)?);
            // A tunnel has one owner.
            if tunnels > 1 {
                rigs.push(Rig::new(2, tunnels, frames, &core)?);
            }
        }
        for &direction in &arguments.direction {
            for &payload in &arguments.payload {
                let mut contestants = contestants(rigs.len(), usize::from(payload));
                for _ in 0..arguments.rounds {
                    for one in &mut contestants {
                        let Contestant { rig, handover, with_mppe, road, .. } = one;
                        let rig = &mut rigs[*rig];
                        rig.set_cipher(|| Cipher::Null);
                        road.extend(rig.round(direction, payload.into(), *handover)?);
                        if !arguments.null {
                            rig.set_cipher(|| Cipher::Mppe(Engine::new()));
                            with_mppe.extend(rig.round(direction, payload.into(), *handover)?);
                        }
                    }
                }
                for one in contestants {
                    let row = row(direction, payload, tunnels, one)?;
                    writeln!(out, "{}", line(&row))?;
                    rows.push(row);
                }
            }
        }
    }
    writeln!(out, "{FOOT}")?;
    if let Some(folder) = arguments.json.parent() {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    fs::write(&arguments.json, serde_json::to_vec_pretty(&rows)?)
        .with_context(|| format!("writing {}", arguments.json.display()))
}

fn contestants(rigs: usize, payload: usize) -> Vec<Contestant> {
    let contestant = |rig, workers, routes, handover| Contestant {
        rig,
        workers,
        routes,
        handover,
        with_mppe: Vec::new(),
        road: Vec::new(),
    };
    let mut all = vec![contestant(0, 1, ROUTES, Handover::None)];
    if rigs > 1 && payload == SMALL {
        all.push(contestant(1, 1, FULL_TABLE, Handover::None));
    }
    if rigs > 2 {
        all.push(contestant(2, 2, ROUTES, Handover::None));
        all.push(contestant(2, 2, ROUTES, Handover::Every));
    }
    all
}

fn row(
    direction: Direction,
    payload: u16,
    tunnels: u16,
    contestant: Contestant,
) -> anyhow::Result<Row> {
    let Contestant { workers, routes, handover, with_mppe, road, .. } = contestant;
    ensure!(!road.is_empty(), "nothing was measured");
    let ns_per_packet = median(with_mppe);
    // Workers have equal shares of all packets.
    let mpps = ns_per_packet.map(|ns| round(workers as f64 * 1000.0 / ns, 3));
    Ok(Row {
        direction,
        payload,
        tunnels,
        workers,
        handover: handover == Handover::Every,
        routes,
        mppe: Engine::new().kernel().to_string(),
        ns_per_packet,
        ns_without_crypto: median(road).unwrap_or_default(),
        mpps,
        gbps: mpps.map(|mpps| round(mpps * f64::from(payload) * 8.0 / 1000.0, 2)),
    })
}

fn median(mut samples: Vec<f64>) -> Option<f64> {
    samples.sort_unstable_by(f64::total_cmp);
    samples.get(samples.len() / 2).map(|&middle| round(middle, 1))
}

fn round(value: f64, places: i32) -> f64 {
    let factor = 10_f64.powi(places);
    (value * factor).round() / factor
}

const HEAD: &str = "\
direction  payload  tunnels  workers  handed over   routes  ns/packet  without MPPE   Mpps  Gbit/s";
const FOOT: &str = "\
Payload: octets of the inner packet. ns: processor time of all workers for a packet, median of
intervals of 512 packets, tunnels at random. Mpps and Gbit/s: what the workers carry together.";

fn line(row: &Row) -> String {
    let optional = |value: Option<f64>, places| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.places$}"))
    };
    format!(
        "{:<9} {:>8} {:>8} {:>8} {:>12} {:>8} {:>10} {:>13.1} {:>6} {:>7}",
        format!("{:?}", row.direction).to_lowercase(),
        row.payload,
        row.tunnels,
        row.workers,
        if row.handover { "every" } else { "none" },
        row.routes,
        optional(row.ns_per_packet, 0),
        row.ns_without_crypto,
        optional(row.mpps, 2),
        optional(row.gbps, 2),
    )
}
