//! Multilink on one link: packets larger than the peer's MRU travel in fragments.
//!
//! Implements RFC 1990 for a bundle that has a single link: header, options, reassembly. Joins no
//! second link to a bundle, and orders nothing but the fragments of a packet.
//!
//! | module | what |
//! |---|---|
//! | [`header`] | the header of a fragment, long and short |
//! | `offer` | LCP's options |
//! | [`reassembly`] | which fragments are a packet |

pub mod header;
pub(crate) mod offer;
pub mod reassembly;

pub use header::{Format, Header};
pub use reassembly::{Reassembler, Refused, Released};

/// The smallest MRRU that is offered or accepted, octets: RouterOS's own.
pub const MIN_MRRU: u16 = 512;
/// What is asked for in place of an MRRU that is none, octets (RFC 1990 §5.1.1).
pub const DEFAULT_MRRU: u16 = 1500;

/// What LCP agreed on, for each direction by itself (RFC 1990 §5.1.1: whoever offers an MRRU that
/// is acknowledged may be sent fragments).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Multilink {
    /// Of what the peer sends.
    pub receive: Option<Receiving>,
    /// Of what we send.
    pub send: Option<Sending>,
}

/// Fragments that the peer may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Receiving {
    /// Largest information field of a reassembled packet, octets.
    pub mrru: u16,
    /// Their header.
    pub format: Format,
}

/// Fragments that we may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sending {
    /// Largest information field of one frame, octets: a packet with a longer one is fragmented.
    pub largest: u16,
    /// Their header.
    pub format: Format,
}
