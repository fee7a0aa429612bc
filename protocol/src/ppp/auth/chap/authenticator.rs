//! The side that challenges.
//!
//! Implements RFC 1994 §2 and §4, the retry of RFC 2433 §8 and RFC 2759 §6, and challenges that
//! are repeated while the link is up. Holds no users: it asks for a verdict. Never changes a
//! password, and never uses a challenge twice.

use std::time::Duration;

use crate::ppp::auth::running::Outcome;
use crate::ppp::auth::{Accepted, Attempt, Failure, Proof, Refusal, mschapv1, mschapv2};
use crate::ppp::entropy::Entropy;
use crate::ppp::frame::Protocol;
use crate::ppp::link::{Reason, Side, Timers};
use crate::ppp::outbox::Outbox;
use crate::ppp::packet::Packet;
use crate::time::Instant;

use super::{Algorithm, CHALLENGE, FAILURE, RESPONSE, SUCCESS, Value};

/// Responses in one exchange, those to the challenge of a Failure included: as many as Windows'
/// servers allow (RFC 2759 §9.1.5).
const MAX_TRIES: u32 = 3;

#[derive(Debug, Clone)]
pub(crate) struct Authenticator {
    algorithm: Algorithm,
    name: Vec<u8>,
    timers: Timers,
    entropy: Entropy,
    /// Time between exchanges once the peer was accepted; `None`: there is one alone.
    interval: Option<Duration>,
    identifier: u8,
    /// Who was accepted: nobody else may answer later Challenges.
    accepted: Option<Vec<u8>>,
    /// The last Response that got a Failure with `R=1`, and that Failure.
    failed: Option<Answered>,
    stage: Stage,
}

/// A packet that was answered: its copies get a copy of the answer.
#[derive(Debug, Clone)]
struct Answered {
    identifier: u8,
    response: Vec<u8>,
    answer: Vec<u8>,
}

#[derive(Debug, Clone)]
enum Stage {
    /// A Challenge is out. Without a deadline it is in a Failure: somebody has to type.
    Challenged { challenge: Vec<u8>, sent: u32, tries: u32, deadline: Option<Instant> },
    /// The verdict is awaited.
    Asked { response: Vec<u8>, name: Vec<u8>, tries: u32 },
    /// The peer proved itself.
    Accepted { answered: Answered, next: Option<Instant> },
    /// Nothing more to say.
    Refused,
}

impl Authenticator {
    /// Identifiers follow on `identifier`.
    pub(crate) fn new(
        algorithm: Algorithm,
        name: &[u8],
        identifier: u8,
        timers: Timers,
        interval: Option<Duration>,
        entropy: Entropy,
    ) -> Self {
        Self {
            algorithm,
            name: name.to_vec(),
            timers,
            entropy,
            interval,
            identifier,
            accepted: None,
            failed: None,
            stage: Stage::Refused,
        }
    }

    /// The identifier of the newest Challenge.
    pub(crate) const fn identifier(&self) -> u8 {
        self.identifier
    }

    /// Sends a first Challenge.
    pub(crate) fn start(&mut self, now: Instant, out: &mut Outbox) {
        self.challenge(1, now, out);
    }

    /// Each Challenge has a new identifier and a new value (RFC 1994 §4.1).
    fn challenge(&mut self, sent: u32, now: Instant, out: &mut Outbox) {
        self.identifier = self.identifier.wrapping_add(1);
        self.failed = None;
        let challenge = self.fresh_challenge();
        let data = Value { value: &challenge, name: &self.name }.emit();
        let packet = Packet { code: CHALLENGE, identifier: self.identifier, data: &data };
        out.send(Protocol::CHAP, &packet);
        let deadline = Some(now + self.timers.restart);
        self.stage = Stage::Challenged { challenge, sent, tries: 1, deadline };
    }

    fn fresh_challenge(&mut self) -> Vec<u8> {
        self.entropy.draw::<16>()[..self.algorithm.challenge_len()].to_vec()
    }

    pub(crate) fn receive(&mut self, packet: Packet<'_>, out: &mut Outbox) -> Option<Outcome> {
        if packet.code != RESPONSE {
            return None;
        }
        // A lost answer must not end the login: copies of a Response get the same again
        // (RFC 1994 §4.2).
        let answered = match &self.stage {
            Stage::Accepted { answered, .. } => Some(answered),
            _ => self.failed.as_ref(),
        };
        if let Some(answered) = answered
            && answered.identifier == packet.identifier
            && answered.response == packet.data
        {
            out.send_bytes(Protocol::CHAP, &answered.answer);
            return None;
        }
        if packet.identifier != self.identifier {
            return None;
        }
        let Stage::Challenged { challenge, tries, .. } = &self.stage else { return None };
        let tries = *tries;
        let parsed = Value::parse(packet.data)
            .and_then(|value| Some((value.name, proof(self.algorithm, challenge, value.value)?)));
        let Some((name, proof)) = parsed else {
            self.refuse(&refused("malformed response"), out);
            return Some(Outcome::Failed(Reason::MalformedResponse(self.algorithm.method())));
        };
        if self.accepted.as_ref().is_some_and(|accepted| accepted != name) {
            self.refuse(&refused("another user"), out);
            return Some(Outcome::Failed(Reason::AnotherUser));
        }
        let name = name.to_vec();
        self.stage = Stage::Asked { response: packet.data.to_vec(), name: name.clone(), tries };
        let is_retry = tries > 1;
        Some(Outcome::Ask(Attempt { identifier: self.identifier, name, proof, is_retry }))
    }

    /// Is this the exchange whose verdict is awaited?
    pub(crate) const fn awaits(&self, identifier: u8) -> bool {
        matches!(self.stage, Stage::Asked { .. }) && self.identifier == identifier
    }

    /// Tells the peer that it may come in. `Err` if the verdict lacks our own proof, without which
    /// MS-CHAPv2's peer would not believe it (RFC 2759 §5).
    pub(crate) fn accept(
        &mut self,
        accepted: &Accepted,
        message: &str,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<(), Reason> {
        let Stage::Asked { response, name, .. } = &mut self.stage else { return Ok(()) };
        let (response, name) = (std::mem::take(response), std::mem::take(name));
        let text = match (self.algorithm, &accepted.response) {
            (Algorithm::MsChapV2, Some(proof)) => format!("{proof} M={message}"),
            (Algorithm::MsChapV2, None) => {
                self.refuse(&refused(""), out);
                return Err(Reason::NoServerProof);
            }
            (Algorithm::Md5 | Algorithm::MsChapV1, _) => message.to_owned(),
        };
        let identifier = self.identifier;
        let answer = Packet { code: SUCCESS, identifier, data: text.as_bytes() }
            .truncated(out.peer_mru)
            .emit();
        out.send_bytes(Protocol::CHAP, &answer);
        self.accepted = Some(name);
        let next = self.interval.map(|interval| now + interval);
        self.stage = Stage::Accepted { answered: Answered { identifier, response, answer }, next };
        Ok(())
    }

    /// Tells the peer that it may not. With `R=1` it may answer the Failure's challenge under the
    /// next identifier (RFC 2759 §9.1.4); returns whether it may.
    pub(crate) fn refuse(&mut self, failure: &Failure, out: &mut Outbox) -> bool {
        let (response, tries) = match &mut self.stage {
            Stage::Asked { response, tries, .. } => (std::mem::take(response), *tries),
            _ => (Vec::new(), MAX_TRIES),
        };
        let is_ms = self.algorithm != Algorithm::Md5;
        let next = failure.retry.clone().filter(|challenge| {
            is_ms && tries < MAX_TRIES && challenge.len() == self.algorithm.challenge_len()
        });
        let said = next.clone().unwrap_or_else(|| self.fresh_challenge());
        let failure = Failure { retry: next.clone(), ..failure.clone() };
        let text = failure.emit(self.algorithm.method(), &said);
        let identifier = self.identifier;
        let answer =
            Packet { code: FAILURE, identifier, data: &text }.truncated(out.peer_mru).emit();
        out.send_bytes(Protocol::CHAP, &answer);
        let may_retry = next.is_some();
        self.stage = match next {
            Some(challenge) => {
                self.identifier = identifier.wrapping_add(1);
                self.failed = Some(Answered { identifier, response, answer });
                Stage::Challenged { challenge, sent: 0, tries: tries + 1, deadline: None }
            }
            None => Stage::Refused,
        };
        may_retry
    }

    pub(crate) const fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Challenged { deadline, .. } => deadline,
            Stage::Accepted { next, .. } => next,
            Stage::Asked { .. } | Stage::Refused => None,
        }
    }

    pub(crate) fn tick(&mut self, now: Instant, out: &mut Outbox) -> Option<Outcome> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return None;
        }
        match self.stage {
            Stage::Challenged { sent, .. } if sent >= self.timers.max_configure => {
                self.stage = Stage::Refused;
                return Some(Outcome::Failed(Reason::AuthenticationUnanswered(Side::Client)));
            }
            Stage::Challenged { sent, .. } => self.challenge(sent + 1, now, out),
            // RFC 1994 §2: "At random intervals, the authenticator sends a new challenge".
            _ => self.challenge(1, now, out),
        }
        None
    }
}

/// What a Response's value proves, if it has the form.
fn proof(algorithm: Algorithm, challenge: &[u8], value: &[u8]) -> Option<Proof> {
    Some(match algorithm {
        Algorithm::Md5 => Proof::ChapMd5 {
            challenge: challenge.try_into().ok()?,
            response: value.try_into().ok()?,
        },
        Algorithm::MsChapV1 => Proof::MsChapV1 {
            challenge: challenge.try_into().ok()?,
            nt_response: mschapv1::Response::parse(value)?.0,
        },
        Algorithm::MsChapV2 => {
            let response = mschapv2::Response::parse(value)?;
            Proof::MsChapV2 {
                authenticator_challenge: challenge.try_into().ok()?,
                peer_challenge: response.peer_challenge,
                nt_response: response.nt_response,
            }
        }
    })
}

fn refused(message: &str) -> Failure {
    Failure { refusal: Refusal::WrongPassword, retry: None, message: message.to_owned() }
}
