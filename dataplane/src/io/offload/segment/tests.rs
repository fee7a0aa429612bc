//! Segments are what a sender without offload would have sent.

use proptest::prelude::*;

use super::*;
use crate::io::offload::packets::Tcp;

fn offload(packet: &Tcp, gso_size: u16) -> VnetHeader {
    VnetHeader {
        flags: VnetHeader::NEEDS_CHECKSUM,
        gso_type: if packet.is_ipv4 { VnetHeader::GSO_TCPV4 } else { VnetHeader::GSO_TCPV6 },
        header_length: 0,
        gso_size,
        checksum_start: u16::try_from(packet.ip_header()).unwrap(),
        checksum_offset: 16,
    }
}

fn cut(packet: &[u8], header: &VnetHeader) -> Vec<Vec<u8>> {
    let mut segmenter = Segmenter::new(packet, header).unwrap();
    let mut segments = Vec::new();
    let announced = segmenter.remaining();
    while let Some(length) = segmenter.next_length() {
        let mut segment = vec![0xee; length];
        segmenter.write_next(packet, &mut segment).unwrap();
        segments.push(segment);
    }
    assert_eq!(segmenter.write_next(packet, &mut []), None);
    assert_eq!((announced, segmenter.remaining()), (segments.len(), 0));
    segments
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn segments_are_what_a_sender_without_offload_sends(
        is_ipv4: bool,
        identification: u16,
        sequence: u32,
        flags in any::<u8>().prop_map(|flags| flags | 0x10),
        options in (0..10_usize).prop_map(|words| vec![1; words * 4]),
        payload in proptest::collection::vec(any::<u8>(), 1..8_000),
        gso_size in 100..2_000_u16,
    ) {
        let whole = Tcp {
            is_ipv4, identification, sequence, flags, options, payload, ..Tcp::plain()
        };
        let segments = cut(&whole.bytes(), &offload(&whole, gso_size));
        let pieces: Vec<_> = whole.payload.chunks(usize::from(gso_size)).collect();
        prop_assert_eq!(segments.len(), pieces.len());
        for (number, (segment, piece)) in (0_u16..).zip(segments.iter().zip(&pieces)) {
            let mut flags = flags;
            if usize::from(number) + 1 < pieces.len() {
                flags &= !0x09;
            }
            if number > 0 {
                flags &= !0x80;
            }
            let expected = Tcp {
                identification: identification.wrapping_add(number),
                sequence: sequence.wrapping_add(u32::from(number) * u32::from(gso_size)),
                flags,
                payload: piece.to_vec(),
                ..whole.clone()
            };
            prop_assert_eq!(segment, &expected.bytes());
        }
    }

    #[test]
    fn any_bytes_are_cut_or_refused_within_their_bounds(
        packet in proptest::collection::vec(any::<u8>(), 0..200),
        first in prop_oneof![Just(0x45_u8), Just(0x60), any::<u8>()],
        gso_type in prop_oneof![Just(1_u8), Just(4), any::<u8>()],
        gso_size in prop_oneof![0..40_u16, any::<u16>()],
        checksum_start in prop_oneof![Just(20_u16), Just(40), any::<u16>()],
    ) {
        let mut packet = packet;
        if let Some(byte) = packet.first_mut() {
            *byte = first;
        }
        if let Some(byte) = packet.get_mut(9) {
            *byte = 6;
        }
        let header = VnetHeader {
            flags: 1, gso_type, header_length: 0, gso_size, checksum_start, checksum_offset: 16,
        };
        if let Ok(segmenter) = Segmenter::new(&packet, &header) {
            let headers = segmenter.headers;
            let payload: usize = cut(&packet, &header).iter().map(|one| one.len() - headers).sum();
            prop_assert_eq!(payload, packet.len() - headers);
        }
    }
}

#[test]
fn what_nobody_asked_for_is_refused() {
    let packet = Tcp::plain();
    let header = offload(&packet, 50);
    let refusal = |header| Segmenter::new(&packet.bytes(), &header).unwrap_err();
    let udp = VnetHeader { gso_type: 3, ..header };
    assert_eq!(refusal(udp), SegmentError::Unsupported);
    let no_size = VnetHeader { gso_size: 0, ..header };
    assert_eq!(refusal(no_size), SegmentError::Malformed);
    let finished = VnetHeader { flags: 0, ..header };
    assert_eq!(refusal(finished), SegmentError::Malformed);
    let elsewhere = VnetHeader { checksum_start: 24, ..header };
    assert_eq!(refusal(elsewhere), SegmentError::Malformed);
}
