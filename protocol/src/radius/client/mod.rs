//! The machine that asks a service of several servers: authentication, or accounting.
//!
//! Implements RFC 2865 §2.4 and §2.5 and RFC 5080 §2.2.1: a retransmission is the same octets, a
//! changed request is a new one, identifiers rotate, back-off has jitter, a silent server gives
//! way to the next. An answer that cannot be believed is counted and the true one awaited. Opens
//! no socket: the owner sends [`Transmit`]s from as many ports as they name.

mod api;
mod server;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::machine::{Machine, Output};
use crate::ppp::entropy::Entropy;
use crate::time::Instant;

pub use api::{Answer, Event, Failure, Ignored, Input, Request, Server, Ticket, Transmit};
use server::{Pick, Sent, State};

use super::{Packet, Presence};

/// Fewer waiting requests are not worth a look for those that were given up.
const MIN_SWEPT: usize = 64;

/// Most requests that wait because the servers have their hands full.
pub const MAX_WAITING: usize = 65_536;

/// A request on its way.
#[derive(Debug)]
struct Pending {
    request: Request,
    asked: Instant,
    /// Where it was sent, the last one last; each server at most once.
    sent: Vec<Sent>,
    /// When the last one is due again; `None` while it waits for a server.
    due: Option<Instant>,
}

impl Pending {
    fn tried(&self, server: usize) -> bool {
        self.sent.iter().any(|sent| sent.server == server)
    }

    /// Whether a server lives that has not had it yet.
    fn has_alternative(&self, servers: &[State], now: Instant) -> bool {
        servers.iter().enumerate().any(|(index, state)| !self.tried(index) && state.usable(now))
    }
}

/// Requests to several servers.
#[derive(Debug)]
pub struct Client {
    servers: Vec<State>,
    pending: BTreeMap<Ticket, Pending>,
    /// Those that wait for a server, the first first.
    waiting: VecDeque<Ticket>,
    deadlines: BTreeSet<(Instant, Ticket)>,
    entropy: Entropy,
    outputs: VecDeque<Output<Transmit, Event>>,
}

impl Client {
    /// Asks these servers. The seed must be fresh from the system's generator.
    #[must_use]
    pub fn new(servers: Vec<Server>, seed: [u8; 32]) -> Self {
        Self {
            servers: servers.into_iter().map(State::new).collect(),
            pending: BTreeMap::new(),
            waiting: VecDeque::new(),
            deadlines: BTreeSet::new(),
            entropy: Entropy::new(seed),
            outputs: VecDeque::new(),
        }
    }

    /// Requests that are under way: sent, or waiting for a server.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Requests that wait because the servers have their hands full.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn ask(&mut self, ticket: Ticket, request: Request, now: Instant) {
        // Those that were given up while they waited take no room from the living.
        if self.waiting.len() > 2 * self.pending.len() + MIN_SWEPT {
            self.waiting.retain(|ticket| self.pending.contains_key(ticket));
        }
        if self.waiting.len() >= MAX_WAITING {
            return self.event(Event::Failed { ticket, failure: Failure::Busy });
        }
        let pending = Pending { request, asked: now, sent: Vec::new(), due: None };
        self.pending.insert(ticket, pending);
        self.waiting.push_back(ticket);
    }

    /// Sends what waits, in order, as long as there is a server that can take it.
    fn pump(&mut self, now: Instant) {
        while let Some(ticket) = self.waiting.front().copied() {
            let Some(pending) = self.pending.get(&ticket) else {
                self.waiting.pop_front();
                continue;
            };
            let tried = |server| pending.tried(server);
            match server::pick(&self.servers, tried, now, &mut self.entropy) {
                Pick::Server(server) => {
                    self.waiting.pop_front();
                    self.send(ticket, server, now);
                }
                Pick::Wait => return,
                Pick::Nobody => {
                    self.waiting.pop_front();
                    self.finish(ticket);
                    self.event(Event::Failed { ticket, failure: Failure::NoAnswer });
                }
            }
        }
    }

    /// Sends a request to a server for the first time.
    fn send(&mut self, ticket: Ticket, server: usize, now: Instant) {
        let (Some(state), Some(pending)) =
            (self.servers.get_mut(server), self.pending.get_mut(&ticket))
        else {
            return;
        };
        let Some((socket, identifier)) = state.take_identifier(ticket, &mut self.entropy) else {
            // The pick saw room for it.
            return self.waiting.push_front(ticket);
        };
        let random = self.entropy.draw();
        let age = now - pending.asked;
        let sealed = pending.request.seal(identifier, random, age, &state.config.secret);
        let (octets, authenticator) = match sealed {
            Ok(sealed) => sealed,
            Err(too_long) => {
                state.release(socket, identifier);
                self.finish(ticket);
                return self.event(Event::Failed { ticket, failure: Failure::TooLong(too_long) });
            }
        };
        let probe = state.begin(now);
        let wait = state.first_wait(&mut self.entropy);
        pending.sent.push(Sent {
            server,
            socket,
            identifier,
            authenticator,
            octets: octets.clone(),
            first: now,
            transmissions: 1,
            wait,
            probe,
        });
        pending.due = Some(now + wait);
        self.deadlines.insert((now + wait, ticket));
        self.outputs.push_back(Output::Send(Transmit { server, socket, octets }));
    }

    /// A request was not answered in time: the same again, or another server.
    fn due(&mut self, ticket: Ticket, now: Instant) {
        let Some(pending) = self.pending.get_mut(&ticket) else { return };
        let others = pending.has_alternative(&self.servers, now);
        let Some(sent) = pending.sent.last_mut() else { return };
        let Some(state) = self.servers.get_mut(sent.server) else { return };
        state.unanswered(now, sent.wait);
        // Whoever finds out about a dead server shall not wait for long.
        let tries = if sent.probe && others { 1 } else { state.config.tries };
        if sent.transmissions < tries {
            sent.transmissions += 1;
            sent.wait = server::longer(sent.wait, &mut self.entropy);
            pending.due = Some(now + sent.wait);
            self.deadlines.insert((now + sent.wait, ticket));
            let (server, socket) = (sent.server, sent.socket);
            let octets = sent.octets.clone();
            return self.outputs.push_back(Output::Send(Transmit { server, socket, octets }));
        }
        let (server, since) = (sent.server, sent.first);
        self.move_on(ticket);
        if self.servers.get_mut(server).is_some_and(|state| state.exhausted(since, now)) {
            self.event(Event::Dead { server });
            self.desert(server, now);
        }
    }

    /// Takes a request off its server, ahead of those that have not been sent at all. An answer
    /// that comes late is still welcome.
    fn move_on(&mut self, ticket: Ticket) {
        let Some(pending) = self.pending.get_mut(&ticket) else { return };
        if let Some(due) = pending.due.take() {
            self.deadlines.remove(&(due, ticket));
        }
        if let Some(state) = pending.sent.last().and_then(|sent| self.servers.get_mut(sent.server))
        {
            state.end();
        }
        self.waiting.push_front(ticket);
    }

    /// A server was found dead: what it has goes elsewhere at once, if there is another that
    /// lives.
    fn desert(&mut self, server: usize, now: Instant) {
        let servers = &self.servers;
        let there = |pending: &Pending| {
            pending.due.is_some()
                && pending.sent.last().is_some_and(|sent| sent.server == server)
                && pending.has_alternative(servers, now)
        };
        let moving: Vec<Ticket> = self
            .pending
            .iter()
            .filter_map(|(ticket, pending)| there(pending).then_some(*ticket))
            .collect();
        // Each goes to the front, so the last one first keeps their order.
        for ticket in moving.into_iter().rev() {
            self.move_on(ticket);
        }
    }

    fn datagram(&mut self, server: usize, socket: u16, octets: &[u8], now: Instant) {
        if let Err(reason) = self.answer(server, socket, octets, now) {
            self.event(Event::Ignored { server, reason });
        }
    }

    fn answer(
        &mut self,
        server: usize,
        socket: u16,
        octets: &[u8],
        now: Instant,
    ) -> Result<(), Ignored> {
        let packet = Packet::parse(octets).map_err(Ignored::Malformed)?;
        let state = self.servers.get_mut(server).ok_or(Ignored::Unexpected)?;
        let Some(ticket) = state.holder(socket, packet.identifier()) else {
            self.late(server, socket, &packet, now);
            return Err(Ignored::Unexpected);
        };
        let pending = self.pending.get(&ticket).ok_or(Ignored::Unexpected)?;
        let is_it = |sent: &&Sent| {
            (sent.server, sent.socket, sent.identifier) == (server, socket, packet.identifier())
        };
        let sent = pending.sent.iter().find(is_it).ok_or(Ignored::Unexpected)?;
        if !packet.code().answers(pending.request.code()) {
            return Err(Ignored::Code(packet.code()));
        }
        let presence = packet
            .verify_response(&sent.authenticator, &state.config.secret)
            .map_err(Ignored::Forged)?;
        let revived = state.answered(now, sent.transmissions == 1);
        let unprotected = presence == Presence::Absent && pending.request.wants_protection();
        let required = state.config.require_message_authenticator;
        let answer = Answer::new(server, packet, sent.authenticator, state.config.secret.clone());
        let identifier = answer.packet().identifier();
        self.finish(ticket);
        // A copy of it tells nothing new.
        if let Some(state) = self.servers.get_mut(server) {
            state.late(socket, identifier);
        }
        if revived {
            self.event(Event::Alive { server });
        }
        if unprotected {
            self.event(Event::Unprotected { server, refused: required });
        }
        self.event(if unprotected && required {
            Event::Failed { ticket, failure: Failure::Unprotected }
        } else {
            Event::Answered { ticket, answer }
        });
        Ok(())
    }

    /// An answer to what was given up: too late to be of use, but the server lives.
    fn late(&mut self, server: usize, socket: u16, packet: &Packet<'_>, now: Instant) {
        let Some(state) = self.servers.get_mut(server) else { return };
        let Some(authenticator) = state.late(socket, packet.identifier()) else { return };
        let genuine = packet.verify_response(&authenticator, &state.config.secret).is_ok();
        if genuine && state.answered(now, false) {
            self.event(Event::Alive { server });
        }
    }

    /// Forgets a request and gives its identifiers back.
    fn finish(&mut self, ticket: Ticket) {
        let Some(pending) = self.pending.remove(&ticket) else { return };
        if let Some(due) = pending.due {
            self.deadlines.remove(&(due, ticket));
            if let Some(state) =
                pending.sent.last().and_then(|sent| self.servers.get_mut(sent.server))
            {
                state.end();
            }
        }
        for sent in pending.sent {
            if let Some(state) = self.servers.get_mut(sent.server) {
                state.release(sent.socket, sent.identifier);
                state.give_up(&sent);
                if sent.probe {
                    state.probe_over();
                }
            }
        }
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}

impl Machine for Client {
    type Input<'a> = Input<'a>;
    type Send = Transmit;
    type Event = Event;

    fn handle(&mut self, input: Input<'_>, now: Instant) {
        match input {
            Input::Ask { ticket, request } => self.ask(ticket, request, now),
            Input::Cancel(ticket) => self.finish(ticket),
            Input::Datagram { server, socket, octets } => {
                self.datagram(server, socket, octets, now);
            }
            Input::Tick => {
                while let Some((at, ticket)) = self.deadlines.first().copied()
                    && at <= now
                {
                    self.deadlines.remove(&(at, ticket));
                    self.due(ticket, now);
                }
            }
        }
        self.pump(now);
    }

    fn poll_output(&mut self) -> Output<Transmit, Event> {
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        self.outputs.pop_front().unwrap_or(Output::Wait(deadline))
    }
}

#[cfg(test)]
mod tests;
