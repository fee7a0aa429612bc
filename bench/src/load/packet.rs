//! What goes through the tunnels: ICMP echoes (RFC 792) and UDP datagrams (RFC 768) over IPv4 whose
//! contents say who sent them, as the how manieth and when, and are checked octet by octet.
//! Never takes a packet for its own that another run sent.

use std::net::Ipv4Addr;

const IP_HEADER: usize = 20;
/// UDP's or ICMP's.
const INNER_HEADER: usize = 8;
const MARK: usize = 12;
/// Octets of the shortest packet.
pub const SHORTEST: usize = IP_HEADER + INNER_HEADER + MARK;
const TTL: u8 = 64;
const ICMP: u8 = 1;
const UDP: u8 = 17;
const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;

/// The form of packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An ICMP echo, which whoever gets it returns.
    Echo,
    /// A UDP datagram to this port, and from it.
    Datagram(u16),
}

/// What a packet says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Whose tunnel it was sent by.
    pub tunnel: u16,
    /// Counted by the sender, from 0.
    pub sequence: u32,
    /// When it was sent, µs since the run began; turns over after 71 minutes.
    pub micros: u32,
}

/// What came instead of a packet of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unexpected {
    /// Something else, such as a broadcast or a packet of an older run.
    Foreign,
    /// It is ours and not what we sent.
    Corrupt,
    /// An ICMP error of this type and code.
    Error(u8, u8),
}

impl Kind {
    /// Appends a packet of `length` octets, [`SHORTEST`] to 65,535.
    pub fn emit(
        self,
        packet: &mut Vec<u8>,
        [from, to]: [Ipv4Addr; 2],
        length: usize,
        mark: Mark,
        run: u32,
    ) {
        let start = packet.len();
        let total = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
        let protocol = if self == Self::Echo { ICMP } else { UDP };
        packet.extend([0x45, 0, total[0], total[1], 0, 0, 0, 0, TTL, protocol, 0, 0]);
        packet.extend(from.octets());
        packet.extend(to.octets());
        let sum = checksum(&packet[start..]).to_be_bytes();
        packet[start + 10..start + 12].copy_from_slice(&sum);
        match self {
            Self::Echo => {
                packet.extend([ECHO_REQUEST, 0, 0, 0]);
                packet.extend(mark.tunnel.to_be_bytes());
                packet.extend(((mark.sequence & 0xFFFF) as u16).to_be_bytes());
            }
            Self::Datagram(port) => {
                let length = u16::try_from(length - IP_HEADER).unwrap_or(u16::MAX);
                packet.extend(port.to_be_bytes());
                packet.extend(port.to_be_bytes());
                packet.extend(length.to_be_bytes());
                // RFC 768: zero says that there is no checksum; the contents prove more.
                packet.extend([0, 0]);
            }
        }
        packet.extend(mark.sequence.to_be_bytes());
        packet.extend(mark.micros.to_be_bytes());
        packet.extend(mark.tunnel.to_be_bytes());
        packet.extend(mark.proof(run).to_be_bytes());
        packet.extend(filling(mark.sequence).take(length - SHORTEST));
        if self == Self::Echo {
            let sum = checksum(&packet[start + IP_HEADER..]).to_be_bytes();
            packet[start + IP_HEADER + 2..start + IP_HEADER + 4].copy_from_slice(&sum);
        }
    }

    /// The mark of a packet that came back.
    ///
    /// # Errors
    /// When it is not what was sent.
    pub fn parse(self, packet: &[u8], run: u32) -> Result<Mark, Unexpected> {
        let (&[0x45, _, high, low], _) = packet.split_first_chunk().ok_or(Unexpected::Foreign)?
        else {
            return Err(Unexpected::Foreign);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (Some(&protocol), Some(inner)) = (packet.get(9), packet.get(IP_HEADER..length)) else {
            return Err(Unexpected::Foreign);
        };
        let (&[a, b, c, d, ..], contents) =
            inner.split_first_chunk::<INNER_HEADER>().ok_or(Unexpected::Foreign)?;
        match (self, protocol) {
            (Self::Echo, ICMP) if a == ECHO_REPLY => {}
            // RFC 792: Destination Unreachable, Source Quench, Redirect, Time Exceeded and
            // Parameter Problem.
            (_, ICMP) if matches!(a, 3 | 4 | 5 | 11 | 12) => {
                let is_older = mark(contents.get(IP_HEADER + INNER_HEADER..).unwrap_or_default())
                    .is_some_and(|(mark, proof, _)| mark.proof(run) != proof);
                // With fewer octets of the packet than say whose it was, it is ours.
                return Err(if is_older { Unexpected::Foreign } else { Unexpected::Error(a, b) });
            }
            (Self::Datagram(port), UDP) if u16::from_be_bytes([c, d]) == port => {}
            _ => return Err(Unexpected::Foreign),
        }
        let (mark, proof, rest) = mark(contents).ok_or(Unexpected::Foreign)?;
        if mark.proof(run) != proof {
            return Err(Unexpected::Foreign);
        }
        let is_whole = rest.iter().copied().eq(filling(mark.sequence).take(rest.len()));
        if is_whole { Ok(mark) } else { Err(Unexpected::Corrupt) }
    }
}

impl Mark {
    /// What marks of this run have and others' hardly ever.
    fn proof(self, run: u32) -> u16 {
        let mut hash = run ^ self.sequence.rotate_left(16) ^ u32::from(self.tunnel);
        hash = hash.wrapping_mul(0x9E37_79B1) ^ self.micros;
        hash = hash.wrapping_mul(0x85EB_CA6B);
        (hash >> 16) as u16
    }
}

/// The mark that contents begin with, its proof, and what follows.
fn mark(contents: &[u8]) -> Option<(Mark, u16, &[u8])> {
    let (&[s0, s1, s2, s3, t0, t1, t2, t3, n0, n1, p0, p1], rest) =
        contents.split_first_chunk::<MARK>()?;
    let mark = Mark {
        tunnel: u16::from_be_bytes([n0, n1]),
        sequence: u32::from_be_bytes([s0, s1, s2, s3]),
        micros: u32::from_be_bytes([t0, t1, t2, t3]),
    };
    Some((mark, u16::from_be_bytes([p0, p1]), rest))
}

/// Octets that the next packet's differ from everywhere.
fn filling(sequence: u32) -> impl Iterator<Item = u8> {
    (sequence & 0xFF..).map(|octet| (octet & 0xFF) as u8)
}

/// RFC 1071.
fn checksum(octets: &[u8]) -> u16 {
    let words = octets
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u32::from(low)));
    let sum: u32 = words.sum();
    let sum = (sum & 0xFFFF) + (sum >> 16);
    !((((sum & 0xFFFF) + (sum >> 16)) & 0xFFFF) as u16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RUN: u32 = 0xC0FF_EE00;
    const ENDS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)];

    /// As it comes back.
    fn packet(kind: Kind, length: usize, mark: Mark) -> Vec<u8> {
        let mut packet = Vec::new();
        kind.emit(&mut packet, ENDS, length, mark, RUN);
        if kind == Kind::Echo {
            packet[IP_HEADER] = ECHO_REPLY;
        }
        packet
    }

    proptest! {
        #[test]
        fn what_was_sent_comes_back_and_a_change_is_noticed(
            length in SHORTEST..1500, tunnel: u16, sequence: u32, micros: u32, echo: bool,
            at: prop::sample::Index, change in 1_u8..,
        ) {
            let kind = if echo { Kind::Echo } else { Kind::Datagram(4747) };
            let mark = Mark { tunnel, sequence, micros };
            let mut packet = packet(kind, length, mark);
            prop_assert_eq!(packet.len(), length);
            prop_assert_eq!(kind.parse(&packet, RUN), Ok(mark));
            prop_assert_eq!(checksum(&packet[..IP_HEADER]), 0);

            let start = IP_HEADER + INNER_HEADER;
            let at = start + at.index(packet.len() - start);
            packet[at] ^= change;
            let parsed = kind.parse(&packet, RUN);
            prop_assert!(parsed != Ok(mark), "{at}");
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, header: bool) {
            let mut bytes = bytes;
            if header && bytes.len() > 1 {
                bytes[0] = 0x45;
            }
            let _ = Kind::Echo.parse(&bytes, RUN);
            let _ = Kind::Datagram(9).parse(&bytes, RUN);
        }
    }

    #[test]
    fn other_runs_and_icmp_errors_are_told_apart() {
        let mark = Mark { tunnel: 7, sequence: 9, micros: 1 };
        let echo = packet(Kind::Echo, 64, mark);
        assert_eq!(Kind::Echo.parse(&echo, RUN + 1), Err(Unexpected::Foreign));
        assert_eq!(Kind::Datagram(9).parse(&echo, RUN), Err(Unexpected::Foreign));
        let error = |about: &[u8]| {
            let mut error = echo.clone();
            error.truncate(IP_HEADER + INNER_HEADER);
            error.extend_from_slice(about);
            let length = u16::try_from(error.len()).unwrap().to_be_bytes();
            error[2..4].copy_from_slice(&length);
            error[IP_HEADER..IP_HEADER + 2].copy_from_slice(&[3, 1]);
            error
        };
        for about in [&echo[..], &echo[..IP_HEADER + INNER_HEADER]] {
            assert_eq!(Kind::Echo.parse(&error(about), RUN), Err(Unexpected::Error(3, 1)));
        }
        assert_eq!(Kind::Echo.parse(&error(&echo), RUN + 1), Err(Unexpected::Foreign));
    }
}
