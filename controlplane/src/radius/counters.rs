//! What is counted of RADIUS, in all and not by server.

use std::sync::atomic::{AtomicU64, Ordering};

use protocol::radius::client::Ignored;

/// Something that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// A datagram was sent to a server, retransmissions too.
    Sent,
    /// A believable answer came.
    Answered,
    /// A request had no answer from anybody.
    NoAnswer,
    /// A request was called off.
    CalledOff,
    /// A datagram was no packet.
    Malformed,
    /// A datagram was not from whom it said.
    Forged,
    /// A datagram answered nothing: a duplicate, or too late.
    Unexpected,
    /// An answer was refused for want of a Message-Authenticator.
    Unprotected,
    /// A server was found dead.
    Dead,
    /// A CoA-Request or Disconnect-Request was carried out.
    Obeyed,
    /// A CoA-Request or Disconnect-Request was refused with a reason.
    Declined,
    /// A CoA-Request or Disconnect-Request came again and got the same answer.
    Repeated,
    /// A datagram to the port for CoA and Disconnect was ignored.
    IncomingIgnored,
}

impl Count {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Sent,
        Self::Answered,
        Self::NoAnswer,
        Self::CalledOff,
        Self::Malformed,
        Self::Forged,
        Self::Unexpected,
        Self::Unprotected,
        Self::Dead,
        Self::Obeyed,
        Self::Declined,
        Self::Repeated,
        Self::IncomingIgnored,
    ];

    /// As the API and the command line call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sent => "radius_sent",
            Self::Answered => "radius_answered",
            Self::NoAnswer => "radius_no_answer",
            Self::CalledOff => "radius_called_off",
            Self::Malformed => "radius_malformed",
            Self::Forged => "radius_forged",
            Self::Unexpected => "radius_unexpected",
            Self::Unprotected => "radius_no_message_authenticator",
            Self::Dead => "radius_server_dead",
            Self::Obeyed => "radius_incoming_obeyed",
            Self::Declined => "radius_incoming_declined",
            Self::Repeated => "radius_incoming_repeated",
            Self::IncomingIgnored => "radius_incoming_ignored",
        }
    }

    /// What a datagram that was thrown away counts as.
    #[must_use]
    pub const fn of_ignored(reason: Ignored) -> Self {
        match reason {
            Ignored::Malformed(_) => Self::Malformed,
            Ignored::Unexpected => Self::Unexpected,
            Ignored::Code(_) | Ignored::Forged(_) => Self::Forged,
        }
    }
}

/// All counters.
#[derive(Debug, Default)]
pub struct Counters([AtomicU64; Count::ALL.len()]);

impl Counters {
    /// One more.
    pub fn add(&self, count: Count) {
        self.0[count as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many so far.
    #[must_use]
    pub fn get(&self, count: Count) -> u64 {
        self.0[count as usize].load(Ordering::Relaxed)
    }

    /// All by name.
    pub fn all(&self) -> impl Iterator<Item = (String, u64)> {
        Count::ALL.into_iter().map(|count| (count.name().to_owned(), self.get(count)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_place_and_name() {
        let counters = Counters::default();
        for count in Count::ALL {
            counters.add(count);
        }
        let all: std::collections::HashMap<_, _> = counters.all().collect();
        assert_eq!(all.len(), Count::ALL.len());
        assert!(all.values().all(|value| *value == 1));
    }
}
