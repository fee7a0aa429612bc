//! Wire formats and sans-IO state machines of PPTP, PPP and RADIUS.
//!
//! Nothing here does I/O, reads a clock or draws a random number: bytes, time and randomness are
//! arguments, so both ends of every protocol can be run against each other in memory.
//!
//! | module | what |
//! |---|---|
//! | [`gre`] | the data channel's headers, windows and acknowledgments |
//! | [`ipv6`] | prefixes |
//! | [`machine`] | the contract that every state machine keeps |
//! | [`mppe`] | MPPE keys and the reference cipher |
//! | [`mschap`] | MS-CHAP's hashes and responses |
//! | [`ppp`] | framing, LCP, authentication, CCP, IPCP, and the link that runs them |
//! | [`pptp`] | the control connection: messages, stream, machine, Call IDs |
//! | [`radius`] | RADIUS: packets, attributes, proofs, hidden values, and the client that asks |
//! | [`router`] | what a router says to its host: advertisements, DHCPv6, DHCPINFORM |
//! | [`time`] | instants as numbers, so that a test can own the clock |

#![forbid(unsafe_code)]

pub mod gre;
pub mod ipv6;
pub mod machine;
pub mod mppe;
pub mod mschap;
pub mod ppp;
pub mod pptp;
pub mod radius;
pub mod router;
pub mod time;
