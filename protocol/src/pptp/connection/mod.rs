//! The control connection and its calls, for both ends (RFC 2637 §3.1, §3.2).
//! Never closes TCP and never touches a tunnel: its owner does, told by events. A call is answered
//! only when the owner has accepted it, so that the tunnel exists before the peer hears of it.
//! All state is plain numbers and bounded; nothing of it points anywhere.

mod api;
mod calls;
mod handlers;

use std::collections::VecDeque;
use std::sync::Arc;

pub use api::{
    CallHandle, CallRequest, ClearCause, CloseReason, Config, Direction, Event, Input, Refusal,
    Role,
};
use calls::{Call, Step};

use super::VERSION;
use super::message::codes::{GeneralError, StartResult, StopReason};
use super::message::{EchoRequest, Message, Sender, StartReply, StartRequest, StopRequest};
use super::stream::Splitter;
use crate::machine::{Machine, Output};
use crate::time::Instant;

/// One control connection.
#[derive(Debug, Clone)]
pub struct Connection {
    role: Role,
    config: Arc<Config>,
    state: State,
    splitter: Splitter,
    calls: Vec<Call>,
    next_call: u32,
    echo_identifier: u32,
    ppp_alive: Option<Instant>,
    outputs: VecDeque<Output<Message, Event>>,
}

/// The states of RFC 2637 §3.1.1 and §3.1.2, each with what it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before [`Input::Opened`].
    Idle,
    /// A client waits for Start-Control-Connection-Reply, a server for the request.
    WaitStart { until: Instant },
    /// Calls come and go.
    Established(Liveness),
    /// We sent Stop-Control-Connection-Request.
    WaitStopReply { until: Instant, then: CloseReason },
    /// Over.
    Closed,
}

/// Whether the peer is known to be there (RFC 2637 §3.1.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Liveness {
    /// The last message came at `since`.
    Heard { since: Instant },
    /// An Echo-Request is out, its reply is not in.
    Asked { at: Instant },
}

impl Connection {
    /// The end that accepted the TCP connection. Connections may share their configuration.
    #[must_use]
    pub fn server(config: impl Into<Arc<Config>>) -> Self {
        Self::new(Role::Server, config.into())
    }

    /// The end that opened the TCP connection.
    #[must_use]
    pub fn client(config: impl Into<Arc<Config>>) -> Self {
        Self::new(Role::Client, config.into())
    }

    fn new(role: Role, config: Arc<Config>) -> Self {
        Self {
            role,
            config,
            state: State::Idle,
            splitter: Splitter::new(),
            calls: Vec::new(),
            next_call: 0,
            echo_identifier: 0,
            ppp_alive: None,
            outputs: VecDeque::new(),
        }
    }

    /// Whether start messages were exchanged and the end has not begun.
    #[must_use]
    pub const fn is_established(&self) -> bool {
        matches!(self.state, State::Established(_))
    }

    /// Calls that are requested, established or being cleared.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    fn send(&mut self, message: Message) {
        self.outputs.push_back(Output::Send(message));
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Loss of the connection clears all of its calls.
    fn end_calls(&mut self) {
        for call in std::mem::take(&mut self.calls) {
            self.event(call.cleared(ClearCause::ConnectionEnded));
        }
    }

    fn close(&mut self, reason: CloseReason) {
        self.end_calls();
        self.state = State::Closed;
        self.event(Event::Closed(reason));
    }

    fn stop(&mut self, reason: StopReason, then: CloseReason, now: Instant) {
        // RFC 2637 §2.3: all active calls are implicitly cleared.
        self.end_calls();
        self.send(Message::StopRequest(StopRequest { reason }));
        self.state = State::WaitStopReply { until: now + self.config.stop_timeout, then };
    }

    fn sender(&self) -> Sender {
        Sender {
            framing_capabilities: 3,
            bearer_capabilities: 3,
            // RFC 2637 §2.1: a PNS sends 0. The client is one.
            maximum_channels: match self.role {
                Role::Server => self.config.max_calls,
                Role::Client => 0,
            },
            firmware_revision: self.config.firmware_revision,
            host_name: self.config.host_name,
            vendor: self.config.vendor,
        }
    }

    fn send_start_reply(&mut self, result: StartResult) {
        let sender = self.sender();
        let error = GeneralError::None;
        self.send(Message::StartReply(StartReply { version: VERSION, result, error, sender }));
    }

    fn opened(&mut self, now: Instant) {
        if self.state != State::Idle {
            return;
        }
        self.state = State::WaitStart { until: now + self.config.establish_timeout };
        if self.role == Role::Client {
            let sender = self.sender();
            self.send(Message::StartRequest(StartRequest { version: VERSION, sender }));
        }
    }

    fn received(&mut self, mut octets: &[u8], now: Instant) {
        while self.state != State::Closed
            && let Some(message) = self.splitter.next(&mut octets)
        {
            match message {
                Ok(message) => self.message(&message, now),
                // RFC 2637 §3: a malformed message closes the connection.
                Err(error) => self.close(error.into()),
            }
        }
    }

    fn peer_closed(&mut self) {
        match self.state {
            State::Closed => {}
            State::WaitStopReply { then, .. } => self.close(then),
            _ => self.close(CloseReason::PeerClosed),
        }
    }

    fn stop_wanted(&mut self, reason: StopReason, now: Instant) {
        match self.state {
            State::Established(_) => self.stop(reason, CloseReason::Stopped, now),
            State::Idle | State::WaitStart { .. } => self.close(CloseReason::Stopped),
            State::WaitStopReply { .. } | State::Closed => {}
        }
    }

    fn deadline_passed(&mut self, now: Instant) {
        if let Some(kind) = self.overdue_call(now) {
            self.close(CloseReason::CallTimeout(kind));
            return;
        }
        match self.state {
            // RFC 2637 §3.1.4, 1.
            State::WaitStart { until } if now >= until => self.close(CloseReason::NotEstablished),
            State::WaitStopReply { until, then } if now >= until => {
                let unanswered = then == CloseReason::Stopped;
                self.close(if unanswered { CloseReason::StopUnanswered } else { then });
            }
            // RFC 2637 §3.1.4, 2.
            State::Established(Liveness::Heard { since })
                if now >= since + self.config.echo_interval =>
            {
                self.echo_identifier = self.echo_identifier.wrapping_add(1);
                let identifier = self.echo_identifier;
                self.send(Message::EchoRequest(EchoRequest { identifier }));
                self.state = State::Established(Liveness::Asked { at: now });
            }
            State::Established(Liveness::Asked { at }) if now >= at + self.config.echo_timeout => {
                if self.config.ppp_keeps_alive && self.ppp_alive >= Some(at) {
                    self.event(Event::EchoUnanswered);
                    self.state = State::Established(Liveness::Heard { since: now });
                } else {
                    self.close(CloseReason::EchoTimeout);
                }
            }
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let own = match self.state {
            State::Idle | State::Closed => None,
            State::WaitStart { until } | State::WaitStopReply { until, .. } => Some(until),
            State::Established(Liveness::Heard { since }) => {
                Some(since + self.config.echo_interval)
            }
            State::Established(Liveness::Asked { at }) => Some(at + self.config.echo_timeout),
        };
        own.into_iter().chain(self.calls.iter().filter_map(Call::deadline)).min()
    }

    /// Which message a call of ours has waited for too long.
    fn overdue_call(&self, now: Instant) -> Option<super::message::Kind> {
        self.calls.iter().find(|call| call.deadline().is_some_and(|until| now >= until))?.awaited()
    }
}

impl Machine for Connection {
    type Input<'a> = Input<'a>;
    type Send = Message;
    type Event = Event;

    fn handle(&mut self, input: Input<'_>, now: Instant) {
        match input {
            Input::Opened => self.opened(now),
            Input::Received(octets) => self.received(octets, now),
            Input::DeadlinePassed => self.deadline_passed(now),
            Input::PeerClosed => self.peer_closed(),
            Input::Accept { call, own_call_id } => self.accept(call, own_call_id, now),
            Input::Refuse { call, refusal } => self.refuse(call, refusal, ClearCause::Local),
            Input::StartCall { direction, own_call_id } => {
                self.start_call(direction, own_call_id, now);
            }
            Input::ClearCall { call, result } => self.clear_call(call, result, now),
            Input::Stop(reason) => self.stop_wanted(reason, now),
            Input::PppAlive(at) => self.ppp_alive = self.ppp_alive.max(Some(at)),
        }
    }

    fn poll_output(&mut self) -> Output<Message, Event> {
        self.outputs.pop_front().unwrap_or_else(|| {
            // An idle connection keeps no queue.
            self.outputs = VecDeque::new();
            Output::Wait(self.deadline())
        })
    }
}

#[cfg(test)]
mod tests;
