//! Calls that begin: the wait for a login's turn, the tunnel, and only then the reply that tells the
//! peer of it (RFC 2637 §3.2). Knows nothing of what passes through the tunnel.

use std::sync::Arc;

use protocol::ppp::link::{self, Link};
use protocol::pptp::connection::{self as pptp, CallHandle, CallRequest, Refusal};
use protocol::pptp::message::codes::GeneralError;
use tracing::{debug, warn};

use super::{Task, Waiting};
use crate::call::{Call, Reach};
use crate::daemon::counters::Count;
use crate::daemon::starting::{Ticket, Turn};
use crate::daemon::subscriber::Subscriber;
use crate::plane::DEFAULT_WINDOW;

impl Task {
    /// The peer wants a call, whose login has to wait for its turn.
    pub(super) async fn requested(&mut self, call: CallHandle, request: CallRequest) {
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
    pub(super) async fn turns(&mut self) {
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
    pub(super) fn accept(&mut self, call: CallHandle, subscriber: Subscriber) {
        let own_call_id = subscriber.call.tunnel().own_call_id();
        self.by_tunnel.insert(subscriber.call.tunnel().id(), call);
        self.calls.insert(call, Box::new(subscriber));
        self.pptp_input(pptp::Input::Accept { call, own_call_id });
    }

    pub(super) fn refuse(&mut self, call: CallHandle, count: Count) {
        self.shared.counters.add(count);
        if self.shared.may_log_stranger() {
            warn!(peer = %self.peer, reason = count.reason(), "call refused");
        }
        let refusal = Refusal::Error(GeneralError::NoResource);
        self.pptp_input(pptp::Input::Refuse { call, refusal });
        self.rest();
    }

    /// Without a call the connection has to go some day.
    pub(super) fn rest(&mut self) {
        if self.calls.is_empty() && self.waiting.is_empty() {
            self.idle_until = Some(self.shared.plane.clock().now() + self.patience());
        }
    }

    pub(super) async fn prepare(
        &self,
        request: &CallRequest,
        ticket: Ticket,
    ) -> Result<Subscriber, Count> {
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
            keepalive: server.keepalive_timeout.unless_zero(),
            login_timeout: self.patience(),
            ..link::Config::new(role)
        };
        let id = tunnel.id();
        let clock = shared.plane.clock();
        let link = Link::new(config, seed);
        let call = Call::new(link, tunnel, clock, Reach::Peer);
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
}
