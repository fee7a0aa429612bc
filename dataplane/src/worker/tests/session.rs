//! A session as it should be: control frames, data both ways, acknowledgements, renegotiation.

use std::time::Duration;

use super::bench::{Bench, INNER, LOCAL, PEER, RAW, SERVER, TUN, outer};
use super::subscriber::{Received, Subscriber, keys, packet};
use crate::api::{Command, DropReason, Encryption, Event, Framing};

/// Far from any neighbour: all packets go by the kernel.
const FAR: std::net::Ipv4Addr = std::net::Ipv4Addr::new(100, 64, 0, 9);

#[test]
fn a_control_frame_comes_out_as_an_event_and_goes_in_as_a_command() {
    let mut bench = Bench::new(1);
    let tunnel = bench.handle.open(crate::api::Outer { peer: FAR, ..outer(9) }).unwrap();
    let peer = Subscriber::new(FAR, LOCAL, (9, 7), INNER);
    let lcp = [0xFF, 0x03, 0xC0, 0x21, 1, 1, 0, 4];
    bench.push(0, RAW, &peer.frame_at(0, &lcp));
    bench.turn();
    let Event::Control { tunnel: from, frame } = bench.events.try_next().unwrap() else {
        panic!("a control frame")
    };
    assert_eq!((from, &frame[..]), (tunnel, &lcp[2..]));

    bench.handle.command(Command::SendControl { tunnel, frame }).unwrap();
    bench.turn();
    // RFC 2637 §4.1: the first number is 0, and the acknowledgement rides along.
    let expected = Received { sequence: Some(0), acknowledgment: Some(0), frame: lcp.to_vec() };
    assert_eq!(peer.read(&bench.pop(0, RAW)[0]), expected);
}

#[test]
fn the_last_words_of_a_tunnel_go_out_before_it_closes_and_its_call_id_can_serve_again() {
    let mut bench = Bench::new(2);
    let far = crate::api::Outer { peer: FAR, ..outer(8) };
    let mut peer = Subscriber::new(FAR, LOCAL, (8, 7), INNER);
    let terminate_ack = [0xFF, 0x03, 0xC0, 0x21, 6, 1, 0, 4];
    for _ in 0..3 {
        let tunnel = bench.handle.open(far).unwrap();
        let frame = terminate_ack[2..].into();
        bench.handle.command(Command::SendControl { tunnel, frame }).unwrap();
        bench.turn();
        assert_eq!(peer.read(&bench.pop(0, RAW)[0]).frame, terminate_ack);
        // The worker has not looked yet when all of this is in its letter box.
        let frame = terminate_ack[2..].into();
        bench.handle.command(Command::SendControl { tunnel, frame }).unwrap();
        bench.handle.close(tunnel);
        let next = bench.handle.open(far).unwrap();
        let frame = terminate_ack[2..].into();
        bench.handle.command(Command::SendControl { tunnel: next, frame }).unwrap();
        bench.turn();
        let sent = bench.pop(0, RAW);
        let numbers: Vec<_> = sent.iter().map(|packet| peer.read(packet).sequence).collect();
        assert_eq!(numbers, [Some(1), Some(0)], "the old tunnel's last, the new one's first");
        bench.handle.close(next);
        peer = Subscriber::new(FAR, LOCAL, (8, 7), INNER);
    }
}

#[test]
fn whoever_calls_hears_the_peer_before_it_knows_its_call_id() {
    let mut bench = Bench::new(1);
    let unknown = crate::api::Outer { peer: FAR, peer_call_id: 0, ..outer(9) };
    let tunnel = bench.handle.open(unknown).unwrap();
    let peer = Subscriber::new(FAR, LOCAL, (9, 77), INNER);
    let lcp = [0xFF, 0x03, 0xC0, 0x21, 1, 1, 0, 4];
    bench.push(0, RAW, &peer.frame_at(0, &lcp));
    bench.turn();
    let Event::Control { frame, .. } = bench.events.try_next().unwrap() else {
        panic!("a control frame")
    };

    bench.handle.command(Command::SetPeer { tunnel, peer_call_id: 77, peer_window: 64 }).unwrap();
    bench.handle.command(Command::SendControl { tunnel, frame }).unwrap();
    bench.turn();
    let sent = peer.read(&bench.pop(0, RAW)[0]);
    assert_eq!((sent.sequence, sent.frame), (Some(0), lcp.to_vec()));
}

#[test]
fn a_frame_that_came_after_a_tunnel_was_opened_finds_it() {
    let mut bench = Bench::new(2);
    let peer = Subscriber::new(PEER, LOCAL, (8, 7), INNER);
    // The frame is there before the worker has seen the order.
    bench.handle.open(outer(8)).unwrap();
    bench.push(0, RAW, &peer.frame_at(0, &[0xC0, 0x21, 1, 1, 0, 4]));
    bench.turn_worker(0);
    assert_eq!(bench.events().len(), 1);
}

#[test]
fn data_crosses_encrypted_both_ways() {
    let mut bench = Bench::new(1);
    let (tunnel, mut subscriber) = bench.dial(9, INNER);
    for round in 0..100_u8 {
        let payload = vec![round; 1 + usize::from(round) * 14];
        bench.push(0, RAW, &subscriber.encrypt(FAR, &payload));
        bench.push(0, TUN, &packet(FAR, INNER, &payload));
        bench.turn();
        assert_eq!(bench.pop(0, TUN), [packet(INNER, FAR, &payload)]);
        let sent = bench.pop(0, super::bench::ACCESS);
        assert_eq!(sent.len(), 1);
        assert_eq!(subscriber.decrypt(&sent[0][14..]), packet(FAR, INNER, &payload));
        let inner = &packet(FAR, INNER, &payload)[20..];
        assert!(inner.len() < 8 || !sent[0].windows(inner.len()).any(|window| window == inner));
    }
    assert_eq!(bench.drops(), []);
    let counters = bench.handle.close(tunnel).unwrap();
    assert_eq!((counters.rx_packets, counters.tx_packets), (100, 100));
    assert_eq!(counters.rx_bytes, counters.tx_bytes);
    assert_eq!((counters.lost, counters.reordered, counters.duplicates), (0, 0, 0));
    assert!(bench.handle.counters(tunnel).is_none());
}

/// RFC 1661 §6.5, §6.6.
#[test]
fn headers_are_shortened_as_agreed_and_lcps_never() {
    let mut bench = Bench::new(1);
    let (tunnel, mut subscriber) = bench.dial(9, INNER);
    let framing = Framing { compress_address_control: true, compress_protocol: true };
    bench.handle.command(Command::SetFraming { tunnel, framing, magic: 0 }).unwrap();
    let frame: Box<[u8]> = [0xC0, 0x21, 9, 1, 0, 8, 0, 0, 0, 0].into();
    bench.handle.command(Command::SendControl { tunnel, frame }).unwrap();
    bench.push(0, TUN, &packet(FAR, INNER, &[5]));
    bench.turn();
    let sent = bench.pop(0, super::bench::ACCESS);
    assert_eq!(subscriber.read(&sent[0][14..]).frame[..4], [0xFF, 0x03, 0xC0, 0x21]);
    assert_eq!(subscriber.read(&sent[1][14..]).frame[0], 0xFD);
    assert_eq!(subscriber.decrypt(&sent[1][14..]), packet(FAR, INNER, &[5]));
    // What the peer sends may be short too, whatever was agreed.
    bench.push(
        0,
        RAW,
        &subscriber.encrypt_data(&[&[0x21], &packet(INNER, FAR, &[6])[..]].concat()),
    );
    bench.turn();
    assert_eq!(bench.pop(0, TUN), [packet(INNER, FAR, &[6])]);
}

/// RFC 2637 §4.1, §4.2.5.
#[test]
fn an_acknowledgement_without_data_goes_alone_after_100_ms() {
    let mut bench = Bench::new(1);
    let (_, mut subscriber) = bench.dial(9, INNER);
    bench.push(0, RAW, &subscriber.encrypt(FAR, &[1]));
    bench.turn();
    bench.turn_after(Duration::from_millis(99));
    assert!(bench.pop(0, super::bench::ACCESS).is_empty());
    bench.turn_after(Duration::from_millis(1));
    let sent = bench.pop(0, super::bench::ACCESS);
    let expected =
        Received { sequence: None, acknowledgment: Some(subscriber.sequence), frame: vec![] };
    assert_eq!(subscriber.read(&sent[0][14..]), expected);
    bench.turn_after(Duration::from_secs(1));
    assert!(bench.pop(0, super::bench::ACCESS).is_empty());
}

/// RFC 2637 §4.2.5: old peers stall when their window is full.
#[test]
fn half_of_the_peers_window_is_acknowledged_at_once() {
    let mut bench = Bench::new(1);
    let (_, mut subscriber) =
        bench.dial_as(crate::api::Outer { peer_window: 8, ..outer(9) }, INNER);
    for _ in 0..4 {
        bench.push(0, RAW, &subscriber.encrypt(FAR, &[1]));
    }
    bench.turn();
    let sent = bench.pop(0, super::bench::ACCESS);
    assert_eq!(sent.len(), 1);
    assert_eq!(subscriber.read(&sent[0][14..]).acknowledgment, Some(subscriber.sequence));
}

/// RFC 2637 §4.4.
#[test]
fn the_round_trip_time_is_known_from_acknowledgements() {
    let mut bench = Bench::new(1);
    let (tunnel, subscriber) = bench.dial(9, INNER);
    let round_trip = |bench: &Bench| bench.handle.counters(tunnel).unwrap().round_trip;
    for millis in [40, 48, 40] {
        bench.push(0, TUN, &packet(FAR, INNER, &[1]));
        bench.turn();
        let sent = bench.pop(0, super::bench::ACCESS);
        let number = subscriber.read(&sent[0][14..]).sequence.unwrap();
        // Nobody can have seen this one.
        bench.push(0, RAW, &subscriber.acknowledge(number + 1));
        bench.turn_after(Duration::from_millis(millis));
        bench.push(0, RAW, &subscriber.acknowledge(number));
        bench.turn_after(Duration::ZERO);
    }
    let [first, second] = [40_000, 41_000_u64];
    assert_eq!(round_trip(&bench), Some(Duration::from_micros(second - second / 8 + first / 8)));
}

#[test]
fn nothing_passes_before_encryption_and_network_are_chosen() {
    let mut bench = Bench::new(1);
    let tunnel = bench.handle.open(outer(9)).unwrap();
    let (receive, send) = keys(9);
    let mut subscriber = Subscriber::new(PEER, LOCAL, (9, 7), INNER);
    let data = [&[0x00, 0x21], &packet(INNER, FAR, &[1])[..]].concat();
    bench.push(0, RAW, &subscriber.frame(&data));
    bench.network(tunnel, Some(INNER));
    bench.push(0, TUN, &packet(FAR, INNER, &[1]));
    bench.turn();
    assert_eq!(bench.drops(), [(DropReason::NetworkClosed, 2)]);

    bench.protect(tunnel, Encryption::stateless(receive, send));
    bench.network(tunnel, None);
    bench.push(0, RAW, &subscriber.encrypt(FAR, &[1]));
    bench.push(0, TUN, &packet(FAR, INNER, &[1]));
    bench.turn();
    assert_eq!(bench.drops(), [(DropReason::NetworkClosed, 3), (DropReason::NoTunnel, 1)]);
    assert!(bench.pop(0, TUN).is_empty());
}

/// LCP was renegotiated: data stops, and goes on with new keys.
#[test]
fn new_keys_begin_a_new_count() {
    let mut bench = Bench::new(1);
    let (tunnel, mut subscriber) = bench.dial(9, INNER);
    for _ in 0..10 {
        bench.push(0, RAW, &subscriber.encrypt(FAR, &[1]));
    }
    bench.turn();
    bench.network(tunnel, None);
    bench.push(0, RAW, &subscriber.encrypt(FAR, &[1]));
    bench.turn();
    assert_eq!(bench.drops(), [(DropReason::NetworkClosed, 1)]);

    let (send, receive) = keys(77);
    bench.protect(tunnel, Encryption::stateless(receive, send));
    bench.network(tunnel, Some(INNER));
    let mut again = Subscriber::new(PEER, LOCAL, (9, 7), INNER);
    again.set_keys(keys(77).1, keys(77).0);
    again.sequence = subscriber.sequence;
    bench.pop_all();
    bench.push(0, RAW, &again.encrypt(FAR, &[2]));
    bench.push(0, TUN, &packet(FAR, INNER, &[3]));
    bench.turn();
    assert_eq!(bench.pop(0, TUN), [packet(INNER, FAR, &[2])]);
    let sent = bench.pop(0, super::bench::ACCESS);
    assert_eq!(again.decrypt(&sent[0][14..]), packet(FAR, INNER, &[3]));
}

#[test]
fn a_tunnel_without_encryption_carries_plain_packets_and_no_others() {
    let mut bench = Bench::new(1);
    let tunnel = bench.handle.open(outer(9)).unwrap();
    bench.protect(tunnel, Encryption::None);
    bench.network(tunnel, Some(INNER));
    let mut subscriber = Subscriber::new(PEER, LOCAL, (9, 7), INNER);
    let data = [&[0x21], &packet(INNER, SERVER, &[1])[..]].concat();
    let first = subscriber.frame(&data);
    bench.push(0, RAW, &first);
    bench.push(0, RAW, &first);
    bench.push(0, RAW, &subscriber.encrypt(FAR, &[1]));
    // Nobody opened IPv6: LCP is to reject it (RFC 1661 §5.7).
    bench.push(0, RAW, &subscriber.frame(&[0x00, 0x57, 0x60]));
    bench.push(0, TUN, &packet(FAR, INNER, &[2]));
    bench.turn();
    assert_eq!(bench.pop(0, super::bench::CORE).len(), 1);
    let sent = bench.pop(0, super::bench::ACCESS);
    let plain = [&[0xFF, 0x03, 0x00, 0x21], &packet(FAR, INNER, &[2])[..]].concat();
    assert_eq!(subscriber.read(&sent[0][14..]).frame, plain);
    assert_eq!(bench.events().len(), 1);
    assert_eq!(
        bench.drops(),
        [(DropReason::SequenceReplayed, 1), (DropReason::EncryptionUnexpected, 1)]
    );
}

#[test]
fn a_tunnel_that_is_closed_with_packets_in_flight_drops_and_counts_them() {
    let mut bench = Bench::new(1);
    let (tunnel, mut subscriber) = bench.dial(9, INNER);
    for _ in 0..5 {
        bench.push(0, RAW, &subscriber.encrypt(FAR, &[1]));
        bench.push(0, TUN, &packet(FAR, INNER, &[2]));
    }
    bench.turn();
    bench.pop_all();
    for _ in 0..5 {
        bench.push(0, RAW, &subscriber.encrypt(FAR, &[1]));
        bench.push(0, TUN, &packet(FAR, INNER, &[2]));
    }
    bench.handle.close(tunnel);
    let frame: Box<[u8]> = [0xC0, 0x21, 9, 1, 0, 4].into();
    bench.handle.command(Command::SendControl { tunnel, frame }).unwrap();
    bench.turn_after(Duration::from_millis(200));
    assert_eq!(bench.drops(), [(DropReason::TunnelUnknown, 5), (DropReason::NoTunnel, 5)]);
    // The slot is used again under another name; the old one has no power over it.
    let (new, mut subscriber) = bench.dial(9, INNER);
    assert_eq!(new.slot, tunnel.slot);
    bench.handle.close(tunnel);
    bench.push(0, RAW, &subscriber.encrypt(FAR, &[7]));
    bench.turn();
    assert_eq!(bench.pop(0, TUN), [packet(INNER, FAR, &[7])]);
}

/// After a stall many tunnels owe one at once: they go a few at a time, none is forgotten.
#[test]
fn acknowledgements_of_many_tunnels_share_turns() {
    let mut bench = Bench::new(1);
    let mut subscribers: Vec<_> = (0..600_u16)
        .map(|n| bench.dial(100 + n, std::net::Ipv4Addr::from_bits(0x0A00_0100 + u32::from(n))).1)
        .collect();
    bench.turn();
    for subscriber in &mut subscribers {
        bench.push(0, RAW, &subscriber.encrypt(FAR, &[1]));
    }
    for _ in 0..3 {
        bench.turn();
        bench.pop(0, TUN);
    }
    bench.now = bench.now + Duration::from_millis(200);
    for expected in [256, 256, 88, 0] {
        bench.turn_worker(0);
        assert_eq!(bench.pop(0, super::bench::ACCESS).len(), expected);
    }
}
