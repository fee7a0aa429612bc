//! Lists of configuration options: type, length, data.
//!
//! Implements RFC 1661 §6. A list is checked as a whole before its first option is seen; what an
//! option's data means is its protocol's business.

/// Why a list is no list of options: its packet is discarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("option {kind} says {length} octets long, which cannot be")]
pub struct Malformed {
    /// The option's type.
    pub kind: u8,
    /// Its length field; 0 too if the list ends before the field.
    pub length: u8,
}

/// One option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opt<'a> {
    /// Its type.
    pub kind: u8,
    /// Its data, without type and length, 0 to 253 octets.
    pub data: &'a [u8],
}

impl Opt<'_> {
    /// The data as a number of 16 bits, if it has that size.
    #[must_use]
    pub fn as_u16(&self) -> Option<u16> {
        self.data.try_into().ok().map(u16::from_be_bytes)
    }

    /// The data as a number of 32 bits, if it has that size.
    #[must_use]
    pub fn as_u32(&self) -> Option<u32> {
        self.data.try_into().ok().map(u32::from_be_bytes)
    }
}

/// A checked list of options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options<'a>(&'a [u8]);

impl<'a> Options<'a> {
    /// Checks that the lengths of all options add up.
    ///
    /// # Errors
    /// They do not (RFC 1661 §6: the length field counts type, length and data).
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut rest = bytes;
        while let [kind, ref tail @ ..] = *rest {
            let length = tail.first().copied().unwrap_or(0);
            if length < 2 || usize::from(length) > rest.len() {
                return Err(Malformed { kind, length });
            }
            rest = &rest[usize::from(length)..];
        }
        Ok(Self(bytes))
    }

    /// The options in order.
    #[must_use]
    pub const fn iter(&self) -> Iter<'a> {
        Iter(self.0)
    }

    /// The first option of this type.
    #[must_use]
    pub fn find(&self, kind: u8) -> Option<Opt<'a>> {
        self.iter().find(|option| option.kind == kind)
    }

    /// The list as on the wire.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }
}

impl<'a> IntoIterator for Options<'a> {
    type Item = Opt<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// The options of a checked list.
#[derive(Debug, Clone)]
pub struct Iter<'a>(&'a [u8]);

impl<'a> Iterator for Iter<'a> {
    type Item = Opt<'a>;

    fn next(&mut self) -> Option<Opt<'a>> {
        let (&kind, &length) = (self.0.first()?, self.0.get(1)?);
        let data = self.0.get(2..usize::from(length))?;
        self.0 = &self.0[usize::from(length)..];
        Some(Opt { kind, data })
    }
}

/// A list of options that is being written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OptionList(Vec<u8>);

impl OptionList {
    /// An empty list.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Appends an option. Data beyond 253 octets is left out.
    pub fn push(&mut self, kind: u8, data: &[u8]) {
        let data = &data[..data.len().min(253)];
        let length = u8::try_from(data.len() + 2).unwrap_or(u8::MAX);
        self.0.extend_from_slice(&[kind, length]);
        self.0.extend_from_slice(data);
    }

    /// The list as on the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Has it no options?
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bad_length_spoils_the_whole_list() {
        for (bytes, kind, length) in [
            (&[1, 4, 5, 0xDC, 3][..], 3, 0),
            (&[1, 4, 5, 0xDC, 3, 1], 3, 1),
            (&[1, 4, 5, 0xDC, 3, 0], 3, 0),
            (&[1, 4, 5], 1, 4),
        ] {
            assert_eq!(Options::parse(bytes), Err(Malformed { kind, length }), "{bytes:02x?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            if let Ok(options) = Options::parse(&bytes) {
                let mut again = OptionList::new();
                for option in options {
                    again.push(option.kind, option.data);
                }
                prop_assert_eq!(again.as_bytes(), &bytes[..]);
            }
        }

        #[test]
        fn what_is_written_is_read(list: Vec<(u8, Vec<u8>)>) {
            let mut written = OptionList::new();
            for (kind, data) in &list {
                written.push(*kind, data);
            }
            let options = Options::parse(written.as_bytes()).unwrap();
            let read: Vec<_> = options.iter().map(|o| (o.kind, o.data.to_vec())).collect();
            prop_assert_eq!(read, list);
        }
    }
}
