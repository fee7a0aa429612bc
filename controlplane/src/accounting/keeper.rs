//! The thread that owns the queue: it writes what sessions say, measures those that live, and
//! sends what waits.
//!
//! What sessions say is written in batches, as many as came while the disk was busy. Sessions are
//! measured once a minute into the file, so that after a crash their Stops have those figures.
//! What the file has of a request never changes: with the same Acct-Session-Id, Acct-Status-Type
//! and Event-Timestamp, a server can tell a repetition.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant, SystemTime};

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tracing::{debug, error, info, warn};

use super::record::Records;
use super::store::{Change, Store, StoreError, Written};
use super::window::Window;
use super::{Shared, Status, Usage, Volume, seconds};
use crate::daemon::ending::TerminateCause;

/// Sends one request, and waits for the answer as long as it is worth it.
pub trait Servers: Send + Sync + 'static {
    /// Sends an Accounting-Request with these attributes, about what happened `age` ago, to a
    /// server, and perhaps to others.
    ///
    /// # Errors
    /// In an operator's words, if none answered. It will be asked again.
    fn account(&self, attributes: Vec<u8>, age: Duration)
    -> BoxFuture<'static, Result<(), String>>;
}

/// How the queue is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    /// How often a session's figures are written down, whether told or not.
    pub journal: Duration,
    /// Servers that want to know more often are told that often (RFC 2869 §5.16).
    pub shortest_interim: Duration,
    /// Requests on their way at once.
    pub at_once: usize,
    /// How long the next try waits when no server answers, at first.
    pub first_retry: Duration,
    /// And at most.
    pub last_retry: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            journal: Duration::from_secs(60),
            shortest_interim: Duration::from_secs(60),
            at_once: 64,
            first_retry: Duration::from_secs(1),
            last_retry: Duration::from_secs(30),
        }
    }
}

/// What the file did not take yet, at most; more is lost, and counted.
const MAX_UNWRITTEN: usize = 65_536;

/// Changes in one transaction.
const MAX_BATCH: usize = 4096;

/// How long a file that fails is left alone.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// Failures after which a request is given up, if others are answered meanwhile.
const MAX_FAILURES: u32 = 20;

/// The same for what concerns all sessions: nothing else can be answered before it.
const MAX_FAILURES_ALONE: u32 = 1000;

/// Tells what a session used; `None` when its tunnel has gone.
pub type Meter = dyn Fn() -> Option<Volume> + Send + Sync;

/// A session that begins.
pub struct Opening {
    /// Its Acct-Session-Id.
    pub session: Arc<str>,
    /// What its requests have in common.
    pub attributes: Vec<u8>,
    /// When it came up.
    pub at: SystemTime,
    /// The same by the clock that is never set.
    pub since: Instant,
    /// What it used.
    pub meter: Arc<Meter>,
    /// How often the servers want to know.
    pub interim: Option<Duration>,
}

/// What the thread is told.
pub enum Input {
    /// A session began.
    Opened(Box<Opening>),
    /// A session's attributes or interval are others.
    Changed {
        /// Its Acct-Session-Id.
        session: Arc<str>,
        /// What its requests have in common from now on.
        attributes: Vec<u8>,
        /// How often the servers want to know.
        interim: Option<Duration>,
    },
    /// A session ended.
    Closed {
        /// Its Acct-Session-Id.
        session: Arc<str>,
        /// When.
        at: SystemTime,
        /// What it used.
        usage: Usage,
        /// Why.
        cause: TerminateCause,
    },
    /// A server answered, or none did.
    Outcome(i64, Result<(), String>),
    /// The daemon ends: tell the servers, and wait for what is on its way until then.
    Finish(Instant),
}

/// What the thread has in common with everybody else.
pub(super) struct Ends {
    pub(super) shared: Arc<Shared>,
    pub(super) inputs: Receiver<Input>,
    /// Where what becomes of requests is told.
    pub(super) outcomes: Sender<Input>,
}

struct Live {
    attributes: Vec<u8>,
    since: Instant,
    meter: Arc<Meter>,
    interim: Option<Duration>,
    /// When the next interim is due.
    tell: Option<Instant>,
    /// When it is measured next.
    due: Instant,
}

/// The thread's state.
pub struct Keeper {
    store: Store,
    window: Window,
    records: Records,
    servers: Arc<dyn Servers>,
    runtime: Handle,
    pace: Pace,
    shared: Arc<Shared>,
    inputs: Receiver<Input>,
    outcomes: Sender<Input>,
    live: HashMap<Arc<str>, Live>,
    due: BTreeSet<(Instant, Arc<str>)>,
    /// What the file has to take.
    unwritten: Vec<Change>,
    /// How much of it sessions said.
    said: u64,
    /// Since when the file fails, and when it is tried again.
    store_failed: Option<Instant>,
    /// Until when no server is asked, if none answered.
    away: Option<Away>,
    /// When a server answered last.
    answered: Instant,
    tries: HashMap<i64, Tries>,
    finish: Option<Instant>,
}

/// What became of a request so far.
#[derive(Debug, Clone, Copy)]
struct Tries {
    /// When it was sent first, or failed last.
    at: Instant,
    /// How often it failed while others were answered.
    failures: u32,
}

#[derive(Debug, Clone, Copy)]
struct Away {
    since: Instant,
    next: Instant,
    wait: Duration,
}

impl Keeper {
    /// Takes over the queue: ends what was open when the daemon died, and tells that it begins.
    ///
    /// # Errors
    /// If the file fails.
    pub(super) fn new(
        mut store: Store,
        records: Records,
        servers: Arc<dyn Servers>,
        runtime: Handle,
        pace: Pace,
        Ends { shared, inputs, outcomes }: Ends,
    ) -> Result<Self, StoreError> {
        let at = seconds(SystemTime::now());
        let attributes = records.service(Status::On, at);
        let on = Change::Service { status: Status::On, at, attributes };
        let orphans = store.recover(
            |orphan| {
                records.stop(&orphan.attributes, orphan.usage, TerminateCause::NasReboot, orphan.at)
            },
            on,
        )?;
        if orphans > 0 {
            warn!(sessions = orphans, "sessions of a daemon that died are accounted as ended");
        }
        Ok(Self {
            store,
            window: Window::default(),
            records,
            servers,
            runtime,
            pace,
            shared,
            inputs,
            outcomes,
            live: HashMap::new(),
            due: BTreeSet::new(),
            unwritten: Vec::new(),
            said: 0,
            store_failed: None,
            away: None,
            answered: Instant::now(),
            tries: HashMap::new(),
            finish: None,
        })
    }

    /// Works until it is told to finish.
    pub fn run(mut self) {
        loop {
            self.measure();
            self.write();
            self.send();
            self.publish();
            if self.is_finished() {
                return;
            }
            match self.inputs.recv_timeout(self.patience()) {
                Ok(input) => self.take(input),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // What came while the disk was busy goes into one transaction.
            while self.unwritten.len() < MAX_BATCH
                && let Ok(input) = self.inputs.try_recv()
            {
                self.take(input);
            }
        }
    }

    /// How long there is nothing to do unless somebody says something.
    fn patience(&self) -> Duration {
        let next = if let Some(failed) = self.store_failed {
            // Nothing is measured or sent before it is written.
            [Some(failed + STORE_RETRY), self.finish, None]
        } else {
            let is_waiting = self.window.sent().is_empty() && !self.store.is_empty();
            let retry = self.away.filter(|_| is_waiting).map(|away| away.next);
            [retry, self.due.first().map(|(at, _)| *at), self.finish]
        };
        let next = next.into_iter().flatten().min();
        let now = Instant::now();
        next.map_or(Duration::from_secs(60), |next| next.saturating_duration_since(now))
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Opened(opening) => {
                self.said += 1;
                self.opened(*opening);
            }
            Input::Changed { session, attributes, interim } => {
                self.said += 1;
                if let Some(live) = self.live.get_mut(&session) {
                    live.attributes.clone_from(&attributes);
                    live.interim = interim;
                    live.tell = interim.map(|interim| Instant::now() + jittered(interim));
                    self.change(Change::Described { session, attributes });
                }
            }
            Input::Closed { session, at, usage, cause } => {
                self.said += 1;
                if let Some(live) = self.live.remove(&session) {
                    self.due.remove(&(live.due, Arc::clone(&session)));
                    let at = seconds(at);
                    let stop = self.records.stop(&live.attributes, usage, cause, at);
                    self.change(Change::Closed { session, at, stop });
                }
            }
            Input::Outcome(number, Ok(())) => self.is_answered(number),
            Input::Outcome(number, Err(reason)) => self.is_unanswered(number, &reason),
            Input::Finish(until) => {
                let at = seconds(SystemTime::now());
                let attributes = self.records.service(Status::Off, at);
                self.change(Change::Service { status: Status::Off, at, attributes });
                self.finish = Some(until);
            }
        }
    }

    fn opened(&mut self, opening: Opening) {
        let Opening { session, attributes, at, since, meter, interim } = opening;
        let now = Instant::now();
        let tell = interim.map(|interim| now + jittered(interim));
        // Sessions that came together are not measured together for ever.
        let due = now + jittered(self.pace.journal);
        let due = tell.map_or(due, |tell| tell.min(due));
        let at = seconds(at);
        let start = self.records.start(&attributes, at);
        self.due.insert((due, Arc::clone(&session)));
        let live = Live { attributes: attributes.clone(), since, meter, interim, tell, due };
        self.live.insert(Arc::clone(&session), live);
        self.change(Change::Opened { session, at, attributes, start });
    }

    fn change(&mut self, change: Change) {
        if self.unwritten.len() >= MAX_UNWRITTEN {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        } else {
            self.unwritten.push(change);
        }
    }

    /// Measures the sessions whose turn it is.
    fn measure(&mut self) {
        // A file that fails takes nothing anyway.
        if self.store_failed.is_some() {
            return;
        }
        let now = Instant::now();
        let at = seconds(SystemTime::now());
        while self.unwritten.len() < MAX_BATCH
            && let Some((due, session)) = self.due.first().cloned()
            && due <= now
        {
            self.due.pop_first();
            let Some(live) = self.live.get_mut(&session) else { continue };
            let is_told = live.tell.is_some_and(|tell| tell <= now);
            if is_told {
                live.tell = live.interim.map(|interim| now + jittered(interim));
            }
            live.due = now + jittered(self.pace.journal);
            if let Some(tell) = live.tell {
                live.due = live.due.min(tell);
            }
            self.due.insert((live.due, Arc::clone(&session)));
            // Its end is on its way here.
            let Some(volume) = (live.meter)() else { continue };
            let usage = Usage { seconds: now.duration_since(live.since).as_secs(), volume };
            let interim = is_told.then(|| self.records.interim(&live.attributes, usage, at));
            self.unwritten.push(Change::Measured { session, at, usage, interim });
        }
    }

    fn write(&mut self) {
        let now = Instant::now();
        if self.store_failed.is_some_and(|failed| now < failed + STORE_RETRY) {
            return;
        }
        let written = if self.unwritten.is_empty() {
            Ok(Written::default())
        } else {
            let written = self.store.write(&self.unwritten, self.window.sent());
            // What is written is written, whatever becomes of the room.
            if let (Ok(_), Err(error)) = (&written, self.store.compact()) {
                debug!(%error, "the accounting queue's file does not shrink");
            }
            written
        };
        match written {
            Ok(written) => {
                self.unwritten.clear();
                self.shared.unwritten.fetch_sub(std::mem::take(&mut self.said), Ordering::Release);
                self.shared.lost.fetch_add(written.lost, Ordering::Relaxed);
                if self.store_failed.take().is_some() {
                    info!("the accounting queue can be written again");
                }
            }
            Err(error) => {
                self.shared.store_errors.fetch_add(1, Ordering::Relaxed);
                if self.store_failed.replace(now).is_none() {
                    error!(%error, unwritten = self.unwritten.len(), "accounting is held in memory");
                }
            }
        }
    }

    /// Sends what may be sent.
    fn send(&mut self) {
        // What could not be written down must not be sent: it would be sent again.
        if self.store_failed.is_some() {
            return;
        }
        let at_once = match self.away {
            None => self.pace.at_once,
            // One asks whether they are back.
            Some(away) if away.next <= Instant::now() => 1,
            Some(_) => 0,
        };
        while self.window.sent().len() < at_once {
            let Some(number) = self.next() else { return };
            match self.store.request(number) {
                Ok(Some((at, attributes))) => self.dispatch(number, at, attributes),
                // Something newer took its place.
                Ok(None) => {
                    self.window.done(number);
                    self.tries.remove(&number);
                }
                Err(error) => {
                    self.window.failed(number);
                    self.reading_failed(&error);
                    return;
                }
            }
        }
    }

    fn next(&mut self) -> Option<i64> {
        if let Some((after, room)) = self.window.wants()
            && !self.store.is_empty()
        {
            match self.store.after(after, room) {
                Ok(requests) => {
                    self.window.load(&requests);
                }
                Err(error) => {
                    self.reading_failed(&error);
                    return None;
                }
            }
        }
        self.window.take()
    }

    fn reading_failed(&mut self, error: &StoreError) {
        self.shared.store_errors.fetch_add(1, Ordering::Relaxed);
        if self.store_failed.replace(Instant::now()).is_none() {
            error!(%error, "the accounting queue cannot be read");
        }
    }

    fn dispatch(&mut self, number: i64, at: u64, attributes: Vec<u8>) {
        self.tries.entry(number).or_insert(Tries { at: Instant::now(), failures: 0 });
        let age = Duration::from_secs(seconds(SystemTime::now()).saturating_sub(at));
        let answer = self.servers.account(attributes, age);
        let outcomes = self.outcomes.clone();
        self.runtime.spawn(async move {
            let outcome = answer.await;
            // Without the thread, the next daemon sends it again.
            let _ = outcomes.send(Input::Outcome(number, outcome));
        });
    }

    fn is_answered(&mut self, number: i64) {
        self.forget(number);
        self.shared.answered.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        self.answered = now;
        if let Some(away) = self.away.take() {
            let seconds = now.duration_since(away.since).as_secs();
            info!(queued = self.store.len(), away = seconds, "accounting servers answer again");
        }
    }

    fn is_unanswered(&mut self, number: i64, reason: &str) {
        let (now, answered) = (Instant::now(), self.answered);
        let alone = self.window.is_alone(number);
        let Some(tries) = self.tries.get_mut(&number) else { return };
        // Others were answered: it is not the servers, it is what they are asked.
        let blamed = answered > tries.at;
        tries.at = now;
        tries.failures += u32::from(blamed || alone);
        if tries.failures >= if alone { MAX_FAILURES_ALONE } else { MAX_FAILURES } {
            let session = self.window.session(number);
            error!(session, reason, "accounting request given up: no server answers it");
            self.shared.given_up.fetch_add(1, Ordering::Relaxed);
            return self.forget(number);
        }
        self.window.failed(number);
        self.change(Change::Unanswered(number));
        match &mut self.away {
            Some(away) if away.next <= now => {
                away.wait = (away.wait * 2).min(self.pace.last_retry);
                away.next = now + jittered(away.wait);
            }
            Some(_) => {}
            None if blamed => {}
            None => {
                let wait = self.pace.first_retry;
                self.away = Some(Away { since: now, next: now + jittered(wait), wait });
                warn!(reason, queued = self.store.len(), "no accounting server answers");
            }
        }
    }

    /// It is done with.
    fn forget(&mut self, number: i64) {
        self.window.done(number);
        self.tries.remove(&number);
        self.change(Change::Done(number));
    }

    fn publish(&self) {
        let shared = &self.shared;
        shared.queued.store(self.store.len(), Ordering::Relaxed);
        let oldest = self.store.oldest().ok().flatten().unwrap_or(0);
        shared.oldest.store(oldest, Ordering::Relaxed);
        shared.away.store(self.away.is_some(), Ordering::Relaxed);
    }

    /// Whether nothing is left to wait for.
    fn is_finished(&self) -> bool {
        let Some(until) = self.finish else { return false };
        let written = self.unwritten.is_empty();
        let waits =
            !self.window.sent().is_empty() || (!self.store.is_empty() && self.away.is_none());
        (written && !waits) || until <= Instant::now()
    }
}

/// A tenth more or less, so that what began together does not stay together.
fn jittered(time: Duration) -> Duration {
    let mut random = [0; 2];
    // Without random numbers it is as it was.
    if getrandom::fill(&mut random).is_err() {
        return time;
    }
    let share = f64::from(u16::from_ne_bytes(random)) / f64::from(u16::MAX);
    time.mul_f64(0.9 + share / 5.0)
}
