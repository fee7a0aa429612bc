//! How long and how much a session may: `session-timeout`, `idle-timeout`, and the octets that its
//! [`Terms`] allow (RFC 2865 §5.27, §5.28).
//!
//! The packet path counts anyway; its counters are read when a limit may have been reached, so a
//! packet costs nothing more. Ends nothing itself.

use std::time::Duration;

use dataplane::api::TunnelCounters;
use protocol::time::Instant;

use super::ending::Ending;
use crate::terms::Terms;

/// Octets a second that a subscriber is taken to reach, either way: a gigabit a second. A faster
/// one can have more than is allowed, as much as it is faster, for a second.
const FASTEST: u64 = 125_000_000;

/// Octets are looked at that often at least, and at most.
const LOOKS: (u64, u64) = (1, 60);

/// When to ask again, if ever. `up` is since when the session is up.
///
/// # Errors
/// If it has to end now, why.
pub fn judge(
    terms: &Terms,
    counters: &TunnelCounters,
    up: Instant,
    now: Instant,
) -> Result<Option<Instant>, Ending> {
    let mut next = [None; 3];
    let lasted = now - up;
    if let Some(timeout) = terms.session_timeout {
        if lasted >= timeout {
            return Err(Ending::SessionTimeout(timeout));
        }
        next[0] = Some(up + timeout);
    }
    if let Some(timeout) = terms.idle_timeout {
        // Data packets alone: what keeps the link alive is no use of it.
        let idle = counters.active.map_or(lasted, |active| active.min(lasted));
        if idle >= timeout {
            return Err(Ending::IdleTimeout(timeout));
        }
        next[1] = Some(now + (timeout - idle));
    }
    let received = terms.receive_limit.map(|limit| limit.saturating_sub(counters.rx_bytes));
    if received == Some(0) {
        return Err(Ending::ReceiveLimit(counters.rx_bytes));
    }
    let transmitted = terms.transmit_limit.map(|limit| limit.saturating_sub(counters.tx_bytes));
    if transmitted == Some(0) {
        return Err(Ending::TransmitLimit(counters.tx_bytes));
    }
    let used = counters.rx_bytes.saturating_add(counters.tx_bytes);
    let both = terms.total_limit.map(|limit| limit.saturating_sub(used));
    if both == Some(0) {
        return Err(Ending::TotalLimit(used));
    }
    if let Some(left) = [received, transmitted, both].into_iter().flatten().min() {
        let (shortest, longest) = LOOKS;
        next[2] = Some(now + Duration::from_secs((left / FASTEST).clamp(shortest, longest)));
    }
    Ok(next.into_iter().flatten().min())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aaa::profile;
    use crate::config::Config;

    fn terms(change: impl FnOnce(&mut Terms)) -> Terms {
        let mut terms = profile::templates(&Config::default()).remove("default").unwrap();
        change(&mut terms);
        terms
    }

    fn at(seconds: u64) -> Instant {
        Instant::ORIGIN + Duration::from_secs(seconds)
    }

    fn minute() -> Option<Duration> {
        Some(Duration::from_secs(60))
    }

    #[test]
    fn without_limits_nobody_asks_again() {
        let counters = TunnelCounters { rx_bytes: u64::MAX, ..TunnelCounters::default() };
        assert_eq!(judge(&terms(|_| ()), &counters, at(0), at(1 << 32)), Ok(None));
    }

    #[test]
    fn a_session_ends_at_its_timeout() {
        // RFC 2865 §5.27.
        let terms = terms(|terms| terms.session_timeout = minute());
        let counters = TunnelCounters::default();
        assert_eq!(judge(&terms, &counters, at(10), at(69)), Ok(Some(at(70))));
        let ending = Ending::SessionTimeout(Duration::from_secs(60));
        assert_eq!(judge(&terms, &counters, at(10), at(70)), Err(ending));
    }

    #[test]
    fn a_session_ends_when_no_data_passed_for_too_long() {
        // RFC 2865 §5.28.
        let terms = terms(|terms| terms.idle_timeout = minute());
        let quiet = TunnelCounters::default();
        assert_eq!(judge(&terms, &quiet, at(10), at(30)), Ok(Some(at(70))));
        assert!(judge(&terms, &quiet, at(10), at(70)).is_err());
        let active = Some(Duration::from_secs(5));
        let busy = TunnelCounters { active, ..TunnelCounters::default() };
        assert_eq!(judge(&terms, &busy, at(10), at(70)), Ok(Some(at(125))));
        // What passed before it was up is another session's.
        let long_ago = Some(Duration::from_secs(1000));
        let before = TunnelCounters { active: long_ago, ..TunnelCounters::default() };
        assert_eq!(judge(&terms, &before, at(10), at(30)), Ok(Some(at(70))));
    }

    #[test]
    fn octets_are_looked_at_more_often_the_fewer_are_left() {
        let terms = terms(|terms| {
            terms.receive_limit = Some(1_000_000_000);
            terms.transmit_limit = Some(1 << 40);
        });
        let used = |rx_bytes, tx_bytes| {
            let counters = TunnelCounters { rx_bytes, tx_bytes, ..TunnelCounters::default() };
            judge(&terms, &counters, at(0), at(100))
        };
        assert_eq!(used(0, 0), Ok(Some(at(108))));
        assert_eq!(used(999_999_999, 0), Ok(Some(at(101))));
        assert_eq!(used(1_000_000_000, 0), Err(Ending::ReceiveLimit(1_000_000_000)));
        assert_eq!(used(0, 1 << 40), Err(Ending::TransmitLimit(1 << 40)));
    }

    #[test]
    fn both_ways_together_have_a_limit_of_their_own() {
        let terms = terms(|terms| terms.total_limit = Some(1000));
        let used = |rx_bytes, tx_bytes| {
            let counters = TunnelCounters { rx_bytes, tx_bytes, ..TunnelCounters::default() };
            judge(&terms, &counters, at(0), at(100))
        };
        assert_eq!(used(400, 599), Ok(Some(at(101))));
        assert_eq!(used(400, 600), Err(Ending::TotalLimit(1000)));
        assert_eq!(used(u64::MAX, 600), Err(Ending::TotalLimit(u64::MAX)));
    }
}
