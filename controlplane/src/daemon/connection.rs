//! One control connection of a peer that dials in, and its calls: one task.
//!
//! The order of a call (RFC 2637 §3.2): own Call ID, tunnel in the data plane, only then the reply
//! that tells the peer of it. Whatever ends a call, its tunnel, address and Call ID are given back
//! once, because they are values that the call owns.

use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use dataplane::api::TunnelId;
use protocol::ppp::link::{self, Link, Verdict};
use protocol::pptp::connection::{
    self as pptp, CallHandle, CallRequest, ClearCause, CloseReason, Connection, Refusal,
};
use protocol::pptp::message::Text;
use protocol::pptp::message::codes::{DisconnectResult, GeneralError, StopReason};
use protocol::time::Instant;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tracing::{debug, info, warn};

use super::admission::Permit;
use super::counters::Count;
use super::ending::{Ended, Ending, TerminateCause};
use super::starting::{Ticket, Turn};
use super::subscriber::{Judging, Subscriber};
use super::{Shared, stop_wanted};
use crate::aaa::{self, Decision, Login, lease};
use crate::call::{Call, Outcome, Reach};
use crate::control::{Control, ipv4};
use crate::mailbox::Mailbox;
use crate::plane::{DEFAULT_WINDOW, Message};
use crate::pool::Lease;

/// What the data plane says that may wait for the task. The data plane limits each tunnel's rate as well.
const INBOX: usize = 256;

/// What was decided about a call, on its way back.
struct Judged {
    call: CallHandle,
    decided: Decided,
}

enum Decided {
    /// A login's verdict.
    Login { identifier: u8, decision: Box<Decision> },
    /// The address of a peer that may choose it.
    Address(Result<Lease, String>),
}

/// What a task that sleeps is woken by, beside the peer's control messages.
enum Wakeup {
    Message(Message),
    Judged(Judged),
    /// Somebody wants something of a session, or a login's turn has come.
    Wishes,
    Stop,
    Deadline,
}

/// A call that waits for its login's turn.
struct Waiting {
    call: CallHandle,
    request: CallRequest,
    ticket: Ticket,
    since: Instant,
}

struct Task {
    shared: Shared,
    peer: SocketAddr,
    peer_address: Ipv4Addr,
    local: Ipv4Addr,
    outer_mtu: u16,
    control: Control,
    /// Boxed, because a map has room for several from the start.
    calls: HashMap<CallHandle, Box<Subscriber>>,
    by_tunnel: HashMap<TunnelId, CallHandle>,
    waiting: Vec<Waiting>,
    inbox: Mailbox<Message>,
    judged: Mailbox<Judged>,
    wake: Arc<Notify>,
    /// Held until a login succeeds.
    permit: Option<Permit>,
    /// When a connection without calls has to go.
    idle_until: Option<Instant>,
    connected: Instant,
    /// When the first login has to be done. Counted once: calls that come and go earn no time.
    login_until: Instant,
    established: Option<Duration>,
    /// When calls that did not end in good order are cut off.
    stop_at: Option<Instant>,
    stop_sent: bool,
    /// What the control connection told and nobody has looked at yet.
    pending: VecDeque<pptp::Event>,
}

/// Serves one control connection from its TCP connection to its end.
pub async fn run(stream: TcpStream, peer: SocketAddr, permit: Permit, shared: Shared) {
    let (Ok(local), Ok(peer_address)) = (stream.local_addr().and_then(ipv4), ipv4(peer)) else {
        return;
    };
    let clock = shared.plane.clock();
    let limits = &shared.config.limits;
    let config = pptp::Config {
        host_name: Text::new(&shared.host_name),
        max_calls: u16::try_from(limits.max_calls_per_connection).unwrap_or(u16::MAX),
        establish_timeout: limits.login_timeout.duration(),
        stop_timeout: limits.shutdown_timeout.duration() / 2,
        ..pptp::Config::default()
    };
    let (control, events) = Control::new(stream, Connection::server(config), clock);
    let connected = clock.now();
    let mut task = Task {
        outer_mtu: control.path_mtu().unwrap_or(1500),
        peer,
        peer_address,
        local,
        control,
        calls: HashMap::new(),
        by_tunnel: HashMap::new(),
        waiting: Vec::new(),
        inbox: Mailbox::new(INBOX),
        // There are no more than this task asked for.
        judged: Mailbox::new(usize::MAX),
        wake: Arc::default(),
        permit: Some(permit),
        // Until then the machine's own time for the start messages counts.
        idle_until: None,
        connected,
        login_until: connected + limits.login_timeout.duration(),
        established: None,
        stop_at: None,
        stop_sent: false,
        pending: VecDeque::new(),
        shared,
    };
    debug!(%peer, "connected");
    task.pending.extend(events);
    task.drive().await;
    // What the machine still had to say goes out, if the peer takes it soon.
    let _ = tokio::time::timeout(Duration::from_secs(1), task.control.flush()).await;
}

impl Task {
    /// What is done is boxed: a session is idle for most of its life, and keeps no room for it then.
    async fn drive(&mut self) {
        let mut stopping = self.shared.stopping.subscribe();
        let clock = self.shared.plane.clock();
        loop {
            while let Some(event) = self.pending.pop_front() {
                Box::pin(self.pptp_event(event)).await;
            }
            self.pending.shrink_to_fit();
            if self.control.is_closed() {
                return;
            }
            if self.stop_at.is_some() && self.calls.is_empty() && !self.stop_sent {
                self.stop_control();
                continue;
            }
            let deadline = self.deadline();
            let wakeup = tokio::select! {
                events = self.control.next() => {
                    self.pending.extend(events);
                    continue;
                }
                message = self.inbox.next() => Wakeup::Message(message),
                judged = self.judged.next() => Wakeup::Judged(judged),
                () = self.wake.notified() => Wakeup::Wishes,
                () = stop_wanted(&mut stopping), if self.stop_at.is_none() => Wakeup::Stop,
                () = clock.wait(deadline) => Wakeup::Deadline,
            };
            Box::pin(self.answer(wakeup)).await;
        }
    }

    async fn answer(&mut self, wakeup: Wakeup) {
        match wakeup {
            Wakeup::Message(message) => self.message(message).await,
            Wakeup::Judged(judged) => self.judged(judged).await,
            Wakeup::Wishes => {
                self.wishes().await;
                self.turns().await;
            }
            Wakeup::Stop => self.stop().await,
            Wakeup::Deadline => self.deadlines().await,
        }
    }

    fn pptp_input(&mut self, input: pptp::Input<'_>) {
        let events = self.control.input(input);
        self.pending.extend(events);
    }

    fn deadline(&self) -> Option<Instant> {
        let calls = self.calls.values().filter_map(|call| call.deadline());
        let stop_at = self.stop_at.filter(|_| !self.stop_sent);
        calls.chain(self.idle_until).chain(stop_at).min()
    }

    async fn deadlines(&mut self) {
        let now = self.shared.plane.clock().now();
        if self.stop_at.is_some_and(|at| at <= now) && !self.stop_sent {
            return self.stop_control();
        }
        if self.idle_until.is_some_and(|until| until <= now) {
            self.idle_until = None;
            if self.permit.is_none() || self.shared.may_log_stranger() {
                info!(peer = %self.peer, "connection closed: it has no call");
            }
            self.pptp_input(pptp::Input::Stop(StopReason::None));
        }
        let due: Vec<CallHandle> = self
            .calls
            .iter()
            .filter(|(_, call)| call.deadline().is_some_and(|deadline| deadline <= now))
            .map(|(handle, _)| *handle)
            .collect();
        for handle in due {
            if let Some(call) = self.calls.get_mut(&handle) {
                call.hold_to_allowance(now);
                call.advertise().await;
                let outcome = call.call.tick().await;
                self.link_outcome(handle, outcome).await;
            }
        }
    }

    async fn message(&mut self, message: Message) {
        let Some(handle) = self.by_tunnel.get(&message.tunnel).copied() else { return };
        match message.input() {
            Ok(input) => self.link_input(handle, input).await,
            Err(packet) => {
                if let Some(call) = self.calls.get_mut(&handle) {
                    call.asked(packet).await;
                }
            }
        }
    }

    /// Somebody wants sessions of this connection to have other terms, or to end.
    async fn wishes(&mut self) {
        for call in self.calls.values_mut() {
            call.renew(&self.shared).await;
        }
        let wishes: Vec<_> = self
            .calls
            .iter()
            .filter_map(|(handle, call)| Some((*handle, call.session.wish()?)))
            .collect();
        for (handle, ending) in wishes {
            let reason = link::Reason::Closed(ending.to_string());
            // Whoever takes its place waits, and a Terminate-Request could end that one's link: a
            // router that starts anew may use its Call ID again.
            let input = match ending {
                Ending::Replaced => link::Input::Lost(reason),
                _ => link::Input::Close(reason),
            };
            self.link_input(handle, input).await;
        }
    }

    fn stop_control(&mut self) {
        self.stop_sent = true;
        self.pptp_input(pptp::Input::Stop(StopReason::LocalShutdown));
    }

    /// The daemon stops: take leave of all calls in good order, for half of the time there is.
    async fn stop(&mut self) {
        let patience = self.shared.config.limits.shutdown_timeout.duration() / 2;
        self.stop_at = Some(self.shared.plane.clock().now() + patience);
        for call in self.calls.values() {
            call.session.disconnect(Ending::Shutdown);
        }
        self.wishes().await;
    }

    async fn pptp_event(&mut self, event: pptp::Event) {
        let peer = self.peer;
        match event {
            pptp::Event::Established { peer: sender, version } => {
                self.established = Some(self.shared.plane.clock().now() - self.connected);
                self.idle_until = Some(self.login_until);
                debug!(
                    %peer,
                    host_name = %sender.host_name,
                    vendor = %sender.vendor,
                    version,
                    "control connection established"
                );
            }
            pptp::Event::CallRequested { call, request } => self.requested(call, request).await,
            pptp::Event::CallEstablished { call, .. } => {
                self.link_input(call, link::Input::Open).await;
            }
            pptp::Event::CallCleared { call, cause, .. } => self.cleared(call, &cause),
            pptp::Event::Closed(reason) => {
                self.report_close(&reason);
            }
            pptp::Event::CallRefused { peer_call_id, error } => {
                debug!(%peer, peer_call_id, %error, "call refused");
            }
            pptp::Event::Ignored { kind, call_id } => {
                debug!(%peer, message = %kind, call_id, "message ignored");
            }
            pptp::Event::EchoUnanswered => debug!(%peer, "peer answers no Echo-Request"),
            pptp::Event::LinkInfo { .. }
            | pptp::Event::WanError { .. }
            | pptp::Event::CallStarted { .. }
            | pptp::Event::CallNotStarted { .. } => {}
        }
    }

    /// The peer wants a call, whose login has to wait for its turn.
    async fn requested(&mut self, call: CallHandle, request: CallRequest) {
        if self.shared.drain.is_on() {
            self.refuse(call, Count::DrainRefused);
            return;
        }
        let ticket = self.shared.starting.join(Arc::clone(&self.wake));
        let since = self.shared.plane.clock().now();
        self.waiting.push(Waiting { call, request, ticket, since });
        self.idle_until = None;
        self.turns().await;
    }

    /// Accepts the calls whose turn has come.
    async fn turns(&mut self) {
        let decided = |waiting: &Waiting| waiting.ticket.turn() != Turn::Waits;
        while let Some(index) = self.waiting.iter().position(decided) {
            let Waiting { call, request, ticket, since } = self.waiting.remove(index);
            if ticket.turn() == Turn::Refused {
                self.refuse(call, Count::QueueTimeout);
                continue;
            }
            // To wait was our wish.
            self.login_until = self.login_until + (self.shared.plane.clock().now() - since);
            match self.prepare(&request, ticket).await {
                Ok(subscriber) => self.accept(call, subscriber),
                Err(count) => self.refuse(call, count),
            }
        }
        self.waiting.shrink_to_fit();
    }

    /// The call has its tunnel: tell the peer.
    fn accept(&mut self, call: CallHandle, subscriber: Subscriber) {
        let own_call_id = subscriber.call.tunnel().own_call_id();
        self.by_tunnel.insert(subscriber.call.tunnel().id(), call);
        self.calls.insert(call, Box::new(subscriber));
        self.pptp_input(pptp::Input::Accept { call, own_call_id });
    }

    fn refuse(&mut self, call: CallHandle, count: Count) {
        self.shared.counters.add(count);
        if self.shared.may_log_stranger() {
            warn!(peer = %self.peer, reason = count.name(), "call refused");
        }
        let refusal = Refusal::Error(GeneralError::NoResource);
        self.pptp_input(pptp::Input::Refuse { call, refusal });
        self.rest();
    }

    /// Without a call the connection has to go some day.
    fn rest(&mut self) {
        if self.calls.is_empty() && self.waiting.is_empty() {
            self.idle_until = Some(self.shared.plane.clock().now() + self.patience());
        }
    }

    async fn prepare(&self, request: &CallRequest, ticket: Ticket) -> Result<Subscriber, Count> {
        let shared = &self.shared;
        let call_id = shared.plane.call_id(self.peer_address).map_err(|_| Count::CallsRefused)?;
        let window = request.peer_window().unwrap_or(DEFAULT_WINDOW);
        let peer_call_id = request.peer_call_id();
        let tunnel = shared
            .plane
            .open(call_id, self.local, peer_call_id, window, self.inbox.clone())
            .await
            .map_err(|error| {
                debug!(peer = %self.peer, %error, "no tunnel");
                Count::CallsRefused
            })?;
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|_| Count::CallsRefused)?;
        let server = &shared.config.server;
        let keepalive = server.keepalive_timeout.unless_zero();
        let name = shared.host_name.clone().into_bytes();
        let role = link::Role::Server {
            name,
            methods: server.methods(),
            challenge_interval: server.chap_interval.unless_zero(),
        };
        let config = link::Config {
            mru: server.max_mru,
            mrru: server.mrru.offered(),
            mtu: server.max_mtu,
            outer_mtu: self.outer_mtu,
            encryption: server.encryption_policy(server.encryption),
            keepalive,
            login_timeout: self.patience(),
            ..link::Config::new(role)
        };
        let id = tunnel.id();
        let clock = shared.plane.clock();
        let link = Link::new(config, seed);
        let call = Call::new(link, tunnel, clock, Reach::Peer, keepalive);
        let session = shared
            .sessions
            .begin(
                shared.config.limits.max_sessions,
                self.peer_address,
                id,
                shared.plane.clone(),
                server.max_mru,
                Arc::clone(&self.wake),
            )
            .ok_or(Count::SessionsRefused)?;
        let steps = (self.connected, self.established, clock.now());
        Ok(Subscriber::new(call, session, ticket, steps))
    }

    async fn link_input(&mut self, handle: CallHandle, input: link::Input<'_>) {
        if let Some(call) = self.calls.get_mut(&handle) {
            let outcome = call.call.input(input).await;
            self.link_outcome(handle, outcome).await;
        }
    }

    async fn link_outcome(&mut self, handle: CallHandle, outcome: Outcome) {
        if outcome.alive {
            self.pptp_input(pptp::Input::PppAlive);
        }
        for event in outcome.events {
            let now = self.shared.plane.clock().now();
            let Some(call) = self.calls.get_mut(&handle) else { return };
            match event {
                link::Event::Authenticate(attempt) => {
                    let (shared, judged) = (Arc::clone(&self.shared), self.judged.clone());
                    let (name, identifier) = (attempt.name.clone(), attempt.identifier);
                    let login = Login {
                        attempt,
                        session: call.session.handle(),
                        peer: self.peer_address,
                        local: self.local,
                        placed: call.placed(),
                    };
                    let ticket = call.ticket().map(Ticket::asked);
                    let judging = Judging::start(async move {
                        let decision = aaa::judge(&shared, &login, ticket).await;
                        let decision = Box::new(decision);
                        let decided = Decided::Login { identifier, decision };
                        // A connection that ended meanwhile gives the address back by dropping it.
                        let _ = judged.put(Judged { call: handle, decided });
                    });
                    call.attempt(&name, identifier, judging);
                }
                link::Event::AddressWanted(wanted) => {
                    let (shared, judged) = (Arc::clone(&self.shared), self.judged.clone());
                    let (had, terms) = (call.address(), call.session.terms());
                    let outer = [self.peer_address, self.local];
                    call.chooses(Judging::start(async move {
                        let lease = match terms.filter(|_| had.is_none()) {
                            Some(terms) => lease::choose(&shared, &terms, wanted, outer).await,
                            None => Err("there is nothing to choose".to_owned()),
                        };
                        let decided = Decided::Address(lease);
                        let _ = judged.put(Judged { call: handle, decided });
                    }));
                }
                link::Event::Step(step) => call.step(&step.to_string(), now),
                link::Event::Encryption(encryption) => {
                    call.session.update(|facts| facts.encoding = encryption.to_string());
                }
                link::Event::MultilinkAgreed(multilink) => {
                    let mrru = multilink.receive.map(|receiving| receiving.mrru);
                    call.session.update(|facts| facts.mrru = mrru);
                }
                link::Event::BridgeUp(bridging) => {
                    let session = call.session.id();
                    let link::Bridging { largest, tagged } = bridging;
                    info!(session, largest, tagged, "session bridged");
                }
                link::Event::NetworkUp(network) => {
                    let ends = (self.peer_address, self.local);
                    call.up(&network, self.peer, ends, &self.shared).await;
                    self.permit = None;
                }
                link::Event::Down(reason) => {
                    let wish = call.session.wish();
                    call.ended.get_or_insert_with(|| Ended::of_link(&reason, wish.as_ref()));
                    let result = DisconnectResult::AdminShutdown;
                    self.pptp_input(pptp::Input::ClearCall { call: handle, result });
                }
                link::Event::NetworkDown => call.down(&self.shared).await,
                link::Event::Ipv6Up(identifiers) => {
                    call.ipv6(Some(identifiers), &self.shared).await;
                }
                link::Event::Ipv6Down => call.ipv6(None, &self.shared).await,
                link::Event::FramingAgreed { .. }
                | link::Event::BridgeDown
                | link::Event::Resynchronise => {}
            }
        }
        if let Some(call) = self.calls.get(&handle) {
            let phase = call.call.phase();
            call.session.update(|facts| facts.phase = phase);
        }
    }

    async fn judged(&mut self, judged: Judged) {
        let Judged { call: handle, decided } = judged;
        let Some(call) = self.calls.get_mut(&handle) else { return };
        let (identifier, decision) = match decided {
            Decided::Login { identifier, decision } => (identifier, decision),
            Decided::Address(lease) => {
                let input = match call.chosen(lease, &self.shared).await {
                    Ok(address) => link::Input::Assign(address),
                    Err(reason) => {
                        self.shared.counters.add(Count::NoAddress);
                        link::Input::Close(link::Reason::Closed(reason))
                    }
                };
                return self.link_input(handle, input).await;
            }
        };
        // The peer has begun anew meanwhile: what it would get now is another login's.
        if !call.was_judged(identifier) {
            return;
        }
        let input = match *decision {
            Decision::Grant { terms, place, accepted } => {
                // What was wrong with an earlier try of the same exchange.
                call.ended = None;
                let encryption = Some(terms.encryption);
                match call.granted(*terms, place.map(|place| *place), &self.shared).await {
                    Some(addresses) => {
                        let message = "Access granted".to_owned();
                        let verdict = Verdict::Accept { accepted, addresses, encryption, message };
                        link::Input::Verdict { identifier, verdict }
                    }
                    None => link::Input::Close(link::Reason::Closed("no address".to_owned())),
                }
            }
            Decision::Refuse { refusal, reason, retry, message } => {
                call.ended = Some(Ended { reason, cause: TerminateCause::UserError });
                let message = message.unwrap_or_else(|| "Access denied".to_owned());
                link::Input::Verdict {
                    identifier,
                    verdict: Verdict::Reject { refusal, message, retry },
                }
            }
            Decision::Nothing { reason } => link::Input::Close(link::Reason::Closed(reason)),
        };
        self.link_input(handle, input).await;
    }

    /// A call is over: say so, and give back all that it had.
    fn cleared(&mut self, handle: CallHandle, cause: &ClearCause) {
        if let Some(index) = self.waiting.iter().position(|waiting| waiting.call == handle) {
            self.waiting.remove(index);
            self.shared.counters.add(Count::GaveUpWaiting);
            return self.rest();
        }
        let Some(mut call) = self.calls.remove(&handle) else { return };
        self.by_tunnel.remove(&call.call.tunnel().id());
        // Why the control connection ended is told next.
        let closed = self.pending.iter().find_map(|event| match event {
            pptp::Event::Closed(reason) => Some(reason),
            _ => None,
        });
        // A peer that hangs up says why in PPP, and may clear the call before that took its course.
        if let (Some(reason), wish) = (call.call.ending(), call.session.wish()) {
            let ended = Ended::of_link(reason, wish.as_ref());
            call.ended.get_or_insert(ended);
        }
        let ended = Ended::of_call(cause, closed);
        call.report(&ended, self.peer, self.local, &self.shared);
        drop(call);
        self.rest();
    }

    /// How long the next login may take.
    fn patience(&self) -> Duration {
        match self.permit {
            Some(_) => self.login_until - self.shared.plane.clock().now(),
            None => self.shared.config.limits.login_timeout.duration(),
        }
    }

    fn report_close(&self, reason: &CloseReason) {
        let peer = self.peer;
        let violation = matches!(
            reason,
            CloseReason::Malformed(_)
                | CloseReason::Unexpected(_)
                | CloseReason::PeerCallIdTwice(_)
        );
        if violation {
            self.shared.counters.add(Count::Violations);
        }
        match reason {
            CloseReason::Stopped
            | CloseReason::StopUnanswered
            | CloseReason::PeerStopped(_)
            | CloseReason::PeerClosed => debug!(%peer, %reason, "control connection closed"),
            _ if !self.shared.may_log_stranger() => {}
            _ if violation => warn!(%peer, %reason, "control connection closed"),
            _ => info!(%peer, %reason, "control connection closed"),
        }
    }
}
