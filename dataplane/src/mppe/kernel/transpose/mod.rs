//! From keys to rows and from rows to keystream: octets change between lane order, in which keys
//! and payloads are, and step order, in which the lanes read and write.
//!
//! Implements no RFC section. [`Avx2`] and [`Avx512`] do the same; only the CPUs differ.

mod avx2;
mod avx512;
#[cfg(test)]
mod tests;

use super::lanes::{LANES, MAX_STEPS, Row};
use super::packet::Key;

pub use avx2::Avx2;
pub use avx512::Avx512;

/// Keystream of the lanes of one slot, each in order.
pub type LaneStreams = [[u8; MAX_STEPS]; LANES];

/// A way to transpose. A value of it is proof that the CPU has what it needs.
pub trait Transpose: Copy {
    /// `None` if the CPU lacks it, or the system does not save its registers.
    fn detect() -> Option<Self>;

    /// Turns the keys of a slot's lanes into rows: row i holds octet i of each.
    fn keys_to_rows(self, keys: &[Key; LANES]) -> [Row; 16];

    /// Turns 16 rows into the first 16 octets of each lane.
    fn rows_to_octets(self, rows: &[Row; 16]) -> [Key; LANES];

    /// Turns the first `steps` rows into each lane's keystream. Octets beyond `steps` are undefined
    /// keystream or left as they were.
    fn rows_to_lanes(self, rows: &[Row; MAX_STEPS], steps: usize, into: &mut LaneStreams);

    /// XORs keystream into a payload that is not longer.
    fn xor(self, payload: &mut [u8], keystream: &[u8; MAX_STEPS]);
}
