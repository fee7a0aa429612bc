//! What a packet costs the PPTP of others, beside what it costs us, in one run.
//!
//! The peer is the Linux kernel's own path (`pptp` and `ppp_mppe`), which accel-ppp and pptpd have do
//! their work. It runs in User Mode Linux and is driven directly: sockets, PPP units and keys are set
//! up as those daemons set them up, and packets are made inside that kernel. The contestants take turns.
//! Measures processor time, never elapsed time.
//!
//! | module | what |
//! |---|---|
//! | `kernel` | the guest, and what its orders cost |
//! | [`guest`] | what runs inside of it |

pub mod guest;
mod kernel;

use std::collections::HashMap;

use anyhow::{Context, Result};
use clap::Subcommand;
use dataplane::mppe::{Cipher, Engine};
use serde::{Deserialize, Serialize};

use crate::pipeline::network::Core;
use crate::pipeline::rig::{Handover, Rig};
use crate::pipeline::traffic::Direction;
use crate::report::plot::{Data, Plot};
use crate::run::Run;
use crate::run::table::{Table, figure, right};
use crate::section::{Bound, Section, Target};
use crate::stats::{median, round};
use crate::wire::rig::{Driver, Kind, Rig as Wire};
use guest::road::{MOST, Road};
use kernel::Kernel;

/// Routes of ours: those of an access router.
const ROUTES: u32 = 10_000;
/// Packets of ours by AF_XDP in a turn.
const WIRE_PACKETS: u32 = 4096;
/// Octets of the smallest packet, and of one that fills a link.
const SMALL: u16 = 64;
const LARGE: u16 = 1400;
/// How often a turn of the guest is taken until it loses nothing.
const TRIES: u32 = 3;

/// Who is measured beside us.
#[derive(Debug, Subcommand)]
pub enum Peer {
    /// The Linux kernel's pptp and ppp_mppe, in User Mode Linux
    Kernel(Arguments),
    /// The part that runs inside of the guest
    #[command(hide = true)]
    Guest(guest::Arguments),
}

/// What to measure.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Octets of the inner IP packet
    #[arg(long, value_delimiter = ',', default_value = "64,512,1400",
          value_parser = clap::value_parser!(u16).range(20..=1400))]
    payload: Vec<u16>,
    /// Tunnels of either side
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=i64::from(MOST)))]
    tunnels: u16,
    /// Packets of the kernel's in a turn
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..))]
    packets: u32,
    /// Frames of ours, of 4 KiB each: more than any cache holds
    #[arg(long, default_value_t = 32_768, value_parser = clap::value_parser!(u32).range(2048..=1 << 20))]
    frames: u32,
    /// Turns of each contestant [default: 15, quick: 3]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
}

/// A line of the result: processor time for a packet, nanoseconds.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    /// Octets of the inner IP packet.
    payload: u16,
    tunnels: u16,
    /// Release of the kernel that was measured.
    kernel: String,
    /// To make a packet, which is in none of the kernel's other figures.
    kernel_generator_ns: f64,
    /// From interface to interface, without a tunnel.
    kernel_plain_ns: f64,
    /// From interface to interface through a tunnel's sending end.
    kernel_encrypt_ns: f64,
    /// Through both ends of it.
    kernel_roundtrip_ns: f64,
    penstock_downlink_ns: f64,
    /// Downlink and uplink.
    penstock_roundtrip_ns: f64,
    /// The kernel's time over ours.
    ratio_encrypt: f64,
    ratio_roundtrip: f64,
    /// Ours by AF_XDP on veth, the ports' system calls included. None: it does not run here.
    afxdp_downlink_ns: Option<f64>,
    afxdp_roundtrip_ns: Option<f64>,
}

/// Measures and prints.
///
/// # Errors
/// Without root, User Mode Linux or its modules, or when a packet was lost.
pub fn run(arguments: &Arguments, run: &mut Run) -> Result<()> {
    let rounds = arguments.rounds.unwrap_or(if run.is_quick() { 3 } else { 15 });
    let mut kernel = Kernel::boot(arguments.tunnels)?;
    let mut rig = Rig::new(1, arguments.tunnels, arguments.frames, &Core::new(ROUTES))?;
    rig.set_cipher(|| Cipher::Mppe(Engine::new()));
    let mut wire = match Wire::open(Driver::AfXdp, arguments.tunnels.min(500), WIRE_PACKETS) {
        Ok(wire) => Some(wire),
        Err(error) => {
            run.say(format_args!("AF_XDP: not measured: {error:#}"))?;
            None
        }
    };
    let steps = arguments.payload.len() as u64 * u64::from(rounds);
    let progress = run.progress("beside the kernel", steps);
    let mut rows = Vec::new();
    for &payload in &arguments.payload {
        progress.set_message(format!("{payload} octets"));
        let mut samples = Samples::default();
        for _ in 0..rounds {
            samples.turn(&mut kernel, &mut rig, payload, arguments.packets)?;
            if let Some(wire) = &mut wire {
                samples.wire_turn(wire, payload)?;
            }
            progress.inc(1);
        }
        rows.push(samples.row(payload, arguments.tunnels, kernel.release())?);
        run.record(&rows)?;
    }
    progress.finish_and_clear();
    run.show(&table(&rows))
}

/// A turn that lost packets is no measurement. On a busy machine the guest loses some, rarely: such a
/// turn is taken again.
fn in_full<T>(mut turn: impl FnMut() -> Result<T>) -> Result<T> {
    (1..TRIES).find_map(|_| turn().ok()).map_or_else(turn, Ok)
}

/// Of one size of packets, nanoseconds.
#[derive(Debug, Default)]
struct Samples {
    kernel: HashMap<Road, Vec<f64>>,
    uplink: Vec<f64>,
    downlink: Vec<f64>,
    /// By AF_XDP.
    wire_uplink: Vec<f64>,
    wire_downlink: Vec<f64>,
}

impl Samples {
    /// A turn of each contestant.
    fn turn(
        &mut self,
        kernel: &mut Kernel,
        rig: &mut Rig,
        payload: u16,
        packets: u32,
    ) -> Result<()> {
        for road in Road::ALL {
            let road_of = || format!("{road}, packets of {payload} octets");
            kernel.prepare(road, payload).with_context(road_of)?;
            // What it costs to give the order.
            let order = kernel.send(0)?;
            let took = in_full(|| kernel.send(packets)).with_context(road_of)?;
            let cost = took.saturating_sub(order).as_secs_f64() * 1e9 / f64::from(packets);
            self.kernel.entry(road).or_default().push(cost);
        }
        self.uplink.extend(rig.round(Direction::Uplink, payload.into(), Handover::None)?);
        self.downlink.extend(rig.round(Direction::Downlink, payload.into(), Handover::None)?);
        Ok(())
    }

    /// A turn of ours by AF_XDP.
    fn wire_turn(&mut self, wire: &mut Wire, payload: u16) -> Result<()> {
        self.wire_uplink.push(wire.round(Direction::Uplink, payload, Kind::Mppe)?.ns);
        self.wire_downlink.push(wire.round(Direction::Downlink, payload, Kind::Mppe)?.ns);
        Ok(())
    }

    fn row(mut self, payload: u16, tunnels: u16, release: &str) -> Result<Row> {
        let middle = |samples| median(samples).context("nothing was measured");
        let mut kernel = |road| middle(self.kernel.remove(&road).unwrap_or_default());
        let generator = kernel(Road::Generator)?;
        let [plain, encrypt, roundtrip] = [
            kernel(Road::Plain)? - generator,
            kernel(Road::Encrypt)? - generator,
            kernel(Road::Roundtrip)? - generator,
        ];
        let downlink = middle(self.downlink)?;
        let ours = downlink + middle(self.uplink)?;
        let wire_downlink = median(self.wire_downlink);
        let wire = wire_downlink.zip(median(self.wire_uplink)).map(|(down, up)| down + up);
        Ok(Row {
            payload,
            tunnels,
            kernel: release.to_owned(),
            kernel_generator_ns: round(generator, 1),
            kernel_plain_ns: round(plain, 1),
            kernel_encrypt_ns: round(encrypt, 1),
            kernel_roundtrip_ns: round(roundtrip, 1),
            penstock_downlink_ns: round(downlink, 1),
            penstock_roundtrip_ns: round(ours, 1),
            ratio_encrypt: round(encrypt / downlink, 2),
            ratio_roundtrip: round(roundtrip / ours, 2),
            afxdp_downlink_ns: wire_downlink.map(|ns| round(ns, 1)),
            afxdp_roundtrip_ns: wire.map(|ns| round(ns, 1)),
        })
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(
        "The kernel's PPTP and penstock, ns for a packet",
        [
            right("payload"),
            right("kernel: no tunnel"),
            right("encrypt"),
            right("round trip"),
            right("penstock: encrypt"),
            right("round trip"),
            right("kernel/penstock: encrypt"),
            right("round trip"),
            right("by AF_XDP: encrypt"),
            right("round trip"),
        ],
    );
    for row in rows {
        table.row([
            row.payload.to_string(),
            figure(row.kernel_plain_ns, 0),
            figure(row.kernel_encrypt_ns, 0),
            figure(row.kernel_roundtrip_ns, 0),
            figure(row.penstock_downlink_ns, 0),
            figure(row.penstock_roundtrip_ns, 0),
            format!("{:.1} ×", row.ratio_encrypt),
            format!("{:.1} ×", row.ratio_roundtrip),
            figure(row.afxdp_downlink_ns, 0),
            figure(row.afxdp_roundtrip_ns, 0),
        ]);
    }
    table.note(NOTE)
}

const NOTE: &str = "\
Processor time of one core, medians. Round trip: through both ends of a tunnel, encrypted and decrypted.
Comparable: both route each packet by its destination into one of as many tunnels, put it into PPP, GRE
and IP, encrypt it with MPPE-128, stateless, and take it out again at the other end; no packet is lost.
Not comparable: the kernel allocates a buffer for each packet, fills in its meaning for all that may look
at it (filters, taps) and hands it from layer to layer; ours is a router of these packets alone. The
kernel has no routes but those of its tunnels, packets that are warm in the caches, and no
acknowledgements to send; ours has 10,000 routes, packets that have left the caches, and sends them.
Neither has a NIC: what making the kernel's packets costs is taken off, and ours come from memory. By
AF_XDP: penstock between two veth links in copy mode, the ports' copies and system calls included, of
which the kernel's figures have none.
In User Mode Linux a kernel's code runs at native speed, without mitigations of its own and on one
processor; BPF is interpreted there, but only in what is taken off.";

/// # Errors
/// When it is no result of [`run`].
pub fn section(json: &str) -> Result<Section> {
    let rows: Vec<Row> = serde_json::from_str(json)?;
    let mut targets = Vec::new();
    for (payload, bound, stretch) in [(SMALL, 7.0, 9.0), (LARGE, 5.0, 6.0)] {
        let row = rows.iter().find(|row| row.payload == payload);
        for (way, measured) in [
            ("encrypted", row.map(|row| row.ratio_encrypt)),
            ("there and back", row.map(|row| row.ratio_roundtrip)),
        ] {
            targets.push(Target {
                what: format!("against the kernel's whole path, {payload} octets, {way}"),
                measured,
                bound: Bound::AtLeast(bound),
                stretch: Some(stretch),
                unit: "×",
            });
        }
    }
    let bar = |of: fn(&Row) -> f64| rows.iter().map(of).collect();
    let bars = vec![
        ("kernel, encrypt".to_owned(), bar(|row| row.kernel_encrypt_ns)),
        ("penstock, encrypt".to_owned(), bar(|row| row.penstock_downlink_ns)),
        ("kernel, round trip".to_owned(), bar(|row| row.kernel_roundtrip_ns)),
        ("penstock, round trip".to_owned(), bar(|row| row.penstock_roundtrip_ns)),
    ];
    let groups = rows.iter().map(|row| format!("{} octets", row.payload)).collect();
    let plots = vec![Plot {
        title: "Whole path of a packet".to_owned(),
        x: "packet".to_owned(),
        y: "ns".to_owned(),
        data: Data::Bars { groups, bars },
    }];
    Ok(Section {
        title: "Beside the Linux kernel",
        about: "The Linux kernel's own PPTP, which accel-ppp and pptpd have do their work, in User \
                Mode Linux on the same machine, and penstock's workers between ports in memory. \
                The contestants took turns in one run.",
        targets,
        plots: if rows.is_empty() { Vec::new() } else { plots },
        tables: vec![table(&rows)],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(payload: u16) -> Row {
        let mut samples =
            Samples { uplink: vec![350.0; 3], downlink: vec![300.0; 3], ..Samples::default() };
        for (road, ns) in [
            (Road::Generator, 400.0),
            (Road::Plain, 900.0),
            (Road::Encrypt, 3400.0),
            (Road::Roundtrip, 6250.0),
        ] {
            samples.kernel.insert(road, vec![ns, 2.0 * ns, ns]);
        }
        if payload == SMALL {
            (samples.wire_uplink, samples.wire_downlink) = (vec![1500.0], vec![1400.0]);
        }
        samples.row(payload, 32, "6.1").unwrap()
    }

    #[test]
    fn what_making_packets_costs_is_no_cost_of_the_kernels_path() {
        let Row { kernel_plain_ns, kernel_encrypt_ns, kernel_roundtrip_ns, .. } = row(64);
        assert_eq!(
            [kernel_plain_ns, kernel_encrypt_ns, kernel_roundtrip_ns],
            [500.0, 3000.0, 5850.0]
        );
        let Row { penstock_roundtrip_ns, ratio_encrypt, ratio_roundtrip, .. } = row(64);
        assert_eq!([penstock_roundtrip_ns, ratio_encrypt, ratio_roundtrip], [650.0, 10.0, 9.0]);
    }

    #[test]
    fn the_table_says_what_is_not_comparable() {
        insta::assert_snapshot!(table(&[row(64), row(1400)]).to_string());
    }

    #[test]
    fn the_section_has_a_target_for_each_size_and_way() {
        let section = section(&serde_json::to_string(&[row(64)]).unwrap()).unwrap();
        let measured: Vec<_> = section.targets.iter().map(|target| target.measured).collect();
        assert_eq!(measured, [Some(10.0), Some(9.0), None, None]);
        section.plots[0].svg().unwrap();
    }
}
