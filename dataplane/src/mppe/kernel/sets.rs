//! RC4 over many packets: which of them share slots, and how a set of slots is run to its end.
//!
//! Implements no RFC section. Holds no unsafe code: the lanes and the transposition are next door.

use zeroize::Zeroize;

use super::lanes::{Avx, KeyRows, Keystream, LANES, MAX_STEPS, SLOTS, Slots};
use super::packet::{KEY_LEN, Key, Packet, Payloads};
use super::portable::{STREAMS, Streams};
use super::transpose::{LaneStreams, Transpose};

/// With fewer packets than this a slot of its own costs more than scalar streams: a slot takes as long
/// with six packets as with eight, which is when the two break even.
const LEAST_IN_FIRST_SLOT: usize = 7;
/// The same beside other slots, whose latency it helps to hide.
const LEAST_IN_FURTHER_SLOT: usize = 3;
/// Octets that must be left for at most [`STREAMS`] lanes to leave a lone slot.
const WORTH_LEAVING: usize = 64;

/// The lanes with their scratch, used again for every set.
pub struct Lanes<T> {
    avx: Avx,
    transpose: T,
    slots: Slots,
    key_rows: KeyRows,
    keystream: Keystream,
    octets: LaneStreams,
    streams: Streams,
}

impl<T> Drop for Lanes<T> {
    fn drop(&mut self) {
        self.octets.as_flattened_mut().zeroize();
    }
}

impl<T: Transpose> Lanes<T> {
    /// `None` if the CPU lacks what it needs.
    pub fn detect() -> Option<Self> {
        Some(Self {
            avx: Avx::detect()?,
            transpose: T::detect()?,
            slots: Slots::default(),
            key_rows: KeyRows::default(),
            keystream: Keystream::default(),
            octets: [[0; MAX_STEPS]; LANES],
            streams: Streams::default(),
        })
    }

    /// Gives the first 16 octets of each key's keystream.
    pub fn first_octets(&mut self, keys: &[Key], mut each: impl FnMut(usize, Key)) {
        let mut done = 0;
        for (slots, lanes) in Sets::of(keys.len()) {
            let set = &keys[done..done + lanes];
            self.schedule(slots, set.iter());
            self.slots.generate(self.avx, slots, KEY_LEN, &mut self.keystream);
            for (slot, lanes) in set.chunks(LANES).enumerate() {
                let Some(rows) = self.keystream.rows(slot).first_chunk() else { continue };
                let octets = self.transpose.rows_to_octets(rows);
                for (lane, octets) in octets.into_iter().take(lanes.len()).enumerate() {
                    each(done + LANES * slot + lane, octets);
                }
            }
            done += lanes;
        }
        self.streams.first_octets(&keys[done..], |index, octets| each(done + index, octets));
    }

    /// Applies keystream to packets, the longest first.
    pub fn apply(&mut self, packets: &[Packet], payloads: &mut (impl Payloads + ?Sized)) {
        let mut done = 0;
        for (slots, lanes) in Sets::of(packets.len()) {
            let set = &packets[done..done + lanes];
            self.schedule(slots, set.iter().map(|packet| &packet.key));
            self.run(set, payloads);
            done += lanes;
        }
        self.streams.apply(&packets[done..], payloads);
    }

    fn schedule<'a>(&mut self, slots: usize, mut keys: impl Iterator<Item = &'a Key>) {
        for slot in 0..slots {
            let mut lanes = [[0; KEY_LEN]; LANES];
            for (lane, key) in lanes.iter_mut().zip(&mut keys) {
                *lane = *key;
            }
            let rows = self.transpose.keys_to_rows(&lanes);
            for (into, row) in self.key_rows.rows_mut().iter_mut().zip(rows) {
                into[slot] = row;
            }
        }
        self.slots.schedule(self.avx, slots, &self.key_rows);
    }

    /// Runs scheduled slots until the last packet of the set ends. Slots end one by one, since
    /// the longest packets are in the first ones.
    fn run(&mut self, set: &[Packet], payloads: &mut (impl Payloads + ?Sized)) {
        let mut at = 0;
        loop {
            let live = set.iter().take_while(|packet| packet.length > at).count();
            let Some(last_slot) = live.checked_sub(1).map(|last| last / LANES) else { return };
            // The last slot lives as long as its first packet, the longest one in it.
            let left = set[last_slot * LANES].length - at;
            if last_slot == 0 && live <= STREAMS && left >= WORTH_LEAVING {
                let lanes = (0..live).map(|lane| self.slots.lane_of_first_slot(lane));
                self.streams.take_over(self.slots.i(), lanes);
                self.streams.run(&set[..live], at, payloads);
                return;
            }
            let wanted = if last_slot == 0 && left >= WORTH_LEAVING {
                // As far as the lanes that may stay behind.
                (set[STREAMS].length - at).min(MAX_STEPS)
            } else {
                left.min(MAX_STEPS)
            };
            let steps = self.slots.generate(self.avx, last_slot + 1, wanted, &mut self.keystream);
            for (slot, packets) in set[..live].chunks(LANES).enumerate() {
                let rows = self.keystream.rows(slot);
                self.transpose.rows_to_lanes(rows, steps, &mut self.octets);
                for (packet, octets) in packets.iter().zip(&self.octets) {
                    let payload = payloads.payload(packet.index);
                    if let Some(payload) = payload.get_mut(at..packet.length.min(at + steps)) {
                        self.transpose.xor(payload, octets);
                    }
                }
            }
            at += steps;
        }
    }
}

/// How many slots and packets each set of a burst has. What is left over is for scalar streams.
struct Sets {
    slots: usize,
    packets: usize,
}

impl Sets {
    const fn of(packets: usize) -> Self {
        let (full, rest) = (packets / LANES, packets % LANES);
        let least = if full == 0 { LEAST_IN_FIRST_SLOT } else { LEAST_IN_FURTHER_SLOT };
        if rest >= least {
            Self { slots: full + 1, packets }
        } else {
            Self { slots: full, packets: packets - rest }
        }
    }
}

impl Iterator for Sets {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<(usize, usize)> {
        let slots = match self.slots {
            0 => return None,
            // A lone slot is slow: 5 are better run as 3 and 2.
            5 => 3,
            slots => slots.min(SLOTS),
        };
        let packets = self.packets.min(slots * LANES);
        self.slots -= slots;
        self.packets -= packets;
        Some((slots, packets))
    }
}
