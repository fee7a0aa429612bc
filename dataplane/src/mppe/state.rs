//! What a tunnel keeps for MPPE, one state for each direction.
//!
//! Implements the numbering of RFC 3078 §3.1 and §8.1. States are flat, of constant layout and
//! without pointers, so that they can be saved and restored; keys are wiped when a state is
//! dropped. A state never moves by itself: a burst's commit moves it.

use protocol::mppe::{CoherencyCount, SessionKey, Strength};
use protocol::time::Instant;
use zeroize::Zeroize;

use super::groups::Mark;
use super::kernel::packet::Key;

/// Skipped keys that a direction keeps for late packets.
pub const SKIPPED_KEYS: usize = 64;

/// Key changes per second that packets far ahead may cause in one tunnel, more than any honest
/// sender sends.
pub const REKEYS_PER_SECOND: u32 = 512_000;

/// Key changes that a tunnel saves up: one second's worth.
pub const REKEYS_SAVED: u32 = REKEYS_PER_SECOND;

/// Key changes that a worker spends on gaps of all of its tunnels together, per second, and saves
/// up: about a tenth of its time, so that a few forgers cannot take it from the others. An
/// outage of a thousand tunnels is made up for within a second.
pub const REKEYS_PER_SECOND_OF_WORKER: u32 = 1_000_000;

/// Sending half: the key chain's place and the number of the next packet.
#[repr(C)]
pub struct SendState {
    pub(super) start: Key,
    /// Key of the packet before `next`, the initial key before the first.
    pub(super) key: Key,
    /// Number of the packet that is sent next, counted from 0.
    pub(super) next: u64,
    pub(super) mark: Mark,
    pub(super) strength: Strength,
}

impl SendState {
    /// A direction that has sent nothing yet.
    #[must_use]
    pub fn new(initial: &SessionKey) -> Self {
        let (start, key) = keys_of(initial);
        Self { start, key, next: 0, mark: Mark::default(), strength: initial.strength() }
    }

    /// How many packets were sent.
    #[must_use]
    pub const fn sent(&self) -> u64 {
        self.next
    }
}

impl std::fmt::Debug for SendState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SendState")
            .field("strength", &self.strength)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl Drop for SendState {
    fn drop(&mut self) {
        self.start.zeroize();
        self.key.zeroize();
    }
}

/// Receiving half: the newest accepted packet (the base), keys that were skipped before it, and
/// how far a walk ahead of it has come.
#[repr(C)]
pub struct ReceiveState {
    pub(super) start: Key,
    /// Key of the base, the initial key before the first packet.
    pub(super) key: Key,
    /// Number of the packet after the base, counted from 0.
    pub(super) next: u64,
    /// When `budget` was last refilled.
    refilled: Instant,
    /// GRE sequence number of the base.
    pub(super) sequence: u32,
    /// Key changes that may still be spent on packets far ahead.
    budget: u32,
    /// Clear frames seen with sequence numbers after the base's.
    clear: u32,
    pub(super) mark: Mark,
    pub(super) strength: Strength,

    /// How far a long gap was walked, over several bursts: the key of packet `scout - 1`. Zero if
    /// no walk is under way. Keys depend on numbers alone, so it stays valid whatever is refused.
    pub(super) scout: u64,
    pub(super) scout_key: Key,
    skipped: Skipped,
}

impl ReceiveState {
    /// A direction that has accepted nothing yet. `sequence` is the newest GRE sequence number
    /// received so far, in the clear.
    #[must_use]
    pub fn new(initial: &SessionKey, sequence: u32, now: Instant) -> Self {
        let (start, key) = keys_of(initial);
        Self {
            start,
            key,
            next: 0,
            refilled: now,
            sequence,
            budget: REKEYS_SAVED,
            clear: 0,
            mark: Mark::default(),
            strength: initial.strength(),
            scout: 0,
            scout_key: [0; 16],
            skipped: Skipped::default(),
        }
    }

    /// Number of the packet after the newest accepted one: accepted and lost packets so far.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Tells that a frame in the clear used up the GRE sequence number `sequence`. It moves
    /// neither key nor base; it only keeps hours of echo frames from being taken for a loss of
    /// 4,096 encrypted packets.
    pub const fn count_clear_frame(&mut self, sequence: u32) {
        if is_after(sequence, self.sequence) {
            self.clear = self.clear.saturating_add(1);
        }
    }

    /// Where in the direction's numbering a packet lies.
    #[inline]
    pub(super) fn place(&self, sequence: u32, count: CoherencyCount) -> Place {
        const TURN: u64 = CoherencyCount::MODULUS as u64;
        // Nearly every packet: as many numbers further on as counts, so that nothing but packets
        // lies in between.
        let least = u64::from(count.steps_from(CoherencyCount::of_packet(self.next)));
        if u64::from(sequence.wrapping_sub(self.sequence).wrapping_sub(1)) == least {
            return Place::Ahead(self.next + least);
        }
        if self.next > 0 && !is_after(sequence, self.sequence) {
            let back = u64::from(CoherencyCount::of_packet(self.next - 1).steps_from(count));
            let gap = u64::from(self.sequence.wrapping_sub(sequence));
            return match (self.next - 1).checked_sub(back) {
                Some(number) if back <= gap => Place::Behind(number),
                _ => Place::Inconsistent,
            };
        }
        // At least one step leads from the base to a packet after it.
        let gap = if is_after(sequence, self.sequence) {
            u64::from(sequence.wrapping_sub(self.sequence)) - 1
        } else {
            0
        };
        // Every packet in between used up a sequence number, clear frames did so too. The missing
        // packets are the largest number that fits the count; clear frames that were seen are
        // no packets.
        let clear = u64::from(self.clear);
        let bound = if gap >= least + clear { gap - clear } else { gap };
        if bound >= least {
            Place::Ahead(self.next + least + (bound - least) / TURN * TURN)
        } else if self.next == 0 {
            // Packets that came before the state was made are in no gap.
            Place::Ahead(least)
        } else {
            Place::Inconsistent
        }
    }

    /// Key changes that may be spent at `now`.
    pub(super) fn budget_at(&self, now: Instant) -> u32 {
        let elapsed = now.as_micros().saturating_sub(self.refilled.as_micros());
        let refill = elapsed.saturating_mul(REKEYS_PER_SECOND.into()) / 1_000_000;
        let refill = u32::try_from(refill).unwrap_or(u32::MAX);
        self.budget.saturating_add(refill).min(REKEYS_SAVED)
    }

    /// Sets what is left of the budget. Instants that give less than one key change are not
    /// lost: the clock is moved only when the budget is.
    pub(super) fn set_budget(&mut self, left: u32, now: Instant) {
        if left != self.budget || left == REKEYS_SAVED {
            self.budget = left;
            self.refilled = now;
        }
    }

    /// The place of a skipped packet's key.
    pub(super) fn skipped(&self, number: u64) -> Option<usize> {
        self.skipped.find(number)
    }

    /// The key at a place that [`Self::skipped`] returned.
    pub(super) const fn skipped_key(&self, place: usize) -> Key {
        self.skipped.keys[place]
    }

    /// Whether each packet from `number` on was accepted or has its key kept.
    pub(super) const fn remembers(&self, number: u64) -> bool {
        number >= self.skipped.floor
    }

    /// Uses a skipped packet's key up. `false` if it was used before.
    pub(super) fn take_skipped(&mut self, number: u64) -> bool {
        let place = self.skipped.find(number);
        if let Some(place) = place {
            self.skipped.remove(place);
        }
        place.is_some()
    }

    /// Moves the base to packet `number`. `key_of` knows the keys of this burst, and
    /// `accepted` which of its packets were accepted; the others are skipped.
    pub(super) fn advance(
        &mut self,
        number: u64,
        sequence: u32,
        key: Key,
        mut skipped_key: impl FnMut(u64) -> SkippedKey,
    ) {
        let oldest = number.saturating_sub(SKIPPED_KEYS as u64).max(self.next);
        if oldest > self.next {
            self.skipped.forget_before(oldest);
        }
        for skipped in oldest..number {
            match skipped_key(skipped) {
                SkippedKey::Accepted => {}
                SkippedKey::Known(key) => self.skipped.insert(skipped, key),
                SkippedKey::Unknown => self.skipped.forget_before(skipped + 1),
            }
        }
        self.key = key;
        self.next = number + 1;
        self.sequence = sequence;
        self.clear = 0;
        if self.scout != 0 && self.scout <= self.next {
            self.set_scout(0, [0; 16]);
        }
    }

    /// Remembers how far a walk has come.
    pub(super) const fn set_scout(&mut self, next: u64, key: Key) {
        self.scout = next;
        self.scout_key = key;
    }
}

impl std::fmt::Debug for ReceiveState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReceiveState")
            .field("strength", &self.strength)
            .field("next", &self.next)
            .field("sequence", &self.sequence)
            .field("budget", &self.budget)
            .field("scout", &self.scout)
            .finish_non_exhaustive()
    }
}

impl Drop for ReceiveState {
    fn drop(&mut self) {
        self.start.zeroize();
        self.key.zeroize();
        self.scout_key.zeroize();
        self.skipped.keys.as_flattened_mut().zeroize();
    }
}

/// Where in a direction's numbering a packet lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// After the base; the packet's number.
    Ahead(u64),
    /// The base itself or before it; the packet's number.
    Behind(u64),
    /// Count and sequence number contradict each other.
    Inconsistent,
}

/// What became of the key of a packet before the new base.
pub(super) enum SkippedKey {
    /// The packet was accepted: its key is never needed again.
    Accepted,
    /// The packet has not come.
    Known(Key),
    /// The packet has not come, and the walk passed it in an earlier burst.
    Unknown,
}

/// Keys that were skipped, oldest out first.
#[repr(C)]
struct Skipped {
    /// Bit n: place n is in use.
    used: u64,
    /// Every packet from this number to the base was accepted or has its key here.
    floor: u64,
    /// How many keys were put in; the place that is filled next, whole turns left out.
    cursor: u32,
    numbers: [u64; SKIPPED_KEYS],
    keys: [Key; SKIPPED_KEYS],
}

impl Default for Skipped {
    fn default() -> Self {
        Self {
            used: 0,
            floor: 0,
            cursor: 0,
            numbers: [0; SKIPPED_KEYS],
            keys: [[0; 16]; SKIPPED_KEYS],
        }
    }
}

impl Skipped {
    const fn is_used(&self, place: usize) -> bool {
        self.used >> place & 1 == 1
    }

    fn find(&self, number: u64) -> Option<usize> {
        if self.used == 0 {
            return None;
        }
        (0..SKIPPED_KEYS).find(|&place| self.is_used(place) && self.numbers[place] == number)
    }

    fn insert(&mut self, number: u64, key: Key) {
        let place = self.cursor as usize % SKIPPED_KEYS;
        if self.is_used(place) {
            self.forget_before(self.numbers[place] + 1);
        }
        self.numbers[place] = number;
        self.keys[place] = key;
        self.used |= 1 << place;
        self.cursor = self.cursor.wrapping_add(1);
    }

    fn remove(&mut self, place: usize) {
        self.used &= !(1 << place);
        self.keys[place].zeroize();
    }

    fn forget_before(&mut self, number: u64) {
        self.floor = self.floor.max(number);
    }
}

/// A start key and the key at the beginning of its chain.
fn keys_of(initial: &SessionKey) -> (Key, Key) {
    let (mut start, mut key) = ([0; 16], [0; 16]);
    let len = initial.strength().key_len();
    start[..len].copy_from_slice(initial.start_key().as_bytes());
    key[..len].copy_from_slice(initial.as_bytes());
    (start, key)
}

/// Serial comparison of sequence numbers, which wrap at 2^32.
const fn is_after(sequence: u32, base: u32) -> bool {
    let gap = sequence.wrapping_sub(base);
    gap != 0 && gap < 1 << 31
}
