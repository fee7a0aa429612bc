//! Ethernet frames for tests, every field free to be wrong.

use std::net::{Ipv4Addr, Ipv6Addr};

pub const PEER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
pub const OTHER_PEER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 8);
pub const LISTENER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub const SUBSCRIBER: Ipv4Addr = Ipv4Addr::new(10, 20, 3, 4);
/// Our own address, inside the subscribers' prefix.
pub const OWN: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 1);
/// A subscriber's whose packets the kernel forwards.
pub const BY_KERNEL: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 2);
pub const STRANGER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
/// The same in IPv6: in a prefix of 48 bits, ours in there, in a prefix of 64 bits in there, elsewhere.
pub const SUBSCRIBER_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xDB8, 20, 3, 0, 0, 0, 4);
pub const OWN_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xDB8, 20, 3, 0, 0, 0, 1);
pub const BY_KERNEL_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xDB8, 20, 7, 0, 0, 0, 2);
pub const STRANGER_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xDB8, 21, 0, 0, 0, 0, 9);
pub const CALL_ID: u16 = 0x1234;
pub const UNUSED_CALL_ID: u16 = 0x1235;

/// Ethertypes of tags.
pub const CUSTOMER: u16 = 0x8100;
pub const SERVICE: u16 = 0x88A8;
/// VLANs that have roles: this one, and the same inside of the service VLAN.
pub const VLAN: u16 = 7;
pub const SERVICE_VLAN: u16 = 4094;

pub const UDP: u8 = 17;
pub const TCP: u8 = 6;
pub const GRE: u8 = 47;

/// What differs from frame to frame.
#[derive(Debug, Clone)]
pub struct Frame {
    pub destination_mac: [u8; 6],
    /// VLAN tags, outermost first: ethertype, then priority and VLAN ID.
    pub tags: Vec<(u16, u16)>,
    pub ethertype: u16,
    pub version_and_length: u8,
    pub total_length: u16,
    pub fragment: u16,
    pub protocol: u8,
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn ipv4(protocol: u8, source: Ipv4Addr, destination: Ipv4Addr, payload: Vec<u8>) -> Self {
        Self {
            destination_mac: [0x02, 0, 0, 0, 0, 1],
            tags: Vec::new(),
            ethertype: 0x0800,
            version_and_length: 0x45,
            total_length: u16::try_from(20 + payload.len()).unwrap(),
            fragment: 0x4000,
            protocol,
            source,
            destination,
            payload,
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = ethernet(self.destination_mac, &self.tags, self.ethertype);
        bytes.extend([self.version_and_length, 0]);
        bytes.extend(self.total_length.to_be_bytes());
        bytes.extend([0, 1]);
        bytes.extend(self.fragment.to_be_bytes());
        bytes.extend([64, self.protocol, 0, 0]);
        bytes.extend(self.source.octets());
        bytes.extend(self.destination.octets());
        bytes.extend(&self.payload);
        bytes
    }
}

/// The same of IPv6.
#[derive(Debug, Clone)]
pub struct Ipv6Frame {
    pub destination_mac: [u8; 6],
    pub tags: Vec<(u16, u16)>,
    pub version_and_class: u8,
    pub next: u8,
    pub destination: Ipv6Addr,
    pub payload: Vec<u8>,
}

impl Ipv6Frame {
    pub fn new(next: u8, destination: Ipv6Addr, payload: Vec<u8>) -> Self {
        Self {
            destination_mac: [0x02, 0, 0, 0, 0, 1],
            tags: Vec::new(),
            version_and_class: 0x60,
            next,
            destination,
            payload,
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = ethernet(self.destination_mac, &self.tags, 0x86DD);
        bytes.extend([self.version_and_class, 0, 0, 0]);
        bytes.extend(u16::try_from(self.payload.len()).unwrap().to_be_bytes());
        bytes.extend([self.next, 64]);
        bytes.extend(STRANGER_IPV6.octets());
        bytes.extend(self.destination.octets());
        bytes.extend(&self.payload);
        bytes
    }
}

fn ethernet(destination: [u8; 6], tags: &[(u16, u16)], ethertype: u16) -> Vec<u8> {
    let mut bytes = destination.to_vec();
    bytes.extend([0x02, 0, 0, 0, 0, 2]);
    for (ethertype, control) in tags {
        bytes.extend(ethertype.to_be_bytes());
        bytes.extend(control.to_be_bytes());
    }
    bytes.extend(ethertype.to_be_bytes());
    bytes
}

/// PPTP's GRE with a sequence number (RFC 2637 §4.1).
pub fn pptp(source: Ipv4Addr, destination: Ipv4Addr, call_id: u16) -> Frame {
    let mut gre = vec![0x30, 0x01, 0x88, 0x0B, 0, 4];
    gre.extend(call_id.to_be_bytes());
    gre.extend([0, 0, 0, 1]);
    gre.extend([0xFF, 0x03, 0xC0, 0x21]);
    Frame::ipv4(GRE, source, destination, gre)
}
