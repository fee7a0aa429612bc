//! Packets in fragments: both ways, encrypted and not; what is lost, repeated, out of order or
//! forged; how many fragments wait, and for how long.

use std::net::Ipv4Addr;
use std::time::Duration;

use proptest::prelude::*;
use protocol::ppp::frame;
use protocol::ppp::multilink::reassembly::{self, MAX_HELD, PATIENCE};
use protocol::ppp::multilink::{Format, Header, Reassembler, Receiving, Released, Sending, header};
use protocol::time::Instant;

use super::bench::{ACCESS, Bench, FRAGMENTS, GATEWAY, INNER, LOCAL, PEER, RAW, TUN, outer};
use super::subscriber::{Subscriber, packet};
use crate::api::{
    Command, DropReason, Encryption, Event, Framing, Multilink, Network, Prefix, TunnelId,
};

const FAR: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 9);
const MRRU: u16 = 1600;
const LARGEST: u16 = 1450;

fn agreed(format: Format) -> Multilink {
    Multilink {
        receive: Some(Receiving { mrru: MRRU, format }),
        send: Some(Sending { largest: LARGEST, format }),
    }
}

/// Brings up multilink and an inner MTU of 1500.
fn widen(bench: &Bench, tunnel: TunnelId, inner: Ipv4Addr, format: Format) {
    let multilink = agreed(format);
    bench.handle.command(Command::SetMultilink { tunnel, multilink }).unwrap();
    let prefixes = vec![Prefix::host(inner)];
    let network = Network { prefixes, mtu: 1500, local: GATEWAY, clamp_mss: true };
    bench.handle.command(Command::SetNetwork { tunnel, network: Some(network) }).unwrap();
}

/// A subscriber that sends and receives fragments.
struct Peer {
    subscriber: Subscriber,
    format: Format,
    number: u32,
}

impl Peer {
    /// The frame of an outer packet, cut into pieces of this many octets, each in a packet.
    fn cut(&mut self, outer: &[u8], room: usize) -> Vec<Vec<u8>> {
        self.subscriber.sequence = self.subscriber.sequence.wrapping_sub(1);
        let (_, ppp) = protocol::gre::Header::parse(&outer[20..]).unwrap();
        let ppp = ppp.strip_prefix(&[0xFF, 0x03]).unwrap_or(ppp);
        let last = ppp.chunks(room).count() - 1;
        let mut packets = Vec::new();
        for (place, piece) in ppp.chunks(room).enumerate() {
            packets.push(self.fragment(place == 0, place == last, piece));
        }
        packets
    }

    fn fragment(&mut self, begin: bool, end: bool, piece: &[u8]) -> Vec<u8> {
        let header = Header { begin, end, number: self.number };
        self.number = self.format.next(self.number);
        let mut octets = [0; header::MAX_LEN];
        let len = header.emit(self.format, &mut octets);
        self.subscriber.frame(&[&[0xFF, 0x03, 0x00, 0x3D], &octets[..len], piece].concat())
    }

    /// The packet in the frames that came by the access port, the numbers of whose fragments
    /// begin with `first`.
    fn join(&mut self, ethernet: &[Vec<u8>], first: u32) -> Vec<u8> {
        let mut reassembler = Reassembler::new(Receiving { mrru: MRRU, format: self.format });
        let mut whole = Vec::new();
        for (place, packet) in (0..).zip(ethernet) {
            assert!(packet.len() - 14 <= 1500, "no fragment exceeds the path");
            let received = self.subscriber.read(&packet[14..]);
            let (protocol, fragment) = frame::parse(&received.frame).unwrap();
            assert_eq!(protocol, frame::Protocol::MULTILINK);
            assert!(fragment.len() <= usize::from(LARGEST));
            let (header, piece) = Header::parse(self.format, fragment).unwrap();
            assert_eq!(header.number, (first + place) & self.format.mask());
            let (carrier, octets) = (received.sequence.unwrap(), piece.len());
            let fragment = reassembly::Fragment { header, carrier, octets, piece: piece.to_vec() };
            let mut released = Released::default();
            reassembler.insert(fragment, MAX_HELD, Instant::ORIGIN, &mut released);
            whole = released.whole.concat();
        }
        whole
    }
}

fn dial(bench: &mut Bench, format: Format) -> (TunnelId, Peer) {
    dial_as(bench, 9, INNER, format)
}

fn dial_as(bench: &mut Bench, call: u16, inner: Ipv4Addr, format: Format) -> (TunnelId, Peer) {
    let (tunnel, subscriber) = bench.dial(call, inner);
    widen(bench, tunnel, inner, format);
    bench.turn();
    (tunnel, Peer { subscriber, format, number: 0 })
}

/// A full packet in GRE, encrypted, in two or more pieces.
fn full(peer: &mut Peer, fill: u8, room: usize) -> Vec<Vec<u8>> {
    let whole = peer.subscriber.encrypt(FAR, &[fill; 1480]);
    peer.cut(&whole, room)
}

fn push_all(bench: &mut Bench, packets: &[Vec<u8>]) {
    for packet in packets {
        bench.push(0, RAW, packet);
    }
}

#[test]
fn full_packets_cross_encrypted_both_ways() {
    for format in [Format::Long, Format::Short] {
        let mut bench = Bench::new(1);
        let (tunnel, mut peer) = dial(&mut bench, format);
        for round in 0..50_u8 {
            let fragments = full(&mut peer, round, 1400);
            assert_eq!(fragments.len(), 2);
            push_all(&mut bench, &fragments);
            bench.push(0, TUN, &packet(FAR, INNER, &[round; 1480]));
            bench.turn();
            assert_eq!(bench.pop(0, TUN), [packet(INNER, FAR, &[round; 1480])]);
            let sent = bench.pop(0, ACCESS);
            assert_eq!(sent.len(), 2);
            let whole = peer.join(&sent, u32::from(round) * 2);
            let outer = peer.subscriber.clone().frame(&whole);
            // As if it had come whole: the other end's reader knows how to decrypt that.
            let mut back = outer;
            back[12..20].rotate_left(4);
            back[26..28].copy_from_slice(&7_u16.to_be_bytes());
            let inner = peer.subscriber.decrypt(&refreshed(back));
            assert_eq!(inner, packet(FAR, INNER, &[round; 1480]));
        }
        assert_eq!(bench.drops(), []);
        let totals = bench.handle.totals();
        assert_eq!(totals.workers[0].multilink_received, 50);
        assert_eq!(totals.workers[0].multilink_sent, 50);
        let counters = bench.handle.close(tunnel).unwrap();
        assert_eq!((counters.rx_packets, counters.tx_packets), (50, 50));
        assert_eq!((counters.lost, counters.reordered, counters.duplicates), (0, 0, 0));
    }
}

/// An outer header whose checksum is right again.
fn refreshed(mut packet: Vec<u8>) -> Vec<u8> {
    packet[10..12].fill(0);
    let checksum = !super::subscriber::sum(&packet[..20]);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet
}

/// What is small enough goes as without multilink.
#[test]
fn small_packets_go_whole_and_are_taken_with_and_without_a_header() {
    let mut bench = Bench::new(1);
    let (_, mut peer) = dial(&mut bench, Format::Long);
    // 1446 and the protocol number inside of MPPE and MPPE's header: the largest that goes whole.
    for (octets, pieces) in [(1426, 1), (1427, 2)] {
        bench.push(0, TUN, &packet(FAR, INNER, &vec![1; octets]));
        bench.turn();
        assert_eq!(bench.pop(0, ACCESS).len(), pieces);
    }
    let whole = peer.subscriber.encrypt(FAR, &[2]);
    bench.push(0, RAW, &whole);
    let whole = peer.subscriber.encrypt(FAR, &[3]);
    let one = peer.cut(&whole, 2000);
    push_all(&mut bench, &one);
    // RFC 1990 §4.1: a fragment with nothing in it means nothing.
    let null = peer.fragment(true, true, &[]);
    bench.push(0, RAW, &null);
    bench.turn();
    assert_eq!(bench.pop(0, TUN), [packet(INNER, FAR, &[2]), packet(INNER, FAR, &[3])]);
    assert_eq!(bench.drops(), []);
}

#[test]
fn full_packets_cross_in_the_clear_where_there_is_no_encryption() {
    let mut bench = Bench::new(1);
    let tunnel = bench.handle.open(outer(9)).unwrap();
    bench.protect(tunnel, Encryption::None);
    widen(&bench, tunnel, INNER, Format::Long);
    let framing = Framing { compress_address_control: true, compress_protocol: true };
    bench.handle.command(Command::SetFraming { tunnel, framing, magic: 0 }).unwrap();
    let subscriber = Subscriber::new(PEER, LOCAL, (9, 7), INNER);
    let mut peer = Peer { subscriber, format: Format::Long, number: 0 };
    let inner = packet(INNER, FAR, &[1; 1480]);
    let whole = peer.subscriber.frame(&[&[0x21], &inner[..]].concat());
    let mut fragments = peer.cut(&whole, 600);
    assert_eq!(fragments.len(), 3);
    fragments.rotate_left(1);
    push_all(&mut bench, &fragments);
    bench.push(0, TUN, &packet(FAR, INNER, &[2; 1480]));
    bench.turn();
    assert_eq!(bench.pop(0, TUN), [inner]);
    let sent = bench.pop(0, ACCESS);
    assert_eq!(peer.subscriber.read(&sent[0][14..]).frame[..2], [0x3D, 0x80]);
    assert_eq!(peer.join(&sent, 0), [&[0x21], &packet(FAR, INNER, &[2; 1480])[..]].concat());
    assert_eq!(bench.drops(), []);
    assert_eq!(bench.handle.close(tunnel).unwrap().lost, 0);
}

/// Linux sends its NCPs' packets so, from the first one on.
#[test]
fn control_frames_come_out_of_fragments_and_lcps_negotiation_does_not() {
    let mut bench = Bench::new(1);
    let tunnel = bench.handle.open(outer(9)).unwrap();
    let multilink = agreed(Format::Long);
    bench.handle.command(Command::SetMultilink { tunnel, multilink }).unwrap();
    let subscriber = Subscriber::new(PEER, LOCAL, (9, 7), INNER);
    let mut peer = Peer { subscriber, format: Format::Long, number: 0 };
    let ccp = [0x80, 0xFD, 1, 1, 0, 10, 18, 6, 1, 0, 0, 0x40];
    for piece in ccp.chunks(5) {
        let fragment = peer.fragment(piece[0] == 0x80, piece.len() < 5, piece);
        bench.push(0, RAW, &fragment);
    }
    let echo = [0xC0, 0x21, 9, 1, 0, 8, 0, 0, 0, 0];
    // RFC 1990 §2: LCP's negotiation does not travel by the bundle, and no bundle inside of one.
    let request = [0xC0, 0x21, 1, 1, 0, 4];
    let nested = [0x00, 0x3D, 0xC0, 0, 0, 9, 0xC0, 0x21, 9, 1, 0, 4];
    for frame in [&echo[..], &request, &nested] {
        let fragment = peer.fragment(true, true, frame);
        bench.push(0, RAW, &fragment);
    }
    let short = peer.subscriber.frame(&[0x00, 0x3D, 0xC0, 0]);
    bench.push(0, RAW, &short);
    bench.turn();
    let frames: Vec<_> = bench
        .events()
        .into_iter()
        .map(|event| match event {
            Event::Control { frame, .. } => frame.to_vec(),
            Event::OutOfStep { .. } => panic!("stateless"),
            Event::Packet { .. } => panic!("nothing for the router"),
        })
        .collect();
    assert_eq!(frames, [&ccp[..], &echo]);
    assert_eq!(bench.drops(), [(DropReason::FragmentMalformed, 3)]);
}

#[test]
fn without_multilink_a_fragment_is_no_data() {
    let mut bench = Bench::new(1);
    let (tunnel, subscriber) = bench.dial(9, INNER);
    let mut peer = Peer { subscriber, format: Format::Long, number: 0 };
    let fragments = full(&mut peer, 1, 1400);
    push_all(&mut bench, &fragments);
    bench.push(0, TUN, &packet(FAR, INNER, &[1; 1480]));
    bench.turn();
    assert_eq!(bench.pop(0, ACCESS).len(), 2, "cut as IP is");
    assert_eq!(bench.drops(), [(DropReason::PlaintextRefused, 2)]);
    // Nor is it any more once LCP agreed without.
    widen(&bench, tunnel, INNER, Format::Long);
    bench.turn();
    push_all(&mut bench, &fragments[..1]);
    bench.turn();
    let multilink = Multilink::default();
    bench.handle.command(Command::SetMultilink { tunnel, multilink }).unwrap();
    bench.turn();
    let refused = (DropReason::PlaintextRefused, 3);
    push_all(&mut bench, &fragments[1..]);
    bench.turn();
    assert_eq!(bench.drops(), [refused, (DropReason::FragmentLost, 1)]);
}

/// RFC 1990 §4.1. The next packets' keys lie behind those of the lost ones.
#[test]
fn lost_fragments_cost_their_packet_and_no_other() {
    let mut bench = Bench::new(1);
    let (tunnel, mut peer) = dial(&mut bench, Format::Long);
    for round in 0..12_u8 {
        let mut fragments = full(&mut peer, round, 520);
        assert_eq!(fragments.len(), 3);
        let is_whole = round % 4 == 3;
        if !is_whole {
            // The first, the middle one, the last.
            fragments.remove(usize::from(round % 4));
        }
        push_all(&mut bench, &fragments);
        bench.turn();
        let came = bench.pop(0, TUN);
        let whole = packet(INNER, FAR, &[round; 1480]);
        assert_eq!(came, if is_whole { vec![whole] } else { vec![] });
    }
    assert_eq!(bench.drops(), []);
    bench.turn_after(PATIENCE);
    assert_eq!(bench.drops(), [(DropReason::FragmentLost, 18)]);
    assert_eq!(bench.handle.close(tunnel).unwrap().rx_packets, 3);
}

#[test]
fn repeated_and_late_fragments_do_no_harm() {
    let mut bench = Bench::new(1);
    let (tunnel, mut peer) = dial(&mut bench, Format::Long);
    let one = full(&mut peer, 1, 1400);
    let two = full(&mut peer, 2, 1400);
    // The second packet is whole before the first, whose key it has passed.
    let order = [&one[0], &one[0], &two[1], &two[0], &two[1], &one[1], &one[0], &one[1]];
    let order: Vec<_> = order.into_iter().cloned().collect();
    push_all(&mut bench, &order);
    bench.turn();
    let packets = [packet(INNER, FAR, &[2; 1480]), packet(INNER, FAR, &[1; 1480])];
    assert_eq!(bench.pop(0, TUN), packets);
    let drops = bench.drops();
    assert!(drops.iter().all(|(reason, _)| *reason == DropReason::SequenceReplayed), "{drops:?}");
    // A whole recording is replayed: its pieces make the packet again, and nobody believes it.
    for _ in 0..3 {
        bench.turn_after(PATIENCE);
        push_all(&mut bench, &order);
        bench.turn();
        assert!(bench.pop(0, TUN).is_empty());
    }
    assert_eq!(bench.handle.close(tunnel).unwrap().rx_packets, 2);
}

/// Whoever knows the Call ID sends fragments of any number: the true packets pass.
#[test]
fn forged_fragments_move_nothing() {
    let mut bench = Bench::new(1);
    let (tunnel, mut peer) = dial(&mut bench, Format::Long);
    let mut number: u32 = 77;
    for round in 0..100_u8 {
        let mut fragments = full(&mut peer, round, 1400);
        for at in 0..6 {
            number = (number * 1_021 + 7) & 0x000F_FFFF;
            let [_, high, middle, low] = u32::to_be_bytes(number);
            let flags = [0x80, 0x40, 0, 0xC0][at % 4];
            let forged = [0x00, 0x3D, flags, high, middle, low, 1, 2, 3];
            let sequence = peer.subscriber.sequence.wrapping_add(number);
            fragments.insert(at % 3, peer.subscriber.frame_at(sequence, &forged));
        }
        push_all(&mut bench, &fragments);
        bench.turn();
        assert_eq!(bench.pop(0, TUN), [packet(INNER, FAR, &[round; 1480])], "{round}");
    }
    let counters = bench.handle.close(tunnel).unwrap();
    assert_eq!((counters.rx_packets, counters.lost), (100, 0));
}

/// Many tunnels send first fragments only: others' packets pass, and frames are left.
#[test]
fn a_flood_of_first_fragments_leaves_room_for_others() {
    let mut bench = Bench::new(1);
    let address = |call: u16| Ipv4Addr::from_bits(0x0A00_0100 + u32::from(call));
    let mut peers: Vec<_> =
        (0..12).map(|call| dial_as(&mut bench, 20 + call, address(call), Format::Long)).collect();
    let (_, mut quiet) = dial(&mut bench, Format::Long);
    for round in 0..40_u8 {
        for (_, peer) in &mut peers {
            for _ in 0..3 {
                let fragment = peer.fragment(true, false, &[0x00, 0xFD, 1]);
                bench.push(0, RAW, &fragment);
            }
        }
        let fragments = full(&mut quiet, round, 520);
        push_all(&mut bench, &fragments[..2]);
        bench.turn();
        let held = bench.handle.totals().workers[0].fragments;
        assert!(held <= FRAGMENTS as u64, "{held}");
        push_all(&mut bench, &fragments[2..]);
        bench.turn();
        assert_eq!(bench.pop(0, TUN), [packet(INNER, FAR, &[round; 1480])]);
    }
    bench.turn_after(PATIENCE);
    assert_eq!(bench.handle.totals().workers[0].fragments, 0);
    let drops = bench.drops();
    assert_eq!(drops.iter().map(|(_, count)| count).sum::<u64>(), 12 * 40 * 3);
    // A tunnel that closes leaves none behind.
    let (tunnel, peer) = &mut peers[0];
    let fragment = peer.fragment(true, false, &[1]);
    bench.push(0, RAW, &fragment);
    bench.turn();
    bench.handle.close(*tunnel);
    bench.turn();
    assert_eq!(bench.handle.totals().workers[0].fragments, 0);
}

/// What the MRRU forbids, and what no frame could hold.
#[test]
fn a_packet_beyond_the_mrru_is_refused() {
    let mut bench = Bench::new(1);
    let (_, mut peer) = dial(&mut bench, Format::Long);
    for octets in [1581, 3000] {
        let whole = peer.subscriber.encrypt(FAR, &vec![1; octets]);
        let fragments = peer.cut(&whole, 1400);
        push_all(&mut bench, &fragments);
        bench.turn();
    }
    assert!(bench.pop(0, TUN).is_empty());
    assert_eq!(bench.drops(), [(DropReason::FragmentMalformed, 5)]);
}

/// RFC 3168 §5.3: congestion that a piece has met, the whole has met.
#[test]
fn congestion_of_any_fragment_is_the_packets() {
    for at in 0..2 {
        let mut bench = Bench::new(1);
        let (_, mut peer) = dial(&mut bench, Format::Long);
        let mut fragments = full(&mut peer, 1, 1400);
        fragments[at][1] |= 3;
        fragments[at] = refreshed(fragments[at].clone());
        push_all(&mut bench, &fragments);
        bench.turn();
        assert!(bench.pop(0, TUN).is_empty());
        assert_eq!(bench.drops(), [(DropReason::Congestion, 1)]);
    }
}

#[test]
fn without_a_frame_for_fragments_the_packet_is_dropped() {
    let mut bench = Bench::new(1);
    let (tunnel, _) = dial(&mut bench, Format::Long);
    // A peer whose MRU would take too many.
    let tiny = Sending { largest: 96, format: Format::Long };
    let multilink = Multilink { receive: None, send: Some(tiny) };
    bench.handle.command(Command::SetMultilink { tunnel, multilink }).unwrap();
    bench.push(0, TUN, &packet(FAR, INNER, &[1; 1480]));
    bench.push(0, TUN, &packet(FAR, INNER, &[1; 1400]));
    bench.turn();
    assert_eq!(bench.pop(0, ACCESS).len(), 16);
    assert_eq!(bench.drops(), [(DropReason::TooBig, 1)]);
}

/// Tells packets of different lengths apart.
fn fill(octets: usize) -> u8 {
    u8::try_from(octets % 251).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any fragments in any order: frames and packets are accounted for (the bench looks), and
    /// what comes out went in.
    #[test]
    fn whatever_comes_every_frame_is_accounted_for(
        packets in prop::collection::vec((1_usize..1480, 40_usize..1400), 1..12),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
        pauses in prop::collection::vec(0_u64..200, 0..60),
    ) {
        let mut bench = Bench::new(1);
        let (_, mut peer) = dial(&mut bench, Format::Long);
        let mut wire = Vec::new();
        let mut sent = Vec::new();
        for (octets, room) in packets {
            let whole = peer.subscriber.encrypt(FAR, &vec![fill(octets); octets]);
            sent.push(packet(INNER, FAR, &vec![fill(octets); octets]));
            wire.extend(peer.cut(&whole, room));
        }
        for (index, pause) in order.iter().zip(pauses) {
            bench.push(0, RAW, &wire[index.index(wire.len())]);
            bench.turn_after(Duration::from_millis(pause));
            for came in bench.pop(0, TUN) {
                let at = sent.iter().position(|packet| *packet == came);
                prop_assert!(at.is_some(), "a packet that was not sent, or came twice");
                sent.remove(at.unwrap_or_default());
            }
        }
    }
}

#[test]
fn fragments_that_wait_move_along_with_their_tunnel() {
    let mut bench = Bench::new(2);
    // Worker 0's, by its Call ID.
    let (tunnel, mut peer) = dial_as(&mut bench, 8, INNER, Format::Long);
    let mut fragments = full(&mut peer, 3, 600);
    let last = fragments.pop().unwrap();
    push_all(&mut bench, &fragments);
    bench.turn();
    assert!(bench.handle.move_tunnel(tunnel, 1));
    bench.turn();
    bench.push(0, RAW, &last);
    bench.turn();
    assert_eq!(bench.pop(1, TUN), [packet(INNER, FAR, &[3; 1480])]);
    // And those whose last one never comes are given up there.
    push_all(&mut bench, &full(&mut peer, 4, 600)[1..]);
    bench.turn();
    assert!(bench.handle.move_tunnel(tunnel, 0));
    bench.turn();
    bench.turn_after(PATIENCE * 2);
    assert_eq!(bench.drops(), [(DropReason::FragmentLost, 2)]);
}
