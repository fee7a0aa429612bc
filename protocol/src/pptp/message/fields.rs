//! Fixed text fields, and a cursor each way over the fields of a message.
//! RFC 2637 §2: network order, reserved fields are sent as zero. Nothing here allocates.

use std::fmt;

/// A text field of `N` octets, filled up with zeros (RFC 2637 §2.1).
///
/// Ends at the first NUL; what sloppy peers leave behind it is dropped. It need not end with one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Text<const N: usize>([u8; N]);

impl<const N: usize> Text<N> {
    /// No text.
    pub const EMPTY: Self = Self([0; N]);

    /// The first `N` octets of `text`, up to its first NUL.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self::from_octets(text.as_bytes())
    }

    fn from_octets(octets: &[u8]) -> Self {
        let mut field = [0; N];
        let text = octets.iter().take_while(|&&octet| octet != 0);
        for (place, &octet) in field.iter_mut().zip(text) {
            *place = octet;
        }
        Self(field)
    }

    /// The octets in front of the first NUL. Their character set is the peer's secret.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        let end = self.0.iter().position(|&octet| octet == 0).unwrap_or(N);
        &self.0[..end]
    }
}

/// Printable ASCII as it is, all else escaped: a peer's text goes to logs and terminals.
impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_bytes().escape_ascii())
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Takes fields off the front of a message. `None`: the message is too short.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl Reader<'_> {
    fn octets<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (octets, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*octets)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.octets().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.octets().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.octets().map(u32::from_be_bytes)
    }

    pub(super) fn text<const N: usize>(&mut self) -> Option<Text<N>> {
        self.octets::<N>().map(|octets| Text::from_octets(&octets))
    }

    /// A reserved field. Peers are sloppy about the zeros in it.
    pub(super) fn reserved<const N: usize>(&mut self) -> Option<()> {
        self.octets::<N>().map(|_| ())
    }
}

/// Appends fields to a message.
pub(super) struct Writer {
    pub(super) buffer: [u8; super::MAX_LEN],
    pub(super) len: usize,
}

impl Writer {
    fn octets(&mut self, octets: &[u8]) {
        let end = self.len + octets.len();
        // No message is longer than the buffer: the lengths of all types are tested.
        if let Some(place) = self.buffer.get_mut(self.len..end) {
            place.copy_from_slice(octets);
            self.len = end;
        }
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.octets(&[value]);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.octets(&value.to_be_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.octets(&value.to_be_bytes());
    }

    pub(super) fn text<const N: usize>(&mut self, text: &Text<N>) {
        self.octets(&text.0);
    }

    pub(super) fn reserved<const N: usize>(&mut self) {
        self.octets(&[0; N]);
    }
}
