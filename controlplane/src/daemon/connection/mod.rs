//! One control connection of a peer that dials in, and its calls: one task.
//!
//! The order of a call (RFC 2637 §3.2): own Call ID, tunnel in the data plane, only then the reply
//! that tells the peer of it. Whatever ends a call, its tunnel, address and Call ID are given back
//! once, because they are values that the call owns.
//!
//! | module | what |
//! |---|---|
//! | `entry` | calls that begin |
//! | `link` | what their PPP says |

mod entry;
mod link;

use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use dataplane::api::TunnelId;
use protocol::ppp::link as ppp;
use protocol::pptp::connection::{
    self as pptp, CallHandle, CallRequest, ClearCause, CloseReason, Connection,
};
use protocol::pptp::message::Text;
use protocol::pptp::message::codes::StopReason;
use protocol::time::Instant;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tracing::{debug, info, warn};

use super::admission::Permit;
use super::counters::Count;
use super::ending::{Ended, Ending};
use super::starting::Ticket;
use super::subscriber::Subscriber;
use super::{Shared, stop_wanted};
use crate::aaa::Decision;
use crate::config::Config;
use crate::control::{Control, ipv4};
use crate::mailbox::Mailbox;
use crate::plane::Message;
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

/// What all control connections are held to.
pub(super) fn settings(config: &Config, host_name: &str) -> pptp::Config {
    let limits = &config.limits;
    pptp::Config {
        host_name: Text::new(host_name),
        max_calls: u16::try_from(limits.max_calls_per_connection).unwrap_or(u16::MAX),
        establish_timeout: limits.login_timeout.duration(),
        stop_timeout: limits.shutdown_timeout.duration() / 2,
        ..pptp::Config::default()
    }
}

/// Serves one control connection from its TCP connection to its end.
pub async fn run(stream: TcpStream, peer: SocketAddr, permit: Permit, shared: Shared) {
    let (Ok(local), Ok(peer_address)) = (stream.local_addr().and_then(ipv4), ipv4(peer)) else {
        return;
    };
    let clock = shared.plane.clock();
    let machine = Connection::server(Arc::clone(&shared.pptp));
    let (control, events) = Control::new(stream, machine, clock);
    let connected = clock.now();
    let login_until = connected + shared.config.limits.login_timeout.duration();
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
        login_until,
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
        calls.chain(self.control.deadline()).chain(self.idle_until).chain(stop_at).min()
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
        let calls = &self.calls;
        let heard = || calls.values().filter_map(|call| call.call.tunnel().heard()).max();
        let events = self.control.tick(heard);
        self.pending.extend(events);
        let due: Vec<CallHandle> = self
            .calls
            .iter()
            .filter(|(_, call)| call.deadline().is_some_and(|deadline| deadline <= now))
            .map(|(handle, _)| *handle)
            .collect();
        for handle in due {
            if let Some(call) = self.calls.get_mut(&handle) {
                call.check_allowance(now);
                call.advertise().await;
                let events = call.call.tick().await;
                self.link_events(handle, events).await;
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
            let reason = ppp::Reason::Closed(ending.to_string());
            // Whoever takes its place waits, and a Terminate-Request could end that one's link: a
            // router that starts anew may use its Call ID again.
            let input = match ending {
                Ending::Replaced => ppp::Input::Lost(reason),
                _ => ppp::Input::Close(reason),
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
                self.link_input(call, ppp::Input::Open).await;
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
