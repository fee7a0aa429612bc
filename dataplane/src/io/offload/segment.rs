//! Cutting one large TCP packet into segments that fit a link.
//!
//! What a NIC with TCP segmentation offload does (virtio 1.2 §5.1.6.2): each segment gets the
//! headers of the whole with its own lengths, sequence number, identification, flags and
//! checksums. It never makes a segment longer than the kernel asked for.

use super::checksum::Sum;
use super::{VnetHeader, ipv4, ipv6, read_u16, read_u32, tcp, write};

/// Why a packet cannot be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// Its headers contradict each other or the offload header.
    #[error("the packet does not fit its offload header")]
    Malformed,
    /// The offload is none that we announced.
    #[error("an offload that nobody asked for")]
    Unsupported,
}

/// A large packet on its way to be cut. The packet itself stays with the caller.
#[derive(Debug, Clone)]
pub struct Segmenter {
    ip_header: usize,
    headers: usize,
    size: usize,
    end: usize,
    next: usize,
    is_ipv4: bool,
}

impl Segmenter {
    /// Looks at the headers of `packet`, which starts with the IP header.
    ///
    /// # Errors
    /// If the packet is not the TCP packet that `header` describes.
    pub fn new(packet: &[u8], header: &VnetHeader) -> Result<Self, SegmentError> {
        let is_ipv4 = match header.gso_type & !VnetHeader::GSO_ECN {
            VnetHeader::GSO_TCPV4 => true,
            VnetHeader::GSO_TCPV6 => false,
            _ => return Err(SegmentError::Unsupported),
        };
        Self::parse(packet, header, is_ipv4).ok_or(SegmentError::Malformed)
    }

    fn parse(packet: &[u8], header: &VnetHeader, is_ipv4: bool) -> Option<Self> {
        // The checksum of TCP is always unfinished here, and starts where TCP does.
        let ip_header = usize::from(header.checksum_start);
        let first = *packet.first()?;
        let sound = if is_ipv4 {
            first >> 4 == 4
                && usize::from(first & 15) * 4 == ip_header
                && ip_header >= ipv4::HEADER
                && packet.get(ipv4::PROTOCOL) == Some(&tcp::PROTOCOL)
        } else {
            first >> 4 == 6 && ip_header >= ipv6::HEADER
        };
        let data_offset = usize::from(packet.get(ip_header + tcp::DATA_OFFSET)? >> 4) * 4;
        let headers = ip_header + data_offset;
        let size = usize::from(header.gso_size);
        (sound
            && usize::from(header.checksum_offset) == tcp::CHECKSUM
            && header.flags & VnetHeader::NEEDS_CHECKSUM != 0
            && data_offset >= tcp::HEADER
            && packet.len() > headers
            && size > 0)
            .then_some(Self { ip_header, headers, size, end: packet.len(), next: headers, is_ipv4 })
    }

    /// Length of the next segment, bytes, headers included; `None` after the last.
    #[must_use]
    pub fn next_length(&self) -> Option<usize> {
        (self.next < self.end).then(|| self.headers + self.size.min(self.end - self.next))
    }

    /// Segments that are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        (self.end - self.next).div_ceil(self.size)
    }

    /// Writes the next segment of `packet`, the one that [`Self::new`] saw, into `out`, which has
    /// the length of [`Self::next_length`]. `None` if it has not, or if no segment is left.
    pub fn write_next(&mut self, packet: &[u8], out: &mut [u8]) -> Option<()> {
        let length = self.next_length().filter(|&length| length == out.len())?;
        let payload = length - self.headers;
        let (headers, rest) = out.split_at_mut(self.headers);
        headers.copy_from_slice(packet.get(..self.headers)?);
        rest.copy_from_slice(packet.get(self.next..self.next + payload)?);
        let done = self.next - self.headers;
        let is_last = self.next + payload == self.end;

        let ip_length = u16::try_from(length).ok()?;
        if self.is_ipv4 {
            let number = u16::try_from(done / self.size).ok()?;
            let identification = read_u16(out, ipv4::IDENTIFICATION)?.wrapping_add(number);
            write(out, ipv4::TOTAL_LENGTH, ip_length.to_be_bytes())?;
            write(out, ipv4::IDENTIFICATION, identification.to_be_bytes())?;
            write(out, ipv4::CHECKSUM, [0, 0])?;
            let sum = Sum::default().with(out.get(..self.ip_header)?).complement();
            write(out, ipv4::CHECKSUM, sum)?;
        } else {
            let rest = ip_length - u16::try_from(ipv6::HEADER).ok()?;
            write(out, ipv6::PAYLOAD_LENGTH, rest.to_be_bytes())?;
        }

        let addresses = if self.is_ipv4 { ipv4::ADDRESSES } else { ipv6::ADDRESSES };
        let (ip, segment) = out.split_at_mut(self.ip_header);
        let sequence = read_u32(segment, tcp::SEQUENCE)?.wrapping_add(u32::try_from(done).ok()?);
        write(segment, tcp::SEQUENCE, sequence.to_be_bytes())?;
        let flags = segment.get_mut(tcp::FLAGS)?;
        if !is_last {
            *flags &= !(tcp::FIN | tcp::PSH);
        }
        if done > 0 {
            // RFC 3168 §6.1.2: CWR tells once that the window was reduced.
            *flags &= !tcp::CWR;
        }
        write(segment, tcp::CHECKSUM, [0, 0])?;
        let sum = Sum::default()
            .with_pseudo_header(
                ip.get(addresses)?,
                tcp::PROTOCOL,
                u16::try_from(segment.len()).ok()?,
            )
            .with(segment)
            .complement();
        write(segment, tcp::CHECKSUM, sum)?;
        self.next += payload;
        Some(())
    }
}

#[cfg(test)]
mod tests;
