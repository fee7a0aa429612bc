//! The operator's programs that run when a session comes up, changes and ends, as pppd runs
//! `ip-up` and `ip-down`.
//!
//! Those of one session run one after the other, those of all sessions only so many at once; one
//! that hangs is killed with all that it started. A hook that fails is logged and ends nothing.

mod run;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::accounting::Usage;
use crate::accounting::keeper::Meter;
use crate::config;

/// Sessions whose hooks may wait for their turn at once: more than a concentrator has. Hooks of
/// further ones do not run, and count as failures.
const MAX_WAITING: usize = 131_072;

/// The hooks of the configuration. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Hooks(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    config: config::Hooks,
    running: Semaphore,
    /// Of sessions whose hooks are not done.
    lanes: TaskTracker,
    /// It was said that there are too many.
    crowded: AtomicBool,
    failures: AtomicU64,
}

/// What hooks are told of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Its own interface, or a name that no other session has.
    pub interface: String,
    /// The kernel's interface that its packets pass.
    pub device: String,
    /// Who.
    pub user: String,
    /// Our address in the tunnel.
    pub local: Ipv4Addr,
    /// The subscriber's.
    pub remote: Ipv4Addr,
    /// Where the tunnel comes from.
    pub peer: Ipv4Addr,
    /// Where it comes to.
    pub called: Ipv4Addr,
    /// Its Acct-Session-Id.
    pub session: String,
    /// What RADIUS said, by name and value.
    pub attributes: Vec<(String, String)>,
}

/// Something that hooks run for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Occasion {
    Up,
    Change,
    Down(Usage),
}

/// What waits for its turn.
type Turn = (Occasion, Arc<About>);

/// The hooks of one session, in order.
#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<Turn>,
    /// A task works on it.
    driven: bool,
}

/// The hooks of a session that is up. Dropping it runs `down`.
pub struct Visit {
    inner: Arc<Inner>,
    lane: Arc<Mutex<Lane>>,
    about: Arc<About>,
    since: Instant,
    meter: Arc<Meter>,
}

impl Hooks {
    /// `Self::default()` if none is configured.
    #[must_use]
    pub fn new(config: &config::Hooks) -> Self {
        if config.programs().next().is_none() {
            return Self::default();
        }
        let running = usize::try_from(config.max_running).unwrap_or(usize::MAX);
        Self(Some(Arc::new(Inner {
            config: config.clone(),
            running: Semaphore::new(running.min(Semaphore::MAX_PERMITS)),
            lanes: TaskTracker::new(),
            crowded: AtomicBool::new(false),
            failures: AtomicU64::new(0),
        })))
    }

    /// A session has its address. `None` if there are no hooks.
    #[must_use]
    pub fn up(&self, about: About, meter: Arc<Meter>) -> Option<Visit> {
        let inner = Arc::clone(self.0.as_ref()?);
        let (lane, about) = (Arc::default(), Arc::new(about));
        let visit = Visit { inner, lane, about, since: Instant::now(), meter };
        visit.push(Occasion::Up);
        Some(visit)
    }

    /// Waits until all have run, or for so long.
    pub async fn finish(&self, patience: Duration) {
        let Some(inner) = &self.0 else { return };
        inner.lanes.close();
        if tokio::time::timeout(patience, inner.lanes.wait()).await.is_err() {
            warn!(sessions = inner.lanes.len(), "some hooks did not run to their end");
        }
    }

    /// Hooks that could not be run, failed, or were killed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.0.as_ref().map_or(0, |inner| inner.failures.load(Ordering::Relaxed))
    }
}

impl Visit {
    /// The session's terms were changed.
    pub fn change(&mut self, attributes: &[(String, String)]) {
        Arc::make_mut(&mut self.about).attributes = attributes.to_vec();
        self.push(Occasion::Change);
    }

    fn push(&self, occasion: Occasion) {
        let mut lane = self.lane.lock().unwrap_or_else(PoisonError::into_inner);
        if !lane.driven && self.inner.is_crowded() {
            self.inner.failures.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let turn = (occasion, Arc::clone(&self.about));
        match lane.waiting.back_mut() {
            // Only what holds now is of interest: changes do not pile up behind a slow hook.
            Some(last) if (&last.0, &turn.0) == (&Occasion::Change, &Occasion::Change) => {
                *last = turn;
            }
            _ => lane.waiting.push_back(turn),
        }
        // Without a runtime the daemon is gone.
        if !lane.driven
            && let Ok(runtime) = Handle::try_current()
        {
            lane.driven = true;
            let drive = drive(Arc::clone(&self.lane), Arc::clone(&self.inner));
            self.inner.lanes.spawn_on(drive, &runtime);
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let volume = (self.meter)().unwrap_or_default();
        let usage = Usage { seconds: self.since.elapsed().as_secs(), volume };
        self.push(Occasion::Down(usage));
    }
}

impl fmt::Debug for Visit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Visit").field(&self.about.interface).finish()
    }
}

impl Inner {
    /// Whether more wait already than will ever have their turn in time. Says so once a crowd.
    fn is_crowded(&self) -> bool {
        let waiting = self.lanes.len();
        if waiting < MAX_WAITING / 2 {
            self.crowded.store(false, Ordering::Relaxed);
        }
        let is_crowded = waiting >= MAX_WAITING;
        if is_crowded && !self.crowded.swap(true, Ordering::Relaxed) {
            warn!(sessions = waiting, "hooks are too slow for the sessions: some do not run");
        }
        is_crowded
    }
}

/// Runs what waits in a lane until nothing does.
async fn drive(lane: Arc<Mutex<Lane>>, inner: Arc<Inner>) {
    loop {
        // Waiting in line for a free place, changes that come meanwhile still count.
        let Ok(_place) = inner.running.acquire().await else { return };
        let turn = {
            let mut lane = lane.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = lane.waiting.pop_front();
            lane.driven = turn.is_some();
            turn
        };
        let Some((occasion, about)) = turn else { return };
        if let Err(error) = run::run(&inner.config, &occasion, &about).await {
            inner.failures.fetch_add(1, Ordering::Relaxed);
            warn!(interface = about.interface, %error, "hook failed");
        }
    }
}
