//! The view of a received packet: its header, and its attributes one by one.
//!
//! Implements RFC 2865 §3 and §5, and §5.26 for the vendors that the dictionary knows. Checks the
//! structure once, so that walking it cannot fail. Proves nothing: that is [`super::seal`]'s.

use super::dictionary::{self, Definition, Id, VENDOR_SPECIFIC};
use super::value::{Value, WrongValue};
use super::{Authenticator, Code, HEADER_LEN, MAX_LEN};

/// Why octets are no packet. RFC 2865 §3: it is silently discarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Fewer octets than a header, or than the Length field says.
    #[error("{have} octets have arrived of {need}")]
    Truncated {
        /// Octets that are there.
        have: usize,
        /// Octets that there should be.
        need: usize,
    },
    /// The Length field is below 20 or above 4096.
    #[error("the Length field says {0}, which is not within 20 to 4096")]
    Length(usize),
    /// No packet that we know.
    #[error("code {0} is unknown")]
    Code(u8),
    /// An attribute is longer than what is left of the packet, or shorter than its own header.
    #[error("attribute {number} at octet {at} has length {length}")]
    Attribute {
        /// Its type.
        number: u8,
        /// Where it starts.
        at: usize,
        /// What its Length field says.
        length: usize,
    },
    /// A Vendor-Specific attribute of a known vendor does not divide into attributes.
    #[error("Vendor-Specific attribute of vendor {0} does not divide into attributes")]
    Vendor(u32),
}

/// A packet whose structure is right: every attribute lies within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Exactly as long as the Length field says, 20 to 4096 octets.
    bytes: &'a [u8],
    header: [u8; HEADER_LEN],
    code: Code,
}

/// A packet that is kept. Compares and prints as its octets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedPacket {
    bytes: Vec<u8>,
    header: [u8; HEADER_LEN],
    code: Code,
}

impl OwnedPacket {
    /// The view of it.
    #[must_use]
    pub fn view(&self) -> Packet<'_> {
        Packet { bytes: &self.bytes, header: self.header, code: self.code }
    }
}

/// One attribute; one of a known vendor looks like any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// What it is.
    pub id: Id,
    /// Its value, 0 to 253 octets.
    pub value: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Looks at a datagram. Octets beyond the Length field are padding (RFC 2865 §3).
    ///
    /// # Errors
    /// If it is to be discarded.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Malformed> {
        let truncated = |need| Malformed::Truncated { have: datagram.len(), need };
        let header: [u8; HEADER_LEN] =
            *datagram.first_chunk().ok_or_else(|| truncated(HEADER_LEN))?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if !(HEADER_LEN..=MAX_LEN).contains(&length) {
            return Err(Malformed::Length(length));
        }
        let bytes = datagram.get(..length).ok_or_else(|| truncated(length))?;
        let code = Code::from_number(header[0]).ok_or(Malformed::Code(header[0]))?;
        let mut at = HEADER_LEN;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let (number, value) = split(rest).ok_or(Malformed::Attribute {
                number: rest[0],
                at,
                length: rest.get(1).copied().unwrap_or_default().into(),
            })?;
            if number == VENDOR_SPECIFIC
                && let Some((vendor, mut parts)) = known_vendor(value)
            {
                while !parts.is_empty() {
                    let (_, value) = split(parts).ok_or(Malformed::Vendor(vendor))?;
                    parts = &parts[2 + value.len()..];
                }
            }
            at += 2 + value.len();
        }
        Ok(Self { bytes, header, code })
    }

    /// What it is.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }

    /// Matches requests and answers (RFC 2865 §3).
    #[must_use]
    pub const fn identifier(&self) -> u8 {
        self.header[1]
    }

    /// The Request or Response Authenticator.
    #[must_use]
    pub const fn authenticator(&self) -> Authenticator {
        let [_, _, _, _, authenticator @ ..] = self.header;
        authenticator
    }

    /// A copy that outlives the datagram.
    #[must_use]
    pub fn to_owned(&self) -> OwnedPacket {
        OwnedPacket { bytes: self.bytes.to_vec(), header: self.header, code: self.code }
    }

    /// All octets, without padding.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Its attributes in order. Vendor-Specific attributes of vendors that the dictionary knows
    /// are taken apart, those of others are left whole.
    #[must_use]
    pub fn attributes(&self) -> Iter<'a> {
        Iter { rest: &self.bytes[HEADER_LEN..], vendor: 0, parts: &[] }
    }

    /// The values of all attributes of this kind, in order.
    pub fn all(&self, definition: Definition) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.attributes()
            .filter(move |attribute| attribute.id == definition.id)
            .map(|attribute| attribute.value)
    }

    /// The value of the first attribute of this kind.
    #[must_use]
    pub fn first(&self, definition: Definition) -> Option<&'a [u8]> {
        self.all(definition).next()
    }

    /// The first attribute of this kind as what the dictionary says it is.
    ///
    /// # Errors
    /// If its octets are none. RFC 2865 §5: an Access-Accept with such an attribute is a refusal.
    pub fn value(&self, definition: Definition) -> Result<Option<Value<'a>>, WrongValue> {
        self.first(definition).map(|octets| definition.read(octets)).transpose()
    }

    /// Reads every attribute that the dictionary knows.
    ///
    /// # Errors
    /// Names the first whose octets are none of its kind (RFC 2865 §5).
    pub fn check_values(&self) -> Result<(), WrongValue> {
        self.attributes()
            .filter_map(|attribute| Some((dictionary::find(attribute.id)?, attribute.value)))
            .try_for_each(|(definition, octets)| definition.read(octets).map(drop))
    }

    /// Where the values of top-level attributes of this number lie.
    pub(super) fn positions(&self, number: u8) -> impl Iterator<Item = std::ops::Range<usize>> {
        let bytes = self.bytes;
        let mut at = HEADER_LEN;
        std::iter::from_fn(move || {
            let (found, value) = split(bytes.get(at..)?)?;
            let start = at + 2;
            at = start + value.len();
            Some((found, start..at))
        })
        .filter_map(move |(found, range)| (found == number).then_some(range))
    }
}

/// Walks a packet's attributes.
#[derive(Debug, Clone)]
pub struct Iter<'a> {
    rest: &'a [u8],
    vendor: u32,
    /// What is left of a Vendor-Specific attribute.
    parts: &'a [u8],
}

impl<'a> Iterator for Iter<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        loop {
            if let Some((number, value)) = split(self.parts) {
                self.parts = &self.parts[2 + value.len()..];
                return Some(Attribute { id: Id::Vendor { vendor: self.vendor, number }, value });
            }
            let (number, value) = split(self.rest)?;
            self.rest = &self.rest[2 + value.len()..];
            match known_vendor(value) {
                Some((vendor, parts)) if number == VENDOR_SPECIFIC => {
                    (self.vendor, self.parts) = (vendor, parts);
                }
                _ => return Some(Attribute { id: Id::Standard(number), value }),
            }
        }
    }
}

/// The number and the value of the attribute that the octets start with.
fn split(octets: &[u8]) -> Option<(u8, &[u8])> {
    let (&[number, length], rest) = octets.split_first_chunk()?;
    let value = rest.get(..usize::from(length).checked_sub(2)?)?;
    Some((number, value))
}

/// The vendor of a Vendor-Specific attribute and its own attributes, if we know how they are laid
/// out (RFC 2865 §5.26).
fn known_vendor(value: &[u8]) -> Option<(u32, &[u8])> {
    let (vendor, parts) = value.split_first_chunk()?;
    let vendor = u32::from_be_bytes(*vendor);
    dictionary::VENDORS.contains(&vendor).then_some((vendor, parts))
}

#[cfg(test)]
mod tests;
