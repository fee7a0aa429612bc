//! What a router does to inner packets beyond moving them.
//!
//! | module | what |
//! |---|---|
//! | [`mss`] | TCP segments that fit the tunnel (RFC 6691) |
//!
//! Every function takes packets whose header [`crate::ipv4::View`] has verified, does work that is
//! bounded by the packet's length, and leaves its checksums right.

pub(crate) mod mss;
