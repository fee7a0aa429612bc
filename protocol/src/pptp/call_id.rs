//! Own Call IDs (RFC 2637 §3.2.2): unique among the calls of one peer address, never 0, and a freed
//! one rests, so that late packets of a call never reach its successor.
//! Reads no clock and draws no randomness: both are arguments.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::time::Duration;

use crate::time::Instant;

/// How long a freed Call ID rests.
pub const REST: Duration = Duration::from_secs(60);

/// Which Call IDs will do: those that leave `residue` when divided by `stride`. With as many
/// workers as the stride says, a Call ID names its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class {
    stride: u16,
    residue: u16,
}

impl Class {
    /// Every Call ID will do.
    pub const ANY: Self = Self { stride: 1, residue: 0 };

    /// Call IDs that leave `residue` (which is itself taken modulo `stride`).
    #[must_use]
    pub const fn new(stride: NonZeroU16, residue: u16) -> Self {
        Self { stride: stride.get(), residue: residue % stride.get() }
    }

    /// Numbers of this class from 0 to 65535; 0 itself counts, if it is of this class.
    const fn count(self) -> u32 {
        (u16::MAX as u32 - self.residue as u32) / self.stride as u32 + 1
    }
}

/// No Call ID is left for this peer (in this class).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no Call ID left for {peer}: all are in use or rest")]
pub struct Exhausted {
    /// The peer's address.
    pub peer: Ipv4Addr,
}

/// Hands out Call IDs for all peers.
///
/// Needs memory for Call IDs in use and at rest alone. One call costs O(log n), unless nearly all
/// IDs of one peer are taken.
#[derive(Debug, Clone)]
pub struct Allocator {
    /// State of a splitmix64 generator: where a peer's numbers start.
    random: u64,
    /// In use or at rest.
    taken: BTreeMap<(Ipv4Addr, u16), Use>,
    peers: BTreeMap<Ipv4Addr, Peer>,
    /// In order of time, for all rest equally long.
    resting: VecDeque<(Instant, Ipv4Addr, u16)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Call,
    Rest,
}

#[derive(Debug, Clone, Copy)]
struct Peer {
    /// Where the search goes on: freed numbers lie behind it.
    next: u16,
    /// Numbers in use or at rest.
    taken: u16,
}

impl Allocator {
    /// `seed` makes the numbers unpredictable: draw it at start.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            random: seed,
            taken: BTreeMap::new(),
            peers: BTreeMap::new(),
            resting: VecDeque::new(),
        }
    }

    /// A Call ID that no call with `peer` uses, and none used within [`REST`].
    ///
    /// # Errors
    /// [`Exhausted`] if there is none in `class`.
    pub fn allocate(
        &mut self,
        peer: Ipv4Addr,
        class: Class,
        now: Instant,
    ) -> Result<NonZeroU16, Exhausted> {
        self.expire(now);
        let next = match self.peers.get(&peer) {
            Some(peer) => peer.next,
            None => self.draw(),
        };
        let stride = u32::from(class.stride);
        let first = u32::from(next) / stride;
        let found = (0..class.count()).find_map(|step| {
            let number = (first + step) % class.count() * stride + u32::from(class.residue);
            let id = NonZeroU16::new(u16::try_from(number).ok()?)?;
            (!self.taken.contains_key(&(peer, id.get()))).then_some(id)
        });
        let id = found.ok_or(Exhausted { peer })?;
        self.taken.insert((peer, id.get()), Use::Call);
        let state = self.peers.entry(peer).or_insert(Peer { next, taken: 0 });
        state.next = id.get().wrapping_add(1);
        state.taken += 1;
        Ok(id)
    }

    /// The call with `id` is over: the number rests, then it may be used again. Numbers that are
    /// not in use are ignored.
    pub fn free(&mut self, peer: Ipv4Addr, id: NonZeroU16, now: Instant) {
        if let Some(state @ Use::Call) = self.taken.get_mut(&(peer, id.get())) {
            *state = Use::Rest;
            self.resting.push_back((now + REST, peer, id.get()));
        }
    }

    /// Numbers in use or at rest, of all peers.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.len()
    }

    /// Ends the rest of all numbers whose time has come, and forgets peers without numbers.
    fn expire(&mut self, now: Instant) {
        while let Some(&(until, peer, id)) = self.resting.front()
            && until <= now
        {
            self.resting.pop_front();
            self.taken.remove(&(peer, id));
            if let Some(state) = self.peers.get_mut(&peer) {
                state.taken -= 1;
                if state.taken == 0 {
                    self.peers.remove(&peer);
                }
            }
        }
    }

    fn draw(&mut self) -> u16 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let [low, high, ..] = (z ^ (z >> 31)).to_le_bytes();
        u16::from_le_bytes([low, high])
    }
}

#[cfg(test)]
mod tests;
