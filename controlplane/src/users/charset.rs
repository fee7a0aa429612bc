//! Names in code pages: old Windows sends what the user typed in the code page of its language.

use std::borrow::Cow;

use encoding_rs::{Encoding, IBM866, WINDOWS_1250, WINDOWS_1251};
use serde::Deserialize;

/// A charset that names may be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Charset {
    /// UTF-8.
    #[serde(rename = "utf-8")]
    Utf8,
    /// Windows' Cyrillic.
    Cp1251,
    /// Windows' Central European.
    Cp1250,
    /// DOS' Cyrillic.
    Cp866,
}

impl Charset {
    /// All, in the order in which they are tried unless the configuration says otherwise.
    pub const ALL: [Self; 4] = [Self::Utf8, Self::Cp1251, Self::Cp1250, Self::Cp866];

    /// The text that these octets are in this charset, if they are any.
    #[must_use]
    pub fn decode(self, octets: &[u8]) -> Option<Cow<'_, str>> {
        let page: &'static Encoding = match self {
            Self::Utf8 => return std::str::from_utf8(octets).ok().map(Cow::Borrowed),
            Self::Cp1251 => WINDOWS_1251,
            Self::Cp1250 => WINDOWS_1250,
            Self::Cp866 => IBM866,
        };
        page.decode_without_bom_handling_and_without_replacement(octets)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn windows_names_are_read_in_their_code_pages() {
        let ivan = b"\xe8\xe2\xe0\xed";
        assert_eq!(Charset::Utf8.decode(ivan), None);
        assert_eq!(Charset::Cp1251.decode(ivan).as_deref(), Some("иван"));
        assert_eq!(Charset::Cp866.decode(b"\xa8\xa2\xa0\xad").as_deref(), Some("иван"));
        assert_eq!(Charset::Cp1250.decode(b"\xb3ukasz").as_deref(), Some("łukasz"));
    }

    proptest! {
        #[test]
        fn no_octets_panic(octets: Vec<u8>) {
            for charset in Charset::ALL {
                let _ = charset.decode(&octets);
            }
        }
    }
}
