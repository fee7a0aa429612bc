//! What a worker still carries when twice as many packets come as it can carry: goodput against its
//! peak, by AF_XDP on veth.
//!
//! The peak is what it carries when it is never idle and loses nothing. Packets to subscribers come
//! for a whole minute; those of subscribers, which can be sent but once, in bursts that fill the
//! rings many times over. Never counts a packet that its tunnel did not count.

use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::pipeline::traffic::Direction;
use crate::run::Run;
use crate::run::table::{Table, figure, left, right};
use crate::section::{Bound, Section, Target};
use crate::stats::{median, round};
use crate::wire::rig::{Driver, Flood, Kind, Rig};

/// Octets of the inner packet: with smaller ones a generator on one core cannot make twice as many.
const PAYLOAD: u16 = 1400;
/// How many times the peak is offered.
const TIMES: f64 = 2.0;
/// Turns that tell the peak, before the overload: what is lost in that leaves gaps, which take keys
/// from the first packets behind them.
const TURNS: usize = 9;
/// Workers look at the kernel's counters once a second.
const REST: Duration = Duration::from_millis(1500);

/// What to measure.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Octets of the inner IP packet
    #[arg(long, default_value_t = PAYLOAD, value_parser = clap::value_parser!(u16).range(20..=1400))]
    payload: u16,
    /// Seconds of overload to subscribers; from them it is a quarter [default: 60, quick: 4]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
    /// Tunnels, of which each packet takes one at random
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=500))]
    tunnels: u16,
}

/// A line of the result.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    direction: Direction,
    /// Octets of the inner IP packet.
    payload: u16,
    /// Seconds of overload.
    seconds: f64,
    /// Thousand packets a second: without a loss, as they were offered, and as they were carried.
    peak_kpps: f64,
    offered_kpps: f64,
    goodput_kpps: f64,
    /// What was offered, in peaks.
    offered_times: f64,
    /// What was carried, in percent of the peak.
    goodput_percent: f64,
}

/// # Errors
/// Without root or two cores, or if the peak cannot be told.
pub fn run(arguments: &Arguments, run: &mut Run) -> Result<()> {
    let seconds = arguments.seconds.unwrap_or(if run.is_quick() { 4 } else { 60 });
    let packets = if run.is_quick() { 16_384 } else { 65_536 };
    let mut rig = Rig::open(Driver::AfXdp, arguments.tunnels, packets)?;
    let ways = [
        (Direction::Downlink, Duration::from_secs(seconds)),
        (Direction::Uplink, Duration::from_secs(seconds) / 4),
    ];
    let progress = run.progress("overload", ways.len() as u64);
    let mut rows = Vec::new();
    for (direction, time) in ways {
        let payload = arguments.payload;
        let turns = (0..TURNS).map(|_| Ok(rig.round(direction, payload, Kind::Mppe)?.kpps));
        let peak = median(turns.collect::<Result<_>>()?).context("nothing was measured")?;
        let Flood { offered_kpps, carried_kpps, time } =
            rig.flood(direction, payload, peak * TIMES, time)?;
        // What was lost is counted before the next turn begins.
        std::thread::sleep(REST);
        rows.push(Row {
            direction,
            payload,
            seconds: round(time.as_secs_f64(), 1),
            peak_kpps: round(peak, 0),
            offered_kpps: round(offered_kpps, 0),
            goodput_kpps: round(carried_kpps, 0),
            offered_times: round(offered_kpps / peak, 2),
            goodput_percent: round(carried_kpps / peak * 100.0, 1),
        });
        run.record(&rows)?;
        progress.inc(1);
    }
    progress.finish_and_clear();
    run.show(&table(&rows))
}

fn way(direction: Direction) -> String {
    format!("{direction:?}").to_lowercase()
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(
        "A worker with more than it can carry",
        [
            left("direction"),
            right("payload"),
            right("seconds"),
            right("peak, kpps"),
            right("offered, kpps"),
            right("times the peak"),
            right("carried, kpps"),
            right("% of the peak"),
        ],
    );
    for row in rows {
        table.row([
            way(row.direction),
            row.payload.to_string(),
            figure(row.seconds, 1),
            figure(row.peak_kpps, 0),
            figure(row.offered_kpps, 0),
            figure(row.offered_times, 2),
            figure(row.goodput_kpps, 0),
            figure(row.goodput_percent, 1),
        ]);
    }
    table.note(
        "One worker by AF_XDP on veth, MPPE, a generator in the kernel on another core. Peak: the \
         worker is never idle and loses nothing. Where less than twice the peak is offered, that is \
         all that the generator's core can make.",
    )
}

/// # Errors
/// When it is no result of [`run`].
pub fn section(json: &str) -> Result<Section> {
    let rows: Vec<Row> = serde_json::from_str(json)?;
    let targets = rows.iter().map(|row| Target {
        what: format!(
            "{}, {} octets: carried at {} times the peak",
            way(row.direction),
            row.payload,
            figure(row.offered_times, 1)
        ),
        measured: Some(row.goodput_percent),
        bound: Bound::AtLeast(90.0),
        stretch: None,
        unit: "%",
    });
    Ok(Section {
        title: "A worker with more than it can carry",
        about: "Twice as many packets as a worker can carry, for a minute: how many it still carries.",
        targets: targets.collect(),
        plots: Vec::new(),
        tables: vec![table(&rows)],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_section_judges_what_was_carried_by_the_peak() {
        let row = Row {
            direction: Direction::Downlink,
            payload: 1400,
            seconds: 60.0,
            peak_kpps: 400.0,
            offered_kpps: 800.0,
            goodput_kpps: 380.0,
            offered_times: 2.0,
            goodput_percent: 95.0,
        };
        let section = section(&serde_json::to_string(&[row]).unwrap()).unwrap();
        let [target] = &section.targets[..] else { panic!("one for each direction") };
        assert_eq!(target.measured, Some(95.0));
        insta::assert_snapshot!(target.what, @"downlink, 1400 octets: carried at 2.0 times the peak");
    }
}
