//! Measures penstock.
//!
//! | module | what |
//! |---|---|
//! | [`mppe`] | what encryption costs, against libraries' ciphers |
//! | [`pipeline`] | what a packet costs a worker, between memory ports |
//! | [`dial`] | how fast clients get in, and what those who are in cost |
//! | [`peer`] | the same in the Linux kernel's PPTP, beside ours |
//! | [`load`] | thousands of tunnels against any PPTP server |
//! | [`reflect`] | the other end of a load |
//! | [`wire`] | what a packet costs a worker with real ports |
//! | [`overload`] | what is left of a worker's peak when twice as much comes |
//! | [`scale`] | what more tunnels and workers make of it, and of memory |
//! | [`report`] | one page of all results |
//! | [`all`] | all of it, one after the other |
//! | [`run`] | what measurements share: result files, tables, progress, the machine |
//! | [`stats`] | sums over samples |
//! | [`cpu`] | processor time of a thread |

mod all;
mod cpu;
mod dial;
mod load;
mod mppe;
mod overload;
mod peer;
mod pipeline;
mod reflect;
mod report;
mod run;
mod scale;
mod section;
mod stats;
mod wire;

use anyhow::Result;
use clap::{Parser, Subcommand};

use peer::Peer;
use run::{Options, Run};

/// Measures penstock.
///
/// Each measurement prints its tables and leaves its figures in FOLDER/NAME.json, and what they come
/// from in FOLDER/about/NAME.json. One that fails keeps the figures that it had by then, says why,
/// and exits with 1.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// What MPPE costs, against RustCrypto and OpenSSL
    Mppe(mppe::Arguments),
    /// What a packet costs a worker, between memory ports: with MPPE, and the road alone
    Pipeline(pipeline::Arguments),
    /// How fast clients get in, and what those who are in cost; needs root
    Dial(dial::Arguments),
    /// What a packet costs others' PPTP, beside ours; needs root
    #[command(subcommand)]
    Peer(Peer),
    /// Load any PPTP server with thousands of tunnels of encrypted traffic; needs root
    Load(load::Arguments),
    /// Send back what a load sends; to run behind the server that is loaded
    Reflect(reflect::Arguments),
    /// What a packet costs a worker with real ports: AF_XDP, raw socket and TUN; needs root
    Wire(wire::Arguments),
    /// What a worker carries of twice as much as it can; needs root
    Overload(overload::Arguments),
    /// Packets per second and memory over tunnels and workers; needs root
    Scale(scale::Arguments),
    /// All measurements and the report; needs root, and takes up to 20 minutes, or 3 with --quick
    All(all::Arguments),
    /// One HTML page of all results, with plots and targets
    Report(report::Arguments),
}

fn main() -> Result<()> {
    let Arguments { options, bench } = Arguments::parse();
    let measure = |name: &str, work: &dyn Fn(&mut Run) -> Result<()>| {
        let mut run = Run::new(&options, name)?;
        let outcome = work(&mut run);
        run.finish(outcome)
    };
    match &bench {
        Bench::Mppe(arguments) => measure("mppe", &|run| mppe::run(arguments, run)),
        Bench::Pipeline(arguments) => measure("pipeline", &|run| pipeline::run(arguments, run)),
        Bench::Dial(arguments) => measure("dial", &|run| dial::run(arguments, run)),
        Bench::Peer(Peer::Kernel(arguments)) => measure("peer", &|run| peer::run(arguments, run)),
        Bench::Peer(Peer::Guest(arguments)) => peer::guest::run(arguments),
        Bench::Load(arguments) => measure("load", &|run| load::run(arguments, run)),
        Bench::Reflect(arguments) => reflect::run(arguments),
        Bench::Wire(arguments) => measure("wire", &|run| wire::run(arguments, run)),
        Bench::Overload(arguments) => measure("overload", &|run| overload::run(arguments, run)),
        Bench::Scale(arguments) => measure("scale", &|run| scale::run(arguments, run)),
        Bench::All(arguments) => all::run(arguments, &options),
        Bench::Report(arguments) => report::run(arguments, &options),
    }
}
