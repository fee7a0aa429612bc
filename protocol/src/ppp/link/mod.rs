//! A PPP link as one machine: LCP, authentication, CCP, IPCP and IPV6CP in their order, either side.
//!
//! Implements the phases of RFC 1661 §3 and RFC 3078's demand that encryption is agreed before
//! data. Never touches a data packet, never judges a login, never reads a clock.

mod bridge;
mod config;
mod event;
mod keepalive;
mod phases;
mod reason;

pub use config::{Addresses, Config, Ipv6, Role, Side, Timers};
pub use event::{Bridging, Encryption, Event, Identifiers, Input, Network, Step, Verdict};
pub use reason::{Phase, Reason};

use crate::machine::{Action, Machine, Output};
use crate::mppe::Mode;
use crate::time::Instant;

use super::auth::running::Running;
use super::auth::{self, Method, NoMethod, StartKeys};
use super::automaton::State;
use super::bcp::Bcp;
use super::ccp::{self, Ccp, Level};
use super::entropy::Entropy;
use super::frame::{self, Protocol};
use super::ipcp::Ipcp;
use super::ipv6cp::Ipv6cp;
use super::lcp::{Demand, Lcp};
use super::multilink::Multilink;
use super::negotiation::{Layer, Signal};
use super::outbox::Outbox;
use super::packet::{Packet, code};
use keepalive::{Due, Keepalive};

/// One PPP link. Plain data: it can be cloned, saved and restored.
///
/// Frames in and out start with the two-octet protocol number; address and control are the data
/// plane's business (but every form is accepted).
#[derive(Debug, Clone)]
pub struct Link {
    config: Config,
    entropy: Entropy,
    phase: Phase,
    lcp: Layer<Lcp>,
    auth: Option<Running>,
    /// The last identifier of a Challenge. The next login goes on from it, so that a verdict that
    /// comes late is not taken for another attempt's.
    challenges: u8,
    ccp: Option<Layer<Ccp>>,
    ipcp: Option<Layer<Ipcp>>,
    /// Where the verdict gives IPv6. What becomes of it is nothing to IPv4.
    ipv6cp: Option<Box<Layer<Ipv6cp>>>,
    bcp: Option<Box<Layer<Bcp>>>,
    /// The policy of this login: the configured one or the verdict's, and [`Level::Deny`] once
    /// there will be no encryption.
    encryption: ccp::Policy,
    /// How the login was, or is being, proved.
    method: Option<Method>,
    keys: Option<StartKeys>,
    addresses: Option<Addresses>,
    /// How long the peer may take to propose encryption, where we allow it and do not propose it.
    ccp_patience: Option<Instant>,
    /// What the owner knows of multilink.
    multilink: Multilink,
    /// Identifier of our Reset-Request that has no Ack yet.
    reset_request: Option<u8>,
    /// The newest Configure-Request of IPCP that came before CCP was open or its address was decided
    /// about, and that of IPV6CP that came before CCP was open.
    held: Option<Vec<u8>>,
    held_ipv6: Option<Vec<u8>>,
    /// Did any frame ever come?
    heard: bool,
    /// Why the link can never come up.
    no_method: Option<NoMethod>,
    ending: Option<Reason>,
    login_deadline: Option<Instant>,
    keepalive: Keepalive,
    out: Outbox,
}

impl Link {
    /// A link that waits for [`Input::Open`]. The seed must be fresh from the system's generator:
    /// challenges and magic numbers come from it.
    #[must_use]
    pub fn new(config: Config, seed: [u8; 32]) -> Self {
        let mut entropy = Entropy::new(seed);
        let (Role::Server { methods, .. } | Role::Client { methods, .. }) = &config.role;
        let offered = auth::offered(methods, config.encryption);
        let no_method = offered.as_ref().err().copied();
        let mut methods = offered.unwrap_or_default();
        let demand = match &config.role {
            Role::Server { .. } if !methods.is_empty() => {
                Demand::OfPeer { chosen: methods.remove(0), others: methods }
            }
            _ => Demand::OfUs { methods },
        };
        let policy =
            Lcp::new(config.mru, config.mrru, config.compress_header, demand, entropy.split());
        Self {
            lcp: Layer::new(policy, config.timers),
            keepalive: Keepalive::new(config.keepalive, config.side()),
            encryption: config.encryption,
            challenges: u8::from_be_bytes(entropy.draw()),
            config,
            entropy,
            phase: Phase::Dead,
            auth: None,
            ccp: None,
            ipcp: None,
            ipv6cp: None,
            bcp: None,
            method: None,
            keys: None,
            addresses: None,
            ccp_patience: None,
            multilink: Multilink::default(),
            reset_request: None,
            held: None,
            held_ipv6: None,
            heard: false,
            no_method,
            ending: None,
            login_deadline: None,
            out: Outbox::new(),
        }
    }

    /// Where the link stands.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Why it ends, once that is known; [`Event::Down`] follows when the peer agreed or did not
    /// answer.
    #[must_use]
    pub const fn ending(&self) -> Option<&Reason> {
        self.ending.as_ref()
    }

    /// Our magic number as echoes carry it, zero if the peer rejected it (RFC 1661 §5.8).
    #[must_use]
    pub fn magic(&self) -> u32 {
        self.lcp.policy.magic()
    }

    /// Which end the peer is.
    const fn peer_side(&self) -> Side {
        self.config.side().other()
    }

    fn open(&mut self, now: Instant) {
        if self.phase == Phase::Dead {
            if let Some(no_method) = self.no_method {
                return self.lost(Reason::NoMethod(no_method), now);
            }
            self.phase = Phase::Lcp;
            self.login_deadline = Some(now + self.config.login_timeout);
            self.lcp.begin(now, &mut self.out);
        }
    }

    fn frame(&mut self, bytes: &[u8], now: Instant) {
        if self.phase == Phase::Dead {
            return;
        }
        // Garbage is discarded (RFC 1661 §2); it is no sign of life.
        let Ok((protocol, payload)) = frame::parse(bytes) else { return };
        self.heard = true;
        self.keepalive.heard(now);
        let authentication = self.auth.as_ref().map(Running::protocol);
        match protocol {
            Protocol::LCP => self.lcp_packet(payload, now),
            // Before LCP is open nothing else is answered, not even by a Protocol-Reject
            // (RFC 1661 §3.4, §5.7).
            _ if self.lcp.state() != State::Opened => {}
            protocol if Some(protocol) == authentication => self.auth_packet(payload, now),
            Protocol::CCP => self.ccp_packet(payload, now),
            Protocol::IPCP => self.ipcp_packet(payload, now),
            Protocol::BCP if self.has_bridge() => self.bcp_packet(payload, now),
            Protocol::BRIDGED if self.has_bridge() => {}
            Protocol::IPV6CP if self.has_ipv6() => self.ipv6cp_packet(payload, now),
            // Ours, at the wrong time.
            Protocol::IPV4 => {}
            Protocol::IPV6 if self.has_ipv6() => {}
            Protocol::COMPRESSED if self.encryption.level != Level::Deny => {}
            protocol => self.send_protocol_reject(protocol, payload),
        }
    }

    fn lcp_packet(&mut self, payload: &[u8], now: Instant) {
        let Ok(packet) = Packet::parse(payload) else { return };
        if let Some(signal) = self.lcp.receive(packet, now, &mut self.out) {
            self.lcp_signal(signal, Some(packet), now);
        }
    }

    /// The codes that only LCP has, once it is open.
    fn lcp_extra(&mut self, packet: Packet<'_>, now: Instant) {
        match packet.code {
            code::ECHO_REQUEST => self.answer_echo(packet, now),
            code::PROTOCOL_REJECT => self.protocol_rejected(packet.data, now),
            // Echo-Reply: that it came is all that counts, whatever its magic number.
            // Discard-Request, Identification, Time-Remaining: nothing to do or to say
            // (RFC 1661 §5.9; RFC 1570 §1.1, §1.2).
            _ => {}
        }
    }

    /// RFC 1661 §5.8. The data comes back, cut to the peer's MRU.
    fn answer_echo(&mut self, request: Packet<'_>, now: Instant) {
        let Some((magic, rest)) = request.data.split_first_chunk::<4>() else { return };
        let own = self.lcp.policy.magic();
        if own != 0 && u32::from_be_bytes(*magic) == own {
            if self.lcp.policy.saw_own_magic() {
                self.terminate(Reason::LoopedBack, now);
            }
            return;
        }
        let data = [&own.to_be_bytes()[..], rest].concat();
        let identifier = request.identifier;
        let reply = Packet { code: code::ECHO_REPLY, identifier, data: &data };
        self.out.send(Protocol::LCP, &reply.truncated(self.out.peer_mru));
    }

    fn send_echo_request(&mut self) {
        let identifier = self.lcp.fresh_identifier();
        let magic = self.lcp.policy.magic().to_be_bytes();
        let packet = Packet { code: code::ECHO_REQUEST, identifier, data: &magic };
        self.out.send(Protocol::LCP, &packet);
    }

    /// RFC 1661 §5.7. The rejected packet comes back, cut to the peer's MRU.
    fn send_protocol_reject(&mut self, protocol: Protocol, payload: &[u8]) {
        let data = [&protocol.number().to_be_bytes()[..], payload].concat();
        let identifier = self.lcp.fresh_identifier();
        let reject = Packet { code: code::PROTOCOL_REJECT, identifier, data: &data };
        self.out.send(Protocol::LCP, &reject.truncated(self.out.peer_mru));
    }

    fn auth_packet(&mut self, payload: &[u8], now: Instant) {
        let Some(auth) = &mut self.auth else { return };
        if let Some(outcome) = auth.receive(payload, now, &mut self.out) {
            self.auth_outcome(outcome, now);
        }
    }

    fn ccp_packet(&mut self, payload: &[u8], now: Instant) {
        let parsed = Packet::parse(payload);
        if self.encryption.level == Level::Deny {
            // What the peer says to the end of a negotiation that we gave up needs no answer.
            if parsed.is_ok_and(|packet| packet.code == code::TERMINATE_ACK) {
                return;
            }
            return self.send_protocol_reject(Protocol::CCP, payload);
        }
        let Ok(packet) = parsed else { return };
        if self.ccp.is_none() && packet.code == code::CONFIGURE_REQUEST {
            self.peer_proposes_encryption(now);
        }
        // None yet: RFC 1661 §3.5 discards it.
        let Some(ccp) = &mut self.ccp else { return };
        let was_open = ccp.state() == State::Opened;
        let signal = ccp.receive(packet, now, &mut self.out);
        match signal {
            _ if packet.code == code::TERMINATE_REQUEST => self.encryption_lost(was_open, now),
            Some(Signal::Extra) => self.ccp_extra(packet),
            Some(signal) => self.ccp_signal(signal, now),
            None => {}
        }
    }

    /// The codes that only CCP has, once it is open. In stateless mode they mean nothing
    /// (RFC 3078 §8.1).
    fn ccp_extra(&mut self, packet: Packet<'_>) {
        let outcome = self.ccp.as_ref().and_then(|ccp| ccp.policy.outcome());
        let sends_stateful = outcome.is_some_and(|(_, send)| send.mode == Mode::Stateful);
        let identifier = packet.identifier;
        match packet.code {
            code::RESET_REQUEST if sends_stateful => {
                self.out.event(Event::Resynchronise);
                // RFC 3078 §8.2 does without an Ack, but RFC 1962 §3.1 repeats until it comes.
                let ack = Packet { code: code::RESET_ACK, identifier, data: &[] };
                self.out.send(Protocol::CCP, &ack);
            }
            code::RESET_ACK => {
                self.reset_request.take_if(|outstanding| *outstanding == identifier);
            }
            _ => {}
        }
    }

    /// Asks the peer to start its keystream again (RFC 3078 §8.2). What was not acknowledged is
    /// repeated under its identifier (RFC 1962 §3.1).
    fn send_reset_request(&mut self) {
        let open = self.ccp.as_mut().filter(|ccp| ccp.state() == State::Opened);
        if let Some(ccp) = open
            && let Some((receive, _)) = ccp.policy.outcome()
            && receive.mode == Mode::Stateful
        {
            let identifier = *self.reset_request.get_or_insert_with(|| ccp.fresh_identifier());
            let request = Packet { code: code::RESET_REQUEST, identifier, data: &[] };
            self.out.send(Protocol::CCP, &request);
        }
    }

    fn ipcp_packet(&mut self, payload: &[u8], now: Instant) {
        let Ok(packet) = Packet::parse(payload) else { return };
        // The peer is ahead of us: its newest request waits until CCP is open. Dropped it would cost
        // the Restart timer, Terminate-Acked the login.
        if self.phase == Phase::Ccp {
            if packet.code == code::CONFIGURE_REQUEST {
                self.held = Some(payload.to_vec());
                self.peer_goes_on_without_encryption(now);
            }
            return;
        }
        if packet.code == code::CONFIGURE_REQUEST && self.peer_chooses(packet, payload) {
            return;
        }
        if let Some(ipcp) = &mut self.ipcp
            && let Some(signal) = ipcp.receive(packet, now, &mut self.out)
        {
            self.ipcp_signal(signal, now);
        }
    }

    /// Whether the login was given IPv6.
    fn has_ipv6(&self) -> bool {
        self.addresses.is_some_and(|addresses| addresses.ipv6 != Ipv6::No)
    }

    fn ipv6cp_packet(&mut self, payload: &[u8], now: Instant) {
        let Ok(packet) = Packet::parse(payload) else { return };
        // As for IPCP: the newest request waits until CCP is open.
        if self.phase == Phase::Ccp {
            if packet.code == code::CONFIGURE_REQUEST {
                self.held_ipv6 = Some(payload.to_vec());
            }
            return;
        }
        if let Some(ipv6cp) = &mut self.ipv6cp
            && let Some(signal) = ipv6cp.receive(packet, now, &mut self.out)
        {
            self.ipv6cp_signal(signal, now);
        }
    }

    fn tick(&mut self, now: Instant) {
        if self.login_deadline.is_some_and(|deadline| now >= deadline) {
            self.terminate(self.stall(), now);
        }
        if let Some(signal) = self.lcp.tick(now, &mut self.out) {
            self.lcp_signal(signal, None, now);
        }
        if let Some(outcome) = self.auth.as_mut().and_then(|auth| auth.tick(now, &mut self.out)) {
            self.auth_outcome(outcome, now);
        }
        if let Some(signal) = self.ccp.as_mut().and_then(|ccp| ccp.tick(now, &mut self.out)) {
            self.ccp_signal(signal, now);
        }
        if self.ccp_patience.is_some_and(|deadline| now >= deadline) {
            self.start_ipcp(now);
        }
        if let Some(signal) = self.ipcp.as_mut().and_then(|ipcp| ipcp.tick(now, &mut self.out)) {
            self.ipcp_signal(signal, now);
        }
        if let Some(signal) = self.bcp.as_mut().and_then(|layer| layer.tick(now, &mut self.out)) {
            self.bcp_signal(signal, now);
        }
        if let Some(signal) = self.ipv6cp.as_mut().and_then(|layer| layer.tick(now, &mut self.out))
        {
            self.ipv6cp_signal(signal, now);
        }
        if self.phase == Phase::Up {
            match self.keepalive.due(now) {
                Due::Nothing => {}
                Due::Echo => self.send_echo_request(),
                // Who heard nothing so far would not hear a Terminate-Request either.
                Due::Dead => self.lost(Reason::Silent(self.peer_side()), now),
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let keepalive = (self.phase == Phase::Up).then(|| self.keepalive.deadline()).flatten();
        [
            self.login_deadline,
            self.ccp_patience,
            keepalive,
            self.lcp.deadline(),
            self.auth.as_ref().and_then(Running::deadline),
            self.ccp.as_ref().and_then(Layer::deadline),
            self.ipcp.as_ref().and_then(Layer::deadline),
            self.ipv6cp.as_ref().and_then(|layer| layer.deadline()),
            self.bcp.as_ref().and_then(|layer| layer.deadline()),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

impl Machine for Link {
    type Input<'a> = Input<'a>;
    type Send = Box<[u8]>;
    type Event = Event;

    fn handle(&mut self, input: Input<'_>, now: Instant) {
        if self.phase == Phase::Ended {
            return;
        }
        match input {
            Input::Open => self.open(now),
            Input::Frame(bytes) => self.frame(bytes, now),
            Input::Deadline => self.tick(now),
            Input::Verdict { identifier, verdict } => self.verdict(identifier, verdict, now),
            Input::Assign(address) => self.assign(address, now),
            Input::Heard(at) => self.keepalive.heard(at.min(now)),
            Input::OutOfStep => self.send_reset_request(),
            Input::Close(reason) => self.terminate(reason, now),
            Input::Lost(reason) => self.lost(reason, now),
        }
    }

    fn poll_output(&mut self) -> Output<Box<[u8]>, Event> {
        match self.out.pop() {
            Some(Action::Send(frame)) => Output::Send(frame),
            Some(Action::Event(event)) => Output::Event(event),
            None if self.phase == Phase::Ended => Output::Wait(None),
            None => Output::Wait(self.deadline()),
        }
    }
}
