//! What a packet costs a worker with real ports: AF_XDP on two veth links, or a raw socket and a TUN.
//!
//! The worker forwards packets of tunnels that encrypt nothing, and then packets of tunnels that do,
//! which were encrypted beforehand. What encryption adds is compared with the engine alone, which takes
//! its turns in the same run. Measures the worker's processor time, which has its system calls in it.
//!
//! | module | what |
//! |---|---|
//! | [`rig`] | links, data plane, generator |

pub mod rig;

use anyhow::{Context, Result};
use dataplane::mppe::Engine;
use serde::{Deserialize, Serialize};

use crate::cpu;
use crate::mppe::contestants::{self, Contestant, Load};
use crate::pipeline::traffic::Direction;
use crate::report::plot::{Data, Plot};
use crate::run::Run;
use crate::run::table::{Table, figure, left, right};
use crate::section::{Bound, Section, Target};
use crate::stats::{median, round};
use rig::{Driver, Kind, Rig, Sample};

/// Octets of the smallest packet, and of one that fills a link.
const SMALL: u16 = 64;
const LARGE: u16 = 1400;
/// Packets that the engine gets at a time: as many as a worker takes from a port.
const BURST: usize = 64;
/// Its bursts in a turn.
const BURSTS: usize = 50;
/// PPP's protocol number, which is encrypted too.
const PROTOCOL: u16 = 2;

/// What to measure.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Ports
    #[arg(long, value_delimiter = ',', default_value = "af-xdp,raw-tun")]
    driver: Vec<Driver>,
    /// Directions
    #[arg(long, value_delimiter = ',', default_value = "uplink,downlink")]
    direction: Vec<Direction>,
    /// Octets of the inner IP packet
    #[arg(long, value_delimiter = ',', default_value = "64,1400",
          value_parser = clap::value_parser!(u16).range(20..=1400))]
    payload: Vec<u16>,
    /// Tunnels of each kind, of which each packet takes one at random
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=500))]
    tunnels: u16,
    /// Packets of a turn
    #[arg(long, default_value_t = 8192, value_parser = clap::value_parser!(u32).range(64..=65_536))]
    packets: u32,
    /// Turns of each contestant [default: 25, quick: 5]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
}

/// A line of the result.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    driver: Driver,
    direction: Direction,
    /// Octets of the inner IP packet.
    payload: u16,
    /// Thousand packets a second without encryption, and the worker's processor time for each.
    plain_kpps: f64,
    plain_ns: f64,
    /// With MPPE.
    mppe_kpps: f64,
    mppe_ns: f64,
    /// The engine alone.
    engine_ns: f64,
    /// The worker's processor time in percent of the time that passed, of both kinds the lower.
    busy_percent: f64,
}

/// Measures and prints.
///
/// # Errors
/// Without root, a second core or native XDP for veth, or when a packet was lost.
pub fn run(arguments: &Arguments, run: &mut Run) -> Result<()> {
    let rounds = arguments.rounds.unwrap_or(if run.is_quick() { 5 } else { 25 });
    let steps = arguments.driver.len() * arguments.direction.len() * arguments.payload.len();
    let progress = run.progress("wire", steps as u64);
    let mut rows = Vec::new();
    for &driver in &arguments.driver {
        let mut rig = Rig::open(driver, arguments.tunnels, arguments.packets)
            .with_context(|| format!("driver {driver}"))?;
        for &direction in &arguments.direction {
            for &payload in &arguments.payload {
                progress.set_message(format!("{driver}, {direction:?}, {payload} octets"));
                let mut samples = Samples::new(arguments.tunnels, payload)?;
                for _ in 0..rounds {
                    samples
                        .turn(&mut rig, direction, payload)
                        .with_context(|| format!("{driver}, {direction:?}, {payload} octets"))?;
                }
                rows.push(samples.row(driver, direction, payload)?);
                run.record(&rows)?;
                progress.inc(1);
            }
        }
    }
    progress.finish_and_clear();
    run.show(&table(&rows))
}

/// Of one driver, direction and size.
struct Samples {
    engine: Box<dyn Contestant>,
    plain: Vec<Sample>,
    mppe: Vec<Sample>,
    alone: Vec<f64>,
}

impl Samples {
    fn new(tunnels: u16, payload: u16) -> Result<Self> {
        let load = Load::new(&(payload + PROTOCOL).to_string(), tunnels.into(), BURST);
        let name = Engine::new().kernel().to_string();
        let engine = contestants::all(&load)?.into_iter().find(|one| one.name() == name);
        let engine = engine.context("the engine that a worker has")?;
        Ok(Self { engine, plain: Vec::new(), mppe: Vec::new(), alone: Vec::new() })
    }

    /// A turn of each contestant.
    fn turn(&mut self, rig: &mut Rig, direction: Direction, payload: u16) -> Result<()> {
        self.plain.push(rig.round(direction, payload, Kind::Plain)?);
        self.mppe.push(rig.round(direction, payload, Kind::Mppe)?);
        self.engine.burst();
        let began = cpu::now()?;
        for _ in 0..BURSTS {
            self.engine.burst();
        }
        let took = cpu::now()?.saturating_sub(began);
        self.alone.push(took.as_secs_f64() * 1e9 / (BURSTS * BURST) as f64);
        Ok(())
    }

    fn row(self, driver: Driver, direction: Direction, payload: u16) -> Result<Row> {
        let middle = |of: &[Sample], what: fn(&Sample) -> f64, places| {
            let middle = median(of.iter().map(what).collect()).context("nothing was measured")?;
            anyhow::Ok(round(middle, places))
        };
        let Self { plain, mppe, alone, .. } = self;
        let busy = |of: &[Sample]| middle(of, |sample| sample.busy, 1);
        Ok(Row {
            driver,
            direction,
            payload,
            plain_kpps: middle(&plain, |sample| sample.kpps, 0)?,
            plain_ns: middle(&plain, |sample| sample.ns, 1)?,
            mppe_kpps: middle(&mppe, |sample| sample.kpps, 0)?,
            mppe_ns: middle(&mppe, |sample| sample.ns, 1)?,
            engine_ns: round(median(alone).context("nothing was measured")?, 1),
            busy_percent: busy(&plain)?.min(busy(&mppe)?),
        })
    }
}

impl Row {
    /// What MPPE adds beyond 1.2 times the engine alone, nanoseconds.
    fn beyond_engine(&self) -> f64 {
        self.mppe_ns - self.plain_ns - 1.2 * self.engine_ns
    }

    fn way(&self) -> String {
        format!("{:?}", self.direction).to_lowercase()
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(
        "A worker with real ports",
        [
            left("driver"),
            left("direction"),
            right("payload"),
            right("plain, kpps"),
            right("ns"),
            right("MPPE, kpps"),
            right("ns"),
            right("added, ns"),
            right("engine alone, ns"),
            right("busy, %"),
        ],
    );
    for row in rows {
        table.row([
            row.driver.to_string(),
            row.way(),
            row.payload.to_string(),
            figure(row.plain_kpps, 0),
            figure(row.plain_ns, 0),
            figure(row.mppe_kpps, 0),
            figure(row.mppe_ns, 0),
            figure(row.mppe_ns - row.plain_ns, 0),
            figure(row.engine_ns, 0),
            figure(row.busy_percent, 0),
        ]);
    }
    table.note(
        "One worker on a core of its own, a generator in the kernel on another; medians of turns. \
         ns: the worker's processor time for a packet, with its system calls and what the kernel \
         does in them, so also what sending by a veth costs at its far end. Plain: tunnels without \
         encryption. busy: below 95 the generator, or others on the machine, held the worker up.",
    )
}

/// # Errors
/// When it is no result of [`run`].
pub fn section(json: &str) -> Result<Section> {
    let rows: Vec<Row> = serde_json::from_str(json)?;
    let lowest = |of: fn(&Row) -> f64, is: fn(&Row) -> bool| {
        rows.iter().filter(|row| is(row)).map(of).min_by(f64::total_cmp)
    };
    let is_xdp = |row: &Row| row.driver == Driver::AfXdp;
    let mut targets = vec![
        Target {
            what: "AF_XDP: the worker is busy".to_owned(),
            measured: lowest(|row| row.busy_percent, is_xdp),
            bound: Bound::AtLeast(95.0),
            stretch: None,
            unit: "%",
        },
        Target {
            what: format!("AF_XDP, {SMALL} octets: plain"),
            measured: lowest(
                |row| row.plain_kpps,
                |row| row.driver == Driver::AfXdp && row.payload == SMALL,
            ),
            bound: Bound::AtLeast(800.0),
            stretch: None,
            unit: "kpps",
        },
        Target {
            what: format!("raw socket and TUN, {SMALL} octets: MPPE"),
            measured: lowest(
                |row| row.mppe_kpps,
                |row| row.driver == Driver::RawTun && row.payload == SMALL,
            ),
            bound: Bound::AtLeast(150.0),
            stretch: None,
            unit: "kpps",
        },
    ];
    for row in rows.iter().filter(|row| is_xdp(row) && [SMALL, LARGE].contains(&row.payload)) {
        targets.push(Target {
            what: format!(
                "AF_XDP, {}, {} octets: MPPE adds, beyond 1.2 times the engine alone",
                row.way(),
                row.payload
            ),
            measured: Some(row.beyond_engine()),
            bound: Bound::AtMost(100.0),
            stretch: None,
            unit: "ns",
        });
    }
    let plots = [Driver::AfXdp, Driver::RawTun].into_iter().filter_map(|driver| {
        let rows: Vec<_> = rows.iter().filter(|row| row.driver == driver).collect();
        let bar = |of: fn(&Row) -> f64| rows.iter().map(|row| of(row)).collect();
        let groups: Vec<_> =
            rows.iter().map(|row| format!("{}, {}", row.way(), row.payload)).collect();
        (!groups.is_empty()).then(|| Plot {
            title: format!("A packet's processor time, {driver}"),
            x: "direction, octets".to_owned(),
            y: "ns".to_owned(),
            data: Data::Bars {
                groups,
                bars: vec![
                    ("plain".to_owned(), bar(|row| row.plain_ns)),
                    ("MPPE".to_owned(), bar(|row| row.mppe_ns)),
                ],
            },
        })
    });
    Ok(Section {
        title: "A worker with real ports",
        about: "AF_XDP on two veth links between network namespaces, and a raw socket with a TUN: the \
                worker's processor time for a packet without encryption and with MPPE, and the \
                engine alone, in one run.",
        targets,
        plots: plots.collect(),
        tables: vec![table(&rows)],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(driver: Driver, payload: u16, busy: f64) -> Row {
        let direction = Direction::Uplink;
        let sample = |ns: f64| Sample { ns, kpps: 1e6 / ns, busy };
        let samples = Samples {
            plain: vec![sample(1000.0), sample(1000.0), sample(9000.0)],
            mppe: vec![sample(1400.0); 3],
            alone: vec![250.0; 3],
            ..Samples::new(4, payload).unwrap()
        };
        samples.row(driver, direction, payload).unwrap()
    }

    #[test]
    fn the_section_judges_what_mppe_adds_by_the_engine_of_the_same_run() {
        let rows = [row(Driver::AfXdp, 64, 99.0), row(Driver::RawTun, 64, 90.0)];
        let section = section(&serde_json::to_string(&rows).unwrap()).unwrap();
        let measured: Vec<_> = section.targets.iter().map(|target| target.measured).collect();
        assert_eq!(measured, [Some(99.0), Some(1000.0), Some(714.0), Some(100.0)]);
        assert_eq!(section.plots.len(), 2, "one for each driver");
        for plot in &section.plots {
            plot.svg().unwrap();
        }
        insta::assert_snapshot!(section.tables[0].to_string());
    }
}
