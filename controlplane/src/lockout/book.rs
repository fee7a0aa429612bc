//! Failures and locks of addresses and of user names, and what must be kept of them.
//!
//! A lock on a user name binds only addresses that failed for it, or anybody could lock out
//! anybody: those that failed before the lock, and those that fail twice while it is on. Reads no
//! clock, does no I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use hashlink::LruCache;

use super::table::{Lock, Rules, Table};

/// Subjects of each kind that are watched, and that are locked, at once.
pub(super) const CAPACITY: u32 = 1 << 16;

/// Addresses of one locked user that are kept over a restart.
const KEPT_ADDRESSES: usize = 1000;

/// Who is locked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A peer address.
    Address(Ipv4Addr),
    /// A user name, in printable form. Binds the addresses that failed for it.
    User(Arc<str>),
}

/// How a peer stands that wants to try a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// It may.
    Free,
    /// It failed too often, but it was not locked.
    Suspect,
    /// It may not.
    Locked(Subject, Instant),
}

/// What a failure led to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failed {
    /// Failures of the address in the window, with this one.
    pub(super) failures: usize,
    /// Locks that began with it.
    pub(super) locked: Vec<(Subject, Lock)>,
    /// Addresses whose locks were given up for want of room.
    pub(super) evicted: Vec<Ipv4Addr>,
}

/// What an address did for a name.
#[derive(Debug, Clone, Copy)]
struct Pair {
    first: Instant,
    last: Instant,
    failures: u32,
}

/// A lock as it is kept over a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) subject: Subject,
    pub(super) until: Instant,
    pub(super) locks: u32,
    /// Whom a lock on a user binds.
    pub(super) addresses: Vec<Ipv4Addr>,
}

/// What has to be written: locks that are there, and subjects that have none any more.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) kept: Vec<Kept>,
    pub(super) gone: Vec<Subject>,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.gone.is_empty()
    }
}

#[derive(Debug)]
pub(super) struct Book {
    rules: Rules,
    addresses: Table<Ipv4Addr>,
    users: Table<Arc<str>>,
    pairs: LruCache<(Arc<str>, Ipv4Addr), Pair, std::hash::RandomState>,
    changed: BTreeSet<Subject>,
}

impl Book {
    pub(super) fn new(rules: Rules) -> Self {
        let capacity = CAPACITY as usize;
        Self {
            rules,
            addresses: Table::new(capacity),
            users: Table::new(capacity),
            pairs: LruCache::with_hasher(capacity, std::hash::RandomState::new()),
            changed: BTreeSet::new(),
        }
    }

    /// Whether the address itself is locked.
    pub(super) fn address_locked(&self, peer: Ipv4Addr, now: Instant) -> bool {
        self.addresses.locked(&peer, now).is_some()
    }

    pub(super) fn standing(&self, peer: Ipv4Addr, user: &Arc<str>, now: Instant) -> Standing {
        if let Some(lock) = self.addresses.locked(&peer, now) {
            return Standing::Locked(Subject::Address(peer), lock.until);
        }
        if let Some(lock) = self.users.locked(user, now)
            && self.binds(lock, user, peer)
        {
            return Standing::Locked(Subject::User(Arc::clone(user)), lock.until);
        }
        if self.addresses.failures(&peer, &self.rules, now) > self.rules.failures {
            return Standing::Suspect;
        }
        Standing::Free
    }

    /// Whether one more login of an address may be judged while these are. All of them may fail,
    /// and no more may than lock it.
    pub(super) fn has_room(&self, peer: Ipv4Addr, judged: usize, now: Instant) -> bool {
        let failures = self.addresses.failures(&peer, &self.rules, now);
        failures + judged <= self.rules.failures
    }

    fn binds(&self, lock: Lock, user: &Arc<str>, peer: Ipv4Addr) -> bool {
        let began = lock.until.checked_sub(self.rules.length(lock.locks));
        self.pairs.peek(&(Arc::clone(user), peer)).is_some_and(|pair| {
            began.is_some_and(|began| pair.first <= began) || pair.failures >= 2
        })
    }

    /// Counts a failure, and locks. An address with sessions is not locked.
    pub(super) fn fail(
        &mut self,
        peer: Ipv4Addr,
        user: &Arc<str>,
        has_sessions: bool,
        now: Instant,
    ) -> Failed {
        let mut failed = Failed { failures: 0, locked: Vec::new(), evicted: Vec::new() };
        failed.failures = self.addresses.fail(&peer, &self.rules, now);
        if failed.failures > self.rules.failures && !has_sessions {
            let (lock, evicted) = self.addresses.lock(&peer, &self.rules, now);
            self.changed.insert(Subject::Address(peer));
            self.changed.extend(evicted.map(Subject::Address));
            failed.evicted.extend(evicted);
            failed.locked.push((Subject::Address(peer), lock));
        }
        let locked = self.users.locked(user, now).is_some();
        self.pair(peer, user, locked, now);
        if locked {
            self.changed.insert(Subject::User(Arc::clone(user)));
        } else if self.users.fail(user, &self.rules, now) > self.rules.failures {
            let (lock, evicted) = self.users.lock(user, &self.rules, now);
            self.changed.insert(Subject::User(Arc::clone(user)));
            self.changed.extend(evicted.map(Subject::User));
            failed.locked.push((Subject::User(Arc::clone(user)), lock));
        }
        failed
    }

    fn pair(&mut self, peer: Ipv4Addr, user: &Arc<str>, locked: bool, now: Instant) {
        let key = (Arc::clone(user), peer);
        let known =
            self.pairs.get(&key).copied().filter(|pair| {
                locked || now.saturating_duration_since(pair.last) < self.rules.window
            });
        let pair = known.unwrap_or(Pair { first: now, last: now, failures: 0 });
        let failures = pair.failures.saturating_add(1);
        self.pairs.insert(key, Pair { last: now, failures, ..pair });
    }

    /// The address proved to be the user's.
    pub(super) fn succeed(&mut self, peer: Ipv4Addr, user: &Arc<str>) {
        self.pairs.remove(&(Arc::clone(user), peer));
    }

    /// Ends a lock that is over by now.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Subject> {
        let address = self.addresses.expire(now).map(Subject::Address);
        let subject = address.or_else(|| self.users.expire(now).map(Subject::User))?;
        self.changed.insert(subject.clone());
        Some(subject)
    }

    /// Forgets what is known of a subject. Whether it was locked.
    pub(super) fn clear(&mut self, subject: &Subject) -> bool {
        let locked = match subject {
            Subject::Address(address) => self.addresses.clear(address),
            Subject::User(user) => self.users.clear(user),
        };
        if locked {
            self.changed.insert(subject.clone());
        }
        locked
    }

    /// All locks, those of addresses first, each kind by its end.
    pub(super) fn locks(&self) -> Vec<(Subject, Lock)> {
        let addresses = self.addresses.locks();
        let users = self.users.locks();
        addresses
            .map(|(address, lock)| (Subject::Address(*address), lock))
            .chain(users.map(|(user, lock)| (Subject::User(Arc::clone(user)), lock)))
            .collect()
    }

    /// How many locks there are.
    pub(super) fn count(&self) -> usize {
        self.addresses.count() + self.users.count()
    }

    /// What changed since the last time.
    pub(super) fn take_changes(&mut self, now: Instant) -> Changes {
        let changed = std::mem::take(&mut self.changed);
        let users = changed.iter().any(|subject| matches!(subject, Subject::User(_)));
        let mut bound = if users { self.bound(now) } else { BTreeMap::new() };
        let mut changes = Changes::default();
        for subject in changed {
            let lock = match &subject {
                Subject::Address(address) => self.addresses.locked(address, now),
                Subject::User(user) => self.users.locked(user, now),
            };
            let Some(lock) = lock else {
                changes.gone.push(subject);
                continue;
            };
            let addresses = match &subject {
                Subject::Address(_) => Vec::new(),
                Subject::User(user) => bound.remove(user).unwrap_or_default(),
            };
            let Lock { until, locks } = lock;
            changes.kept.push(Kept { subject, until, locks, addresses });
        }
        changes
    }

    /// Whom the locks on users bind, the latest first.
    fn bound(&self, now: Instant) -> BTreeMap<Arc<str>, Vec<Ipv4Addr>> {
        let mut bound = BTreeMap::<_, Vec<_>>::new();
        for ((user, peer), _) in self.pairs.iter().rev() {
            let lock = self.users.locked(user, now);
            if lock.is_some_and(|lock| self.binds(lock, user, *peer)) {
                let addresses = bound.entry(Arc::clone(user)).or_default();
                if addresses.len() < KEPT_ADDRESSES {
                    addresses.push(*peer);
                }
            }
        }
        bound
    }

    /// Enters a lock of before the restart.
    pub(super) fn restore(&mut self, kept: Kept, now: Instant) {
        // A clock that was set back must not make a lock longer than any can be.
        let longest = now + self.rules.max_time;
        let lock = Lock { until: kept.until.min(longest), locks: kept.locks };
        match kept.subject {
            Subject::Address(address) => {
                self.addresses.put(address, lock);
            }
            Subject::User(user) => {
                for address in kept.addresses.into_iter().rev() {
                    let pair = Pair { first: now, last: now, failures: 2 };
                    self.pairs.insert((Arc::clone(&user), address), pair);
                }
                self.users.put(user, lock);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Lockout;

    fn book() -> Book {
        Book::new(Rules::new(&Lockout::default()))
    }

    fn peer(n: u8) -> Ipv4Addr {
        Ipv4Addr::new(192, 0, 2, n)
    }

    #[test]
    fn the_seventh_failure_locks_the_address() {
        let (mut book, now) = (book(), Instant::now());
        for n in 1..=6_usize {
            let name = Arc::from(format!("user-{n}"));
            let failed = book.fail(peer(1), &name, false, now);
            assert_eq!((failed.failures, failed.locked.len()), (n, 0));
            assert_eq!(book.standing(peer(1), &name, now), Standing::Free);
        }
        let name = Arc::from("user-7");
        let failed = book.fail(peer(1), &name, false, now);
        let until = now + Duration::from_secs(300);
        let subject = Subject::Address(peer(1));
        assert_eq!(failed.locked, [(subject.clone(), Lock { until, locks: 1 })]);
        assert_eq!(book.standing(peer(1), &name, now), Standing::Locked(subject.clone(), until));
        assert_eq!(book.standing(peer(2), &name, now), Standing::Free);
        assert_eq!(book.expire(until), Some(subject));
        assert_eq!(book.standing(peer(1), &name, until), Standing::Free);
    }

    #[test]
    fn a_lock_on_a_user_binds_the_failing_addresses_only() {
        let (mut book, now) = (book(), Instant::now());
        let victim = Arc::from("victim");
        for n in 1..=7 {
            book.fail(peer(n), &victim, false, now);
        }
        let bound = |book: &Book, n| {
            matches!(book.standing(peer(n), &victim, now), Standing::Locked(Subject::User(_), _))
        };
        assert!((1..=7).all(|n| bound(&book, n)));
        // The victim's own address never failed; a slip of the finger does not bind it yet.
        let later = now + Duration::from_secs(1);
        assert!(!bound(&book, 100));
        book.fail(peer(100), &victim, false, later);
        assert!(!bound(&book, 100));
        book.fail(peer(100), &victim, false, later);
        assert!(bound(&book, 100));
        // Other names of the bound addresses are free.
        assert_eq!(book.standing(peer(1), &Arc::from("other"), now), Standing::Free);
    }

    #[test]
    fn an_address_with_sessions_becomes_suspect_and_is_locked_once_they_are_gone() {
        let (mut book, now) = (book(), Instant::now());
        for n in 0..20 {
            let name = Arc::from(format!("user-{n}"));
            assert_eq!(book.fail(peer(1), &name, true, now).locked, []);
        }
        let name = Arc::from("anna");
        assert_eq!(book.standing(peer(1), &name, now), Standing::Suspect);
        assert_eq!(book.fail(peer(1), &name, false, now).locked.len(), 1);
    }

    #[test]
    fn what_was_kept_is_as_it_was() {
        let (mut before, now) = (book(), Instant::now());
        let victim = Arc::from("victim");
        for n in 1..=7 {
            before.fail(peer(1), &Arc::from(format!("user-{n}")), false, now);
            before.fail(peer(10 + n), &victim, false, now);
        }
        let changes = before.take_changes(now);
        assert_eq!((changes.kept.len(), changes.gone.len()), (2, 0));
        assert!(before.take_changes(now).is_empty());

        let mut after = book();
        for kept in changes.kept {
            after.restore(kept, now);
        }
        assert_eq!(after.locks(), before.locks());
        for (n, name) in [(1, "x"), (11, "victim"), (12, "victim"), (99, "victim")] {
            let name = Arc::from(name);
            assert_eq!(after.standing(peer(n), &name, now), before.standing(peer(n), &name, now));
        }
        assert!(after.clear(&Subject::User(victim.clone())));
        let gone = vec![Subject::User(victim)];
        assert_eq!(after.take_changes(now), Changes { kept: vec![], gone });
    }
}
