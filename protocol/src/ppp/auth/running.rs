//! The authentication that a link runs: one of the methods, in one of its two roles.
//!
//! PAP and CHAP are variants here and [`Method`]s in LCP; a link knows neither. Never decides
//! anything itself.

use std::time::Duration;

use crate::ppp::entropy::Entropy;
use crate::ppp::frame::Protocol;
use crate::ppp::link::{Reason, Timers};
use crate::ppp::outbox::Outbox;
use crate::ppp::packet::Packet;
use crate::time::Instant;

use super::chap::{self, Algorithm};
use super::{Accepted, Attempt, Credential, Failure, Method, StartKeys, pap};

/// What an authentication comes to.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The owner has to judge.
    Ask(Attempt),
    /// As peer: the server accepted us, and proved itself where the method does that.
    Succeeded(Option<StartKeys>),
    /// There will be no link.
    Failed(Reason),
}

#[derive(Debug, Clone)]
pub(crate) enum Running {
    ChapAuthenticator(chap::Authenticator),
    ChapPeer(chap::Peer),
    PapAuthenticator(pap::Authenticator),
    PapPeer(pap::Peer),
}

const fn algorithm(method: Method) -> Option<Algorithm> {
    match method {
        Method::MsChapV2 => Some(Algorithm::MsChapV2),
        Method::MsChapV1 => Some(Algorithm::MsChapV1),
        Method::ChapMd5 => Some(Algorithm::Md5),
        Method::Pap => None,
    }
}

/// What an authenticator is told.
pub(crate) struct Demand<'a> {
    pub(crate) method: Method,
    /// Our name in Challenges.
    pub(crate) name: &'a [u8],
    /// The last identifier that was used.
    pub(crate) identifier: u8,
    /// Time between Challenges to a peer that was accepted.
    pub(crate) interval: Option<Duration>,
    pub(crate) timers: Timers,
}

impl Running {
    /// Demands a proof of the peer.
    pub(crate) fn authenticator(
        demand: &Demand<'_>,
        entropy: Entropy,
        now: Instant,
        out: &mut Outbox,
    ) -> Self {
        let &Demand { method, name, identifier, interval, timers } = demand;
        match algorithm(method) {
            Some(algorithm) => {
                let mut authenticator = chap::Authenticator::new(
                    algorithm, name, identifier, timers, interval, entropy,
                );
                authenticator.start(now, out);
                Self::ChapAuthenticator(authenticator)
            }
            None => Self::PapAuthenticator(pap::Authenticator::new(identifier, timers, now)),
        }
    }

    /// Proves to the peer who we are. `None` if the method needs the clear password and only its
    /// hash is there.
    pub(crate) fn peer(
        method: Method,
        user: &[u8],
        credential: &Credential,
        timers: Timers,
        entropy: Entropy,
        now: Instant,
        out: &mut Outbox,
    ) -> Option<Self> {
        if matches!(method, Method::ChapMd5 | Method::Pap) && credential.clear().is_none() {
            return None;
        }
        match algorithm(method) {
            // CHAP's peer speaks when spoken to (RFC 1994 §2).
            Some(algorithm) => Some(Self::ChapPeer(chap::Peer::new(
                algorithm,
                user,
                credential.clone(),
                timers,
                entropy,
            ))),
            None => {
                let mut peer = pap::Peer::new(user, credential.clear()?, timers);
                peer.send(now, out);
                Some(Self::PapPeer(peer))
            }
        }
    }

    /// The protocol of its packets.
    pub(crate) const fn protocol(&self) -> Protocol {
        match self {
            Self::ChapAuthenticator(_) | Self::ChapPeer(_) => Protocol::CHAP,
            Self::PapAuthenticator(_) | Self::PapPeer(_) => Protocol::PAP,
        }
    }

    pub(crate) fn receive(
        &mut self,
        payload: &[u8],
        now: Instant,
        out: &mut Outbox,
    ) -> Option<Outcome> {
        let packet = Packet::parse(payload).ok()?;
        match self {
            Self::ChapAuthenticator(authenticator) => authenticator.receive(packet, out),
            Self::ChapPeer(peer) => peer.receive(packet, now, out),
            Self::PapAuthenticator(authenticator) => authenticator.receive(packet, out),
            Self::PapPeer(peer) => peer.receive(packet),
        }
    }

    /// The last identifier that an authenticator used.
    pub(crate) const fn identifier(&self) -> Option<u8> {
        match self {
            Self::ChapAuthenticator(authenticator) => Some(authenticator.identifier()),
            Self::PapAuthenticator(authenticator) => Some(authenticator.attempt()),
            Self::ChapPeer(_) | Self::PapPeer(_) => None,
        }
    }

    pub(crate) const fn awaits(&self, identifier: u8) -> bool {
        match self {
            Self::ChapAuthenticator(authenticator) => authenticator.awaits(identifier),
            Self::PapAuthenticator(authenticator) => authenticator.awaits(identifier),
            Self::ChapPeer(_) | Self::PapPeer(_) => false,
        }
    }

    /// Tells the peer that it may come in. `Err`: the verdict lacks what the peer must be told.
    pub(crate) fn accept(
        &mut self,
        accepted: &Accepted,
        message: &str,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<(), Reason> {
        match self {
            Self::ChapAuthenticator(authenticator) => {
                authenticator.accept(accepted, message, now, out)
            }
            Self::PapAuthenticator(authenticator) => {
                authenticator.accept(message, out);
                Ok(())
            }
            Self::ChapPeer(_) | Self::PapPeer(_) => Ok(()),
        }
    }

    /// Tells the peer that it may not; returns whether it may try again.
    pub(crate) fn refuse(&mut self, failure: &Failure, out: &mut Outbox) -> bool {
        match self {
            Self::ChapAuthenticator(authenticator) => authenticator.refuse(failure, out),
            Self::PapAuthenticator(authenticator) => {
                authenticator.refuse(failure, out);
                false
            }
            Self::ChapPeer(_) | Self::PapPeer(_) => false,
        }
    }

    pub(crate) const fn deadline(&self) -> Option<Instant> {
        match self {
            Self::ChapAuthenticator(authenticator) => authenticator.deadline(),
            Self::ChapPeer(peer) => peer.deadline(),
            Self::PapAuthenticator(authenticator) => authenticator.deadline(),
            Self::PapPeer(peer) => peer.deadline(),
        }
    }

    pub(crate) fn tick(&mut self, now: Instant, out: &mut Outbox) -> Option<Outcome> {
        match self {
            Self::ChapAuthenticator(authenticator) => authenticator.tick(now, out),
            Self::ChapPeer(peer) => peer.tick(now, out),
            Self::PapAuthenticator(authenticator) => authenticator.tick(now),
            Self::PapPeer(peer) => peer.tick(now, out),
        }
    }
}
