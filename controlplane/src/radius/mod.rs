//! RADIUS on the network: servers that are asked about logins and told of sessions.
//!
//! | module | what |
//! |---|---|
//! | [`counters`] | what is counted |
//! | [`incoming`] | the port for CoA and Disconnect |
//! | `news` | what operators read of servers |
//! | `ports` | UDP ports towards servers |
//! | [`probe`] | whether servers answer, for `penstock check` |
//! | `service` | the task that drives [`protocol::radius::client`] |
//!
//! Who asks decides what an answer means; here is only how it comes.

pub mod counters;
pub mod incoming;
mod news;
mod ports;
pub mod probe;
mod service;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use protocol::radius::Attributes;
use protocol::radius::client::{Answer, Failure, Request, Server};
use zeroize::Zeroizing;

use crate::config::{Config, Radius};
use counters::Counters;
use ports::Endpoint;
use service::Service;

/// Asks the configured servers. Clones share everything.
#[derive(Debug, Clone)]
pub struct Client {
    authentication: Option<Service>,
    accounting: Option<Service>,
    counters: Arc<Counters>,
}

impl Client {
    /// Takes up the servers of the configuration. Needs a runtime; the tasks end with the last
    /// clone.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn start(config: &Config) -> io::Result<Self> {
        let counters = Arc::new(Counters::default());
        let service = |port: fn(&Radius) -> u16| {
            let servers: Vec<_> = config.radius.iter().filter(|server| port(server) != 0).collect();
            if servers.is_empty() {
                return Ok(None);
            }
            let endpoints = servers.iter().map(|server| Endpoint {
                address: SocketAddr::new(server.address, port(server)),
                source: server.src_address,
            });
            let machine = servers.iter().map(|server| describe(server)).collect();
            Service::start(machine, endpoints.collect(), Arc::clone(&counters)).map(Some)
        };
        let authentication = if config.aaa.use_radius {
            service(|server| server.authentication_port)?
        } else {
            None
        };
        let accounting =
            if config.aaa.accounting { service(|server| server.accounting_port)? } else { None };
        Ok(Self { authentication, accounting, counters })
    }

    /// Whether there is anybody to ask about logins.
    #[must_use]
    pub const fn judges(&self) -> bool {
        self.authentication.is_some()
    }

    /// Whether there is anybody to tell of sessions.
    #[must_use]
    pub const fn accounts(&self) -> bool {
        self.accounting.is_some()
    }

    /// Asks about a login. Dropping the future calls it off: what was not sent yet never is.
    ///
    /// # Errors
    /// If there is no answer. An Access-Reject is one.
    pub async fn authenticate(
        &self,
        attributes: Attributes,
        password: Option<Zeroizing<Vec<u8>>>,
    ) -> Result<Answer, Failure> {
        let service = self.authentication.as_ref().ok_or(Failure::NoAnswer)?;
        service.ask(Request::Access { attributes, password }).await
    }

    /// Tells of a session what happened `age` ago; Acct-Delay-Time is added. Returns once a
    /// server has written it down. Dropping the future calls it off.
    ///
    /// # Errors
    /// If none of them says that it has.
    pub async fn account(&self, attributes: Attributes, age: Duration) -> Result<(), Failure> {
        let service = self.accounting.as_ref().ok_or(Failure::NoAnswer)?;
        service.ask(Request::Accounting { attributes, age }).await.map(drop)
    }

    /// The server that gave an answer about a login, for the log.
    #[must_use]
    pub fn server(&self, answer: &Answer) -> Option<SocketAddr> {
        self.authentication.as_ref()?.address(answer.server)
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

fn describe(server: &Radius) -> Server {
    Server {
        secret: server.secret.clone(),
        weight: server.weight,
        timeout: server.timeout.duration(),
        tries: server.tries,
        dead_time: server.dead_time.duration(),
        require_message_authenticator: server.require_message_authenticator,
        max_in_flight: usize::try_from(server.max_in_flight).unwrap_or(usize::MAX),
    }
}
