//! What is known of a client: RouterOS's `monitor`.
//!
//! The client's task writes it, everybody else reads.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dataplane::api::{TunnelCounters, TunnelId};
use protocol::ppp::link::{Network, Step};

use super::Source;
use crate::api::clients::ClientView;
use crate::config::Client;
use crate::dial::outgoing::Progress;
use crate::plane::Plane;

/// What is known of a client.
#[derive(Debug, Default)]
pub struct Status(Mutex<Facts>);

/// RouterOS's four words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// A call is being placed.
    Dialing,
    /// PPP answers, and the login is under way.
    Verifying,
    /// Data passes.
    Connected,
    /// Not enabled, or the server takes no call: the next one follows.
    #[default]
    Terminated,
}

impl State {
    /// RouterOS's word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Dialing => "dialing",
            Self::Verifying => "verifying password...",
            Self::Connected => "connected",
            Self::Terminated => "terminated",
        }
    }
}

#[derive(Debug, Default)]
struct Facts {
    state: State,
    /// Why it is terminated; also while the next call is on its way.
    reason: Option<String>,
    server: Option<SocketAddr>,
    tunnel: Option<TunnelId>,
    encoding: Option<String>,
    local: Option<Ipv4Addr>,
    remote: Option<Ipv4Addr>,
    dns: Vec<Ipv4Addr>,
    mtu: Option<u16>,
    since: Option<Instant>,
    next: Option<Instant>,
    calls: u64,
}

impl Status {
    /// A call begins.
    pub(super) fn dialing(&self) {
        let mut facts = self.facts();
        let (reason, calls) = (facts.reason.take(), facts.calls + 1);
        *facts = Facts { state: State::Dialing, reason, calls, ..Facts::default() };
    }

    /// Whom it is placed to, and by which tunnel.
    pub(super) fn placed(&self, server: SocketAddr, tunnel: TunnelId) {
        let mut facts = self.facts();
        facts.server = Some(server);
        facts.tunnel = Some(tunnel);
    }

    /// The call went on.
    pub(super) fn note(&self, progress: &Progress<'_>) {
        match progress {
            Progress::Link(Step::LcpUp) => self.facts().state = State::Verifying,
            Progress::Encoding(encoding) => self.facts().encoding = Some(encoding.clone()),
            Progress::Up(network) => self.up(network),
            Progress::TcpConnected
            | Progress::Controlled
            | Progress::Called
            | Progress::RouteStays(_)
            | Progress::Link(_) => {}
        }
    }

    fn up(&self, network: &Network) {
        let mut facts = self.facts();
        facts.state = State::Connected;
        facts.reason = None;
        facts.local = Some(network.local);
        facts.remote = Some(network.remote).filter(|remote| !remote.is_unspecified());
        facts.dns = network.dns.iter().flatten().copied().collect();
        facts.mtu = Some(network.mtu);
        facts.since.get_or_insert_with(Instant::now);
    }

    /// It is over; the next call follows after `pause`, if any does.
    pub(super) fn terminated(&self, reason: String, pause: Option<Duration>) {
        let mut facts = self.facts();
        let (calls, next) = (facts.calls, pause.map(|pause| Instant::now() + pause));
        *facts = Facts { reason: Some(reason), calls, next, ..Facts::default() };
    }

    /// Nobody dials.
    pub(super) fn disabled(&self) {
        self.terminated("disabled".to_owned(), None);
    }

    /// How long data could pass so far.
    pub(super) fn uptime(&self) -> Option<Duration> {
        self.facts().since.map(|since| since.elapsed())
    }

    pub(super) fn view(&self, client: &Client, source: Source, plane: &Plane) -> ClientView {
        let facts = self.facts();
        let running = facts.state == State::Connected;
        let counters: TunnelCounters =
            facts.tunnel.and_then(|tunnel| plane.handle().counters(tunnel)).unwrap_or_default();
        ClientView {
            name: client.name.clone(),
            connect_to: client.connect_to.clone(),
            user: client.user.clone(),
            profile: client.profile.clone(),
            allow: client.allow.clone(),
            add_default_route: client.add_default_route,
            default_route_distance: client.default_route_distance,
            routes: client.routes.clone(),
            max_mtu: client.max_mtu,
            max_mru: client.max_mru,
            mrru: client.mrru,
            keepalive_timeout: client.keepalive_timeout.to_string(),
            disabled: client.disabled,
            running,
            comment: client.comment.clone(),
            source: match source {
                Source::File => "configuration".to_owned(),
                Source::Database => "database".to_owned(),
            },
            status: facts.state.word().to_owned(),
            reason: facts.reason.clone(),
            next_call: facts
                .next
                .map(|next| next.saturating_duration_since(Instant::now()).as_secs_f64().ceil()),
            calls: facts.calls,
            server_address: facts.server,
            local_address: facts.local,
            remote_address: facts.remote,
            dns_server: facts.dns.clone(),
            uptime: facts.since.map(|since| since.elapsed().as_secs()),
            idle_time: counters.active.filter(|_| running).map(|ago| ago.as_secs()),
            encoding: facts.encoding.clone().filter(|_| running),
            mtu: facts.mtu,
            mru: running.then_some(client.max_mru),
            rx_packets: counters.rx_packets,
            rx_bytes: counters.rx_bytes,
            tx_packets: counters.tx_packets,
            tx_bytes: counters.tx_bytes,
        }
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
