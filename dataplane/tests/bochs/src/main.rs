//! The MPPE kernel for AVX-512 without a system: proof for CPUs that tests seldom have.
//!
//! Runs as the firmware of an emulated machine and compares it with RustCrypto's RC4: published
//! vectors, first octets, and random batches between canaries. Says on port 0xE9 what came of it; `../avx512.rs` reads that.

#![no_std]
#![no_main]

mod machine;

use kernel::packet::{KEY_LEN, Key, Packet, Payloads};
use kernel::sets::Lanes;
use kernel::transpose::Avx512;
use machine::cpu_has;
use rc4::{KeyInit, Rc4, StreamCipher};

/// What `std` has for programs on a system.
macro_rules! is_x86_feature_detected {
    ($name:literal) => {
        crate::cpu_has($name)
    };
}

/// The product's own modules, of which not all is used here.
#[allow(dead_code, unused_imports)]
#[path = "../../../src/mppe/kernel"]
mod kernel {
    pub mod lanes;
    pub mod packet;
    pub mod portable;
    pub mod sets;
    pub mod transpose;
}

/// Batches of each kind.
const BATCHES: usize = 8;
/// Most packets of a batch.
const MOST: usize = 256;
/// Octets for the payloads of a batch and their canaries.
const ROOM: usize = 1 << 20;
/// Octets between payloads, which nobody may touch.
const CANARY: usize = 64;

#[unsafe(no_mangle)]
extern "C" fn main() -> ! {
    println!("firmware: started");
    let Some(mut lanes) = Lanes::detect() else { panic!("no AVX-512 with VBMI here") };
    published_vectors(&mut lanes);
    first_octets(&mut lanes);
    short_payloads(&mut lanes);
    random_batches(&mut lanes);
    println!("firmware: passed");
    machine::stop()
}

/// Payloads in one piece of memory, with canaries before, between and behind them.
struct Memory {
    octets: [u8; ROOM],
    /// How many of them are canaries and payloads.
    used: usize,
    /// Where each payload begins and ends.
    places: [(usize, usize); MOST],
}

impl Memory {
    /// Payloads that announce their own octets; `lengths` fit, with their canaries.
    fn new(lengths: &[usize]) -> Self {
        let mut memory = Self { octets: [0; ROOM], used: CANARY, places: [(0, 0); MOST] };
        for (place, length) in memory.places.iter_mut().zip(lengths) {
            *place = (memory.used, memory.used + length);
            memory.used += length + CANARY;
        }
        memory.octets[..memory.used].fill(0xC5);
        for (from, to) in memory.places {
            memory.octets[from..to].fill(0x5A);
        }
        memory
    }

    fn used(&self) -> &[u8] {
        &self.octets[..self.used]
    }
}

impl Payloads for Memory {
    fn payload(&mut self, packet: usize) -> &mut [u8] {
        let (from, to) = self.places[packet];
        &mut self.octets[from..to]
    }
}

fn reference(key: &Key, data: &mut [u8]) {
    let Ok(mut rc4) = Rc4::new_from_slice(key) else { panic!("16 octets are a key") };
    rc4.apply_keystream(data);
}

/// RFC 6229 §2: the first 32 octets for a 128-bit key, in every lane.
fn published_vectors(lanes: &mut Lanes<Avx512>) {
    let key: Key = core::array::from_fn(|octet| octet as u8 + 1);
    let keystream = [
        0x9a, 0xc7, 0xcc, 0x9a, 0x60, 0x9d, 0x1e, 0xf7, 0xb2, 0x93, 0x28, 0x99, 0xcd, 0xe4, 0x1b,
        0x97, 0x52, 0x48, 0xc4, 0x95, 0x90, 0x14, 0x12, 0x6a, 0x6e, 0x8a, 0x84, 0xf1, 0x1d, 0x1a,
        0x9e, 0x1c,
    ];
    let mut payloads = [[0_u8; 32]; 39];
    let packets: [_; 39] = core::array::from_fn(|index| Packet { key, length: 32, index });
    lanes.apply(&packets, payloads.as_mut_slice());
    assert!(payloads.iter().all(|payload| *payload == keystream), "RFC 6229");
    println!("firmware: RFC 6229's keystream");
}

fn first_octets(lanes: &mut Lanes<Avx512>) {
    let mut random = Random(1);
    for count in 0..=140 {
        let mut keys = [[0; KEY_LEN]; 140];
        keys.fill_with(|| random.key());
        let mut firsts = [[0; KEY_LEN]; 140];
        lanes.first_octets(&keys[..count], |index, first| firsts[index] = first);
        for (key, first) in keys[..count].iter().zip(firsts) {
            let mut expected = [0; KEY_LEN];
            reference(key, &mut expected);
            assert!(first == expected, "{count} keys");
        }
    }
    println!("firmware: first octets of 0 to 140 keys");
}

/// A payload that is shorter than it was said to be is no reason to write beyond it.
fn short_payloads(lanes: &mut Lanes<Avx512>) {
    let mut memory = Memory::new(&[100; 40]);
    let packets: [_; 40] =
        core::array::from_fn(|index| Packet { key: [1; 16], length: 300, index });
    lanes.apply(&packets, &mut memory);
    for packet in 0..40 {
        memory.payload(packet).fill(0x5A);
    }
    assert!(memory.used() == Memory::new(&[100; 40]).used(), "a canary is dead");
    println!("firmware: payloads shorter than announced");
}

/// Lengths as they come: many of one packet's size, some of everything, all equal.
fn random_batches(lanes: &mut Lanes<Avx512>) {
    let mut random = Random(2);
    let (mut batches, mut sum) = (0, 0);
    for (most, longest, equal) in [(256, 1500, false), (60, 9000, false), (100, 9000, true)] {
        for _ in 0..BATCHES {
            let count = 1 + random.below(most);
            let mut lengths = [0; MOST];
            lengths[..count].fill_with(|| 1 + random.below(longest));
            if equal {
                let length = lengths[0];
                lengths[..count].fill(length);
            }
            let lengths = &mut lengths[..count];
            lengths.sort_unstable_by_key(|&length| core::cmp::Reverse(length));
            let mut packets = [Packet { key: [0; KEY_LEN], length: 0, index: 0 }; MOST];
            for (index, (packet, length)) in packets.iter_mut().zip(&*lengths).enumerate() {
                *packet = Packet { key: random.key(), length: *length, index };
            }
            let packets = &packets[..count];
            let (mut memory, mut expected) = (Memory::new(lengths), Memory::new(lengths));
            for packet in packets {
                reference(&packet.key, expected.payload(packet.index));
            }
            lanes.apply(packets, &mut memory);
            // Payloads and canaries.
            assert!(memory.used() == expected.used(), "lengths {lengths:?}");
            batches += 1;
            sum += count;
        }
        println!("firmware: {batches} batches, {sum} packets of 1 to {longest} octets");
    }
}

/// Numbers that are the same in every run.
struct Random(u64);

impl Random {
    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound
    }

    fn key(&mut self) -> Key {
        let mut key = [0; KEY_LEN];
        key[..8].copy_from_slice(&self.next().to_le_bytes());
        key[8..].copy_from_slice(&self.next().to_le_bytes());
        key
    }
}
