//! Ranges of IPv4 addresses: "10.0.0.2-10.0.0.254", "10.0.0.0/24" or one address.
//!
//! A prefix means its hosts: network and broadcast address are left out (not of a /31 or /32).
//! Never more addresses than [`MAX_ADDRESSES`], so that a slip of the pen does not eat the memory.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::Deserialize;

/// Whether a subscriber can have this address: no host has one of "this network", loopback,
/// multicast or the reserved ones (RFC 1122 §3.2.1.3, RFC 1112 §4).
#[must_use]
pub const fn is_for_hosts(address: Ipv4Addr) -> bool {
    !matches!(address.octets()[0], 0 | 127 | 224..)
}

/// As many addresses as one range may hold.
pub const MAX_ADDRESSES: u32 = 1 << 20;

/// Addresses from `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct AddressRange {
    /// The lowest address.
    pub first: Ipv4Addr,
    /// The highest address, not below `first`.
    pub last: Ipv4Addr,
}

impl AddressRange {
    /// How many addresses it holds, at least one.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.last.to_bits() - self.first.to_bits() + 1
    }

    /// Whether the two share an address.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// All addresses, lowest first.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        (self.first.to_bits()..=self.last.to_bits()).map(Ipv4Addr::from_bits)
    }
}

impl FromStr for AddressRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = |part: &str| {
            part.trim().parse::<Ipv4Addr>().map_err(|_| {
                format!(
                    "`{text}` is no range: write \"10.0.0.2-10.0.0.254\", \"10.0.0.0/24\" or one address"
                )
            })
        };
        let range = if let Some((first, last)) = text.split_once('-') {
            Self { first: address(first)?, last: address(last)? }
        } else if let Some((network, length)) = text.split_once('/') {
            hosts(address(network)?, length)
                .ok_or_else(|| format!("`{text}`: the prefix length is 0 to 32"))?
        } else {
            Self { first: address(text)?, last: address(text)? }
        };
        if range.first > range.last {
            return Err(format!("`{text}` ends before it begins"));
        }
        if range.last.to_bits() - range.first.to_bits() >= MAX_ADDRESSES {
            return Err(format!("`{text}` holds more than {MAX_ADDRESSES} addresses"));
        }
        // A range is too small to hold such a block between two that are none.
        if let Some(wrong) = [range.first, range.last].into_iter().find(|end| !is_for_hosts(*end)) {
            return Err(format!("`{text}`: no host can have the address {wrong}"));
        }
        Ok(range)
    }
}

fn hosts(network: Ipv4Addr, length: &str) -> Option<AddressRange> {
    let length: u32 = length.trim().parse().ok().filter(|length| *length <= 32)?;
    let mask = u32::MAX.checked_shr(length).unwrap_or(0);
    let (low, high) = (network.to_bits() & !mask, network.to_bits() | mask);
    let edges = u32::from(length < 31);
    Some(AddressRange {
        first: Ipv4Addr::from_bits(low + edges),
        last: Ipv4Addr::from_bits(high - edges),
    })
}

impl TryFrom<String> for AddressRange {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_prefix_means_its_hosts() {
        let shown = |text: &str| text.parse::<AddressRange>().map(|range| range.to_string());
        assert_eq!(shown("10.1.2.77/24"), Ok("10.1.2.1-10.1.2.254".to_owned()));
        assert_eq!(shown("10.1.2.0/31"), Ok("10.1.2.0-10.1.2.1".to_owned()));
        assert_eq!(shown("10.1.2.3/32"), Ok("10.1.2.3".to_owned()));
        assert_eq!(shown("10.1.2.3"), Ok("10.1.2.3".to_owned()));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for wrong in [
            "",
            "-",
            "10.0.0.9-10.0.0.1",
            "10.0.0.0/33",
            "0.0.0.0/0",
            "10.0.0.0/",
            "a-b",
            "0.0.0.1",
            "126.255.255.250-127.0.0.9",
            "224.0.0.0/24",
            "255.255.255.255",
        ] {
            assert!(wrong.parse::<AddressRange>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_as_the_same(first: u32, more in 0..MAX_ADDRESSES) {
            let range = AddressRange {
                first: Ipv4Addr::from_bits(first),
                last: Ipv4Addr::from_bits(first.saturating_add(more)),
            };
            prop_assume!(is_for_hosts(range.first) && is_for_hosts(range.last));
            prop_assert_eq!(range.to_string().parse(), Ok(range));
        }

        #[test]
        fn no_text_panics(text in "[0-9./-]*") {
            let _ = text.parse::<AddressRange>();
        }
    }
}
