//! A packet cut into pieces that fit the tunnel.
//!
//! Implements RFC 791 §2.3 and §3.1 (fragments and the options that each one has). Never cuts a
//! packet that says Don't Fragment: that is the caller's to look at. Reassembles nothing.

use crate::frame::{Frame, Pool};
use crate::ipv4::{self, HEADER_LEN, View};

/// Pieces that one packet may come to: more only with a tunnel that is narrower than any network
/// should be (RFC 791 §3.1: hosts accept 576 octets).
pub(crate) const MAX_PIECES: usize = 16;

/// The longest header.
const MAX_HEADER: usize = 60;

/// Options (RFC 791 §3.1): the end, padding, and the flag of those that go into every piece.
const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const COPIED: u8 = 0x80;

/// Why a packet stayed whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It would come to too many pieces, or is a fragment that ends beyond the longest packet.
    Shape,
    /// There are not enough free frames.
    NoFrame,
}

/// Cuts the packet in `frame` down to its first piece and appends the others to `pieces`, all of
/// at most `mtu` octets. On an error nothing has changed.
pub(crate) fn split(
    frame: &mut Frame,
    whole: &View,
    mtu: u16,
    pool: &mut Pool,
    pieces: &mut Vec<Frame>,
) -> Result<(), Refused> {
    let packet = frame.data();
    let header = packet.get(..whole.header_len).ok_or(Refused::Shape)?;
    let payload = packet.get(whole.header_len..whole.total_len).ok_or(Refused::Shape)?;
    // All but the last piece are whole units of 8 octets.
    let room = usize::from(mtu).saturating_sub(whole.header_len) & !7;
    let first_offset = usize::from(whole.fragment_offset);
    let end = first_offset * 8 + payload.len();
    let limit = usize::from(u16::MAX) - whole.header_len;
    if room == 0 || payload.len().div_ceil(room) > MAX_PIECES || end > limit {
        return Err(Refused::Shape);
    }

    let mut copied = [0; MAX_HEADER];
    let copied = copy_header(header, &mut copied);
    let before = pieces.len();
    let chunks = payload.chunks(room);
    let last = chunks.len().saturating_sub(1);
    for (number, chunk) in chunks.enumerate().skip(1) {
        let Some(mut piece) = take(pool, copied.len() + chunk.len()) else {
            pieces.drain(before..).for_each(|piece| pool.put(piece));
            return Err(Refused::NoFrame);
        };
        if let Some((header, rest)) = piece.data_mut().split_at_mut_checked(copied.len()) {
            header.copy_from_slice(copied);
            rest.copy_from_slice(chunk);
            let more = number < last || whole.more_fragments;
            finish(header, chunk.len(), first_offset + number * room / 8, more);
        }
        pieces.push(piece);
    }

    let chunk = room.min(payload.len());
    let more = last > 0 || whole.more_fragments;
    frame.truncate(whole.header_len + chunk);
    if let Some(header) = frame.data_mut().get_mut(..whole.header_len) {
        finish(header, chunk, first_offset, more);
    }
    Ok(())
}

fn take(pool: &mut Pool, len: usize) -> Option<Frame> {
    let mut frame = pool.take()?;
    if frame.set_len(len) {
        return Some(frame);
    }
    pool.put(frame);
    None
}

/// The header of the pieces after the first: the fixed part, and the options that say so of
/// themselves. What is malformed, and what follows it, is left out.
fn copy_header<'a>(header: &[u8], into: &'a mut [u8; MAX_HEADER]) -> &'a [u8] {
    let (fixed, mut options) = header.split_at_checked(HEADER_LEN).unwrap_or((header, &[]));
    let mut len = fixed.len();
    if let Some(room) = into.get_mut(..len) {
        room.copy_from_slice(fixed);
    }
    while let &[kind, ref rest @ ..] = options {
        let option = match (kind, rest) {
            (END, _) => break,
            (NO_OPERATION, _) => 1,
            (_, &[length, ..]) if length >= 2 => usize::from(length),
            _ => break,
        };
        let Some((option, rest)) = options.split_at_checked(option) else { break };
        if kind & COPIED != 0
            && let Some(room) = into.get_mut(len..len + option.len())
        {
            room.copy_from_slice(option);
            len += option.len();
        }
        options = rest;
    }
    // Zeros are the end of the options.
    into.get(..len.next_multiple_of(4)).unwrap_or_default()
}

/// Makes a copied header that of a piece.
fn finish(header: &mut [u8], payload: usize, offset: usize, more: bool) {
    // Both fit: the whole packet's end was checked, and it is shorter than a frame.
    let total = u16::try_from(header.len() + payload).unwrap_or(u16::MAX);
    let offset = u16::try_from(offset).unwrap_or(u16::MAX) & ipv4::FRAGMENT_OFFSET;
    let words = u8::try_from(header.len() / 4).unwrap_or_default();
    let flags = if more { ipv4::MORE_FRAGMENTS } else { 0 };
    if let Some(fixed) = header.first_chunk_mut::<HEADER_LEN>() {
        fixed[0] = 0x40 | words;
        fixed[2..4].copy_from_slice(&total.to_be_bytes());
        fixed[6..8].copy_from_slice(&(flags | offset).to_be_bytes());
        fixed[10..12].fill(0);
    }
    let checksum = !ipv4::sum(header);
    if let Some(field) = header.get_mut(10..12) {
        field.copy_from_slice(&checksum.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;
    use crate::frame::Region;

    const MORE: u8 = 0x20;

    /// A packet with these options, the number of whose octets is a multiple of four.
    fn packet(flags: u8, offset: u16, options: &[u8], payload: usize) -> Vec<u8> {
        let (source, destination) = (Ipv4Addr::new(203, 0, 113, 80), Ipv4Addr::new(10, 0, 0, 5));
        let mut header = ipv4::header(0, 0xB8, 0x1234, 17, source, destination).to_vec();
        header.extend(options);
        let total = u16::try_from(header.len() + payload).unwrap();
        header[0] = 0x40 | u8::try_from(header.len() / 4).unwrap();
        header[2..4].copy_from_slice(&total.to_be_bytes());
        header[6..8].copy_from_slice(&offset.to_be_bytes());
        header[6] |= flags;
        header[10..12].fill(0);
        let checksum = !ipv4::sum(&header);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        header.extend((0_u32..).take(payload).map(|at| (at % 251) as u8));
        header
    }

    fn cut(pool: &mut Pool, packet: &[u8], mtu: u16) -> Result<Vec<Vec<u8>>, Refused> {
        let mut frame = pool.take().unwrap();
        assert!(frame.fill(packet));
        let view = View::parse(packet).unwrap();
        let mut pieces = Vec::new();
        let result = split(&mut frame, &view, mtu, pool, &mut pieces);
        if result.is_err() {
            assert!(pieces.is_empty());
            assert_eq!(frame.data(), packet);
        }
        pieces.insert(0, frame);
        let bytes = pieces.iter().map(|piece| piece.data().to_vec()).collect();
        pool.put_all(&mut pieces);
        result.map(|()| bytes)
    }

    fn pool() -> Pool {
        Pool::new(Region::new(64).unwrap(), 64)
    }

    #[test]
    fn every_piece_says_where_it_belongs() {
        let pieces = cut(&mut pool(), &packet(0, 0, &[], 1480), 576).unwrap();
        let views: Vec<_> = pieces.iter().map(|piece| View::parse(piece).unwrap()).collect();
        let shape: Vec<_> = views
            .iter()
            .map(|view| (view.total_len, view.fragment_offset, view.more_fragments))
            .collect();
        assert_eq!(shape, [(572, 0, true), (572, 69, true), (396, 138, false)]);
        assert!(views.iter().all(|view| view.tos == 0xB8 && view.ttl == 64 && view.protocol == 17));
        assert!(pieces.iter().all(|piece| piece[4..6] == [0x12, 0x34]));
    }

    /// A fragment of a fragment has its place in the whole packet (RFC 791 §3.2).
    #[test]
    fn a_fragment_is_cut_again() {
        for (flags, last) in [(MORE, true), (0, false)] {
            let pieces = cut(&mut pool(), &packet(flags, 185, &[], 1000), 576).unwrap();
            let shape: Vec<_> = pieces
                .iter()
                .map(|piece| View::parse(piece).unwrap())
                .map(|view| (view.fragment_offset, view.more_fragments))
                .collect();
            assert_eq!(shape, [(185, true), (185 + 69, last)]);
        }
    }

    /// RFC 791 §3.1: a route is copied, a record of the route is not.
    #[test]
    fn options_go_where_they_say() {
        let options = [1, 7, 7, 4, 0, 0, 0, 0, 0x83, 7, 4, 192, 0, 2, 1, 0];
        let pieces = cut(&mut pool(), &packet(0, 0, &options, 600), 576).unwrap();
        assert_eq!(pieces[0][20..36], options);
        assert_eq!(pieces[1][0], 0x47);
        assert_eq!(pieces[1][20..28], [0x83, 7, 4, 192, 0, 2, 1, 0]);
        for malformed in [[0x83, 1, 0, 0], [0x83, 5, 0, 0], [1, 1, 1, 0x83]] {
            let pieces = cut(&mut pool(), &packet(0, 0, &malformed, 600), 576).unwrap();
            assert_eq!((pieces[0][0], pieces[1][0]), (0x46, 0x45));
        }
    }

    #[test]
    fn what_would_be_too_many_pieces_or_too_long_stays_whole() {
        let mut pool = pool();
        let refused = |packet: &[u8], mtu, pool: &mut Pool| cut(pool, packet, mtu).unwrap_err();
        assert_eq!(cut(&mut pool, &packet(0, 0, &[], 16 * 80), 100).unwrap().len(), MAX_PIECES);
        assert_eq!(refused(&packet(0, 0, &[], 16 * 80 + 1), 100, &mut pool), Refused::Shape);
        for mtu in [0, 20, 27] {
            assert_eq!(refused(&packet(0, 0, &[], 8), mtu, &mut pool), Refused::Shape);
        }
        assert_eq!(refused(&packet(0, 8191, &[], 600), 576, &mut pool), Refused::Shape);
    }

    #[test]
    fn without_enough_frames_the_packet_stays_whole_and_no_frame_is_lost() {
        let mut pool = pool();
        let held: Vec<_> = (0..62).map(|_| pool.take().unwrap()).collect();
        assert_eq!(cut(&mut pool, &packet(0, 0, &[], 1480), 576), Err(Refused::NoFrame));
        drop(held);
        assert_eq!(cut(&mut pool, &packet(0, 0, &[], 1480), 576).unwrap().len(), 3);
    }

    proptest! {
        #[test]
        fn the_pieces_make_the_packet_again(
            options in prop::collection::vec(any::<u8>(), 0..10),
            payload in 1_usize..3400,
            mtu in 500_u16..1500,
            offset in 0_u16..7000,
        ) {
            // Whole words of whatever it is.
            let options: Vec<u8> = options.iter().flat_map(|&octet| [octet; 4]).collect();
            let whole = packet(0, offset, &options, payload);
            let header = 20 + options.len();
            let pieces = cut(&mut pool(), &whole, mtu).unwrap();
            let mut again = Vec::new();
            for (number, piece) in pieces.iter().enumerate() {
                prop_assert!(piece.len() <= usize::from(mtu));
                let view = View::parse(piece).unwrap();
                prop_assert_eq!(view.total_len, piece.len());
                prop_assert_eq!(
                    usize::from(view.fragment_offset - offset) * 8, again.len()
                );
                prop_assert_eq!(view.more_fragments, number + 1 < pieces.len());
                prop_assert!(!view.dont_fragment);
                again.extend_from_slice(&piece[view.header_len..]);
            }
            prop_assert_eq!(&again[..], &whole[header..]);
        }
    }
}
