//! RC4 in lanes: 8, 16, 24 or 32 independent streams side by side, for CPUs with AVX.
//!
//! Implements the key schedule and generator of RC4 as RFC 3078 §5 and §6 use it. Knows nothing of
//! packets. Unsafe: the calls of the assembly routines.
//!
//! Eight streams share a slot. A slot's state is 256 rows of eight octets, row i holding S\[i\] of
//! its eight lanes, so that S\[i\] of all lanes is one load and one store; only S\[j\] and the output
//! are fetched lane by lane. The routines work on up to four slots at once and interleave them:
//! while slot g is swapped, slot g + 1's next j is computed and slot g − 1's output is fetched.
//! That hides the latency of each by the work of the others; compilers do not find this order and
//! spill registers, hence assembly.

mod assembly;

use zeroize::Zeroize;

use assembly::{
    generate1, generate2, generate3, generate4, schedule1, schedule2, schedule3, schedule4,
};

/// Streams in a slot.
pub const LANES: usize = 8;
/// Slots that are worked on at once.
pub const SLOTS: usize = 4;
/// Most steps of one call of [`Slots::generate`].
pub const MAX_STEPS: usize = 256;

/// One octet of each lane.
pub type Row = [u8; LANES];

/// The states of up to four slots. The offsets of the fields are known to the assembly.
#[repr(C, align(64))]
pub struct Slots {
    state: [[Row; 256]; SLOTS],
    /// j of each lane.
    j: [Row; SLOTS],
    /// i of all lanes.
    i: u8,
}

const _: () = assert!(core::mem::offset_of!(Slots, j) == 8192);

/// Key octets of up to four slots, as the key schedule reads them: row i holds octet i of all
/// lanes. The last row is padding: a routine reads 16 octets for a row's last eight.
#[repr(C, align(64))]
pub struct KeyRows {
    rows: [[Row; SLOTS]; 16],
    _padding: [Row; SLOTS],
}

/// Keystream of up to four slots: row n holds the octet of step n of each lane.
#[repr(C, align(64))]
pub struct Keystream {
    /// For each slot one row that is scribbled on, then its keystream, then padding: a multiple
    /// of 4 KiB between the slots would make their stores collide.
    rows: [[Row; ROWS]; SLOTS],
}

const ROWS: usize = 1 + MAX_STEPS + 7;
const _: () = assert!(ROWS * LANES == 2112);

impl Default for KeyRows {
    fn default() -> Self {
        Self { rows: [[[0; LANES]; SLOTS]; 16], _padding: [[0; LANES]; SLOTS] }
    }
}

impl KeyRows {
    /// The rows, to fill in: octet i of the key of lane l of slot s is at \[i\]\[s\]\[l\]. A key of
    /// 8 octets is given twice, which is the same key to RC4.
    pub const fn rows_mut(&mut self) -> &mut [[Row; SLOTS]; 16] {
        &mut self.rows
    }
}

impl Default for Keystream {
    fn default() -> Self {
        Self { rows: [[[0; LANES]; ROWS]; SLOTS] }
    }
}

impl Keystream {
    /// The rows of one slot, from the first step of the last call on.
    pub fn rows(&self, slot: usize) -> &[Row; MAX_STEPS] {
        // In bounds: a slot has more rows than that.
        self.rows[slot][1..].first_chunk().unwrap_or(&[[0; LANES]; MAX_STEPS])
    }
}

/// S\[i\] = i in all lanes.
static IDENTITY: [Row; 256] = {
    let mut rows = [[0; LANES]; 256];
    let mut index = 0;
    while index < 256 {
        // Below 256: nothing is cut.
        #[expect(clippy::cast_possible_truncation)]
        let octet = index as u8;
        rows[index] = [octet; LANES];
        index += 1;
    }
    rows
};

impl Default for Slots {
    fn default() -> Self {
        Self { state: [IDENTITY; SLOTS], j: [[0; LANES]; SLOTS], i: 0 }
    }
}

/// Proof that the CPU has AVX.
#[derive(Debug, Clone, Copy)]
pub struct Avx(());

impl Avx {
    pub fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx").then_some(Self(()))
    }
}

impl Slots {
    /// Starts the first `slots` slots, 1 to 4, with fresh keys.
    pub fn schedule(&mut self, _: Avx, slots: usize, keys: &KeyRows) {
        for state in &mut self.state[..slots] {
            *state = IDENTITY;
        }
        self.j = [[0; LANES]; SLOTS];
        self.i = 0;
        let routine = match slots {
            1 => schedule1,
            2 => schedule2,
            3 => schedule3,
            _ => schedule4,
        };
        // SAFETY: the routines need AVX, which `Avx` proves, and
        // they write rows of `self.state`, indexed by octets, and read up to 16 octets from each
        // slot's place in a row of `keys`, which the padding after the last row covers. `self`
        // is borrowed exclusively and `keys` shared for the call.
        unsafe { routine(self, keys) }
    }

    /// Runs the first `slots` slots, 1 to 4, for `steps` steps, at most [`MAX_STEPS`]. An odd
    /// number is rounded up; returns how many steps were made.
    pub fn generate(&mut self, _: Avx, slots: usize, steps: usize, into: &mut Keystream) -> usize {
        let steps = steps.min(MAX_STEPS).next_multiple_of(2);
        if steps == 0 {
            return 0;
        }
        let routine = match slots {
            1 => generate1,
            2 => generate2,
            3 => generate3,
            _ => generate4,
        };
        // SAFETY: the routines need AVX, which `Avx` proves, and
        // they access `self.state`, indexed by octets, and `self.j`. `steps` is even, above 0 and
        // at most `MAX_STEPS`, so they write rows 0 to 256 of each slot of `into` at most. Both
        // are borrowed exclusively for the call.
        unsafe { routine(self, into, steps, usize::from(self.i)) }
        // i wraps after 256 steps.
        #[expect(clippy::cast_possible_truncation)]
        let wrapped = steps as u8;
        self.i = self.i.wrapping_add(wrapped);
        steps
    }
}

impl Slots {
    /// i of all lanes.
    pub const fn i(&self) -> u8 {
        self.i
    }

    /// S and j of one lane of the first slot, to go on with them elsewhere.
    pub fn lane_of_first_slot(&self, lane: usize) -> ([u8; 256], u8) {
        (self.state[0].map(|row| row[lane]), self.j[0][lane])
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        self.state.as_flattened_mut().as_flattened_mut().zeroize();
    }
}

impl Drop for Keystream {
    fn drop(&mut self) {
        self.rows.as_flattened_mut().as_flattened_mut().zeroize();
    }
}

impl Drop for KeyRows {
    fn drop(&mut self) {
        self.rows.as_flattened_mut().as_flattened_mut().zeroize();
    }
}
