//! What runs inside User Mode Linux: sets up the kernel's roads and sends packets along them.
//!
//! Reads orders from the guest's console, a line each, and answers as the guest's shell does
//! ([`lab::uml`]). Measures nothing: a guest's clock runs on while others have the processor.
//!
//! | module | what |
//! |---|---|
//! | [`road`] | namespaces, interfaces, routes, tunnels |
//! | `ppp` | a tunnel of the kernel's |

mod ppp;
pub mod road;

use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use ebpf::{Generator, Toward};
use lab::uml::{MARK, SCRATCH};
use lab::wait;

use road::{Carried, Road, Roads};

/// Nobody waits for longer for the last packets.
const LIMIT: Duration = Duration::from_secs(5);

/// How the guest's side is started.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Tunnels
    #[arg(value_parser = clap::value_parser!(u16).range(1..=i64::from(road::MOST)))]
    tunnels: u16,
}

/// Serves the console until it ends.
pub fn run(arguments: &Arguments) -> Result<()> {
    let mut guest = Guest::new(arguments.tunnels)?;
    answer(&Ok(()))?;
    for line in std::io::stdin().lock().lines() {
        answer(&guest.obey(&line?))?;
    }
    Ok(())
}

fn answer(result: &Result<()>) -> Result<()> {
    let mut out = std::io::stdout();
    if let Err(error) = result {
        writeln!(out, "{error:#}")?;
    }
    Ok(writeln!(out, "{MARK} {}", i32::from(result.is_err()))?)
}

/// Roads, and packets for one of them.
#[derive(Debug)]
struct Guest {
    roads: Roads,
    generator: Generator,
    tunnels: u16,
    road: Road,
    payload: u16,
}

impl Guest {
    fn new(tunnels: u16) -> Result<Self> {
        let roads = Roads::open(tunnels, Path::new(SCRATCH))?;
        let generator = Generator::load(tunnels.into())?;
        Ok(Self { roads, generator, tunnels, road: Road::Generator, payload: 0 })
    }

    /// Orders are `prepare ROAD PAYLOAD` and `send PACKETS`.
    fn obey(&mut self, order: &str) -> Result<()> {
        let words: Vec<_> = order.split_whitespace().collect();
        match words[..] {
            ["prepare", road, payload] => {
                self.road = Road::from_str(road, false).map_err(anyhow::Error::msg)?;
                self.payload = payload.parse()?;
                let packets = self.road.packets(self.tunnels, self.payload);
                Ok(self.generator.fill(packets.iter().map(Vec::as_slice))?)
            }
            ["send", packets] => self.send(packets.parse()?),
            _ => bail!("no such order: {order:?}"),
        }
    }

    fn send(&mut self, packets: u32) -> Result<()> {
        let Self { roads, generator, road, .. } = self;
        let before = roads.carried(*road)?;
        let (namespace, core) = roads.entry();
        let toward = if *road == Road::Generator { Toward::Nothing } else { Toward::Kernel(core) };
        namespace.run(|| Ok(generator.send(packets, toward)?))?;
        if *road == Road::Generator {
            return Ok(());
        }
        let mut carried = before;
        let arrived = wait::until("packets at the road's end", LIMIT, || {
            carried = roads.carried(*road)?;
            Ok((carried.packets >= before.packets + u64::from(packets)).then_some(()))
        });
        let Carried { packets: arrivals, octets } = carried;
        arrived.with_context(|| format!("{} of {packets}", arrivals - before.packets))?;
        let (octets, least) = (octets - before.octets, self.road.octets(self.payload));
        ensure!(
            octets >= least * u64::from(packets),
            "{packets} packets were {octets} octets: they left without encryption"
        );
        Ok(())
    }
}
