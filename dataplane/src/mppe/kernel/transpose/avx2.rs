//! The transposition for CPUs with AVX2.
//!
//! Implements no RFC section. Unsafe: loads and stores of vectors in arrays of their size, and
//! the calls of functions that need AVX2.

use core::arch::x86_64::*;

use super::super::lanes::{LANES, MAX_STEPS, Row};
use super::super::packet::Key;
use super::{LaneStreams, Transpose};

/// Proof that the CPU has AVX2, and that the system saves its registers.
#[derive(Debug, Clone, Copy)]
pub struct Avx2(());

/// Octets of a vector.
const VECTOR: usize = 32;

impl Transpose for Avx2 {
    fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    fn keys_to_rows(self, keys: &[Key; LANES]) -> [Row; 16] {
        // SAFETY: that `self` exists proves the feature.
        unsafe { keys_to_rows(keys) }
    }

    fn rows_to_octets(self, rows: &[Row; 16]) -> [Key; LANES] {
        // SAFETY: that `self` exists proves the feature.
        unsafe { rows_to_octets(rows) }
    }

    fn rows_to_lanes(self, rows: &[Row; MAX_STEPS], steps: usize, into: &mut LaneStreams) {
        // SAFETY: that `self` exists proves the feature.
        unsafe { rows_to_lanes(rows, steps, into) }
    }

    fn xor(self, payload: &mut [u8], keystream: &[u8; MAX_STEPS]) {
        // SAFETY: that `self` exists proves the feature.
        unsafe { xor(payload, keystream) }
    }
}

#[target_feature(enable = "avx2")]
fn keys_to_rows(keys: &[Key; LANES]) -> [Row; 16] {
    let key = keys.each_ref().map(|key| load(key));
    let mut rows = [[0; LANES]; 16];
    // Octets of two lanes, then of four, then of eight, side by side.
    let low = [0, 2, 4, 6].map(|lane| _mm_unpacklo_epi8(key[lane], key[lane + 1]));
    let high = [0, 2, 4, 6].map(|lane| _mm_unpackhi_epi8(key[lane], key[lane + 1]));
    for (octets, rows) in [low, high].into_iter().zip(rows.chunks_exact_mut(8)) {
        let [a, b, c, d] = octets;
        let fours = [
            (_mm_unpacklo_epi16(a, b), _mm_unpacklo_epi16(c, d)),
            (_mm_unpackhi_epi16(a, b), _mm_unpackhi_epi16(c, d)),
        ];
        for ((a, b), rows) in fours.into_iter().zip(rows.chunks_exact_mut(4)) {
            let eights = [_mm_unpacklo_epi32(a, b), _mm_unpackhi_epi32(a, b)];
            for (pair, rows) in eights.into_iter().zip(rows.chunks_exact_mut(2)) {
                let pair = store(pair);
                rows[0].copy_from_slice(&pair[..8]);
                rows[1].copy_from_slice(&pair[8..]);
            }
        }
    }
    rows
}

#[target_feature(enable = "avx2")]
fn rows_to_octets(rows: &[Row; 16]) -> [Key; LANES] {
    let octets = rows.as_flattened();
    let lane_pairs = lane_pairs();
    let mut pairs = [_mm_setzero_si128(); 8];
    for (pair, two_rows) in pairs.iter_mut().zip(octets.as_chunks::<16>().0) {
        *pair = _mm_shuffle_epi8(load(two_rows), lane_pairs);
    }
    let [a, b, c, d, e, f, g, h] = pairs;
    let fours = [(a, b), (c, d), (e, f), (g, h)]
        .map(|(x, y)| (_mm_unpacklo_epi16(x, y), _mm_unpackhi_epi16(x, y)));
    let [(a, b), (c, d), (e, f), (g, h)] = fours;
    let low = [(a, c, e, g), (b, d, f, h)].map(|(w, x, y, z)| {
        let (first, second) = (_mm_unpacklo_epi32(w, x), _mm_unpacklo_epi32(y, z));
        let (third, fourth) = (_mm_unpackhi_epi32(w, x), _mm_unpackhi_epi32(y, z));
        [
            _mm_unpacklo_epi64(first, second),
            _mm_unpackhi_epi64(first, second),
            _mm_unpacklo_epi64(third, fourth),
            _mm_unpackhi_epi64(third, fourth),
        ]
    });
    let mut lanes = [[0; 16]; LANES];
    for (lane, octets) in lanes.iter_mut().zip(low.as_flattened()) {
        *lane = store(*octets);
    }
    lanes
}

#[target_feature(enable = "avx2")]
fn rows_to_lanes(rows: &[Row; MAX_STEPS], steps: usize, into: &mut LaneStreams) {
    let blocks = rows.as_flattened().as_chunks::<{ VECTOR * LANES }>().0;
    for (block, rows) in blocks.iter().take(steps.div_ceil(VECTOR)).enumerate() {
        for (lane, octets) in into.iter_mut().zip(lanes(rows)) {
            store256(octets, &mut lane.as_chunks_mut::<VECTOR>().0[block]);
        }
    }
}

/// 32 steps of eight lanes, each lane's in order.
#[target_feature(enable = "avx2")]
fn lanes(rows: &[u8; VECTOR * LANES]) -> [__m256i; LANES] {
    let lane_pairs = _mm256_broadcastsi128_si256(lane_pairs());
    let pairs = rows.as_chunks::<16>().0;
    // The low half of each vector is of steps 0 to 15, the high half of steps 16 to 31.
    let pair = |at: usize| {
        let both = _mm256_set_m128i(load(&pairs[at + 8]), load(&pairs[at]));
        _mm256_shuffle_epi8(both, lane_pairs)
    };
    let fours = [0, 2, 4, 6].map(|at| {
        let (x, y) = (pair(at), pair(at + 1));
        (_mm256_unpacklo_epi16(x, y), _mm256_unpackhi_epi16(x, y))
    });
    let [(a, b), (c, d), (e, f), (g, h)] = fours;
    let mut lanes = [_mm256_setzero_si256(); LANES];
    let eights = [(a, c, e, g), (b, d, f, h)];
    for (lanes, (w, x, y, z)) in lanes.as_chunks_mut::<4>().0.iter_mut().zip(eights) {
        let (first, second) = (_mm256_unpacklo_epi32(w, x), _mm256_unpacklo_epi32(y, z));
        let (third, fourth) = (_mm256_unpackhi_epi32(w, x), _mm256_unpackhi_epi32(y, z));
        *lanes = [
            _mm256_unpacklo_epi64(first, second),
            _mm256_unpackhi_epi64(first, second),
            _mm256_unpacklo_epi64(third, fourth),
            _mm256_unpackhi_epi64(third, fourth),
        ];
    }
    lanes
}

#[target_feature(enable = "avx2")]
fn xor(payload: &mut [u8], keystream: &[u8; MAX_STEPS]) {
    let keystream = &keystream[..payload.len()];
    let (blocks, rest) = payload.as_chunks_mut::<VECTOR>();
    let (key_blocks, key_rest) = keystream.as_chunks::<VECTOR>();
    for (block, key) in blocks.iter_mut().zip(key_blocks) {
        store256(_mm256_xor_si256(load256(block), load256(key)), block);
    }
    let (words, rest) = rest.as_chunks_mut::<8>();
    let (key_words, key_rest) = key_rest.as_chunks::<8>();
    for (word, key) in words.iter_mut().zip(key_words) {
        *word = (u64::from_ne_bytes(*word) ^ u64::from_ne_bytes(*key)).to_ne_bytes();
    }
    for (octet, key) in rest.iter_mut().zip(key_rest) {
        *octet ^= key;
    }
}

/// Shuffle of two rows into eight pairs, one for each lane.
#[target_feature(enable = "avx2")]
fn lane_pairs() -> __m128i {
    load(&[0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15])
}

#[target_feature(enable = "avx2")]
fn load(octets: &[u8; 16]) -> __m128i {
    // SAFETY: the reference is valid for 16 octets, and the load needs no alignment.
    unsafe { _mm_loadu_si128(octets.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
fn load256(octets: &[u8; 32]) -> __m256i {
    // SAFETY: the reference is valid for 32 octets, and the load needs no alignment.
    unsafe { _mm256_loadu_si256(octets.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
fn store(vector: __m128i) -> [u8; 16] {
    let mut octets = [0; 16];
    // SAFETY: the array is valid for 16 octets, and the store needs no alignment.
    unsafe { _mm_storeu_si128(octets.as_mut_ptr().cast(), vector) }
    octets
}

#[target_feature(enable = "avx2")]
fn store256(vector: __m256i, into: &mut [u8; 32]) {
    // SAFETY: the reference is valid for 32 octets, and the store needs no alignment.
    unsafe { _mm256_storeu_si256(into.as_mut_ptr().cast(), vector) }
}
