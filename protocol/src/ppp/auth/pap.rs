//! PAP: the password as it is, with a request and an answer.
//!
//! Implements RFC 1334 §2, as authenticator and as peer. A repeated request gets the identical
//! answer; nobody is asked twice about one.

use crate::ppp::frame::Protocol;
use crate::ppp::link::{Reason, Side, Timers};
use crate::ppp::outbox::Outbox;
use crate::ppp::packet::Packet;
use crate::time::Instant;

use super::running::Outcome;
use super::{Attempt, Failure, Method, Password, Proof};

/// Authenticate-Request.
pub const REQUEST: u8 = 1;
/// Authenticate-Ack.
pub const ACK: u8 = 2;
/// Authenticate-Nak.
pub const NAK: u8 = 3;

/// The data of an Authenticate-Request (RFC 1334 §2.2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    /// The user's name, 0 to 255 octets.
    pub name: &'a [u8],
    /// The password, 0 to 255 octets.
    pub password: Password,
}

impl<'a> Request<'a> {
    /// Reads a packet's data. `None` if a length reaches beyond it.
    #[must_use]
    pub fn parse(data: &'a [u8]) -> Option<Self> {
        let (name, rest) = counted(data)?;
        let (password, _) = counted(rest)?;
        Some(Self { name, password: Password::from(password) })
    }

    /// The packet's data. What a length of one octet cannot say is left out.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        [with_count(self.name), with_count(self.password.as_bytes())].concat()
    }
}

/// A field after its length, and what follows.
fn counted(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = data.split_first()?;
    rest.split_at_checked(length.into())
}

fn with_count(field: &[u8]) -> Vec<u8> {
    let field = &field[..field.len().min(255)];
    [&[u8::try_from(field.len()).unwrap_or(u8::MAX)], field].concat()
}

/// The side that demands the password.
#[derive(Debug, Clone)]
pub(crate) struct Authenticator {
    /// Names our attempts; the packets' identifiers are the peer's choice, and may come again.
    attempt: u8,
    stage: Stage,
}

#[derive(Debug, Clone)]
enum Stage {
    Waiting {
        deadline: Instant,
    },
    Asked {
        identifier: u8,
        request: Password,
    },
    /// This answers each copy of the request.
    Accepted {
        request: Password,
        answer: Vec<u8>,
    },
    Refused,
}

impl Authenticator {
    /// Attempts are numbered on from `attempt`.
    pub(crate) fn new(attempt: u8, timers: Timers, now: Instant) -> Self {
        let deadline = now + timers.restart.saturating_mul(timers.max_configure);
        Self { attempt, stage: Stage::Waiting { deadline } }
    }

    pub(crate) const fn attempt(&self) -> u8 {
        self.attempt
    }

    pub(crate) fn receive(&mut self, packet: Packet<'_>, out: &mut Outbox) -> Option<Outcome> {
        if packet.code != REQUEST {
            return None;
        }
        match &self.stage {
            Stage::Waiting { .. } => {
                let identifier = packet.identifier;
                let request = Password::from(packet.data);
                self.stage = Stage::Asked { identifier, request };
                let Some(Request { name, password }) = Request::parse(packet.data) else {
                    let failure = Failure::parse(b"malformed request");
                    self.refuse(&failure, out);
                    return Some(Outcome::Failed(Reason::MalformedResponse(Method::Pap)));
                };
                self.attempt = self.attempt.wrapping_add(1);
                Some(Outcome::Ask(Attempt {
                    identifier: self.attempt,
                    name: name.to_vec(),
                    proof: Proof::Pap { password },
                    is_retry: false,
                }))
            }
            // RFC 1334 §2.2: the Ack was lost. Only its identifier may differ.
            Stage::Accepted { request, answer } if request.as_bytes() == packet.data => {
                let again =
                    Packet { code: ACK, identifier: packet.identifier, data: answer.as_slice() };
                out.send(Protocol::PAP, &again);
                None
            }
            Stage::Accepted { .. } | Stage::Asked { .. } | Stage::Refused => None,
        }
    }

    pub(crate) const fn awaits(&self, attempt: u8) -> bool {
        matches!(self.stage, Stage::Asked { .. }) && self.attempt == attempt
    }

    pub(crate) fn accept(&mut self, message: &str, out: &mut Outbox) {
        let Stage::Asked { identifier, request } = &self.stage else { return };
        let (identifier, request) = (*identifier, request.clone());
        let answer = self.answer(ACK, identifier, message.as_bytes(), out);
        self.stage = Stage::Accepted { request, answer };
    }

    /// A Nak. There is no other try in the same call: RFC 1334 §2.2.2 wants the link ended.
    pub(crate) fn refuse(&mut self, failure: &Failure, out: &mut Outbox) {
        let Stage::Asked { identifier, .. } = self.stage else { return };
        self.answer(NAK, identifier, &failure.emit(Method::Pap, &[]), out);
        self.stage = Stage::Refused;
    }

    /// Sends an answer and returns its data. The whole fits the peer's MRU, which is never so
    /// small that no message does.
    fn answer(&self, code: u8, identifier: u8, message: &[u8], out: &mut Outbox) -> Vec<u8> {
        let room = usize::from(out.peer_mru).saturating_sub(5);
        let data = with_count(&message[..message.len().min(room)]);
        out.send(Protocol::PAP, &Packet { code, identifier, data: &data });
        data
    }

    pub(crate) const fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Waiting { deadline } => Some(deadline),
            _ => None,
        }
    }

    pub(crate) fn tick(&mut self, now: Instant) -> Option<Outcome> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return None;
        }
        self.stage = Stage::Refused;
        Some(Outcome::Failed(Reason::AuthenticationUnanswered(Side::Client)))
    }
}

/// The side that sends the password.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    timers: Timers,
    request: Password,
    identifier: u8,
    sent: u32,
    /// None once the server answered.
    deadline: Option<Instant>,
}

impl Peer {
    pub(crate) fn new(user: &[u8], password: &Password, timers: Timers) -> Self {
        let request = Request { name: user, password: password.clone() }.emit();
        Self {
            timers,
            request: Password::from(&request[..]),
            identifier: 0,
            sent: 0,
            deadline: None,
        }
    }

    /// Sends the request. Its identifier changes each time (RFC 1334 §2.2.1).
    pub(crate) fn send(&mut self, now: Instant, out: &mut Outbox) {
        self.identifier = self.identifier.wrapping_add(1);
        self.sent += 1;
        self.deadline = Some(now + self.timers.restart);
        let data = self.request.as_bytes();
        out.send(Protocol::PAP, &Packet { code: REQUEST, identifier: self.identifier, data });
    }

    pub(crate) fn receive(&mut self, packet: Packet<'_>) -> Option<Outcome> {
        // An answer to any of our requests is one: they are all the same.
        self.deadline.filter(|_| packet.identifier <= self.identifier)?;
        let outcome = match packet.code {
            ACK => Outcome::Succeeded(None),
            NAK => {
                // Some servers leave the length of an empty message away.
                let message = counted(packet.data).map_or(packet.data, |(message, _)| message);
                let Failure { refusal, message, .. } = Failure::parse(message);
                Outcome::Failed(Reason::LoginRefused { refusal, message })
            }
            _ => return None,
        };
        self.deadline = None;
        Some(outcome)
    }

    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub(crate) fn tick(&mut self, now: Instant, out: &mut Outbox) -> Option<Outcome> {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return None;
        }
        if self.sent >= self.timers.max_configure {
            self.deadline = None;
            return Some(Outcome::Failed(Reason::AuthenticationUnanswered(Side::Server)));
        }
        self.send(now, out);
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lying_lengths_are_refused() {
        for data in [&[][..], &[1], &[1, b'a'], &[1, b'a', 2, b'b'], &[9, b'a', 0]] {
            assert_eq!(Request::parse(data), None, "{data:02x?}");
        }
        // Padding behind the password is none of it.
        let request = Request::parse(&[1, b'a', 1, b'b', 0, 0]).unwrap();
        assert_eq!((request.name, request.password.as_bytes()), (&b"a"[..], &b"b"[..]));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(data: Vec<u8>) {
            if let Some(request) = Request::parse(&data) {
                prop_assert!(data.starts_with(&request.emit()));
            }
        }

        #[test]
        fn what_is_emitted_parses(name: Vec<u8>, password: Vec<u8>) {
            let (name, password) = (&name[..name.len().min(255)], &password[..password.len().min(255)]);
            let request = Request { name, password: Password::from(password) };
            let emitted = request.emit();
            prop_assert_eq!(Request::parse(&emitted), Some(request));
        }
    }
}
