//! The one place where machines' time comes from.
//!
//! Machines take instants as numbers; here they are counted from the start of the daemon.

use std::time::{self, Duration};

use protocol::time::Instant;

/// Waits that are at least so long end at a multiple of [`SHARED`].
const FAR: Duration = Duration::from_secs(10);
const SHARED: Duration = Duration::from_millis(250);

/// When a wait ends that begins now.
fn shared(deadline: Instant, now: Instant) -> Instant {
    if deadline.since(now) < FAR {
        return deadline;
    }
    let interval = u64::try_from(SHARED.as_micros()).unwrap_or(u64::MAX);
    Instant::from_micros(deadline.as_micros().div_ceil(interval).saturating_mul(interval))
}

/// Counts microseconds from when it was made. Copies count from the same moment.
#[derive(Debug, Clone, Copy)]
pub struct Clock(time::Instant);

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self(time::Instant::now())
    }

    /// The time for machines.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::from_micros(u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// Waits until a machine's deadline; for ever if there is none. One that is far away is waited
    /// for until the next of the moments that all such waits share, a quarter of a second apart: tens
    /// of thousands of sessions then wake the processor a few times a second.
    pub async fn wait(&self, deadline: Option<Instant>) {
        match deadline {
            Some(deadline) => {
                let at = self.0 + shared(deadline, self.now()).since(Instant::ORIGIN);
                tokio::time::sleep_until(at.into()).await;
            }
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_deadlines_share_their_moments_and_near_ones_are_exact() {
        let millis = |millis: u64| Instant::from_micros(millis * 1000);
        let now = millis(5_003);
        for near in [0, 5_003, 5_004, 15_002] {
            assert_eq!(shared(millis(near), now), millis(near));
        }
        for (far, at) in [(15_003, 15_250), (35_001, 35_250), (35_250, 35_250), (35_251, 35_500)] {
            assert_eq!(shared(millis(far), now), millis(at));
        }
        let last = Instant::from_micros(u64::MAX);
        assert_eq!(shared(last, now), last);
    }
}
