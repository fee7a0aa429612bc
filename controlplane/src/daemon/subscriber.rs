//! One call of a peer that dials in: its link, its session, its address, and the two lines that
//! the log has of it.
//!
//! The line of a login has each step's time since the TCP connection; the line of the end has the
//! reason. What the peer sent is escaped.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{self, Duration};

use protocol::ppp::auth::Attempt;
use protocol::ppp::ccp;
use protocol::ppp::link::{Network, Phase};
use protocol::time::Instant;
use tracing::{info, warn};

use super::Daemon;
use super::counters::Count;
use super::ending::Ended;
use super::login::Place;
use super::session::Listed;
use crate::call::Call;
use crate::config::Encryption;
use crate::text::printable;

/// A peer that hung up sooner may simply have sent nothing yet.
const GRE_PATIENCE: Duration = Duration::from_secs(5);

/// A call and all that it has. Dropping it closes the tunnel first and then gives the address
/// back, so that no packet of an old session reaches a new one.
#[derive(Debug)]
pub(super) struct Subscriber {
    pub(super) call: Call,
    pub(super) session: Listed,
    place: Option<Place>,
    /// The name as the peer sent it.
    name: Option<String>,
    /// Identifier of the attempt whose verdict is awaited.
    awaited: Option<u8>,
    /// Why it ends, once it is known better than PPTP knows it.
    pub(super) ended: Option<Ended>,
    connected: Instant,
    /// Names and times of the steps so far.
    steps: Vec<String>,
    up: Option<time::Instant>,
}

impl Subscriber {
    pub(super) fn new(
        call: Call,
        session: Listed,
        connected: Instant,
        established: Option<Duration>,
        now: Instant,
    ) -> Self {
        let mut steps = Vec::new();
        if let Some(established) = established {
            steps.push(format!("control={}", milliseconds(established)));
        }
        steps.push(format!("call={}", milliseconds(now - connected)));
        Self {
            call,
            session,
            place: None,
            name: None,
            awaited: None,
            ended: None,
            connected,
            steps,
            up: None,
        }
    }

    pub(super) fn attempt(&mut self, attempt: &Attempt) {
        self.name = Some(printable(&attempt.name));
        self.awaited = Some(attempt.identifier);
    }

    /// Whether a verdict on this attempt still means something.
    pub(super) fn awaits(&self, identifier: u8) -> bool {
        self.awaited == Some(identifier)
    }

    /// Who has which address by now.
    pub(super) fn held(&self) -> Option<(String, Ipv4Addr)> {
        Some((self.session.facts().user?, self.place.as_ref()?.address()))
    }

    pub(super) fn granted(&mut self, user: &str, place: Option<Place>) {
        self.place = place.or(self.place.take());
        self.session.update(|facts| facts.user = Some(user.to_owned()));
    }

    pub(super) fn step(&mut self, step: &str, now: Instant) {
        if self.up.is_none() {
            self.steps.push(format!("{step}={}", milliseconds(now - self.connected)));
        }
    }

    pub(super) async fn up(&mut self, network: &Network, peer: SocketAddr, daemon: &Daemon) {
        if let Some(place) = &mut self.place
            && let Err(error) = place.route(daemon, network.mtu).await
        {
            warn!(session = self.session.id(), address = %network.remote, %error, "no route");
        }
        self.session.update(|facts| {
            facts.phase = Phase::Up;
            facts.address = Some(network.remote);
            facts.local_address = Some(network.local);
            facts.mtu = network.mtu;
        });
        // A renegotiation brings the network back up; the session is the same.
        if self.up.is_some() {
            return;
        }
        let now = time::Instant::now();
        self.up = Some(now);
        self.session.update(|facts| facts.since = now);
        daemon.counters.add(Count::Logins);
        let facts = self.session.facts();
        info!(
            session = self.session.id(),
            user = facts.user.as_deref().map(|user| printable(user.as_bytes())),
            %peer,
            address = %network.remote,
            encoding = facts.encoding,
            mtu = network.mtu,
            steps = self.steps.join(" "),
            "session up"
        );
    }

    /// The line of the end. `cleared` is what PPTP knows of it.
    pub(super) fn report(
        &self,
        cleared: &Ended,
        peer: SocketAddr,
        local: Ipv4Addr,
        daemon: &Daemon,
    ) {
        let counters = self.call.tunnel().counters();
        let Ended { reason, cause } = self.ended.as_ref().unwrap_or(cleared);
        let session = self.session.id();
        let user = self.name.as_deref();
        if let Some(up) = self.up {
            info!(
                session,
                user,
                %peer,
                address = self.place.as_ref().map(|place| place.address().to_string()),
                uptime = up.elapsed().as_secs(),
                rx_bytes = counters.rx_bytes,
                tx_bytes = counters.tx_bytes,
                lost = counters.lost,
                cause = cause.name(),
                reason,
                "session ended"
            );
            return;
        }
        daemon.counters.add(Count::LoginsFailed);
        let steps = self.steps.join(" ");
        let waited = self.call.clock().now() - self.connected >= GRE_PATIENCE;
        let given_up = counters.heard.is_none() && (self.ended.is_some() || waited);
        let diagnosis = given_up.then(|| {
            daemon.counters.add(Count::GreFiltered);
            format!(
                "TCP up, LCP sent, no GRE received: GRE (IP protocol 47) is filtered between {} \
                 and {local}",
                peer.ip()
            )
        });
        // Whoever gives a name is heard: nobody shall hide guesses of passwords behind a flood.
        if user.is_some() || daemon.may_log_stranger() {
            warn!(session, user, %peer, steps, reason, diagnosis, "login failed");
        }
    }
}

/// The configuration's word as CCP's.
pub(super) fn policy(encryption: Encryption) -> ccp::Policy {
    match encryption {
        Encryption::Require => ccp::Policy::default(),
        Encryption::Deny => ccp::Policy::Deny,
    }
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.1}ms", duration.as_secs_f64() * 1e3)
}
