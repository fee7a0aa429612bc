//! Whoever guesses passwords is locked out: peer addresses, which the kernel refuses from then on,
//! and user names for the addresses that failed for them.
//!
//! One exchange of a login is one failure, whether the user exists or not; what is no wrong
//! password (a RADIUS server that does not answer, a user who is disabled) is none. An address
//! with sessions is many subscribers behind one router: it is slowed down, not locked. Never
//! waits for the disk on the path of a login.
//!
//! | module | what |
//! |---|---|
//! | `table` | failures and locks of one kind of subject, in bounded memory |
//! | `book` | both kinds, and whom a user's lock binds |
//! | `bench` | logins of an address that are judged at once |
//! | `store` | locks over a restart |

mod bench;
mod book;
mod store;
mod table;

use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ebpf::Doorkeeper;
use hashlink::LruCache;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;
use tracing::{error, info, warn};

use crate::config::{self, Span};
use crate::kernel::Destination;
use crate::text::printable;
use bench::{Benches, Seat};
pub use book::Subject;
use book::{Book, Standing};
use store::Store;
use table::Rules;

/// How often ends of locks are looked for and changes written.
const TICK: Duration = Duration::from_secs(1);

/// Logins of a suspect address that are judged at once.
const SLOW_LANE: usize = 2;

/// How much later a suspect address hears that it failed again.
const PENANCE: Duration = Duration::from_secs(3);

/// How long a login waits for others of its address.
const PATIENCE: Duration = Duration::from_secs(15);

/// Suspect addresses whose logins are slowed down at once.
const SUSPECTS: usize = 4096;

/// Who is locked out. Clones share it.
#[derive(Debug, Clone)]
pub struct Lockouts(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// `None`: nobody is ever locked out.
    locks: Option<Mutex<Locks>>,
    allow: Vec<Destination>,
    benches: Benches,
    lanes: Mutex<LruCache<Ipv4Addr, Arc<Semaphore>>>,
    store: Mutex<Option<Store>>,
    refused: AtomicU64,
}

/// What is known, and what the kernel knows of it.
#[derive(Debug)]
struct Locks {
    book: Book,
    doorkeeper: Option<Doorkeeper>,
}

impl Locks {
    /// Tells the kernel whether it is to refuse an address.
    fn tell(&mut self, address: Ipv4Addr, locked: bool) {
        let Some(doorkeeper) = &mut self.doorkeeper else { return };
        let told = if locked { doorkeeper.lock(address) } else { doorkeeper.unlock(address) };
        if let Err(error) = told {
            error!(%address, locked, %error, "the kernel was not told of a lock");
        }
    }

    fn unlocked(&mut self, subject: &Subject) {
        if let Subject::Address(address) = subject {
            self.tell(*address, false);
        }
    }
}

/// A lock as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// Who.
    pub subject: Subject,
    /// Time that is left.
    pub left: Duration,
    /// When it ends, seconds since 1970.
    pub until: i64,
    /// How many locks in a row it is, from 1.
    pub locks: u32,
}

/// What is meant by "clear".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// This one.
    One(Subject),
    /// All there are.
    All,
}

/// Why a login is not even judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The address is locked.
    #[error("the address is locked out")]
    Address,
    /// The user is locked for this address.
    #[error("the user is locked out for this address")]
    User,
    /// Too many logins of the address wait for others of it.
    #[error("too many logins of the address are judged at once")]
    Crowded,
    /// The address is slowed down, and too many of its logins wait.
    #[error("the address failed too often: its logins are slowed down")]
    Slowed,
}

/// A login that is being judged. What is not told of its end is no failure.
#[derive(Debug)]
pub struct Trial {
    lockouts: Lockouts,
    peer: Ipv4Addr,
    name: Name,
    /// Its place among those of its address that are judged.
    _seat: Option<Seat>,
    /// The turn of a suspect.
    lane: Option<OwnedSemaphorePermit>,
}

/// A user's name in its two forms.
#[derive(Debug)]
struct Name {
    /// For the log, harmless.
    shown: String,
    /// What failures are counted by.
    key: Arc<str>,
}

impl Name {
    /// A guesser must not have a fresh name for each `DOMAIN\\`, `@realm` or spelling: Windows
    /// puts the first in front, and servers that look users up often ignore all three.
    fn new(name: &[u8]) -> Self {
        let start = name.iter().position(|byte| *byte == b'\\').map_or(0, |at| at + 1);
        let shown = printable(&name[start..]);
        let end = shown.rfind('@').filter(|at| *at > 0).unwrap_or(shown.len());
        Self { key: Arc::from(shown[..end].to_lowercase()), shown }
    }
}

impl Lockouts {
    /// With these rules; locks of before the restart are read from beside `database`.
    #[must_use]
    pub fn open(config: &config::Lockout, database: &Path) -> Self {
        let mut book = Book::new(Rules::new(config));
        let store = Store::open(database).and_then(|store| {
            let now = Instant::now();
            store.load()?.into_iter().for_each(|kept| book.restore(kept, now));
            Ok(store)
        });
        let store = store
            .inspect_err(|error| {
                error!(%error, "locks are not kept over a restart, those of before are forgotten");
            })
            .ok();
        Self(Arc::new(Inner {
            locks: (config.failures > 0).then(|| Mutex::new(Locks { book, doorkeeper: None })),
            allow: config.allow.clone(),
            benches: Benches::default(),
            lanes: Mutex::new(LruCache::new(SUSPECTS)),
            store: Mutex::new(store),
            refused: AtomicU64::new(0),
        }))
    }

    /// From now on the kernel refuses connections of locked addresses by these listening sockets,
    /// before they exist. Without it they are closed as soon as they do.
    ///
    /// # Errors
    /// If the kernel takes no program from us.
    pub fn guard(&self, listeners: impl IntoIterator<Item: AsFd>) -> Result<(), ebpf::Error> {
        let Some(mut locks) = self.locks() else { return Ok(()) };
        let mut doorkeeper = Doorkeeper::load(book::CAPACITY)?;
        for (subject, _) in locks.book.locks() {
            if let Subject::Address(address) = subject {
                doorkeeper.lock(address)?;
            }
        }
        for listener in listeners {
            doorkeeper.guard(listener)?;
        }
        locks.doorkeeper = Some(doorkeeper);
        Ok(())
    }

    /// SYNs that the kernel refused, if it does.
    #[must_use]
    pub fn refused_by_kernel(&self) -> Option<u64> {
        let locks = self.locks()?;
        let dropped = locks.doorkeeper.as_ref()?.dropped();
        dropped.inspect_err(|error| error!(%error, "the kernel's count is not known")).ok()
    }

    /// Whether connections of this address are refused. Counts those that are.
    #[must_use]
    pub fn refuses(&self, peer: Ipv4Addr) -> bool {
        let refuses = self
            .locks_for(peer)
            .is_some_and(|locks| locks.book.address_locked(peer, Instant::now()));
        if refuses {
            self.0.refused.fetch_add(1, Ordering::Relaxed);
        }
        refuses
    }

    /// Connections and logins that were refused because of a lock.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// A login begins: of this peer, with this name as it was sent. It may have to wait until
    /// others of the address were judged: no more at once than may fail, and two of an address
    /// that failed too often but has sessions. `slowed` is called before it waits among the latter.
    ///
    /// # Errors
    /// If it must not be judged.
    pub async fn enter(
        &self,
        peer: Ipv4Addr,
        name: &[u8],
        has_sessions: impl Fn() -> bool,
        slowed: impl FnOnce(),
    ) -> Result<Trial, Refused> {
        let trial =
            Trial { lockouts: self.clone(), peer, name: Name::new(name), _seat: None, lane: None };
        self.admit(trial, has_sessions, slowed).await.inspect_err(|_| {
            self.0.refused.fetch_add(1, Ordering::Relaxed);
        })
    }

    /// Waits for a place, looking at what became of those who had one: the address of a login that
    /// came as one of many may be a suspect when the first of them were judged.
    async fn admit(
        &self,
        trial: Trial,
        has_sessions: impl Fn() -> bool,
        slowed: impl FnOnce(),
    ) -> Result<Trial, Refused> {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            match self.standing(&trial) {
                Standing::Suspect | Standing::Locked(..) if has_sessions() => {
                    slowed();
                    let turn = timeout_at(until, self.lane(trial.peer).acquire_owned()).await;
                    let lane = turn.ok().and_then(Result::ok).ok_or(Refused::Slowed)?;
                    return Ok(Trial { lane: Some(lane), ..trial });
                }
                Standing::Locked(Subject::User(_), _) => return Err(Refused::User),
                Standing::Locked(..) => return Err(Refused::Address),
                // Its sessions are gone: the next failure locks it.
                Standing::Suspect | Standing::Free => {}
            }
            let seat = self.locks_for(trial.peer).map(|locks| {
                let now = Instant::now();
                let has_room = |judged| locks.book.has_room(trial.peer, judged, now);
                self.0.benches.sit(trial.peer, has_room)
            });
            match seat.transpose() {
                Ok(seat) => return Ok(Trial { _seat: seat, ..trial }),
                Err(somebody_gets_up) => {
                    timeout_at(until, somebody_gets_up).await.map_err(|_| Refused::Crowded)?;
                }
            }
        }
    }

    fn standing(&self, trial: &Trial) -> Standing {
        let now = Instant::now();
        self.locks_for(trial.peer)
            .map_or(Standing::Free, |locks| locks.book.standing(trial.peer, &trial.name.key, now))
    }

    /// The slow lane of an address.
    fn lane(&self, peer: Ipv4Addr) -> Arc<Semaphore> {
        let mut lanes = lock(&self.0.lanes);
        if let Some(lane) = lanes.get(&peer) {
            return Arc::clone(lane);
        }
        let lane = Arc::new(Semaphore::new(SLOW_LANE));
        lanes.insert(peer, Arc::clone(&lane));
        lane
    }

    /// All locks.
    #[must_use]
    pub fn list(&self) -> Vec<Locked> {
        let Some(locks) = self.locks() else { return Vec::new() };
        let now = Instant::now();
        let locks = locks.book.locks().into_iter().map(|(subject, lock)| Locked {
            subject,
            left: lock.until.saturating_duration_since(now),
            until: store::calendar(lock.until),
            locks: lock.locks,
        });
        locks.filter(|locked| !locked.left.is_zero()).collect()
    }

    /// How many locks there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.locks().map_or(0, |locks| locks.book.count())
    }

    /// Forgets locks and failures, and says how many locks there were.
    pub fn clear(&self, which: &Which) -> usize {
        let Some(mut locks) = self.locks() else { return 0 };
        let subjects = match which {
            Which::One(Subject::User(name)) => {
                vec![Subject::User(Name::new(name.as_bytes()).key)]
            }
            Which::One(subject) => vec![subject.clone()],
            Which::All => locks.book.locks().into_iter().map(|(subject, _)| subject).collect(),
        };
        let mut cleared = 0;
        for subject in &subjects {
            if locks.book.clear(subject) {
                locks.unlocked(subject);
                cleared += 1;
            }
        }
        cleared
    }

    /// Ends locks that are over and writes what changed, for as long as it is polled.
    pub async fn serve(self) {
        let mut tick = tokio::time::interval(TICK);
        loop {
            tick.tick().await;
            self.expire();
            self.write().await;
        }
    }

    fn expire(&self) {
        let Some(mut locks) = self.locks() else { return };
        let now = Instant::now();
        while let Some(subject) = locks.book.expire(now) {
            locks.unlocked(&subject);
            let (address, user) = words(&subject);
            info!(address, user, "lock ended");
        }
    }

    /// Writes what changed since the last time.
    pub async fn write(&self) {
        let changes = match self.locks() {
            Some(mut locks) => locks.book.take_changes(Instant::now()),
            None => return,
        };
        if changes.is_empty() {
            return;
        }
        let inner = Arc::clone(&self.0);
        let written = tokio::task::spawn_blocking(move || {
            lock(&inner.store).as_mut().map_or(Ok(()), |store| store.write(&changes))
        });
        match written.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => error!(%error, "locks are not kept over a restart"),
            Err(error) => error!(%error, "locks are not kept over a restart"),
        }
    }

    fn locks(&self) -> Option<MutexGuard<'_, Locks>> {
        self.0.locks.as_ref().map(lock)
    }

    /// `None` for who is never locked out.
    fn locks_for(&self, peer: Ipv4Addr) -> Option<MutexGuard<'_, Locks>> {
        let allowed = self.0.allow.iter().any(|network| network.contains(peer));
        self.locks().filter(|_| !allowed)
    }
}

impl Trial {
    /// The name or the password was wrong. A suspect hears of it later. What is tried again in
    /// the same exchange was counted at its first failure.
    pub async fn failed(self, reason: &str, again: bool, has_sessions: bool) {
        if !again {
            self.count(reason, has_sessions);
        }
        if let Some(lane) = self.lane {
            // A task of its own: a guesser who hangs up, because success would have been told by
            // now, must not free its place by that.
            let penance = tokio::spawn(async move {
                tokio::time::sleep(PENANCE).await;
                drop(lane);
            });
            // It is neither cancelled nor does it panic.
            let _ = penance.await;
        }
    }

    fn count(&self, reason: &str, has_sessions: bool) {
        let Self { lockouts, peer, name, .. } = self;
        let failed = lockouts.locks_for(*peer).map(|mut locks| {
            let failed = locks.book.fail(*peer, &name.key, has_sessions, Instant::now());
            for address in &failed.evicted {
                locks.tell(*address, false);
            }
            for (subject, _) in &failed.locked {
                if let Subject::Address(address) = subject {
                    locks.tell(*address, true);
                }
            }
            failed
        });
        let failures = failed.as_ref().map(|failed| failed.failures);
        // The form of the second line is what deploy/fail2ban reads: `from` stands first, before
        // anything that the peer chose. The first one it must not read: a ban would block those
        // who are only slowed down here.
        if has_sessions {
            let user = &name.shown;
            warn!(from = %peer, user, reason, failures, "authentication failed beside sessions");
        } else {
            warn!(from = %peer, user = name.shown, reason, failures, "authentication failed");
        }
        for (subject, lock) in failed.map(|failed| failed.locked).into_iter().flatten() {
            let length = lock.until.saturating_duration_since(Instant::now());
            let time =
                Span::seconds(length.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX));
            let (address, user) = words(&subject);
            warn!(from = %peer, address, user, %time, "locked out");
        }
    }

    /// The peer is who it says.
    pub fn succeeded(self) {
        if let Some(mut locks) = self.lockouts.locks_for(self.peer) {
            locks.book.succeed(self.peer, &self.name.key);
        }
    }
}

/// A subject as an address or a user for the log.
fn words(subject: &Subject) -> (Option<String>, Option<&str>) {
    match subject {
        Subject::Address(address) => (Some(address.to_string()), None),
        Subject::User(user) => (None, Some(user)),
    }
}

/// What these locks guard is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
