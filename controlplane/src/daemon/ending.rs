//! Why a session ends: in an operator's words, and as RADIUS numbers it (RFC 2866 §5.10).
//!
//! Whoever wants a session to end says so by an [`Ending`]; what links and control connections end
//! by themselves is judged here as well. Ends nothing itself.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use protocol::ppp::link::Reason;
use protocol::pptp::connection::{ClearCause, CloseReason};

use crate::config::Span;

/// Acct-Terminate-Cause, RFC 2866 §5.10: those that can happen here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum TerminateCause {
    /// The subscriber hung up.
    UserRequest = 1,
    /// The subscriber is not there any more.
    LostCarrier = 2,
    /// No data passed for too long.
    IdleTimeout = 4,
    /// The time is used up.
    SessionTimeout = 5,
    /// An operator or a RADIUS server ended it.
    AdminReset = 6,
    /// The daemon is being stopped.
    AdminReboot = 7,
    /// Something of ours failed.
    NasError = 9,
    /// We ended it, and nothing was wrong.
    NasRequest = 10,
    /// The daemon died.
    NasReboot = 11,
    /// The subscriber's end did what it must not.
    UserError = 17,
}

impl TerminateCause {
    /// The attribute's value.
    #[must_use]
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// The value's name, as RADIUS dictionaries have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UserRequest => "User-Request",
            Self::LostCarrier => "Lost-Carrier",
            Self::IdleTimeout => "Idle-Timeout",
            Self::SessionTimeout => "Session-Timeout",
            Self::AdminReset => "Admin-Reset",
            Self::AdminReboot => "Admin-Reboot",
            Self::NasError => "NAS-Error",
            Self::NasRequest => "NAS-Request",
            Self::NasReboot => "NAS-Reboot",
            Self::UserError => "User-Error",
        }
    }

    /// What the end of a link means. `Closed` is ours; who closed it knows better.
    const fn of_link(reason: &Reason) -> Self {
        match reason {
            Reason::PeerTerminated { .. } => Self::UserRequest,
            Reason::NoAnswer(_) | Reason::Stalled(_) | Reason::Silent(_) => Self::LostCarrier,
            Reason::Closed(_) => Self::NasRequest,
            Reason::LoopedBack => Self::NasError,
            _ => Self::UserError,
        }
    }

    /// What it means that PPTP's call was cleared; `closed` if that was because its control
    /// connection ended.
    const fn of_call(cause: &ClearCause, closed: Option<&CloseReason>) -> Self {
        match (cause, closed) {
            (ClearCause::Requested | ClearCause::Disconnected(_), _)
            | (ClearCause::ConnectionEnded, Some(CloseReason::PeerStopped(_))) => Self::UserRequest,
            (
                ClearCause::ConnectionEnded,
                Some(
                    CloseReason::Malformed(_)
                    | CloseReason::Unexpected(_)
                    | CloseReason::PeerCallIdTwice(_),
                ),
            ) => Self::UserError,
            (ClearCause::ConnectionEnded, _) => Self::LostCarrier,
            _ => Self::NasError,
        }
    }
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// In an operator's words.
    pub reason: String,
    /// What it is to RADIUS.
    pub cause: TerminateCause,
}

impl Ended {
    /// What the end of a link was, given what was wanted.
    #[must_use]
    pub fn of_link(reason: &Reason, wish: Option<&Ending>) -> Self {
        let cause = match (reason, wish) {
            (Reason::Closed(_), Some(ending)) => ending.cause(),
            _ => TerminateCause::of_link(reason),
        };
        Self { reason: reason.to_string(), cause }
    }

    /// What the end of PPTP's call was; `closed` if that was because its control connection ended.
    #[must_use]
    pub fn of_call(cause: &ClearCause, closed: Option<&CloseReason>) -> Self {
        let reason = match (cause, closed) {
            (ClearCause::ConnectionEnded, Some(closed)) => format!("{cause}: {closed}"),
            _ => cause.to_string(),
        };
        Self { reason, cause: TerminateCause::of_call(cause, closed) }
    }
}

/// Why somebody here wants a session to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// `penstock session disconnect`.
    Operator,
    /// `penstock drain`.
    Drained,
    /// This RADIUS server's Disconnect-Request (RFC 5176).
    Radius(IpAddr),
    /// It lasted that long.
    SessionTimeout(Duration),
    /// No data passed for that long.
    IdleTimeout(Duration),
    /// The subscriber sent that many octets.
    ReceiveLimit(u64),
    /// The subscriber was sent that many octets.
    TransmitLimit(u64),
    /// That many octets passed, both ways together.
    TotalLimit(u64),
    /// A new login of the same user took its place.
    Replaced,
    /// The user was removed, disabled, or may not come in from there any more.
    UserChanged,
    /// The daemon stops.
    Shutdown,
}

impl Ending {
    /// What it is to RADIUS.
    #[must_use]
    pub const fn cause(&self) -> TerminateCause {
        match self {
            Self::Operator | Self::Drained | Self::UserChanged | Self::Radius(_) => {
                TerminateCause::AdminReset
            }
            Self::SessionTimeout(_) => TerminateCause::SessionTimeout,
            Self::IdleTimeout(_) => TerminateCause::IdleTimeout,
            // RFC 2866 has no cause for volumes; pppd's RADIUS plugin uses the same.
            Self::ReceiveLimit(_)
            | Self::TransmitLimit(_)
            | Self::TotalLimit(_)
            | Self::Replaced => TerminateCause::NasRequest,
            Self::Shutdown => TerminateCause::AdminReboot,
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = |time: &Duration| Span::seconds(time.as_secs());
        match self {
            Self::Operator => f.write_str("disconnected by the operator"),
            Self::Drained => f.write_str("disconnected by the operator: the server is draining"),
            Self::Radius(server) => write!(f, "disconnected by RADIUS server {server}"),
            Self::SessionTimeout(time) => write!(f, "session-timeout: up for {}", span(time)),
            Self::IdleTimeout(time) => write!(f, "idle-timeout: no data for {}", span(time)),
            Self::ReceiveLimit(octets) => {
                write!(f, "receive limit: the subscriber sent {octets} bytes")
            }
            Self::TransmitLimit(octets) => {
                write!(f, "transmit limit: the subscriber was sent {octets} bytes")
            }
            Self::TotalLimit(octets) => {
                write!(f, "total limit: {octets} bytes passed both ways")
            }
            Self::Replaced => f.write_str("replaced by a new login of the same user"),
            Self::UserChanged => f.write_str("the user may not come in any more"),
            Self::Shutdown => f.write_str("the server is shutting down"),
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::ppp::link::Side;
    use protocol::pptp::message::codes::StopReason;

    use super::*;

    #[test]
    fn every_end_has_words_and_a_cause() {
        let minute = Duration::from_secs(60);
        let endings = [
            Ending::Operator,
            Ending::Drained,
            Ending::Radius(IpAddr::from([10, 0, 0, 1])),
            Ending::SessionTimeout(minute),
            Ending::IdleTimeout(minute),
            Ending::ReceiveLimit(1000),
            Ending::TransmitLimit(2000),
            Ending::TotalLimit(3000),
            Ending::Replaced,
            Ending::UserChanged,
            Ending::Shutdown,
        ];
        let lines: Vec<_> = endings
            .iter()
            .map(|ending| {
                format!("{:2} {} | {ending}", ending.cause().code(), ending.cause().name())
            })
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
         6 Admin-Reset | disconnected by the operator
         6 Admin-Reset | disconnected by the operator: the server is draining
         6 Admin-Reset | disconnected by RADIUS server 10.0.0.1
         5 Session-Timeout | session-timeout: up for 1m
         4 Idle-Timeout | idle-timeout: no data for 1m
        10 NAS-Request | receive limit: the subscriber sent 1000 bytes
        10 NAS-Request | transmit limit: the subscriber was sent 2000 bytes
        10 NAS-Request | total limit: 3000 bytes passed both ways
        10 NAS-Request | replaced by a new login of the same user
         6 Admin-Reset | the user may not come in any more
         7 Admin-Reboot | the server is shutting down
        ");
    }

    #[test]
    fn who_hung_up_is_told_from_who_was_lost() {
        // RFC 2866 §5.10: User Request, Lost Carrier.
        let hung_up = Reason::PeerTerminated { peer: Side::Client, text: String::new() };
        assert_eq!(TerminateCause::of_link(&hung_up), TerminateCause::UserRequest);
        let silent = Reason::Silent(Side::Client);
        assert_eq!(TerminateCause::of_link(&silent), TerminateCause::LostCarrier);
        let of = |closed| TerminateCause::of_call(&ClearCause::ConnectionEnded, Some(closed));
        assert_eq!(of(&CloseReason::PeerStopped(StopReason::None)), TerminateCause::UserRequest);
        assert_eq!(of(&CloseReason::PeerClosed), TerminateCause::LostCarrier);
        assert_eq!(of(&CloseReason::EchoTimeout), TerminateCause::LostCarrier);
        assert_eq!(of(&CloseReason::PeerCallIdTwice(1)), TerminateCause::UserError);
    }
}
