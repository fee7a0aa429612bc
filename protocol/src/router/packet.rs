//! The packets that carry what a router and its host say: IP, UDP and ICMPv6, no more of them than
//! that needs.
//!
//! Implements RFC 791 §3.1, RFC 768, RFC 8200 §3 and §8.1, RFC 4443 §2. Takes no IP options,
//! extension headers or fragments: nothing that is said here needs them.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Protocol numbers (IANA).
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const UDP_HEADER: usize = 8;

/// What an IPv6 packet brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ipv6<'a> {
    pub(super) source: Ipv6Addr,
    pub(super) destination: Ipv6Addr,
    pub(super) hop_limit: u8,
    pub(super) payload: Ipv6Payload<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ipv6Payload<'a> {
    /// An ICMPv6 message, from its type on.
    Icmp(&'a [u8]),
    /// A datagram to this port.
    Udp(u16, &'a [u8]),
}

/// Reads a whole packet whose checksum is right; anything else is nothing.
pub(super) fn parse_ipv6(packet: &[u8]) -> Option<Ipv6<'_>> {
    let header: &[u8; IPV6_HEADER] = packet.first_chunk()?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let payload = packet.get(IPV6_HEADER..)?.get(..length)?;
    let source = address(header.get(8..24)?)?;
    let destination = address(header.get(24..40)?)?;
    let protocol = header[6];
    if pseudo_sum(source, destination, protocol, payload) != 0xFFFF {
        return None;
    }
    let payload = match protocol {
        ICMPV6 => Ipv6Payload::Icmp(payload),
        // A checksum of zero is none, which IPv6 forbids (RFC 8200 §8.1).
        UDP if payload.get(6..8)? != [0, 0] => {
            let (port, data) = parse_udp(payload)?;
            Ipv6Payload::Udp(port, data)
        }
        _ => return None,
    };
    Some(Ipv6 { source, destination, hop_limit: header[7], payload })
}

fn address(octets: &[u8]) -> Option<Ipv6Addr> {
    octets.first_chunk().copied().map(Ipv6Addr::from_octets)
}

/// Destination port and data.
fn parse_udp(datagram: &[u8]) -> Option<(u16, &[u8])> {
    let header: &[u8; UDP_HEADER] = datagram.first_chunk()?;
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let data = datagram.get(UDP_HEADER..length)?;
    Some((u16::from_be_bytes([header[2], header[3]]), data))
}

/// Source address, destination port and data of a UDP packet over IPv4.
pub(super) fn parse_udp_ipv4(packet: &[u8]) -> Option<(Ipv4Addr, u16, &[u8])> {
    let header: &[u8; IPV4_HEADER] = packet.first_chunk()?;
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3FFF;
    if header[0] != 0x45 || header[9] != UDP || fragment != 0 {
        return None;
    }
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let datagram = packet.get(IPV4_HEADER..length)?;
    let (port, data) = parse_udp(datagram)?;
    let source = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
    let destination = Ipv4Addr::new(header[16], header[17], header[18], header[19]);
    let checksum = datagram.get(6..8)?;
    let is_right = || udp_sum_ipv4(source, destination, datagram) == 0xFFFF;
    (checksum == [0, 0] || is_right()).then_some((source, port, data))
}

/// An ICMPv6 message as a packet; its checksum field is filled in. All that hosts hear from their
/// router on the link has the hop limit 255 (RFC 4861 §6.1.2).
pub(super) fn icmpv6(source: Ipv6Addr, destination: Ipv6Addr, message: &mut [u8]) -> Box<[u8]> {
    fill_checksum(message, 2, pseudo_sum(source, destination, ICMPV6, message));
    ipv6(source, destination, ICMPV6, message)
}

/// A datagram as a packet.
pub(super) fn udp_ipv6(
    (source, source_port): (Ipv6Addr, u16),
    (destination, destination_port): (Ipv6Addr, u16),
    data: &[u8],
) -> Box<[u8]> {
    let mut datagram = udp(source_port, destination_port, data);
    let sum = pseudo_sum(source, destination, UDP, &datagram);
    fill_checksum(&mut datagram, 6, sum);
    ipv6(source, destination, UDP, &datagram)
}

fn ipv6(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, payload: &[u8]) -> Box<[u8]> {
    let [high, low] = length(payload).to_be_bytes();
    let head = [0x60, 0, 0, 0, high, low, protocol, 255];
    [&head[..], &source.octets(), &destination.octets(), payload].concat().into()
}

/// A datagram over IPv4 as a packet.
pub(super) fn udp_ipv4(
    (source, source_port): (Ipv4Addr, u16),
    (destination, destination_port): (Ipv4Addr, u16),
    data: &[u8],
) -> Box<[u8]> {
    let mut datagram = udp(source_port, destination_port, data);
    let sum = udp_sum_ipv4(source, destination, &datagram);
    fill_checksum(&mut datagram, 6, sum);
    let mut header = [0; IPV4_HEADER];
    (header[0], header[8], header[9]) = (0x45, 64, UDP);
    let total = length(&datagram).saturating_add(20);
    header[2..4].copy_from_slice(&total.to_be_bytes());
    header[12..16].copy_from_slice(&source.octets());
    header[16..20].copy_from_slice(&destination.octets());
    let sum = fold(words(&header));
    fill_checksum(&mut header, 10, sum);
    [&header[..], &datagram].concat().into()
}

/// A datagram without its checksum.
fn udp(source: u16, destination: u16, data: &[u8]) -> Vec<u8> {
    let length = length(data).saturating_add(8);
    let mut datagram = Vec::with_capacity(UDP_HEADER + data.len());
    for field in [source, destination, length, 0] {
        datagram.extend(field.to_be_bytes());
    }
    datagram.extend(data);
    datagram
}

/// What we say is far shorter than a packet can be.
fn length(payload: &[u8]) -> u16 {
    u16::try_from(payload.len()).unwrap_or(u16::MAX)
}

/// Writes the complement of a sum that was made over a zero in its place.
fn fill_checksum(bytes: &mut [u8], at: usize, sum: u16) {
    // Zero would mean that there is none (RFC 768); both are the same number.
    let checksum = if sum == 0xFFFF { 0xFFFF } else { !sum };
    if let Some(field) = bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *field = checksum.to_be_bytes();
    }
}

/// RFC 8200 §8.1.
fn pseudo_sum(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, payload: &[u8]) -> u16 {
    let sum = words(&source.octets()) + words(&destination.octets());
    fold(sum + u64::from(protocol) + payload.len() as u64 + words(payload))
}

/// RFC 768.
fn udp_sum_ipv4(source: Ipv4Addr, destination: Ipv4Addr, datagram: &[u8]) -> u16 {
    let sum = words(&source.octets()) + words(&destination.octets());
    fold(sum + u64::from(UDP) + datagram.len() as u64 + words(datagram))
}

fn words(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<2>();
    let sum: u64 = words.iter().map(|&word| u64::from(u16::from_be_bytes(word))).sum();
    sum + rest.first().map_or(0, |&octet| u64::from(octet) << 8)
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: Ipv6Addr = Ipv6Addr::new(0xFE80, 0, 0, 0, 0, 0, 0, 1);
    const B: Ipv6Addr = Ipv6Addr::new(0xFE80, 0, 0, 0, 0, 0, 0, 2);

    proptest! {
        #[test]
        fn what_is_written_is_read(data in prop::collection::vec(any::<u8>(), 0..200)) {
            let packet = udp_ipv6((A, 547), (B, 546), &data);
            let read = parse_ipv6(&packet).unwrap();
            prop_assert_eq!((read.source, read.destination, read.hop_limit), (A, B, 255));
            prop_assert_eq!(read.payload, Ipv6Payload::Udp(546, &data));

            let mut message = [&[128, 0, 0, 0][..], &data].concat();
            let packet = icmpv6(A, B, &mut message);
            prop_assert_eq!(parse_ipv6(&packet).unwrap().payload, Ipv6Payload::Icmp(&message));

            let (from, to) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
            let packet = udp_ipv4((from, 67), (to, 68), &data);
            prop_assert_eq!(parse_udp_ipv4(&packet), Some((from, 68, &data[..])));
        }

        #[test]
        fn a_flipped_bit_is_noticed(
            data in prop::collection::vec(any::<u8>(), 8..64),
            at in 0_usize..64,
            bit in 0_u8..8,
        ) {
            let mut packet = udp_ipv6((A, 547), (B, 546), &data).to_vec();
            // Version, lengths, next header and hop limit are not in the sum as such.
            let at = 8 + at % (packet.len() - 8);
            packet[at] ^= 1 << bit;
            prop_assert_eq!(parse_ipv6(&packet), None);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = (parse_ipv6(&bytes), parse_udp_ipv4(&bytes));
        }
    }
}
