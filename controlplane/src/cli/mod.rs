//! The command line.
//!
//! [`run`] reads the arguments, does what they say and gives the exit code; each command has its
//! module. No command takes a password as an argument: `ps` would show it.

mod bindings;
mod check;
mod clients;
mod fields;
mod import;
mod lockout;
mod output;
mod password;
mod sessions;
mod users;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::api::client::ClientError;
use crate::config::{self, Config, ConfigError};
use crate::users::UserError;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed; the reason is on standard error
  2  the command line or the configuration makes no sense
  3  there is no such user, session, client, binding or lock
  4  the daemon is not running
  5  dial: the server cannot be reached
  6  dial: the server refused the call
  7  dial: wrong user name or password
  8  dial: the link could not be agreed on, or was lost";

/// PPTP access concentrator.
#[derive(Debug, Parser)]
#[command(name = "penstock", version, after_help = EXIT_CODES, max_term_width = 100)]
struct Arguments {
    /// Configuration file [default: /etc/penstock/penstock.toml if there is one, else the
    /// defaults that `penstock config example` shows]
    #[arg(long, short, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Accept calls, until SIGTERM or Ctrl-C
    Serve,
    /// Add, change, remove, list and import users
    #[command(subcommand)]
    User(users::Command),
    /// List, show, change and disconnect sessions of the running daemon
    #[command(subcommand)]
    Session(sessions::Command),
    /// List and clear locks on addresses and users that failed to log in too often
    #[command(subcommand)]
    Lockout(lockout::Command),
    /// Accept no new calls, and perhaps end those that are there bit by bit
    Drain(sessions::Drain),
    /// Show the counters of the running daemon: packets, and why some were dropped
    Stats {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Call a PPTP server and be its client, until SIGTERM or Ctrl-C
    Dial(crate::dial::Arguments),
    /// Dial other servers from the running daemon: add, change, remove, list and watch clients
    #[command(subcommand)]
    Client(clients::Command),
    /// Interfaces that users have to themselves: add, change, remove and list them
    #[command(subcommand)]
    Binding(bindings::Command),
    /// Make another system's configuration ours: says what was understood, and what not and why
    #[command(subcommand)]
    Import(import::Command),
    /// Print the configuration with all keys, their defaults and what they mean
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Say whether the configuration makes sense and this machine can serve it
    Check,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print every key with its default and a comment, as a valid configuration file
    Example,
}

/// Why a command ended without success.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Users could not be changed.
    #[error(transparent)]
    Users(#[from] UserError),
    /// The daemon did not do it.
    #[error(transparent)]
    Daemon(#[from] ClientError),
    /// The daemon did not start.
    #[error(transparent)]
    Serve(#[from] crate::daemon::StartError),
    /// The call failed.
    #[error(transparent)]
    Dial(#[from] crate::dial::DialError),
    /// The arguments make no sense together.
    #[error("{0}")]
    Usage(String),
    /// What was asked for does not exist.
    #[error("{0}")]
    NotFound(String),
    /// `check` found what prevents serving; it was printed already.
    #[error("{0}")]
    Checked(String),
    /// Input or output failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Usage(_) => 2,
            Self::NotFound(_)
            | Self::Users(UserError::Unknown(_))
            | Self::Daemon(ClientError::NotFound(_)) => 3,
            Self::Daemon(ClientError::NotRunning(_)) => 4,
            Self::Dial(error) => error.exit_code(),
            _ => 1,
        }
    }
}

/// Does what the arguments say.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nobody is left to tell if the terminal is gone.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    match execute(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        // `penstock session list | head` is no failure.
        Err(Failure::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(io::stderr(), "penstock: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

fn execute(arguments: Arguments) -> Result<(), Failure> {
    let find = || Config::find(arguments.config.as_deref());
    match arguments.command {
        Command::Serve => {
            let (config, file) = find()?;
            Ok(crate::daemon::run(config, file)?)
        }
        Command::User(command) => users::run(command, &find()?.0),
        Command::Session(command) => sessions::run(command, &find()?.0),
        Command::Lockout(command) => lockout::run(command, &find()?.0),
        Command::Drain(drain) => sessions::drain(&drain, &find()?.0),
        Command::Stats { json } => sessions::stats(json, &find()?.0),
        Command::Dial(arguments) => {
            let password = password::for_call(arguments.password_file.as_deref())?;
            Ok(crate::dial::run(&arguments, password)?)
        }
        Command::Client(command) => clients::run(command, &find()?.0),
        Command::Binding(command) => bindings::run(command, &find()?.0),
        Command::Import(command) => import::run(&command, || Ok(find()?.0)),
        Command::Config(ConfigCommand::Example) => {
            Ok(io::stdout().write_all(config::EXAMPLE.as_bytes())?)
        }
        Command::Check => {
            let (config, file) = find()?;
            check::run(&config, file.as_deref())
        }
    }
}

/// A runtime for commands that ask the daemon.
fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn is_interactive() -> bool {
    io::stdin().is_terminal()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn no_command_takes_a_password_as_an_argument() {
        fn all(command: &clap::Command, found: &mut Vec<String>) {
            let arguments = command.get_arguments().map(|argument| argument.get_id().to_string());
            found.extend(arguments);
            for command in command.get_subcommands() {
                all(command, found);
            }
        }
        let mut found = Vec::new();
        all(&Arguments::command(), &mut found);
        let takes_value: Vec<_> = found.iter().filter(|id| id.contains("password")).collect();
        assert!(
            takes_value.iter().all(|id| ["password", "password_file"].contains(&id.as_str())),
            "{takes_value:?}"
        );
        let add =
            Arguments::try_parse_from(["penstock", "user", "set", "ivan", "--password", "secret"]);
        assert!(add.is_err(), "--password takes no value");
    }

    #[test]
    fn help_names_the_exit_codes() {
        insta::assert_snapshot!(Arguments::command().render_long_help());
    }
}
