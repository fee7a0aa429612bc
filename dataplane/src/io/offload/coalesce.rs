//! Joining consecutive TCP segments of a burst into large packets for the kernel.
//!
//! The kernel then does its work once per large packet instead of once per segment. Only what
//! cutting gives back is joined: same headers but for lengths, sequence number, identification
//! and PSH (what Linux' GRO asks for), every checksum verified, since the kernel believes ours.
//! Packets of one flow never overtake each other.

use super::checksum::Sum;
use super::{VnetHeader, ipv4, ipv6, read_u16, read_u32, tcp, write};

/// Headers of a large packet at most: IPv6 and TCP with all options.
const HEADERS: usize = ipv6::HEADER + 60;
/// Segments that one large packet joins at most.
const SEGMENTS: usize = 64;
/// Flows of a burst that are open for joining at a time, a power of two.
const FLOWS: usize = 64;

/// Where the parts of a TCP segment are.
#[derive(Debug, Clone, Copy)]
struct Segment {
    is_ipv4: bool,
    ip_header: usize,
    headers: usize,
    payload: usize,
    sequence: u32,
    flags: u8,
}

impl Segment {
    /// A segment that may be joined: without fragments or IP options, nothing but ACK and PSH
    /// set, with payload.
    fn parse(packet: &[u8]) -> Option<Self> {
        let (is_ipv4, ip_header) = match packet.first()? {
            0x45 => (true, ipv4::HEADER),
            first if first >> 4 == 6 => (false, ipv6::HEADER),
            _ => return None,
        };
        let (protocol, length) = if is_ipv4 {
            if read_u16(packet, ipv4::FRAGMENT)? & ipv4::FRAGMENT_MASK != 0 {
                return None;
            }
            (packet.get(ipv4::PROTOCOL)?, usize::from(read_u16(packet, ipv4::TOTAL_LENGTH)?))
        } else {
            let payload = usize::from(read_u16(packet, ipv6::PAYLOAD_LENGTH)?);
            (packet.get(ipv6::NEXT_HEADER)?, ipv6::HEADER + payload)
        };
        let tcp = packet.get(ip_header..)?;
        let data_offset = usize::from(tcp.get(tcp::DATA_OFFSET)? >> 4) * 4;
        let flags = *tcp.get(tcp::FLAGS)?;
        let headers = ip_header + data_offset;
        let payload = packet.len().checked_sub(headers)?;
        (*protocol == tcp::PROTOCOL
            && length == packet.len()
            && data_offset >= tcp::HEADER
            && flags & !tcp::PSH == tcp::ACK
            && payload > 0)
            .then_some(Self {
                is_ipv4,
                ip_header,
                headers,
                payload,
                sequence: read_u32(tcp, tcp::SEQUENCE)?,
                flags,
            })
    }

    /// Addresses and ports: where flows differ.
    fn flow<'a>(&self, packet: &'a [u8]) -> Option<(&'a [u8], u32)> {
        let addresses = if self.is_ipv4 { ipv4::ADDRESSES } else { ipv6::ADDRESSES };
        Some((packet.get(addresses)?, read_u32(packet, self.ip_header)?))
    }

    fn slot(&self, packet: &[u8]) -> Option<usize> {
        let (addresses, ports) = self.flow(packet)?;
        let (words, _) = addresses.as_chunks::<4>();
        let mixed = words
            .iter()
            .fold(u64::from(ports), |mix, &word| {
                mix.rotate_left(21) ^ u64::from(u32::from_ne_bytes(word))
            })
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        usize::try_from(mixed >> (u64::BITS - FLOWS.trailing_zeros())).ok()
    }

    fn pseudo_header(&self, packet: &[u8], length: u16) -> Option<Sum> {
        let (addresses, _) = self.flow(packet)?;
        Some(Sum::default().with_pseudo_header(addresses, tcp::PROTOCOL, length))
    }

    /// Whether both checksums are right.
    fn is_intact(&self, packet: &[u8]) -> bool {
        let checked = || {
            let segment = packet.get(self.ip_header..)?;
            let sum = self.pseudo_header(packet, u16::try_from(segment.len()).ok()?)?;
            let ip = packet.get(..self.ip_header)?;
            Some(
                sum.with(segment).is_valid()
                    && (!self.is_ipv4 || Sum::default().with(ip).is_valid()),
            )
        };
        checked().unwrap_or(false)
    }
}

/// Whether the fields in which segments of one large packet agree are the same.
fn same_headers(one: &[u8], other: &[u8], segment: &Segment) -> Option<bool> {
    let same = |from: usize, to: usize| Some(one.get(from..to)? == other.get(from..to)?);
    let ip = if segment.is_ipv4 {
        same(0, ipv4::TYPE_OF_SERVICE + 1)?
            && same(ipv4::FRAGMENT, ipv4::TIME_TO_LIVE + 1)?
            && same(ipv4::ADDRESSES.start, ipv4::ADDRESSES.end)?
    } else {
        same(0, ipv6::PAYLOAD_LENGTH)? && same(ipv6::NEXT_HEADER, ipv6::HEADER)?
    };
    let at = segment.ip_header;
    Some(
        ip && same(at, at + tcp::SEQUENCE)?
            && same(at + tcp::ACKNOWLEDGMENT, at + tcp::FLAGS)?
            && same(at + tcp::WINDOW, at + tcp::CHECKSUM)?
            && same(at + tcp::URGENT, segment.headers)?,
    )
}

/// A packet of the burst, or several that became one.
#[derive(Debug, Clone)]
pub struct Group {
    first: usize,
    last: usize,
    count: usize,
    payload: usize,
    head: Option<Segment>,
    /// A shorter segment or PSH ended it.
    ended: bool,
    /// The first packet's checksums are known to be right.
    intact: bool,
}

impl Group {
    /// Packets in the group.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }
}

/// Plans how the packets of a burst are joined. Kept from burst to burst for its memory.
#[derive(Debug)]
pub struct Coalescer {
    groups: Vec<Group>,
    /// For each packet, the next one of its group.
    next: Vec<usize>,
    open: [Option<usize>; FLOWS],
}

impl Default for Coalescer {
    fn default() -> Self {
        Self { groups: Vec::new(), next: Vec::new(), open: [None; FLOWS] }
    }
}

impl Coalescer {
    /// Sorts the packets of a burst into groups, in the order of their first packets.
    pub fn plan<P: AsRef<[u8]>>(&mut self, packets: &[P]) {
        self.groups.clear();
        self.next.clear();
        self.next.resize(packets.len(), usize::MAX);
        self.open = [None; FLOWS];
        for at in 0..packets.len() {
            self.place(packets, at);
        }
    }

    fn place<P: AsRef<[u8]>>(&mut self, packets: &[P], at: usize) {
        let packet = packets[at].as_ref();
        let head = Segment::parse(packet);
        let slot = head.and_then(|segment| segment.slot(packet));
        if let (Some(segment), Some(slot)) = (&head, slot)
            && let Some(open) = self.open[slot]
            && let Some(group) = self.groups.get_mut(open)
            && group.take(packets, at, segment) == Some(true)
        {
            self.next[group.last] = at;
            group.last = at;
            return;
        }
        if let Some(slot) = slot {
            self.open[slot] = Some(self.groups.len());
        } else if let Some(slot) = flow_slot(packet) {
            // A packet of the flow that cannot be joined: later ones must not overtake it.
            self.open[slot] = None;
        }
        self.groups.push(Group {
            first: at,
            last: at,
            count: 1,
            payload: head.map_or(0, |segment| segment.payload),
            head,
            ended: head.is_none_or(|segment| segment.flags & tcp::PSH != 0),
            intact: false,
        });
    }

    /// The groups of the last plan.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The places in the burst of a group's packets, in order.
    pub fn members(&self, group: &Group) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(group.first), |&at| self.next.get(at).copied()).take(group.count)
    }
}

/// The slot of a TCP packet's flow, whatever its flags.
fn flow_slot(packet: &[u8]) -> Option<usize> {
    let is_ipv4 = packet.first()? >> 4 == 4;
    let ip_header = if is_ipv4 { usize::from(packet.first()? & 15) * 4 } else { ipv6::HEADER };
    let protocol = packet.get(if is_ipv4 { ipv4::PROTOCOL } else { ipv6::NEXT_HEADER })?;
    let flow = Segment { is_ipv4, ip_header, headers: 0, payload: 0, sequence: 0, flags: 0 };
    (*protocol == tcp::PROTOCOL).then(|| flow.slot(packet))?
}

impl Group {
    /// Joins packet `at` if it continues the group. `None` stands for no, too.
    fn take<P: AsRef<[u8]>>(&mut self, packets: &[P], at: usize, new: &Segment) -> Option<bool> {
        let head = self.head?;
        let first = packets.get(self.first)?.as_ref();
        let packet = packets.get(at)?.as_ref();
        let position = u32::try_from(self.payload).ok()?;
        let continues = !self.ended
            && self.count < SEGMENTS
            && new.is_ipv4 == head.is_ipv4
            && new.headers == head.headers
            && new.payload <= head.payload
            && head.headers + self.payload + new.payload <= usize::from(u16::MAX)
            && new.sequence == head.sequence.wrapping_add(position)
            && same_headers(first, packet, &head)?
            && self.identification_continues(first, packet)?;
        if !continues || !new.is_intact(packet) {
            return None;
        }
        if !self.intact {
            if !head.is_intact(first) {
                self.ended = true;
                return None;
            }
            self.intact = true;
        }
        self.count += 1;
        self.payload += new.payload;
        self.ended = new.payload < head.payload || new.flags & tcp::PSH != 0;
        Some(true)
    }

    /// With DF set the identification means nothing (RFC 6864 §4.1); without it, it must be the
    /// one that cutting gives back.
    fn identification_continues(&self, first: &[u8], packet: &[u8]) -> Option<bool> {
        if !self.head?.is_ipv4 || read_u16(first, ipv4::FRAGMENT)? & ipv4::DONT_FRAGMENT != 0 {
            return Some(true);
        }
        let expected =
            read_u16(first, ipv4::IDENTIFICATION)?.wrapping_add(u16::try_from(self.count).ok()?);
        Some(read_u16(packet, ipv4::IDENTIFICATION)? == expected)
    }
}

/// What stands before the payloads of a group's packets when it is written as one.
#[derive(Debug)]
pub struct LargeHeader {
    /// The offload header.
    pub vnet: VnetHeader,
    bytes: [u8; HEADERS],
    len: usize,
}

impl LargeHeader {
    /// The headers of a group of several packets. `first` and `last` are its outer packets.
    /// `None` for a group of one.
    #[must_use]
    pub fn of(group: &Group, first: &[u8], last: &[u8]) -> Option<Self> {
        let head = group.head.filter(|_| group.count > 1)?;
        let mut bytes = [0; HEADERS];
        let headers = bytes.get_mut(..head.headers)?;
        headers.copy_from_slice(first.get(..head.headers)?);
        let total = u16::try_from(head.headers + group.payload).ok()?;
        let ip_header = u16::try_from(head.ip_header).ok()?;
        if head.is_ipv4 {
            write(headers, ipv4::TOTAL_LENGTH, total.to_be_bytes())?;
            write(headers, ipv4::CHECKSUM, [0, 0])?;
            let sum = Sum::default().with(headers.get(..head.ip_header)?).complement();
            write(headers, ipv4::CHECKSUM, sum)?;
        } else {
            write(headers, ipv6::PAYLOAD_LENGTH, (total - ip_header).to_be_bytes())?;
        }
        *headers.get_mut(head.ip_header + tcp::FLAGS)? |=
            last.get(head.ip_header + tcp::FLAGS)? & tcp::PSH;
        // The kernel adds the rest (virtio 1.2 §5.1.6.2).
        let sum = head.pseudo_header(headers, total - ip_header)?.folded();
        write(headers, head.ip_header + tcp::CHECKSUM, sum)?;
        let vnet = VnetHeader {
            flags: VnetHeader::NEEDS_CHECKSUM,
            gso_type: if head.is_ipv4 { VnetHeader::GSO_TCPV4 } else { VnetHeader::GSO_TCPV6 },
            header_length: u16::try_from(head.headers).ok()?,
            gso_size: u16::try_from(head.payload).ok()?,
            checksum_start: ip_header,
            checksum_offset: 16,
        };
        Some(Self { vnet, bytes, len: head.headers })
    }

    /// The headers; the payloads of all packets, each without as many bytes, follow.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests;
