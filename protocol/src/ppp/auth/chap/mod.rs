//! CHAP: its packets here, and in two files its two sides, with MD5 or as MS-CHAP.
//!
//! Implements RFC 1994 §4 on top of [`Packet`](crate::ppp::packet::Packet). What a value means is
//! the business of the algorithm.

mod authenticator;
mod peer;

pub(crate) use authenticator::Authenticator;
pub(crate) use peer::Peer;

use super::Method;

/// Challenge.
pub const CHALLENGE: u8 = 1;
/// Response.
pub const RESPONSE: u8 = 2;
/// Success.
pub const SUCCESS: u8 = 3;
/// Failure.
pub const FAILURE: u8 = 4;

/// What CHAP's values are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Md5,
    MsChapV1,
    MsChapV2,
}

impl Algorithm {
    /// Octets of a Challenge's value: RFC 2433 §5, RFC 2759 §3; as many for MD5, whose strength
    /// they are (RFC 1994 §2.3).
    const fn challenge_len(self) -> usize {
        match self {
            Self::MsChapV1 => 8,
            Self::Md5 | Self::MsChapV2 => 16,
        }
    }

    const fn method(self) -> Method {
        match self {
            Self::Md5 => Method::ChapMd5,
            Self::MsChapV1 => Method::MsChapV1,
            Self::MsChapV2 => Method::MsChapV2,
        }
    }
}

/// The data of a Challenge or a Response (RFC 1994 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value<'a> {
    /// The value, 1 to 255 octets.
    pub value: &'a [u8],
    /// Name of the sender: what the value leaves of the packet.
    pub name: &'a [u8],
}

impl<'a> Value<'a> {
    /// Reads a packet's data. `None` if the value is empty or longer than the data.
    #[must_use]
    pub fn parse(data: &'a [u8]) -> Option<Self> {
        let (&size, rest) = data.split_first()?;
        let (value, name) = rest.split_at_checked(size.into())?;
        (!value.is_empty()).then_some(Self { value, name })
    }

    /// The packet's data. Octets of the value beyond 255 are left out.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let value = &self.value[..self.value.len().min(255)];
        let size = u8::try_from(value.len()).unwrap_or(u8::MAX);
        [&[size], value, self.name].concat()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_lying_value_size_is_refused() {
        for data in [&[][..], &[0], &[0, b'a'], &[3, 1, 2]] {
            assert_eq!(Value::parse(data), None, "{data:02x?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(data: Vec<u8>) {
            if let Some(value) = Value::parse(&data) {
                prop_assert_eq!(value.emit(), data);
            }
        }
    }
}
