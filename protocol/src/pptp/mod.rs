//! PPTP's control connection (RFC 2637 §1 to §3): its messages, the stream that carries them, the
//! machine that both ends run, and the Call IDs.
//! It opens no socket and owns no tunnel: what crosses GRE is in [`crate::gre`].
//!
//! | module | what |
//! |---|---|
//! | [`call_id`] | own Call IDs, unique for each peer address |
//! | [`connection`] | the control connection and its calls, server and client |
//! | [`message`] | the fifteen messages |
//! | [`stream`] | from a TCP stream to messages |

pub mod call_id;
pub mod connection;
pub mod message;
pub mod stream;

/// TCP port of the control connection (RFC 2637 §3.1.2).
pub const PORT: u16 = 1723;
/// The only version of the protocol: 1.0.
pub const VERSION: u16 = 0x0100;
