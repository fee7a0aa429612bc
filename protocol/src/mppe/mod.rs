//! Microsoft Point-to-Point Encryption: keys (RFC 3079) and the cipher's reference form
//! (RFC 3078), stateless mode.
//!
//! | module | what |
//! |---|---|
//! | [`keys`] | master key, start keys, the chain of session keys |
//! | [`header`] | the two octets in front of the encrypted data |
//! | [`stateless`] | one packet at a time, packets in order: what faster engines are tested against |

pub mod header;
pub mod keys;
pub mod stateless;

pub use header::{CoherencyCount, Header};
pub use keys::{MasterKey, Sender, SessionKey, StartKey, Strength};
pub use stateless::{Refused, Stateless};
