//! What an attribute's octets mean, and their text for logs and scripts.
//!
//! Implements the data types of RFC 2865 §5, tagged values of RFC 2868 §3 and the IPv6 ones of
//! RFC 3162 §2. Never guesses: octets of a wrong length have no value.

use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::dictionary::Definition;

/// The form of an attribute's octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Readable octets, mostly UTF-8.
    Text,
    /// Octets that are nobody's business.
    Octets,
    /// Octets that must not be shown: passwords, keys.
    Hidden,
    /// 4 octets, a number.
    Integer,
    /// 4 octets, seconds since 1970 (RFC 2869 §5.3).
    Time,
    /// 4 octets.
    Address,
    /// A tag and 3 octets (RFC 2868 §3.1).
    TaggedInteger,
    /// A tag, which may be left away, and text (RFC 2868 §3.3).
    TaggedText,
    /// 8 octets (RFC 3162 §2.2).
    InterfaceId,
    /// 16 octets (RFC 3162 §2.1).
    Address6,
    /// A reserved octet, a length and up to 16 octets (RFC 3162 §2.3).
    Prefix6,
}

/// An attribute's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// Readable octets, mostly UTF-8.
    Text(&'a [u8]),
    /// Other octets.
    Octets(&'a [u8]),
    /// Octets that must not be shown.
    Hidden(&'a [u8]),
    /// A number.
    Integer(u32),
    /// Seconds since 1970.
    Time(u32),
    /// An IPv4 address.
    Address(Ipv4Addr),
    /// A number of a group of attributes.
    TaggedInteger {
        /// 1 to 31, or 0 for none (RFC 2868 §3.1).
        tag: u8,
        /// 24 bits.
        value: u32,
    },
    /// Text of a group of attributes.
    TaggedText {
        /// 1 to 31, or 0 for none (RFC 2868 §3.3).
        tag: u8,
        /// The text.
        text: &'a [u8],
    },
    /// The lower half of an IPv6 address.
    InterfaceId([u8; 8]),
    /// An IPv6 address.
    Address6(Ipv6Addr),
    /// An IPv6 prefix, the bits beyond its length zero.
    Prefix6 {
        /// Its first address.
        address: Ipv6Addr,
        /// 0 to 128 bits.
        length: u8,
    },
}

/// Octets that are not what the dictionary says they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{} has {length} octets that are no {}", name, form(.kind))]
pub struct WrongValue {
    /// The attribute.
    pub name: &'static str,
    /// What it should be.
    pub kind: Kind,
    /// How many octets it has.
    pub length: usize,
}

const fn form(kind: &Kind) -> &'static str {
    match kind {
        Kind::Text => "text",
        Kind::Octets | Kind::Hidden => "octets",
        Kind::Integer => "number (4 octets)",
        Kind::Time => "time (4 octets)",
        Kind::Address => "IPv4 address (4 octets)",
        Kind::TaggedInteger => "tagged number (4 octets)",
        Kind::TaggedText => "tagged text",
        Kind::InterfaceId => "interface identifier (8 octets)",
        Kind::Address6 => "IPv6 address (16 octets)",
        Kind::Prefix6 => "IPv6 prefix (2 to 18 octets)",
    }
}

impl Definition {
    /// Reads octets as what this attribute is.
    ///
    /// # Errors
    /// If they are not.
    pub fn read(self, octets: &[u8]) -> Result<Value<'_>, WrongValue> {
        let number = || octets.try_into().ok().map(u32::from_be_bytes);
        let value = match self.kind {
            Kind::Text => Some(Value::Text(octets)),
            Kind::Octets => Some(Value::Octets(octets)),
            Kind::Hidden => Some(Value::Hidden(octets)),
            Kind::Integer => number().map(Value::Integer),
            Kind::Time => number().map(Value::Time),
            Kind::Address => number().map(|bits| Value::Address(Ipv4Addr::from_bits(bits))),
            Kind::TaggedInteger => number().map(|number| {
                let [tag, value @ ..] = number.to_be_bytes();
                let [a, b, c] = value;
                // RFC 2868 §3.1: a tag above 0x1F is none and is ignored.
                let tag = if tag <= MAX_TAG { tag } else { 0 };
                Value::TaggedInteger { tag, value: u32::from_be_bytes([0, a, b, c]) }
            }),
            Kind::TaggedText => Some(match octets.split_first() {
                Some((&tag, text)) if tag <= MAX_TAG => Value::TaggedText { tag, text },
                // RFC 2868 §3.3: what is above 0x1F is the text's first octet.
                _ => Value::TaggedText { tag: 0, text: octets },
            }),
            Kind::InterfaceId => octets.try_into().ok().map(Value::InterfaceId),
            Kind::Address6 => {
                octets.try_into().ok().map(|bits: [u8; 16]| Value::Address6(bits.into()))
            }
            Kind::Prefix6 => prefix(octets),
        };
        value.ok_or(WrongValue { name: self.name, kind: self.kind, length: octets.len() })
    }
}

/// The largest tag (RFC 2868 §3.1).
const MAX_TAG: u8 = 0x1F;

/// RFC 3162 §2.3: as many octets as the length needs at least, and no bit set beyond it. The bits
/// are cleared rather than refused.
fn prefix(octets: &[u8]) -> Option<Value<'_>> {
    let (&[_reserved, length], bits) = octets.split_first_chunk()?;
    if length > 128 || bits.len() > 16 || bits.len() < usize::from(length).div_ceil(8) {
        return None;
    }
    let mut address = [0; 16];
    address[..bits.len()].copy_from_slice(bits);
    let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
    let address = Ipv6Addr::from_bits(u128::from_be_bytes(address) & mask);
    Some(Value::Prefix6 { address, length })
}

impl Value<'_> {
    /// Its octets on the wire.
    #[must_use]
    pub fn emit(&self) -> Cow<'_, [u8]> {
        match *self {
            Self::Text(octets) | Self::Octets(octets) | Self::Hidden(octets) => octets.into(),
            Self::Integer(number) | Self::Time(number) => number.to_be_bytes().to_vec().into(),
            Self::Address(address) => address.octets().to_vec().into(),
            Self::TaggedInteger { tag, value } => {
                let [_, value @ ..] = value.to_be_bytes();
                [&[tag][..], &value].concat().into()
            }
            Self::TaggedText { tag, text } => [&[tag][..], text].concat().into(),
            Self::InterfaceId(octets) => octets.to_vec().into(),
            Self::Address6(address) => address.octets().to_vec().into(),
            Self::Prefix6 { address, length } => {
                let octets = address.octets();
                let used = usize::from(length).div_ceil(8).min(octets.len());
                [&[0, length][..], &octets[..used]].concat().into()
            }
        }
    }

    /// The number of an integer or a time.
    #[must_use]
    pub const fn number(&self) -> Option<u32> {
        match *self {
            Self::Integer(number) | Self::Time(number) => Some(number),
            _ => None,
        }
    }

    /// The IPv4 address.
    #[must_use]
    pub const fn address(&self) -> Option<Ipv4Addr> {
        match *self {
            Self::Address(address) => Some(address),
            _ => None,
        }
    }
}

/// One line without control characters, whatever the octets are.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) | Self::TaggedText { text, .. } => {
                for chunk in text.utf8_chunks() {
                    for character in chunk.valid().chars() {
                        if character.is_control() {
                            write!(f, "{}", character.escape_unicode())?;
                        } else {
                            write!(f, "{character}")?;
                        }
                    }
                    write!(f, "{}", chunk.invalid().escape_ascii())?;
                }
                Ok(())
            }
            Self::Octets(octets) => {
                f.write_str("0x")?;
                octets.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
            }
            Self::Hidden(_) => f.write_str("(hidden)"),
            Self::Integer(number) | Self::Time(number) => write!(f, "{number}"),
            Self::Address(address) => write!(f, "{address}"),
            Self::TaggedInteger { value, .. } => write!(f, "{value}"),
            Self::InterfaceId(octets) => {
                let [a, b, c, d] =
                    [0, 2, 4, 6].map(|at| u16::from_be_bytes([octets[at], octets[at + 1]]));
                write!(f, "{a:x}:{b:x}:{c:x}:{d:x}")
            }
            Self::Address6(address) => write!(f, "{address}"),
            Self::Prefix6 { address, length } => write!(f, "{address}/{length}"),
        }
    }
}
