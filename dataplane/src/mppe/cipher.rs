//! What bursts pass through: the engine, or a stand-in that costs nothing.
//!
//! The stand-in lets a bench measure the road without the arithmetic. It encrypts nothing, so no
//! configuration can choose it: only the caller of [`ManualWorker`](crate::ManualWorker) can.

use super::engine::Burst;
use super::{Engine, Payloads};

/// A worker's cipher.
#[derive(Debug)]
pub enum Cipher {
    /// Stateless MPPE.
    Mppe(Engine),
    /// A keystream of zeros. Keys still change with every packet, so that states are read and
    /// written as they are with encryption.
    Null,
}

impl Cipher {
    /// As [`Engine::derive_keys`].
    pub fn derive_keys(&mut self, burst: &mut impl Burst) {
        match self {
            Self::Mppe(engine) => engine.derive_keys(burst),
            Self::Null => {
                let chains = burst.keys_mut();
                for chain in &chains.chains {
                    let mut key = u128::from_le_bytes(chain.from);
                    let step = u128::from_le_bytes(chain.start);
                    for into in &mut chains.keys[chain.first..chain.first + chain.steps] {
                        key = key.wrapping_add(step);
                        *into = key.to_le_bytes();
                    }
                }
            }
        }
    }

    /// As [`Engine::apply`].
    pub fn apply(&mut self, burst: &impl Burst, payloads: &mut (impl Payloads + ?Sized)) {
        match self {
            Self::Mppe(engine) => engine.apply(burst, payloads),
            Self::Null => {}
        }
    }
}
