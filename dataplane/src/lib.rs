//! Pinned workers that carry PPTP tunnels: frame I/O, MPPE, forwarding.
//!
//! | module | what |
//! |---|---|
//! | [`api`] | all that the control plane sees: commands in, events out, counters |
//! | `assembly` | puts a data plane together |
//! | `worker` | the loop of one worker, and the ways out of it |
//! | `uplink`, `downlink` | the stages that a burst passes, from and to the subscribers |
//! | `bridge` | Ethernet frames of bridged tunnels |
//! | `multilink` | packets in fragments, either way |
//! | `forward` | where an inner packet goes |
//! | `inner` | what a router does to inner packets beyond moving them |
//! | `filter` | which packets of a subscriber pass |
//! | `shape` | how much a tunnel may carry, and what waits for its turn |
//! | `limit` | how often a packet may make us do more |
//! | `table` | what a worker knows of tunnels |
//! | `steer` | what the XDP program is told |
//! | `mailbox`, `counters` | what crosses between threads |
//! | `balance` | who should have which tunnel |
//! | `prefetch` | hints to the processor |
//! | `stage` | what each stage costs, where a bench asks |
//! | [`frame`] | packet memory: regions, frames, pools |
//! | [`io`] | drivers that bring frames in and out |
//! | [`mppe`] | encryption of bursts |
//! | [`route`] | the kernel's routes and neighbours, for readers that never wait |

pub mod api;
mod assembly;
mod balance;
mod bridge;
mod clock;
mod counters;
mod downlink;
mod filter;
mod forward;
pub mod frame;
mod inner;
pub mod io;
mod ipv4;
mod ipv6;
mod limit;
mod link;
mod mailbox;
pub mod mppe;
mod multilink;
mod prefetch;
pub mod route;
mod shape;
mod stage;
mod steer;
mod table;
mod uplink;
mod worker;

pub use assembly::{Attachment, DataPlane, Kind, Line, ManualWorker, policy_rules};
pub use stage::Stage;
