use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn header() -> impl Strategy<Value = (Header, Vec<u8>)> {
    let numbers = (any::<Option<u32>>(), any::<Option<u32>>());
    (any::<u16>(), numbers, prop::collection::vec(any::<u8>(), 0..64))
        .prop_filter("a packet carries something", |(_, (sequence, ack), _)| {
            sequence.is_some() || ack.is_some()
        })
        .prop_map(|(call_id, (sequence, acknowledgment), mut payload)| {
            if sequence.is_none() {
                payload.clear();
            }
            let payload_len = u16::try_from(payload.len()).unwrap();
            (Header { call_id, payload_len, sequence, acknowledgment }, payload)
        })
}

fn packet(header: Header, payload: &[u8]) -> Vec<u8> {
    let mut buffer = [0xEE; MAX_HEADER_LEN];
    let len = header.emit(&mut buffer);
    [&buffer[..len], payload].concat()
}

fn data() -> Vec<u8> {
    let header = Header { call_id: 7, payload_len: 3, sequence: Some(1), acknowledgment: Some(2) };
    packet(header, &[0xC0, 0x21, 9])
}

proptest! {
    #[test]
    fn emitted_packets_parse_to_what_was_emitted_whatever_pads_them(
        (header, payload) in header(), padding in 0_usize..50,
    ) {
        let mut octets = packet(header, &payload);
        octets.resize(octets.len() + padding, 0xAA);
        prop_assert_eq!(Header::parse(&octets), Ok((header, &payload[..])));
    }

    #[test]
    fn arbitrary_octets_never_panic_and_what_parses_is_emitted_alike(
        octets in prop::collection::vec(any::<u8>(), 0..40), ours in any::<bool>(),
    ) {
        let mut octets = octets;
        if ours && octets.len() >= 4 {
            let flags = octets[1] & 0x80 | 1;
            octets[..4].copy_from_slice(&[0x30, flags, 0x88, 0x0B]);
        }
        if let Ok((header, payload)) = Header::parse(&octets) {
            let again = packet(header, payload);
            prop_assert_eq!(&again[..], &octets[..again.len()]);
        }
    }

    #[test]
    fn the_window_agrees_with_a_set_of_all_numbers_seen(
        start in prop::sample::select(vec![0, 1, u32::MAX - 700, u32::MAX, 0x7FFF_FF00]),
        steps in prop::collection::vec((-1100_i32..1100, any::<bool>()), 1..300),
    ) {
        let mut window = Window::new();
        let mut seen = BTreeSet::new();
        let mut highest = 0_i64;
        let mut first = true;
        for (step, accept) in steps {
            let position = highest + i64::from(step);
            let sequence = start.wrapping_add_signed(i32::try_from(position).unwrap());
            let expected = if first {
                Verdict::New { gap: 0 }
            } else if position > highest {
                Verdict::New { gap: u32::try_from(position - highest - 1).unwrap() }
            } else if highest - position >= i64::from(Window::SIZE) {
                Verdict::TooOld
            } else if seen.contains(&position) {
                Verdict::Duplicate
            } else {
                Verdict::Late { behind: u32::try_from(highest - position).unwrap() }
            };
            let before = window;
            prop_assert_eq!(window.check(sequence), expected);
            prop_assert_eq!(window, before, "check moves nothing");
            if accept {
                window.commit(sequence);
                if expected != Verdict::TooOld {
                    highest = if first { position } else { highest.max(position) };
                    seen.insert(position);
                    first = false;
                }
            }
        }
    }

    #[test]
    fn distance_is_the_inverse_of_addition(number: u32, step in -0x7FFF_FFFF..=0x7FFF_FFFF_i32) {
        prop_assert_eq!(distance(number.wrapping_add_signed(step), number), step);
        prop_assert_eq!(is_after(number.wrapping_add_signed(step), number), step > 0);
    }
}

#[test]
fn the_acknowledgment_stands_at_octet_8_alone_and_at_12_behind_a_sequence_number() {
    // RFC 2637 §4.1.
    let alone = [0x20, 0x81, 0x88, 0x0B, 0, 0, 0, 9, 0, 0, 1, 2];
    let (header, payload) = Header::parse(&alone).unwrap();
    assert_eq!((header.sequence, header.acknowledgment), (None, Some(0x102)));
    assert_eq!((header.call_id, payload), (9, &[][..]));

    let both = [0x30, 0x81, 0x88, 0x0B, 0, 1, 0, 9, 0, 0, 0, 5, 0, 0, 1, 2, 0x21];
    let (header, payload) = Header::parse(&both).unwrap();
    assert_eq!((header.sequence, header.acknowledgment), (Some(5), Some(0x102)));
    assert_eq!(payload, [0x21]);
}

#[test]
fn other_gre_is_not_ours_rather_than_malformed() {
    let cases: [(&[u8], Error); 4] = [
        (&[0x00, 0x00, 0x08, 0x00], Error::NotOurs { version: 0, protocol: 0x0800 }),
        (&[0x20, 0x00, 0x88, 0x0B], Error::NotOurs { version: 0, protocol: 0x880B }),
        (&[0x20, 0x01, 0x64, 0x00], Error::NotOurs { version: 1, protocol: 0x6400 }),
        (&[0xFF, 0xFF, 0x88, 0x0B], Error::NotOurs { version: 7, protocol: 0x880B }),
    ];
    for (packet, error) in cases {
        assert_eq!(Header::parse(packet), Err(error));
    }
}

#[test]
fn each_bit_that_must_be_zero_is_refused_and_so_is_a_missing_key() {
    // RFC 2637 §4.1: C, R, s, Recur and Flags are zero, K is one.
    for bit in [15, 14, 11, 10, 9, 8, 6, 5, 4, 3] {
        let mut packet = data();
        packet[if bit > 7 { 0 } else { 1 }] |= 1 << (bit % 8);
        assert_eq!(Header::parse(&packet), Err(Error::Malformed(Malformed::ReservedBits)), "{bit}");
    }
    let mut packet = data();
    packet[0] &= !0x20;
    assert_eq!(Header::parse(&packet), Err(Error::Malformed(Malformed::NoKey)));
}

#[test]
fn a_packet_cut_anywhere_is_malformed() {
    let packet = data();
    for len in 0..packet.len() {
        let reason = if len < 16 { Malformed::Truncated } else { Malformed::PayloadLength };
        assert_eq!(Header::parse(&packet[..len]), Err(Error::Malformed(reason)), "{len}");
    }
}

#[test]
fn lengths_that_lie_are_malformed() {
    let mut packet = data();
    packet[5] = 4;
    assert_eq!(Header::parse(&packet), Err(Error::Malformed(Malformed::PayloadLength)));
    let unsequenced = [0x20, 0x81, 0x88, 0x0B, 0, 1, 0, 9, 0, 0, 1, 2, 0x21];
    assert_eq!(Header::parse(&unsequenced), Err(Error::Malformed(Malformed::Unsequenced)));
    let empty = [0x20, 0x01, 0x88, 0x0B, 0, 0, 0, 9];
    assert_eq!(Header::parse(&empty), Err(Error::Malformed(Malformed::Empty)));
}

#[test]
fn an_acknowledgment_is_due_after_its_delay_or_half_the_peers_window() {
    let now = Instant::ORIGIN;
    let mut acks = Acknowledger::new(6);
    assert_eq!((acks.take(), acks.deadline()), (None, None));

    acks.accepted(u32::MAX, now);
    assert!(!acks.due(now + (ACK_DELAY - Duration::from_micros(1))));
    assert!(acks.due(now + ACK_DELAY));
    assert_eq!(acks.take(), Some(u32::MAX));
    assert_eq!(acks.take(), None, "the peer knows");

    acks.accepted(0, now);
    acks.accepted(1, now + Duration::from_millis(50));
    assert!(!acks.due(now));
    assert_eq!(acks.deadline(), Some(now + ACK_DELAY), "the first one's delay counts");
    acks.accepted(2, now);
    assert!(acks.due(now), "three of a window of six");
    assert_eq!(acks.take(), Some(2));

    acks.accepted(1, now);
    assert_eq!(acks.deadline(), None, "a late packet was acknowledged by a higher one");
    acks.accepted(5, now);
    assert!(acks.due(now), "lost packets fill the peer's window too");
}

#[test]
fn a_peer_with_a_window_of_one_or_none_gets_every_packet_acknowledged() {
    for window in [0, 1, 2, 3] {
        let mut acks = Acknowledger::new(window);
        acks.accepted(10, Instant::ORIGIN);
        assert!(acks.due(Instant::ORIGIN), "{window}");
    }
}
