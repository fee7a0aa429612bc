//! Accounting: what sessions used, told to RADIUS servers (RFC 2866, RFC 2869 §2.1) through a
//! queue on disk.
//!
//! | module | what |
//! |---|---|
//! | [`keeper`] | the thread that owns the queue |
//! | [`record`] | what is in a request |
//! | [`store`] | the queue's file |
//! | [`window`] | which requests may be sent now |
//!
//! A session only says that it began, changed or ended; it never waits for the disk or a server.
//! Input is from the subscriber, output to the subscriber, in inner IP packets.

pub mod keeper;
pub mod record;
pub mod store;
pub mod window;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::runtime::Handle;
use tracing::error;

use crate::api::types::AccountingStats;
use crate::daemon::ending::TerminateCause;
use keeper::{Ends, Input, Keeper, Meter, Opening, Pace, Servers};
use record::Records;
use store::{Store, StoreError};

/// Acct-Status-Type, RFC 2866 §5.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// A session began.
    Start,
    /// A session ended.
    Stop,
    /// A session goes on.
    Interim,
    /// The daemon begins to account.
    On,
    /// The daemon ends.
    Off,
}

impl Status {
    /// The attribute's value.
    #[must_use]
    pub const fn code(self) -> u32 {
        match self {
            Self::Start => 1,
            Self::Stop => 2,
            Self::Interim => 3,
            Self::On => 7,
            Self::Off => 8,
        }
    }

    /// What a value means.
    #[must_use]
    pub const fn from_code(code: u32) -> Option<Self> {
        match code {
            1 => Some(Self::Start),
            2 => Some(Self::Stop),
            3 => Some(Self::Interim),
            7 => Some(Self::On),
            8 => Some(Self::Off),
            _ => None,
        }
    }
}

/// What passed, in inner IP packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Volume {
    /// Octets from the subscriber.
    pub input_octets: u64,
    /// Packets from the subscriber.
    pub input_packets: u64,
    /// Octets to the subscriber.
    pub output_octets: u64,
    /// Packets to the subscriber.
    pub output_packets: u64,
}

/// What a session has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Acct-Session-Time, by a clock that is never set.
    pub seconds: u64,
    /// What passed.
    pub volume: Volume,
}

/// What the keeper and everybody else both look at.
#[derive(Debug, Default)]
struct Shared {
    /// What sessions said and the file has not taken yet.
    unwritten: AtomicU64,
    queued: AtomicU64,
    /// Seconds since 1970; zero if nothing waits.
    oldest: AtomicU64,
    away: AtomicBool,
    answered: AtomicU64,
    given_up: AtomicU64,
    lost: AtomicU64,
    store_errors: AtomicU64,
}

/// What sessions may have said without the file taking it; more is lost, and counted.
const MAX_UNWRITTEN: u64 = 65_536;

/// Accounting, as the rest of the daemon sees it. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Accounting(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    inputs: Sender<Input>,
    shared: Arc<Shared>,
    shortest_interim: Duration,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Accounting {
    /// Opens the queue and starts to send. Without a call of this, nothing is accounted.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub fn start(
        file: &Path,
        limit: u64,
        records: Records,
        servers: Arc<dyn Servers>,
        pace: Pace,
    ) -> Result<Self, StoreError> {
        let store = Store::open(file, limit)?;
        let shared = Arc::new(Shared::default());
        let (inputs, taken) = mpsc::channel();
        let shortest_interim = pace.shortest_interim;
        let ends = Ends { shared: Arc::clone(&shared), inputs: taken, outcomes: inputs.clone() };
        let keeper = Keeper::new(store, records, servers, Handle::current(), pace, ends)?;
        let thread = thread::Builder::new().name("accounting".to_owned()).spawn(|| keeper.run());
        let thread = thread.map_err(|error| StoreError::File { file: file.to_owned(), error })?;
        let thread = Mutex::new(Some(thread));
        Ok(Self(Some(Arc::new(Inner { inputs, shared, shortest_interim, thread }))))
    }

    /// A session came up. `attributes` are what all its requests have in common; `meter` says what
    /// it used for as long as its tunnel is open; `interim` is how often the servers want to know.
    ///
    /// `None` if nothing is accounted, or what was said before is not taken.
    #[must_use]
    pub fn open(
        &self,
        session: &str,
        attributes: Vec<u8>,
        interim: Option<Duration>,
        meter: Arc<Meter>,
    ) -> Option<Session> {
        let inner = self.0.as_ref()?;
        let (session, since) = (Arc::from(session), Instant::now());
        let opening = Opening {
            session: Arc::clone(&session),
            attributes,
            at: SystemTime::now(),
            since,
            meter: Arc::clone(&meter),
            interim: inner.clamped(interim),
        };
        inner.say(Input::Opened(Box::new(opening))).then(|| Session {
            id: session,
            inner: Arc::clone(inner),
            since,
            meter,
            ended: false,
        })
    }

    /// Tells the servers that the daemon ends, and waits until they know, or for so long.
    pub async fn finish(&self, patience: Duration) {
        let Some(inner) = &self.0 else { return };
        let Some(thread) = lock(&inner.thread).take() else { return };
        // Whoever has ended has no use for it.
        let _ = inner.inputs.send(Input::Finish(Instant::now() + patience));
        if let Err(error) = tokio::task::spawn_blocking(move || thread.join()).await {
            error!(%error, "accounting did not end in order");
        }
    }

    /// How the queue does; `None` if nothing is accounted.
    #[must_use]
    pub fn stats(&self) -> Option<AccountingStats> {
        let shared = &self.0.as_ref()?.shared;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let now = seconds(SystemTime::now());
        let oldest = Some(count(&shared.oldest)).filter(|oldest| *oldest != 0);
        Some(AccountingStats {
            unwritten: shared.unwritten.load(Ordering::Acquire),
            queued: count(&shared.queued),
            oldest: oldest.map(|oldest| now.saturating_sub(oldest)),
            servers_answer: !shared.away.load(Ordering::Relaxed),
            answered: count(&shared.answered),
            given_up: count(&shared.given_up),
            lost: count(&shared.lost),
            store_errors: count(&shared.store_errors),
        })
    }
}

impl Inner {
    /// Says whether it will be heard.
    fn say(&self, input: Input) -> bool {
        if self.shared.unwritten.fetch_add(1, Ordering::Relaxed) < MAX_UNWRITTEN
            && self.inputs.send(input).is_ok()
        {
            return true;
        }
        self.shared.unwritten.fetch_sub(1, Ordering::Relaxed);
        self.shared.lost.fetch_add(1, Ordering::Relaxed);
        false
    }

    /// RFC 2869 §5.16: an interval below 60 seconds must not be used.
    fn clamped(&self, interim: Option<Duration>) -> Option<Duration> {
        interim.filter(|interim| !interim.is_zero()).map(|it| it.max(self.shortest_interim))
    }
}

/// A session that is accounted. Dropping it without [`Session::end`] means that the daemon ends.
pub struct Session {
    id: Arc<str>,
    inner: Arc<Inner>,
    since: Instant,
    meter: Arc<Meter>,
    ended: bool,
}

impl Session {
    /// What its requests have in common is different from now on.
    pub fn change(&self, attributes: Vec<u8>, interim: Option<Duration>) {
        let interim = self.inner.clamped(interim);
        let session = Arc::clone(&self.id);
        self.inner.say(Input::Changed { session, attributes, interim });
    }

    /// It ended. Its tunnel is still open.
    pub fn end(mut self, cause: TerminateCause) {
        self.close(cause);
    }

    fn close(&mut self, cause: TerminateCause) {
        self.ended = true;
        let seconds = self.since.elapsed().as_secs();
        let usage = Usage { seconds, volume: (self.meter)().unwrap_or_default() };
        let session = Arc::clone(&self.id);
        self.inner.say(Input::Closed { session, at: SystemTime::now(), usage, cause });
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.ended {
            self.close(TerminateCause::AdminReboot);
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Session").field(&self.id).finish()
    }
}

/// Makes Acct-Session-Ids (RFC 2866 §5.5) that no other start of the daemon makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionIds(String);

impl SessionIds {
    /// Of this start: its time, and a random number for two starts within a second.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn new() -> Result<Self, getrandom::Error> {
        let mut random = [0; 2];
        getrandom::fill(&mut random)?;
        let random = u16::from_ne_bytes(random);
        Ok(Self(format!("{:08x}{random:04x}", seconds(SystemTime::now()))))
    }

    /// The Acct-Session-Id of the daemon's session of this number. Zero is the daemon itself.
    #[must_use]
    pub fn of(&self, session: u64) -> String {
        format!("{}{session:08x}", self.0)
    }
}

/// Seconds since 1970.
fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
