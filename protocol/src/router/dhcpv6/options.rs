//! DHCPv6's messages and options as bytes.
//!
//! Implements RFC 8415 §8 (messages), §21.1 (options), §21.3 to §21.22 as far as prefixes are
//! delegated, RFC 3646 (DNS). A view never copies and never believes a length that is not there.

/// Message types (RFC 8415 §7.3).
pub mod kind {
    #![allow(missing_docs, reason = "the constants are the RFC's own words")]
    pub const SOLICIT: u8 = 1;
    pub const ADVERTISE: u8 = 2;
    pub const REQUEST: u8 = 3;
    pub const CONFIRM: u8 = 4;
    pub const RENEW: u8 = 5;
    pub const REBIND: u8 = 6;
    pub const REPLY: u8 = 7;
    pub const RELEASE: u8 = 8;
    pub const DECLINE: u8 = 9;
    pub const INFORMATION_REQUEST: u8 = 11;
}

/// Option codes (RFC 8415 §21, RFC 3646 §3, §4).
pub mod option {
    #![allow(missing_docs, reason = "the constants are the RFCs' own words")]
    pub const CLIENT_ID: u16 = 1;
    pub const SERVER_ID: u16 = 2;
    pub const IA_NA: u16 = 3;
    pub const IA_TA: u16 = 4;
    pub const IA_ADDRESS: u16 = 5;
    pub const REQUESTED: u16 = 6;
    pub const STATUS: u16 = 13;
    pub const RAPID_COMMIT: u16 = 14;
    pub const DNS_SERVERS: u16 = 23;
    pub const DOMAIN_LIST: u16 = 24;
    pub const IA_PD: u16 = 25;
    pub const IA_PREFIX: u16 = 26;
}

/// Status codes (RFC 8415 §21.13).
pub mod status {
    #![allow(missing_docs, reason = "the constants are the RFC's own words")]
    pub const SUCCESS: u16 = 0;
    pub const NO_ADDRESSES: u16 = 2;
    pub const NO_BINDING: u16 = 3;
    pub const NOT_ON_LINK: u16 = 4;
    pub const NO_PREFIX: u16 = 6;
}

/// A list of options whose lengths add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options<'a>(&'a [u8]);

impl<'a> Options<'a> {
    /// Checks a list. `None` if a length runs over its end.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes;
        while !rest.is_empty() {
            (_, _, rest) = split(rest)?;
        }
        Some(Self(bytes))
    }

    /// The options in order: code and data.
    pub fn iter(self) -> impl Iterator<Item = (u16, &'a [u8])> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (code, data, next) = split(rest)?;
            rest = next;
            Some((code, data))
        })
    }

    /// The data of the first option with this code.
    #[must_use]
    pub fn find(self, code: u16) -> Option<&'a [u8]> {
        self.iter().find(|(have, _)| *have == code).map(|(_, data)| data)
    }
}

/// Code and data of the first option, and what follows it.
fn split(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    let [code_high, code_low, high, low] = *head;
    let (data, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([high, low])))?;
    Some((u16::from_be_bytes([code_high, code_low]), data, rest))
}

/// A message of a client or of a server; not of a relay agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its type.
    pub kind: u8,
    /// Tells the answers to one message from those to another.
    pub transaction: [u8; 3],
    /// What it says.
    pub options: Options<'a>,
}

impl<'a> Message<'a> {
    /// Reads a message. `None` if it is none.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (&[kind, a, b, c], options) = bytes.split_first_chunk::<4>()?;
        Some(Self { kind, transaction: [a, b, c], options: Options::parse(options)? })
    }
}

/// An identity association: IAID and what belongs to it (RFC 8415 §21.4, §21.21).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Association<'a> {
    /// Names it within the client.
    pub iaid: [u8; 4],
    /// Addresses or prefixes.
    pub options: Options<'a>,
}

impl<'a> Association<'a> {
    /// Reads an option's data; a temporary one (IA_TA) has no times.
    #[must_use]
    pub fn parse(code: u16, data: &'a [u8]) -> Option<Self> {
        let (iaid, rest) = data.split_first_chunk()?;
        let options = if code == option::IA_TA { rest } else { rest.get(8..)? };
        Some(Self { iaid: *iaid, options: Options::parse(options)? })
    }
}

/// A message or the inside of an option that is being written.
#[derive(Debug, Clone, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// A message without options.
    #[must_use]
    pub fn message(kind: u8, transaction: [u8; 3]) -> Self {
        let [a, b, c] = transaction;
        Self(vec![kind, a, b, c])
    }

    /// Appends octets that are no option.
    #[must_use]
    pub fn raw(mut self, octets: &[u8]) -> Self {
        self.0.extend(octets);
        self
    }

    /// Appends an option.
    #[must_use]
    pub fn option(self, code: u16, data: &[u8]) -> Self {
        // Nothing of ours is longer than a packet.
        let length = u16::try_from(data.len()).unwrap_or(u16::MAX);
        self.raw(&code.to_be_bytes()).raw(&length.to_be_bytes()).raw(data)
    }

    /// Appends an option that is made of another list.
    #[must_use]
    pub fn nested(self, code: u16, inside: &Self) -> Self {
        self.option(code, &inside.0)
    }

    /// Appends a status (RFC 8415 §21.13).
    #[must_use]
    pub fn status(self, status: u16, text: &str) -> Self {
        let data = [&status.to_be_bytes()[..], text.as_bytes()].concat();
        self.option(option::STATUS, &data)
    }

    /// The octets.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}
