//! The transposition for CPUs with AVX-512's byte permutes (VBMI).
//!
//! Implements no RFC section. Unsafe: loads and stores of vectors in arrays of their size, masked
//! ones in slices that may be shorter, and the calls of functions that need AVX-512.

use core::arch::x86_64::*;

use super::super::lanes::{LANES, MAX_STEPS, Row};
use super::super::packet::Key;
use super::{LaneStreams, Transpose};

/// Proof that the CPU has AVX-512 F, BW and VBMI, and that the system saves its registers.
#[derive(Debug, Clone, Copy)]
pub struct Avx512(());

/// Octets of a vector.
const VECTOR: usize = 64;

impl Transpose for Avx512 {
    fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vbmi"))
        .then_some(Self(()))
    }

    fn keys_to_rows(self, keys: &[Key; LANES]) -> [Row; 16] {
        // SAFETY: that `self` exists proves the features.
        unsafe { keys_to_rows(keys) }
    }

    fn rows_to_octets(self, rows: &[Row; 16]) -> [Key; LANES] {
        // SAFETY: that `self` exists proves the features.
        unsafe { rows_to_octets(rows) }
    }

    fn rows_to_lanes(self, rows: &[Row; MAX_STEPS], steps: usize, into: &mut LaneStreams) {
        // SAFETY: that `self` exists proves the features.
        unsafe { rows_to_lanes(rows, steps, into) }
    }

    fn xor(self, payload: &mut [u8], keystream: &[u8; MAX_STEPS]) {
        // SAFETY: that `self` exists proves the features.
        unsafe { xor(payload, keystream) }
    }
}

/// Which octet of two vectors with the keys of eight lanes belongs where in eight rows.
static KEYS_TO_ROWS: [[u8; VECTOR]; 2] = [permutation(LANES, 0), permutation(LANES, 8)];
/// Which octet of two vectors with eight rows each belongs where in the 16 octets of four lanes.
static ROWS_TO_LANES: [[u8; VECTOR]; 2] = [permutation(16, 0), permutation(16, 4)];

/// The first or second half of the transposition of 128 octets, which come as rows of
/// 128 / `width` octets and leave as rows of `width` octets, from row `first` on.
#[expect(clippy::cast_possible_truncation, reason = "octets are below 128")]
const fn permutation(width: usize, first: usize) -> [u8; VECTOR] {
    let mut from = [0; VECTOR];
    let mut octet = 0;
    while octet < VECTOR {
        let (row, column) = (first + octet / width, octet % width);
        from[octet] = (column * (128 / width) + row) as u8;
        octet += 1;
    }
    from
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn keys_to_rows(keys: &[Key; LANES]) -> [Row; 16] {
    let halves = keys.as_flattened().as_chunks().0;
    let rows = transpose_128(&halves[0], &halves[1], &KEYS_TO_ROWS);
    let mut into = [[0; LANES]; 16];
    for (into, rows) in into.as_flattened_mut().as_chunks_mut().0.iter_mut().zip(rows) {
        store(rows, into);
    }
    into
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn rows_to_octets(rows: &[Row; 16]) -> [Key; LANES] {
    let halves = rows.as_flattened().as_chunks().0;
    let octets = transpose_128(&halves[0], &halves[1], &ROWS_TO_LANES);
    let mut into = [[0; 16]; LANES];
    for (into, octets) in into.as_flattened_mut().as_chunks_mut().0.iter_mut().zip(octets) {
        store(octets, into);
    }
    into
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn rows_to_lanes(rows: &[Row; MAX_STEPS], steps: usize, into: &mut LaneStreams) {
    let blocks = rows.as_flattened().as_chunks::<{ VECTOR * LANES }>().0;
    for (block, rows) in blocks.iter().take(steps.div_ceil(VECTOR)).enumerate() {
        for (lane, octets) in into.iter_mut().zip(lanes(rows)) {
            store(octets, &mut lane.as_chunks_mut::<VECTOR>().0[block]);
        }
    }
}

/// 64 steps of eight lanes, each lane's in order.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn lanes(rows: &[u8; VECTOR * LANES]) -> [__m512i; LANES] {
    let vectors = rows.as_chunks().0;
    // Of 16 steps each: lanes 0 to 3 in one vector, lanes 4 to 7 in the other.
    let [a, b, c, d] =
        [0, 2, 4, 6].map(|at| transpose_128(&vectors[at], &vectors[at + 1], &ROWS_TO_LANES));
    let low = transpose_quarters([a[0], b[0], c[0], d[0]]);
    let high = transpose_quarters([a[1], b[1], c[1], d[1]]);
    [low[0], low[1], low[2], low[3], high[0], high[1], high[2], high[3]]
}

/// Vector n of the result holds quarter n of each vector.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn transpose_quarters([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    // Quarters 0 and 1, or 2 and 3, of two vectors each.
    const LOW: i32 = 0b01_00_01_00;
    const HIGH: i32 = 0b11_10_11_10;
    // Quarters 0 and 2, or 1 and 3.
    const EVEN: i32 = 0b10_00_10_00;
    const ODD: i32 = 0b11_01_11_01;
    let (ab_low, ab_high) = (_mm512_shuffle_i64x2::<LOW>(a, b), _mm512_shuffle_i64x2::<HIGH>(a, b));
    let (cd_low, cd_high) = (_mm512_shuffle_i64x2::<LOW>(c, d), _mm512_shuffle_i64x2::<HIGH>(c, d));
    [
        _mm512_shuffle_i64x2::<EVEN>(ab_low, cd_low),
        _mm512_shuffle_i64x2::<ODD>(ab_low, cd_low),
        _mm512_shuffle_i64x2::<EVEN>(ab_high, cd_high),
        _mm512_shuffle_i64x2::<ODD>(ab_high, cd_high),
    ]
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn transpose_128(
    first: &[u8; VECTOR],
    second: &[u8; VECTOR],
    permutations: &[[u8; VECTOR]; 2],
) -> [__m512i; 2] {
    let (first, second) = (load(first), load(second));
    permutations.each_ref().map(|from| _mm512_permutex2var_epi8(first, load(from), second))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn xor(payload: &mut [u8], keystream: &[u8; MAX_STEPS]) {
    let (blocks, rest) = payload.as_chunks_mut();
    let (keys, _) = keystream.as_chunks();
    for (block, key) in blocks.iter_mut().zip(keys) {
        store(_mm512_xor_si512(load(block), load(key)), block);
    }
    // What is left is less than a vector. Without any of it there may be no keystream either.
    if let Some(key) = keys.get(blocks.len()) {
        xor_some(rest, load(key));
    }
}

/// XORs keystream into fewer than 64 octets.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn xor_some(octets: &mut [u8], keystream: __m512i) {
    let mask = (1 << octets.len().min(VECTOR - 1)) - 1;
    let into = octets.as_mut_ptr().cast();
    // SAFETY: the mask has no bit beyond the slice, and what has none is not read.
    let octets = unsafe { _mm512_maskz_loadu_epi8(mask, into) };
    let octets = _mm512_xor_si512(octets, keystream);
    // SAFETY: the mask has no bit beyond the slice, and what has none is not written.
    unsafe { _mm512_mask_storeu_epi8(into, mask, octets) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn load(octets: &[u8; VECTOR]) -> __m512i {
    // SAFETY: the reference is valid for 64 octets, and the load needs no alignment.
    unsafe { _mm512_loadu_si512(octets.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn store(vector: __m512i, into: &mut [u8; VECTOR]) {
    // SAFETY: the reference is valid for 64 octets, and the store needs no alignment.
    unsafe { _mm512_storeu_si512(into.as_mut_ptr().cast(), vector) }
}
