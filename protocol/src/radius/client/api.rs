//! What the owner of a [`Client`](super::Client) tells it, and what it says.

use std::time::Duration;

use crate::ppp::auth::StartKeys;
use crate::radius::dictionary::ACCT_DELAY_TIME;
use crate::radius::microsoft::{self, ChapMppeKeys, KeyError};
use crate::radius::{
    Attributes, Authenticator, Code, Forged, Malformed, OwnedPacket, Packet, Secret, TooLong, seal,
};
use zeroize::Zeroizing;

/// A server as the operator describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// What it shares with us.
    pub secret: Secret,
    /// Its share of the requests among those that have one. Zero: it is asked only while none of
    /// them lives, in the order of the list.
    pub weight: u32,
    /// How long the first answer is waited for; twice that the second time, and so on.
    pub timeout: Duration,
    /// How often a request is sent before the next server gets it, 1 or more.
    pub tries: u32,
    /// How long a server that was found silent is left alone while others live.
    pub dead_time: Duration,
    /// Whether an answer to an Access-Request needs a Message-Authenticator.
    pub require_message_authenticator: bool,
    /// Most requests that are with it at once, 1 to 65,536; 256 for each source port.
    pub max_in_flight: usize,
}

/// Names a request. The owner chooses, and never the same twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What a server is asked.
#[derive(Debug, Clone)]
pub enum Request {
    /// May they in?
    Access {
        /// All but the password.
        attributes: Attributes,
        /// Becomes the User-Password, hidden for the server that gets it.
        password: Option<Zeroizing<Vec<u8>>>,
    },
    /// This happened.
    Accounting {
        /// All but Acct-Delay-Time, which is added (RFC 2866 §5.2).
        attributes: Attributes,
        /// How long ago it happened, at the time of asking.
        age: Duration,
    },
    /// Do you live, and is our secret the same (RFC 5997)?
    Status {
        /// Who asks.
        attributes: Attributes,
    },
}

impl Request {
    /// What it is on the wire.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Access { .. } => Code::AccessRequest,
            Self::Accounting { .. } => Code::AccountingRequest,
            Self::Status { .. } => Code::StatusServer,
        }
    }

    /// Whether its answer should have a Message-Authenticator: an Accounting-Response has none.
    pub(super) const fn wants_protection(&self) -> bool {
        matches!(self, Self::Access { .. })
    }

    /// The octets for one server, and their authenticator. `waited` is the time since the asking.
    pub(super) fn seal(
        &self,
        identifier: u8,
        random: Authenticator,
        waited: Duration,
        secret: &Secret,
    ) -> Result<(Vec<u8>, Authenticator), TooLong> {
        match self {
            Self::Access { attributes, password } => {
                let password = password.as_ref().map(|password| password.as_slice());
                let octets =
                    seal::access_request(identifier, &random, attributes, password, secret)?;
                Ok((octets, random))
            }
            Self::Status { attributes } => {
                let octets = seal::status_server(identifier, &random, attributes, secret)?;
                Ok((octets, random))
            }
            Self::Accounting { attributes, age } => {
                let delay = u32::try_from((*age + waited).as_secs()).unwrap_or(u32::MAX);
                let mut all = attributes.clone();
                all.integer(ACCT_DELAY_TIME, delay);
                let code = Code::AccountingRequest;
                let octets = seal::hashed_request(code, identifier, &all, false, secret)?;
                let mut authenticator = [0; 16];
                authenticator.copy_from_slice(&octets[4..20]);
                Ok((octets, authenticator))
            }
        }
    }
}

/// What the owner tells the machine.
#[derive(Debug)]
pub enum Input<'a> {
    /// Ask this.
    Ask {
        /// Its name from now on.
        ticket: Ticket,
        /// What.
        request: Request,
    },
    /// Nobody wants to know any more. What was not sent yet never is.
    Cancel(Ticket),
    /// A datagram from a server's address.
    Datagram {
        /// Index of the server.
        server: usize,
        /// The port of ours at which it arrived.
        socket: u16,
        /// The datagram.
        octets: &'a [u8],
    },
    /// The deadline has passed.
    Tick,
}

/// A datagram for a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// Index of the server.
    pub server: usize,
    /// Which port of ours it leaves from: 0, then 1 when that one's identifiers do not do, and so
    /// on. Each server has its own.
    pub socket: u16,
    /// The datagram.
    pub octets: Vec<u8>,
}

/// What the machine says.
#[derive(Debug, Clone)]
pub enum Event {
    /// A server answered.
    Answered {
        /// The request.
        ticket: Ticket,
        /// The answer.
        answer: Answer,
    },
    /// There will be no answer.
    Failed {
        /// The request.
        ticket: Ticket,
        /// Why.
        failure: Failure,
    },
    /// A datagram was thrown away.
    Ignored {
        /// Index of the server whose address it has.
        server: usize,
        /// Why.
        reason: Ignored,
    },
    /// A server is silent; others are asked.
    Dead {
        /// Its index.
        server: usize,
    },
    /// A server that was thought dead answers.
    Alive {
        /// Its index.
        server: usize,
    },
    /// A server's answer had no Message-Authenticator (CVE-2024-3596).
    Unprotected {
        /// Its index.
        server: usize,
        /// Whether that answer therefore does not count.
        refused: bool,
    },
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No server answered.
    #[error("RADIUS does not answer")]
    NoAnswer,
    /// The answer had no Message-Authenticator.
    #[error("the RADIUS server's answer has no Message-Authenticator")]
    Unprotected,
    /// Too many wait already.
    #[error("too many requests wait for RADIUS")]
    Busy,
    /// It cannot be sent at all.
    #[error("the request cannot be sent: {0}")]
    TooLong(TooLong),
}

/// Why a datagram was thrown away. The true answer is still awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    /// It is no packet.
    #[error("malformed: {0}")]
    Malformed(Malformed),
    /// Nobody awaits it: a duplicate, or too late.
    #[error("nobody awaits it: a duplicate, or too late")]
    Unexpected,
    /// It answers something else.
    #[error("{0} answers no request of ours")]
    Code(Code),
    /// It is not believed.
    #[error("{0}")]
    Forged(Forged),
}

/// An answer that is believed.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Index of the server.
    pub server: usize,
    packet: OwnedPacket,
    request: Authenticator,
    secret: Secret,
}

impl Answer {
    pub(super) fn new(
        server: usize,
        packet: Packet<'_>,
        request: Authenticator,
        secret: Secret,
    ) -> Self {
        Self { server, packet: packet.to_owned(), request, secret }
    }

    /// The packet.
    #[must_use]
    pub fn packet(&self) -> Packet<'_> {
        self.packet.view()
    }

    /// The start keys of an Access-Accept (RFC 2548 §2.4.2, §2.4.3).
    ///
    /// # Errors
    /// If it has none that can be read.
    pub fn start_keys(&self) -> Result<StartKeys, KeyError> {
        microsoft::start_keys(&self.packet(), &self.request, &self.secret)
    }

    /// MS-CHAPv1's keys of an Access-Accept (RFC 2548 §2.4.1).
    ///
    /// # Errors
    /// If it has none that can be read.
    pub fn chap_mppe_keys(&self) -> Result<ChapMppeKeys, KeyError> {
        microsoft::chap_mppe_keys(&self.packet(), &self.request, &self.secret)
    }
}
