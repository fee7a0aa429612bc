//! Whether servers answer, and with our secret: for `penstock check`.
//!
//! Asks by Status-Server (RFC 5997), which lets nobody in and is counted to nobody. A server may
//! be set not to answer it, so silence is a hint and no proof.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::join_all;
use protocol::radius::Attributes;
use protocol::radius::client::{Request, Server};
use protocol::radius::dictionary::MESSAGE_AUTHENTICATOR;

use super::counters::{Count, Counters};
use super::describe;
use super::ports::Endpoint;
use super::service::Service;
use crate::config::{Config, Radius};

/// How often a server is asked.
const TRIES: u32 = 2;

/// How a server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// As it should.
    Well,
    /// Its answer has no Message-Authenticator, and one is required.
    Unprotected,
    /// It answers, and not with our secret.
    WrongSecret,
    /// It does not.
    Silent,
}

/// Asks all configured servers at once, at each of their ports. `nas` says who asks.
pub async fn all(config: &Config, nas: &Attributes) -> Vec<(SocketAddr, Health)> {
    let ports = config.radius.iter().flat_map(|server| {
        let used = [
            (config.aaa.use_radius, server.authentication_port, true),
            (config.aaa.accounting, server.accounting_port, false),
        ];
        used.into_iter()
            .filter(|(used, port, _)| *used && *port != 0)
            .map(move |(_, port, judges)| one(server, port, judges, nas.clone()))
    });
    join_all(ports).await
}

async fn one(
    server: &Radius,
    port: u16,
    judges: bool,
    attributes: Attributes,
) -> (SocketAddr, Health) {
    let address = SocketAddr::new(server.address, port);
    let counters = Arc::new(Counters::default());
    let endpoint = Endpoint { address, source: server.src_address };
    let asked = Server { tries: TRIES, ..describe(server) };
    let Ok(service) = Service::start(vec![asked], vec![endpoint], Arc::clone(&counters)) else {
        return (address, Health::Silent);
    };
    let health = match service.ask(Request::Status { attributes }).await {
        Ok(answer) => {
            let protected = answer.packet().first(MESSAGE_AUTHENTICATOR).is_some();
            let lacking = judges && !protected && server.require_message_authenticator;
            if lacking { Health::Unprotected } else { Health::Well }
        }
        Err(_) if counters.get(Count::Forged) > 0 => Health::WrongSecret,
        Err(_) => Health::Silent,
    };
    (address, health)
}
