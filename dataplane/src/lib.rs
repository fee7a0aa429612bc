//! Pinned workers that carry PPTP tunnels: frame I/O, MPPE, forwarding.
//!
//! | module | what |
//! |---|---|
//! | [`api`] | all that the control plane sees: commands in, events out, counters |

pub mod api;
