//! Packets come out of a network that reorders, loses and repeats, and only as they went in.

use proptest::prelude::*;

use super::*;

const AGREED: Receiving = Receiving { mrru: 1500, format: Format::Long };
const NOW: Instant = Instant::from_micros(1_000_000);

type Piece = Vec<u8>;

fn fragment(begin: bool, end: bool, number: u32, piece: &[u8]) -> Fragment<Piece> {
    let header = Header { begin, end, number };
    Fragment { header, carrier: number + 7, octets: piece.len(), piece: piece.to_vec() }
}

/// What an insertion released.
fn insert(
    reassembler: &mut Reassembler<Piece>,
    fragment: Fragment<Piece>,
    now: Instant,
) -> (Vec<u8>, Vec<Refused>) {
    let mut released = Released::default();
    reassembler.insert(fragment, MAX_HELD, now, &mut released);
    (released.whole.concat(), released.refused.into_iter().map(|(_, why)| why).collect())
}

#[test]
fn fragments_make_a_packet_in_any_order() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut reassembler = Reassembler::new(AGREED);
        let mut whole = Vec::new();
        for number in order {
            let piece = [u8::try_from(number).unwrap()];
            let fragment = fragment(number == 0, number == 2, number, &piece);
            let (packet, refused) = insert(&mut reassembler, fragment, NOW);
            assert!(whole.is_empty() && refused.is_empty());
            whole = packet;
        }
        assert_eq!(whole, [0, 1, 2]);
        assert!(reassembler.is_empty() && reassembler.deadline().is_none());
    }
}

#[test]
fn a_fragment_that_is_a_packet_waits_for_nothing() {
    let mut reassembler = Reassembler::new(AGREED);
    let mut released = Released::default();
    // Not even for room.
    reassembler.insert(fragment(true, true, 9, &[5]), 0, NOW, &mut released);
    assert_eq!((released.whole, released.carrier), (vec![vec![5]], 16));
    let mut released = Released::default();
    reassembler.insert(fragment(true, false, 10, &[5]), 0, NOW, &mut released);
    assert_eq!(released.refused, [(vec![5], Refused::NoRoom)]);
}

/// RFC 1990 §4.1: a lost first or last fragment costs its packet, and no other.
#[test]
fn lost_first_and_last_fragments_are_given_up_in_time() {
    let mut reassembler = Reassembler::new(AGREED);
    for number in [1, 2, 4, 6] {
        // 0, 3 and 5 are lost: what begins, what ends, and what is in the middle.
        let fragment = fragment([2, 4].contains(&number), [1, 6].contains(&number), number, &[1]);
        assert_eq!(insert(&mut reassembler, fragment, NOW), (vec![], vec![]));
    }
    let later = NOW + PATIENCE;
    assert_eq!(reassembler.deadline(), Some(later));
    let whole = fragment(true, true, 7, &[7]);
    assert_eq!(insert(&mut reassembler, whole, later), (vec![7], vec![Refused::Incomplete; 4]));
    // Their others come too late, and wait in vain.
    assert_eq!(insert(&mut reassembler, fragment(true, false, 0, &[0]), later), (vec![], vec![]));
    assert_eq!(reassembler.len(), 1);
}

/// RFC 1990 §4.1: before a fragment that begins a packet is one that ended another.
#[test]
fn a_packet_that_begins_inside_of_another_joins_nothing() {
    let mut reassembler = Reassembler::new(AGREED);
    for (begin, end, number) in [(true, false, 0), (true, true, 1), (false, true, 2)] {
        let (packet, _) = insert(&mut reassembler, fragment(begin, end, number, &[9]), NOW);
        assert_eq!(packet, vec![9; usize::from(end && begin)]);
    }
    let mut reassembler = Reassembler::new(AGREED);
    for (begin, end, number) in [(true, false, 1), (true, false, 0)] {
        assert_eq!(insert(&mut reassembler, fragment(begin, end, number, &[9]), NOW).0, []);
    }
    assert_eq!(insert(&mut reassembler, fragment(false, true, 2, &[8]), NOW).0, [9, 8]);
    assert_eq!(reassembler.len(), 1);
}

#[test]
fn repeated_fragments_and_overlong_packets_are_refused() {
    let mut reassembler = Reassembler::new(AGREED);
    insert(&mut reassembler, fragment(true, false, 0, &[1]), NOW);
    let again = insert(&mut reassembler, fragment(true, false, 0, &[2]), NOW);
    assert_eq!(again, (vec![], vec![Refused::Duplicate]));
    // The protocol field may be there besides the MRRU (RFC 1990 §5.1.1).
    let end = insert(&mut reassembler, fragment(false, true, 1, &[3; 1501]), NOW);
    assert_eq!((end.0.len(), end.1), (1502, vec![]));
    insert(&mut reassembler, fragment(true, false, 2, &[1]), NOW);
    let end = insert(&mut reassembler, fragment(false, true, 3, &[3; 1502]), NOW);
    assert_eq!(end, (vec![], vec![Refused::TooLong; 2]));
}

/// A flood of first fragments, and one whose numbers leap, as of a forger.
#[test]
fn a_flood_takes_no_more_room_than_there_is_and_stops_no_packet() {
    let mut reassembler = Reassembler::new(AGREED);
    let mut given_up = 0;
    for number in 0..10_000 {
        let (_, refused) = insert(&mut reassembler, fragment(true, false, number * 3, &[1]), NOW);
        given_up += refused.len();
        assert!(reassembler.len() <= MAX_HELD);
    }
    assert_eq!(given_up, 10_000 - MAX_HELD);
    insert(&mut reassembler, fragment(true, false, 5, &[1]), NOW);
    assert_eq!(insert(&mut reassembler, fragment(false, true, 6, &[2]), NOW).0, [1, 2]);
    let mut released = Released::default();
    reassembler.clear(&mut released);
    assert_eq!(released.refused.len(), MAX_HELD - 1);
}

/// Short numbers come again soon; what carried them tells their packets apart.
#[test]
fn an_old_fragment_joins_none_that_has_its_number_a_turn_later() {
    let short = Receiving { mrru: 1500, format: Format::Short };
    let mut reassembler = Reassembler::new(short);
    insert(&mut reassembler, fragment(true, false, 5, &[1]), NOW);
    let mut next = fragment(false, true, 6, &[2]);
    next.carrier += 4096;
    assert_eq!(insert(&mut reassembler, next, NOW), (vec![], vec![]));
    let mut first = fragment(true, false, 5, &[3]);
    first.carrier += 4096;
    assert_eq!(insert(&mut reassembler, first, NOW).0, [3, 2]);
}

/// Packets as lists of the lengths of their pieces, and what the network does to each fragment:
/// how much later it comes, whether it is lost, whether it comes twice.
fn traffic() -> impl Strategy<Value = Vec<(Vec<usize>, u32, bool, bool)>> {
    let packet = prop::collection::vec(1_usize..40, 1..5);
    prop::collection::vec((packet, 0_u32..6, prop::bool::weighted(0.1), any::<bool>()), 1..60)
}

proptest! {
    #[test]
    fn packets_come_out_as_they_went_in(
        traffic in traffic(), short: bool, start: u32, carrier: u32,
    ) {
        let format = if short { Format::Short } else { Format::Long };
        let mut number = start & format.mask();
        let (mut sent, mut wire, mut at) = (Vec::new(), Vec::new(), 0_u32);
        for (index, (lengths, delay, lost, twice)) in traffic.into_iter().enumerate() {
            let mut packet = Vec::new();
            for (place, length) in lengths.iter().enumerate() {
                let octet = |at: usize| u8::try_from((index * 7 + place + at) % 251).unwrap();
                let piece: Vec<u8> = (0..*length).map(octet).collect();
                let header =
                    Header { begin: place == 0, end: place + 1 == lengths.len(), number };
                number = format.next(number);
                packet.extend_from_slice(&piece);
                let fragment = (header, carrier.wrapping_add(at), piece);
                if !(lost && place == 0) {
                    wire.push((at + delay, fragment.clone()));
                    if twice {
                        wire.push((at + delay + 1, fragment));
                    }
                }
                at += 1;
            }
            sent.push((packet, lost));
        }
        wire.sort_by_key(|(at, _)| *at);
        let mut reassembler = Reassembler::new(Receiving { mrru: 1500, format });
        let mut came = Vec::new();
        for (_, (header, carrier, piece)) in wire {
            let mut released = Released::default();
            let octets = piece.len();
            let fragment = Fragment { header, carrier, octets, piece };
            reassembler.insert(fragment, MAX_HELD, NOW, &mut released);
            prop_assert!(reassembler.len() <= MAX_HELD);
            if !released.whole.is_empty() {
                came.push(released.whole.concat());
            }
        }
        for packet in &came {
            prop_assert!(sent.iter().any(|(sent, _)| sent == packet), "never sent: {packet:?}");
        }
        // With few fragments in between, nothing that arrived is missing.
        if at < 16 {
            for (packet, lost) in &sent {
                prop_assert!(*lost || came.contains(packet));
            }
        }
    }

    #[test]
    fn whatever_comes_is_held_within_bounds_or_handed_back(
        fragments in prop::collection::vec(
            (any::<bool>(), any::<bool>(), 0_u32..40, any::<u8>(), 0_usize..1600, 0_usize..40),
            0..200,
        ),
    ) {
        let mut reassembler = Reassembler::new(AGREED);
        let (mut inside, mut now) = (0, NOW);
        for (begin, end, number, carrier, octets, room) in fragments {
            now = now + Duration::from_millis(u64::from(carrier));
            let mut released = Released::default();
            let header = Header { begin, end, number };
            let piece = vec![0; octets];
            let fragment = Fragment { header, carrier: carrier.into(), octets, piece };
            reassembler.insert(fragment, room, now, &mut released);
            inside = inside + 1 - released.whole.len() - released.refused.len();
            prop_assert_eq!(inside, reassembler.len());
            prop_assert!(released.whole.iter().map(Vec::len).sum::<usize>() <= 1502);
            prop_assert!(reassembler.deadline().is_none_or(|at| at > now));
        }
    }
}
