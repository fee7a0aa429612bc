//! The data plane's clock: microseconds since its start, the same for all workers.

use std::time::Instant as System;

use protocol::time::Instant;

/// The moment now, counted from `epoch`.
pub(crate) fn since(epoch: System) -> Instant {
    Instant::from_micros(u64::try_from(epoch.elapsed().as_micros()).unwrap_or(u64::MAX))
}
