//! RC4 on up to four streams side by side, in portable safe Rust.
//!
//! Implements the key schedule and generator of RC4 as RFC 3078 §5 and §6 use it. One stream is
//! bound by the latency of its steps; four fill a CPU.

use zeroize::Zeroize;

use super::packet::{Key, Packet, Payloads};

/// Streams that are worked on at once.
pub const STREAMS: usize = 4;

/// Octets of keystream that are made before they are used.
const CHUNK: usize = 256;

/// The tables of up to four streams that step together, used again for every set of packets.
pub struct Streams {
    /// S of each stream. CPUs forward words from stores to loads faster than octets.
    s: [[u32; 256]; STREAMS],
    i: u8,
    j: [u8; STREAMS],
    keystream: [[u8; CHUNK]; STREAMS],
}

impl Default for Streams {
    fn default() -> Self {
        Self { s: [[0; 256]; STREAMS], i: 0, j: [0; STREAMS], keystream: [[0; CHUNK]; STREAMS] }
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.s.as_flattened_mut().zeroize();
        self.keystream.as_flattened_mut().zeroize();
    }
}

impl Streams {
    /// Gives the first 16 octets of each key's keystream.
    pub fn first_octets(&mut self, keys: &[Key], mut each: impl FnMut(usize, Key)) {
        for (set, keys) in keys.chunks(STREAMS).enumerate() {
            self.schedule(keys.iter());
            self.generate(keys.len(), 16);
            for (n, keystream) in self.keystream.iter().take(keys.len()).enumerate() {
                if let Some(first) = keystream.first_chunk() {
                    each(STREAMS * set + n, *first);
                }
            }
        }
    }

    /// Applies keystream to packets, the longest first.
    pub fn apply(&mut self, packets: &[Packet], payloads: &mut (impl Payloads + ?Sized)) {
        for packets in packets.chunks(STREAMS) {
            self.schedule(packets.iter().map(|packet| &packet.key));
            self.run(packets, 0, payloads);
        }
    }

    /// Goes on with streams that were begun elsewhere: the tables and j of each, and the i that
    /// they share. Packets are as in [`Self::run`].
    pub fn take_over(&mut self, i: u8, streams: impl Iterator<Item = ([u8; 256], u8)>) {
        self.i = i;
        for ((s, j), (from_s, from_j)) in self.s.iter_mut().zip(&mut self.j).zip(streams) {
            *s = from_s.map(u32::from);
            *j = from_j;
        }
    }

    /// Applies keystream to at most four packets, the longest first, of which `at` octets are
    /// done.
    pub fn run(
        &mut self,
        packets: &[Packet],
        mut at: usize,
        payloads: &mut (impl Payloads + ?Sized),
    ) {
        loop {
            let live = packets.iter().take_while(|packet| packet.length > at).count();
            let Some(shortest) = packets[..live].last() else { return };
            let steps = (shortest.length - at).min(CHUNK);
            self.generate(live, steps);
            for (packet, keystream) in packets[..live].iter().zip(&self.keystream) {
                let payload = payloads.payload(packet.index);
                if let Some(payload) = payload.get_mut(at..at + steps) {
                    xor(payload, keystream);
                }
            }
            at += steps;
        }
    }

    fn schedule<'a>(&mut self, keys: impl Iterator<Item = &'a Key>) {
        let mut octets = [[0; 16]; STREAMS];
        let mut streams = 0;
        for (octets, key) in octets.iter_mut().zip(keys) {
            *octets = *key;
            streams += 1;
        }
        match streams {
            1 => self.schedule_streams::<1>(&octets),
            2 => self.schedule_streams::<2>(&octets),
            3 => self.schedule_streams::<3>(&octets),
            _ => self.schedule_streams::<STREAMS>(&octets),
        }
    }

    /// The key schedule of the first `N` streams.
    fn schedule_streams<const N: usize>(&mut self, keys: &[Key; STREAMS]) {
        for s in &mut self.s[..N] {
            for (i, entry) in (0..).zip(s) {
                *entry = i;
            }
        }
        let mut j = [0_u8; N];
        // The next S[i] is loaded before S[j] is stored, or the CPU bets that they differ and
        // starts over when it has lost. Three streams and more have others to go on with.
        let mut next: [u32; N] = core::array::from_fn(|n| self.s[n][0]);
        for sixteen in 0..16 {
            for octet in 0..16 {
                let i = 16 * sixteen + octet;
                let following = (i + 1) % 256;
                for n in 0..N {
                    let s = &mut self.s[n];
                    let a = if N <= 2 { next[n] } else { s[i] };
                    j[n] = j[n].wrapping_add(entry(a).wrapping_add(keys[n][i % 16]));
                    let j = usize::from(j[n]);
                    let loaded = s[following];
                    s[i] = s[j];
                    s[j] = a;
                    next[n] = if j == following { a } else { loaded };
                }
            }
        }
        self.i = 0;
        self.j = [0; STREAMS];
    }

    /// Makes `steps` octets, at most [`CHUNK`], for each of the first `streams` streams.
    fn generate(&mut self, streams: usize, steps: usize) {
        match streams {
            1 => self.generate_streams::<1>(steps),
            2 => self.generate_streams::<2>(steps),
            3 => self.generate_streams::<3>(steps),
            _ => self.generate_streams::<STREAMS>(steps),
        }
    }

    fn generate_streams<const N: usize>(&mut self, steps: usize) {
        let Self { s, i, j, keystream } = self;
        // Both stay in registers.
        let mut place = (*i, [0; N]);
        place.1.copy_from_slice(&j[..N]);
        let (whole, rest) = (steps / 8, steps % 8);
        for word in 0..whole {
            generate_word(s, &mut place, keystream, word, 8);
        }
        if rest > 0 {
            generate_word(s, &mut place, keystream, whole, rest);
        }
        *i = place.0;
        j[..N].copy_from_slice(&place.1);
    }
}

/// Makes up to eight octets of the first `N` streams, whose i and j are `place`, as word number
/// `word` of each keystream.
#[inline(always)]
fn generate_word<const N: usize>(
    s: &mut [[u32; 256]; STREAMS],
    (i, j): &mut (u8, [u8; N]),
    keystream: &mut [[u8; CHUNK]; STREAMS],
    word: usize,
    steps: usize,
) {
    let mut octets = [0_u64; N];
    for step in 0..steps {
        *i = i.wrapping_add(1);
        let i = usize::from(*i);
        for n in 0..N {
            let s = &mut s[n];
            let a = s[i];
            j[n] = j[n].wrapping_add(entry(a));
            let b = s[usize::from(j[n])];
            s[usize::from(j[n])] = a;
            s[i] = b;
            let output = s[usize::from(entry(a).wrapping_add(entry(b)))];
            octets[n] |= u64::from(output) << (8 * step);
        }
    }
    for (octets, keystream) in octets.into_iter().zip(keystream) {
        if let Some(into) = keystream.as_chunks_mut::<8>().0.get_mut(word) {
            *into = octets.to_le_bytes();
        }
    }
}

/// An entry of S, which is an octet in a word.
#[inline(always)]
fn entry(word: u32) -> u8 {
    word.to_le_bytes()[0]
}

/// XORs keystream into a payload that is not longer.
fn xor(payload: &mut [u8], keystream: &[u8]) {
    for (octet, key) in payload.iter_mut().zip(keystream) {
        *octet ^= key;
    }
}
