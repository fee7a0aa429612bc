//! How much a tunnel may carry, and what waits for its turn.
//!
//! | module | what |
//! |---|---|
//! | `meter` | the rate of one direction, with bursts |
//! | `queue` | what waits for its turn |
//! | `codel` | which of it tells the senders that the queue stands |

mod codel;
mod meter;
mod queue;
#[cfg(test)]
mod tests;

pub(crate) use meter::{Depth, Meter};
pub(crate) use queue::{Offer, Queue, Release, Store, Waiting};
