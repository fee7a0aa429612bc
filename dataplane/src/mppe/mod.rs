//! MPPE (RFC 3078): stateless over bursts of packets of any tunnels, stateful beside it.
//!
//! | module | what |
//! |---|---|
//! | [`engine`] | walks key chains and applies keystream: all the arithmetic |
//! | [`receive`] | a burst to decrypt: which key each packet needs, verdicts, commit |
//! | [`send`] | a burst to encrypt: counts, commit |
//! | [`state`] | what a tunnel keeps for each direction |
//! | [`stateful`] | the other mode, one packet at a time |
//! | [`cipher`] | the engine, or a stand-in for benches |
//! | `chain` | the keys of a burst |
//! | `groups` | the tunnels of a burst |
//! | `kernel` | SHA-1 and RC4 over many keys and packets at once |
//!
//! A burst passes through separate calls, and a direction's state moves in the last one only:
//!
//! 1. `push` each packet, `plan`: which keys are needed, found from counts and sequence numbers;
//! 2. [`Engine::derive_keys`]: walks the key chains of all tunnels side by side;
//! 3. [`Engine::apply`]: encrypts or decrypts the payloads in place. Once the keys are there the
//!    payloads are independent of each other and of the tunnels' states;
//! 4. receiving only: the caller looks at each plaintext and calls [`ReceiveBurst::accept`] for
//!    the good ones. MPPE has no integrity check, so nothing else tells a spoofed packet;
//! 5. `commit`: states move. A burst that is never committed has no effect.

mod chain;
pub mod cipher;
pub mod engine;
mod groups;
mod kernel;
pub mod receive;
pub mod send;
pub mod state;
pub mod stateful;

#[cfg(test)]
mod tests;

pub use cipher::Cipher;
pub use engine::Engine;
pub use kernel::packet::Payloads;
pub use kernel::{Choice, Kernel, Unavailable};
pub use receive::{ReceiveBurst, Refused};
pub use send::SendBurst;
pub use state::{ReceiveState, SendState};

/// Where the states of one direction are: the caller owns its tunnels.
pub trait States<S> {
    /// The state of the tunnel in `slot`, `None` if there is none (any more).
    fn state(&mut self, slot: u32) -> Option<&mut S>;
}

impl<S> States<S> for [S] {
    fn state(&mut self, slot: u32) -> Option<&mut S> {
        usize::try_from(slot).ok().and_then(|slot| self.get_mut(slot))
    }
}
