//! The UDP port for CoA-Requests and Disconnect-Requests (RFC 5176).
//!
//! Who may come in is [`protocol::radius::incoming`]'s business, what is done is
//! [`crate::aaa::radius::orders`]'; here datagrams come and go, and operators read of it. An order
//! never holds up another one.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use protocol::radius::dictionary::error_cause;
use protocol::radius::incoming::{Admission, Gate, Ignored, Order, Rules};
use protocol::radius::{Code, MAX_LEN};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use super::counters::{Count, Counters};
use super::news::Quiet;
use crate::aaa::radius::orders::{self, Declined, Done};
use crate::clock::Clock;
use crate::config::Config;
use crate::daemon::Shared;

/// Orders that are carried out at once; more are refused, and their senders come again.
const MAX_UNDERWAY: usize = 256;

/// Takes the port, if orders are accepted at all.
///
/// # Errors
/// If somebody else has it.
pub async fn bind(config: &Config) -> io::Result<Option<UdpSocket>> {
    let incoming = &config.radius_incoming;
    if !incoming.accept {
        return Ok(None);
    }
    UdpSocket::bind(SocketAddr::new(incoming.address, incoming.port)).await.map(Some)
}

/// Serves the port until the daemon ends.
pub async fn serve(socket: UdpSocket, shared: Shared) {
    let mut listener = Listener {
        gate: Gate::new(rules(&shared.config)),
        clock: Clock::start(),
        underway: JoinSet::new(),
        ignored: Quiet::default(),
        socket,
        shared,
    };
    listener.run().await;
}

fn rules(config: &Config) -> Rules {
    let incoming = &config.radius_incoming;
    let mut clients: HashMap<_, _> =
        config.radius.iter().map(|server| (server.address, server.secret.clone())).collect();
    // Who is named expressly may have another secret.
    clients.extend(incoming.client.iter().map(|client| (client.address, client.secret.clone())));
    Rules {
        clients,
        require_message_authenticator: incoming.require_message_authenticator,
        require_event_timestamp: incoming.require_event_timestamp,
    }
}

struct Listener {
    gate: Gate,
    clock: Clock,
    underway: JoinSet<(Order, Result<Done, Declined>)>,
    ignored: Quiet,
    socket: UdpSocket,
    shared: Shared,
}

impl Listener {
    async fn run(&mut self) {
        let mut buffer = [0; MAX_LEN];
        loop {
            tokio::select! {
                received = self.socket.recv_from(&mut buffer) => match received {
                    Ok((length, from)) => self.received(&buffer[..length], from).await,
                    Err(error) => debug!(%error, "no order"),
                },
                Some(finished) = self.underway.join_next() => match finished {
                    Ok((order, outcome)) => self.finished(&order, outcome).await,
                    Err(error) => warn!(%error, "an order of RADIUS was lost"),
                },
            }
        }
    }

    fn counters(&self) -> &Counters {
        self.shared.radius.counters()
    }

    async fn received(&mut self, datagram: &[u8], from: SocketAddr) {
        // Both fit until 2106, as Event-Timestamp does.
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let time = u32::try_from(time).unwrap_or(u32::MAX);
        match self.gate.admit(from, datagram, time, self.clock.now()) {
            Admission::New(order) if self.underway.len() >= MAX_UNDERWAY => {
                let busy = Declined {
                    cause: error_cause::RESOURCES_UNAVAILABLE,
                    reason: "too many orders at once".to_owned(),
                };
                self.finished(&order, Err(busy)).await;
            }
            Admission::New(order) => {
                let shared = Arc::clone(&self.shared);
                self.underway.spawn(async move {
                    let server = from.ip().to_canonical();
                    let outcome = orders::carry_out(&shared, &order.packet.view(), server).await;
                    (order, outcome)
                });
            }
            Admission::Repeat(answer) => {
                self.counters().add(Count::Repeated);
                self.send(&answer, from).await;
            }
            Admission::Ignore(reason) => self.ignored(reason, from),
        }
    }

    fn ignored(&mut self, reason: Ignored, from: SocketAddr) {
        self.counters().add(Count::IncomingIgnored);
        if matches!(reason, Ignored::Underway) {
            return;
        }
        if let Some(times) = self.ignored.speak(Instant::now()) {
            warn!(server = %from, %reason, times, "CoA or Disconnect-Request ignored");
        }
    }

    async fn finished(&mut self, order: &Order, outcome: Result<Done, Declined>) {
        let server = order.from;
        let request = order.packet.view().code();
        match &outcome {
            Ok(done) => {
                self.counters().add(Count::Obeyed);
                let what = match request {
                    Code::DisconnectRequest => "disconnected by RADIUS",
                    _ => "changed by RADIUS",
                };
                info!(%server, users = %done, "{what}");
            }
            Err(Declined { cause, reason }) => {
                self.counters().add(Count::Declined);
                warn!(%server, cause, reason, "{request} refused");
            }
        }
        match self.gate.answer(order, outcome.map(drop).map_err(|declined| declined.cause)) {
            Ok(answer) => self.send(&answer, server).await,
            Err(error) => warn!(%server, %error, "no answer to {request}"),
        }
    }

    /// A lost answer is asked for again.
    async fn send(&self, answer: &[u8], to: SocketAddr) {
        if let Err(error) = self.socket.send_to(answer, to).await {
            debug!(%to, %error, "answer to an order of RADIUS not sent");
        }
    }
}
