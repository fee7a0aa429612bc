//! The one place where machines' time comes from.
//!
//! Machines take instants as numbers; here they are counted from the start of the daemon.

use std::time;

use protocol::time::Instant;

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

    /// Waits until a machine's deadline; for ever if there is none.
    pub async fn wait(&self, deadline: Option<Instant>) {
        match deadline {
            Some(deadline) => {
                let at = self.0 + deadline.since(Instant::ORIGIN);
                tokio::time::sleep_until(at.into()).await;
            }
            None => std::future::pending().await,
        }
    }
}
