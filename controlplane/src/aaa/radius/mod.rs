//! Logins that RADIUS judges: an attempt as an Access-Request, and what its answer means.
//!
//! | module | what |
//! |---|---|
//! | [`overlay`] | attributes laid over terms, at a login and by CoA |
//! | [`orders`] | CoA and Disconnect on live sessions |
//! | `encryption` | what RADIUS says of MPPE |
//!
//! Implements RFC 2865 §4.1 to §4.4 and RFC 2548 §2. A server that does not answer, or answers
//! what cannot be used, is never counted against the user.

mod encryption;
pub mod orders;
pub mod overlay;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;

use protocol::mschap::{NtHashHash, without_domain};
use protocol::ppp::auth::{Accepted, Attempt, Failure as ChapFailure, Proof, Refusal, StartKeys};
use protocol::radius::client::{Answer, Failure};
use protocol::radius::dictionary::{self as names, framed_protocol, service_type};
use protocol::radius::microsoft::{self, Chap2Success, ChapError, KeyError};
use protocol::radius::{Attributes, Code, Definition, Packet};
use tracing::{debug, warn};
use zeroize::Zeroizing;

use super::{Login, Verdict, identity, local};
use crate::config::Aaa;
use crate::daemon::Daemon;
use crate::daemon::counters::Count;
use crate::terms::Terms;
use crate::text::printable;
use encryption::Unencrypted;

/// Asks RADIUS. Dropping the future calls the request off.
///
/// # Errors
/// If nobody answers.
pub(super) async fn judge(daemon: &Daemon, login: &Login) -> Result<Verdict, Failure> {
    let name = asked_name(&login.attempt.name, &daemon.config.aaa);
    let mut attributes =
        identity::session(daemon, login.session.id(), &name, login.peer, login.local);
    let password = prove(&login.attempt, &mut attributes);
    let answer = match daemon.radius.authenticate(attributes, password).await {
        Ok(answer) => answer,
        Err(failure @ (Failure::NoAnswer | Failure::Busy)) => {
            daemon.counters.add(Count::RadiusSilent);
            return Err(failure);
        }
        Err(failure @ (Failure::Unprotected | Failure::TooLong(_))) => {
            return Ok(Verdict::Nothing { reason: failure.to_string() });
        }
    };
    let server = daemon.radius.server(&answer);
    let defaults = |profile: Option<&str>| local::defaults(daemon, profile);
    let mut verdict = verdict(&answer, &login.attempt, &name, server, defaults);
    if let Verdict::Granted { terms, .. } = &mut verdict {
        let user = terms.user.clone();
        terms.routes.retain(|route| match daemon.config.accepts_route(route) {
            Ok(()) => true,
            Err(reason) => {
                warn!(user, reason, "Framed-Route of RADIUS left out");
                false
            }
        });
    }
    if let Verdict::Granted { terms, .. } = &verdict
        && let Some(unusable) = overlay::unknown_filter(terms, &daemon.filters)
    {
        warn!(user = terms.user, reason = %unusable, "RADIUS accepts, but its answer is of no use");
        return Ok(Verdict::Nothing { reason: format!("RADIUS's Access-Accept: {unusable}") });
    }
    Ok(verdict)
}

/// What an answer means.
fn verdict(
    answer: &Answer,
    attempt: &Attempt,
    name: &[u8],
    server: Option<SocketAddr>,
    defaults: impl FnOnce(Option<&str>) -> Result<Terms, String>,
) -> Verdict {
    let packet = answer.packet();
    let user = printable(name);
    match packet.code() {
        Code::AccessAccept => match accepted(answer, attempt, name, defaults) {
            Ok((terms, accepted)) => {
                if let Some(message) = reply_message(&packet) {
                    debug!(user, message, "RADIUS says");
                }
                Verdict::Granted { terms: Box::new(terms), accepted }
            }
            Err(Unusable::NotForUs(reason)) => Verdict::Refused {
                refusal: Refusal::NoDialIn,
                count: Count::RadiusRefused,
                reason,
                retry: None,
                message: None,
            },
            Err(unusable) => {
                let server = server.map(|server| server.to_string());
                warn!(user, server, reason = %unusable, "RADIUS accepts, but its answer is of no use");
                Verdict::Nothing { reason: format!("RADIUS's Access-Accept: {unusable}") }
            }
        },
        Code::AccessReject => refused(&packet, attempt),
        _ => {
            let message = reply_message(&packet).unwrap_or_default();
            warn!(
                user,
                message,
                "RADIUS asks for more than a password (Access-Challenge), for which PPP has no \
                 means: the login is refused"
            );
            Verdict::Nothing {
                reason: "RADIUS answers with an Access-Challenge, for which PPP has no means"
                    .to_owned(),
            }
        }
    }
}

/// The name that RADIUS is asked about.
fn asked_name(name: &[u8], aaa: &Aaa) -> Vec<u8> {
    let mut asked = name;
    if aaa.strip_realm {
        asked = without_domain(asked);
        asked = asked.rsplitn(2, |octet| *octet == b'@').last().unwrap_or(asked);
    }
    // A User-Name has one octet at least (RFC 2865 §5.1).
    if asked.is_empty() {
        asked = name;
    }
    let has_realm = asked.iter().any(|octet| matches!(octet, b'@' | b'\\'));
    match aaa.default_realm.as_str() {
        "" => asked.to_vec(),
        _ if has_realm => asked.to_vec(),
        realm => [asked, b"@", realm.as_bytes()].concat(),
    }
}

/// Adds what proves the password. A clear one is returned: it is hidden for whichever server gets
/// the request.
fn prove(attempt: &Attempt, attributes: &mut Attributes) -> Option<Zeroizing<Vec<u8>>> {
    match &attempt.proof {
        Proof::Pap { password } => return Some(Zeroizing::new(password.as_bytes().to_vec())),
        // RFC 2865 §5.3 and §5.40: the identifier in front of the response, the challenge apart.
        Proof::ChapMd5 { challenge, response } => {
            let value = [&[attempt.identifier], response.as_slice()].concat();
            attributes.octets(names::CHAP_PASSWORD, &value);
            attributes.octets(names::CHAP_CHALLENGE, challenge);
        }
        Proof::MsChapV1 { challenge, nt_response } => {
            let value = microsoft::chap_response(attempt.identifier, nt_response);
            attributes.octets(names::MS_CHAP_CHALLENGE, challenge);
            attributes.octets(names::MS_CHAP_RESPONSE, &value);
        }
        Proof::MsChapV2 { authenticator_challenge, peer_challenge, nt_response } => {
            let value = microsoft::chap2_response(attempt.identifier, peer_challenge, nt_response);
            attributes.octets(names::MS_CHAP_CHALLENGE, authenticator_challenge);
            attributes.octets(names::MS_CHAP2_RESPONSE, &value);
        }
    }
    None
}

/// Why an Access-Accept lets nobody in.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Unusable {
    /// It grants something else than PPP.
    #[error("{0}")]
    NotForUs(String),
    /// It is wrong, or goes beyond what is configured here.
    #[error("{0}")]
    Wrong(String),
}

impl Unusable {
    fn wrong(reason: impl fmt::Display) -> Self {
        Self::Wrong(reason.to_string())
    }
}

/// What an Access-Accept gives.
fn accepted(
    answer: &Answer,
    attempt: &Attempt,
    name: &[u8],
    defaults: impl FnOnce(Option<&str>) -> Result<Terms, String>,
) -> Result<(Terms, Accepted), Unusable> {
    let packet = answer.packet();
    // RFC 2865 §5: an attribute of a wrong length makes it a refusal.
    packet.check_values().map_err(Unusable::wrong)?;
    // RFC 2865 §5.6 and §5.7: what we cannot serve is as good as an Access-Reject.
    for (definition, served) in [
        (names::SERVICE_TYPE, service_type::FRAMED),
        (names::FRAMED_PROTOCOL, framed_protocol::PPP),
    ] {
        if let Some(given) = number(&packet, definition)
            && given != served
        {
            let reason = format!("RADIUS grants {} {given}, not {served}", definition.name);
            return Err(Unusable::NotForUs(reason));
        }
    }
    let group = packet.first(names::MIKROTIK_GROUP).map(printable);
    let mut terms = defaults(group.as_deref()).map_err(Unusable::wrong)?;
    // RFC 2865 §5.1: the server may name the user otherwise, and means it for accounts, too.
    let name = packet.first(names::USER_NAME).unwrap_or(name);
    terms.user = printable(name);
    let bare = without_domain(name);
    terms.bare_user = (bare != name).then(|| printable(bare));
    terms.account_name = Some(name.to_vec()).filter(|name| *name != attempt.name);
    terms.encryption = encryption::tighten(terms.encryption, &packet).map_err(Unusable::wrong)?;
    for unusable in overlay::at_login(&mut terms, &packet) {
        if unusable.is_grave {
            return Err(Unusable::wrong(unusable));
        }
        warn!(user = terms.user, reason = %unusable, "RADIUS attribute left out");
    }
    let response = match attempt.proof {
        Proof::MsChapV2 { .. } => Some(success(&packet, attempt)?.response),
        _ => None,
    };
    let keys = match keys(answer, &attempt.proof) {
        Ok(keys) => keys,
        // A key that is there and cannot be read is wrong, whether it is needed or not.
        Err(KeyError::Missing(_)) if !encryption::is_required(&terms.encryption) => None,
        Err(error @ KeyError::Missing(_)) => {
            return Err(Unusable::wrong(Unencrypted::NoKeys(error)));
        }
        Err(error) => return Err(Unusable::wrong(error)),
    };
    terms.by_radius = true;
    terms.radius = overlay::by_name(&packet);
    Ok((terms, Accepted { response, keys }))
}

/// RFC 2548 §2.3.3: without the server's own proof for this very response the peer would hang up.
fn success(packet: &Packet<'_>, attempt: &Attempt) -> Result<Chap2Success, Unusable> {
    let value = packet.first(names::MS_CHAP2_SUCCESS).ok_or_else(|| {
        Unusable::wrong(
            "it has no MS-CHAP2-Success, which MS-CHAPv2 needs: has the server checked the \
             password at all? On FreeRADIUS: `mschap` in `authorize` and `authenticate`",
        )
    })?;
    Chap2Success::parse(value)
        .filter(|success| success.identifier == attempt.identifier)
        .ok_or_else(|| Unusable::wrong("its MS-CHAP2-Success is not of this login"))
}

fn keys(answer: &Answer, proof: &Proof) -> Result<Option<StartKeys>, KeyError> {
    match proof {
        Proof::Pap { .. } | Proof::ChapMd5 { .. } => Ok(None),
        Proof::MsChapV1 { challenge, .. } => {
            let keys = answer.chap_mppe_keys()?;
            let hash_hash = NtHashHash::from_bytes(*keys.nt);
            Ok(Some(StartKeys::from_mschapv1(&hash_hash, challenge)))
        }
        Proof::MsChapV2 { .. } => answer.start_keys().map(Some),
    }
}

/// What an Access-Reject says: MS-CHAP-Error's words, or "wrong password".
fn refused(packet: &Packet<'_>, attempt: &Attempt) -> Verdict {
    let error = packet
        .first(names::MS_CHAP_ERROR)
        .and_then(ChapError::parse)
        .filter(|error| error.identifier == attempt.identifier);
    let failure = error.map(|error| error.failure);
    let refusal = failure.as_ref().map_or(Refusal::WrongPassword, |failure| failure.refusal);
    let message = reply_message(packet);
    let mut reason = format!("RADIUS refuses: {refusal}");
    for said in [&message, &failure.as_ref().map(|failure| failure.message.clone())] {
        if let Some(said) = said.as_ref().filter(|said| !said.is_empty()) {
            reason.push_str(&format!(" ({said})"));
        }
    }
    let ChapFailure { retry, message: said, .. } =
        failure.unwrap_or(ChapFailure { refusal, retry: None, message: String::new() });
    let count = match refusal {
        Refusal::WrongPassword => Count::WrongPassword,
        Refusal::Disabled => Count::Disabled,
        _ => Count::RadiusRefused,
    };
    let retry = retry.filter(|challenge| fits(challenge, &attempt.proof));
    let message = message.or(Some(said)).filter(|message| !message.is_empty());
    Verdict::Refused { refusal, count, reason, retry, message }
}

/// RFC 2433 §4 and RFC 2759 §3: whether a challenge has the length of the method's.
fn fits(challenge: &[u8], proof: &Proof) -> bool {
    match proof {
        Proof::MsChapV1 { .. } => challenge.len() == 8,
        Proof::MsChapV2 { .. } => challenge.len() == 16,
        Proof::Pap { .. } | Proof::ChapMd5 { .. } => false,
    }
}

/// All Reply-Messages as one line (RFC 2865 §5.18).
fn reply_message(packet: &Packet<'_>) -> Option<String> {
    let messages: Vec<String> = packet.all(names::REPLY_MESSAGE).map(printable).collect();
    Some(messages.join(" ")).filter(|text| !text.is_empty())
}

/// The number in an attribute. Values were checked.
fn number(packet: &Packet<'_>, definition: Definition) -> Option<u32> {
    packet.value(definition).ok().flatten().and_then(|value| value.number())
}
