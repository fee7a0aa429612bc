//! Pinned workers that carry PPTP tunnels: frame I/O, MPPE, forwarding.
//!
//! | module | what |
//! |---|---|
//! | [`api`] | all that the control plane sees: commands in, events out, counters |
//! | [`frame`] | packet memory: regions, frames, pools |
//! | [`io`] | drivers that bring frames in and out |
//! | [`mppe`] | encryption of bursts |

pub mod api;
pub mod frame;
pub mod io;
pub mod mppe;
