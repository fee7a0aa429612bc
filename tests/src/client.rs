//! `penstock dial` in a subscriber's namespace: our own client, as a subscriber runs it.
//! The core's prefix is routed into its tunnel, everything else stays outside.
//! Never knows more than the client prints and the kernel shows.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::netns::Namespace;
use crate::network::{CORE_PREFIX, TUNNEL_GATEWAY};
use crate::process::{Line, Process};
use crate::server::penstock;
use crate::wait;

const LOGIN: Duration = Duration::from_secs(30);
const STOP: Duration = Duration::from_secs(10);

/// A call, placed and perhaps up.
#[derive(Debug)]
pub struct Client {
    user: String,
    started: Instant,
    process: Process,
}

impl Client {
    /// Places the call and does not wait.
    ///
    /// # Errors
    /// When the client cannot be started.
    pub fn dial(
        namespace: &Namespace,
        server: Ipv4Addr,
        user: &str,
        password: &str,
    ) -> Result<Self> {
        let mut command = namespace.command(&penstock()?.to_string_lossy());
        command.args(["dial", &server.to_string(), "--user", user]);
        let started = Instant::now();
        let mut process = Process::start(&format!("penstock dial of {user}"), command)?;
        process.send(password)?;
        process.close_input();
        Ok(Self { user: user.to_owned(), started, process })
    }

    /// Waits until the tunnel has its inner address, and routes the core into it.
    ///
    /// # Errors
    /// When the login fails; the message has the client's output.
    pub fn wait_up(&mut self, namespace: &Namespace) -> Result<()> {
        let process = &mut self.process;
        wait::until(&format!("the tunnel of {}", self.user), LOGIN, || {
            if let Some(status) = process.poll()? {
                anyhow::bail!("penstock dial ended ({status}):\n{}", process.output());
            }
            let addresses = namespace.ip("-oneline address show")?;
            Ok(addresses.contains(&format!("peer {TUNNEL_GATEWAY}")).then_some(()))
        })?;
        namespace.ip(&format!("route add {CORE_PREFIX} via {TUNNEL_GATEWAY}")).map(drop)
    }

    /// Whose call it is.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// What it said, each line with the time since the call was placed.
    pub fn steps(&self) -> impl Iterator<Item = (Duration, String)> {
        let started = self.started;
        self.process
            .lines()
            .into_iter()
            .map(move |Line { at, text }| (at.duration_since(started), text))
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Hangs up and waits for its end.
    ///
    /// # Errors
    /// When it does not end cleanly.
    pub fn hang_up(mut self) -> Result<()> {
        self.process.stop(STOP)
    }

    /// Ends it without a word to the server.
    ///
    /// # Errors
    /// When it has ended before.
    pub fn vanish(self) -> Result<()> {
        self.process.signal(Signal::SIGKILL)
    }
}
