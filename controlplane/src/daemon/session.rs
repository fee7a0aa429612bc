//! Sessions as operators see them: who is there, since when, with what, and "disconnect".
//!
//! The task of a control connection owns its sessions and writes their facts here; everybody else
//! reads them. A wish to end is a flag that the task reads again, never a message that could be
//! lost.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dataplane::api::{TunnelCounters, TunnelId};
use protocol::ipv6::Ipv6Prefix;
use protocol::ppp::InterfaceId;
use protocol::ppp::link::Phase;
use tokio::sync::{Notify, watch};

use super::ending::Ending;
use crate::accounting::SessionIds;
use crate::api::types::{Selector, SessionView, TermsView};
use crate::ipv6::Prefix;
use crate::plane::Plane;
use crate::terms::Terms;

/// All sessions. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Sessions(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    last_id: AtomicU64,
    by_id: Mutex<BTreeMap<u64, Arc<Session>>>,
    tally: Arc<Tally>,
}

/// How many are up, in total and of each peer address: logins ask, so nobody counts then.
#[derive(Debug, Default)]
struct Tally {
    up: AtomicUsize,
    by_peer: Mutex<HashMap<Ipv4Addr, usize>>,
}

impl Tally {
    fn count(&self, peer: Ipv4Addr, was_up: bool, is_up: bool) {
        if was_up == is_up {
            return;
        }
        let mut by_peer = lock(&self.by_peer);
        let of_peer = by_peer.entry(peer).or_default();
        if is_up {
            self.up.fetch_add(1, Ordering::Relaxed);
            *of_peer += 1;
        } else {
            self.up.fetch_sub(1, Ordering::Relaxed);
            *of_peer -= 1;
            if *of_peer == 0 {
                by_peer.remove(&peer);
            }
        }
    }
}

/// What is known of a session.
#[derive(Debug, Clone)]
pub struct Facts {
    /// How far it is.
    pub phase: Phase,
    /// Who, once it is known.
    pub user: Option<String>,
    /// The interface that it has to itself.
    pub interface: Option<String>,
    /// What it is given and held to, once the login is granted.
    pub terms: Option<Arc<Terms>>,
    /// The subscriber's inner address, once it is up.
    pub address: Option<Ipv4Addr>,
    /// Our inner address, once it is up.
    pub local_address: Option<Ipv4Addr>,
    /// The prefix of its link, once it is up.
    pub ipv6_prefix: Option<Ipv6Prefix>,
    /// The prefix that is delegated to it, once it is up.
    pub delegated_ipv6_prefix: Option<Ipv6Prefix>,
    /// The subscriber's identifier in IPv6, while IPV6CP is open.
    pub interface_id: Option<InterfaceId>,
    /// How data is protected.
    pub encoding: String,
    /// Largest inner packet to the subscriber, bytes.
    pub mtu: u16,
    /// Largest PPP packet from the subscriber, bytes.
    pub mru: u16,
    /// Largest packet from the subscriber that is put together from fragments, bytes.
    pub mrru: Option<u16>,
    /// Since when it is in its phase's part of life: logging in, or up.
    pub since: Instant,
}

/// One session.
#[derive(Debug)]
pub struct Session {
    id: u64,
    peer: Ipv4Addr,
    tunnel: TunnelId,
    plane: Plane,
    facts: Mutex<Facts>,
    tally: Arc<Tally>,
    wish: Mutex<Option<Ending>>,
    wanted: Mutex<Wanted>,
    progress: watch::Sender<Progress>,
    wake: Arc<Notify>,
}

/// Terms that somebody wants it to have.
#[derive(Debug, Default)]
struct Wanted {
    terms: Option<Arc<Terms>>,
    /// Counts the wishes.
    version: u64,
}

/// How far wishes about its terms came.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    /// The last wish that is fulfilled.
    version: u64,
    /// There will be no further one.
    ended: bool,
}

/// Why a session's terms were not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotChanged {
    /// Nobody has logged in by it yet.
    #[error("the session is not logged in yet")]
    NoTerms,
    /// It ended before.
    #[error("the session ended meanwhile")]
    Ended,
}

/// A session in the list. Dropping it takes it out.
#[derive(Debug)]
pub struct Listed {
    session: Arc<Session>,
    sessions: Sessions,
}

impl Listed {
    /// The session, for those who do not own it.
    #[must_use]
    pub fn handle(&self) -> Arc<Session> {
        Arc::clone(&self.session)
    }
}

impl std::ops::Deref for Listed {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        lock(&self.sessions.0.by_id).remove(&self.session.id);
        self.session.update(|facts| facts.phase = Phase::Ended);
        self.session.progress.send_modify(|progress| progress.ended = true);
    }
}

impl Sessions {
    /// Lists a session that begins to log in. `wake` is told when somebody wants it to end.
    /// `None` if there are `max` already; zero is no limit.
    #[must_use]
    pub fn begin(
        &self,
        max: u32,
        peer: Ipv4Addr,
        tunnel: TunnelId,
        plane: Plane,
        mru: u16,
        wake: Arc<Notify>,
    ) -> Option<Listed> {
        let facts = Facts {
            phase: Phase::Lcp,
            user: None,
            interface: None,
            terms: None,
            address: None,
            local_address: None,
            ipv6_prefix: None,
            delegated_ipv6_prefix: None,
            interface_id: None,
            encoding: "none".to_owned(),
            mtu: 0,
            mru,
            mrru: None,
            since: Instant::now(),
        };
        let session = Arc::new(Session {
            id: self.0.last_id.fetch_add(1, Ordering::Relaxed) + 1,
            peer,
            tunnel,
            plane,
            facts: Mutex::new(facts),
            tally: Arc::clone(&self.0.tally),
            wish: Mutex::default(),
            wanted: Mutex::default(),
            progress: watch::Sender::default(),
            wake,
        });
        let mut by_id = lock(&self.0.by_id);
        if max != 0 && by_id.len() >= max as usize {
            return None;
        }
        by_id.insert(session.id, Arc::clone(&session));
        Some(Listed { session, sessions: self.clone() })
    }

    /// How many there are, those that log in too.
    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.0.by_id).len()
    }

    /// How many are up.
    #[must_use]
    pub fn up(&self) -> usize {
        self.0.tally.up.load(Ordering::Relaxed)
    }

    /// How many of this peer address are up.
    #[must_use]
    pub fn up_of_peer(&self, peer: Ipv4Addr) -> usize {
        lock(&self.0.tally.by_peer).get(&peer).copied().unwrap_or(0)
    }

    /// All as the API shows them, by id.
    #[must_use]
    pub fn views(&self) -> Vec<SessionView> {
        self.all().iter().map(|session| session.view()).collect()
    }

    /// The same with what each is given and held to.
    #[must_use]
    pub fn views_with_terms(&self, ids: &SessionIds) -> Vec<SessionView> {
        let view = |session: &Arc<Session>| {
            let terms = session.terms().map(|terms| TermsView::new(&terms, ids.of(session.id())));
            SessionView { terms, ..session.view() }
        };
        self.all().iter().map(view).collect()
    }

    /// Wants those that are meant to end, and says how many they are.
    pub fn disconnect(&self, selector: &Selector, ending: &Ending) -> usize {
        let meant = self.selected(selector);
        for session in &meant {
            session.disconnect(ending.clone());
        }
        meant.len()
    }

    /// Those that are meant, by id.
    #[must_use]
    pub fn selected(&self, selector: &Selector) -> Vec<Arc<Session>> {
        self.all().into_iter().filter(|session| selector.fits(&session.view())).collect()
    }

    /// All there are, by id.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Session>> {
        lock(&self.0.by_id).values().cloned().collect()
    }
}

impl Session {
    /// Names it until the daemon ends.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// Its tunnel in the data plane.
    #[must_use]
    pub const fn tunnel(&self) -> TunnelId {
        self.tunnel
    }

    /// Where the tunnel comes from.
    #[must_use]
    pub const fn peer(&self) -> Ipv4Addr {
        self.peer
    }

    /// What is known of it.
    #[must_use]
    pub fn facts(&self) -> Facts {
        lock(&self.facts).clone()
    }

    /// Writes down what became known.
    pub fn update(&self, change: impl FnOnce(&mut Facts)) {
        let mut facts = lock(&self.facts);
        let was_up = facts.phase == Phase::Up;
        change(&mut facts);
        self.tally.count(self.peer, was_up, facts.phase == Phase::Up);
    }

    /// What it is given and held to, once the login is granted.
    #[must_use]
    pub fn terms(&self) -> Option<Arc<Terms>> {
        lock(&self.facts).terms.clone()
    }

    /// Changes what it is held to, and returns once that is done. Takes effect also if the caller
    /// does not wait.
    ///
    /// # Errors
    /// If it is not logged in, or ends meanwhile.
    pub async fn change_terms(&self, change: impl FnOnce(&mut Terms)) -> Result<(), NotChanged> {
        let version = self.want(change)?;
        let mut progress = self.progress.subscribe();
        let done = |progress: &Progress| progress.ended || progress.version >= version;
        // The sender is ours, so it lives.
        match progress.wait_for(done).await {
            Ok(progress) if progress.version >= version => Ok(()),
            _ => Err(NotChanged::Ended),
        }
    }

    fn want(&self, change: impl FnOnce(&mut Terms)) -> Result<u64, NotChanged> {
        let mut wanted = lock(&self.wanted);
        let before = wanted.terms.clone().or_else(|| self.terms()).ok_or(NotChanged::NoTerms)?;
        let mut terms = Arc::unwrap_or_clone(before);
        change(&mut terms);
        wanted.terms = Some(Arc::new(terms));
        wanted.version += 1;
        self.wake.notify_one();
        Ok(wanted.version)
    }

    /// The terms that somebody wants, for the task that owns the session, and the wish to name
    /// once it is fulfilled.
    #[must_use]
    pub fn wanted_terms(&self) -> Option<(Arc<Terms>, u64)> {
        let wanted = lock(&self.wanted);
        Some((wanted.terms.clone()?, wanted.version))
    }

    /// The wishes up to this one are fulfilled.
    pub fn terms_applied(&self, version: u64) {
        let mut wanted = lock(&self.wanted);
        if wanted.version == version {
            wanted.terms = None;
        }
        self.progress.send_modify(|progress| progress.version = version);
    }

    /// Returns once it has ended.
    pub async fn ended(&self) {
        // The sender is ours, so it lives.
        let _ = self.progress.subscribe().wait_for(|progress| progress.ended).await;
    }

    /// Wants it to end. The first reason counts.
    pub fn disconnect(&self, ending: Ending) {
        lock(&self.wish).get_or_insert(ending);
        self.wake.notify_one();
    }

    /// Why somebody wants it to end, if anybody does.
    #[must_use]
    pub fn wish(&self) -> Option<Ending> {
        lock(&self.wish).clone()
    }

    fn view(&self) -> SessionView {
        let facts = self.facts();
        let counters: TunnelCounters =
            self.plane.handle().counters(self.tunnel).unwrap_or_default();
        let drops = counters.drops.iter().filter(|(_, count)| *count > 0);
        SessionView {
            id: self.id,
            state: state(facts.phase).to_owned(),
            user: facts.user,
            interface: facts.interface,
            peer_address: self.peer,
            address: facts.address,
            local_address: facts.local_address,
            ipv6_prefix: facts.ipv6_prefix.map(Prefix),
            delegated_ipv6_prefix: facts.delegated_ipv6_prefix.map(Prefix),
            ipv6_link_address: facts.interface_id.map(InterfaceId::link_local),
            encoding: facts.encoding,
            mtu: facts.mtu,
            mru: facts.mru,
            mrru: facts.mrru,
            uptime: facts.since.elapsed().as_secs(),
            rx_packets: counters.rx_packets,
            rx_bytes: counters.rx_bytes,
            tx_packets: counters.tx_packets,
            tx_bytes: counters.tx_bytes,
            rx_lost: counters.lost,
            rx_reordered: counters.reordered,
            rx_duplicate: counters.duplicates,
            round_trip_micros: counters.round_trip.map(micros),
            drops: drops.map(|(reason, count)| (reason.name().to_owned(), count)).collect(),
            idle_time: counters.active.map(|ago| ago.as_secs()),
            terms: None,
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A phase in an operator's word.
const fn state(phase: Phase) -> &'static str {
    match phase {
        Phase::Dead | Phase::Lcp => "lcp",
        Phase::Authentication | Phase::Verdict => "authentication",
        Phase::Ccp => "encryption",
        Phase::Ipcp => "address",
        Phase::Up => "up",
        Phase::Terminating | Phase::Ended => "ending",
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
