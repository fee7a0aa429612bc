//! Which of the requests that wait may be sent now.
//!
//! A session's requests go one after the other, those of different sessions side by side. What
//! concerns all sessions (Accounting-On and -Off, RFC 2866 §5.1) goes alone: a server closes what
//! is open when it hears one. Holds numbers only, and not more of them than [`ROOM`].

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::store::Waiting;

/// Requests that are looked at together.
const ROOM: usize = 1024;

/// The requests at the head of the queue.
#[derive(Debug, Default)]
pub struct Window {
    /// Everything up to this number was loaded.
    cursor: i64,
    /// And the sessions that they are about.
    loaded: HashMap<i64, Option<Arc<str>>>,
    /// May be sent.
    ready: BTreeSet<i64>,
    /// Wait for an earlier request of the same session, which is a key here as long as there is
    /// one.
    behind: HashMap<Arc<str>, VecDeque<i64>>,
    sent: HashSet<i64>,
    /// The number that was sent last: the turn is that of the next.
    last: i64,
    /// What is loaded concerns all sessions.
    alone: bool,
}

impl Window {
    /// After which number and how many more requests it can take.
    #[must_use]
    pub fn wants(&self) -> Option<(i64, usize)> {
        let room = ROOM - self.loaded.len();
        (room > 0 && !self.alone).then_some((self.cursor, room))
    }

    /// Takes requests in their order, as far as they may be looked at together. Says whether it
    /// took any.
    pub fn load(&mut self, requests: &[Waiting]) -> bool {
        let before = self.cursor;
        for request in requests {
            if self.alone || (request.session.is_none() && !self.loaded.is_empty()) {
                break;
            }
            self.cursor = request.number;
            self.alone = request.session.is_none();
            match request.session.as_ref().and_then(|session| self.behind.get_mut(session)) {
                Some(behind) => behind.push_back(request.number),
                None => {
                    self.ready.insert(request.number);
                    if let Some(session) = &request.session {
                        self.behind.insert(Arc::clone(session), VecDeque::new());
                    }
                }
            }
            self.loaded.insert(request.number, request.session.clone());
        }
        self.cursor != before
    }

    /// The next to send. Turns go around, so that one that no server answers stops nobody else.
    pub fn take(&mut self) -> Option<i64> {
        let after = self.ready.range(self.last + 1..).next();
        let number = *after.or_else(|| self.ready.first())?;
        self.ready.remove(&number);
        self.sent.insert(number);
        self.last = number;
        Some(number)
    }

    /// It is done with.
    pub fn done(&mut self, number: i64) {
        self.sent.remove(&number);
        self.ready.remove(&number);
        let Some(session) = self.loaded.remove(&number) else { return };
        match session {
            None => self.alone = false,
            Some(session) => match self.behind.get_mut(&session).and_then(VecDeque::pop_front) {
                Some(next) => {
                    self.ready.insert(next);
                }
                None => {
                    self.behind.remove(&session);
                }
            },
        }
    }

    /// It was not answered, and has to be sent again.
    pub fn failed(&mut self, number: i64) {
        if self.sent.remove(&number) {
            self.ready.insert(number);
        }
    }

    /// Whether it concerns all sessions.
    #[must_use]
    pub fn is_alone(&self, number: i64) -> bool {
        self.loaded.get(&number).is_some_and(Option::is_none)
    }

    /// The session that it is about.
    #[must_use]
    pub fn session(&self, number: i64) -> Option<&str> {
        self.loaded.get(&number)?.as_deref()
    }

    /// Those that are on their way.
    #[must_use]
    pub const fn sent(&self) -> &HashSet<i64> {
        &self.sent
    }
}
