//! A real FreeRADIUS in a namespace of a lab, with a configuration of our own, and what is sent
//! around it: Disconnect and CoA by `radclient`, answers spoiled on their way by a relay.
//!
//! | module | what it gives |
//! |---|---|
//! | [`config`] | the server's files: users, methods, pool, accounting |
//! | [`record`] | what it wrote down of a request |
//! | [`relay`] | a hop before it that delays, paces, forges and drops |
//! | [`packet`] | RADIUS packets as bytes, to be spoiled and signed again |
//! | [`scene`] | a concentrator whose users are FreeRADIUS's |
//!
//! Never touches a FreeRADIUS of the machine.

pub mod config;
pub mod packet;
pub mod record;
pub mod relay;
pub mod scene;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use tempfile::TempDir;

pub use self::config::Settings;
pub use self::record::Record;
use crate::netns::Namespace;
use crate::process::Process;
use crate::wait;

/// The secret that all RADIUS servers and clients of a lab share.
pub const SECRET: &str = "shared by the lab";

/// Where `scripts/setup` unpacks the server.
const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers");
const START: Duration = Duration::from_secs(30);
const STOP: Duration = Duration::from_secs(20);
/// Until a request has come that is on its way, however slow the machine is.
const SOON: Duration = Duration::from_secs(20);

/// A running FreeRADIUS. What it wrote down outlives a stop and a start.
#[derive(Debug)]
pub struct FreeRadius {
    process: Process,
    directory: TempDir,
}

impl FreeRadius {
    /// Starts it and waits until it serves.
    ///
    /// # Errors
    /// When it is not unpacked or refuses its configuration; the message has its output.
    pub fn start(namespace: &Namespace, settings: &Settings) -> Result<Self> {
        let directory = TempDir::new()?;
        config::write(directory.path(), settings)?;
        Ok(Self { process: serve(namespace, directory.path())?, directory })
    }

    /// Ends it: whoever asks now is told at once that nobody listens.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn stop(&mut self) -> Result<()> {
        self.process.stop(STOP)
    }

    /// Starts it again after [`FreeRadius::stop`], with all that it had written.
    ///
    /// # Errors
    /// As [`FreeRadius::start`].
    pub fn start_again(&mut self, namespace: &Namespace) -> Result<()> {
        self.process = serve(namespace, self.directory.path())?;
        Ok(())
    }

    /// Silences it: requests wait in its socket.
    ///
    /// # Errors
    /// When it has ended.
    pub fn freeze(&self) -> Result<()> {
        self.process.signal(Signal::SIGSTOP)
    }

    /// Lets it go on after [`FreeRadius::freeze`]: it answers all that waited, late.
    ///
    /// # Errors
    /// When it has ended.
    pub fn thaw(&self) -> Result<()> {
        self.process.signal(Signal::SIGCONT)
    }

    /// The Access-Requests that came, without retransmissions, oldest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn requests(&self) -> Result<Vec<Record>> {
        record::read(&self.directory.path().join("requests"))
    }

    /// The Accounting-Requests that came, without retransmissions, oldest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn accounting(&self) -> Result<Vec<Record>> {
        record::read(&self.directory.path().join("accounting"))
    }

    /// Waits until the accounting records are such that `judge` gives a value.
    ///
    /// # Errors
    /// When they are not in time; the message has them all.
    pub fn await_accounting<T>(
        &self,
        what: &str,
        judge: impl Fn(&[Record]) -> Option<T>,
    ) -> Result<T> {
        let found = wait::until(what, SOON, || Ok(judge(&self.accounting()?)));
        found.with_context(|| match self.accounting() {
            Ok(records) => format!("accounting records: {records:#?}"),
            Err(error) => format!("{error:?}"),
        })
    }

    /// The users to whom addresses of the pool are leased, by address.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn leases(&self) -> Result<Vec<(Ipv4Addr, String)>> {
        let output = Command::new("sqlite3")
            .arg(self.directory.path().join("pool.db"))
            .arg(
                "SELECT framedipaddress, username FROM radippool \
                  WHERE expiry_time > 0 ORDER BY id",
            )
            .output()
            .context("starting sqlite3")?;
        let text = String::from_utf8(output.stdout)?;
        text.lines()
            .map(|line| {
                let (address, user) = line.split_once('|').context("a row of two")?;
                Ok((address.parse()?, user.to_owned()))
            })
            .collect()
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        self.process.output()
    }
}

fn serve(namespace: &Namespace, directory: &Path) -> Result<Process> {
    let mut command = namespace.command(&format!("{PEERS}/usr/sbin/freeradius"));
    command.args(["-f", "-l", "stdout", "-n", "radiusd", "-d"]).arg(directory);
    unpacked(&mut command);
    let mut process = Process::start("freeradius", command).context("scripts/setup test")?;
    process.wait_line("FreeRADIUS's word that it serves", 0, START, |line| {
        line.contains("Ready to process requests")
    })?;
    Ok(process)
}

/// Tells a program of FreeRADIUS where its libraries and its dictionary are.
fn unpacked(command: &mut Command) {
    command
        .args(["-D", &format!("{PEERS}/usr/share/freeradius")])
        .env("LD_LIBRARY_PATH", format!("{PEERS}/usr/lib/freeradius"));
}

/// What `radclient` was answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The packet's name, as "CoA-ACK"; empty when no answer came.
    pub code: String,
    /// All that radclient printed, with the answer's attributes.
    pub output: String,
}

/// Sends one request with `radclient` and gives the answer. `kind` is radclient's word: "auth",
/// "acct", "coa" or "disconnect"; `attributes` are lines of its input.
///
/// # Errors
/// When radclient cannot be started.
pub fn radclient(
    namespace: &Namespace,
    to: SocketAddrV4,
    kind: &str,
    secret: &str,
    attributes: &str,
) -> Result<Answer> {
    let mut command = namespace.command(&format!("{PEERS}/usr/bin/radclient"));
    unpacked(&mut command);
    command.args(["-x", "-r", "1", "-t", "3", &to.to_string(), kind, secret]);
    let mut process = Process::start("radclient", command)?;
    for line in attributes.lines() {
        process.send(line)?;
    }
    process.close_input();
    process.wait_exit(STOP)?;
    let output = process.output();
    let code = output
        .lines()
        .find_map(|line| line.strip_prefix("Received ")?.split_whitespace().next())
        .unwrap_or_default()
        .to_owned();
    Ok(Answer { code, output })
}
