//! Why a call failed, in words that say where to look.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use protocol::ppp::link::{Phase, Reason};

use crate::config::Span;
use crate::kernel::KernelError;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name means nothing.
    #[error("server {server}: {reason}")]
    Unknown {
        /// As given.
        server: String,
        /// Why.
        reason: String,
    },
    /// TCP does not get through.
    #[error("server {server} is unreachable: {reason}")]
    Unreachable {
        /// Where.
        server: SocketAddr,
        /// Why.
        reason: String,
    },
    /// PPTP ended before PPP did.
    #[error("{}: {cause}", if *.refused { "call refused" } else { "call lost" })]
    Cleared {
        /// By the server, at once.
        refused: bool,
        /// In PPTP's words.
        cause: String,
    },
    /// It took TCP, and then said nothing to what had to be answered.
    #[error("the server did not answer {what} within {within}")]
    Unanswered {
        /// What we said.
        what: &'static str,
        /// The time it had, from TCP on.
        within: Span,
    },
    /// The server does not let us in.
    #[error("{0}")]
    Login(String),
    /// Our PPP frames or the server's are lost.
    #[error(
        "TCP up, LCP sent, no GRE received: GRE (IP protocol 47) is filtered between {local} and \
         {server}"
    )]
    GreFiltered {
        /// Where we called.
        server: Ipv4Addr,
        /// From where.
        local: Ipv4Addr,
    },
    /// PPP ended.
    #[error("{0}")]
    Link(Reason),
    /// The server gave us an address that we cannot have, for this reason.
    #[error("server assigns {0}, which {1}")]
    Address(Ipv4Addr, &'static str),
    /// The data plane does not start.
    #[error(transparent)]
    DataPlane(#[from] dataplane::api::StartError),
    /// The data plane has no room.
    #[error(transparent)]
    Open(#[from] dataplane::api::OpenError),
    /// The kernel refuses an address or a route.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The system refuses something.
    #[error("{0}")]
    System(io::Error),
}

impl DialError {
    /// What a link's end means to who called. `heard`: whether any GRE packet came.
    pub(super) fn of_link(reason: Reason, heard: bool, server: Ipv4Addr, local: Ipv4Addr) -> Self {
        match reason {
            Reason::NoAnswer(_) | Reason::Stalled(Phase::Lcp) if !heard => {
                Self::GreFiltered { server, local }
            }
            Reason::LoginRefused { refusal, message } => {
                let message = match message.as_str() {
                    "" => String::new(),
                    text => format!(": {}", crate::text::printable(text.as_bytes())),
                };
                Self::Login(format!("{refusal} (E={}){message}", refusal.code()))
            }
            reason @ (Reason::ServerProofWrong | Reason::AuthenticationUnanswered(_)) => {
                Self::Login(reason.to_string())
            }
            other => Self::Link(other),
        }
    }

    /// The exit code of the command, as its help says.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Unknown { .. } | Self::Unreachable { .. } => 5,
            Self::Cleared { refused: true, .. } => 6,
            Self::Login(_) => 7,
            Self::Cleared { refused: false, .. }
            | Self::Unanswered { .. }
            | Self::GreFiltered { .. }
            | Self::Link(_)
            | Self::Address(..) => 8,
            Self::DataPlane(_) | Self::Open(_) | Self::Kernel(_) | Self::System(_) => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::ppp::auth::Refusal;
    use protocol::ppp::link::Side;

    use super::*;

    #[test]
    fn reasons_say_where_to_look() {
        let (server, local) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 7));
        let refused = Reason::LoginRefused {
            refusal: Refusal::WrongPassword,
            message: "Access\u{1b} denied".to_owned(),
        };
        let said = [
            (Reason::NoAnswer(Side::Server), false),
            (Reason::Stalled(Phase::Lcp), false),
            (Reason::Stalled(Phase::Lcp), true),
            (refused, true),
            (Reason::ServerProofWrong, true),
        ]
        .map(|(reason, heard)| {
            let error = DialError::of_link(reason, heard, server, local);
            format!("{} {error}\n", error.exit_code())
        })
        .concat();
        insta::assert_snapshot!(said, @r"
        8 TCP up, LCP sent, no GRE received: GRE (IP protocol 47) is filtered between 198.51.100.7 and 192.0.2.1
        8 TCP up, LCP sent, no GRE received: GRE (IP protocol 47) is filtered between 198.51.100.7 and 192.0.2.1
        8 login took too long: stalled in LCP
        7 wrong password (E=691): Access\u{1b} denied
        7 server does not know the password: its proof is wrong
        ");
    }
}
