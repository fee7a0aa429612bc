//! `penstock serve` in a lab: its configuration, its users, its answers to the command line.
//! Everything it writes lies in a directory of its own that goes with the value.
//! Never reads the daemon's memory: what a test knows of it, an operator can know too.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde::Deserialize;
use tempfile::TempDir;

use crate::books::Books;
use crate::netns::Namespace;
use crate::network::{ACCESS_LINK, CORE_LINK};
use crate::process::Process;
use crate::wait;

const START: Duration = Duration::from_secs(30);
const STOP: Duration = Duration::from_secs(20);
const SETTLE: Duration = Duration::from_secs(20);

/// How frames come in and go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// Raw GRE socket and TUN: what runs without any configuration.
    RawTun,
    /// AF_XDP on the access and on the core link.
    AfXdp,
}

/// What `penstock session list --json` says of a session.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the daemon's API defines the fields")]
pub struct Session {
    pub id: u64,
    pub user: Option<String>,
    pub peer_address: Ipv4Addr,
    pub address: Option<Ipv4Addr>,
    pub ipv6_prefix: Option<String>,
    pub delegated_ipv6_prefix: Option<String>,
    pub ipv6_link_address: Option<String>,
    pub encoding: String,
    pub mtu: u16,
    pub mru: u16,
    pub uptime: u64,
    pub rx_packets: u64,
    pub rx_bytes: u64,
    pub tx_packets: u64,
    pub tx_bytes: u64,
    pub rx_lost: u64,
    pub rx_reordered: u64,
    pub rx_duplicate: u64,
    pub round_trip_micros: Option<u64>,
    pub drops: BTreeMap<String, u64>,
}

/// What `penstock stats --json` says.
#[derive(Debug, Clone, Deserialize)]
#[expect(missing_docs, reason = "the daemon's API defines the fields")]
pub struct Stats {
    pub packets: BTreeMap<String, u64>,
    pub control: BTreeMap<String, u64>,
    pub drops: BTreeMap<String, u64>,
    pub xdp: BTreeMap<String, u64>,
    pub ports: Vec<Port>,
    pub accounting: Option<Accounting>,
}

/// The accounting queue.
#[derive(Debug, Clone, Default, Deserialize)]
#[expect(missing_docs, reason = "the daemon's API defines the fields")]
pub struct Accounting {
    pub unwritten: u64,
    pub queued: u64,
}

/// One queue of a port.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the daemon's API defines the fields")]
pub struct Port {
    pub name: String,
    pub rx_packets: u64,
    pub tx_packets: u64,
    pub drops: BTreeMap<String, u64>,
}

impl Stats {
    /// How often any of these things happened, wherever they are counted: what the XDP program
    /// sees on one driver, a worker sees on another.
    pub fn count(&self, names: &[&str]) -> u64 {
        let ports = self.ports.iter().map(|port| &port.drops);
        [&self.control, &self.drops, &self.xdp]
            .into_iter()
            .chain(ports)
            .flatten()
            .filter(|(name, _)| names.contains(&name.as_str()))
            .map(|(_, count)| count)
            .sum()
    }
}

/// A running daemon.
#[derive(Debug)]
pub struct Server {
    process: Process,
    directory: TempDir,
    command: CommandLine,
}

/// The `penstock` command with a daemon's configuration.
#[derive(Debug, Clone)]
pub(crate) struct CommandLine {
    binary: PathBuf,
    config: PathBuf,
}

/// What the daemon uses.
#[derive(Debug, Clone, Copy)]
pub struct Footprint {
    /// Resident memory, KiB.
    pub resident: u64,
    /// Open descriptors.
    pub descriptors: usize,
}

impl CommandLine {
    fn run(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut child = Command::new(&self.binary)
            .args(arguments)
            .arg("--config")
            .arg(&self.config)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A command that reads no input may have ended before it could be written.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!(
                "penstock {}: {}: {}",
                arguments.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// All counters.
    pub(crate) fn stats(&self) -> Result<Stats> {
        let json = self.run(&["stats", "--json"], "")?;
        serde_json::from_str(&json).with_context(|| format!("reading {json}"))
    }

    /// Starts the daemon, and waits until it answers.
    fn serve(&self, namespace: &Namespace) -> Result<Process> {
        let mut command = namespace.command(&self.binary.to_string_lossy());
        command.arg("serve").arg("--config").arg(&self.config);
        let mut process = Process::start("penstock serve", command)?;
        // The last thing that it says of its start.
        process.wait_line("the daemon's word that it serves", 0, START, |line| {
            line.contains("rp_filter")
        })?;
        Ok(process)
    }
}

impl Server {
    /// Starts the daemon with these users and passwords, and waits until it answers.
    /// `settings` is TOML for the top of the configuration file, and may name another database.
    ///
    /// # Errors
    /// When it does not start; the message has its log.
    pub fn start(
        namespace: &Namespace,
        driver: Driver,
        users: &[(&str, &str)],
        settings: &str,
    ) -> Result<Self> {
        let directory = TempDir::new()?;
        let config = directory.path().join("penstock.toml");
        std::fs::write(&config, configuration(directory.path(), driver, settings))?;
        let mut secrets = String::new();
        for (user, password) in users {
            writeln!(secrets, "\"{user}\" * \"{password}\" *")?;
        }
        std::fs::write(directory.path().join("users"), secrets)?;

        let command = CommandLine { binary: penstock()?, config };
        let process = command.serve(namespace)?;
        Ok(Self { process, directory, command })
    }

    /// Kills the daemon without a word and starts another in its place, with all that the first
    /// one left behind.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn kill_and_restart(&mut self, namespace: &Namespace) -> Result<()> {
        self.process.signal(Signal::SIGKILL)?;
        self.process.wait_exit(STOP)?;
        self.process = self.command.serve(namespace)?;
        Ok(())
    }

    /// Memory and descriptors that the daemon has.
    ///
    /// # Errors
    /// When it has ended.
    pub fn footprint(&self) -> Result<Footprint> {
        let process = format!("/proc/{}", self.process.id());
        let status = std::fs::read_to_string(format!("{process}/status"))?;
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"))
            .context("no VmRSS")?
            .parse()?;
        let descriptors = std::fs::read_dir(format!("{process}/fd"))?.count();
        Ok(Footprint { resident, descriptors })
    }

    /// Waits until the daemon has no more descriptors than it had `before`: a request of ours may
    /// still be closing.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub fn await_descriptors_of(&self, before: &Footprint) -> Result<()> {
        wait::until("the daemon's descriptors to be what they were", SETTLE, || {
            Ok((self.footprint()?.descriptors <= before.descriptors).then_some(()))
        })
    }

    /// Runs `penstock` with these arguments against the daemon.
    ///
    /// # Errors
    /// When it does not exit with 0; the message has its standard error.
    pub fn command(&self, arguments: &[&str]) -> Result<String> {
        self.command_with_input(arguments, "")
    }

    /// As [`Server::command`], with something on its standard input.
    ///
    /// # Errors
    /// As [`Server::command`].
    pub fn command_with_input(&self, arguments: &[&str], input: &str) -> Result<String> {
        self.command.run(arguments, input)
    }

    /// Sessions that are up.
    ///
    /// # Errors
    /// When the daemon does not answer, or with something else.
    pub fn sessions(&self) -> Result<Vec<Session>> {
        let json = self.command(&["session", "list", "--json"])?;
        serde_json::from_str(&json).with_context(|| format!("reading {json}"))
    }

    /// The session of a user, awaited.
    ///
    /// # Errors
    /// When there is none in time; the message has the daemon's log.
    pub fn session_of(&self, user: &str) -> Result<Session> {
        let found = wait::until(&format!("a session of {user}"), Duration::from_secs(10), || {
            let sessions = self.sessions()?;
            Ok(sessions.into_iter().find(|session| session.user.as_deref() == Some(user)))
        });
        found.with_context(|| format!("log of penstock serve:\n{}", self.log()))
    }

    /// All counters.
    ///
    /// # Errors
    /// As [`Server::sessions`].
    pub fn stats(&self) -> Result<Stats> {
        self.command.stats()
    }

    /// Its books, which are looked at when the value goes.
    pub fn books(&self) -> Books {
        Books(self.command.clone())
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// The process itself.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Where its configuration, users and socket lie.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Asks it to end and waits until it has.
    ///
    /// # Errors
    /// When it does not end in time, or not cleanly.
    pub fn stop(mut self) -> Result<String> {
        self.process.stop(STOP)?;
        Ok(self.process.output())
    }
}

fn configuration(directory: &Path, driver: Driver, settings: &str) -> String {
    let directory = directory.display();
    let database = if settings.contains("database = ") {
        String::new()
    } else {
        format!("database = \"{directory}/penstock.db\"\n")
    };
    let mut text = format!(
        "{database}users-file = \"{directory}/users\"\n\
         control-socket = \"{directory}/control.sock\"\n\
         {settings}\n"
    );
    if driver == Driver::AfXdp {
        for (link, role) in [(ACCESS_LINK, "access"), (CORE_LINK, "core")] {
            // Writing to a String does not fail.
            let _ = write!(text, "[[dataplane.interface]]\nname = \"{link}\"\nrole = \"{role}\"\n");
        }
    }
    text
}

/// The `penstock` binary of the same build as this one.
///
/// # Errors
/// When it was not built.
pub fn penstock() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    // A test lies in `deps`, one folder below the binaries.
    own.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("penstock"))
        .find(|binary| binary.is_file())
        .with_context(|| {
            format!("no penstock beside {}: cargo build --workspace --bins makes it", own.display())
        })
}
