//! How many sessions a user and a peer address have: a seat for each, taken after the password was
//! right and before an address is looked for.
//!
//! Users are the same in upper and lower case, and those of RADIUS with and without a domain. Taking a seat costs constant time unless there is
//! none; then it may wait for the session that it replaces. Never ends a session of another user.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::config::Limits;
use crate::daemon::Daemon;
use crate::daemon::ending::Ending;
use crate::daemon::session::Session;
use crate::terms::{OnlyOne, Terms};

/// How long a login waits for the session that it replaces to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it looks.
const INTERVAL: Duration = Duration::from_millis(20);

/// All seats that are taken. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Seats(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    of_user: HashMap<String, Vec<Arc<Session>>>,
    of_peer: HashMap<Ipv4Addr, u32>,
}

/// A session's seat. Dropping it gives it back.
#[derive(Debug)]
pub struct Seat {
    seats: Seats,
    /// In lower case.
    user: String,
    session: Arc<Session>,
}

/// Why there is no seat.
#[derive(Debug)]
enum Full {
    /// These sessions have to end for it.
    Replace(Vec<Arc<Session>>),
    /// There is none, with the reason for the log.
    Refuse(String),
}

/// A seat for this session.
///
/// # Errors
/// If there is none, with the reason for the log.
pub(super) async fn take(
    daemon: &Daemon,
    terms: &Terms,
    session: &Arc<Session>,
) -> Result<Seat, String> {
    let limits = &daemon.config.limits;
    let tries = async {
        loop {
            match daemon.seats.try_take(limits, terms, session) {
                Ok(seat) => return Ok(seat),
                Err(Full::Refuse(reason)) => return Err(reason),
                Err(Full::Replace(old)) => {
                    for session in old {
                        session.disconnect(Ending::Replaced);
                    }
                    tokio::time::sleep(INTERVAL).await;
                }
            }
        }
    };
    tokio::time::timeout(PATIENCE, tries)
        .await
        .unwrap_or_else(|_| Err("the session that this one replaces does not end".to_owned()))
}

impl Seats {
    fn try_take(
        &self,
        limits: &Limits,
        terms: &Terms,
        session: &Arc<Session>,
    ) -> Result<Seat, Full> {
        let user = terms.bare_user.as_ref().unwrap_or(&terms.user).to_lowercase();
        let peer = session.peer();
        let mut taken = self.taken();
        let others = taken.of_user.get(&user).map_or(&[][..], Vec::as_slice);
        let (allowed, rule) = allowed(limits, terms);
        if others.len() >= allowed as usize {
            let replaced: Vec<_> = others
                .iter()
                .filter(|other| match terms.only_one {
                    OnlyOne::Replace => true,
                    // A router that was switched off never said goodbye: it is no second one.
                    OnlyOne::Refuse => other.peer() == peer,
                    OnlyOne::No => false,
                })
                .cloned()
                .collect();
            if !replaced.is_empty() {
                return Err(Full::Replace(replaced));
            }
            return Err(Full::Refuse(format!(
                "the user has {} sessions already, and {rule} allows {allowed}",
                others.len()
            )));
        }
        let of_peer = taken.of_peer.entry(peer).or_default();
        let most = limits.max_sessions_per_address;
        if most != 0 && *of_peer >= most {
            return Err(Full::Refuse(format!(
                "{peer} has {most} sessions already, and `max-sessions-per-address` allows no more"
            )));
        }
        *of_peer += 1;
        taken.of_user.entry(user.clone()).or_default().push(Arc::clone(session));
        Ok(Seat { seats: self.clone(), user, session: Arc::clone(session) })
    }

    /// The state is whole after every call, so a panic elsewhere while it was held spoils nothing.
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
        if let Some(sessions) = taken.of_user.get_mut(&self.user) {
            if let Some(place) = sessions.iter().position(|other| other.id() == self.session.id()) {
                sessions.swap_remove(place);
            }
            if sessions.is_empty() {
                taken.of_user.remove(&self.user);
            }
        }
        let peer = self.session.peer();
        if let Some(of_peer) = taken.of_peer.get_mut(&peer) {
            *of_peer -= 1;
            if *of_peer == 0 {
                taken.of_peer.remove(&peer);
            }
        }
    }
}

/// How many sessions the user may have, and by which rule.
fn allowed(limits: &Limits, terms: &Terms) -> (u32, &'static str) {
    let only_one = (terms.only_one != OnlyOne::No).then_some((1, "`only-one`"));
    let port_limit = terms.port_limit.map(|limit| (limit, "RADIUS's Port-Limit"));
    let most = limits.max_sessions_per_user;
    let configured = (most != 0).then_some((most, "`max-sessions-per-user`"));
    let rules = [only_one, port_limit, configured];
    rules.into_iter().flatten().min_by_key(|(limit, _)| *limit).unwrap_or((u32::MAX, "nothing"))
}
