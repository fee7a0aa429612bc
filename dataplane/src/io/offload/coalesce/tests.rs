//! Cutting a joined packet gives its segments back; what must not be joined is not.

use proptest::prelude::*;

use super::*;
use crate::io::offload::packets::Tcp;
use crate::io::offload::segment::Segmenter;

/// What the kernel would see of a burst, cut again: the packets in their new order.
fn through_the_kernel(burst: &[Vec<u8>]) -> (usize, Vec<Vec<u8>>) {
    let mut coalescer = Coalescer::default();
    coalescer.plan(burst);
    let mut packets = Vec::new();
    for group in coalescer.groups() {
        let members: Vec<_> = coalescer.members(group).collect();
        let (first, last) = (&burst[members[0]], &burst[*members.last().unwrap()]);
        let Some(header) = LargeHeader::of(group, first, last) else {
            assert_eq!(members.len(), 1);
            packets.push(first.clone());
            continue;
        };
        let mut large = header.bytes().to_vec();
        for at in members {
            large.extend_from_slice(&burst[at][header.bytes().len()..]);
        }
        let length = if large[0] == 0x45 {
            usize::from(read_u16(&large, 2).unwrap())
        } else {
            40 + usize::from(read_u16(&large, 4).unwrap())
        };
        assert_eq!(length, large.len());
        // The kernel finishes the checksum; the pseudo header's part must be right for that.
        let mut finished = large.clone();
        crate::io::offload::checksum::finish(&mut finished, &header.vnet).unwrap();
        let flags = finished[header.vnet.checksum_start as usize + 13];
        assert_eq!(flags & !0x18, 0);
        let mut segmenter = Segmenter::new(&large, &header.vnet).unwrap();
        while let Some(length) = segmenter.next_length() {
            let mut segment = vec![0; length];
            segmenter.write_next(&large, &mut segment).unwrap();
            packets.push(segment);
        }
    }
    (coalescer.groups().len(), packets)
}

fn bytes(packets: &[Tcp]) -> Vec<Vec<u8>> {
    packets.iter().map(Tcp::bytes).collect()
}

#[test]
fn a_run_of_segments_becomes_one_packet_and_cutting_gives_them_back() {
    for is_ipv4 in [true, false] {
        let first = Tcp { is_ipv4, ..Tcp::plain() };
        let second = first.following(100);
        let third = Tcp { flags: 0x18, ..second.following(40) };
        let burst = bytes(&[first, second, third]);
        assert_eq!(through_the_kernel(&burst), (1, burst));
    }
}

#[test]
fn interleaved_flows_are_joined_each_for_itself() {
    let one = Tcp::plain();
    let other = Tcp { host: 2, ..Tcp::plain() };
    let (one_next, other_next) = (one.following(100), other.following(100));
    let burst = bytes(&[one, other, one_next, other_next]);
    let (groups, packets) = through_the_kernel(&burst);
    assert_eq!(groups, 2);
    assert_eq!(packets, [0, 2, 1, 3].map(|at| burst[at].clone()));
}

#[test]
fn what_differs_in_more_than_its_place_is_not_joined() {
    let first = Tcp::plain();
    let next = first.following(100);
    let mut unlike = vec![
        Tcp { sequence: next.sequence + 1, ..next.clone() },
        Tcp { identification: next.identification + 1, ..next.clone() },
        Tcp { options: vec![1; 12], ..next.clone() },
        Tcp { options: Vec::new(), ..next.clone() },
        Tcp { payload: vec![0; 101], ..next.clone() },
        Tcp { payload: Vec::new(), ..next.clone() },
        Tcp { dont_fragment: true, ..next.clone() },
        Tcp { is_ipv4: false, ..next.clone() },
    ];
    // FIN, SYN, RST, URG, ECE, CWR, and a segment without ACK.
    unlike.extend(
        [0x11, 0x12, 0x14, 0x30, 0x50, 0x90, 0x00].map(|flags| Tcp { flags, ..next.clone() }),
    );
    for second in unlike {
        let burst = bytes(&[first.clone(), second]);
        assert_eq!(through_the_kernel(&burst), (2, burst));
    }
}

#[test]
fn the_identification_of_packets_that_are_never_fragmented_is_ignored() {
    // RFC 6864 §4.1
    let first = Tcp { dont_fragment: true, ..Tcp::plain() };
    let second = Tcp { identification: first.identification, ..first.following(100) };
    let (groups, packets) = through_the_kernel(&bytes(&[first, second]));
    assert_eq!((groups, packets.len()), (1, 2));
}

#[test]
fn a_short_or_pushed_segment_ends_the_packet() {
    let first = Tcp::plain();
    let short = first.following(99);
    let after = short.following(99);
    assert_eq!(through_the_kernel(&bytes(&[first.clone(), short, after])).0, 2);
    let pushed = Tcp { flags: 0x18, ..first.following(100) };
    let after = Tcp { flags: 0x10, ..pushed.following(100) };
    assert_eq!(through_the_kernel(&bytes(&[first, pushed, after])).0, 2);
}

#[test]
fn a_damaged_segment_travels_alone_so_that_the_kernel_sees_its_checksum() {
    let run: Vec<_> = std::iter::successors(Some(Tcp::plain()), |last| Some(last.following(100)))
        .take(4)
        .collect();
    for damaged in 0..4 {
        for at in [25, 60, 80] {
            let mut burst = bytes(&run);
            burst[damaged][at] ^= 0x10;
            let (groups, packets) = through_the_kernel(&burst);
            assert_eq!(packets, burst);
            assert!(groups > 1);
        }
    }
}

#[test]
fn a_packet_that_cannot_be_joined_is_not_overtaken_by_its_flow() {
    let first = Tcp::plain();
    let acknowledgment = Tcp { payload: Vec::new(), ..first.following(100) };
    let second = first.following(100);
    let burst = bytes(&[first, acknowledgment, second]);
    assert_eq!(through_the_kernel(&burst), (3, burst));
}

#[test]
fn a_large_packet_stays_below_64_kib_and_64_segments() {
    let long = Tcp { payload: vec![7; 3000], ..Tcp::plain() };
    let run: Vec<_> =
        std::iter::successors(Some(long), |last| Some(last.following(3000))).take(30).collect();
    let burst = bytes(&run);
    assert_eq!(through_the_kernel(&burst), (2, burst));
    let run: Vec<_> = std::iter::successors(Some(Tcp::plain()), |last| Some(last.following(100)))
        .take(65)
        .collect();
    assert_eq!(through_the_kernel(&bytes(&run)).0, 2);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// Several flows, mixed, with holes: every packet comes out once, unchanged, and in the
    /// order of its flow.
    #[test]
    fn every_packet_of_a_burst_comes_out_once_in_the_order_of_its_flow(
        draws in proptest::collection::vec(
            (0..4_u8, 0..8_u8, prop_oneof![Just(100_usize), 1..120_usize], any::<bool>()),
            0..60,
        ),
        start: u16,
        sequence: u32,
    ) {
        let mut flows: Vec<_> = (0..4)
            .map(|host| Tcp {
                host,
                is_ipv4: host != 3,
                identification: start,
                sequence,
                ..Tcp::plain()
            })
            .collect();
        let mut burst = Vec::new();
        for (host, oddity, len, pushed) in draws {
            let flow = &mut flows[usize::from(host)];
            let mut next = flow.following(len);
            next.flags = if pushed && oddity < 3 { 0x18 } else { 0x10 };
            match oddity {
                5 => next.sequence = next.sequence.wrapping_add(5),
                6 => next.payload.clear(),
                7 => next.flags = 0x11,
                _ => {}
            }
            burst.push(next.bytes());
            *flow = next;
        }
        let (_, packets) = through_the_kernel(&burst);
        let of_flow = |packets: &[Vec<u8>], host: u8| -> Vec<Vec<u8>> {
            let place = |packet: &Vec<u8>| if packet[0] == 0x45 { packet[15] } else { packet[23] };
            packets.iter().filter(|packet| place(packet) == host).cloned().collect()
        };
        prop_assert_eq!(packets.len(), burst.len());
        for host in 0..4 {
            prop_assert_eq!(of_flow(&packets, host), of_flow(&burst, host));
        }
    }

    #[test]
    fn any_bytes_pass_unchanged(
        burst in proptest::collection::vec(
            (prop_oneof![Just(0x45_u8), Just(0x60), any::<u8>()],
             proptest::collection::vec(any::<u8>(), 0..90))
                .prop_map(|(first, mut bytes)| {
                    if let Some(byte) = bytes.first_mut() {
                        *byte = first;
                    }
                    bytes
                }),
            0..20,
        ),
    ) {
        prop_assert_eq!(through_the_kernel(&burst), (burst.len(), burst.clone()));
    }
}
