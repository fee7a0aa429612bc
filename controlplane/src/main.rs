//! The `penstock` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    controlplane::cli::run(std::env::args_os())
}
