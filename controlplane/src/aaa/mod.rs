//! The verdict on a login, in order: is the peer locked out, is the password right and what is the
//! user given ([`local`], [`radius`]), may there be another session ([`seats`]), and at which address
//! ([`lease`]).
//!
//! | module | what |
//! |---|---|
//! | [`identity`] | who asks RADIUS, and about whom |
//! | [`landmarks`] | what the kernel is told for several sessions at once |
//! | [`lease`] | which address and interface a session gets |
//! | [`live`] | changes that live sessions follow |
//! | [`local`] | secrets and profiles |
//! | [`place`] | what a session has, and what the kernel knows of it |
//! | [`profile`] | profiles as terms |
//! | [`radius`] | logins that RADIUS judges |
//! | [`seats`] | how many sessions a user and a peer address have |
//!
//! Nobody learns from an answer whether it was the name or the password that was wrong; the log
//! says it.

pub mod identity;
pub mod landmarks;
pub mod lease;
pub mod live;
mod local;
pub mod place;
pub mod profile;
pub mod radius;
pub mod seats;

use std::net::Ipv4Addr;
use std::sync::Arc;

use protocol::ppp::auth::{Accepted, Attempt, Refusal};
use protocol::radius::client::Failure;

use crate::config::{Aaa, Fallback, Order};
use crate::daemon::Daemon;
use crate::daemon::counters::Count;
use crate::daemon::session::Session;
use crate::daemon::starting::Ticket;
use crate::terms::Terms;
use place::Place;

/// A login to judge. Dropping the future of [`judge`] cancels it.
#[derive(Debug)]
pub struct Login {
    /// What the peer sent.
    pub attempt: Attempt,
    /// The session that it is to be, or is already if the peer authenticates anew.
    pub session: Arc<Session>,
    /// Where the tunnel comes from.
    pub peer: Ipv4Addr,
    /// Our address of the tunnel.
    pub local: Ipv4Addr,
    /// Whether the session has an address already.
    pub placed: bool,
}

/// What one of those who know users says.
#[derive(Debug)]
enum Verdict {
    /// The password is right.
    Granted {
        /// What the session is given.
        terms: Box<Terms>,
        /// The keys and the proof for the peer.
        accepted: Accepted,
    },
    /// The peer is told that it may not.
    Refused {
        /// In MS-CHAP's words.
        refusal: Refusal,
        /// What it counts as.
        count: Count,
        /// In ours, for the log.
        reason: String,
        /// The challenge of another try, if there may be one.
        retry: Option<Vec<u8>>,
        /// What the user is to read.
        message: Option<String>,
    },
    /// The password is right, but there is nothing to give.
    Nothing {
        /// Why.
        reason: String,
    },
}

impl Verdict {
    fn refused(refusal: Refusal, count: Count, reason: &str) -> Self {
        Self::Refused { refusal, count, reason: reason.to_owned(), retry: None, message: None }
    }
}

/// What was decided.
#[derive(Debug)]
pub enum Decision {
    /// The user may come in.
    Grant {
        /// What the session is given and held to.
        terms: Box<Terms>,
        /// The address; `None` keeps the one that the session has.
        place: Option<Box<Place>>,
        /// The keys and the proof for the peer.
        accepted: Accepted,
    },
    /// The peer is told that it may not.
    Refuse {
        /// In MS-CHAP's words.
        refusal: Refusal,
        /// In ours, for the log.
        reason: String,
        /// The challenge of another try in the same exchange (MS-CHAP's `R=1` and `C=`).
        retry: Option<Vec<u8>>,
        /// What the user is to read, if there is more to say than "Access denied".
        message: Option<String>,
    },
    /// The password is right, but there is nothing to give: the link is closed.
    Nothing {
        /// Why.
        reason: String,
    },
}

/// Decides, and counts a wrong name or password against the peer. May wait for an older session of
/// the same user to give its address back. A session that authenticates anew as the same user keeps
/// the address that it has. `ticket` is given back as soon as the password is judged, or has to wait
/// because the peer failed too often: it is the next one's turn then.
pub async fn judge(daemon: &Daemon, login: &Login, mut ticket: Option<Ticket>) -> Decision {
    let has_sessions = || daemon.sessions.up_of_peer(login.peer) > 0;
    let slowed = || drop(ticket.take());
    let name = &login.attempt.name;
    let trial = match daemon.lockouts.enter(login.peer, name, has_sessions, slowed).await {
        Ok(trial) => trial,
        // Nobody learns from the answer whether this password would have been right.
        Err(refused) => {
            let (refusal, reason) = (Refusal::WrongPassword, refused.to_string());
            return Decision::Refuse { refusal, reason, retry: None, message: None };
        }
    };
    if let Some(ticket) = &mut ticket {
        ticket.judged_from_now();
    }
    let verdict = by_password(daemon, login).await;
    if let Some(ticket) = ticket {
        ticket.answered();
    }
    match verdict {
        Verdict::Granted { terms, accepted } => {
            trial.succeeded();
            grant(daemon, login, terms, accepted).await
        }
        Verdict::Refused { refusal, count, reason, retry, message } => {
            daemon.counters.add(count);
            if refusal == Refusal::WrongPassword {
                trial.failed(&reason, login.attempt.is_retry, has_sessions()).await;
            }
            Decision::Refuse { refusal, reason, retry, message }
        }
        Verdict::Nothing { reason } => Decision::Nothing { reason },
    }
}

/// The password is right: is there room, and an address?
async fn grant(daemon: &Daemon, login: &Login, terms: Box<Terms>, accepted: Accepted) -> Decision {
    let same_user = login.session.terms().is_some_and(|before| before.user == terms.user);
    if login.placed && same_user {
        return Decision::Grant { terms, place: None, accepted };
    }
    let seat = match seats::take(daemon, &terms, &login.session).await {
        Ok(seat) => seat,
        Err(reason) => {
            daemon.counters.add(Count::NoSeat);
            let refusal = Refusal::NoDialIn;
            return Decision::Refuse { refusal, reason, retry: None, message: None };
        }
    };
    match lease::take(daemon, &terms, seat, [login.peer, login.local]).await {
        Ok(place) => Decision::Grant { terms, place: Some(Box::new(place)), accepted },
        Err(reason) => nothing(daemon, reason),
    }
}

/// Asks our own users and RADIUS, in the configured order.
async fn by_password(daemon: &Daemon, login: &Login) -> Verdict {
    let ours = || local::judge(daemon, login);
    let unknown = || Verdict::refused(Refusal::WrongPassword, Count::WrongPassword, "unknown user");
    let silent = |failure: Failure| Verdict::Nothing { reason: failure.to_string() };
    let Aaa { order, fallback, .. } = daemon.config.aaa;
    if !daemon.radius.judges() {
        return ours().unwrap_or_else(unknown);
    }
    match order {
        Order::LocalFirst => match ours() {
            Some(Verdict::Refused { .. }) if fallback == Fallback::Refused => {}
            None if fallback != Fallback::No => {}
            verdict => return verdict.unwrap_or_else(unknown),
        },
        Order::RadiusFirst => match radius::judge(daemon, login).await {
            Ok(refused @ Verdict::Refused { .. }) if fallback == Fallback::Refused => {
                return ours().unwrap_or(refused);
            }
            Err(failure) if fallback != Fallback::No => {
                return ours().unwrap_or_else(|| silent(failure));
            }
            verdict => return verdict.unwrap_or_else(silent),
        },
    }
    radius::judge(daemon, login).await.unwrap_or_else(silent)
}

fn nothing(daemon: &Daemon, reason: String) -> Decision {
    daemon.counters.add(Count::NoAddress);
    Decision::Nothing { reason }
}
