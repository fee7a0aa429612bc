//! What a router does to inner packets beyond moving them.
//!
//! | module | what |
//! |---|---|
//! | [`ecn`] | marks of congestion, in and out of the tunnel (RFC 6040) |
//! | [`fragment`] | packets cut to the tunnel's MTU (RFC 791) |
//! | [`icmp`] | errors about packets that cannot go on (RFC 1812 §4.3) |
//! | [`icmpv6`] | the same for IPv6 (RFC 4443) |
//! | [`mss`] | TCP segments that fit the tunnel (RFC 6691) |
//!
//! All take packets whose header a view has verified ([`crate::ipv4`], [`crate::ipv6`]), do work that is bounded by the
//! packet's length, and leave its checksums right.

pub(crate) mod ecn;
pub(crate) mod fragment;
pub(crate) mod icmp;
pub(crate) mod icmpv6;
pub(crate) mod mss;
