//! What a router does to inner packets: segment sizes, fragments, ICMP errors, congestion marks.

use std::net::Ipv4Addr;
use std::time::Duration;

use proptest::prelude::*;

use super::bench::{
    ACCESS, Bench, CORE, CORE_MAC, GATEWAY, INNER, MTU, RAW, SERVER, SERVER_MAC, TUN, ethernet,
};
use super::subscriber::{ipv4, one_hop_on, packet, sum};
use crate::api::counters::WorkerTotals;
use crate::api::{Command, DropReason, Network, Prefix};

const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 6);
const NOBODY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 200);
const FAR: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 9);
const TOS: usize = 1;
const FLAGS: usize = 6;
const DONT_FRAGMENT: u8 = 0x40;

/// The same with another octet in its header.
fn with(mut packet: Vec<u8>, at: usize, octet: u8) -> Vec<u8> {
    packet[at] = octet;
    packet[10..12].fill(0);
    let checksum = !sum(&packet[..20]);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet
}

fn large(destination: Ipv4Addr) -> Vec<u8> {
    packet(SERVER, destination, &[7; 1470])
}

fn large_and_whole(destination: Ipv4Addr) -> Vec<u8> {
    with(large(destination), FLAGS, DONT_FRAGMENT)
}

/// A TCP SYN that announces 1460 octets.
fn syn(source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
    let segment =
        [0xC0, 1, 0, 80, 1, 2, 3, 4, 0, 0, 0, 0, 0x60, 2, 0xFF, 0xFF, 0, 0, 0, 0, 2, 4, 5, 0xB4];
    ipv4(6, 64, source, destination, &segment)
}

fn announced(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[42], packet[43]])
}

fn sums(bench: &Bench, of: fn(&WorkerTotals) -> u64) -> u64 {
    bench.handle.totals().workers.iter().map(of).sum()
}

impl Bench {
    fn serve(&mut self, worker: usize, packet: &[u8]) {
        self.push(worker, CORE, &ethernet(CORE_MAC, SERVER_MAC, packet));
    }
}

/// An ICMP error: source, destination, type, code, the second word, and what it quotes.
fn read_error(packet: &[u8]) -> (Ipv4Addr, Ipv4Addr, [u8; 2], [u8; 4], &[u8]) {
    let address = |at: usize| Ipv4Addr::from(*packet[at..].first_chunk::<4>().unwrap());
    assert_eq!((packet[0], packet[9]), (0x45, 1));
    assert_eq!((sum(&packet[..20]), sum(&packet[20..])), (0xFFFF, 0xFFFF));
    assert!(packet.len() <= 576, "RFC 1812 §4.3.2.3");
    let word = *packet[24..].first_chunk().unwrap();
    (address(12), address(16), [packet[20], packet[21]], word, &packet[28..])
}

/// RFC 6691: both ends are told what crosses the tunnel whole.
#[test]
fn segment_sizes_are_lowered_both_ways_and_only_where_it_is_wanted() {
    let mut bench = Bench::new(1);
    let (tunnel, mut subscriber) = bench.dial(9, INNER);
    for (clamp_mss, expected) in [(true, MTU - 40), (false, 1460)] {
        let prefixes = vec![Prefix::host(INNER)];
        let network = Some(Network { prefixes, mtu: MTU, local: GATEWAY, clamp_mss });
        bench.handle.command(Command::SetNetwork { tunnel, network }).unwrap();
        bench.push(0, RAW, &subscriber.encrypt_packet(&syn(INNER, FAR)));
        bench.push(0, TUN, &syn(FAR, INNER));
        bench.turn();
        assert_eq!(announced(&bench.pop(0, TUN)[0]), expected);
        let sent = bench.pop(0, ACCESS);
        assert_eq!(announced(&subscriber.decrypt(&sent[0][14..])), expected);
    }
    assert_eq!(sums(&bench, |worker| worker.mss_clamped), 2);
}

/// RFC 1191 §4: the source learns the tunnel's MTU from our end of it, whoever brought the packet
/// and whichever worker has the tunnel.
#[test]
fn a_packet_that_is_too_large_and_must_stay_whole_is_answered() {
    let mut bench = Bench::new(2);
    bench.dial(8, INNER);
    bench.dial(9, OTHER);
    for destination in [INNER, OTHER] {
        let large = large_and_whole(destination);
        bench.serve(0, &large);
        bench.push(0, TUN, &large);
        bench.turn();
        let errors = [bench.pop(0, RAW), bench.pop(1, RAW)].concat();
        assert_eq!(errors.len(), 2);
        for error in &errors {
            let (from, to, kind, word, quoted) = read_error(error);
            assert_eq!((from, to, kind), (GATEWAY, SERVER, [3, 4]));
            assert_eq!(word, [0, 0, 0x05, 0xB0], "1456");
            assert_eq!(quoted[20..], large[20..548]);
        }
        for worker in [0, 1] {
            assert!(bench.pop(worker, TUN).is_empty() && bench.pop(worker, ACCESS).is_empty());
        }
    }
    assert_eq!(bench.drops(), [(DropReason::TooBig, 4)]);
    assert_eq!(sums(&bench, |worker| worker.icmp_errors), 4);
}

#[test]
fn a_subscriber_that_sends_too_much_to_another_is_answered_too() {
    let mut bench = Bench::new(1);
    let (_, mut one) = bench.dial(8, INNER);
    bench.dial(9, OTHER);
    let large = with(packet(INNER, OTHER, &[7; 1470]), FLAGS, DONT_FRAGMENT);
    bench.push(0, RAW, &one.encrypt_packet(&large));
    bench.turn();
    let errors = bench.pop(0, RAW);
    // The kernel has the route to the pool, and brings it back by the TUN.
    let (from, to, kind, ..) = read_error(&errors[0]);
    assert_eq!((from, to, kind), (GATEWAY, INNER, [3, 4]));
    bench.push(0, TUN, &errors[0]);
    bench.turn();
    let sent = bench.pop(0, ACCESS);
    assert_eq!(one.decrypt(&sent[0][14..]), errors[0]);
}

/// RFC 791 §2.3: every fragment is a packet of its own to the tunnel.
#[test]
fn a_packet_that_is_too_large_and_may_be_cut_arrives_in_fragments() {
    let mut bench = Bench::new(2);
    let (tunnel, mut subscriber) = bench.dial(9, INNER);
    let large = large(INNER);
    bench.serve(0, &large);
    bench.serve(0, &packet(SERVER, INNER, b"next"));
    bench.push(1, TUN, &large);
    bench.turn();
    let sent: Vec<_> = bench.pop(1, ACCESS);
    let pieces: Vec<_> = sent.iter().map(|frame| subscriber.decrypt(&frame[14..])).collect();
    assert_eq!(pieces.iter().filter(|piece| piece[20..] == *b"next").count(), 1);
    let pieces: Vec<_> = pieces.iter().filter(|piece| piece[20..] != *b"next").collect();
    let shape: Vec<_> = pieces.iter().map(|piece| (piece.len(), [piece[6], piece[7]])).collect();
    let expected = [(1452, [0x20, 0]), (58, [0, 179])];
    assert_eq!(shape, [expected, expected].concat());
    for pair in pieces.chunks(2) {
        assert_eq!([&pair[0][20..], &pair[1][20..]].concat(), large[20..]);
    }
    assert_eq!(bench.drops(), []);
    assert_eq!(sums(&bench, |worker| worker.fragmented), 2);
    assert_eq!(bench.handle.counters(tunnel).unwrap().tx_packets, 5);
}

#[test]
fn what_would_be_too_many_fragments_is_dropped() {
    let mut bench = Bench::new(1);
    let (tunnel, _) = bench.dial(9, INNER);
    let prefixes = vec![Prefix::host(INNER)];
    let network = Some(Network { prefixes, mtu: 68, local: GATEWAY, clamp_mss: true });
    bench.handle.command(Command::SetNetwork { tunnel, network }).unwrap();
    bench.serve(0, &large(INNER));
    bench.turn();
    assert_eq!(bench.drops(), [(DropReason::TooBig, 1)]);
    assert!(bench.pop(0, ACCESS).is_empty() && bench.pop(0, RAW).is_empty());
}

/// RFC 1812 §4.3.2.8: one tunnel's flood neither costs more than its share nor silences others.
#[test]
fn errors_are_limited_for_each_tunnel() {
    let mut bench = Bench::new(1);
    bench.dial(8, INNER);
    bench.dial(9, OTHER);
    for _ in 0..30 {
        bench.serve(0, &large_and_whole(INNER));
    }
    bench.serve(0, &large_and_whole(OTHER));
    bench.turn();
    assert_eq!(bench.pop(0, RAW).len(), 21);
    assert_eq!(bench.drops(), [(DropReason::TooBig, 31)]);
    assert_eq!(sums(&bench, |worker| worker.icmp_suppressed), 10);
    bench.turn_after(Duration::from_secs(1));
    for _ in 0..30 {
        bench.serve(0, &large_and_whole(INNER));
    }
    bench.turn();
    assert_eq!(bench.pop(0, RAW).len(), 10);
}

/// RFC 1812 §4.3.2.7: else two errors could answer each other for ever.
#[test]
fn errors_later_fragments_and_strange_sources_are_never_answered() {
    let mut bench = Bench::new(1);
    bench.dial(9, INNER);
    let later = with(with(large(INNER), FLAGS, DONT_FRAGMENT), FLAGS + 1, 9);
    let error = ipv4(1, 64, SERVER, INNER, &[&[3, 1][..], &[0; 1470]].concat());
    let error = with(error, FLAGS, DONT_FRAGMENT);
    let martian = packet(Ipv4Addr::LOCALHOST, INNER, &[7; 1470]);
    let martian = with(martian, FLAGS, DONT_FRAGMENT);
    for packet in [&later, &error, &martian] {
        bench.serve(0, packet);
        bench.push(0, TUN, packet);
    }
    let unreachable = ipv4(1, 64, SERVER, NOBODY, &[11; 30]);
    bench.push(0, TUN, &unreachable);
    bench.turn();
    assert!(bench.pop(0, RAW).is_empty());
    let dropped =
        [(DropReason::NoTunnel, 1), (DropReason::TooBig, 5), (DropReason::SourceMartian, 1)];
    assert_eq!(bench.drops(), dropped);
    assert_eq!(sums(&bench, |worker| worker.icmp_suppressed), 0, "none was due");
}

#[test]
fn an_address_without_a_session_is_unreachable() {
    let mut bench = Bench::new(1);
    bench.dial(9, INNER);
    let lost = packet(SERVER, NOBODY, &[1]);
    bench.push(0, TUN, &lost);
    bench.serve(0, &lost);
    bench.turn();
    let errors = bench.pop(0, RAW);
    assert_eq!(errors.len(), 2);
    for error in &errors {
        // RFC 1812 §4.3.2.4: the kernel knows by which interface it leaves.
        let expected = (Ipv4Addr::UNSPECIFIED, SERVER, [3, 1], [0; 4], &lost[..]);
        assert_eq!(read_error(error), expected);
    }
    assert!(bench.pop(0, TUN).is_empty(), "a packet from the TUN never returns to it");

    // A scan is answered within the worker's limit, which leaves path MTU discovery alone.
    for _ in 0..500 {
        bench.push(0, TUN, &lost);
    }
    for _ in 0..8 {
        bench.turn();
    }
    bench.serve(0, &large_and_whole(INNER));
    bench.turn();
    let kinds: Vec<_> = bench.pop(0, RAW).iter().map(|error| read_error(error).2).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == [3, 4]).count(), 1);
    assert!((50..80).contains(&kinds.len()), "{}", kinds.len());
    assert_eq!(bench.drops(), [(DropReason::NoTunnel, 502), (DropReason::TooBig, 1)]);
}

/// RFC 1812 §5.3.1: traceroute shows us on the way to a subscriber.
#[test]
fn a_packet_to_a_subscriber_at_the_end_of_its_life_is_answered() {
    let mut bench = Bench::new(2);
    let (tunnel, _) = bench.dial(8, INNER);
    bench.dial(9, OTHER);
    for (destination, ttl) in [(INNER, 0), (INNER, 1), (OTHER, 1)] {
        let dying = ipv4(17, ttl, SERVER, destination, &[1; 40]);
        bench.serve(0, &dying);
        bench.turn();
        let errors = bench.pop(0, RAW);
        let expected = (Ipv4Addr::UNSPECIFIED, SERVER, [11, 0], [0; 4], &dying[..]);
        assert_eq!(read_error(&errors[0]), expected);
        assert!(bench.pop(0, ACCESS).is_empty() && bench.pop(1, ACCESS).is_empty());
    }
    assert_eq!(bench.drops(), [(DropReason::TtlExceeded, 3)]);
    assert_eq!(bench.handle.counters(tunnel).unwrap().drops.of(DropReason::TtlExceeded), 2);
    // The kernel has taken its hop already.
    bench.push(0, TUN, &ipv4(17, 1, SERVER, INNER, &[1; 40]));
    bench.turn();
    assert_eq!(bench.pop(0, ACCESS).len(), 1);
}

/// RFC 2983 §3, RFC 6040 §4.1.
#[test]
fn the_outer_header_has_the_inner_dscp_and_no_ecn() {
    let mut bench = Bench::new(1);
    let (_, mut subscriber) = bench.dial(8, INNER);
    let (_, mut other) = bench.dial(9, OTHER);
    for tos in [0, 0xB8, 0x01, 0x02, 0x03, 0xFF] {
        let inner = with(packet(FAR, INNER, &[1]), TOS, tos);
        bench.push(0, TUN, &inner);
        let across = with(packet(INNER, OTHER, &[2]), TOS, tos);
        bench.push(0, RAW, &subscriber.encrypt_packet(&across));
        bench.turn();
        let sent = bench.pop(0, ACCESS);
        // Subscribers' packets come first in a turn.
        let [to_other, to_subscriber] = &sent[..] else { panic!("{sent:?}") };
        // DSCP is copied; ECN is not, for the peer may not look at it (RFC 6040 §4.3).
        let outer = tos & 0xFC;
        assert_eq!((to_other[14 + TOS], to_subscriber[14 + TOS]), (outer, outer));
        assert_eq!(subscriber.decrypt(&to_subscriber[14..]), inner);
        assert_eq!(other.decrypt(&to_other[14..]), with(one_hop_on(&across), TOS, tos));
    }
}

/// RFC 6040 §4.2.
#[test]
fn congestion_on_the_way_is_told_to_those_who_understand() {
    const CE: u8 = 3;
    let mut bench = Bench::new(1);
    let (tunnel, mut subscriber) = bench.dial(9, INNER);
    for (inner, outer, expected) in [(0xBA, CE, 0xBB), (0xBA, 0, 0xBA), (0xBB, 2, 0xBB)] {
        let up = with(packet(INNER, FAR, &[1]), TOS, inner);
        bench.push(0, RAW, &with(subscriber.encrypt_packet(&up), TOS, outer));
        bench.turn();
        assert_eq!(bench.pop(0, TUN), [with(up, TOS, expected)]);
    }
    assert_eq!(bench.drops(), []);
    bench.push(0, RAW, &with(subscriber.encrypt(FAR, &[1]), TOS, CE));
    // Its key and number are used up all the same.
    bench.push(0, RAW, &subscriber.encrypt(FAR, &[2]));
    bench.turn();
    assert_eq!(bench.pop(0, TUN), [packet(INNER, FAR, &[2])]);
    assert_eq!(bench.drops(), [(DropReason::Congestion, 1)]);
    let counters = bench.handle.counters(tunnel).unwrap();
    assert_eq!((counters.rx_packets, counters.lost), (4, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Headers that are right in form and say anything; both ways, through a tunnel of any MTU.
    /// Every frame and packet stays accounted for, and what the subscriber gets fits and is sound.
    #[test]
    fn whatever_a_header_says_nothing_is_lost_or_too_large(
        mtu in 0..=MTU,
        packets in prop::collection::vec(
            (
                any::<[u8; 8]>(),
                prop::sample::select(vec![1_u8, 6, 17, 253]),
                prop::collection::vec(any::<[u8; 4]>(), 0..=10),
                prop::collection::vec(any::<u8>(), 0..100),
                0_usize..1400,
            ),
            1..20,
        ),
    ) {
        let mut bench = Bench::new(1);
        let (tunnel, mut subscriber) = bench.dial(9, INNER);
        let prefixes = vec![Prefix::host(INNER)];
        let network = Some(Network { prefixes, mtu, local: GATEWAY, clamp_mss: true });
        bench.handle.command(Command::SetNetwork { tunnel, network }).unwrap();
        for (fixed, protocol, options, payload, more) in packets {
            let payload = [&options.concat()[..], &payload, &vec![0; more]].concat();
            let shaped = |source, destination| {
                let mut packet = ipv4(protocol, fixed[4], source, destination, &payload);
                packet[0] = 0x45 + u8::try_from(options.len()).unwrap();
                packet[1] = fixed[1];
                packet[4..8].copy_from_slice(&fixed[..4]);
                packet[10..12].fill(0);
                let checksum = !sum(&packet[..20 + 4 * options.len()]);
                packet[10..12].copy_from_slice(&checksum.to_be_bytes());
                packet
            };
            bench.serve(0, &shaped(SERVER, INNER));
            bench.push(0, TUN, &shaped(FAR, INNER));
            let up = subscriber.encrypt_packet(&shaped(INNER, FAR));
            bench.push(0, RAW, &with(up, TOS, fixed[5]));
            bench.turn();
            for sent in bench.pop(0, ACCESS) {
                let packet = subscriber.decrypt(&sent[14..]);
                let header = usize::from(packet[0] & 15) * 4;
                prop_assert_eq!(sum(&packet[..header]), 0xFFFF);
                prop_assert!(packet.len() <= usize::from(mtu));
                prop_assert_eq!(sent[14 + TOS], packet[TOS] & 0xFC);
            }
            for error in bench.pop(0, RAW) {
                read_error(&error);
            }
            bench.pop_all();
        }
    }
}
