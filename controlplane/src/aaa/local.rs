//! Local users: the secret, then the profile, then `default`.
//!
//! Answers from memory; never waits.

use std::sync::Arc;

use protocol::ppp::auth::{Attempt, Credential, Refusal};

use super::Verdict;
use crate::daemon::Daemon;
use crate::daemon::counters::Count;
use crate::terms::{Remote, Terms};
use crate::users::User;

/// Judges by the secrets. `None`: there is no such user here.
pub(super) fn judge(daemon: &Daemon, attempt: &Attempt) -> Option<Verdict> {
    let user = daemon.users.find(&attempt.name)?;
    Some(by_secret(daemon, attempt, &user))
}

fn by_secret(daemon: &Daemon, attempt: &Attempt, user: &Arc<User>) -> Verdict {
    let accepted = match attempt.verify(&Credential::of_hash(user.nt_hash.clone())) {
        Ok(accepted) => accepted,
        Err(unproven) => {
            let reason = unproven.to_string();
            return Verdict::refused(Refusal::WrongPassword, Count::WrongPassword, &reason);
        }
    };
    if user.disabled {
        return Verdict::refused(Refusal::Disabled, Count::Disabled, "user is disabled");
    }
    match terms(daemon, user) {
        Ok(terms) => Verdict::Granted { terms: Box::new(terms), accepted },
        Err(reason) => Verdict::Nothing { reason },
    }
}

/// What a session of this user is given.
fn terms(daemon: &Daemon, user: &User) -> Result<Terms, String> {
    let mut terms = defaults(daemon, user.profile.as_deref())?;
    terms.user.clone_from(&user.name);
    if let Some(address) = user.remote_address {
        terms.remote = Some(Remote::Address(address));
    }
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
