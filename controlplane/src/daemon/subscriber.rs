//! One call of a peer that dials in: its link, its session, its address, and the two lines that
//! the log has of it.
//!
//! The line of a login has each step's time since the TCP connection; the line of the end has the
//! reason. What the peer sent is escaped.

use std::mem;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{self, Duration};

use dataplane::api;
use protocol::ppp::link::{self, Identifiers, Network, Phase};
use protocol::time::Instant;
use tokio::task::AbortHandle;
use tracing::{info, warn};

use super::counters::Count;
use super::ending::Ended;
use super::outward::{Ends, Outward};
use super::router::{Circumstances, Gateway};
use super::session::Listed;
use super::starting::Ticket;
use super::{Daemon, allowance};
use crate::aaa::place::Place;
use crate::bridging;
use crate::call::{Bounds, Call};
use crate::pool::Lease;
use crate::terms::{Forward, Terms};
use crate::text::printable;

/// A peer that hung up sooner may simply have sent nothing yet.
const GRE_PATIENCE: Duration = Duration::from_secs(5);

/// What the data plane keeps of the terms.
fn bounds(terms: &Terms, place: Option<&Place>, daemon: &Daemon) -> Bounds {
    // Whoever names a filter made sure that there is one.
    let rules = |name: &Option<String>| {
        name.as_ref().and_then(|name| daemon.filters.get(name)).cloned().unwrap_or_default()
    };
    let networks = place.map(|place| place.networks(&daemon.config, terms));
    Bounds {
        clamp_mss: terms.clamp_mss,
        mtu: terms.mtu,
        behind: networks.iter().flatten().map(|route| route.destination).collect(),
        limits: terms.rate_limit.limits(),
        incoming: rules(&terms.incoming_filter),
        outgoing: rules(&terms.outgoing_filter),
    }
}

/// A login that is being judged. Dropping it cancels it: nobody is asked any more, and what it
/// took already is given back.
#[derive(Debug)]
pub(super) struct Judging(AbortHandle);

impl Judging {
    /// Judges in a task of its own, and hands the outcome to `done`.
    pub(super) fn start(judge: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(judge).abort_handle())
    }
}

impl Drop for Judging {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A call and all that it has. Dropping it closes the tunnel first and then gives the address
/// back, so that no packet of an old session reaches a new one.
#[derive(Debug)]
pub(super) struct Subscriber {
    /// What others are told of it; before the tunnel, which has its last figures.
    outward: Option<Outward>,
    pub(super) call: Call,
    pub(super) session: Listed,
    place: Option<Place>,
    /// The name as the peer sent it.
    name: Option<Vec<u8>>,
    /// Identifier of the attempt whose verdict is awaited.
    awaited: Option<u8>,
    /// Who judges it.
    judging: Option<Judging>,
    /// Its turn to log in, until somebody judges it.
    ticket: Option<Ticket>,
    /// Who decides about the address that the peer wants.
    choosing: Option<Judging>,
    /// Why it ends, once it is known better than PPTP knows it.
    pub(super) ended: Option<Ended>,
    connected: Instant,
    /// Names and times of the steps so far.
    steps: Vec<String>,
    up: Option<Instant>,
    /// What we are to the host beside moving its packets.
    gateway: Gateway,
    /// When it has to be asked whether the session has used up what it may.
    check_at: Option<Instant>,
}

impl Subscriber {
    /// Begins with the times of the TCP connection, of what its control connection took, and of
    /// now.
    pub(super) fn new(
        call: Call,
        session: Listed,
        ticket: Ticket,
        (connected, established, now): (Instant, Option<Duration>, Instant),
    ) -> Self {
        let mut steps = Vec::new();
        if let Some(established) = established {
            steps.push(format!("control={}", milliseconds(established)));
        }
        steps.push(format!("call={}", milliseconds(now - connected)));
        Self {
            outward: None,
            call,
            session,
            place: None,
            name: None,
            awaited: None,
            judging: None,
            choosing: None,
            ticket: Some(ticket),
            ended: None,
            connected,
            steps,
            up: None,
            gateway: Gateway::default(),
            check_at: None,
        }
    }

    /// A login is being judged; one that was before is cancelled.
    pub(super) fn attempt(&mut self, name: &[u8], identifier: u8, judging: Judging) {
        self.name = Some(name.to_vec());
        self.awaited = Some(identifier);
        self.judging = Some(judging);
    }

    /// Its turn to log in, for whoever judges the first attempt.
    pub(super) fn ticket(&mut self) -> Option<Ticket> {
        self.ticket.take()
    }

    /// A verdict came. Whether it still means something: it is on the latest attempt.
    pub(super) fn was_judged(&mut self, identifier: u8) -> bool {
        if self.awaited != Some(identifier) {
            return false;
        }
        // Its task would keep its memory.
        self.judging = None;
        true
    }

    /// The peer's wish for an address is being decided about; one before is forgotten.
    pub(super) fn chooses(&mut self, choosing: Judging) {
        self.choosing = Some(choosing);
    }

    /// What was decided. The address is the one that it has already, if it has one.
    pub(super) async fn chosen(
        &mut self,
        lease: Result<Lease, String>,
        daemon: &Daemon,
    ) -> Result<Ipv4Addr, String> {
        self.choosing = None;
        let place = self.place.as_mut().ok_or("it has no place")?;
        if let Some(address) = place.address() {
            return Ok(address);
        }
        let lease = lease?;
        let address = lease.address();
        place.settle(lease);
        if let Some(terms) = self.session.terms() {
            self.call.set_bounds(bounds(&terms, self.place.as_ref(), daemon)).await;
        }
        Ok(address)
    }

    /// The address that it has.
    pub(super) fn address(&self) -> Option<Ipv4Addr> {
        self.place.as_ref().and_then(Place::address)
    }

    /// Whether it has a place.
    pub(super) const fn placed(&self) -> bool {
        self.place.is_some()
    }

    /// What IPCP is to assign, now that the login is granted. `None` if it has no place.
    pub(super) async fn granted(
        &mut self,
        terms: Terms,
        place: Option<Place>,
        daemon: &Daemon,
    ) -> Option<link::Addresses> {
        self.place = place.or(self.place.take());
        let place = self.place.as_ref()?;
        let ipv6 = terms.ipv6.negotiation(place.ipv6());
        let mut addresses = terms.addresses(place.address(), ipv6);
        let tap = match (&terms.bridge, self.call.tap()) {
            (None, _) => None,
            // Another login of the same call.
            (Some(_), Some(tap)) => Some(tap.clone()),
            (Some(bridge), None) => {
                let session = self.session.id();
                let name = format!("ptap{session}");
                let made = bridging::attach(&daemon.plane, &daemon.kernel, name, bridge).await;
                made.inspect_err(|reason| warn!(session, reason, "the session is not bridged")).ok()
            }
        };
        addresses.bridge = tap.is_some();
        self.call.set_tap(tap);
        let interface = place.device().map(|device| device.name().to_owned());
        self.session.update(|facts| facts.interface = interface);
        self.take_terms(Arc::new(terms), daemon).await;
        // Wishes were about the terms of the login before.
        if let Some((_, version)) = self.session.wanted_terms() {
            self.session.terms_applied(version);
        }
        Some(addresses)
    }

    /// Holds the session to other terms from now on, if somebody wants that.
    pub(super) async fn renew(&mut self, daemon: &Daemon) {
        if let Some((terms, version)) = self.session.wanted_terms() {
            self.take_terms(terms, daemon).await;
            self.tell_kernel(daemon).await;
            self.session.terms_applied(version);
        }
    }

    /// The kernel learns of the session's networks, if it is up.
    async fn tell_kernel(&mut self, daemon: &Daemon) {
        let facts = self.session.facts();
        if let (Some(place), Some(terms), Some(local)) =
            (&mut self.place, facts.terms, facts.local_address)
            && let Err(error) = place.route(daemon, local, facts.mtu, &terms).await
        {
            let address = facts.address.map(|address| address.to_string());
            warn!(session = self.session.id(), address, %error, "no route");
        }
    }

    async fn take_terms(&mut self, terms: Arc<Terms>, daemon: &Daemon) {
        self.call.set_bounds(bounds(&terms, self.place.as_ref(), daemon)).await;
        self.forward_by(terms.forward).await;
        let is_other = self.session.terms().is_none_or(|before| before != terms);
        self.session.update(|facts| {
            facts.user = Some(terms.user.clone());
            facts.terms = Some(terms);
        });
        self.hold_to_allowance(self.call.clock().now());
        if let Some(outward) = &mut self.outward
            && is_other
        {
            outward.renew(&self.session);
        }
    }

    /// Packets pass the session's own interface, or the way that its terms say.
    async fn forward_by(&mut self, forward: Forward) {
        let device = self.place.as_ref().and_then(Place::device);
        let (wanted, same) = match (device, forward, self.call.forward()) {
            (Some(device), _, before) => {
                let same =
                    matches!(before, api::Forward::Device(had) if had.name() == device.name());
                (api::Forward::Device(device.clone()), same)
            }
            (None, Forward::Fast, before) => {
                (api::Forward::Fast, matches!(before, api::Forward::Fast))
            }
            (None, Forward::Kernel, before) => {
                (api::Forward::Kernel, matches!(before, api::Forward::Kernel))
            }
        };
        if !same {
            self.call.set_forward(wanted).await;
        }
    }

    /// When something of it is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        [self.call.deadline(), self.check_at, self.gateway.deadline()].into_iter().flatten().min()
    }

    /// Wants the session to end if it has used up what it may.
    pub(super) fn hold_to_allowance(&mut self, now: Instant) {
        self.check_at = None;
        let (Some(up), Some(terms)) = (self.up, self.session.terms()) else { return };
        match allowance::judge(&terms, &self.call.tunnel().counters(), up, now) {
            Ok(next) => self.check_at = next,
            Err(ending) => self.session.disconnect(ending),
        }
    }

    /// The same, if it is due.
    pub(super) fn check_allowance(&mut self, now: Instant) {
        if self.check_at.is_some_and(|at| at <= now) {
            self.hold_to_allowance(now);
        }
    }

    pub(super) fn step(&mut self, step: &str, now: Instant) {
        if self.up.is_none() {
            self.steps.push(format!("{step}={}", milliseconds(now - self.connected)));
        }
    }

    /// The peer asked its router something.
    pub(super) async fn asked(&mut self, packet: &[u8]) {
        self.gateway.packet(&self.call, packet, self.session.id()).await;
    }

    /// Tells the host again what its router is, if that is due.
    pub(super) async fn advertise(&mut self) {
        self.gateway.tick(&self.call, self.session.id()).await;
    }

    /// IPCP is open no longer.
    pub(super) async fn down(&mut self, daemon: &Daemon) {
        self.gateway.set_network(None);
        self.refresh_gateway(daemon).await;
    }

    /// IPV6CP is open, or no longer.
    pub(super) async fn ipv6(&mut self, identifiers: Option<Identifiers>, daemon: &Daemon) {
        self.gateway.set_identifiers(identifiers);
        if let Some(place) = &mut self.place
            && identifiers.is_some()
            && let Err(error) = place.route_ipv6(daemon).await
        {
            warn!(session = self.session.id(), %error, "no route");
        }
        self.refresh_gateway(daemon).await;
        self.session.update(|facts| {
            facts.interface_id = identifiers.map(|identifiers| identifiers.remote);
        });
        if let Some(outward) = &self.outward {
            outward.readdress(&self.session);
        }
    }

    async fn refresh_gateway(&mut self, daemon: &Daemon) {
        let Some(terms) = self.session.terms() else { return };
        let given = self.place.as_ref().and_then(Place::ipv6);
        let about =
            Circumstances { terms: &terms, given, duid: &daemon.duid, session: self.session.id() };
        self.gateway.refresh(&mut self.call, &about).await;
    }

    pub(super) async fn up(
        &mut self,
        network: &Network,
        peer: SocketAddr,
        ends: (Ipv4Addr, Ipv4Addr),
        daemon: &Daemon,
    ) {
        let mtu = self.call.mtu(network);
        self.gateway.set_network(Some(*network));
        self.refresh_gateway(daemon).await;
        let given = self.place.as_ref().and_then(Place::ipv6);
        let (prefix, delegated) =
            given.map(|given| (given.prefix(), given.delegated())).unwrap_or_default();
        self.session.update(|facts| {
            facts.ipv6_prefix = prefix;
            facts.delegated_ipv6_prefix = delegated;
            facts.address = Some(network.remote);
            facts.local_address = Some(network.local);
            facts.mtu = mtu;
        });
        self.tell_kernel(daemon).await;
        // Whoever sees it up finds its routes.
        self.session.update(|facts| facts.phase = Phase::Up);
        // A renegotiation brings the network back up; the session is the same.
        if self.up.is_some() {
            return;
        }
        let now = self.call.clock().now();
        self.up = Some(now);
        self.session.update(|facts| facts.since = time::Instant::now());
        daemon.counters.add(Count::Logins);
        let (peer_address, local) = ends;
        let ends = Ends { peer: peer_address, local, remote: network.remote, own: network.local };
        let name = self.name.as_deref().unwrap_or_default();
        self.outward = Outward::open(daemon, &self.session, name, ends);
        self.hold_to_allowance(now);
        let facts = self.session.facts();
        info!(
            session = self.session.id(),
            user = facts.user.as_deref().map(|user| printable(user.as_bytes())),
            %peer,
            address = %network.remote,
            encoding = facts.encoding,
            mtu,
            steps = mem::take(&mut self.steps).join(" "),
            "session up"
        );
    }

    /// The line of the end. `cleared` is what PPTP knows of it.
    pub(super) fn report(
        &mut self,
        cleared: &Ended,
        peer: SocketAddr,
        local: Ipv4Addr,
        daemon: &Daemon,
    ) {
        let counters = self.call.tunnel().counters();
        let Ended { reason, cause } = self.ended.as_ref().unwrap_or(cleared);
        let session = self.session.id();
        if let Some(outward) = self.outward.take() {
            outward.end(*cause);
        }
        if let Some(up) = self.up {
            // The account's name, as in the line of the begin: `DOMAIN\` and case are the peer's.
            let user = self.session.facts().user;
            info!(
                session,
                user = user.as_deref().map(|user| printable(user.as_bytes())),
                %peer,
                address = self.address().map(|address| address.to_string()),
                uptime = (self.call.clock().now() - up).as_secs(),
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
        let user = self.name.as_deref().map(printable);
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

fn milliseconds(duration: Duration) -> String {
    format!("{:.1}ms", duration.as_secs_f64() * 1e3)
}
