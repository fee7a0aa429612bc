//! Reads the captures in `tests/data`: classic pcap files of Ethernet frames with IPv4 inside.
//!
//! Captures of independent implementations are what proves a decoder. Nothing here is robust
//! against bad files; a test that meets one should fail.

// Each test binary compiles this module and uses only a part of it.
#![allow(dead_code)]
// Helpers of tests fail by panicking; clippy.toml's exception reaches only test functions.
#![allow(clippy::panic)]

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

/// IP protocol number of TCP.
pub const TCP: u8 = 6;
/// IP protocol number of GRE.
pub const GRE: u8 = 47;

/// One IPv4 packet of a capture. Ethernet's padding is already cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Time since the Unix epoch.
    pub time: Duration,
    pub src: Ipv4Addr,
    pub dst: Ipv4Addr,
    /// IP protocol number: [`TCP`], [`GRE`], …
    pub protocol: u8,
    pub body: Body,
}

/// What follows the IP header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    Tcp { source_port: u16, destination_port: u16, sequence: u32, syn: bool, payload: Vec<u8> },
    Other(Vec<u8>),
}

impl Packet {
    /// The GRE packet, header included, if this is one.
    pub fn gre(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Other(bytes) if self.protocol == GRE => Some(bytes),
            _ => None,
        }
    }
}

/// The IPv4 packets of `tests/data/{name}`, in the order of the capture. Frames of other protocols
/// are left out.
pub fn read(name: &str) -> Vec<Packet> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let file = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(le32(&file, 0), 0xA1B2_C3D4, "{name}: little-endian pcap with microseconds");
    assert_eq!(le32(&file, 20), 1, "{name}: link type Ethernet");
    let mut packets = Vec::new();
    let mut rest = &file[24..];
    while !rest.is_empty() {
        let time = Duration::new(le32(rest, 0).into(), le32(rest, 4) * 1000);
        let captured = le32(rest, 8) as usize;
        assert_eq!(captured, le32(rest, 12) as usize, "{name}: captured whole");
        packets.extend(ipv4(time, &rest[16..16 + captured]));
        rest = &rest[16 + captured..];
    }
    packets
}

/// The bytes of one direction of every TCP connection in the capture: `(source address, source
/// port, bytes)` in order of first appearance, retransmissions removed.
pub fn tcp_streams(packets: &[Packet]) -> Vec<(Ipv4Addr, u16, Vec<u8>)> {
    struct Stream {
        key: (Ipv4Addr, u16),
        first: u32,
        bytes: Vec<u8>,
    }
    let mut streams: Vec<Stream> = Vec::new();
    for packet in packets {
        let Body::Tcp { source_port, sequence, syn, payload, .. } = &packet.body else { continue };
        let key = (packet.src, *source_port);
        if *syn {
            streams.retain(|stream| stream.key != key);
            streams.push(Stream { key, first: sequence.wrapping_add(1), bytes: Vec::new() });
            continue;
        }
        let Some(stream) = streams.iter_mut().find(|stream| stream.key == key) else { continue };
        let offset = sequence.wrapping_sub(stream.first) as usize;
        let known = stream.bytes.len();
        if !payload.is_empty() && offset <= known && offset + payload.len() > known {
            stream.bytes.extend_from_slice(&payload[known - offset..]);
        }
    }
    streams.into_iter().map(|stream| (stream.key.0, stream.key.1, stream.bytes)).collect()
}

fn ipv4(time: Duration, frame: &[u8]) -> Option<Packet> {
    if be16(frame, 12) != 0x0800 {
        return None;
    }
    let ip = &frame[14..];
    let ip = &ip[..usize::from(be16(ip, 2))];
    let address = |at: usize| Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]);
    assert_eq!(be16(ip, 6) & 0x3FFF, 0, "captures hold no fragments");
    let payload = &ip[usize::from(ip[0] & 0x0F) * 4..];
    let body = if ip[9] == TCP {
        Body::Tcp {
            source_port: be16(payload, 0),
            destination_port: be16(payload, 2),
            sequence: u32::from(be16(payload, 4)) << 16 | u32::from(be16(payload, 6)),
            syn: payload[13] & 0x02 != 0,
            payload: payload[usize::from(payload[12] >> 4) * 4..].to_vec(),
        }
    } else {
        Body::Other(payload.to_vec())
    };
    Some(Packet { time, src: address(12), dst: address(16), protocol: ip[9], body })
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}
