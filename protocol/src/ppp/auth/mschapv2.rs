//! MS-CHAPv2's exchange, as authenticator and as peer.
//!
//! Implements RFC 2759 §3–§6 in the packets of RFC 1994. Holds no users: the authenticator asks
//! for a verdict. Never changes a password, and never uses a challenge twice.

use std::collections::VecDeque;

use crate::mppe::MasterKey;
use crate::mschap::{AuthenticatorResponse, Challenge, Exchange, NtHash, NtResponse};
use crate::ppp::auth::chap::{self, Value};
use crate::ppp::entropy::Entropy;
use crate::ppp::frame::Protocol;
use crate::ppp::link::{Reason, Side, Timers};
use crate::ppp::outbox::Outbox;
use crate::ppp::packet::Packet;
use crate::time::Instant;

use super::running::Outcome;
use super::{Attempt, Proof, Refusal, StartKeys};

/// Octets of a Response's value (RFC 2759 §4): peer challenge 16, reserved 8, NT-Response 24,
/// flags 1.
pub const RESPONSE_LEN: usize = 49;

/// The value of a Response packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// The peer's own challenge.
    pub peer_challenge: Challenge,
    /// The proof.
    pub nt_response: NtResponse,
}

impl Response {
    /// Reads a value. `None` unless it has 49 octets. Reserved octets and flags must be zero when
    /// sent but are not looked at: RFC 2759 §4 gives no reason to refuse them.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let value: &[u8; RESPONSE_LEN] = value.try_into().ok()?;
        let (peer_challenge, rest) = value.split_first_chunk::<16>()?;
        let (_reserved, rest) = rest.split_first_chunk::<8>()?;
        let (nt_response, _flags) = rest.split_first_chunk::<24>()?;
        Some(Self {
            peer_challenge: *peer_challenge,
            nt_response: NtResponse::from_bytes(*nt_response),
        })
    }

    /// The value.
    #[must_use]
    pub fn emit(&self) -> [u8; RESPONSE_LEN] {
        let mut value = [0; RESPONSE_LEN];
        value[..16].copy_from_slice(&self.peer_challenge);
        value[24..48].copy_from_slice(self.nt_response.as_bytes());
        value
    }
}

/// The side that demands the proof.
#[derive(Debug, Clone)]
pub(crate) struct Authenticator {
    name: Vec<u8>,
    timers: Timers,
    entropy: Entropy,
    identifier: u8,
    stage: Stage,
}

#[derive(Debug, Clone)]
enum Stage {
    /// A Challenge is out.
    Challenged { challenge: Challenge, sent: u32, deadline: Instant },
    /// The verdict is awaited.
    Asked { response: Vec<u8> },
    /// The peer proved itself with this Response; this Success answers each copy of it.
    Accepted { response: Vec<u8>, success: Vec<u8> },
    /// Nothing more to say.
    Refused,
}

impl Authenticator {
    /// Identifiers follow on `identifier`.
    pub(crate) fn new(name: &[u8], identifier: u8, timers: Timers, entropy: Entropy) -> Self {
        Self { name: name.to_vec(), timers, entropy, identifier, stage: Stage::Refused }
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
        let challenge: Challenge = self.entropy.draw();
        let data = Value { value: &challenge, name: &self.name }.emit();
        let packet = Packet { code: chap::CHALLENGE, identifier: self.identifier, data: &data };
        out.send(Protocol::CHAP, &packet);
        self.stage = Stage::Challenged { challenge, sent, deadline: now + self.timers.restart };
    }

    pub(crate) fn receive(&mut self, packet: Packet<'_>, out: &mut Outbox) -> Option<Outcome> {
        if packet.code != chap::RESPONSE || packet.identifier != self.identifier {
            return None;
        }
        match &self.stage {
            Stage::Challenged { challenge, .. } => {
                let parsed = Value::parse(packet.data)
                    .and_then(|value| Some((value.name, Response::parse(value.value)?)));
                let Some((name, response)) = parsed else {
                    self.refuse(Refusal::WrongPassword, "malformed response", out);
                    return Some(Outcome::Failed(Reason::MalformedResponse));
                };
                let attempt = Attempt {
                    identifier: self.identifier,
                    name: name.to_vec(),
                    proof: Proof::MsChapV2 {
                        authenticator_challenge: *challenge,
                        peer_challenge: response.peer_challenge,
                        nt_response: response.nt_response,
                    },
                };
                self.stage = Stage::Asked { response: packet.data.to_vec() };
                Some(Outcome::Ask(attempt))
            }
            // The Success was lost: the same answer again, so that a lost packet does not end
            // the login (RFC 1994 §4.2).
            Stage::Accepted { response, success } if response == packet.data => {
                out.send_bytes(Protocol::CHAP, success);
                None
            }
            Stage::Accepted { .. } | Stage::Asked { .. } | Stage::Refused => None,
        }
    }

    /// Is this the exchange whose verdict is awaited?
    pub(crate) const fn awaits(&self, identifier: u8) -> bool {
        matches!(self.stage, Stage::Asked { .. }) && self.identifier == identifier
    }

    /// Tells the peer that it may come in (RFC 2759 §5).
    pub(crate) fn accept(
        &mut self,
        proof: &AuthenticatorResponse,
        message: &str,
        out: &mut Outbox,
    ) {
        let Stage::Asked { response } = &mut self.stage else { return };
        let response = std::mem::take(response);
        let text = format!("{} M={message}", proof.to_text());
        let success =
            Packet { code: chap::SUCCESS, identifier: self.identifier, data: text.as_bytes() }
                .truncated(out.peer_mru)
                .emit();
        out.send_bytes(Protocol::CHAP, &success);
        self.stage = Stage::Accepted { response, success };
    }

    /// Tells the peer that it may not (RFC 2759 §6). `R=0`: a second try needs a new call.
    pub(crate) fn refuse(&mut self, refusal: Refusal, message: &str, out: &mut Outbox) {
        let challenge: Challenge = self.entropy.draw();
        let text = format!("E={} R=0 C={} V=3 M={message}", refusal.code(), upper_hex(&challenge));
        let packet =
            Packet { code: chap::FAILURE, identifier: self.identifier, data: text.as_bytes() };
        out.send(Protocol::CHAP, &packet.truncated(out.peer_mru));
        self.stage = Stage::Refused;
    }

    pub(crate) const fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Challenged { deadline, .. } => Some(deadline),
            _ => None,
        }
    }

    pub(crate) fn tick(&mut self, now: Instant, out: &mut Outbox) -> Option<Outcome> {
        let Stage::Challenged { sent, deadline, .. } = self.stage else { return None };
        if now < deadline {
            return None;
        }
        if sent >= self.timers.max_configure {
            self.stage = Stage::Refused;
            return Some(Outcome::Failed(Reason::AuthenticationUnanswered(Side::Client)));
        }
        self.challenge(sent + 1, now, out);
        None
    }
}

fn upper_hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02X}")).collect()
}

/// Challenges whose answers a peer remembers. Reordered on the way, an older one may be the last
/// to come while the server has already judged the Response to a newer one.
const MAX_EXCHANGES: usize = 4;

/// The side that proves itself.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    user: Vec<u8>,
    password: NtHash,
    timers: Timers,
    entropy: Entropy,
    /// What the newest Challenges began. Kept once the server answered: a late copy of its
    /// Challenge must get the Response that it judged.
    exchanges: VecDeque<Answered>,
    /// Times that all were sent again since the last new one.
    repeated: u32,
    /// None once the server proved itself: if it asks again, repeating is its business.
    deadline: Option<Instant>,
    /// Did the server ever prove itself? Keys come from that exchange alone.
    accepted: bool,
}

#[derive(Debug, Clone)]
struct Answered {
    identifier: u8,
    challenge: Challenge,
    response: Response,
    packet: Vec<u8>,
}

impl Peer {
    pub(crate) fn new(user: &[u8], password: NtHash, timers: Timers, entropy: Entropy) -> Self {
        Self {
            user: user.to_vec(),
            password,
            timers,
            entropy,
            exchanges: VecDeque::new(),
            repeated: 0,
            deadline: None,
            accepted: false,
        }
    }

    pub(crate) fn receive(
        &mut self,
        packet: Packet<'_>,
        now: Instant,
        out: &mut Outbox,
    ) -> Option<Outcome> {
        if packet.code == chap::CHALLENGE {
            self.respond(packet, now, out);
            return None;
        }
        let is_answer = matches!(packet.code, chap::SUCCESS | chap::FAILURE);
        let answered = self
            .exchanges
            .iter()
            .find(|answered| is_answer && answered.identifier == packet.identifier)?;
        self.deadline = None;
        if packet.code == chap::FAILURE {
            return Some(Outcome::Failed(failure(packet.data)));
        }
        let hash_hash = self.password.hash();
        let exchange = Exchange {
            authenticator_challenge: &answered.challenge,
            peer_challenge: &answered.response.peer_challenge,
            user: &self.user,
        };
        let nt_response = &answered.response.nt_response;
        let expected = exchange.authenticator_response(&hash_hash, nt_response);
        // RFC 2759 §5: a client must end the link if the server's proof is wrong.
        if AuthenticatorResponse::from_message(packet.data) != Some(expected) {
            return Some(Outcome::Failed(Reason::ServerProofWrong));
        }
        // An MS-CHAP re-authentication does not re-key.
        if std::mem::replace(&mut self.accepted, true) {
            return None;
        }
        let master = MasterKey::from_mschapv2(&hash_hash, nt_response);
        Some(Outcome::Succeeded(StartKeys::from(&master)))
    }

    fn respond(&mut self, packet: Packet<'_>, now: Instant, out: &mut Outbox) {
        let Some(challenge) =
            Value::parse(packet.data).and_then(|value| Challenge::try_from(value.value).ok())
        else {
            return;
        };
        let identifier = packet.identifier;
        // A copy of a Challenge gets a copy of the Response, so that late ones agree.
        if let Some(answered) = self
            .exchanges
            .iter()
            .find(|answered| answered.identifier == identifier && answered.challenge == challenge)
        {
            out.send_bytes(Protocol::CHAP, &answered.packet);
            return;
        }
        let peer_challenge: Challenge = self.entropy.draw();
        let exchange = Exchange {
            authenticator_challenge: &challenge,
            peer_challenge: &peer_challenge,
            user: &self.user,
        };
        let response =
            Response { peer_challenge, nt_response: exchange.nt_response(&self.password) };
        let data = Value { value: &response.emit(), name: &self.user }.emit();
        let packet = Packet { code: chap::RESPONSE, identifier, data: &data }.emit();
        out.send_bytes(Protocol::CHAP, &packet);
        self.exchanges.retain(|answered| answered.identifier != identifier);
        self.exchanges.truncate(MAX_EXCHANGES - 1);
        self.exchanges.push_front(Answered { identifier, challenge, response, packet });
        self.repeated = 0;
        self.deadline = (!self.accepted).then(|| now + self.timers.restart);
    }

    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The answer may be lost; the server repeats it for a repeated Response (RFC 1994 §4.2).
    pub(crate) fn tick(&mut self, now: Instant, out: &mut Outbox) -> Option<Outcome> {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return None;
        }
        self.repeated += 1;
        if self.repeated >= self.timers.max_configure {
            self.deadline = None;
            return Some(Outcome::Failed(Reason::AuthenticationUnanswered(Side::Server)));
        }
        self.deadline = Some(now + self.timers.restart);
        for answered in &self.exchanges {
            out.send_bytes(Protocol::CHAP, &answered.packet);
        }
        None
    }
}

/// What a Failure packet says: `E=` and `M=` (RFC 2759 §6).
fn failure(message: &[u8]) -> Reason {
    let text: String =
        String::from_utf8_lossy(message).chars().filter(|c| !c.is_control()).collect();
    let code = text
        .split(' ')
        .find_map(|word| word.strip_prefix("E="))
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(691);
    let message = match text.split_once("M=") {
        Some((_, message)) => message.chars().take(128).collect(),
        None => String::new(),
    };
    Reason::LoginRefused { refusal: Refusal::from_code(code), message }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn arbitrary_values_never_panic(value: Vec<u8>) {
            prop_assert_eq!(Response::parse(&value).is_some(), value.len() == RESPONSE_LEN);
        }

        #[test]
        fn a_response_survives_the_wire(challenge: [u8; 16], proof: [u8; 24]) {
            let response = Response {
                peer_challenge: challenge,
                nt_response: NtResponse::from_bytes(proof),
            };
            prop_assert_eq!(Response::parse(&response.emit()), Some(response));
        }

        #[test]
        fn arbitrary_failures_never_panic(message: Vec<u8>) {
            failure(&message);
        }
    }

    #[test]
    fn a_failure_names_its_reason() {
        // As pppd sends it.
        let reason = failure(b"E=691 R=1 C=4faedc8c2e89ba56ccc93fe87dfe4f9d V=0 M=Access denied");
        assert_eq!(reason.to_string(), "wrong password: Access denied");
        assert_eq!(failure(b"E=649 R=0").to_string(), "no permission to dial in");
        assert_eq!(failure(b"").to_string(), "wrong password");
    }
}
