//! The arithmetic of MPPE over bursts: key chains and keystream.
//!
//! Implements RFC 3078 §6 and §7.3. Knows no tunnels and moves no state.

use protocol::mppe::Strength;

use super::chain::{Chain, Chains};
use super::kernel::Rc4;
use super::kernel::packet::{Key, Packet};
use super::kernel::sha::{Change, Sha};
use super::{Choice, Kernel, Payloads, ReceiveBurst, SendBurst};

/// A burst whose keys can be derived: [`ReceiveBurst`] and [`SendBurst`].
pub trait Burst: sealed::Burst {}

impl Burst for ReceiveBurst {}
impl Burst for SendBurst {}

pub(super) mod sealed {
    use super::Chains;

    pub trait Burst {
        fn keys(&self) -> &Chains;
        fn keys_mut(&mut self) -> &mut Chains;
    }

    impl Burst for super::ReceiveBurst {
        fn keys(&self) -> &Chains {
            &self.keys
        }
        fn keys_mut(&mut self) -> &mut Chains {
            &mut self.keys
        }
    }

    impl Burst for super::SendBurst {
        fn keys(&self) -> &Chains {
            &self.keys
        }
        fn keys_mut(&mut self) -> &mut Chains {
            &mut self.keys
        }
    }
}

/// A worker's engine: a kernel and scratch that is used again for every burst.
#[derive(Debug)]
pub struct Engine {
    rc4: Rc4,
    sha: Sha,
    /// Chains to walk, the longest first.
    walking: Vec<Walking>,
    interim: Vec<Key>,
    packets: Vec<Packet>,
}

/// A chain on its way.
#[derive(Debug, Clone, Copy)]
struct Walking {
    strength: Strength,
    start: Key,
    key: Key,
    /// Which burst its keys are for, and where they go.
    burst: usize,
    first: usize,
    steps: usize,
}

impl Default for Engine {
    fn default() -> Self {
        Self::new()
    }
}

impl Engine {
    /// An engine with the fastest kernel that this CPU can run.
    #[must_use]
    pub fn new() -> Self {
        let fastest = Rc4::new(Choice::fastest().kernel);
        Self::of(fastest.unwrap_or_else(Rc4::portable))
    }

    /// An engine with this kernel. `None` if the CPU cannot run it.
    #[must_use]
    pub fn with_kernel(kernel: Kernel) -> Option<Self> {
        Rc4::new(kernel).map(Self::of)
    }

    fn of(rc4: Rc4) -> Self {
        let sha = match rc4.kernel() {
            Kernel::Avx512 | Kernel::Avx2 => Sha::fastest(),
            Kernel::Portable => Sha::Portable,
        };
        let (walking, interim, packets) = Default::default();
        Self { rc4, sha, walking, interim, packets }
    }

    /// The kernel in use.
    #[must_use]
    pub const fn kernel(&self) -> Kernel {
        self.rc4.kernel()
    }

    /// Walks the key chains of a planned burst.
    pub fn derive_keys(&mut self, burst: &mut impl Burst) {
        self.walk(&mut [burst.keys_mut()]);
    }

    /// Walks the key chains of two planned bursts side by side. A tunnel's two directions are
    /// independent of each other, so this takes little longer than the longer one of them.
    pub fn derive_keys_of_both(&mut self, receive: &mut ReceiveBurst, send: &mut SendBurst) {
        self.walk(&mut [&mut receive.keys, &mut send.keys]);
    }

    /// Encrypts or decrypts in place the payload of every packet that has a key.
    pub fn apply(&mut self, burst: &impl Burst, payloads: &mut (impl Payloads + ?Sized)) {
        let Chains { keys, packets, .. } = burst.keys();
        self.packets.extend(packets.iter().map(|keyed| Packet {
            key: rc4_key(keyed.strength, &keys[keyed.key]),
            length: keyed.length,
            index: keyed.packet,
        }));
        if !self.packets.is_sorted_by(|one, next| one.length >= next.length) {
            self.packets.sort_unstable_by_key(|packet| std::cmp::Reverse(packet.length));
        }
        self.rc4.apply(&self.packets, payloads);
        self.packets.iter_mut().for_each(|packet| packet.key = [0; 16]);
        self.packets.clear();
    }

    /// One key change of every chain at a time, until all have come to their end.
    fn walk(&mut self, bursts: &mut [&mut Chains]) {
        for (burst, chains) in bursts.iter().enumerate() {
            self.walking.extend(chains.chains.iter().map(|chain| {
                let Chain { strength, start, from, first, steps } = *chain;
                Walking { strength, start, key: from, burst, first, steps }
            }));
        }
        if !self.walking.is_sorted_by(|one, next| one.steps >= next.steps) {
            self.walking.sort_unstable_by_key(|chain| std::cmp::Reverse(chain.steps));
        }
        let mut left = self.walking.len();
        for step in 0.. {
            while left > 0 && self.walking[left - 1].steps == step {
                left -= 1;
            }
            if left == 0 {
                break;
            }
            self.change_keys(left, step, bursts);
        }
        for chain in &mut self.walking {
            (chain.start, chain.key) = ([0; 16], [0; 16]);
        }
        self.walking.clear();
        self.interim.fill([0; 16]);
    }

    /// RFC 3078 §7.3: SHA, then RC4 of the interim key with itself.
    fn change_keys(&mut self, chains: usize, step: usize, bursts: &mut [&mut Chains]) {
        let Self { rc4, sha, walking, interim, .. } = self;
        let walking = &mut walking[..chains];
        let changes = walking.iter().map(|chain| Change {
            strength: chain.strength,
            start: &chain.start,
            key: &chain.key,
        });
        interim.clear();
        sha.interim_keys(changes, |index, key| {
            interim.push(rc4_key(walking[index].strength, &key));
        });
        rc4.first_octets(interim, |index, keystream| {
            let chain = &mut walking[index];
            let interim = u128::from_le_bytes(interim[index]);
            let mut key = (interim ^ u128::from_le_bytes(keystream)).to_le_bytes();
            if chain.strength != Strength::Bits128 {
                key[chain.strength.key_len()..].fill(0);
                let prefix = chain.strength.prefix();
                key[..prefix.len()].copy_from_slice(prefix);
            }
            chain.key = key;
            bursts[chain.burst].keys[chain.first + step] = key;
        });
    }
}

/// A key as RC4 takes it here: 16 octets, a shorter one twice.
fn rc4_key(strength: Strength, key: &Key) -> Key {
    let mut doubled = *key;
    if strength.key_len() == 8 {
        doubled.copy_within(..8, 8);
    }
    doubled
}
