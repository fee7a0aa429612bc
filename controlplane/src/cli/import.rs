//! `penstock import`: other systems' configurations made ours.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use hyper::Method;

use super::{Failure, output, runtime};
use crate::api::client::{Client, ClientError};
use crate::config::Config;
use crate::import::{self, Imported};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// An `/export` of RouterOS 6 or 7
    Routeros(Arguments),
    /// An accel-ppp.conf
    AccelPpp(Arguments),
    /// pppd's chap-secrets
    ChapSecrets(Arguments),
}

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// What is read; "-" is standard input
    file: PathBuf,
    /// Write the configuration to this file, which must not exist, instead of printing it
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write the users to this file, which must not exist, in the form of chap-secrets
    #[arg(long, value_name = "FILE")]
    users_file: Option<PathBuf>,
    /// Add the users to the running daemon, with all that they have; users that are there stay
    #[arg(long)]
    apply: bool,
}

pub(super) fn run(
    command: &Command,
    config: impl FnOnce() -> Result<Config, Failure>,
) -> Result<(), Failure> {
    let (arguments, import): (_, fn(&[u8]) -> Imported) = match command {
        Command::Routeros(arguments) => (arguments, import::routeros::import),
        Command::AccelPpp(arguments) => (arguments, import::accel_ppp::import),
        Command::ChapSecrets(arguments) => (arguments, import::chap_secrets::import),
    };
    let imported = import(&read(&arguments.file)?);
    let mut out = std::io::stdout().lock();
    out.write_all(imported.report.text().as_bytes())?;
    if imported.draft.is_empty() {
        let file = arguments.file.display();
        return Err(Failure::Usage(format!("{file}: nothing of it was taken over")));
    }
    // Written all the same: one line to change is less work than a file to write.
    let text = imported.draft.text();
    let sense = imported.draft.toml().map(drop).map_err(|error| {
        Failure::Usage(format!("the configuration that came out has to be changed: {error}"))
    });
    match &arguments.output {
        Some(file) => write(file, text.as_bytes())?,
        None if !text.is_empty() => write!(out, "\n{text}")?,
        None => {}
    }
    if let Some(file) = &arguments.users_file {
        let (users, short) = imported.draft.users_file();
        write(file, users.as_bytes())?;
        for why in &short {
            writeln!(out, "user {}", output::shown(why))?;
        }
        if !short.is_empty() {
            writeln!(
                out,
                "note: a users-file holds name, password and address alone; --apply keeps all"
            )?;
        }
    }
    if arguments.apply {
        apply(&imported, &config()?, &mut out)?;
    }
    sense
}

/// Adds the users one by one: what is wrong with one keeps no other out.
fn apply(imported: &Imported, config: &Config, out: &mut impl Write) -> Result<(), Failure> {
    let (api, runtime) = (Client::new(&config.control_socket), runtime()?);
    let mut added = 0_usize;
    for user in imported.draft.users() {
        let body = imported.draft.body(user);
        let answer: Result<serde_json::Value, ClientError> =
            runtime.block_on(api.call(Method::POST, "/v1/users", &body));
        match answer {
            Ok(_) => added += 1,
            Err(ClientError::Refused(why)) => {
                writeln!(out, "user {}: {}", output::shown(&user.name), output::shown(&why))?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    let all = imported.draft.users().len();
    writeln!(out, "{added} of {all} users added")?;
    match all - added {
        0 => Ok(()),
        refused => Err(Failure::Checked(format!("{refused} users were not added"))),
    }
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error: std::io::Error| Failure::Usage(format!("{}: {error}", file.display()));
    let mut bytes = Vec::new();
    let limit = import::LARGEST + 1;
    if file == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        fs::File::open(file)
            .and_then(|file| file.take(limit).read_to_end(&mut bytes))
            .map_err(failed)?;
    }
    if bytes.len() as u64 > import::LARGEST {
        return Err(Failure::Usage(format!("{}: larger than 16 MiB", file.display())));
    }
    Ok(bytes)
}

/// For its owner alone: there may be passwords in it.
fn write(file: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::Usage(format!("{}: {error}", file.display()));
    let mut options = OpenOptions::new();
    let mut opened = options.write(true).create_new(true).mode(0o600).open(file).map_err(failed)?;
    opened.write_all(bytes).map_err(failed)
}
