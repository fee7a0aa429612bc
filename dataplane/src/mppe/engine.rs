//! The arithmetic of MPPE over bursts: key chains and keystream.
//!
//! Implements RFC 3078 §6 and §7.3 on the reference cipher. Knows no tunnels and moves no state.

use protocol::mppe::{SessionKey, StartKey};

use super::chain::{Chain, Chains, Key};
use super::{Payloads, ReceiveBurst, SendBurst};

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

/// A worker's engine.
#[derive(Debug, Default)]
pub struct Engine {}

impl Engine {
    /// An engine.
    #[must_use]
    pub const fn new() -> Self {
        Self {}
    }

    /// Walks the key chains of a planned burst.
    pub fn derive_keys(&mut self, burst: &mut impl Burst) {
        let Chains { chains, keys, .. } = burst.keys_mut();
        for chain in chains.iter() {
            walk(chain, &mut keys[chain.first..chain.first + chain.steps]);
        }
    }

    /// Encrypts or decrypts in place the payload of every packet that has a key.
    pub fn apply(&mut self, burst: &impl Burst, payloads: &mut (impl Payloads + ?Sized)) {
        let Chains { keys, packets, .. } = burst.keys();
        for keyed in packets {
            let payload = payloads.payload(keyed.packet);
            let length = payload.len().min(keyed.length);
            let start = StartKey::new(&[0; 16], keyed.strength);
            SessionKey::resume(&start, &keys[keyed.key]).apply_keystream(&mut payload[..length]);
        }
    }
}

fn walk(chain: &Chain, keys: &mut [Key]) {
    let start = StartKey::new(&chain.start, chain.strength);
    let mut key = SessionKey::resume(&start, &chain.from);
    for into in keys {
        key = key.next_key();
        let octets = key.as_bytes();
        into[..octets.len()].copy_from_slice(octets);
    }
}
