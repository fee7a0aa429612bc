//! `mrru`: RouterOS's word for multilink on one link, of the server and of clients.
//!
//! A number of octets, or "disabled". What a frame of the data plane cannot hold is never offered.

use std::fmt;
use std::str::FromStr;

use protocol::ppp::multilink::MIN_MRRU;
use serde::{Deserialize, Serialize};

const DISABLED: &str = "disabled";
/// The largest that is offered: a packet that is put together has to fit one frame.
const MAX_OFFERED: u16 = 3584;
/// The largest packet that makes sense to send behind an Ethernet, octets.
const ETHERNET_MTU: u16 = 1500;
/// MPPE's header and the inner protocol field.
const OVERHEAD: u16 = 4;

/// Largest packet that is put together from fragments, octets of its information field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Mrru(Option<u16>);

impl Mrru {
    /// No multilink.
    pub const DISABLED: Self = Self(None);

    /// What LCP offers; `None` is no multilink.
    #[must_use]
    pub fn offered(self) -> Option<u16> {
        self.0.map(|mrru| mrru.min(MAX_OFFERED))
    }

    /// Largest inner packet that a session may have to take, where `max_mtu` goes in one piece.
    #[must_use]
    pub fn inner_mtu(self, max_mtu: u16) -> u16 {
        let whole = self.offered().map(|mrru| (mrru - OVERHEAD).min(ETHERNET_MTU));
        whole.map_or(max_mtu, |whole| whole.max(max_mtu))
    }
}

/// As it stands in files.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Octets(i64),
    Word(String),
}

impl TryFrom<Written> for Mrru {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let refused = |what: &dyn fmt::Display| {
            format!("`{what}` is no MRRU: give \"{DISABLED}\", or {MIN_MRRU} to 65535 bytes")
        };
        match written {
            Written::Word(word) if word == DISABLED => Ok(Self::DISABLED),
            Written::Word(word) => Err(refused(&word)),
            Written::Octets(octets) => match u16::try_from(octets) {
                Ok(octets @ MIN_MRRU..) => Ok(Self(Some(octets))),
                _ => Err(refused(&octets)),
            },
        }
    }
}

impl From<Mrru> for Written {
    fn from(mrru: Mrru) -> Self {
        mrru.0.map_or_else(|| Self::Word(DISABLED.to_owned()), |mrru| Self::Octets(mrru.into()))
    }
}

impl FromStr for Mrru {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let octets = text.parse().map(Written::Octets);
        octets.unwrap_or_else(|_| Written::Word(text.to_owned())).try_into()
    }
}

impl fmt::Display for Mrru {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(mrru) => mrru.fmt(f),
            None => f.write_str(DISABLED),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_a_word_are_understood_and_nothing_else() {
        for (text, offered, inner) in [
            ("disabled", None, 1450),
            ("512", Some(512), 1450),
            ("1500", Some(1500), 1496),
            ("1600", Some(1600), 1500),
            ("65535", Some(3584), 1500),
        ] {
            let mrru: Mrru = text.parse().unwrap();
            assert_eq!((mrru.offered(), mrru.inner_mtu(1450)), (offered, inner));
            assert_eq!(mrru.to_string(), text);
            let kept = serde_json::to_string(&mrru).unwrap();
            assert_eq!(serde_json::from_str::<Mrru>(&kept).unwrap(), mrru);
        }
        for text in ["0", "511", "65536", "-1", "yes", ""] {
            assert!(text.parse::<Mrru>().is_err(), "{text}");
        }
    }
}
