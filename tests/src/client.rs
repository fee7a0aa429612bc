//! `penstock dial` in a subscriber's namespace: our own client, as a subscriber runs it.
//! The core's prefix is routed into its tunnel, everything else stays outside.
//! Never knows more than the client prints.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::netns::Namespace;
use crate::network::CORE_PREFIX;
use crate::process::Process;
use crate::server::penstock;

/// Calls placed so far.
static PLACED: AtomicUsize = AtomicUsize::new(0);

const LOGIN: Duration = Duration::from_secs(30);
const STOP: Duration = Duration::from_secs(10);

/// A call, placed and perhaps up.
#[derive(Debug)]
pub struct Client {
    user: String,
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
        Self::dial_with(namespace, server, user, password, &[])
    }

    /// As [`Client::dial`], with more `options` of `penstock dial`.
    ///
    /// # Errors
    /// As [`Client::dial`].
    pub fn dial_with(
        namespace: &Namespace,
        server: Ipv4Addr,
        user: &str,
        password: &str,
        options: &[&str],
    ) -> Result<Self> {
        // A client pins its worker to the first core that it may use. Subscribers are machines of
        // their own: here they at least do not all share one core.
        let cores = std::thread::available_parallelism()?.get();
        let core = PLACED.fetch_add(1, Relaxed) % cores;
        let mut command = namespace.command("taskset");
        command.args(["--cpu-list", &core.to_string()]).arg(penstock()?).args([
            "dial",
            &server.to_string(),
            "--user",
            user,
            "--route",
            CORE_PREFIX,
        ]);
        command.args(options);
        let mut process = Process::start(&format!("penstock dial of {user}"), command)?;
        process.send(password)?;
        process.close_input();
        Ok(Self { user: user.to_owned(), process })
    }

    /// Waits until data can pass.
    ///
    /// # Errors
    /// When the login fails; the message has the client's output.
    pub fn wait_up(&mut self) -> Result<()> {
        let what = format!("the tunnel of {}", self.user);
        self.process.wait_line(&what, 0, LOGIN, |line| line.contains(" up: ")).map(drop)
    }

    /// Whose call it is.
    pub fn user(&self) -> &str {
        &self.user
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
