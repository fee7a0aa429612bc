//! IPv6 prefixes as values: what is delegated, advertised and routed.
//!
//! Implements RFC 4291 §2.3 (their text). A prefix never has bits beyond its length.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// A prefix: a network's first address and its length.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ipv6Prefix {
    address: Ipv6Addr,
    length: u8,
}

impl Ipv6Prefix {
    /// All addresses.
    pub const ALL: Self = Self { address: Ipv6Addr::UNSPECIFIED, length: 0 };

    /// The prefix of this length, 0 to 128 bits, that an address lies in; a length beyond counts
    /// as 128.
    #[must_use]
    pub const fn around(address: Ipv6Addr, length: u8) -> Self {
        let length = if length > 128 { 128 } else { length };
        Self { address: Ipv6Addr::from_bits(address.to_bits() & mask(length)), length }
    }

    /// The prefix of a single address.
    #[must_use]
    pub const fn host(address: Ipv6Addr) -> Self {
        Self { address, length: 128 }
    }

    /// The first address.
    #[must_use]
    pub const fn address(self) -> Ipv6Addr {
        self.address
    }

    /// The length in bits, 0 to 128.
    #[must_use]
    pub const fn length(self) -> u8 {
        self.length
    }

    /// The network mask as a number.
    #[must_use]
    pub const fn mask(self) -> u128 {
        mask(self.length)
    }

    /// Whether an address lies in it.
    #[must_use]
    pub const fn contains(self, address: Ipv6Addr) -> bool {
        (self.address.to_bits() ^ address.to_bits()) & self.mask() == 0
    }

    /// Whether the two share an address.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        if self.length < other.length {
            self.contains(other.address)
        } else {
            other.contains(self.address)
        }
    }

    /// The last address.
    #[must_use]
    pub const fn last(self) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.address.to_bits() | !self.mask())
    }

    /// How many prefixes of `length` it holds, as far as 64 bits can count them; zero if they are
    /// longer than it is.
    #[must_use]
    pub const fn count(self, length: u8) -> u64 {
        match length.checked_sub(self.length) {
            Some(bits) if length <= 128 => match 1_u64.checked_shl(bits as u32) {
                Some(count) => count,
                None => u64::MAX,
            },
            _ => 0,
        }
    }

    /// The prefix of `length` with this number in it, if it holds that many.
    #[must_use]
    pub const fn nth(self, length: u8, index: u64) -> Option<Self> {
        if index >= self.count(length) {
            return None;
        }
        let offset = match (index as u128).checked_shl(128 - length as u32) {
            Some(offset) => offset,
            None => 0,
        };
        Some(Self { address: Ipv6Addr::from_bits(self.address.to_bits() | offset), length })
    }
}

const fn mask(length: u8) -> u128 {
    match u128::MAX.checked_shr(length as u32) {
        Some(host) => !host,
        None => u128::MAX,
    }
}

impl fmt::Display for Ipv6Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl fmt::Debug for Ipv6Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is no prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPrefix {
    /// It has another form.
    #[error("`{0}` is no IPv6 prefix: write 2001:db8:1::/48")]
    Form(String),
    /// It has bits beyond its length.
    #[error("`{0}` has bits beyond its prefix length")]
    HostBits(String),
}

impl FromStr for Ipv6Prefix {
    type Err = NoPrefix;

    fn from_str(text: &str) -> Result<Self, NoPrefix> {
        let wrong = || NoPrefix::Form(text.to_owned());
        let (address, length) = text.split_once('/').unwrap_or((text, "128"));
        let address: Ipv6Addr = address.parse().map_err(|_| wrong())?;
        let length: u8 = length.parse().ok().filter(|length| *length <= 128).ok_or_else(wrong)?;
        let prefix = Self::around(address, length);
        if prefix.address == address {
            Ok(prefix)
        } else {
            Err(NoPrefix::HostBits(text.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefix(text: &str) -> Ipv6Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn prefixes_are_read_as_they_are_written() {
        for text in ["::/0", "2001:db8::/32", "2001:db8:1:2::/64", "fe80::1/128"] {
            assert_eq!(prefix(text).to_string(), text);
        }
        assert_eq!(prefix("2001:db8::1").to_string(), "2001:db8::1/128");
        for wrong in ["", "10.0.0.0/8", "::/129", "::/-1", "::/", "2001:db8::/x", "::1/64"] {
            assert!(wrong.parse::<Ipv6Prefix>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_pool_is_cut_into_prefixes_of_one_length() {
        let pool = prefix("2001:db8:100::/48");
        assert_eq!(pool.count(64), 65536);
        assert_eq!(pool.count(56), 256);
        assert_eq!((pool.count(47), pool.count(129), pool.count(48)), (0, 0, 1));
        assert_eq!(pool.nth(56, 1), Some(prefix("2001:db8:100:100::/56")));
        assert_eq!(pool.nth(64, 65535), Some(prefix("2001:db8:100:ffff::/64")));
        assert_eq!(pool.nth(64, 65536), None);
        assert_eq!(Ipv6Prefix::ALL.count(128), u64::MAX);
        assert_eq!(Ipv6Prefix::ALL.nth(0, 0), Some(Ipv6Prefix::ALL));
        assert_eq!(
            pool.last(),
            "2001:db8:100:ffff:ffff:ffff:ffff:ffff".parse::<Ipv6Addr>().unwrap()
        );
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_as_the_same(bits: u128, length in 0_u8..=128) {
            let prefix = Ipv6Prefix::around(Ipv6Addr::from_bits(bits), length);
            prop_assert_eq!(prefix.to_string().parse(), Ok(prefix));
            prop_assert!(prefix.contains(Ipv6Addr::from_bits(bits)));
            prop_assert!(prefix.contains(prefix.last()));
        }

        #[test]
        fn overlapping_is_to_share_an_address(a: u8, x in 120_u8..=128, b: u8, y in 120_u8..=128) {
            let of = |bits: u8, length| Ipv6Prefix::around(Ipv6Addr::from_bits(bits.into()), length);
            let (one, other) = (of(a, x), of(b, y));
            let shared = (0..=255_u128)
                .map(Ipv6Addr::from_bits)
                .any(|address| one.contains(address) && other.contains(address));
            prop_assert_eq!(one.overlaps(other), shared);
        }

        #[test]
        fn no_text_panics(text in "[0-9a-f:/]{0,40}|.{0,20}") {
            let _ = text.parse::<Ipv6Prefix>();
        }
    }
}
