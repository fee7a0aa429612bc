//! The authentication that a link runs: one of the methods, in one of its two roles.
//!
//! A method is a variant here and a [`Method`] in LCP; a link knows neither. Never decides
//! anything itself.

use crate::mschap::{AuthenticatorResponse, NtHash};
use crate::ppp::entropy::Entropy;
use crate::ppp::frame::Protocol;
use crate::ppp::link::{Reason, Timers};
use crate::ppp::outbox::Outbox;
use crate::ppp::packet::Packet;
use crate::time::Instant;

use super::{Attempt, Method, Refusal, StartKeys, mschapv2};

/// What an authentication comes to.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The owner has to judge.
    Ask(Attempt),
    /// As peer: the server accepted us and proved itself.
    Succeeded(StartKeys),
    /// There will be no link.
    Failed(Reason),
}

#[derive(Debug, Clone)]
pub(crate) enum Running {
    MsChapV2Authenticator(mschapv2::Authenticator),
    MsChapV2Peer(mschapv2::Peer),
}

impl Running {
    pub(crate) fn authenticator(
        method: Method,
        name: &[u8],
        identifier: u8,
        timers: Timers,
        entropy: Entropy,
    ) -> Self {
        match method {
            Method::MsChapV2 => Self::MsChapV2Authenticator(mschapv2::Authenticator::new(
                name, identifier, timers, entropy,
            )),
        }
    }

    pub(crate) fn peer(
        method: Method,
        user: &[u8],
        password: &NtHash,
        timers: Timers,
        entropy: Entropy,
    ) -> Self {
        match method {
            Method::MsChapV2 => {
                Self::MsChapV2Peer(mschapv2::Peer::new(user, password.clone(), timers, entropy))
            }
        }
    }

    /// The protocol of its packets.
    pub(crate) const fn protocol(&self) -> Protocol {
        match self {
            Self::MsChapV2Authenticator(_) | Self::MsChapV2Peer(_) => Protocol::CHAP,
        }
    }

    pub(crate) fn start(&mut self, now: Instant, out: &mut Outbox) {
        match self {
            Self::MsChapV2Authenticator(authenticator) => authenticator.start(now, out),
            // CHAP's peer speaks when spoken to (RFC 1994 §2).
            Self::MsChapV2Peer(_) => {}
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
            Self::MsChapV2Authenticator(authenticator) => authenticator.receive(packet, out),
            Self::MsChapV2Peer(peer) => peer.receive(packet, now, out),
        }
    }

    /// The last identifier that an authenticator used.
    pub(crate) const fn identifier(&self) -> Option<u8> {
        match self {
            Self::MsChapV2Authenticator(authenticator) => Some(authenticator.identifier()),
            Self::MsChapV2Peer(_) => None,
        }
    }

    pub(crate) const fn awaits(&self, identifier: u8) -> bool {
        match self {
            Self::MsChapV2Authenticator(authenticator) => authenticator.awaits(identifier),
            Self::MsChapV2Peer(_) => false,
        }
    }

    pub(crate) fn accept(
        &mut self,
        proof: &AuthenticatorResponse,
        message: &str,
        out: &mut Outbox,
    ) {
        if let Self::MsChapV2Authenticator(authenticator) = self {
            authenticator.accept(proof, message, out);
        }
    }

    pub(crate) fn refuse(&mut self, refusal: Refusal, message: &str, out: &mut Outbox) {
        if let Self::MsChapV2Authenticator(authenticator) = self {
            authenticator.refuse(refusal, message, out);
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::MsChapV2Authenticator(authenticator) => authenticator.deadline(),
            Self::MsChapV2Peer(peer) => peer.deadline(),
        }
    }

    pub(crate) fn tick(&mut self, now: Instant, out: &mut Outbox) -> Option<Outcome> {
        match self {
            Self::MsChapV2Authenticator(authenticator) => authenticator.tick(now, out),
            Self::MsChapV2Peer(peer) => peer.tick(now, out),
        }
    }
}
