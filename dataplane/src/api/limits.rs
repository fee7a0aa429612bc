//! How much a tunnel may carry: a rate for each way, with RouterOS's bursts.
//!
//! Implements no RFC section by itself; the meanings are those of RouterOS's `rate-limit`. All
//! rates are of inner IP packets, from the IP header on, as accounting counts them.

use std::num::NonZeroU64;
use std::time::Duration;

/// What a tunnel may carry, each way. `None`: as much as comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// From the subscriber (RouterOS's `rx`). What exceeds it is dropped after it was accepted and
    /// counted as received, so that keys and acknowledgements stay in step.
    pub uplink: Option<Limit>,
    /// To the subscriber (`tx`). What exceeds it waits in a short queue whose delay is watched
    /// (CoDel, RFC 8289): packets that know ECN are marked, others dropped.
    pub downlink: Option<Limit>,
}

/// A rate, and what may be done above it for a short while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Bits per second in the long run. What was left unused is saved up: for 250 ms uplink, which
    /// has no queue, and for 100 ms downlink, but never less than a few packets.
    pub rate: NonZeroU64,
    /// A higher rate that is allowed after rest.
    pub burst: Option<Burst>,
}

impl Limit {
    /// A rate in bits per second without bursts.
    #[must_use]
    pub const fn of(rate: NonZeroU64) -> Self {
        Self { rate, burst: None }
    }
}

/// RouterOS's burst: `rate` is in force instead of [`Limit::rate`] for as long as the average over
/// the last `time` lies below `threshold`. The average is looked at sixteen times in `time`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Burst {
    /// Bits per second while the burst is allowed.
    pub rate: NonZeroU64,
    /// Bits per second: with this average and above, no burst is allowed.
    pub threshold: NonZeroU64,
    /// What the average is taken over, not how long a burst lasts. Less than 16 ms counts as that.
    pub time: Duration,
}
