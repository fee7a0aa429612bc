//! The other end of a tunnel, for tests: builds and reads whole outer packets with the reference
//! cipher of `protocol`.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::net::Ipv4Addr;

use protocol::gre;
use protocol::mppe::{Header as MppeHeader, SessionKey, StartKey, Stateless, Strength};

/// Octets of an IP header without options.
const IP: usize = 20;

/// A subscriber whose session is up.
#[derive(Clone)]
pub struct Subscriber {
    /// Outer addresses: its own and the box's.
    pub peer: Ipv4Addr,
    pub local: Ipv4Addr,
    /// Call IDs as the box names them.
    pub own_call_id: u16,
    pub peer_call_id: u16,
    /// Inner address.
    pub inner: Ipv4Addr,
    /// GRE sequence number of the packet that was sent last.
    pub sequence: u32,
    sending: Stateless,
    receiving: Stateless,
}

/// What the box sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Received {
    pub sequence: Option<u32>,
    pub acknowledgment: Option<u32>,
    /// A PPP frame, not decrypted.
    pub frame: Vec<u8>,
}

/// The initial keys of a call, as the box receives and sends with.
pub fn keys(own_call_id: u16) -> (SessionKey, SessionKey) {
    let [high, low] = own_call_id.to_be_bytes();
    let key = |direction| {
        let octets = std::array::from_fn(|at| direction ^ if at % 2 == 0 { high } else { low });
        SessionKey::initial(&StartKey::new(&octets, Strength::Bits128))
    };
    (key(1), key(2))
}

impl Subscriber {
    pub fn new(
        peer: Ipv4Addr,
        local: Ipv4Addr,
        (own_call_id, peer_call_id): (u16, u16),
        inner: Ipv4Addr,
    ) -> Self {
        let (receive, send) = keys(own_call_id);
        Self {
            peer,
            local,
            own_call_id,
            peer_call_id,
            inner,
            sequence: 0,
            sending: Stateless::new(receive),
            receiving: Stateless::new(send),
        }
    }

    /// New keys, as after a renegotiation: what it sends and what it receives with.
    pub fn set_keys(&mut self, sending: SessionKey, receiving: SessionKey) {
        self.sending = Stateless::new(sending);
        self.receiving = Stateless::new(receiving);
    }

    /// An encrypted packet from the subscriber's address to `destination`.
    pub fn encrypt(&mut self, destination: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
        let packet = packet(self.inner, destination, payload);
        self.encrypt_packet(&packet)
    }

    /// Any inner packet, encrypted.
    pub fn encrypt_packet(&mut self, packet: &[u8]) -> Vec<u8> {
        self.encrypt_data(&[&[0x00, 0x21], packet].concat())
    }

    /// What begins with the inner protocol number, encrypted.
    pub fn encrypt_data(&mut self, data: &[u8]) -> Vec<u8> {
        let mut data = data.to_vec();
        let header = self.sending.encrypt(&mut data);
        self.frame(&[&[0xFF, 0x03, 0x00, 0xFD], &header.to_octets()[..], &data].concat())
    }

    /// A PPP frame in GRE, with the next sequence number.
    pub fn frame(&mut self, ppp: &[u8]) -> Vec<u8> {
        self.sequence = self.sequence.wrapping_add(1);
        self.frame_at(self.sequence, ppp)
    }

    /// An acknowledgement alone (RFC 2637 §4.2.5).
    pub fn acknowledge(&self, number: u32) -> Vec<u8> {
        let header = gre::Header {
            call_id: self.own_call_id,
            payload_len: 0,
            sequence: None,
            acknowledgment: Some(number),
        };
        let mut octets = [0; gre::MAX_HEADER_LEN];
        let len = header.emit(&mut octets);
        ipv4(gre::IP_PROTOCOL, 64, self.peer, self.local, &octets[..len])
    }

    /// A PPP frame in GRE with any sequence number.
    pub fn frame_at(&self, sequence: u32, ppp: &[u8]) -> Vec<u8> {
        let payload_len = u16::try_from(ppp.len()).unwrap();
        let header = gre::Header {
            call_id: self.own_call_id,
            payload_len,
            sequence: Some(sequence),
            acknowledgment: None,
        };
        let mut octets = [0; gre::MAX_HEADER_LEN];
        let len = header.emit(&mut octets);
        let payload = [&octets[..len], ppp].concat();
        ipv4(gre::IP_PROTOCOL, 64, self.peer, self.local, &payload)
    }

    /// What is in an outer packet of the box, which must be for this subscriber.
    pub fn read(&self, packet: &[u8]) -> Received {
        assert_eq!(packet[12..16], self.local.octets());
        assert_eq!(packet[16..20], self.peer.octets());
        assert_eq!(sum(&packet[..IP]), 0xFFFF, "the outer checksum is right");
        assert_eq!(packet.len(), usize::from(u16::from_be_bytes([packet[2], packet[3]])));
        let (header, frame) = gre::Header::parse(&packet[IP..]).unwrap();
        assert_eq!(header.call_id, self.peer_call_id);
        Received {
            sequence: header.sequence,
            acknowledgment: header.acknowledgment,
            frame: frame.to_vec(),
        }
    }

    /// The inner packet of an outer one of the box; packets missing before it are skipped.
    pub fn decrypt(&mut self, packet: &[u8]) -> Vec<u8> {
        let frame = self.read(packet).frame;
        let (protocol, payload) = protocol::ppp::frame::parse(&frame).unwrap();
        assert_eq!(protocol.number(), 0x00FD);
        let (octets, data) = payload.split_first_chunk().unwrap();
        let mut data = data.to_vec();
        self.receiving.decrypt(MppeHeader::from_octets(*octets), &mut data).unwrap();
        // IPv4 or IPv6, as the packet itself says.
        let numbers = |packet: &[u8]| if packet[0] >> 4 == 6 { 0x57 } else { 0x21 };
        let inner = data.split_off(if data[0] == 0 { 2 } else { 1 });
        assert_eq!(data.last(), Some(&numbers(&inner)));
        inner
    }
}

/// An IPv4 packet of an experimental protocol.
pub fn packet(source: Ipv4Addr, destination: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    ipv4(253, 64, source, destination, payload)
}

/// The same one hop later.
pub fn one_hop_on(packet: &[u8]) -> Vec<u8> {
    let address =
        |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
    ipv4(packet[9], packet[8] - 1, address(12), address(16), &packet[IP..])
}

/// An IPv4 packet.
pub fn ipv4(
    protocol: u8,
    ttl: u8,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    payload: &[u8],
) -> Vec<u8> {
    let total = u16::try_from(IP + payload.len()).unwrap();
    let mut packet = vec![0x45, 0];
    packet.extend(total.to_be_bytes());
    packet.extend([0, 1, 0, 0, ttl, protocol, 0, 0]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    let checksum = !sum(&packet);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend(payload);
    packet
}

/// The ones' complement sum of RFC 1071.
pub fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| {
        u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or_default()]))
    });
    let mut sum: u32 = words.sum();
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    u16::try_from(sum).unwrap()
}
