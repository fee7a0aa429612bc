//! Who failed how often lately, and who is locked until when, for one kind of subject.
//!
//! Memory is bounded: of subjects that only failed, the least recent one makes room for the next;
//! of locked ones, the one whose lock ends first. Hashes are keyed at random. Reads no clock.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

use hashlink::LruCache;

use crate::config::Lockout;

/// How many failures lock, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) failures: usize,
    pub(super) window: Duration,
    pub(super) time: Duration,
    pub(super) max_time: Duration,
}

impl Rules {
    pub(super) fn new(config: &Lockout) -> Self {
        Self {
            failures: usize::try_from(config.failures).unwrap_or(usize::MAX),
            window: config.window.duration(),
            time: config.time.duration(),
            max_time: config.max_time.duration(),
        }
    }

    /// The length of a subject's `locks`th lock, from 1.
    pub(super) fn length(&self, locks: u32) -> Duration {
        let doubled = 1_u32.checked_shl(locks.saturating_sub(1)).unwrap_or(u32::MAX);
        self.time.saturating_mul(doubled).min(self.max_time)
    }
}

/// A lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lock {
    pub(super) until: Instant,
    /// How many locks in a row it is, from 1.
    pub(super) locks: u32,
}

/// Somebody who failed and is not locked.
#[derive(Debug)]
struct Watched {
    /// When, oldest first; one more than are borne at most.
    failures: VecDeque<Instant>,
    locks: u32,
    /// Since when nothing happened.
    since: Instant,
}

/// Subjects of one kind.
#[derive(Debug)]
pub(super) struct Table<K> {
    watched: LruCache<K, Watched, std::hash::RandomState>,
    locked: HashMap<K, Lock>,
    /// The locked ones by their locks' ends.
    ends: BTreeSet<(Instant, K)>,
    /// Of each of the two.
    capacity: usize,
}

impl<K: Clone + Eq + Ord + Hash> Table<K> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            watched: LruCache::with_hasher(capacity, std::hash::RandomState::new()),
            locked: HashMap::new(),
            ends: BTreeSet::new(),
            capacity,
        }
    }

    /// Counts a failure. Returns how many there are in the window, one more than are borne at
    /// most.
    pub(super) fn fail(&mut self, key: &K, rules: &Rules, now: Instant) -> usize {
        let mut watched = self.watched.remove(key).unwrap_or_else(|| Watched {
            failures: VecDeque::new(),
            locks: 0,
            since: now,
        });
        if now.saturating_duration_since(watched.since) >= rules.max_time {
            watched.locks = 0;
        }
        watched.since = now;
        watched.failures.push_back(now);
        forget_old(&mut watched.failures, rules, now);
        let failures = watched.failures.len();
        self.watched.insert(key.clone(), watched);
        failures
    }

    /// How many failures there are in the window.
    pub(super) fn failures(&self, key: &K, rules: &Rules, now: Instant) -> usize {
        let watched = self.watched.peek(key);
        watched.map_or(0, |watched| {
            let counts = |at: &&Instant| now.saturating_duration_since(**at) < rules.window;
            watched.failures.iter().filter(counts).count()
        })
    }

    /// Locks, longer than the time before. Says whose lock was given up for it, if any.
    pub(super) fn lock(&mut self, key: &K, rules: &Rules, now: Instant) -> (Lock, Option<K>) {
        let before = self.watched.remove(key).map_or(0, |watched| watched.locks);
        let locks = before.saturating_add(1);
        let lock = Lock { until: now + rules.length(locks), locks };
        (lock, self.put(key.clone(), lock))
    }

    /// Enters a lock as it is. Says whose lock was given up for it, if any.
    pub(super) fn put(&mut self, key: K, lock: Lock) -> Option<K> {
        if let Some(old) = self.locked.insert(key.clone(), lock) {
            self.ends.remove(&(old.until, key.clone()));
        }
        self.ends.insert((lock.until, key));
        if self.locked.len() <= self.capacity {
            return None;
        }
        let (_, first) = self.ends.pop_first()?;
        self.locked.remove(&first);
        Some(first)
    }

    /// The lock, if there is one.
    pub(super) fn locked(&self, key: &K, now: Instant) -> Option<Lock> {
        self.locked.get(key).copied().filter(|lock| lock.until > now)
    }

    /// Ends one lock that is over by now. Its next one will be longer.
    pub(super) fn expire(&mut self, now: Instant) -> Option<K> {
        if self.next_end()? > now {
            return None;
        }
        let (_, key) = self.ends.pop_first()?;
        let lock = self.locked.remove(&key)?;
        let (failures, locks) = (VecDeque::new(), lock.locks);
        self.watched.insert(key.clone(), Watched { failures, locks, since: lock.until });
        Some(key)
    }

    /// When the next lock ends.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.ends.first().map(|(at, _)| *at)
    }

    /// Forgets failures and lock. Whether there was a lock.
    pub(super) fn clear(&mut self, key: &K) -> bool {
        self.watched.remove(key);
        let Some(lock) = self.locked.remove(key) else { return false };
        self.ends.remove(&(lock.until, key.clone()))
    }

    /// How many locks there are.
    pub(super) fn count(&self) -> usize {
        self.locked.len()
    }

    /// All locks, first to end first.
    pub(super) fn locks(&self) -> impl Iterator<Item = (&K, Lock)> {
        self.ends.iter().filter_map(|(_, key)| Some((key, *self.locked.get(key)?)))
    }
}

fn forget_old(failures: &mut VecDeque<Instant>, rules: &Rules, now: Instant) {
    while failures.len() > rules.failures + 1
        || failures.front().is_some_and(|at| now.saturating_duration_since(*at) >= rules.window)
    {
        failures.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        failures: 6,
        window: Duration::from_secs(600),
        time: Duration::from_secs(300),
        max_time: Duration::from_secs(1000),
    };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn failures_count_for_their_window_only() {
        let (mut table, start) = (Table::new(10), Instant::now());
        let counted: Vec<_> =
            (0..9).map(|n| table.fail(&"a", &RULES, start + seconds(100 * n))).collect();
        // The seventh stands in the same window as the first no more: it is 600 s later.
        assert_eq!(counted, [1, 2, 3, 4, 5, 6, 6, 6, 6]);
        assert_eq!(table.failures(&"a", &RULES, start + seconds(1300)), 1);
        assert_eq!(table.failures(&"a", &RULES, start + seconds(1400)), 0);
    }

    #[test]
    fn each_lock_is_twice_as_long_until_the_longest_and_quiet_makes_it_short_again() {
        let (mut table, mut now) = (Table::new(10), Instant::now());
        let mut lengths = Vec::new();
        for _ in 0..4 {
            table.fail(&"a", &RULES, now);
            let (lock, _) = table.lock(&"a", &RULES, now);
            lengths.push((lock.until - now).as_secs());
            assert!(table.expire(lock.until - seconds(1)).is_none());
            now = lock.until;
            assert_eq!(table.locked(&"a", now), None);
            assert_eq!(table.expire(now), Some("a"));
        }
        assert_eq!(lengths, [300, 600, 1000, 1000]);
        now += RULES.max_time;
        table.fail(&"a", &RULES, now);
        assert_eq!(table.lock(&"a", &RULES, now).0.locks, 1);
    }

    #[test]
    fn a_flood_of_subjects_takes_bounded_room_and_costs_the_first_to_end_their_locks() {
        let (mut table, start) = (Table::new(100), Instant::now());
        let (_, _) = table.lock(&0_u32, &RULES, start);
        for n in 1..10_000_u32 {
            let now = start + Duration::from_millis(n.into());
            table.fail(&n, &RULES, now);
        }
        assert_eq!(table.watched.len(), 100);
        assert!(table.locked(&0, start + seconds(20)).is_some(), "failures alone unlock nobody");
        for n in 1..=100_u32 {
            let gone = table.lock(&n, &RULES, start + seconds(30 + u64::from(n))).1;
            assert_eq!(gone, (n == 100).then_some(0));
        }
        assert_eq!((table.locked.len(), table.ends.len()), (100, 100));
    }

    #[test]
    fn what_is_cleared_begins_anew() {
        let (mut table, now) = (Table::new(10), Instant::now());
        table.lock(&"a", &RULES, now);
        assert!(table.clear(&"a"));
        assert!(!table.clear(&"a"));
        assert_eq!((table.next_end(), table.fail(&"a", &RULES, now)), (None, 1));
        assert_eq!(table.lock(&"a", &RULES, now).0.locks, 1);
    }
}
