//! A concentrator that asks a FreeRADIUS in its core about every login and tells it of every
//! session, and a host behind it that sends back what it gets.
//! Never has users of its own, unless a test's settings say so.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context, Result};

use super::{FreeRadius, SECRET, Settings};
use crate::client::Client;
use crate::netns::Namespace;
use crate::network::{CORE, Network, SERVER};
use crate::server::{Driver, Server};
use crate::traffic::{TcpEcho, UdpEcho};
use crate::wait;

/// Where the first FreeRADIUS serves.
pub const FIRST: Ipv4Addr = CORE;
/// Another address of the core, for a second server or a relay.
pub const SECOND: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 3);
/// Where the concentrator takes orders from RADIUS (RFC 5176 §3).
pub const ORDERS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 1), 3799);
/// Port of the echo servers in the core.
pub const ECHO: SocketAddrV4 = SocketAddrV4::new(CORE, 7);

/// Until the daemon has dealt with something, however slow the machine is.
const SOON: Duration = Duration::from_secs(20);

/// Concentrator, core and RADIUS.
#[derive(Debug)]
pub struct Scene {
    /// The daemon.
    pub server: Server,
    /// The first FreeRADIUS.
    pub radius: FreeRadius,
    /// All namespaces but subscribers'.
    pub network: Network,
    _echo: (UdpEcho, TcpEcho),
}

/// `[[radius]]` for a server at this address of the core; `keys` are lines of TOML for it.
pub fn section(address: Ipv4Addr, keys: &str) -> String {
    format!("[[radius]]\naddress = \"{address}\"\nsecret = \"{SECRET}\"\n{keys}\n")
}

/// `[aaa]` that asks RADIUS; `keys` are lines of TOML for it.
pub fn aaa(keys: &str) -> String {
    format!("[aaa]\nuse-radius = true\n{keys}\n")
}

impl Scene {
    /// Builds it with these users of FreeRADIUS; `settings` is TOML for the top of the daemon's
    /// configuration file, after which stand [`aaa`] and [`section`] for the first server.
    ///
    /// # Errors
    /// When anything does not start; the message has its log.
    pub fn new(users: &str, settings: &str) -> Result<Self> {
        let settings = format!("{settings}\n{}{}", aaa(""), section(FIRST, ""));
        Self::with(&Settings::new(FIRST, users), &[], &settings)
    }

    /// Builds it with this FreeRADIUS, these users of the daemon's own, and `settings` as all of
    /// the configuration file.
    ///
    /// # Errors
    /// As [`Scene::new`].
    pub fn with(radius: &Settings, users: &[(&str, &str)], settings: &str) -> Result<Self> {
        let network = Network::new()?;
        network.core.address("concentrator", &format!("{SECOND}/24"))?;
        let echo = network
            .core
            .run(|| Ok((UdpEcho::start(ECHO.port())?, TcpEcho::start(ECHO.port())?)))?;
        let radius = FreeRadius::start(&network.core, radius)?;
        let server = Server::start(&network.concentrator, Driver::RawTun, users, settings)?;
        Ok(Self { server, radius, network, _echo: echo })
    }

    /// Dials from a subscriber's namespace and waits until the tunnel is up; `options` are
    /// `penstock dial`'s.
    ///
    /// # Errors
    /// When it does not get in; the message has all logs.
    pub fn dial(
        &self,
        subscriber: &Namespace,
        user: &str,
        password: &str,
        options: &[&str],
    ) -> Result<Client> {
        let mut client = Client::dial_with(subscriber, SERVER, user, password, options)?;
        client.wait_up().with_context(|| self.logs())?;
        Ok(client)
    }

    /// Dials and gives the exit status of a client that was not let in.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn refused(
        &self,
        subscriber: &Namespace,
        user: &str,
        password: &str,
        options: &[&str],
    ) -> Result<Option<i32>> {
        let mut client = Client::dial_with(subscriber, SERVER, user, password, options)?;
        let status = client.process().wait_exit(2 * SOON).with_context(|| self.logs())?;
        Ok(status.code())
    }

    /// Waits until a user has no session.
    ///
    /// # Errors
    /// When one stays; the message has all logs.
    pub fn await_gone(&self, user: &str) -> Result<()> {
        let gone = wait::until(&format!("the end of {user}'s session"), SOON, || {
            let sessions = self.server.sessions()?;
            Ok(sessions.iter().all(|session| session.user.as_deref() != Some(user)).then_some(()))
        });
        gone.with_context(|| self.logs())
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
        line.with_context(|| self.logs())
    }

    /// What both daemons logged.
    pub fn logs(&self) -> String {
        format!("penstock serve:\n{}\nfreeradius:\n{}", self.server.log(), self.radius.log())
    }
}
