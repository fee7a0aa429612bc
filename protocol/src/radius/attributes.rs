//! The list of attributes that a packet is made of.
//!
//! Implements the layouts of RFC 2865 §5 and §5.26. A value that does not fit is remembered and
//! refused when the packet is sealed, so that nobody sends half of one. Knows no header.

use std::fmt;
use std::net::Ipv4Addr;

use super::dictionary::{Definition, Id, VENDOR_SPECIFIC};
use super::value::Value;
use super::{HEADER_LEN, MAX_LEN};

/// Longest value of an attribute, octets (RFC 2865 §5).
pub const MAX_VALUE_LEN: usize = 253;
/// Longest value of a vendor's attribute alone in its Vendor-Specific (RFC 2865 §5.26).
pub const MAX_VENDOR_VALUE_LEN: usize = MAX_VALUE_LEN - 6;

/// What did not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{name} does not fit into the packet ({length} octets)")]
pub struct TooLong {
    /// The attribute.
    pub name: &'static str,
    /// Octets of its value.
    pub length: usize,
}

/// Attributes in order, as on the wire.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    bytes: Vec<u8>,
    too_long: Option<TooLong>,
}

impl Attributes {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), too_long: None }
    }

    /// Takes octets that [`Self::as_bytes`] gave. `None` if they divide into no attributes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        while let [_number, length, ..] = rest {
            rest = rest.get(usize::from(*length).max(2)..).filter(|_| *length >= 2)?;
        }
        let whole = rest.is_empty() && HEADER_LEN + bytes.len() <= MAX_LEN;
        whole.then(|| Self { bytes: bytes.to_vec(), too_long: None })
    }

    /// Adds octets.
    pub fn octets(&mut self, definition: Definition, value: &[u8]) -> &mut Self {
        let (head, limit) = match definition.id {
            Id::Standard(number) => (vec![number, 0], MAX_VALUE_LEN),
            Id::Vendor { vendor, number } => {
                let [a, b, c, d] = vendor.to_be_bytes();
                (vec![VENDOR_SPECIFIC, 0, a, b, c, d, number, 0], MAX_VENDOR_VALUE_LEN)
            }
        };
        let fits = value.len() <= limit
            && HEADER_LEN + self.bytes.len() + head.len() + value.len() <= MAX_LEN;
        if !fits {
            let too_long = TooLong { name: definition.name, length: value.len() };
            self.too_long.get_or_insert(too_long);
            return self;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&head);
        self.bytes.extend_from_slice(value);
        // One octet for the length of the attribute, and one for the vendor's own within it.
        for at in [start + 1, start + 7].into_iter().take(if head.len() == 2 { 1 } else { 2 }) {
            let length = self.bytes.len() - (at - 1);
            self.bytes[at] = u8::try_from(length).unwrap_or(u8::MAX);
        }
        self
    }

    /// Adds text.
    pub fn text(&mut self, definition: Definition, value: &str) -> &mut Self {
        self.octets(definition, value.as_bytes())
    }

    /// Adds a number, or a time in seconds since 1970.
    pub fn integer(&mut self, definition: Definition, value: u32) -> &mut Self {
        self.octets(definition, &value.to_be_bytes())
    }

    /// Adds an IPv4 address.
    pub fn address(&mut self, definition: Definition, value: Ipv4Addr) -> &mut Self {
        self.octets(definition, &value.octets())
    }

    /// Adds a value in whatever form it has.
    pub fn value(&mut self, definition: Definition, value: &Value<'_>) -> &mut Self {
        self.octets(definition, &value.emit())
    }

    /// Adds all of these.
    pub fn append(&mut self, more: &Self) -> &mut Self {
        if HEADER_LEN + self.bytes.len() + more.bytes.len() > MAX_LEN {
            let too_long = TooLong { name: "the list of attributes", length: more.bytes.len() };
            self.too_long.get_or_insert(too_long);
        } else {
            self.bytes.extend_from_slice(&more.bytes);
        }
        self.too_long = self.too_long.or(more.too_long);
        self
    }

    /// Whether an attribute of this kind has this value.
    #[must_use]
    pub fn has(&self, definition: Definition, value: &[u8]) -> bool {
        let mut one = Self::new();
        one.octets(definition, value);
        let mut rest = self.bytes.as_slice();
        while let [_number, length, ..] = rest {
            let (attribute, more) = rest.split_at(usize::from(*length).clamp(2, rest.len()));
            if attribute == one.bytes {
                return true;
            }
            rest = more;
        }
        false
    }

    /// The octets.
    ///
    /// # Errors
    /// If something was left out because it did not fit.
    pub fn as_bytes(&self) -> Result<&[u8], TooLong> {
        match self.too_long {
            Some(too_long) => Err(too_long),
            None => Ok(&self.bytes),
        }
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be secrets.
        f.debug_struct("Attributes").field("octets", &self.bytes.len()).finish_non_exhaustive()
    }
}
