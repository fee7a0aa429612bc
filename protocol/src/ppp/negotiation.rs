//! One control protocol run by the automaton: packets, counters, the Restart timer and replies.
//!
//! Implements RFC 1661 §4.4–§4.6 and §5.1–§5.7 for LCP and every NCP. Knows no option: what is
//! asked for and what is acceptable is a [`Policy`]'s decision.

use crate::time::Instant;

use super::automaton::{Action, Event, State, transition};
use super::frame::Protocol;
use super::link::Timers;
use super::options::{Opt, OptionList, Options};
use super::outbox::Outbox;
use super::packet::{Packet, code};

/// Most that is kept of the text in a peer's Terminate-Request, octets.
const MAX_TEXT: usize = 128;

/// What we think of one option in the peer's Configure-Request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Judgement {
    Ack,
    /// Acceptable with this data.
    Nak(Vec<u8>),
    Reject,
}

/// What to do with a request that Max-Failure Naks did not make acceptable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settlement {
    /// Reject what is unacceptable; do without what is missing (RFC 1661 §4.6).
    GiveIn,
    /// There is no link without agreement on this.
    Fail,
}

/// The options of one protocol.
pub(crate) trait Policy {
    const PROTOCOL: Protocol;

    /// Codes beyond Code-Reject that the protocol knows.
    fn knows(code: u8) -> bool;

    /// The options of our next Configure-Request.
    fn request(&self) -> OptionList;

    /// Judges an option of the peer's Configure-Request.
    fn judge(&mut self, option: Opt<'_>) -> Judgement;

    /// The Nak for a request of ours that came back to us; `None` if this is another's.
    fn come_back(&mut self, _request: Options<'_>) -> Option<OptionList> {
        None
    }

    /// What we need and the peer's request leaves out: appended to a Nak (RFC 1661 §5.3).
    fn missing(&self, request: Options<'_>) -> OptionList;

    /// What to do when the Naks are used up.
    fn settle(&self, unacceptable: bool) -> Settlement;

    /// We acknowledge this request: from now on the peer's options are these.
    fn agreed(&mut self, request: Options<'_>);

    /// The peer would accept this of our request.
    fn naked(&mut self, option: Opt<'_>);

    /// The peer knows no such option, or will not have it: never ask again.
    fn rejected(&mut self, kind: u8);

    /// Is agreement out of reach, whatever the peer says next?
    fn is_hopeless(&self) -> bool;
}

/// What the layer above and below have to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Up,
    Down,
    Finished,
    /// The packet of a code of this protocol alone takes effect.
    Extra,
    /// Naks were used up over something that we insist on, by either side.
    Dispute,
}

#[derive(Debug, Clone)]
struct Request {
    identifier: u8,
    options: OptionList,
}

/// A request of the peer that we acknowledged.
#[derive(Debug, Clone)]
struct Acknowledged {
    identifier: u8,
    options: Vec<u8>,
    /// As long as the peer may retransmit it.
    until: Instant,
}

/// One control protocol of a link.
#[derive(Debug, Clone)]
pub(crate) struct Layer<P> {
    pub(crate) policy: P,
    timers: Timers,
    state: State,
    restarts_left: u32,
    deadline: Option<Instant>,
    next_identifier: u8,
    /// Our Configure-Request that has no valid reply yet.
    outstanding: Option<Request>,
    acknowledged: Option<Acknowledged>,
    naks_sent: u32,
    naks_received: u32,
    /// Identifier of the Terminate-Request that is retransmitted.
    terminating: Option<u8>,
    /// Text of our Terminate-Request.
    farewell: Vec<u8>,
    /// Printable text of the peer's.
    peer_farewell: String,
}

/// A reply that is ready in case the table asks for it.
#[derive(Clone, Copy)]
enum Reply<'a> {
    None,
    Packet(Packet<'a>),
}

impl<P: Policy> Layer<P> {
    pub(crate) const fn new(policy: P, timers: Timers) -> Self {
        Self {
            policy,
            timers,
            state: State::Initial,
            restarts_left: 0,
            deadline: None,
            next_identifier: 1,
            outstanding: None,
            acknowledged: None,
            naks_sent: 0,
            naks_received: 0,
            terminating: None,
            farewell: Vec::new(),
            peer_farewell: String::new(),
        }
    }

    pub(crate) const fn state(&self) -> State {
        self.state
    }

    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The printable part of the peer's Terminate-Request.
    pub(crate) fn peer_farewell(&self) -> &str {
        &self.peer_farewell
    }

    /// Open and Up in one: the lower layer is ready and the protocol wanted.
    pub(crate) fn begin(&mut self, now: Instant, out: &mut Outbox) {
        self.naks_sent = 0;
        self.naks_received = 0;
        self.outstanding = None;
        self.acknowledged = None;
        self.apply(Event::Open, Reply::None, now, out);
        self.apply(Event::Up, Reply::None, now, out);
    }

    /// The lower layer is gone.
    pub(crate) fn lower_down(&mut self, now: Instant, out: &mut Outbox) -> Option<Signal> {
        self.outstanding = None;
        self.acknowledged = None;
        self.apply(Event::Down, Reply::None, now, out)
    }

    /// The owner wants the protocol no longer.
    pub(crate) fn close(&mut self, text: &str, now: Instant, out: &mut Outbox) -> Option<Signal> {
        self.farewell = text.bytes().take(MAX_TEXT).collect();
        self.apply(Event::Close, Reply::None, now, out)
    }

    /// The peer does not know our protocol (RFC 1661 §5.7).
    pub(crate) fn protocol_rejected(&mut self, now: Instant, out: &mut Outbox) -> Option<Signal> {
        self.apply(Event::CatastrophicReject, Reply::None, now, out)
    }

    /// The Restart timer, if it ran out.
    pub(crate) fn tick(&mut self, now: Instant, out: &mut Outbox) -> Option<Signal> {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return None;
        }
        self.deadline = None;
        let event = if self.restarts_left > 0 { Event::Timeout } else { Event::Exhausted };
        self.apply(event, Reply::None, now, out)
    }

    /// A packet of this protocol. What RFC 1661 calls invalid is discarded.
    pub(crate) fn receive(
        &mut self,
        packet: Packet<'_>,
        now: Instant,
        out: &mut Outbox,
    ) -> Option<Signal> {
        let event = match packet.code {
            code::CONFIGURE_REQUEST => return self.configure_request(packet, now, out),
            code::CONFIGURE_ACK => self.configure_ack(packet)?,
            code::CONFIGURE_NAK | code::CONFIGURE_REJECT => self.configure_refusal(packet)?,
            code::TERMINATE_REQUEST => {
                let text = packet.data.iter().filter(|o| o.is_ascii_graphic() || **o == b' ');
                self.peer_farewell = text.take(MAX_TEXT).copied().map(char::from).collect();
                Event::TerminateRequest
            }
            code::TERMINATE_ACK => Event::TerminateAck,
            code::CODE_REJECT => match packet.data.first()? {
                // Without these there is no negotiation (RFC 1661 §5.6).
                code::CONFIGURE_REQUEST..=code::CODE_REJECT => Event::CatastrophicReject,
                _ => Event::PermittedReject,
            },
            code if P::knows(code) => Event::Extra,
            _ => Event::UnknownCode,
        };
        // A peer that only ever Naks or Rejects would keep us asking for ever.
        if event == Event::NakOrReject
            && (self.policy.is_hopeless()
                || self.naks_received > self.timers.max_failure.saturating_mul(2))
        {
            return Some(Signal::Dispute);
        }
        self.apply(event, Reply::Packet(packet), now, out)
    }

    fn configure_request(
        &mut self,
        packet: Packet<'_>,
        now: Instant,
        out: &mut Outbox,
    ) -> Option<Signal> {
        let options = Options::parse(packet.data).ok()?;
        if self.state == State::Opened && self.is_acknowledged(packet, now) {
            // Our Ack was lost, or the network duplicated the request: RFC 1661's links do
            // neither, so its table would renegotiate.
            out.send(P::PROTOCOL, &Packet { code: code::CONFIGURE_ACK, ..packet });
            return None;
        }
        if !matches!(
            self.state,
            State::Stopped | State::ReqSent | State::AckRcvd | State::AckSent | State::Opened
        ) {
            return self.apply(Event::GoodRequest, Reply::None, now, out);
        }

        if let Some(nak) = self.policy.come_back(options) {
            if self.policy.is_hopeless() {
                return Some(Signal::Dispute);
            }
            return self.refuse(code::CONFIGURE_NAK, packet, &nak, now, out);
        }
        let mut naks = OptionList::new();
        let mut unacceptable = OptionList::new();
        let mut rejects = OptionList::new();
        for option in options {
            match self.policy.judge(option) {
                Judgement::Ack => {}
                Judgement::Nak(data) => {
                    naks.push(option.kind, &data);
                    unacceptable.push(option.kind, option.data);
                }
                Judgement::Reject => rejects.push(option.kind, option.data),
            }
        }
        if self.policy.is_hopeless() {
            return Some(Signal::Dispute);
        }
        // All that is not negotiable goes into one Reject, and before any Nak (RFC 1661 §5.4).
        if !rejects.is_empty() {
            return self.refuse(code::CONFIGURE_REJECT, packet, &rejects, now, out);
        }
        let missing = self.policy.missing(options);
        if !naks.is_empty() || !missing.is_empty() {
            if self.naks_sent < self.timers.max_failure {
                self.naks_sent += 1;
                for option in Options::parse(missing.as_bytes()).ok()? {
                    naks.push(option.kind, option.data);
                }
                return self.refuse(code::CONFIGURE_NAK, packet, &naks, now, out);
            }
            // RFC 1661 §4.6: after Max-Failure Naks, Reject and append nothing any more.
            match self.policy.settle(!unacceptable.is_empty()) {
                Settlement::Fail => return Some(Signal::Dispute),
                Settlement::GiveIn if !unacceptable.is_empty() => {
                    return self.refuse(code::CONFIGURE_REJECT, packet, &unacceptable, now, out);
                }
                Settlement::GiveIn => {}
            }
        }
        self.naks_sent = 0;
        self.policy.agreed(options);
        let attempts = self.timers.max_configure;
        self.acknowledged = Some(Acknowledged {
            identifier: packet.identifier,
            options: packet.data.to_vec(),
            until: now + self.timers.restart.saturating_mul(attempts),
        });
        let ack = Packet { code: code::CONFIGURE_ACK, ..packet };
        self.apply(Event::GoodRequest, Reply::Packet(ack), now, out)
    }

    fn is_acknowledged(&self, packet: Packet<'_>, now: Instant) -> bool {
        self.acknowledged.as_ref().is_some_and(|acknowledged| {
            acknowledged.identifier == packet.identifier
                && acknowledged.options == packet.data
                && now < acknowledged.until
        })
    }

    fn refuse(
        &mut self,
        code: u8,
        request: Packet<'_>,
        options: &OptionList,
        now: Instant,
        out: &mut Outbox,
    ) -> Option<Signal> {
        let refusal = Packet { code, identifier: request.identifier, data: options.as_bytes() };
        self.apply(Event::BadRequest, Reply::Packet(refusal), now, out)
    }

    /// Only an exact copy of the outstanding request counts (RFC 1661 §5.2).
    fn configure_ack(&mut self, packet: Packet<'_>) -> Option<Event> {
        self.outstanding.take_if(|request| {
            request.identifier == packet.identifier && request.options.as_bytes() == packet.data
        })?;
        self.naks_received = 0;
        Some(Event::Ack)
    }

    /// Only a reply to the outstanding request counts, and a Reject only with options exactly as
    /// we sent them (RFC 1661 §5.3, §5.4).
    fn configure_refusal(&mut self, packet: Packet<'_>) -> Option<Event> {
        let refused = Options::parse(packet.data).ok()?;
        let request = self.outstanding.as_ref()?;
        if request.identifier != packet.identifier {
            return None;
        }
        let nak = packet.code == code::CONFIGURE_NAK;
        let sent = Options::parse(request.options.as_bytes()).ok()?;
        if !nak && !refused.iter().all(|option| sent.iter().any(|ours| ours == option)) {
            return None;
        }
        self.outstanding = None;
        self.naks_received += 1;
        for option in refused {
            if nak {
                self.policy.naked(option);
            } else {
                self.policy.rejected(option.kind);
            }
        }
        Some(Event::NakOrReject)
    }

    fn apply(
        &mut self,
        event: Event,
        reply: Reply<'_>,
        now: Instant,
        out: &mut Outbox,
    ) -> Option<Signal> {
        let (next, actions) = transition(self.state, event)?;
        let mut signal = None;
        for action in actions {
            match action {
                Action::ThisLayerUp => signal = Some(Signal::Up),
                Action::ThisLayerDown => signal = Some(Signal::Down),
                // The link starts what is below by itself.
                Action::ThisLayerStarted => {}
                Action::ThisLayerFinished => signal = Some(Signal::Finished),
                Action::InitializeRestartCount => {
                    self.restarts_left = match next {
                        State::Closing | State::Stopping => self.timers.max_terminate,
                        _ => self.timers.max_configure,
                    };
                    self.terminating = None;
                }
                Action::ZeroRestartCount => {
                    self.restarts_left = 0;
                    self.deadline = Some(now + self.timers.restart);
                }
                Action::SendConfigureRequest => self.send_request(now, out),
                Action::SendConfigureAck | Action::SendConfigureNakOrReject => {
                    if let Reply::Packet(packet) = reply {
                        out.send(P::PROTOCOL, &packet);
                    }
                }
                Action::SendTerminateRequest => self.send_terminate(now, out),
                Action::SendTerminateAck => {
                    // To a Terminate-Request with its identifier; to a stray Ack likewise.
                    let identifier = match reply {
                        Reply::Packet(packet) => packet.identifier,
                        Reply::None => self.fresh_identifier(),
                    };
                    let ack = Packet { code: code::TERMINATE_ACK, identifier, data: &[] };
                    out.send(P::PROTOCOL, &ack);
                }
                Action::SendCodeReject => {
                    if let Reply::Packet(packet) = reply {
                        self.send_code_reject(packet, out);
                    }
                }
                Action::SendEchoReply => signal = Some(Signal::Extra),
            }
        }
        self.state = next;
        if !next.has_timer() {
            self.deadline = None;
        }
        signal
    }

    /// A retransmission keeps its identifier; a request after a valid reply, or with other
    /// options, gets a new one (RFC 1661 §5.1).
    fn send_request(&mut self, now: Instant, out: &mut Outbox) {
        let options = self.policy.request();
        let request = match self.outstanding.take() {
            Some(request) if request.options == options => request,
            _ => Request { identifier: self.fresh_identifier(), options },
        };
        out.send(
            P::PROTOCOL,
            &Packet {
                code: code::CONFIGURE_REQUEST,
                identifier: request.identifier,
                data: request.options.as_bytes(),
            },
        );
        self.outstanding = Some(request);
        self.start_timer(now);
    }

    fn send_terminate(&mut self, now: Instant, out: &mut Outbox) {
        let identifier = match self.terminating {
            Some(identifier) => identifier,
            None => self.fresh_identifier(),
        };
        self.terminating = Some(identifier);
        self.outstanding = None;
        let packet = Packet { code: code::TERMINATE_REQUEST, identifier, data: &self.farewell };
        out.send(P::PROTOCOL, &packet);
        self.start_timer(now);
    }

    /// The rejected packet, cut to the peer's MRU (RFC 1661 §5.6).
    fn send_code_reject(&mut self, rejected: Packet<'_>, out: &mut Outbox) {
        let identifier = self.fresh_identifier();
        let copy = rejected.emit();
        let reject = Packet { code: code::CODE_REJECT, identifier, data: &copy };
        out.send(P::PROTOCOL, &reject.truncated(out.peer_mru));
    }

    fn start_timer(&mut self, now: Instant) {
        self.restarts_left = self.restarts_left.saturating_sub(1);
        self.deadline = Some(now + self.timers.restart);
    }

    pub(crate) const fn fresh_identifier(&mut self) -> u8 {
        let identifier = self.next_identifier;
        self.next_identifier = identifier.wrapping_add(1);
        identifier
    }
}
