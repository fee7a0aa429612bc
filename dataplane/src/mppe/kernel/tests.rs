//! Every kernel that this CPU can run against the reference and against published vectors.

use proptest::prelude::*;
use protocol::mppe::{SessionKey, StartKey, Strength};

use super::sha::{Change, Sha};
use super::*;

/// Octets before and after each payload, which nobody may touch.
const CANARY: [u8; 64] = [0xC5; 64];

/// Payloads between canaries.
struct Guarded(Vec<Vec<u8>>);

impl Guarded {
    fn new(payloads: &[Vec<u8>]) -> Self {
        Self(
            payloads
                .iter()
                .map(|payload| [&CANARY, payload.as_slice(), &CANARY].concat())
                .collect(),
        )
    }

    /// The payloads, if all canaries are whole.
    fn unpack(self) -> Vec<Vec<u8>> {
        self.0
            .into_iter()
            .map(|guarded| {
                let payload =
                    guarded.strip_prefix(&CANARY).and_then(|rest| rest.strip_suffix(&CANARY));
                payload.map(<[u8]>::to_vec).unwrap_or_default()
            })
            .collect()
    }
}

impl Payloads for Guarded {
    fn payload(&mut self, packet: usize) -> &mut [u8] {
        let end = self.0[packet].len() - CANARY.len();
        &mut self.0[packet][CANARY.len()..end]
    }
}

fn kernels() -> Vec<Rc4> {
    Kernel::available().filter_map(Rc4::new).collect()
}

fn reference(key: &Key, data: &mut [u8]) {
    let start = StartKey::new(&[0; 16], Strength::Bits128);
    SessionKey::resume(&start, key).apply_keystream(data);
}

fn octets(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// How much is tried: Miri is a thousand times slower.
const CASES: u32 = if cfg!(miri) { 3 } else { 150 };
const SHRINK: usize = if cfg!(miri) { 20 } else { 1 };
const LANES: usize = if cfg!(miri) { 3 } else { 39 };

/// RFC 6229 §2: places in the keystream of which it gives 32 octets.
const PLACES: [usize; 9] = [0, 240, 496, 752, 1008, 1520, 2032, 3056, 4080];

/// RFC 6229 §2: a 64-bit and a 128-bit key, and the keystream at these places.
const PUBLISHED: [(&str, [&str; 9]); 2] = [
    (
        "01020304050607080102030405060708",
        [
            "97ab8a1bf0afb96132f2f67258da15a88263efdb45c4a18684ef87e6b19e5b09",
            "9636ebc9841926f4f7d1f362bddf6e18d0a990ff2c05fef5b90373c9ff4b870a",
            "73239f1db7f41d80b643c0c52518ec63163b319923a6bdb4527c626126703c0f",
            "49d6c8af0f97144a87df21d91472f96644173a103b6616c5d5ad1cee40c863d0",
            "273c9c4b27f322e4e716ef53a47de7a4c6d0e7b226259fa9023490b26167ad1d",
            "1fe8986713f07c3d9ae1c163ff8cf9d38369e1a965610be887fbd0c79162aafb",
            "0a0127abb44484b9fbef5abcae1b579fc2cdadc6402e8ee866e1f37bdb47e42c",
            "26b51ea37df8e1d6f76fc3b66a7429b3bc7683205d4f443dc1f29dda3315c87b",
            "d5fa5a3469d29aaaf83d23589db8c85b3fb46e2c8f0f068edce8cdcd7dfc5862",
        ],
    ),
    (
        "0102030405060708090a0b0c0d0e0f10",
        [
            "9ac7cc9a609d1ef7b2932899cde41b975248c4959014126a6e8a84f11d1a9e1c",
            "065902e4b620f6cc36c8589f66432f2bd39d566bc6bce3010768151549f3873f",
            "b6d1e6c4a5e4771cad79538df295fb11c68c1d5c559a974123df1dbc52a43b89",
            "c5ecf88de897fd57fed301701b82a259eccbe13de1fcc91c11a0b26c0bc8fa4d",
            "e7a72574f8782ae26aabcf9ebcd66065bdf0324e6083dcc6d3cedd3ca8c53c16",
            "b40110c4190b5622a96116b0017ed297ffa0b514647ec04f6306b892ae661181",
            "d03d1bc03cd33d70dff9fa5d71963ebd8a44126411eaa78bd51e8d87a8879bf5",
            "fabeb76028ade2d0e48722e46c4615a3c05d88abd50357f935a63c59ee537623",
            "ff38265c1642c1abe8d3c2fe5e572bf8a36a4c301ae8ac13610ccbc12256cacc",
        ],
    ),
];

/// In every lane.
#[test]
fn keystreams_are_the_published_ones() {
    for mut rc4 in kernels() {
        for (key, keystream) in PUBLISHED {
            let key: Key = octets(key).try_into().unwrap();
            let packets: Vec<_> =
                (0..LANES).map(|index| Packet { key, length: 4112, index }).collect();
            let mut payloads = vec![vec![0; 4112]; LANES];
            rc4.apply(&packets, payloads.as_mut_slice());
            for (place, keystream) in PLACES.into_iter().zip(keystream) {
                let keystream = octets(keystream);
                for payload in &payloads {
                    assert_eq!(payload[place..place + 32], keystream, "{rc4:?} at {place}");
                }
            }
            let mut firsts = vec![[0; 16]; LANES];
            rc4.first_octets(&[key; LANES], |index, first| firsts[index] = first);
            let keystream = octets(keystream[0]);
            assert!(firsts.iter().all(|first| first == &keystream[..16]), "{rc4:?}");
        }
    }
}

/// Lengths as they come: many short ones, some of everything.
fn lengths() -> impl Strategy<Value = Vec<usize>> {
    let length = prop_oneof![0..80_usize, 0..1500 / SHRINK, 0..9001 / SHRINK];
    let equal = (length.clone(), 1..140 / SHRINK).prop_map(|(length, count)| vec![length; count]);
    prop_oneof![
        proptest::collection::vec(0..1500 / SHRINK, 1..257 / SHRINK),
        proptest::collection::vec(length, 1..60 / SHRINK + 1),
        equal
    ]
}

#[test]
fn every_kernel_makes_the_references_keystream() {
    proptest!(ProptestConfig::with_cases(CASES), |(mut lengths in lengths(), seed: [u8; 16])| {
        lengths.sort_by_key(|&length| std::cmp::Reverse(length));
        let key = |index: usize| {
            let mut key = seed;
            key[3] ^= index.to_le_bytes()[0];
            key
        };
        let packets: Vec<_> = lengths
            .iter()
            .enumerate()
            .map(|(index, &length)| Packet { key: key(index), length, index })
            .collect();
        let plaintexts: Vec<_> =
            lengths.iter().map(|&length| vec![seed[0]; length]).collect();
        let mut expected = plaintexts.clone();
        for (index, payload) in expected.iter_mut().enumerate() {
            reference(&key(index), payload);
        }
        for mut rc4 in kernels() {
            let mut payloads = Guarded::new(&plaintexts);
            rc4.apply(&packets, &mut payloads);
            prop_assert!(payloads.unpack() == expected, "{:?} with {:?}", rc4, lengths);
        }
    });
}

#[test]
fn every_kernel_makes_the_references_first_octets() {
    for mut rc4 in kernels() {
        for count in 0..=140 / SHRINK {
            let keys: Vec<Key> =
                (0..count).map(|n| [((n * 37) ^ count).to_le_bytes()[0]; 16]).collect();
            let mut firsts = vec![None; keys.len()];
            rc4.first_octets(&keys, |index, first| firsts[index] = Some(first));
            for (key, first) in keys.iter().zip(firsts) {
                let mut expected = [0; 16];
                reference(key, &mut expected);
                assert_eq!(first, Some(expected), "{rc4:?}, {count} keys");
            }
        }
    }
}

/// A payload that is shorter than it was said to be is no reason to write beyond it.
#[test]
fn a_payload_shorter_than_announced_is_not_overrun() {
    for mut rc4 in kernels() {
        let packets: Vec<_> =
            (0..20).map(|index| Packet { key: [1; 16], length: 300, index }).collect();
        let mut payloads = Guarded::new(&vec![vec![0; 100]; 20]);
        rc4.apply(&packets, &mut payloads);
        assert!(payloads.unpack().iter().all(|payload| payload.len() == 100));
    }
}

/// RFC 3078 §7.3: with SHA-NI and without, the same interim keys.
#[test]
fn interim_keys_do_not_depend_on_the_way_they_are_computed() {
    proptest!(ProptestConfig::with_cases(CASES), |(
        inputs in proptest::collection::vec((any::<[u8; 32]>(), 0..3_u8), 0..20)
    )| {
        let split = |input: &[u8; 32], strength: Strength| {
            let (start, key) = input.split_at(16);
            let mut split = [start, key].map(|half| Key::try_from(half).unwrap());
            split.iter_mut().for_each(|half| half[strength.key_len()..].fill(0));
            split
        };
        let inputs: Vec<_> = inputs
            .iter()
            .map(|(input, strength)| {
                let strength = match strength {
                    0 => Strength::Bits40,
                    1 => Strength::Bits56,
                    _ => Strength::Bits128,
                };
                (split(input, strength), strength)
            })
            .collect();
        let run = |sha: Sha| {
            let mut keys = vec![None; inputs.len()];
            let changes = inputs
                .iter()
                .map(|([start, key], strength)| Change { strength: *strength, start, key });
            sha.interim_keys(changes, |index, mut key| {
                key[inputs[index].1.key_len()..].fill(0);
                keys[index] = Some(key);
            });
            keys
        };
        prop_assert_eq!(run(Sha::fastest()), run(Sha::Portable));
    });
}

#[test]
fn the_kernel_that_was_fastest_is_chosen_unless_one_is_asked_for() {
    let choice = Choice::of(None).unwrap();
    let kernels: Vec<_> = choice.measured.iter().map(|(kernel, _)| *kernel).collect();
    assert_eq!(kernels, Kernel::available().collect::<Vec<_>>());
    let quickest = choice.measured.iter().min_by_key(|(_, cost)| *cost).unwrap();
    assert_eq!(choice.kernel, quickest.0);
    assert!(choice.to_string().ends_with("ns for a packet)"), "{choice}");
    let forced = Choice::of(Some(Kernel::Portable)).unwrap();
    assert_eq!(forced.to_string(), "portable");
}

/// AVX-512 is the one that not every CPU has; where there is it, nothing is refused.
#[test]
fn a_kernel_that_the_cpu_lacks_is_refused_by_name() {
    for kernel in [Kernel::Avx512, Kernel::Avx2, Kernel::Portable] {
        let choice = Choice::of(Some(kernel));
        if Kernel::available().any(|available| available == kernel) {
            assert_eq!(choice.unwrap().kernel, kernel);
        } else {
            let refusal = choice.unwrap_err().to_string();
            assert!(refusal.contains(&kernel.to_string()) && refusal.ends_with("portable"));
        }
    }
}
