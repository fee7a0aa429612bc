//! Unpredictable octets for challenges and magic numbers out of a seed that the caller supplies.
//!
//! A counter under a secret prefix through SHA-1, one compression for each 20 octets: who sees the
//! output learns neither the seed nor what comes next. Never reads a source of randomness itself.

use std::fmt;

use sha1::{Digest, Sha1};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A generator in a saveable state. Two generators of one seed give the same octets, so a seed
/// must be fresh from the system's generator for each link. Wiped when dropped, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Entropy {
    seed: [u8; 32],
    counter: u64,
}

impl Entropy {
    /// A generator of this seed.
    #[must_use]
    pub const fn new(seed: [u8; 32]) -> Self {
        Self { seed, counter: 0 }
    }

    /// The next `N` octets.
    pub fn draw<const N: usize>(&mut self) -> [u8; N] {
        let mut octets = [0; N];
        for chunk in octets.chunks_mut(20) {
            let block =
                Sha1::new().chain_update(self.seed).chain_update(self.counter.to_be_bytes());
            self.counter += 1;
            chunk.copy_from_slice(&block.finalize()[..chunk.len()]);
        }
        octets
    }

    /// A generator of its own for one part of the owner.
    pub fn split(&mut self) -> Self {
        Self::new(self.draw())
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_depend_on_seed_and_order_only() {
        let mut one = Entropy::new([1; 32]);
        let mut same = one.clone();
        let mut other = Entropy::new([2; 32]);
        let first: [u8; 48] = one.draw();
        assert_eq!(first, same.draw());
        assert_ne!(first, other.draw());
        assert_ne!(first, one.draw());
        assert_ne!(one.split().draw::<16>(), one.draw());
    }
}
