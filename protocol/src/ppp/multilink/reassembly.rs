//! Which fragments are a packet: the ones that wait, and when they are given up.
//!
//! Implements RFC 1990 §4.1 and §4.2 for one link. That link is GRE, which reorders, loses,
//! repeats and can be forged: so a fragment with a high number gives up no lower ones, as on a
//! line that keeps its order; fragments wait for a time, and numbers belong together if the
//! packets that carried them do. Holds a bounded number of fragments; copies none.

use std::time::Duration;

use super::{Format, Header, Receiving};
use crate::time::Instant;

/// Fragments that wait at most. A peer that fills its MRU needs two or three for a packet.
pub const MAX_HELD: usize = 32;
/// How long a fragment waits for the others of its packet: longer than networks reorder.
pub const PATIENCE: Duration = Duration::from_millis(250);
/// How far apart the packets that carry neighbours may be: what else is sent between them is a
/// control frame now and then.
const REACH: u32 = 64;

/// A fragment as it came.
#[derive(Debug)]
pub struct Fragment<T> {
    /// Its header.
    pub header: Header,
    /// The sequence number of the packet that carried it (RFC 2637 §4.1).
    pub carrier: u32,
    /// Octets of the piece.
    pub octets: usize,
    /// The piece, whatever holds it.
    pub piece: T,
}

/// Why a piece was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refused {
    /// Its number is here already.
    Duplicate,
    /// The others of its packet did not come in time.
    Incomplete,
    /// There is no room for it, or a newer one took its room.
    NoRoom,
    /// Its packet is longer than the MRRU.
    TooLong,
}

/// What an insertion set free.
#[derive(Debug)]
pub struct Released<T> {
    /// The pieces of a packet that is complete, in order.
    pub whole: Vec<T>,
    /// The highest number of a packet that carried one of them.
    pub carrier: u32,
    /// Pieces that were given up.
    pub refused: Vec<(T, Refused)>,
}

impl<T> Default for Released<T> {
    fn default() -> Self {
        Self { whole: Vec::new(), carrier: 0, refused: Vec::new() }
    }
}

#[derive(Debug)]
struct Held<T> {
    fragment: Fragment<T>,
    since: Instant,
}

/// The fragments of one peer that wait, the longest waiting first.
#[derive(Debug)]
pub struct Reassembler<T> {
    agreed: Receiving,
    held: Vec<Held<T>>,
}

impl<T> Reassembler<T> {
    /// Without fragments.
    #[must_use]
    pub const fn new(agreed: Receiving) -> Self {
        Self { agreed, held: Vec::new() }
    }

    /// The header of the peer's fragments.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.agreed.format
    }

    /// How many fragments wait.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether none waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// When [`Self::expire`] has something to give up.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.held.first().map(|held| held.since + PATIENCE)
    }

    /// Takes a fragment. If more than `room` wait then, those that have waited longest go.
    pub fn insert(
        &mut self,
        fragment: Fragment<T>,
        room: usize,
        now: Instant,
        released: &mut Released<T>,
    ) {
        self.expire(now, released);
        if self.held.iter().any(|held| Self::is_same(&held.fragment, &fragment)) {
            released.refused.push((fragment.piece, Refused::Duplicate));
            return;
        }
        self.held.push(Held { fragment, since: now });
        self.complete(released);
        let excess = self.held.len().saturating_sub(room.min(MAX_HELD));
        let excess = self.held.drain(..excess);
        released.refused.extend(excess.map(|held| (held.fragment.piece, Refused::NoRoom)));
    }

    /// Gives up what has waited for too long.
    pub fn expire(&mut self, now: Instant, released: &mut Released<T>) {
        let late = self.held.iter().take_while(|held| held.since + PATIENCE <= now).count();
        let late = self.held.drain(..late);
        released.refused.extend(late.map(|held| (held.fragment.piece, Refused::Incomplete)));
    }

    /// Gives up all that waits.
    pub fn clear(&mut self, released: &mut Released<T>) {
        let all = self.held.drain(..);
        released.refused.extend(all.map(|held| (held.fragment.piece, Refused::Incomplete)));
    }

    /// Releases the packet that the newest fragment completes, if it does.
    fn complete(&mut self, released: &mut Released<T>) {
        let Some(newest) = self.held.len().checked_sub(1) else { return };
        // Backwards to the beginning, then forwards to the end.
        let mut first = newest;
        while !self.held[first].fragment.header.begin {
            let Some(before) = self.before(first) else { return };
            // A packet that ends is none that goes on (RFC 1990 §4.1).
            if self.held[before].fragment.header.end {
                return;
            }
            first = before;
        }
        let mut run = [0; MAX_HELD + 1];
        let mut count = 0;
        let mut at = first;
        loop {
            let Some(place) = run.get_mut(count) else { return };
            *place = at;
            count += 1;
            if self.held[at].fragment.header.end {
                break;
            }
            let Some(after) = self.after(at) else { return };
            if self.held[after].fragment.header.begin {
                return;
            }
            at = after;
        }
        let run = run.get_mut(..count).unwrap_or_default();
        self.release(run, released);
    }

    /// Takes these fragments out.
    fn release(&mut self, run: &mut [usize], released: &mut Released<T>) {
        let octets: usize = run.iter().map(|&at| self.held[at].fragment.octets).sum();
        // The protocol field is no part of the information field (RFC 1990 §5.1.1).
        let fits = octets <= usize::from(self.agreed.mrru) + 2;
        for index in 0..run.len() {
            let at = run[index];
            let Fragment { carrier, piece, .. } = self.held.remove(at).fragment;
            for later in &mut run[index + 1..] {
                *later -= usize::from(*later > at);
            }
            if fits {
                released.whole.push(piece);
                released.carrier = carrier;
            } else {
                released.refused.push((piece, Refused::TooLong));
            }
        }
    }

    fn before(&self, at: usize) -> Option<usize> {
        let this = &self.held[at].fragment;
        self.held.iter().position(|held| self.follows(this, &held.fragment))
    }

    fn after(&self, at: usize) -> Option<usize> {
        let this = &self.held[at].fragment;
        self.held.iter().position(|held| self.follows(&held.fragment, this))
    }

    /// Whether `this` comes right after `before`: by its number, and by what carried both, which
    /// the peer sent in the same order.
    fn follows(&self, this: &Fragment<T>, before: &Fragment<T>) -> bool {
        let ahead = this.carrier.wrapping_sub(before.carrier);
        this.header.number == self.agreed.format.next(before.header.number)
            && (1..=REACH).contains(&ahead)
    }

    /// Whether both have one number, and are near enough to mean the same by it.
    fn is_same(one: &Fragment<T>, other: &Fragment<T>) -> bool {
        let ahead = one.carrier.wrapping_sub(other.carrier);
        one.header.number == other.header.number && ahead.min(ahead.wrapping_neg()) <= REACH
    }
}

#[cfg(test)]
mod tests;
