//! TCP packets for tests, built and checked field by field.

use super::checksum::Sum;

/// A TCP packet in plain values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tcp {
    pub(super) is_ipv4: bool,
    pub(super) host: u8,
    pub(super) identification: u16,
    pub(super) dont_fragment: bool,
    pub(super) sequence: u32,
    pub(super) flags: u8,
    pub(super) options: Vec<u8>,
    pub(super) payload: Vec<u8>,
}

impl Tcp {
    /// A segment of one flow with 100 octets of payload.
    pub(super) fn plain() -> Self {
        Self {
            is_ipv4: true,
            host: 1,
            identification: 7,
            dont_fragment: false,
            sequence: 1000,
            flags: 0x10,
            options: vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
            payload: (0..100).collect(),
        }
    }

    /// The segment that follows this one, with `len` octets of payload.
    pub(super) fn following(&self, len: usize) -> Self {
        Self {
            identification: self.identification.wrapping_add(1),
            sequence: self.sequence.wrapping_add(u32::try_from(self.payload.len()).unwrap()),
            payload: self.payload.iter().cycle().map(|byte| byte ^ 0x5a).take(len).collect(),
            ..self.clone()
        }
    }

    pub(super) fn ip_header(&self) -> usize {
        if self.is_ipv4 { 20 } else { 40 }
    }

    /// The packet with right lengths and checksums.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let tcp_len = u16::try_from(20 + self.options.len() + self.payload.len()).unwrap();
        let mut bytes = if self.is_ipv4 {
            let [id_high, id_low] = self.identification.to_be_bytes();
            let [high, low] = (tcp_len + 20).to_be_bytes();
            let fragment = if self.dont_fragment { 0x40 } else { 0 };
            let mut ip = vec![0x45, 0, high, low, id_high, id_low, fragment, 0, 64, 6, 0, 0];
            ip.extend_from_slice(&[10, 0, 0, self.host, 10, 0, 0, 200]);
            let sum = Sum::default().with(&ip).complement();
            ip[10..12].copy_from_slice(&sum);
            ip
        } else {
            let [high, low] = tcp_len.to_be_bytes();
            let mut ip = vec![0x60, 0, 0, 0, high, low, 6, 64];
            ip.extend_from_slice(&[0xfd; 15]);
            ip.push(self.host);
            ip.extend_from_slice(&[0xfd; 16]);
            ip
        };
        let addresses = bytes[if self.is_ipv4 { 12..20 } else { 8..40 }].to_vec();
        let mut tcp = vec![0x13, 0x88, 0x00, 0x50];
        tcp.extend_from_slice(&self.sequence.to_be_bytes());
        tcp.extend_from_slice(&[0, 0, 0, 9]);
        tcp.push(u8::try_from((20 + self.options.len()) / 4 * 16).unwrap());
        tcp.extend_from_slice(&[self.flags, 0x20, 0, 0, 0, 0, 0]);
        tcp.extend_from_slice(&self.options);
        tcp.extend_from_slice(&self.payload);
        let sum = Sum::default().with_pseudo_header(&addresses, 6, tcp_len).with(&tcp).complement();
        tcp[16..18].copy_from_slice(&sum);
        bytes.append(&mut tcp);
        bytes
    }
}
