//! Measures penstock.
//!
//! | module | what |
//! |---|---|
//! | [`dial`] | how fast clients get in, and what those who are in cost |
//! | [`pipeline`] | what a packet costs a worker, between memory ports |
//! | [`cpu`] | processor time of a thread |

mod cpu;
mod dial;
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
    /// How fast clients get in, and what those who are in cost. Needs root.
    Dial(dial::Arguments),
    /// What a packet costs a worker, between memory ports: with MPPE, and the road alone.
    Pipeline(pipeline::Arguments),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().bench {
        Bench::Dial(arguments) => dial::run(&arguments),
        Bench::Pipeline(arguments) => pipeline::run(&arguments),
    }
}
