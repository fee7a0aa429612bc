//! All measurements, one after the other, and the report.
//!
//! Each runs as a process of its own: what one leaves in memory is not the next one's, and one that
//! fails is named at the end and keeps nobody from its turn.

use std::io::{self, Write};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::run::Options;

/// Arguments of each, in order.
const ALL: &[&[&str]] = &[
    &["mppe"],
    &["pipeline"],
    &["wire"],
    &["overload"],
    &["peer", "kernel"],
    &["scale"],
    &["load", "--own-server", "--to", "peers"],
    &["dial"],
];

/// What `load` is to do in full, and quick.
const LOAD: [&[&str]; 2] = [
    &["--tunnels", "1000", "--rate", "20", "--duration", "20s"],
    &["--tunnels", "100", "--rate", "50", "--duration", "3s"],
];

/// What to leave out.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Measurements to leave out
    #[arg(long, value_delimiter = ',', value_name = "NAMES", value_parser = one_of_all)]
    without: Vec<String>,
}

fn one_of_all(name: &str) -> Result<String, String> {
    let names: Vec<_> = ALL.iter().map(|words| words[0]).chain(["report"]).collect();
    match names.contains(&name) {
        true => Ok(name.to_owned()),
        false => Err(format!("the measurements are {}", names.join(", "))),
    }
}

/// Runs all, and makes the report of what there is.
///
/// # Errors
/// When any of them failed; the others were measured.
pub fn run(arguments: &Arguments, options: &Options) -> Result<()> {
    let binary = std::env::current_exe().context("finding penstock-bench itself")?;
    let mut failed = Vec::new();
    let report: &[&str] = &["report"];
    for &words in ALL.iter().chain([&report]) {
        let name = words[0];
        if arguments.without.iter().any(|without| without == name) {
            continue;
        }
        let mut command = Command::new(&binary);
        command.args(words).arg("--out").arg(&options.out);
        if name == "load" {
            command.args(LOAD[usize::from(options.quick)]);
        }
        if options.quick {
            command.arg("--quick");
        }
        let began = Instant::now();
        writeln!(io::stdout(), "\n== {} ==", words.join(" "))?;
        let status = command.status().with_context(|| format!("starting {name}"))?;
        writeln!(io::stdout(), "{name}: {:.0} s", began.elapsed().as_secs_f64())?;
        if !status.success() {
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}; the others were measured", failed.join(", "));
    }
    Ok(())
}
