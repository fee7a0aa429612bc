//! The keys of a burst: chains to walk, and the keys found on the way.
//!
//! Implements no RFC section by itself: RFC 3078 §7.3's key change is the engine's. A chain never
//! refers to a tunnel, so chains of all tunnels and directions can be walked side by side.

use protocol::mppe::Strength;
use zeroize::Zeroize;

use super::kernel::packet::Key;

/// A piece of one direction's key chain that a burst needs.
#[derive(Debug, Clone, Copy)]
pub struct Chain {
    pub strength: Strength,
    /// The direction's start key.
    pub start: Key,
    /// The key before the first one of the piece.
    pub from: Key,
    /// Where in the burst's keys the piece lies.
    pub first: usize,
    /// How many keys the piece has.
    pub steps: usize,
}

/// A packet whose key is known once the chains were walked.
#[derive(Debug, Clone, Copy)]
pub struct Keyed {
    /// Index that `push` returned.
    pub packet: usize,
    /// Index into the burst's keys.
    pub key: usize,
    /// Length of the payload, octets.
    pub length: usize,
    pub strength: Strength,
}

/// All keys of one burst. Wiped when the burst ends.
#[derive(Debug, Default)]
pub struct Chains {
    pub chains: Vec<Chain>,
    /// The burst's keys, and beyond them zeros: room that larger bursts needed.
    pub keys: Vec<Key>,
    /// How many of `keys` are the burst's.
    pub used: usize,
    pub packets: Vec<Keyed>,
}

impl Chains {
    /// Begins a chain, of no keys yet, and returns its index.
    #[inline]
    pub fn begin(&mut self, strength: Strength, start: Key, from: Key) -> usize {
        self.chains.push(Chain { strength, start, from, first: 0, steps: 0 });
        self.chains.len() - 1
    }

    /// Says how many keys of a chain the burst needs; returns the index of the first one.
    #[inline]
    pub fn walk(&mut self, chain: usize, steps: usize) -> usize {
        let first = self.used;
        if let Some(chain) = self.chains.get_mut(chain) {
            (chain.first, chain.steps) = (first, steps);
            self.take(steps);
        }
        first
    }

    /// Adds a key that is known already.
    pub fn add_known(&mut self, key: Key) -> usize {
        let place = self.used;
        self.take(1);
        self.keys[place] = key;
        place
    }

    #[inline]
    fn take(&mut self, keys: usize) {
        self.used += keys;
        if self.keys.len() < self.used {
            self.grow();
        }
    }

    #[cold]
    fn grow(&mut self) {
        self.keys.resize(self.used, [0; 16]);
    }

    /// Forgets and overwrites all, for the next burst.
    pub fn clear(&mut self) {
        for chain in &mut self.chains {
            (chain.start, chain.from) = ([0; 16], [0; 16]);
        }
        self.chains.clear();
        self.keys[..self.used].fill([0; 16]);
        self.used = 0;
        self.packets.clear();
    }
}

impl Drop for Chains {
    fn drop(&mut self) {
        for chain in &mut self.chains {
            chain.start.zeroize();
            chain.from.zeroize();
        }
        self.keys.as_flattened_mut().zeroize();
    }
}
