//! Changes that live sessions follow: their user was changed, or an operator sets one of them.
//!
//! A session keeps what it was given at its login, the addresses, the name servers and the
//! encryption; what it is held to changes at once.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::local;
use crate::api::types::{Applied, SessionChange, SessionSet};
use crate::daemon::Daemon;
use crate::daemon::ending::Ending;
use crate::daemon::session::Session;
use crate::terms::Terms;

/// How long a session may take to do what it is told.
const PATIENCE: Duration = Duration::from_secs(5);

/// Makes the live sessions of a local user follow what is known of the user now. A user who is
/// gone, disabled or not allowed any more loses them. Sessions that RADIUS granted stay as they
/// are.
pub async fn follow(daemon: &Daemon, name: &str) -> Applied {
    let is_of_user = |session: &Session| {
        session.terms().is_some_and(|terms| terms.user == name && !terms.by_radius)
    };
    let mut sessions = daemon.sessions.all();
    sessions.retain(|session| is_of_user(session));
    let user = daemon.users.get(name).map(|(user, _)| user);
    let fresh = user.as_ref().and_then(|user| local::terms(daemon, user).ok());
    let (stay, go): (Vec<_>, Vec<_>) = sessions.into_iter().partition(|session| {
        fresh.is_some()
            && user
                .as_ref()
                .is_some_and(|user| local::allowed(daemon, user, session.peer()).is_ok())
    });
    for session in &go {
        session.disconnect(Ending::UserChanged);
    }
    let changed = match fresh {
        Some(fresh) => change(&stay, |terms| hold_to(terms, &fresh)).await,
        None => 0,
    };
    Applied { changed, disconnected: go.len() }
}

/// Holds a session to fresh terms, without touching what it was given.
fn hold_to(terms: &mut Terms, fresh: &Terms) {
    let given = terms.clone();
    *terms = Terms {
        local_address: given.local_address,
        remote: given.remote,
        netmask: given.netmask,
        dns: given.dns,
        wins: given.wins,
        encryption: given.encryption,
        ..fresh.clone()
    };
}

/// Holds the sessions that are meant to what an operator says, and says how many did so.
///
/// # Errors
/// If there is no such filter.
pub async fn set(daemon: &Daemon, set: &SessionSet) -> Result<usize, String> {
    let filter = |name: &Option<String>| match name {
        Some(name) if !name.is_empty() && !daemon.filters.contains_key(name) => {
            Err(format!("there is no [[filter]] `{name}` in the configuration"))
        }
        _ => Ok(()),
    };
    filter(&set.change.incoming_filter)?;
    filter(&set.change.outgoing_filter)?;
    let sessions = daemon.sessions.selected(&set.sessions);
    Ok(change(&sessions, |terms| apply(terms, &set.change)).await)
}

fn apply(terms: &mut Terms, change: &SessionChange) {
    if let Some(limit) = change.rate_limit {
        terms.rate_limit = limit;
    }
    if let Some(timeout) = change.session_timeout {
        terms.session_timeout = timeout.unless_zero();
    }
    if let Some(timeout) = change.idle_timeout {
        terms.idle_timeout = timeout.unless_zero();
    }
    let named = |name: &String| Some(name.clone()).filter(|name| !name.is_empty());
    if let Some(name) = &change.incoming_filter {
        terms.incoming_filter = named(name);
    }
    if let Some(name) = &change.outgoing_filter {
        terms.outgoing_filter = named(name);
    }
}

/// Changes all of them at the same time. Says how many have done it.
async fn change(sessions: &[Arc<Session>], change: impl Fn(&mut Terms)) -> usize {
    let all = join_all(sessions.iter().map(|session| {
        let changed = session.change_terms(&change);
        async { tokio::time::timeout(PATIENCE, changed).await.is_ok_and(|done| done.is_ok()) }
    }));
    all.await.into_iter().filter(|done| *done).count()
}
