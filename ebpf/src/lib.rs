//! XDP steering program, its maps and its loader.
//!
//! Keeps PPTP's GRE (RFC 2637 §4.1) and packets to subscribers out of the kernel's network stack:
//! they go to the AF_XDP socket of the queue that they came in by. Never changes a packet, never
//! takes what it does not fully understand away from the kernel.
//!
//! | where | what |
//! |---|---|
//! | `bpf/` | the program in C (`steering.c`), its constants, layouts and maps, and its committed object; `make -C ebpf` rebuilds it |
//! | [`Steering`] | loads the program, attaches it to ports, fills the maps |
//! | [`Reason`], [`Counters`] | why packets got their verdicts, and how many |
//! | [`Error`] | what can go wrong, in words for an operator |

mod call_ids;
mod error;
mod interface;
mod layout;
mod maps;
mod reason;
mod steering;

pub use error::Error;
pub use layout::{PrefixAction, Roles};
pub use reason::{Counters, Reason, Verdict};
pub use steering::{Attachment, Capacity, Mode, Steering};
