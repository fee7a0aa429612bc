//! Orders of RADIUS servers carried out on live sessions: CoA-Request and Disconnect-Request.
//!
//! Implements RFC 5176 §2.1, §2.2, §3 and §3.5: all identifiers that are given must match, an
//! attribute that we cannot change refuses the whole order, and what is refused changes nothing.
//! The caller has found the order to be genuine and new.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use protocol::radius::dictionary::{self as names, error_cause, service_type};
use protocol::radius::{Code, Definition, Id, Packet};

use super::{number, overlay};
use crate::daemon::Daemon;
use crate::daemon::ending::Ending;
use crate::daemon::session::Session;
use crate::text::printable;

/// How long sessions may take to follow a change.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long they may take to end: a peer that is gone is asked twice, 3 s apart (RFC 1661 §4.6).
const LEAVE: Duration = Duration::from_secs(9);

/// Name the sessions that are meant.
const SESSION: [Definition; 5] = [
    names::USER_NAME,
    names::ACCT_SESSION_ID,
    names::FRAMED_IP_ADDRESS,
    names::CALLING_STATION_ID,
    names::NAS_PORT,
];
/// Name us.
const NAS: [Definition; 3] =
    [names::NAS_IP_ADDRESS, names::NAS_IDENTIFIER, names::NAS_IPV6_ADDRESS];
/// May be there and change nothing.
const INDIFFERENT: [Definition; 6] = [
    names::MESSAGE_AUTHENTICATOR,
    names::EVENT_TIMESTAMP,
    names::PROXY_STATE,
    names::REPLY_MESSAGE,
    names::SERVICE_TYPE,
    names::NAS_PORT_TYPE,
];
/// May be there in a Disconnect-Request.
const DISCONNECT: [Definition; 2] = [names::ACCT_TERMINATE_CAUSE, names::CLASS];
/// What a CoA-Request may change.
const CHANGES: [Definition; 15] = [
    names::SESSION_TIMEOUT,
    names::IDLE_TIMEOUT,
    names::ACCT_INTERIM_INTERVAL,
    names::CLASS,
    names::FILTER_ID,
    names::MIKROTIK_RATE_LIMIT,
    names::MIKROTIK_RECV_LIMIT,
    names::MIKROTIK_RECV_LIMIT_GIGAWORDS,
    names::MIKROTIK_XMIT_LIMIT,
    names::MIKROTIK_XMIT_LIMIT_GIGAWORDS,
    names::MIKROTIK_TOTAL_LIMIT,
    names::MIKROTIK_TOTAL_LIMIT_GIGAWORDS,
    names::MIKROTIK_ADDRESS_LIST,
    names::WISPR_BANDWIDTH_MAX_UP,
    names::WISPR_BANDWIDTH_MAX_DOWN,
];

/// Whether a CoA-Request changes what this attribute says.
pub(super) fn changes(name: &str) -> bool {
    CHANGES.iter().any(|definition| definition.name == name)
}

/// Why an order is not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Declined {
    /// Error-Cause (RFC 5176 §3.5).
    pub cause: u32,
    /// For the log.
    pub reason: String,
}

fn declined(cause: u32, reason: impl Into<String>) -> Declined {
    Declined { cause, reason: reason.into() }
}

/// What was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The users whose sessions were meant.
    pub users: Vec<String>,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.users.join(", "))
    }
}

/// Carries an order out, and returns once that is done.
///
/// # Errors
/// If it is not, with the cause for the answer.
pub async fn carry_out(
    daemon: &Daemon,
    packet: &Packet<'_>,
    from: IpAddr,
) -> Result<Done, Declined> {
    check(packet)?;
    if let Some(other) = NAS.into_iter().find(|definition| is_not_us(daemon, packet, *definition)) {
        let reason = format!("{} is not ours", other.name);
        return Err(declined(error_cause::NAS_IDENTIFICATION_MISMATCH, reason));
    }
    let meant: Vec<Arc<Session>> =
        daemon.sessions.all().into_iter().filter(|session| fits(daemon, session, packet)).collect();
    if meant.is_empty() {
        return Err(declined(error_cause::SESSION_CONTEXT_NOT_FOUND, "there is no such session"));
    }
    let users = meant.iter().filter_map(|session| Some(session.terms()?.user.clone())).collect();
    match packet.code() {
        Code::DisconnectRequest => disconnect(&meant, from).await?,
        _ => change(daemon, &meant, packet).await?,
    }
    Ok(Done { users })
}

/// What can be said of an order without looking at any session.
fn check(packet: &Packet<'_>) -> Result<(), Declined> {
    packet
        .check_values()
        .map_err(|error| declined(error_cause::INVALID_ATTRIBUTE_VALUE, error.to_string()))?;
    // RFC 5176 §3.2, §3.6: Authorize Only, which comes with a State, needs a server to ask back.
    if number(packet, names::SERVICE_TYPE).is_some_and(|given| given != service_type::FRAMED) {
        return Err(declined(error_cause::UNSUPPORTED_SERVICE, "Service-Type is not Framed"));
    }
    let more: &[Definition] = match packet.code() {
        Code::DisconnectRequest => &DISCONNECT,
        _ => &CHANGES,
    };
    let known = |id: Id| {
        SESSION.iter().chain(&NAS).chain(&INDIFFERENT).chain(more).any(|known| known.id == id)
    };
    if let Some(attribute) = packet.attributes().find(|attribute| !known(attribute.id)) {
        let reason = format!("{} cannot be served here", attribute.id);
        return Err(declined(error_cause::UNSUPPORTED_ATTRIBUTE, reason));
    }
    if SESSION.iter().all(|definition| packet.first(*definition).is_none()) {
        let reason = "nothing in it says which session is meant";
        return Err(declined(error_cause::MISSING_ATTRIBUTE, reason));
    }
    if packet.code() == Code::CoaRequest
        && CHANGES.iter().all(|definition| packet.first(*definition).is_none())
    {
        return Err(declined(error_cause::MISSING_ATTRIBUTE, "it changes nothing"));
    }
    Ok(())
}

fn is_not_us(daemon: &Daemon, packet: &Packet<'_>, definition: Definition) -> bool {
    packet.all(definition).any(|value| !daemon.nas.has(definition, value))
}

/// Whether all identifiers that are given are this session's (RFC 5176 §3).
fn fits(daemon: &Daemon, session: &Session, packet: &Packet<'_>) -> bool {
    let facts = session.facts();
    let Some(terms) = facts.terms else { return false };
    let is = |definition: Definition, own: &dyn Fn(&[u8]) -> bool| packet.all(definition).all(own);
    let [.., a, b, c, d] = session.id().to_be_bytes();
    is(names::USER_NAME, &|name| printable(name) == terms.user)
        && is(names::ACCT_SESSION_ID, &|id| id == daemon.session_ids.of(session.id()).as_bytes())
        && is(names::FRAMED_IP_ADDRESS, &|address| {
            facts.address.is_some_and(|own| address == own.octets())
        })
        && is(names::CALLING_STATION_ID, &|peer| peer == session.peer().to_string().as_bytes())
        && is(names::NAS_PORT, &|port| port == [a, b, c, d])
}

async fn disconnect(meant: &[Arc<Session>], from: IpAddr) -> Result<(), Declined> {
    for session in meant {
        session.disconnect(Ending::Radius(from));
    }
    let all = join_all(meant.iter().map(|session| session.ended()));
    match tokio::time::timeout(LEAVE, all).await {
        Ok(_) => Ok(()),
        Err(_) => Err(declined(
            error_cause::SESSION_CONTEXT_NOT_REMOVABLE,
            "the session is asked to end and has not yet",
        )),
    }
}

async fn change(
    daemon: &Daemon,
    meant: &[Arc<Session>],
    packet: &Packet<'_>,
) -> Result<(), Declined> {
    // All or nothing: what one of them could not have, none gets.
    for session in meant {
        let Some(terms) = session.terms() else { continue };
        let mut terms = (*terms).clone();
        let mut problems = overlay::while_it_lives(&mut terms, packet);
        problems.extend(overlay::unknown_filter(&terms, &daemon.filters));
        if let Some(problem) = problems.first() {
            return Err(declined(error_cause::INVALID_ATTRIBUTE_VALUE, problem.to_string()));
        }
    }
    let changes = meant.iter().map(|session| {
        session.change_terms(|terms| {
            overlay::while_it_lives(terms, packet);
            overlay::rename(&mut terms.radius, packet);
        })
    });
    match tokio::time::timeout(PATIENCE, join_all(changes)).await {
        // A session that ended meanwhile cannot be changed, and need not.
        Ok(outcomes) if outcomes.iter().any(Result::is_ok) => Ok(()),
        Ok(_) => {
            Err(declined(error_cause::SESSION_CONTEXT_NOT_FOUND, "the session ended meanwhile"))
        }
        Err(_) => Err(declined(
            error_cause::RESOURCES_UNAVAILABLE,
            "the session has been told and has not followed yet",
        )),
    }
}
