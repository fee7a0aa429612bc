//! The side that answers Challenges.
//!
//! Implements RFC 1994 §2 and §4, RFC 2433 §6 and RFC 2759 §4, §5. Never believes an
//! MS-CHAPv2 server that does not know the password, and never types another one after a Failure.

use std::collections::VecDeque;

use crate::mppe::MasterKey;
use crate::mschap::{self, AuthenticatorResponse, Challenge, Exchange};
use crate::ppp::auth::attempt::md5_response;
use crate::ppp::auth::running::Outcome;
use crate::ppp::auth::{Credential, Failure, StartKeys, mschapv1, mschapv2};
use crate::ppp::entropy::Entropy;
use crate::ppp::frame::Protocol;
use crate::ppp::link::{Reason, Side, Timers};
use crate::ppp::outbox::Outbox;
use crate::ppp::packet::Packet;
use crate::time::Instant;

use super::{Algorithm, CHALLENGE, FAILURE, RESPONSE, SUCCESS, Value};

/// Challenges whose answers a peer remembers. Reordered on the way, an older one may be the last
/// to come while the server has already judged the Response to a newer one.
const MAX_EXCHANGES: usize = 4;

#[derive(Debug, Clone)]
pub(crate) struct Peer {
    algorithm: Algorithm,
    user: Vec<u8>,
    credential: Credential,
    timers: Timers,
    entropy: Entropy,
    /// What the newest Challenges began. Kept once the server answered: a late copy of its
    /// Challenge must get the Response that it judged.
    exchanges: VecDeque<Answered>,
    /// Times that all were sent again since the last new one.
    repeated: u32,
    /// None once the server accepted us: if it asks again, repeating is its business.
    deadline: Option<Instant>,
    /// Were we ever accepted? Keys come from that exchange alone.
    accepted: bool,
}

#[derive(Debug, Clone)]
struct Answered {
    identifier: u8,
    challenge: Vec<u8>,
    proof: Proof,
    packet: Vec<u8>,
}

/// What a Response proved, as far as the answer to it depends on that.
#[derive(Debug, Clone)]
enum Proof {
    Md5,
    MsChapV1 { challenge: [u8; 8] },
    MsChapV2 { challenge: Challenge, response: mschapv2::Response },
}

impl Peer {
    pub(crate) fn new(
        algorithm: Algorithm,
        user: &[u8],
        credential: Credential,
        timers: Timers,
        entropy: Entropy,
    ) -> Self {
        Self {
            algorithm,
            user: user.to_vec(),
            credential,
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
        if packet.code == CHALLENGE {
            self.respond(packet, now, out);
            return None;
        }
        let is_answer = matches!(packet.code, SUCCESS | FAILURE);
        let answered = self
            .exchanges
            .iter()
            .find(|answered| is_answer && answered.identifier == packet.identifier)?;
        self.deadline = None;
        if packet.code == FAILURE {
            let Failure { refusal, message, .. } = Failure::parse(packet.data);
            return Some(Outcome::Failed(Reason::LoginRefused { refusal, message }));
        }
        let Ok(keys) = self.keys(&answered.proof, packet.data) else {
            return Some(Outcome::Failed(Reason::ServerProofWrong));
        };
        // An MS-CHAP re-authentication does not re-key.
        if std::mem::replace(&mut self.accepted, true) {
            return None;
        }
        Some(Outcome::Succeeded(keys))
    }

    /// The keys that a Success yields, if the server proved what it has to.
    fn keys(&self, proof: &Proof, message: &[u8]) -> Result<Option<StartKeys>, ServerProofWrong> {
        let hash_hash = self.credential.nt_hash().hash();
        match proof {
            Proof::Md5 => Ok(None),
            Proof::MsChapV1 { challenge } => {
                Ok(Some(StartKeys::from_mschapv1(&hash_hash, challenge)))
            }
            Proof::MsChapV2 { challenge, response } => {
                let exchange = Exchange {
                    authenticator_challenge: challenge,
                    peer_challenge: &response.peer_challenge,
                    user: &self.user,
                };
                let expected = exchange.authenticator_response(&hash_hash, &response.nt_response);
                // RFC 2759 §5: a client must end the link if the server's proof is wrong.
                if AuthenticatorResponse::from_message(message) != Some(expected) {
                    return Err(ServerProofWrong);
                }
                let master = MasterKey::from_mschapv2(&hash_hash, &response.nt_response);
                Ok(Some(StartKeys::from(&master)))
            }
        }
    }

    fn respond(&mut self, packet: Packet<'_>, now: Instant, out: &mut Outbox) {
        let Some(challenge) = Value::parse(packet.data).map(|value| value.value) else { return };
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
        let Some((value, proof)) = self.prove(identifier, challenge) else { return };
        let data = Value { value: &value, name: &self.user }.emit();
        let packet = Packet { code: RESPONSE, identifier, data: &data }.emit();
        out.send_bytes(Protocol::CHAP, &packet);
        let challenge = challenge.to_vec();
        self.exchanges.retain(|answered| answered.identifier != identifier);
        self.exchanges.truncate(MAX_EXCHANGES - 1);
        self.exchanges.push_front(Answered { identifier, challenge, proof, packet });
        self.repeated = 0;
        self.deadline = (!self.accepted).then(|| now + self.timers.restart);
    }

    /// The value of a Response. `None` if the Challenge's is none of the algorithm's.
    fn prove(&mut self, identifier: u8, challenge: &[u8]) -> Option<(Vec<u8>, Proof)> {
        let hash = self.credential.nt_hash();
        match self.algorithm {
            Algorithm::Md5 => {
                let secret = self.credential.clear()?;
                Some((md5_response(identifier, secret, challenge).to_vec(), Proof::Md5))
            }
            Algorithm::MsChapV1 => {
                let challenge = challenge.try_into().ok()?;
                let response = mschapv1::Response(mschap::nt_response_v1(&challenge, hash));
                Some((response.emit().to_vec(), Proof::MsChapV1 { challenge }))
            }
            Algorithm::MsChapV2 => {
                let challenge = challenge.try_into().ok()?;
                let peer_challenge: Challenge = self.entropy.draw();
                let exchange = Exchange {
                    authenticator_challenge: &challenge,
                    peer_challenge: &peer_challenge,
                    user: &self.user,
                };
                let nt_response = exchange.nt_response(hash);
                let response = mschapv2::Response { peer_challenge, nt_response };
                Some((response.emit().to_vec(), Proof::MsChapV2 { challenge, response }))
            }
        }
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

/// The server does not know the password.
struct ServerProofWrong;
