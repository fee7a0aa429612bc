//! What most tests start from: a concentrator that serves, its core with echo servers, and an
//! honest subscriber whose tunnel is up.
//! The subscriber is the witness: whatever is done to the concentrator, its tunnel goes on.
//! Never shares anything with another scene.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::books::Books;
use crate::client::Client;
use crate::netns::Namespace;
use crate::network::{CORE, Network, SERVER};
use crate::server::{Driver, Server, Session};
use crate::traffic::{self, TcpEcho, UdpEcho};
use crate::wait;

/// Port of the echo servers in the core.
pub const ECHO: SocketAddrV4 = SocketAddrV4::new(CORE, 7);
/// Users of every scene and their passwords.
pub const USERS: [(&str, &str); 3] =
    [("witness", "seen it all"), ("alice", "secret123"), ("bob", "hunter2")];

/// Until the daemon has dealt with something, however slow the machine is.
const SOON: Duration = Duration::from_secs(15);
/// A flood's drops are counted more often than this.
const REST: Duration = Duration::from_millis(200);

/// Concentrator, core and witness.
#[derive(Debug)]
pub struct Scene {
    /// Looked at before anything else goes.
    _books: Books,
    /// The witness's namespace.
    pub subscriber: Namespace,
    /// The witness's client.
    pub witness: Client,
    /// The daemon.
    pub server: Server,
    /// All namespaces but subscribers'.
    pub network: Network,
    session: u64,
    _echo: (UdpEcho, TcpEcho),
}

impl Scene {
    /// Builds it; `settings` is TOML for the top of the configuration file.
    ///
    /// # Errors
    /// When the daemon does not start or the witness does not get in; the message has the logs.
    pub fn new(driver: Driver, settings: &str) -> Result<Self> {
        let network = Network::new()?;
        let echo = network
            .core
            .run(|| Ok((UdpEcho::start(ECHO.port())?, TcpEcho::start(ECHO.port())?)))?;
        let server = Server::start(&network.concentrator, driver, &USERS, settings)?;
        let subscriber = network.subscriber(1)?;
        let (user, password) = USERS[0];
        let mut witness = Client::dial(&subscriber, SERVER, user, password)?;
        let up = witness.wait_up();
        up.with_context(|| format!("log of penstock serve:\n{}", server.log()))?;
        let session = server.session_of(user)?.id;
        let _books = server.books();
        let scene = Self { _books, subscriber, witness, server, network, session, _echo: echo };
        // The first packet may be lost with every server: neighbours are asked for.
        scene.subscriber.run(|| traffic::ping_exchange(CORE, [56], 3))?;
        Ok(scene)
    }

    /// Proves that the witness's tunnel carries data both ways without loss, and that it is the
    /// same session still.
    ///
    /// # Errors
    /// When it is not so; the message has the daemon's log.
    pub fn witness_is_well(&self) -> Result<()> {
        let judge = || -> Result<()> {
            let exchanged =
                self.subscriber.run(|| traffic::udp_exchange(ECHO, [1, 100, 1000, 1400], 0))?;
            ensure!(exchanged.whole(), "the witness lost datagrams: {exchanged:?}");
            let session = self.server.session_of(USERS[0].0)?;
            ensure!(session.id == self.session, "the witness had to dial again");
            Ok(())
        };
        judge().with_context(|| format!("log of penstock serve:\n{}", self.server.log()))
    }

    /// Waits until the daemon's log has a line with all of these words.
    ///
    /// # Errors
    /// When none comes; the message has the log.
    pub fn await_log(&self, words: &[&str]) -> Result<String> {
        let line = wait::until(&format!("a log line with {words:?}"), SOON, || {
            let log = self.server.log();
            let found = log.lines().find(|line| words.iter().all(|word| line.contains(word)));
            Ok(found.map(str::to_owned))
        });
        line.with_context(|| format!("log of penstock serve:\n{}", self.server.log()))
    }

    /// Does something to the concentrator, and waits until these counters together have moved by
    /// `by` at least.
    ///
    /// # Errors
    /// When they do not; the message has all counters.
    pub fn counted(&self, names: &[&str], by: u64, act: impl FnOnce() -> Result<()>) -> Result<()> {
        let before = self.server.stats()?.count(names);
        act()?;
        let moved = wait::until(&format!("{by} more of {names:?}"), SOON, || {
            Ok((self.server.stats()?.count(names) >= before + by).then_some(()))
        });
        moved.with_context(|| format!("{:#?}", self.server.stats()))
    }

    /// Waits until nothing more is dropped: what waits in the kernel's buffers is part of a flood.
    ///
    /// # Errors
    /// When it does not end.
    pub fn await_rest(&self) -> Result<()> {
        let dropped = || -> Result<u64> {
            let stats = self.server.stats()?;
            Ok(stats.drops.values().chain(stats.xdp.values()).sum())
        };
        let (mut before, mut quiet) = (dropped()?, 0);
        wait::until("the flood's end", 3 * SOON, || {
            std::thread::sleep(REST);
            let now = dropped()?;
            quiet = if now == before { quiet + 1 } else { 0 };
            before = now;
            Ok((quiet == 3).then_some(()))
        })
    }

    /// The witness's session as the daemon shows it.
    ///
    /// # Errors
    /// When it is gone.
    pub fn witness_session(&self) -> Result<Session> {
        self.server.session_of(USERS[0].0)
    }

    /// The witness's inner address.
    ///
    /// # Errors
    /// When it is gone, or has none.
    pub fn witness_address(&self) -> Result<Ipv4Addr> {
        self.witness_session()?.address.context("the witness has no address")
    }
}
