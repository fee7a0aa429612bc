//! How much a tunnel may carry, and what waits for its turn.
//!
//! | module | what |
//! |---|---|
//! | `meter` | the rate of one direction, with bursts |

mod meter;

pub(crate) use meter::{Depth, Meter};
