//! What the daemon counts besides packets: one counter for each thing that happens.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Something that the daemon counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// A TCP connection was accepted.
    Connections,
    /// A TCP connection was refused: too many have not logged in.
    HalfOpenRefused,
    /// A TCP connection was refused: too many of its address have not logged in.
    HalfOpenAddressRefused,
    /// A TCP connection was refused: its address is not in `client-ip-range`.
    ClientIpRange,
    /// Accepting a connection failed.
    AcceptErrors,
    /// A control connection ended by a violation of the protocol.
    Violations,
    /// A call was refused: as many sessions as are allowed are there.
    SessionsRefused,
    /// A call was refused: it waited too long for its login's turn.
    QueueTimeout,
    /// A caller hung up while its login waited for its turn.
    GaveUpWaiting,
    /// A connection was refused: its address opens too many in a short time.
    RateRefused,
    /// A call was refused: no Call ID, or no room in the data plane.
    CallsRefused,
    /// A login succeeded.
    Logins,
    /// A call ended before its login succeeded.
    LoginsFailed,
    /// A login was refused: unknown user or wrong password.
    WrongPassword,
    /// A login was refused: the user is disabled.
    Disabled,
    /// A login was refused by RADIUS, and not for its password.
    RadiusRefused,
    /// A login could not be judged: RADIUS did not answer.
    RadiusSilent,
    /// A login was refused: the user may not come in from there, or not by PPTP.
    NotAllowed,
    /// A login was refused: the user or the peer address has as many sessions as it may.
    NoSeat,
    /// A login was refused: no address.
    NoAddress,
    /// A login failed, and no GRE packet of the peer had come.
    GreFiltered,
    /// A line was not logged: strangers had caused too many.
    LogLinesWithheld,
    /// A call was refused: the daemon drains.
    DrainRefused,
}

impl Count {
    /// All, in the order of their counters.
    pub const ALL: [Self; 23] = [
        Self::Connections,
        Self::HalfOpenRefused,
        Self::HalfOpenAddressRefused,
        Self::ClientIpRange,
        Self::AcceptErrors,
        Self::Violations,
        Self::SessionsRefused,
        Self::QueueTimeout,
        Self::GaveUpWaiting,
        Self::RateRefused,
        Self::CallsRefused,
        Self::Logins,
        Self::LoginsFailed,
        Self::WrongPassword,
        Self::Disabled,
        Self::RadiusRefused,
        Self::RadiusSilent,
        Self::NotAllowed,
        Self::NoSeat,
        Self::NoAddress,
        Self::GreFiltered,
        Self::LogLinesWithheld,
        Self::DrainRefused,
    ];

    /// What the log says of who was refused for it.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::HalfOpenRefused => "too many connections have not logged in (`max-half-open`)",
            Self::HalfOpenAddressRefused => {
                "too many connections of this address have not logged in \
                 (`max-half-open-per-address`)"
            }
            Self::RateRefused => "this address connects too often (`connection-rate`)",
            Self::SessionsRefused => "as many sessions are there as may be (`max-sessions`)",
            Self::QueueTimeout => "its login waited too long for its turn (`login-queue-timeout`)",
            Self::CallsRefused => "no Call ID, or no room in the data plane",
            Self::DrainRefused => "the server is draining",
            other => other.name(),
        }
    }

    /// The name in the API and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::HalfOpenRefused => "refused_half_open",
            Self::HalfOpenAddressRefused => "refused_half_open_per_address",
            Self::ClientIpRange => "refused_client_ip_range",
            Self::AcceptErrors => "accept_errors",
            Self::Violations => "protocol_violations",
            Self::SessionsRefused => "refused_max_sessions",
            Self::QueueTimeout => "refused_login_queue_timeout",
            Self::GaveUpWaiting => "login_gave_up_waiting",
            Self::RateRefused => "refused_connection_rate",
            Self::CallsRefused => "refused_no_resources",
            Self::Logins => "logins",
            Self::LoginsFailed => "logins_failed",
            Self::WrongPassword => "login_wrong_password",
            Self::Disabled => "login_disabled",
            Self::RadiusRefused => "login_radius_refused",
            Self::RadiusSilent => "login_radius_silent",
            Self::NotAllowed => "login_not_allowed",
            Self::NoSeat => "login_too_many_sessions",
            Self::NoAddress => "login_no_address",
            Self::GreFiltered => "login_gre_filtered",
            Self::LogLinesWithheld => "log_lines_withheld",
            Self::DrainRefused => "refused_draining",
        }
    }
}

/// The counters.
#[derive(Debug, Default)]
pub struct Counters([AtomicU64; Count::ALL.len()]);

impl Counters {
    /// One more.
    pub fn add(&self, count: Count) {
        self.0[count as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// All by name.
    #[must_use]
    pub fn all(&self) -> BTreeMap<String, u64> {
        let value = |count: &Count| {
            (count.name().to_owned(), self.0[*count as usize].load(Ordering::Relaxed))
        };
        Count::ALL.iter().map(value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_has_its_own_counter_and_name() {
        let counters = Counters::default();
        for (index, count) in Count::ALL.into_iter().enumerate() {
            assert_eq!(count as usize, index);
            counters.add(count);
        }
        let all = counters.all();
        assert_eq!(all.len(), Count::ALL.len());
        assert!(all.values().all(|value| *value == 1));
    }
}
