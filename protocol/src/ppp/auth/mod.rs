//! Authentication of the peer, and of ourselves by a peer.
//!
//! [`Method`] is what LCP negotiates; each method has an authenticator and a peer of its own
//! below ([`mschapv2`]: RFC 2759, in the packets of RFC 1994). Never decides whether a login is
//! right: the owner of the users does, by [`Attempt::verify`] or by asking RADIUS.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::mppe::{MasterKey, Sender, SessionKey, StartKey, Strength};
use crate::mschap::{AuthenticatorResponse, Challenge, Exchange, NtHash, NtResponse};

pub mod chap;
pub mod mschapv2;
pub(crate) mod running;

/// A way to authenticate that we can both demand and follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// MS-CHAPv2 (RFC 2759): mutual, and the only one with strong MPPE keys.
    MsChapV2,
}

impl Method {
    /// All methods, the best first.
    pub const ALL: [Self; 1] = [Self::MsChapV2];

    /// The data of LCP's Authentication-Protocol option (RFC 1661 §6.2; RFC 2759 §1: CHAP with
    /// algorithm 0x81).
    #[must_use]
    pub const fn lcp_option(self) -> &'static [u8] {
        match self {
            Self::MsChapV2 => &[0xC2, 0x23, 0x81],
        }
    }

    /// The method that an Authentication-Protocol option means, if we have it.
    #[must_use]
    pub fn from_lcp_option(data: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.lcp_option() == data)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&describe(self.lcp_option()))
    }
}

/// What an Authentication-Protocol option means, in an operator's words, ours or not.
#[must_use]
pub fn describe(option: &[u8]) -> String {
    match *option {
        [0xC0, 0x23, ..] => "PAP".into(),
        [0xC2, 0x23, 0x05] => "CHAP-MD5".into(),
        [0xC2, 0x23, 0x80] => "MS-CHAPv1".into(),
        [0xC2, 0x23, 0x81] => "MS-CHAPv2".into(),
        [0xC2, 0x23, algorithm] => format!("CHAP with algorithm {algorithm:#04x}"),
        [0xC2, 0x27, ..] => "EAP".into(),
        [high, low, ..] => format!("protocol {:#06x}", u16::from_be_bytes([high, low])),
        _ => "an empty option".into(),
    }
}

/// A login that the owner of the users has to judge: enough for a local table and for RADIUS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// CHAP identifier of the exchange; the verdict names it.
    pub identifier: u8,
    /// The user's name as sent, `DOMAIN\` included. Octets, in whatever charset the peer uses.
    pub name: Vec<u8>,
    /// What proves the password.
    pub proof: Proof,
}

/// What a peer sent to prove that it knows its password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// RFC 2759 §4.
    MsChapV2 {
        /// Ours, from the Challenge packet.
        authenticator_challenge: Challenge,
        /// The peer's, from its Response.
        peer_challenge: Challenge,
        /// NT-Response of the Response.
        nt_response: NtResponse,
    },
}

impl Attempt {
    /// Checks the proof against a stored hash, in constant time. `None`: the password is wrong.
    #[must_use]
    pub fn verify(&self, hash: &NtHash) -> Option<Accepted> {
        match &self.proof {
            Proof::MsChapV2 { authenticator_challenge, peer_challenge, nt_response } => {
                let exchange =
                    Exchange { authenticator_challenge, peer_challenge, user: &self.name };
                if exchange.nt_response(hash) != *nt_response {
                    return None;
                }
                let hash_hash = hash.hash();
                let master = MasterKey::from_mschapv2(&hash_hash, nt_response);
                Some(Accepted {
                    response: exchange.authenticator_response(&hash_hash, nt_response),
                    keys: StartKeys::from(&master),
                })
            }
        }
    }
}

/// What a right password yields. RADIUS hands out both parts (RFC 2548 §2.3.3, §2.4.2, §2.4.3).
#[derive(Debug, Clone)]
pub struct Accepted {
    /// The server's own proof, for the Success packet (RFC 2759 §5).
    pub response: AuthenticatorResponse,
    /// What MPPE's keys are made of.
    pub keys: StartKeys,
}

/// The start keys of both directions (RFC 3079 §3.4). Wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct StartKeys {
    /// Of what the client sends: RADIUS's MS-MPPE-Recv-Key. 40 and 56 bit use 8 octets of it.
    pub client: [u8; 16],
    /// Of what the server sends: RADIUS's MS-MPPE-Send-Key. 40 and 56 bit use 8 octets of it.
    pub server: [u8; 16],
}

impl StartKeys {
    /// The initial session key of what `sender` sends.
    #[must_use]
    pub fn session_key(&self, sender: Sender, strength: Strength) -> SessionKey {
        let octets = match sender {
            Sender::Client => &self.client,
            Sender::Server => &self.server,
        };
        SessionKey::initial(&StartKey::new(octets, strength))
    }
}

impl From<&MasterKey> for StartKeys {
    fn from(master: &MasterKey) -> Self {
        // A start key of 40 or 56 bit is the beginning of the one of 128 bit (RFC 3079 §3.4).
        let octets = |sender| {
            let mut octets = [0; 16];
            octets.copy_from_slice(master.start_key(sender, Strength::Bits128).as_bytes());
            octets
        };
        Self { client: octets(Sender::Client), server: octets(Sender::Server) }
    }
}

impl fmt::Debug for StartKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StartKeys(..)")
    }
}

/// Why a login is refused: the error codes of MS-CHAP (RFC 2759 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// 646: not at this hour.
    RestrictedHours,
    /// 647: the account is disabled.
    Disabled,
    /// 648: the password has expired.
    PasswordExpired,
    /// 649: the account may not dial in.
    NoDialIn,
    /// 691: wrong name or password.
    WrongPassword,
}

impl Refusal {
    /// The number in the Failure packet.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::RestrictedHours => 646,
            Self::Disabled => 647,
            Self::PasswordExpired => 648,
            Self::NoDialIn => 649,
            Self::WrongPassword => 691,
        }
    }

    /// The refusal of a number; what we do not know counts as 691.
    #[must_use]
    pub const fn from_code(code: u32) -> Self {
        match code {
            646 => Self::RestrictedHours,
            647 => Self::Disabled,
            648 => Self::PasswordExpired,
            649 => Self::NoDialIn,
            _ => Self::WrongPassword,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RestrictedHours => "not allowed at this hour",
            Self::Disabled => "account disabled",
            Self::PasswordExpired => "password expired",
            Self::NoDialIn => "no permission to dial in",
            Self::WrongPassword => "wrong password",
        })
    }
}
