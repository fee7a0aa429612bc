//! Measures penstock.
//!
//! | module | what |
//! |---|---|
//! | [`pipeline`] | what a packet costs a worker, between memory ports |
//! | [`cpu`] | processor time of a thread |

mod cpu;
mod pipeline;

use clap::{Parser, Subcommand};

/// Measures penstock.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// What a packet costs a worker, between memory ports: with MPPE, and the road alone.
    Pipeline(pipeline::Arguments),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().bench {
        Bench::Pipeline(arguments) => pipeline::run(&arguments),
    }
}
