//! The gate for CoA-Requests and Disconnect-Requests: who may give orders, and which are new.
//!
//! Implements RFC 5176 §2.3, §3.3 and §6: sources on a list, the Request Authenticator always,
//! Message-Authenticator and Event-Timestamp where they are present or demanded, duplicates
//! answered from a cache of bounded size. Carries nothing out: the owner does, and answers.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::time::Instant;

use super::dictionary::{ERROR_CAUSE, EVENT_TIMESTAMP, PROXY_STATE};
use super::{
    Attributes, Authenticator, Code, Forged, Malformed, OwnedPacket, Packet, Presence, Secret,
    TooLong, seal,
};

/// How far an Event-Timestamp may be from our clock, seconds (RFC 5176 §6.3).
pub const MAX_SKEW: u32 = 300;

/// Answers that are remembered.
const MAX_REMEMBERED: usize = 4096;
/// How long an order is known again that has no Event-Timestamp. An operator's tool may well make
/// the same one again later, and means it.
const SHORT_MEMORY: Duration = Duration::from_secs(30);
/// How long one with Event-Timestamp is: as long as the timestamp is believed.
const LONG_MEMORY: Duration = Duration::from_secs(2 * 300);

/// What the operator wants of orders.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Who may give them, and what they share with us.
    pub clients: HashMap<IpAddr, Secret>,
    /// Whether one needs a Message-Authenticator.
    pub require_message_authenticator: bool,
    /// Whether one needs an Event-Timestamp.
    pub require_event_timestamp: bool,
}

/// An order that is new and genuine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Names it for the answer.
    pub key: Key,
    /// Whence it came, and whither the answer goes.
    pub from: SocketAddr,
    /// The CoA-Request or Disconnect-Request.
    pub packet: OwnedPacket,
}

/// Names an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    from: IpAddr,
    identifier: u8,
    authenticator: Authenticator,
}

/// What is to be done with a datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// Carry it out and [`Gate::answer`] it.
    New(Order),
    /// Send this answer again.
    Repeat(Vec<u8>),
    /// Nothing (RFC 5176 §2.3: silently discarded).
    Ignore(Ignored),
}

/// Why a datagram is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    /// Its source is not on the list.
    #[error("nobody of this address may give orders")]
    Stranger,
    /// It is no packet.
    #[error("malformed: {0}")]
    Malformed(Malformed),
    /// It is no order.
    #[error("{0} is no order")]
    Code(Code),
    /// It is not from whoever has the secret.
    #[error("{0}")]
    Forged(Forged),
    /// A Message-Authenticator is demanded and it has none.
    #[error("it has no Message-Authenticator, which is required")]
    Unprotected,
    /// An Event-Timestamp is demanded and it has none.
    #[error("it has no Event-Timestamp, which is required")]
    Undated,
    /// Its Event-Timestamp is too far from our clock.
    #[error("its Event-Timestamp is {0} s away from our clock: captured before, or a wrong clock")]
    Stale(u32),
    /// It is being carried out.
    #[error("a duplicate of what is being carried out")]
    Underway,
}

/// What is remembered of an order.
#[derive(Debug)]
struct Remembered {
    until: Instant,
    /// `None` while it is being carried out.
    answer: Option<Vec<u8>>,
}

/// The gate.
#[derive(Debug)]
pub struct Gate {
    rules: Rules,
    remembered: HashMap<Key, Remembered>,
    /// The oldest first.
    order: VecDeque<Key>,
}

impl Gate {
    /// A gate with these rules.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self { rules, remembered: HashMap::new(), order: VecDeque::new() }
    }

    /// Looks at a datagram. `time` is in seconds since 1970.
    pub fn admit(
        &mut self,
        from: SocketAddr,
        datagram: &[u8],
        time: u32,
        now: Instant,
    ) -> Admission {
        let (packet, dated) = match self.check(from, datagram, time) {
            Ok(genuine) => genuine,
            Err(reason) => return Admission::Ignore(reason),
        };
        // The port is no part of it, so that a copy from another one does nothing new.
        let key = Key {
            from: from.ip().to_canonical(),
            identifier: packet.identifier(),
            authenticator: packet.authenticator(),
        };
        self.forget(now);
        match self.remembered.get(&key) {
            Some(Remembered { answer: Some(answer), until }) if *until > now => {
                return Admission::Repeat(answer.clone());
            }
            Some(Remembered { answer: None, .. }) => return Admission::Ignore(Ignored::Underway),
            _ => {}
        }
        let memory = if dated { LONG_MEMORY } else { SHORT_MEMORY };
        if self.remembered.insert(key, Remembered { until: now + memory, answer: None }).is_none() {
            self.order.push_back(key);
        }
        Admission::New(Order { key, from, packet: packet.to_owned() })
    }

    fn check<'a>(
        &self,
        from: SocketAddr,
        datagram: &'a [u8],
        time: u32,
    ) -> Result<(Packet<'a>, bool), Ignored> {
        let address = from.ip().to_canonical();
        let secret = self.rules.clients.get(&address).ok_or(Ignored::Stranger)?;
        let packet = Packet::parse(datagram).map_err(Ignored::Malformed)?;
        if !matches!(packet.code(), Code::CoaRequest | Code::DisconnectRequest) {
            return Err(Ignored::Code(packet.code()));
        }
        let presence = packet.verify_hashed_request(secret).map_err(Ignored::Forged)?;
        if presence == Presence::Absent && self.rules.require_message_authenticator {
            return Err(Ignored::Unprotected);
        }
        let dated = packet.value(EVENT_TIMESTAMP).ok().flatten().and_then(|value| value.number());
        match dated.map(|dated| dated.abs_diff(time)) {
            Some(skew) if skew > MAX_SKEW => Err(Ignored::Stale(skew)),
            None if self.rules.require_event_timestamp => Err(Ignored::Undated),
            skew => Ok((packet, skew.is_some())),
        }
    }

    /// Forgets what is too old, and the oldest where there is too much.
    fn forget(&mut self, now: Instant) {
        while let Some(key) = self.order.front() {
            let keep = self.remembered.get(key).is_some_and(|remembered| remembered.until > now);
            if keep && self.order.len() < MAX_REMEMBERED {
                return;
            }
            self.remembered.remove(key);
            self.order.pop_front();
        }
    }

    /// The answer to an order that was carried out, or was not for this Error-Cause (RFC 5176
    /// §3.5). It is remembered for duplicates.
    ///
    /// # Errors
    /// If the order's Proxy-States do not fit into an answer.
    pub fn answer(&mut self, order: &Order, outcome: Result<(), u32>) -> Result<Vec<u8>, TooLong> {
        let packet = order.packet.view();
        let code = match (packet.code(), outcome) {
            (Code::CoaRequest, Ok(())) => Code::CoaAck,
            (Code::CoaRequest, Err(_)) => Code::CoaNak,
            (_, Ok(())) => Code::DisconnectAck,
            (_, Err(_)) => Code::DisconnectNak,
        };
        let mut attributes = Attributes::new();
        if let Err(cause) = outcome {
            attributes.integer(ERROR_CAUSE, cause);
        }
        // RFC 5176 §3.1: Proxy-States go back as they came, in order.
        for state in packet.all(PROXY_STATE) {
            attributes.octets(PROXY_STATE, state);
        }
        let nobody = Secret::new([]);
        let secret = self.rules.clients.get(&order.key.from).unwrap_or(&nobody);
        let (identifier, authenticator) = (packet.identifier(), packet.authenticator());
        let octets = seal::response(code, identifier, &authenticator, &attributes, true, secret)?;
        if let Some(remembered) = self.remembered.get_mut(&order.key) {
            remembered.answer = Some(octets.clone());
        }
        Ok(octets)
    }
}

#[cfg(test)]
mod tests;
