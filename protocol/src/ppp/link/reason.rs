//! Why a link ended, in an operator's words.

use std::net::Ipv4Addr;

use crate::ppp::auth::{Method, NoMethod, Refusal};
use crate::ppp::ccp::Strengths;

use super::config::Side;

/// Where a login stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// No Open yet.
    Dead,
    /// LCP is being negotiated.
    Lcp,
    /// The peer is expected to prove itself, or to tell what it thinks of our proof.
    Authentication,
    /// The owner's verdict is awaited.
    Verdict,
    /// CCP is being negotiated.
    Ccp,
    /// IPCP is being negotiated.
    Ipcp,
    /// Data passes.
    Up,
    /// LCP is being terminated.
    Terminating,
    /// [`Event::Down`](super::Event::Down) was told.
    Ended,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Dead => "idle",
            Self::Lcp => "LCP",
            Self::Authentication => "authentication",
            Self::Verdict => "the verdict on the login",
            Self::Ccp => "CCP",
            Self::Ipcp => "IPCP",
            Self::Up => "up",
            Self::Terminating => "terminating",
            Self::Ended => "ended",
        })
    }
}

/// Why a link ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The owner ended it, in the owner's words.
    #[error("{0}")]
    Closed(String),
    /// The peer ended it, perhaps with a text of its own.
    #[error("{peer} hung up{}{text}", if text.is_empty() { "" } else { ": " })]
    PeerTerminated {
        /// Which end the peer is.
        peer: Side,
        /// Printable part of its Terminate-Request.
        text: String,
    },
    /// Nothing came at all: GRE may be filtered on the way.
    #[error("no answer to LCP: no PPP frame of the {0} arrived (is GRE filtered?)")]
    NoAnswer(Side),
    /// The login did not end in time.
    #[error("login took too long: stalled in {0}")]
    Stalled(Phase),
    /// No traffic and no answer to echoes.
    #[error("{0} is silent: no traffic and no answer to LCP echoes")]
    Silent(Side),
    /// What we send comes back to us.
    #[error("the link is looped back")]
    LoopedBack,
    /// LCP itself was rejected, or its dispute did not end.
    #[error("{0} cannot agree on LCP")]
    LcpRefused(Side),
    /// The methods that the peer offers are none of ours.
    #[error("{peer} offers {offered}")]
    NoCommonMethod {
        /// Which end the peer is.
        peer: Side,
        /// Its own proposal, as "PAP only", or "no authentication".
        offered: String,
    },
    /// The server did not ask for a proof, so there are no keys.
    #[error("server asks for no authentication; encryption needs MS-CHAPv2")]
    NotAuthenticated,
    /// The login was refused.
    #[error("{refusal}{}{message}", if message.is_empty() { "" } else { ": " })]
    LoginRefused {
        /// MS-CHAP's error.
        refusal: Refusal,
        /// The text that was sent with it.
        message: String,
    },
    /// The peer does not answer Challenges, or the server our Response.
    #[error("{0} does not answer in authentication")]
    AuthenticationUnanswered(Side),
    /// A Response of impossible form.
    #[error("client sent a malformed {0} response")]
    MalformedResponse(Method),
    /// A later Challenge was answered by somebody else.
    #[error("client answered a later challenge under another name")]
    AnotherUser,
    /// The owner's verdict on MS-CHAPv2 has no proof for the client.
    #[error("the verdict on the login lacks MS-CHAPv2's proof of the server")]
    NoServerProof,
    /// Nobody can log in by the methods that are allowed.
    #[error(transparent)]
    NoMethod(NoMethod),
    /// The method of the login gives no keys, and encryption is required.
    #[error("{method} gives no keys for {required}, which is required")]
    NoKeys {
        /// The method.
        method: Method,
        /// What is required.
        required: Strengths,
    },
    /// The server wants a proof that needs the clear password, and we have its hash alone.
    #[error("{0} needs the clear password, and only a hash of it is known")]
    NoClearPassword(Method),
    /// The server's own proof is wrong: it does not know the password.
    #[error("server does not know the password: its proof is wrong")]
    ServerProofWrong,
    /// Encryption is required and the peer has none that suffices.
    #[error("{peer} offered {method} without {required}; this {} requires it", peer.other())]
    EncryptionRefused {
        /// Which end the peer is.
        peer: Side,
        /// How the login was proved.
        method: Method,
        /// What would have sufficed.
        required: Strengths,
    },
    /// The peer closed CCP while encryption is required.
    #[error("{0} ended encryption, which is required")]
    EncryptionEnded(Side),
    /// CCP's Configure-Requests are not answered.
    #[error("{0} does not answer CCP")]
    CcpUnanswered(Side),
    /// The peer wants no IP, or does not answer IPCP.
    #[error("{0} refuses or does not answer IPCP")]
    NetworkRefused(Side),
    /// The client wants to keep an address that is not its.
    #[error("client insists on address {wanted}; {assigned} is assigned to it")]
    AddressRefused {
        /// What it asked for.
        wanted: Ipv4Addr,
        /// What it was to take.
        assigned: Ipv4Addr,
    },
    /// The server gave us no address.
    #[error("server assigns no address")]
    NoAddress,
}
