//! The SHA-1 half of MPPE's key change by SHA-NI, several chains side by side.
//!
//! Implements `GetNewKeyFromSHA` (RFC 3078 §7.3), whose message always fills two blocks. Unsafe:
//! the call of functions that need SHA-NI, and their loads and stores.

use std::arch::x86_64::*;

use protocol::mppe::Strength;

use super::packet::Key;
use super::sha::{Change, IV, PAD2};

/// Proof that the CPU has SHA-NI and what goes with it.
#[derive(Debug, Clone, Copy)]
pub struct ShaNi(());

impl ShaNi {
    pub fn detect() -> Option<Self> {
        (is_x86_feature_detected!("sha") && is_x86_feature_detected!("sse4.1")).then_some(Self(()))
    }

    /// The interim keys of some changes. Three hide each other's latency, more find no registers.
    pub fn interim_keys<const N: usize>(self, changes: [Change<'_>; N]) -> [Key; N] {
        // SAFETY: that `self` exists proves the features.
        unsafe { sha_ni_interim_keys(changes) }
    }
}

/// Four message words, the first one in the highest place, as SHA-NI wants them.
type Words = __m128i;

#[target_feature(enable = "sha,sse4.1")]
fn sha_ni_interim_keys<const N: usize>(changes: [Change<'_>; N]) -> [Key; N] {
    let blocks = changes.map(|change| blocks_of(change));
    let iv = (words(IV[0], IV[1], IV[2], IV[3]), words(IV[4], 0, 0, 0));
    let middle = compress_side_by_side([iv; N], blocks.map(|(first, _)| first));
    let end = compress_side_by_side(middle, blocks.map(|(_, second)| second));
    end.map(|(abcd, _)| store(swap_octets(abcd)))
}

/// The two blocks of a message: start key, 40 zeros, session key, 40 times F2, SHA-1's padding.
#[target_feature(enable = "sha,sse4.1")]
fn blocks_of(Change { strength, start, key }: Change<'_>) -> ([Words; 4], [Words; 4]) {
    let (start, key) = (swap_octets(load(start)), swap_octets(load(key)));
    let zero = _mm_setzero_si128();
    let pad2 = _mm_set1_epi8(PAD2.cast_signed());
    let one_bit = words(0x8000_0000, 0, 0, 0);
    match strength {
        Strength::Bits128 => (
            [start, zero, zero, _mm_unpackhi_epi64(key, zero)],
            [_mm_unpacklo_epi64(pad2, key), pad2, pad2, words(0x8000_0000, 0, 0, 8 * 112)],
        ),
        Strength::Bits40 | Strength::Bits56 => (
            [_mm_unpackhi_epi64(zero, start), zero, zero, _mm_unpackhi_epi64(pad2, key)],
            [pad2, pad2, one_bit, words(0, 0, 0, 8 * 96)],
        ),
    }
}

/// Four rounds: the message words in, new a to d out. `$f` selects the round function.
macro_rules! four_rounds {
    ($abcd:ident, $before:ident, $words:expr, $f:literal) => {
        let words = $words;
        for n in 0..N {
            let e = _mm_sha1nexte_epu32($before[n], words[n]);
            $before[n] = $abcd[n];
            $abcd[n] = _mm_sha1rnds4_epu32::<$f>($abcd[n], e);
        }
    };
}

/// The next four message words, from the 16 before them.
macro_rules! four_words {
    ($w:ident, $a:literal $b:literal $c:literal $d:literal) => {{
        for n in 0..N {
            let sum = _mm_xor_si128(_mm_sha1msg1_epu32($w[$a][n], $w[$b][n]), $w[$c][n]);
            $w[$a][n] = _mm_sha1msg2_epu32(sum, $w[$d][n]);
        }
        $w[$a]
    }};
}

/// SHA-1's compression of one block for each chain; a state is (a to d, e in the highest place).
#[target_feature(enable = "sha,sse4.1")]
fn compress_side_by_side<const N: usize>(
    states: [(Words, Words); N],
    blocks: [[Words; 4]; N],
) -> [(Words, Words); N] {
    let mut w: [[Words; N]; 4] =
        std::array::from_fn(|index| std::array::from_fn(|n| blocks[n][index]));
    let mut abcd = states.map(|(abcd, _)| abcd);
    let mut before = abcd;
    for n in 0..N {
        let e = _mm_add_epi32(states[n].1, w[0][n]);
        abcd[n] = _mm_sha1rnds4_epu32::<0>(abcd[n], e);
    }
    four_rounds!(abcd, before, w[1], 0);
    four_rounds!(abcd, before, w[2], 0);
    four_rounds!(abcd, before, w[3], 0);
    four_rounds!(abcd, before, four_words!(w, 0 1 2 3), 0);
    four_rounds!(abcd, before, four_words!(w, 1 2 3 0), 1);
    four_rounds!(abcd, before, four_words!(w, 2 3 0 1), 1);
    four_rounds!(abcd, before, four_words!(w, 3 0 1 2), 1);
    four_rounds!(abcd, before, four_words!(w, 0 1 2 3), 1);
    four_rounds!(abcd, before, four_words!(w, 1 2 3 0), 1);
    four_rounds!(abcd, before, four_words!(w, 2 3 0 1), 2);
    four_rounds!(abcd, before, four_words!(w, 3 0 1 2), 2);
    four_rounds!(abcd, before, four_words!(w, 0 1 2 3), 2);
    four_rounds!(abcd, before, four_words!(w, 1 2 3 0), 2);
    four_rounds!(abcd, before, four_words!(w, 2 3 0 1), 2);
    four_rounds!(abcd, before, four_words!(w, 3 0 1 2), 3);
    four_rounds!(abcd, before, four_words!(w, 0 1 2 3), 3);
    four_rounds!(abcd, before, four_words!(w, 1 2 3 0), 3);
    four_rounds!(abcd, before, four_words!(w, 2 3 0 1), 3);
    four_rounds!(abcd, before, four_words!(w, 3 0 1 2), 3);
    std::array::from_fn(|n| {
        let e = _mm_sha1nexte_epu32(before[n], states[n].1);
        (_mm_add_epi32(abcd[n], states[n].0), e)
    })
}

#[target_feature(enable = "sha,sse4.1")]
fn words(first: u32, second: u32, third: u32, fourth: u32) -> Words {
    let [first, second, third, fourth] = [first, second, third, fourth].map(u32::cast_signed);
    _mm_set_epi32(first, second, third, fourth)
}

/// Between octets in order and words with the first one in the highest place.
#[target_feature(enable = "sha,sse4.1")]
fn swap_octets(vector: __m128i) -> __m128i {
    _mm_shuffle_epi8(vector, _mm_set_epi64x(0x0001_0203_0405_0607, 0x0809_0A0B_0C0D_0E0F))
}

#[target_feature(enable = "sha,sse4.1")]
fn load(octets: &[u8; 16]) -> __m128i {
    // SAFETY: the reference is valid for 16 octets, and the load needs no alignment.
    unsafe { _mm_loadu_si128(octets.as_ptr().cast()) }
}

#[target_feature(enable = "sha,sse4.1")]
fn store(vector: __m128i) -> [u8; 16] {
    let mut octets = [0; 16];
    // SAFETY: the array is valid for 16 octets, and the store needs no alignment.
    unsafe { _mm_storeu_si128(octets.as_mut_ptr().cast(), vector) }
    octets
}
