//! Logins begin when there is somebody to judge them: after a power cut thousands of clients dial
//! at once, and a RADIUS server that is asked too much answers nobody in time.
//!
//! A call waits for its turn before it is accepted, so that no timer of the client's PPP runs yet.
//! Turns are given in order of arrival, as many at once as verdicts come soon. Nobody waits for
//! longer than the configuration says, and who hangs up leaves the line. Judges nobody.

mod line;
mod window;

#[cfg(test)]
mod simulation;

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;
use tracing::info;

use crate::config::Limits;
use line::Line;
use window::Window;

/// How often waits and turns that take too long are looked for.
const TICK: Duration = Duration::from_millis(500);

/// A machine whose timers come so much late is behind with its work.
const LAG: Duration = Duration::from_millis(100);

/// How often a storm is told of.
const TELL: Duration = Duration::from_secs(5);

/// The line of logins. Clones share it.
#[derive(Debug, Clone)]
pub struct Starting(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    line: Mutex<Line<Arc<Owner>>>,
    patience: Duration,
}

/// Where a ticket stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Turn {
    /// Not yet.
    Waits,
    /// Now.
    Came,
    /// Never: it waited for too long.
    Refused,
}

/// Who is told.
#[derive(Debug)]
struct Owner {
    turn: AtomicU8,
    wake: Arc<Notify>,
}

impl Owner {
    fn tell(&self, turn: Turn) {
        self.turn.store(turn as u8, Ordering::Release);
        self.wake.notify_one();
    }
}

/// A place in the line, and then a turn. Dropping it leaves the line or ends the turn.
#[derive(Debug)]
pub struct Ticket {
    starting: Starting,
    number: u64,
    owner: Arc<Owner>,
    asked: Option<Instant>,
}

/// What the line is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// Logins that wait for their turn.
    pub waiting: usize,
    /// Logins that have their turn and no verdict.
    pub starting: usize,
    /// How long the first has waited.
    pub longest_wait: Duration,
}

impl Starting {
    /// With these limits.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let window = Window::new(limits.max_starting, Instant::now());
        Self(Arc::new(Inner {
            line: Mutex::new(Line::new(window)),
            patience: limits.login_queue_timeout.duration(),
        }))
    }

    /// Joins the line. `wake` is told when the turn comes or is refused; it may have come already.
    #[must_use]
    pub fn join(&self, wake: Arc<Notify>) -> Ticket {
        let owner = Arc::new(Owner { turn: AtomicU8::new(Turn::Waits as u8), wake });
        let now = Instant::now();
        let number = self.line().join(Arc::clone(&owner), now);
        self.give_turns(now);
        Ticket { starting: self.clone(), number, owner, asked: None }
    }

    /// What the line is like.
    #[must_use]
    pub fn queue(&self) -> Queue {
        let line = self.line();
        Queue {
            waiting: line.waiting(),
            starting: line.turns(),
            longest_wait: line.longest_wait(Instant::now()).unwrap_or_default(),
        }
    }

    /// Ends waits and turns that take too long, and tells of storms, for as long as it is polled.
    pub async fn serve(self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut told, mut given) = (Instant::now(), 0);
        loop {
            let due = tick.tick().await;
            let now = Instant::now();
            self.end_overdue(due.elapsed() > LAG, now);
            let since = now.saturating_duration_since(told);
            if since < TELL {
                continue;
            }
            let (queue, given_now) = (self.queue(), self.line().given());
            if queue.waiting > 0 {
                let per_second = (given_now - given) * 1000
                    / u64::try_from(since.as_millis()).unwrap_or(u64::MAX).max(1);
                info!(
                    waiting = queue.waiting,
                    starting = queue.starting,
                    per_second,
                    longest_wait = queue.longest_wait.as_secs(),
                    "login storm"
                );
            }
            (told, given) = (now, given_now);
        }
    }

    fn end_overdue(&self, busy: bool, now: Instant) {
        let mut line = self.line();
        if busy {
            line.busy();
        }
        while line.end_stalled(busy, now) {}
        while let Some(owner) = line.end_waiting(self.0.patience, now) {
            owner.tell(Turn::Refused);
        }
        drop(line);
        self.give_turns(now);
    }

    fn give_turns(&self, now: Instant) {
        let mut line = self.line();
        while let Some(owner) = line.next(now) {
            owner.tell(Turn::Came);
        }
    }

    fn line(&self) -> MutexGuard<'_, Line<Arc<Owner>>> {
        self.0.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// Where it stands.
    #[must_use]
    pub fn turn(&self) -> Turn {
        match self.owner.turn.load(Ordering::Acquire) {
            turn if turn == Turn::Came as u8 => Turn::Came,
            turn if turn == Turn::Refused as u8 => Turn::Refused,
            _ => Turn::Waits,
        }
    }

    /// The login came to be judged.
    #[must_use]
    pub fn asked(mut self) -> Self {
        self.asked = Some(Instant::now());
        self.starting.line().asked(self.number);
        self
    }

    /// The login had to wait for others of its address until now, which says nothing of who judges.
    pub fn judged_from_now(&mut self) {
        self.asked = Some(Instant::now());
    }

    /// Whoever judges has answered, and it is the next one's turn.
    pub fn answered(self) {
        if let Some(asked) = self.asked {
            let now = Instant::now();
            let took = now.saturating_duration_since(asked);
            self.starting.line().verdict(self.number, took, now);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.starting.line().leave(self.number);
        self.starting.give_turns(Instant::now());
    }
}
