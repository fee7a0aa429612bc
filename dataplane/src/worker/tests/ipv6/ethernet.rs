//! IPv6 between subscribers and the core network, by ports and not by the kernel.

use super::super::bench::{ACCESS_MAC, BOTH, CORE, CORE_MAC, PEER_MAC, SERVER_MAC, ethernet};
use super::*;

/// [`super::super::bench::SERVER`] has it too.
const SERVER: &str = "2001:db8:cafe::80";

/// A packet of IPv6 in a frame that Ethernet padded.
fn frame_of(to: [u8; 6], from: [u8; 6], packet: &[u8]) -> Vec<u8> {
    let mut frame = ethernet(to, from, packet);
    frame[12..14].copy_from_slice(&[0x86, 0xDD]);
    frame
}

#[test]
fn packets_cross_from_port_to_port_on_ethernet() {
    for port in [CORE, BOTH] {
        let mut bench = Bench::new(1);
        let (tunnel, mut subscriber) = bench.dual();
        for len in [0, 1, 5, 600, 1416] {
            let (up, down) =
                (packet(HOST, SERVER, &vec![1; len]), packet(SERVER, HOST, &vec![2; len]));
            let outer = subscriber.encrypt_data(&with_ipv6(&up));
            bench.push(0, ACCESS, &ethernet(ACCESS_MAC, PEER_MAC, &outer));
            bench.push(0, port, &frame_of(CORE_MAC, SERVER_MAC, &down));
            bench.turn();
            let sent = bench.pop(0, CORE);
            assert_eq!(sent[0][..14], frame_of(SERVER_MAC, CORE_MAC, &[])[..14]);
            assert_eq!(sent[0][14..], one_hop_on(&up));
            let sent = bench.pop(0, ACCESS);
            assert_eq!(sent[0][..14], ethernet(PEER_MAC, ACCESS_MAC, &[])[..14]);
            assert_eq!(subscriber.decrypt(&sent[0][14..]), one_hop_on(&down));
        }
        assert!(bench.pop(0, TUN).is_empty() && bench.drops().is_empty());
        let counters = bench.handle.counters(tunnel).unwrap();
        assert_eq!((counters.rx_packets, counters.tx_packets), (5, 5));
    }
}

/// What follows a fragment header or hop-by-hop options is the receiver's business (RFC 8200 §4).
#[test]
fn extension_headers_and_fragments_cross_as_they_are() {
    let mut bench = Bench::new(1);
    let (_, mut subscriber) = bench.dual();
    let fragment = [17, 0, 0, 1, 0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8];
    let later = [17, 0, 0, 9, 0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8];
    let options = [17, 0, 5, 2, 0, 0, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    for (next, payload) in [(44, fragment), (44, later), (0, options)] {
        let up = packet_of(next, HOST, SERVER, &payload);
        let down = packet_of(next, SERVER, HOST, &payload);
        bench.push(0, RAW, &subscriber.encrypt_data(&with_ipv6(&up)));
        bench.push(0, CORE, &frame_of(CORE_MAC, SERVER_MAC, &down));
        bench.turn();
        assert_eq!(bench.pop(0, CORE)[0][14..], one_hop_on(&up));
        let sent = bench.pop(0, ACCESS);
        assert_eq!(subscriber.decrypt(&sent[0][14..]), one_hop_on(&down));
    }
    assert!(bench.drops().is_empty());
}

#[test]
fn what_no_port_of_ours_reaches_goes_to_the_kernel_untouched() {
    let mut bench = Bench::new(1);
    let (_, mut subscriber) = bench.dual();
    let unresolved = packet(HOST, "2001:db8:cafe::81", &[1; 60]);
    let elsewhere = packet(HOST, FAR, &[1; 60]);
    // The kernel answers these with Packet Too Big and Time Exceeded (RFC 4443 §3.2, §3.3).
    let large = packet(HOST, SERVER, &[1; 1461]);
    let mut last = packet(HOST, SERVER, &[1; 60]);
    last[7] = 1;
    for up in [unresolved, elsewhere, large, last] {
        bench.push(0, RAW, &subscriber.encrypt_data(&with_ipv6(&up)));
        bench.turn();
        assert_eq!(bench.pop(0, TUN), [up]);
    }
    assert!(bench.pop(0, CORE).is_empty() && bench.drops().is_empty());
}

#[test]
fn what_comes_to_the_end_of_its_hops_or_is_the_kernels_goes_to_the_kernel_untouched() {
    let mut bench = Bench::new(1);
    let (tunnel, _) = bench.dual();
    let mut last = packet(SERVER, HOST, &[2; 60]);
    last[7] = 1;
    bench.push(0, CORE, &frame_of(CORE_MAC, SERVER_MAC, &last));
    bench.turn();
    assert_eq!(bench.pop(0, TUN), [last]);
    bench.handle.command(Command::SetForward { tunnel, forward: Forward::Kernel }).unwrap();
    bench.network(tunnel, Some(INNER));
    bench.ipv6(tunnel, &["2001:db8:1:1::/64"]);
    let down = packet(SERVER, HOST, &[2; 60]);
    bench.push(0, CORE, &frame_of(CORE_MAC, SERVER_MAC, &down));
    bench.turn();
    assert_eq!(bench.pop(0, TUN), [down]);
    assert!(bench.pop(0, ACCESS).is_empty() && bench.drops().is_empty());
}

/// XDP lets none through, and if it did: subscribers are reached from the core alone.
#[test]
fn an_access_port_brings_no_ipv6() {
    let mut bench = Bench::new(1);
    bench.dual();
    bench.push(0, ACCESS, &frame_of(ACCESS_MAC, PEER_MAC, &packet(SERVER, HOST, &[2; 60])));
    bench.turn();
    assert!(bench.pop(0, ACCESS).is_empty() && bench.pop(0, TUN).is_empty());
    assert_eq!(bench.drops(), [(DropReason::OuterMalformed, 1)]);
}
