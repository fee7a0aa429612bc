//! The ways to authenticate that LCP can agree on.
//!
//! Implements the Authentication-Protocol option of RFC 1661 §6.2 for RFC 1334, 1994, 2433 and
//! 2759. Runs none of them.

use std::fmt;

use crate::ppp::ccp::{Policy, Strengths};

/// A way to authenticate that we can both demand and follow, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// MS-CHAPv2 (RFC 2759): mutual, and the only one whose MPPE keys differ by direction.
    MsChapV2,
    /// MS-CHAPv1 (RFC 2433): MPPE keys of 128 bit, the same in both directions.
    MsChapV1,
    /// CHAP with MD5 (RFC 1994): no keys, and the server needs the clear password.
    ChapMd5,
    /// PAP (RFC 1334): no keys, and the password crosses the network as it is.
    Pap,
}

impl Method {
    /// All methods, the strongest first.
    pub const ALL: [Self; 4] = [Self::MsChapV2, Self::MsChapV1, Self::ChapMd5, Self::Pap];

    /// The data of LCP's Authentication-Protocol option (RFC 1661 §6.2; RFC 1994 §3; RFC 2433 §4;
    /// RFC 2759 §3).
    #[must_use]
    pub const fn lcp_option(self) -> &'static [u8] {
        match self {
            Self::MsChapV2 => &[0xC2, 0x23, 0x81],
            Self::MsChapV1 => &[0xC2, 0x23, 0x80],
            Self::ChapMd5 => &[0xC2, 0x23, 0x05],
            Self::Pap => &[0xC0, 0x23],
        }
    }

    /// The method that an Authentication-Protocol option means, if we have it.
    #[must_use]
    pub fn from_lcp_option(data: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.lcp_option() == data)
    }

    /// What MPPE can do with the keys of this method. MS-CHAPv1's of 40 and 56 bit would come
    /// from the LAN Manager hash (RFC 3079 §2.1, §2.2), which nobody stores any more.
    #[must_use]
    pub const fn strengths(self) -> Strengths {
        match self {
            Self::MsChapV2 => Strengths::ALL,
            Self::MsChapV1 => Strengths::BITS_128,
            Self::ChapMd5 | Self::Pap => Strengths::NONE,
        }
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

/// Why nobody can log in by a set of methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoMethod {
    /// There is none in it.
    #[error("no method of authentication is allowed")]
    Empty,
    /// None in it gives the keys that are required.
    #[error("no method that is allowed gives keys for {0}, which is required: allow MS-CHAPv2")]
    NoKeys(Strengths),
}

/// Those of `methods` that can be offered under an encryption policy, each once, the strongest
/// first: where encryption is required, those that give keys for it.
///
/// # Errors
/// If none of them can.
pub fn offered(methods: &[Method], encryption: Policy) -> Result<Vec<Method>, NoMethod> {
    let mut offered = methods.to_vec();
    offered.sort_unstable();
    offered.dedup();
    if offered.is_empty() {
        return Err(NoMethod::Empty);
    }
    if !encryption.permits_clear() {
        let required = encryption.strengths;
        offered.retain(|method| !method.strengths().intersection(required).is_empty());
        if offered.is_empty() {
            return Err(NoMethod::NoKeys(required));
        }
    }
    Ok(offered)
}

#[cfg(test)]
mod tests {
    use super::Method::{ChapMd5, MsChapV1, MsChapV2, Pap};
    use super::*;
    use crate::mppe::Strength;

    #[test]
    fn the_strongest_is_offered_first_and_each_once() {
        let methods = [Pap, MsChapV1, Pap, MsChapV2, ChapMd5];
        assert_eq!(offered(&methods, Policy::DENY), Ok(Method::ALL.to_vec()));
    }

    #[test]
    fn where_encryption_is_required_only_methods_with_keys_are_offered() {
        let require = |strengths: &[Strength]| Policy::require(Strengths::of(strengths));
        assert_eq!(offered(&Method::ALL, Policy::default()), Ok(vec![MsChapV2, MsChapV1]));
        // RFC 3079 §2.1: MS-CHAPv1's short keys come from the LAN Manager hash.
        assert_eq!(offered(&Method::ALL, require(&[Strength::Bits40])), Ok(vec![MsChapV2]));
        let refused = offered(&[Pap, ChapMd5], Policy::default()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "no method that is allowed gives keys for MPPE-128, which is required: allow MS-CHAPv2"
        );
        assert_eq!(offered(&[], Policy::DENY), Err(NoMethod::Empty));
        assert!(offered(&[MsChapV1], require(&[Strength::Bits56])).is_err());
    }
}
