//! Waiting for a condition, with a deadline and a reason.
//! Used by every part of a lab instead of sleeping.
//! Never waits longer than it was told, and never returns before the condition holds.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(10);

/// Calls `probe` until it gives a value; fails with `what` when `limit` has passed.
///
/// # Errors
/// When the deadline passes, or when `probe` fails itself.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = probe()? {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            bail!("waited {limit:?} in vain: {what}");
        }
        std::thread::sleep(INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_ends_the_wait_and_a_deadline_names_what_was_awaited() {
        let mut calls = 0;
        let value = until("the third call", Duration::from_secs(5), || {
            calls += 1;
            Ok((calls == 3).then_some(calls))
        });
        assert_eq!(value.unwrap(), 3);

        let late = until("a miracle", Duration::from_millis(20), || Ok(None::<()>));
        assert!(late.unwrap_err().to_string().contains("a miracle"));
    }
}
