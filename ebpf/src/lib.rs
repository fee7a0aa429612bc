//! Programs that the kernel runs for us, their maps and their loaders.
//!
//! Keeps PPTP's GRE (RFC 2637 §4.1) and packets to subscribers out of the kernel's network stack:
//! they go to the AF_XDP socket of the queue that they came in by. Keeps locked addresses from
//! connecting. Never changes a packet, never takes what it does not fully understand away from the
//! kernel.
//!
//! | where | what |
//! |---|---|
//! | `bpf/` | the programs in C (`steering.c` for XDP, `doorkeeper.c` for listening sockets, `generator.c` for benches), constants, layouts and maps, and their committed objects; `make -C ebpf` rebuilds them |
//! | [`Steering`] | loads the XDP program, attaches it to ports, fills the maps |
//! | [`Doorkeeper`] | loads the filter of listening sockets, and tells it who is locked |
//! | [`Generator`] | makes packets inside the kernel, for benches |
//! | [`Reason`], [`Counters`] | why packets got their verdicts, and how many |
//! | [`Tags`] | the VLAN tags by which frames name a port |
//! | [`Error`] | what can go wrong, in words for an operator |

mod call_ids;
mod doorkeeper;
mod error;
mod generator;
mod interface;
mod layout;
mod maps;
mod reason;
mod steering;
mod tags;

pub use doorkeeper::Doorkeeper;
pub use error::Error;
pub use generator::{Generator, Toward};
pub use layout::{PrefixAction, Roles};
pub use reason::{Counters, Reason, Verdict};
pub use steering::{Attachment, Capacity, Mode, Steering};
pub use tags::{Tag, TagKind, Tags, TagsError};
