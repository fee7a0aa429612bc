//! Local users: the secret, then the profile, then `default`.
//!
//! Answers from memory; never waits.

use std::net::Ipv4Addr;

use protocol::ppp::auth::{Refusal, Unproven};

use super::{Login, Verdict};
use crate::daemon::Daemon;
use crate::daemon::counters::Count;
use crate::ipv6::Source;
use crate::terms::Terms;
use crate::users::User;

/// Judges by the secrets. `None`: there is no such user here.
pub(super) fn judge(daemon: &Daemon, login: &Login) -> Option<Verdict> {
    let user = daemon.users.find(&login.attempt.name)?;
    let accepted = match login.attempt.verify(&user.credential) {
        Ok(accepted) => accepted,
        Err(unproven) => {
            // Only a wrong password is a guess, which lockout counts.
            let (refusal, count) = match unproven {
                Unproven::WrongPassword => (Refusal::WrongPassword, Count::WrongPassword),
                Unproven::NoClearPassword => (Refusal::NoDialIn, Count::NotAllowed),
            };
            return Some(Verdict::refused(refusal, count, &unproven.to_string()));
        }
    };
    if let Err((refusal, count, reason)) = allowed(daemon, &user, login.peer) {
        return Some(Verdict::refused(refusal, count, &reason));
    }
    Some(match terms(daemon, &user) {
        Ok(terms) => Verdict::Granted { terms: Box::new(terms), accepted },
        Err(reason) => Verdict::Nothing { reason },
    })
}

/// Whether the user may come in from there, now that the password is right.
pub(super) fn allowed(
    daemon: &Daemon,
    user: &User,
    peer: Ipv4Addr,
) -> Result<(), (Refusal, Count, String)> {
    let not_allowed = |reason| Err((Refusal::NoDialIn, Count::NotAllowed, reason));
    if user.disabled {
        let reason = "user is disabled".to_owned();
        return Err((Refusal::Disabled, Count::Disabled, reason));
    }
    if user.credential.is_empty() {
        let reason = "the user has an empty password: set one with `penstock user set --password`";
        return not_allowed(reason.to_owned());
    }
    if !user.service.is_ours() {
        return not_allowed(format!("the secret is for service {}", user.service));
    }
    if !user.caller_id.is_empty() && !user.caller_id.iter().any(|from| from.contains(peer)) {
        return not_allowed(format!("`caller-id` does not allow {peer}"));
    }
    if !user.remote_access && !daemon.config.server.is_local_network(peer) {
        let reason = format!("`remote-access = no`, and {peer} is not in `local-networks`");
        return not_allowed(reason);
    }
    Ok(())
}

/// What a session of this user is given.
///
/// # Errors
/// If there is nothing to give, with the reason for the log.
pub(super) fn terms(daemon: &Daemon, user: &User) -> Result<Terms, String> {
    let mut terms = defaults(daemon, user.profile.as_deref())?;
    terms.user.clone_from(&user.name);
    if let Some(address) = user.local_address {
        terms.local_address = address;
    }
    if let Some(remote) = user.remote_address.clone() {
        terms.remote = Some(remote.into());
    }
    if let Some(limit) = user.rate_limit {
        terms.rate_limit = limit;
    }
    if let Some(timeout) = user.session_timeout {
        terms.session_timeout = timeout.unless_zero();
    }
    if let Some(timeout) = user.idle_timeout {
        terms.idle_timeout = timeout.unless_zero();
    }
    terms.receive_limit = user.limit_bytes_in.or(terms.receive_limit);
    terms.transmit_limit = user.limit_bytes_out.or(terms.transmit_limit);
    terms.routes.extend(&user.routes);
    if let Some(prefix) = user.remote_ipv6_prefix {
        terms.ipv6.prefix = Some(Source::Prefix(prefix.0));
    }
    if let Some(prefix) = user.delegated_ipv6_prefix {
        terms.ipv6.delegated = Some(Source::Prefix(prefix.0));
    }
    terms.ipv6.routes.extend(user.ipv6_routes.iter().map(|route| route.0));
    Ok(terms)
}

/// What a session of this profile is given, or without a name of the server's `default-profile`.
///
/// # Errors
/// If there is no such profile, with the reason for the log.
pub(super) fn defaults(daemon: &Daemon, profile: Option<&str>) -> Result<Terms, String> {
    let name = profile.unwrap_or(&daemon.config.server.default_profile);
    daemon
        .profiles
        .get(name)
        .cloned()
        .ok_or_else(|| format!("profile `{name}` is not in the configuration"))
}
