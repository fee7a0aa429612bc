//! What the kernels are given: keys, packets, payloads.
//!
//! Implements no RFC section.

/// Octets of every key here.
pub const KEY_LEN: usize = 16;

/// A key of any strength: 40- and 56-bit keys use the first 8 octets, the others are zero.
pub type Key = [u8; KEY_LEN];

/// A packet whose key is known.
#[derive(Debug, Clone, Copy)]
pub struct Packet {
    /// 16 octets; a key of 8 octets is given twice, which is the same key to RC4.
    pub key: Key,
    /// Octets of payload.
    pub length: usize,
    /// What the payload is asked for by.
    pub index: usize,
}

/// Where the payloads of a burst are: what follows the MPPE header, from the inner protocol
/// number to the end of the packet.
pub trait Payloads {
    /// The payload of the packet that `push` gave this index. It has the length that was pushed.
    fn payload(&mut self, packet: usize) -> &mut [u8];
}

impl<P: AsMut<[u8]>> Payloads for [P] {
    fn payload(&mut self, packet: usize) -> &mut [u8] {
        self[packet].as_mut()
    }
}
