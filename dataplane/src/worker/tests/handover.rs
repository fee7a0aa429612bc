//! Packets on the queue of a worker that does not have their tunnel.

use std::net::Ipv4Addr;

use super::bench::{ACCESS, Bench, CORE, CORE_MAC, INNER, RAW, SERVER, SERVER_MAC, TUN, ethernet};
use super::subscriber::{one_hop_on, packet};
use crate::api::DropReason;

const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 6);
const FAR: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 9);

#[test]
fn every_packet_on_the_wrong_queue_finds_its_tunnel() {
    let mut bench = Bench::new(2);
    // Call IDs decide: the first tunnel is worker 0's, the second worker 1's.
    let (even, mut one) = bench.dial(8, INNER);
    let (odd, mut other) = bench.dial(9, OTHER);
    for round in 0..50 {
        bench.push(1, RAW, &one.encrypt(FAR, &[round]));
        bench.push(0, RAW, &other.encrypt(FAR, &[round]));
        bench.push(1, CORE, &ethernet(CORE_MAC, SERVER_MAC, &packet(SERVER, INNER, &[round])));
        bench.push(0, TUN, &packet(FAR, OTHER, &[round]));
        bench.turn();
        assert_eq!(bench.pop(0, TUN), [packet(INNER, FAR, &[round])]);
        assert_eq!(bench.pop(1, TUN), [packet(OTHER, FAR, &[round])]);
        let down = bench.pop(0, ACCESS);
        assert_eq!(
            one.decrypt(&down[0][14..]),
            one_hop_on(&packet(SERVER, INNER, &[round])),
            "one hop, although two workers saw it"
        );
        let down = bench.pop(1, ACCESS);
        assert_eq!(other.decrypt(&down[0][14..]), packet(FAR, OTHER, &[round]));
    }
    assert_eq!(bench.drops(), []);
    let handed: u64 = bench.handle.totals().workers.iter().map(|worker| worker.handed_over).sum();
    assert_eq!(handed, 200);
    for tunnel in [even, odd] {
        let counters = bench.handle.counters(tunnel).unwrap();
        assert_eq!((counters.rx_packets, counters.tx_packets), (50, 50));
    }
}

#[test]
fn subscribers_of_two_workers_reach_each_other() {
    let mut bench = Bench::new(2);
    let (_, mut one) = bench.dial(8, INNER);
    let (_, mut other) = bench.dial(9, OTHER);
    bench.push(0, RAW, &one.encrypt(OTHER, b"hello"));
    bench.turn();
    let down = bench.pop(1, ACCESS);
    assert_eq!(other.decrypt(&down[0][14..]), one_hop_on(&packet(INNER, OTHER, b"hello")));
}

/// The owner sleeps: its ring takes what it holds, the rest is dropped and counted.
#[test]
fn a_full_ring_drops_and_counts() {
    let mut bench = Bench::new(2);
    let (_, mut one) = bench.dial(8, INNER);
    bench.turn();
    let mut sent = 0;
    for _ in 0..20 {
        for _ in 0..64 {
            bench.push(1, RAW, &one.encrypt(FAR, &[1]));
            sent += 1;
        }
        bench.turn_worker(1);
    }
    let dropped = sent - 1024;
    assert_eq!(bench.drops(), [(DropReason::HandoverFull, dropped)]);
    for _ in 0..10 {
        bench.turn();
        bench.pop_all();
    }
    let totals = bench.handle.totals();
    assert_eq!(totals.workers[0].taken_over, 1024);
    assert_eq!(totals.drops().total(), dropped);
}

#[test]
fn a_frame_whose_tunnel_closed_on_the_way_is_counted() {
    let mut bench = Bench::new(2);
    let (tunnel, mut one) = bench.dial(8, INNER);
    bench.turn();
    bench.push(1, RAW, &one.encrypt(FAR, &[1]));
    bench.push(1, TUN, &packet(FAR, INNER, &[1]));
    bench.turn_worker(1);
    bench.handle.close(tunnel);
    bench.turn();
    assert_eq!(bench.drops(), [(DropReason::TunnelUnknown, 1), (DropReason::HandoverStale, 1)]);
}
