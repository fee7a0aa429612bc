//! A session as it should be: control frames, data both ways, acknowledgements.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::bench::{Bench, LOCAL, PEER, SERVER};
use super::subscriber::{Received, Subscriber, packet};
use crate::api::{Command, Event, Outer};

const INNER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);

#[test]
fn a_control_frame_comes_out_as_an_event_and_goes_in_as_a_command() {
    let mut bench = Bench::new(1);
    let outer =
        Outer { local: LOCAL, peer: PEER, own_call_id: 9, peer_call_id: 77, peer_window: 64 };
    let tunnel = bench.handle.open(outer).unwrap();
    let lcp = [0xFF, 0x03, 0xC0, 0x21, 1, 1, 0, 4];
    let peer = Subscriber::new(PEER, LOCAL, (9, 77), INNER);
    bench.push_raw(0, &peer.frame_at(0, &lcp));
    bench.turn();
    let Event::Control { tunnel: from, frame } = bench.events.try_next().unwrap();
    assert_eq!((from, &frame[..]), (tunnel, &lcp[2..]));

    bench.command(Command::SendControl { tunnel, frame });
    bench.turn();
    // RFC 2637 §4.1: the first number is 0, and the acknowledgement rides along.
    let expected = Received { sequence: Some(0), acknowledgment: Some(0), frame: lcp.to_vec() };
    assert_eq!(peer.read(&bench.sent(0)[0]), expected);
}

#[test]
fn data_crosses_encrypted_both_ways() {
    let mut bench = Bench::new(1);
    let (tunnel, mut subscriber) = bench.dial(9, INNER);
    for round in 0..100_u8 {
        let payload = vec![round; 1 + usize::from(round) * 14];
        bench.push_raw(0, &subscriber.encrypt(SERVER, &payload));
        bench.push_tun(0, &packet(SERVER, INNER, &payload));
        bench.turn();
        assert_eq!(bench.kernel(0), [packet(INNER, SERVER, &payload)]);
        let sent = bench.sent(0);
        assert_eq!(sent.len(), 1);
        assert_eq!(subscriber.decrypt(&sent[0]), packet(SERVER, INNER, &payload));
    }
    assert_eq!(bench.drops(), []);
    let counters = bench.handle.counters(tunnel).unwrap();
    assert_eq!((counters.rx_packets, counters.tx_packets), (100, 100));
    assert_eq!(counters.rx_bytes, counters.tx_bytes);
    assert_eq!((counters.lost, counters.reordered, counters.duplicates), (0, 0, 0));
}

/// RFC 2637 §4.1, §4.2.5.
#[test]
fn an_acknowledgement_without_data_goes_alone_after_100_ms() {
    let mut bench = Bench::new(1);
    let (_, mut subscriber) = bench.dial(9, INNER);
    bench.push_raw(0, &subscriber.encrypt(SERVER, &[1]));
    bench.turn();
    bench.turn_after(Duration::from_millis(99));
    assert_eq!(bench.sent(0), [[0; 0]; 0]);
    bench.turn_after(Duration::from_millis(1));
    let sent = bench.sent(0);
    let expected =
        Received { sequence: None, acknowledgment: Some(subscriber.sequence), frame: vec![] };
    assert_eq!(subscriber.read(&sent[0]), expected);
    bench.turn_after(Duration::from_secs(1));
    assert_eq!(bench.sent(0), [[0; 0]; 0]);
}
