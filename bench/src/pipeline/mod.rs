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
//! | `engines` | what two cores are together |

mod engines;
pub mod network;
pub mod rig;
pub mod traffic;

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use dataplane::Stage;
use dataplane::mppe::{Cipher, Engine};
use serde::{Deserialize, Serialize};

use crate::report::plot::{Data, Plot};
use crate::run::Run;
use crate::run::table::{Table, figure, left, number, right};
use crate::section::{Bound, Section, Target};
use crate::stats::{median, round};
use network::Core;
use rig::{Handover, Rig};
use traffic::Direction;

/// Routes of an access router, and the Internet's.
const ROUTES: u32 = 10_000;
const FULL_TABLE: u32 = 1_000_000;
/// The packet for which the Internet's routes are measured too.
const SMALL: usize = 64;
/// And the one that fills a link.
const LARGE: u16 = 1400;

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
    /// What each stage of a burst costs, too, in rounds of their own
    #[arg(long)]
    stages: bool,
    /// Frames of a worker, of 4 KiB each: more than any cache holds
    #[arg(long, default_value_t = 32_768, value_parser = clap::value_parser!(u32).range(2048..=1 << 20))]
    frames: u32,
    /// How often each contestant sends all its frames [default: 5, quick: 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
}

/// A line of the result.
#[derive(Debug, Serialize, Deserialize)]
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
    /// How many times as much two engines do beside each other as one alone, with packets of this
    /// payload: what the machine has for two workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    two_engines: Option<f64>,
    /// Nanoseconds for a packet by stage, with the watch running, where that was asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    stages: BTreeMap<String, f64>,
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

/// Measures and prints.
///
/// # Errors
/// When a packet was lost.
pub fn run(arguments: &Arguments, run: &mut Run) -> Result<()> {
    let rounds = arguments.rounds.unwrap_or(if run.is_quick() { 1 } else { 5 });
    let payloads: Vec<u16> = if run.is_quick() {
        let kept = |payload: &u16| usize::from(*payload) == SMALL || *payload == LARGE;
        arguments.payload.iter().copied().filter(kept).collect()
    } else {
        arguments.payload.clone()
    };
    let core = Core::new(ROUTES);
    let full = if arguments.alone || run.is_quick() { None } else { Some(Core::new(FULL_TABLE)) };
    let steps = arguments.tunnels.len() * arguments.direction.len() * payloads.len();
    let progress = run.progress("packets", steps as u64);
    let mut rows = Vec::new();
    for &tunnels in &arguments.tunnels {
        progress.set_message(format!("opening {tunnels} tunnels"));
        let mut rigs = vec![Rig::new(1, tunnels, arguments.frames, &core)?];
        if let Some(full) = &full {
            rigs.push(Rig::new(1, tunnels, arguments.frames, full)?);
            // A tunnel has one owner.
            if tunnels > 1 {
                rigs.push(Rig::new(2, tunnels, arguments.frames, &core)?);
            }
        }
        for &direction in &arguments.direction {
            for &payload in &payloads {
                progress.set_message(format!("{tunnels} tunnels, {payload} octets"));
                let mut contestants = contestants(rigs.len(), usize::from(payload));
                for _ in 0..rounds {
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
                    let (rig, handover) = (one.rig, one.handover);
                    let mut row = row(direction, payload, tunnels, one)?;
                    if row.workers > 1 && !arguments.null {
                        let ratio = engines::two_against_one(payload.into())?;
                        row.two_engines = Some(round(ratio, 3));
                    }
                    if arguments.stages {
                        row.stages = rigs[rig].stages(direction, payload.into(), handover)?;
                    }
                    rows.push(row);
                }
                run.record(&rows)?;
                progress.inc(1);
            }
        }
    }
    progress.finish_and_clear();
    if arguments.stages {
        run.show(&stages_table(&rows))?;
    }
    run.show(&table(&rows))
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

fn row(direction: Direction, payload: u16, tunnels: u16, contestant: Contestant) -> Result<Row> {
    let Contestant { workers, routes, handover, with_mppe, road, .. } = contestant;
    ensure!(!road.is_empty(), "nothing was measured");
    let middle = |samples| median(samples).map(|middle| round(middle, 1));
    let ns_per_packet = middle(with_mppe);
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
        ns_without_crypto: middle(road).unwrap_or_default(),
        mpps,
        gbps: mpps.map(|mpps| round(mpps * f64::from(payload) * 8.0 / 1000.0, 2)),
        two_engines: None,
        stages: BTreeMap::new(),
    })
}

impl Row {
    /// What was carried, and how: the first cells of each table.
    fn load(&self) -> [String; 6] {
        [
            format!("{:?}", self.direction).to_lowercase(),
            self.payload.to_string(),
            self.tunnels.to_string(),
            self.workers.to_string(),
            if self.handover { "every" } else { "none" }.to_owned(),
            self.routes.to_string(),
        ]
    }
}

fn stages_table(rows: &[Row]) -> Table {
    let head = ["direction", "payload", "tunnels", "workers", "handed over", "routes"].map(left);
    let stages = Stage::ALL.map(|stage| right(stage.name()));
    let mut table = Table::new("Stages, ns/packet", head.into_iter().chain(stages));
    for row in rows {
        let cost = |stage: Stage| figure(row.stages.get(stage.name()).copied(), 1);
        table.row(row.load().into_iter().chain(Stage::ALL.map(cost)));
    }
    table.note(
        "Elapsed time, with what the watch itself takes: about 25 ns for a stage of a burst of 64. Keys \
         and keystream are MPPE's, or with --null what is done in their place.",
    )
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(
        "From port to port",
        [
            left("direction"),
            right("payload"),
            right("tunnels"),
            right("workers"),
            left("handed over"),
            right("routes"),
            right("ns/packet"),
            right("without MPPE"),
            right("Mpps"),
            right("Gbit/s"),
            right("two engines"),
        ],
    );
    for row in rows {
        let cost = [
            figure(row.ns_per_packet, 0),
            figure(row.ns_without_crypto, 1),
            figure(row.mpps, 2),
            figure(row.gbps, 2),
            figure(row.two_engines, 2),
        ];
        table.row(row.load().into_iter().chain(cost));
    }
    table.note(
        "Payload: octets of the inner packet. ns: processor time of all workers for a packet, \
         median of intervals of 512 packets, tunnels at random. Mpps and Gbit/s: what the workers \
         carry together. Two engines: how many times as much MPPE two cores of this machine do \
         beside each other as one alone, just after; two workers cannot do more.",
    )
}

/// # Errors
/// When it is no result of [`run`].
pub fn section(json: &str) -> Result<Section> {
    let rows: Vec<Row> = serde_json::from_str(json)?;
    let at = |direction: Direction, payload: usize, tunnels: u16| {
        rows.iter().filter(move |row| {
            (row.direction, usize::from(row.payload), row.tunnels) == (direction, payload, tunnels)
        })
    };
    let alone = |direction, payload, tunnels| {
        at(direction, payload, tunnels).find(|row| row.workers == 1 && row.routes == ROUTES)
    };
    let directions = [Direction::Uplink, Direction::Downlink];
    let mut targets = Vec::new();
    for (tunnels, bound, stretch) in
        [(1, 60.0, 40.0), (10_000, 100.0, 70.0), (60_000, 150.0, 100.0)]
    {
        for direction in directions {
            let way = format!("{direction:?}").to_lowercase();
            targets.push(Target {
                what: format!("{way} without the cipher, {SMALL} octets, tunnels: {tunnels}"),
                measured: alone(direction, SMALL, tunnels).map(|row| row.ns_without_crypto),
                bound: Bound::AtMost(bound),
                stretch: Some(stretch),
                unit: "ns",
            });
        }
    }
    for (handover, bound, stretch, what) in
        [(false, 1.9, 1.97, "no packet handed over"), (true, 1.7, 1.85, "every packet handed over")]
    {
        let speed = |direction| {
            let two = at(direction, usize::from(LARGE), 10_000)
                .find(|row| row.workers == 2 && row.handover == handover)?;
            Some(two.mpps? / alone(direction, usize::from(LARGE), 10_000)?.mpps?)
        };
        // The machine's part in it.
        let engines = directions.into_iter().flat_map(|way| at(way, usize::from(LARGE), 10_000));
        let engines = engines.filter(|row| row.handover == handover);
        let engines = engines.filter_map(|row| row.two_engines).min_by(f64::total_cmp);
        let engines = engines.map(|ratio| format!(" (two engines here: {} ×)", number(ratio)));
        targets.push(Target {
            what: format!(
                "two workers against one, {LARGE} octets, {what}{}",
                engines.unwrap_or_default()
            ),
            measured: directions.into_iter().filter_map(speed).min_by(f64::total_cmp),
            bound: Bound::AtLeast(bound),
            stretch: Some(stretch),
            unit: "×",
        });
    }
    let mut plots = Vec::new();
    for payload in [SMALL, usize::from(LARGE)] {
        let mut lines = Vec::new();
        for direction in directions {
            let of = |cost: fn(&Row) -> Option<f64>| -> Vec<(f64, f64)> {
                let kept = rows.iter().filter(|row| {
                    row.workers == 1
                        && row.routes == ROUTES
                        && usize::from(row.payload) == payload
                        && row.direction == direction
                });
                kept.filter_map(|row| Some((f64::from(row.tunnels), cost(row)?))).collect()
            };
            let way = format!("{direction:?}").to_lowercase();
            lines.push((way.clone(), of(|row| row.ns_per_packet)));
            lines.push((format!("{way}, without MPPE"), of(|row| Some(row.ns_without_crypto))));
        }
        lines.retain(|(_, points)| !points.is_empty());
        if !lines.is_empty() {
            plots.push(Plot {
                title: format!("Cost of a packet of {payload} octets, one worker"),
                x: "tunnels".to_owned(),
                y: "ns".to_owned(),
                data: Data::Lines(lines),
            });
        }
    }
    Ok(Section {
        title: "A packet's whole path",
        about: "The product's own workers between ports in memory: parse, look up, sequence window, \
                MPPE, checks, routes, rewriting. Tunnels come in random order, and frames go round \
                through more memory than caches hold. Then the same with a keystream that costs \
                nothing, which leaves the road alone.",
        targets,
        plots,
        tables: vec![table(&rows)],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_section_finds_targets_and_draws_both_ways() {
        let row = |direction, payload, tunnels, workers: usize, handover| Row {
            direction,
            payload,
            tunnels,
            workers,
            handover,
            routes: ROUTES,
            mppe: "lanes".to_owned(),
            ns_per_packet: Some(400.0),
            ns_without_crypto: 90.0,
            mpps: Some(if handover { 4.4 } else { 2.5 * workers as f64 }),
            gbps: Some(1.28),
            two_engines: (workers == 2).then_some(1.25),
            stages: BTreeMap::new(),
        };
        let mut rows = Vec::new();
        for direction in [Direction::Uplink, Direction::Downlink] {
            rows.extend([1, 10_000].map(|tunnels| row(direction, 64, tunnels, 1, false)));
            rows.push(row(direction, LARGE, 10_000, 1, false));
            rows.push(row(direction, LARGE, 10_000, 2, false));
            rows.push(row(direction, LARGE, 10_000, 2, true));
        }
        let section = section(&serde_json::to_string(&rows).unwrap()).unwrap();
        let outcomes: Vec<_> = section
            .targets
            .iter()
            .map(|target| format!("{}: {:?}", target.what, target.outcome()))
            .collect();
        insta::assert_snapshot!(outcomes.join("\n"));
        assert_eq!(section.plots.len(), 2);
        for plot in section.plots {
            assert!(plot.svg().unwrap().contains("uplink, without MPPE"));
        }
    }
}
