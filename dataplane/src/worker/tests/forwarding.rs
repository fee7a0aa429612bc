//! Where inner packets go: to the core, to other subscribers, to the kernel; on Ethernet.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::bench::{
    ACCESS, ACCESS_MAC, BOTH, Bench, CORE, CORE_MAC, GATEWAY, INNER, LOCAL, PEER, PEER_MAC, RAW,
    SERVER, SERVER_MAC, TUN, ethernet, outer,
};
use super::subscriber::{ipv4, one_hop_on, packet, sum};
use crate::api::{Command, DropReason, Forward, Network, Outer, Prefix};

const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 6);
const FAR: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 9);

fn without_padding(frame: &[u8]) -> &[u8] {
    &frame[14..14 + usize::from(u16::from_be_bytes([frame[16], frame[17]]))]
}

#[test]
fn packets_cross_from_port_to_port_on_ethernet() {
    let mut bench = Bench::new(1);
    let (_, mut subscriber) = bench.dial(9, INNER);
    for len in [0, 1, 5, 17, 18, 19, 600, 1436] {
        let payload = vec![7; len];
        let packet_up = packet(INNER, SERVER, &payload);
        let outer = subscriber.encrypt_packet(&packet_up);
        bench.push(0, ACCESS, &ethernet(ACCESS_MAC, PEER_MAC, &outer));
        let packet_down = packet(SERVER, INNER, &payload);
        bench.push(0, CORE, &ethernet(CORE_MAC, SERVER_MAC, &packet_down));
        bench.turn();

        let up = bench.pop(0, CORE);
        assert_eq!(up[0][..14], ethernet(SERVER_MAC, CORE_MAC, &[])[..14]);
        assert_eq!(up[0][14..], one_hop_on(&packet_up));
        let down = bench.pop(0, ACCESS);
        assert_eq!(down[0][..14], ethernet(PEER_MAC, ACCESS_MAC, &[])[..14]);
        assert_eq!(subscriber.decrypt(&down[0][14..]), one_hop_on(&packet_down));
    }
    assert_eq!(bench.drops(), []);
}

#[test]
fn what_no_port_of_ours_reaches_goes_to_the_kernel_untouched() {
    let mut bench = Bench::new(1);
    // The outer route leads elsewhere, too.
    let (_, mut subscriber) = bench.dial_as(Outer { peer: FAR, ..outer(9) }, INNER);
    let unresolved = Ipv4Addr::new(203, 0, 113, 81);
    for destination in [FAR, LOCAL, unresolved] {
        bench.push(0, RAW, &subscriber.encrypt(destination, &[1, 2, 3]));
        bench.push(0, TUN, &packet(destination, INNER, &[4]));
        bench.turn();
        assert_eq!(bench.pop(0, TUN), [packet(INNER, destination, &[1, 2, 3])]);
        let sent = bench.pop(0, RAW);
        assert_eq!(subscriber.decrypt(&sent[0]), packet(destination, INNER, &[4]));
    }
}

#[test]
fn subscribers_reach_each_other_without_leaving_the_box() {
    let mut bench = Bench::new(1);
    let (_, mut one) = bench.dial(9, INNER);
    let (_, mut other) = bench.dial(10, OTHER);
    bench.push(0, RAW, &one.encrypt(OTHER, b"hello"));
    bench.turn();
    let sent = bench.pop(0, ACCESS);
    assert_eq!(other.decrypt(&sent[0][14..]), one_hop_on(&packet(INNER, OTHER, b"hello")));
    bench.push(0, RAW, &other.encrypt(INNER, b"and back"));
    bench.turn();
    let sent = bench.pop(0, ACCESS);
    assert_eq!(one.decrypt(&sent[0][14..]), one_hop_on(&packet(OTHER, INNER, b"and back")));
    assert!(bench.pop(0, TUN).is_empty() && bench.pop(0, CORE).is_empty());
}

/// As on the dialling side, where everything lies behind the tunnel.
#[test]
fn nothing_goes_back_by_the_tunnel_that_it_came_from() {
    let mut bench = Bench::new(1);
    let (tunnel, mut subscriber) = bench.dial(9, INNER);
    let everything = Prefix { address: Ipv4Addr::UNSPECIFIED, length: 0 };
    let network =
        Some(Network { prefixes: vec![everything], mtu: 1400, local: GATEWAY, clamp_mss: true });
    bench.handle.command(Command::SetNetwork { tunnel, network }).unwrap();
    bench.push(0, RAW, &subscriber.encrypt(FAR, &[1]));
    bench.turn();
    assert_eq!(bench.pop(0, TUN), [packet(INNER, FAR, &[1])]);
    assert!(bench.pop(0, ACCESS).is_empty());
}

#[test]
fn what_the_kernel_is_to_forward_passes_it_both_ways() {
    let mut bench = Bench::new(2);
    let (_, mut other) = bench.dial(9, OTHER);
    for call_id in [10, 11] {
        let (tunnel, mut one) = bench.dial(call_id, INNER);
        let forward = Forward::Kernel;
        bench.handle.command(Command::SetForward { tunnel, forward }).unwrap();
        bench.network(tunnel, Some(INNER));
        let owner = usize::from(call_id % 2);
        // From the tunnel, whatever the destination, untouched.
        for destination in [SERVER, OTHER, FAR, Ipv4Addr::new(224, 0, 0, 5)] {
            bench.push(owner, RAW, &one.encrypt(destination, &[1]));
            bench.turn();
            assert_eq!(bench.pop(owner, TUN), [packet(INNER, destination, &[1])]);
        }
        // To the tunnel: from the core and from another subscriber it goes by the kernel …
        bench.push(1, CORE, &ethernet(CORE_MAC, SERVER_MAC, &packet(SERVER, INNER, &[2])));
        bench.push(1, RAW, &other.encrypt(INNER, &[3]));
        bench.turn();
        assert_eq!(bench.pop(1, TUN), [packet(OTHER, INNER, &[3]), packet(SERVER, INNER, &[2])]);
        // … and only what the kernel sends enters.
        bench.push(0, TUN, &packet(SERVER, INNER, &[4]));
        bench.turn();
        let sent = bench.pop(owner, ACCESS);
        assert_eq!(one.decrypt(&sent[0][14..]), packet(SERVER, INNER, &[4]));
        bench.handle.close(tunnel);
    }
    assert_eq!(bench.drops(), []);
}

/// RFC 1812 §5.3.1: the kernel answers with Time Exceeded, we never forward it.
#[test]
fn a_subscribers_packet_at_the_end_of_its_life_goes_to_the_kernel() {
    let mut bench = Bench::new(1);
    let (_, mut subscriber) = bench.dial(9, INNER);
    bench.dial(10, OTHER);
    for destination in [SERVER, OTHER] {
        for ttl in [0, 1] {
            let dying = ipv4(253, ttl, INNER, destination, &[1]);
            bench.push(0, RAW, &subscriber.encrypt_packet(&dying));
            bench.turn();
            assert_eq!(bench.pop(0, TUN), [dying]);
        }
    }
    assert!(bench.pop(0, ACCESS).is_empty() && bench.pop(0, CORE).is_empty());
}

/// RFC 791 §3.1: whether a source route is obeyed is the kernel's to know (`accept_source_route`).
#[test]
fn a_subscribers_packet_with_options_goes_to_the_kernel() {
    let mut bench = Bench::new(1);
    let (_, mut subscriber) = bench.dial(9, INNER);
    bench.dial(10, OTHER);
    // So that a way is remembered.
    bench.push(0, RAW, &subscriber.encrypt(SERVER, &[1]));
    bench.turn();
    assert_eq!(bench.pop(0, CORE).len(), 1);
    for destination in [SERVER, OTHER] {
        let mut packet = packet(INNER, destination, &[1]);
        // Loose source and record route, by one gateway.
        packet.splice(20..20, [131, 7, 4, 203, 0, 113, 9, 0]);
        packet[0] = 0x47;
        packet[3] += 8;
        packet[10..12].fill(0);
        let checksum = !sum(&packet[..28]);
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        bench.push(0, RAW, &subscriber.encrypt_packet(&packet));
        bench.turn();
        assert_eq!(bench.pop(0, TUN), [packet]);
    }
    assert!(bench.pop(0, ACCESS).is_empty() && bench.pop(0, CORE).is_empty());
}

/// Each costs a system call, and the worker is shared.
#[test]
fn what_the_kernel_alone_can_handle_has_a_rate_for_each_tunnel() {
    let mut bench = Bench::new(1);
    let (tunnel, mut loud) = bench.dial(9, INNER);
    let (_, mut quiet) = bench.dial(10, OTHER);
    let unresolved = Ipv4Addr::new(203, 0, 113, 81);
    let mut reached = 0;
    for round in 0..100_u8 {
        for number in 0..60 {
            let packet = match number % 3 {
                0 => ipv4(253, 1, INNER, SERVER, &[round]),
                1 => packet(INNER, unresolved, &[round]),
                _ => packet(INNER, INNER, &[round]),
            };
            bench.push(0, RAW, &loud.encrypt_packet(&packet));
        }
        bench.push(0, RAW, &quiet.encrypt(unresolved, &[round]));
        // What others route is no slow path.
        bench.push(0, RAW, &loud.encrypt(SERVER, &[round]));
        bench.turn_worker(0);
        assert_eq!(bench.pop(0, CORE).len(), 1);
        let ups = bench.pop(0, TUN);
        assert!(ups.contains(&packet(OTHER, unresolved, &[round])));
        reached += ups.len() - 1;
    }
    let drops = bench.drops();
    let [(DropReason::SlowPathLimited, dropped)] = drops[..] else { panic!("{drops:?}") };
    assert_eq!((reached as u64 + dropped, dropped > 1500), (6000, true), "{drops:?}");
    assert_eq!(bench.handle.counters(tunnel).unwrap().drops.total(), dropped);
    bench.turn_after(Duration::from_secs(1));
    bench.push(0, RAW, &loud.encrypt(unresolved, &[1]));
    bench.turn();
    assert_eq!(bench.pop(0, TUN).len(), 1, "and goes on");
}

/// RFC 1812 §5.3.7: the kernel checks what it forwards, here it does not.
#[test]
fn the_cores_martians_reach_no_subscriber() {
    let mut bench = Bench::new(1);
    let (tunnel, _) = bench.dial(9, INNER);
    let martians = ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"];
    let martians = martians.map(|address| address.parse().unwrap());
    for source in martians.into_iter().chain([INNER]) {
        bench.push(0, CORE, &ethernet(CORE_MAC, SERVER_MAC, &packet(source, INNER, &[1])));
    }
    bench.turn();
    assert!(bench.pop(0, ACCESS).is_empty());
    assert_eq!(bench.drops(), [(DropReason::SourceMartian, 7)]);
    assert_eq!(bench.handle.counters(tunnel).unwrap().drops.total(), 7);
}

#[test]
fn a_port_of_both_roles_tells_gre_of_tunnels_from_gre_to_subscribers() {
    let mut bench = Bench::new(1);
    let (_, mut subscriber) = bench.dial(9, INNER);
    let outer = subscriber.encrypt(FAR, &[1]);
    bench.push(0, BOTH, &ethernet(ACCESS_MAC, PEER_MAC, &outer));
    // A subscriber's own PPTP through the tunnel: GRE like ours, to the inner address.
    let inside = ipv4(47, 64, PEER, INNER, &outer[20..]);
    bench.push(0, BOTH, &ethernet(CORE_MAC, SERVER_MAC, &inside));
    bench.push(0, BOTH, &ethernet(CORE_MAC, SERVER_MAC, &packet(SERVER, INNER, &[2])));
    bench.turn();
    assert_eq!(bench.pop(0, TUN), [packet(INNER, FAR, &[1])]);
    let sent = bench.pop(0, ACCESS);
    assert_eq!(subscriber.decrypt(&sent[0][14..]), one_hop_on(&inside));
    assert_eq!(subscriber.decrypt(&sent[1][14..]), one_hop_on(&packet(SERVER, INNER, &[2])));
    assert_eq!(bench.drops(), []);
}

#[test]
fn on_a_port_of_both_roles_gre_to_us_is_never_the_cores() {
    let mut bench = Bench::new(1);
    let (tunnel, mut subscriber) = bench.dial(9, INNER);
    bench.turn();
    bench.handle.close(tunnel);
    // On its way when the tunnel was closed, and of somebody else.
    let late = subscriber.encrypt(FAR, &[1]);
    let stranger = ipv4(47, 64, FAR, LOCAL, &late[20..]);
    let broken = ipv4(47, 64, PEER, LOCAL, &late[20..30]);
    for packet in [late, stranger, broken] {
        bench.push(0, BOTH, &ethernet(ACCESS_MAC, PEER_MAC, &packet));
    }
    bench.turn();
    let dropped = [(DropReason::GreMalformed, 1), (DropReason::TunnelUnknown, 2)];
    assert_eq!(bench.drops(), dropped);
    assert!(bench.pop(0, RAW).is_empty(), "nor is anyone told that our address is unreachable");
}

#[test]
fn what_a_tunnel_does_not_take_is_dropped_by_its_reason() {
    let mut bench = Bench::new(1);
    bench.dial(9, INNER);
    let mut drop = |packet: &[u8], reason| {
        let before = bench.handle.totals().drops().of(reason);
        bench.push(0, TUN, packet);
        bench.turn();
        assert_eq!(bench.handle.totals().drops().of(reason), before + 1, "{reason:?}");
        // A packet from the TUN never returns to it.
        assert!(bench.pop(0, TUN).is_empty() && bench.pop(0, ACCESS).is_empty());
    };
    drop(&packet(SERVER, OTHER, &[1]), DropReason::NoTunnel);
    drop(&packet(SERVER, INNER, &[1])[..20], DropReason::CoreMalformed);
    drop(&[0x60; 60], DropReason::CoreMalformed);
    drop(&[], DropReason::CoreMalformed);
}

#[test]
fn frames_that_carry_no_ip_are_dropped() {
    let mut bench = Bench::new(1);
    bench.dial(9, INNER);
    let arp = [&[0xFF; 12][..], &[0x08, 0x06], &[0; 46]].concat();
    let tagged = [&[2; 12][..], &[0x81, 0x00, 0, 5, 0x08, 0x00], &[0x45; 46]].concat();
    for port in [ACCESS, CORE, BOTH] {
        for frame in [&arp[..], &tagged, &arp[..13], &[]] {
            bench.push(0, port, frame);
        }
    }
    bench.turn();
    // A port of both roles looks behind tags: no interface of ours has this one.
    assert_eq!(bench.drops(), [(DropReason::NotIpv4, 11), (DropReason::VlanUnknown, 1)]);
}

/// As the kernel drops what it calls `PACKET_OTHERHOST`: a switch floods what it has not learned.
#[test]
fn frames_for_another_machine_are_dropped() {
    let mut bench = Bench::new(1);
    let (_, mut subscriber) = bench.dial(9, INNER);
    let up = subscriber.encrypt_packet(&packet(INNER, SERVER, &[1]));
    bench.push(0, ACCESS, &ethernet(SERVER_MAC, PEER_MAC, &up));
    bench.push(0, CORE, &ethernet(PEER_MAC, SERVER_MAC, &packet(SERVER, INNER, &[2])));
    bench.turn();
    assert!(bench.pop(0, CORE).is_empty() && bench.pop(0, ACCESS).is_empty());
    assert_eq!(bench.drops(), [(DropReason::MacForeign, 2)]);
    // An address of another interface is ours, and it moved no window.
    bench.push(0, ACCESS, &ethernet(CORE_MAC, PEER_MAC, &up));
    bench.turn();
    assert_eq!(bench.pop(0, CORE).len(), 1);
}

#[test]
fn ethernet_padding_never_reaches_the_other_side() {
    let mut bench = Bench::new(1);
    let (_, mut subscriber) = bench.dial(9, INNER);
    let outer = subscriber.frame(&[0xC0, 0x21, 9, 1, 0, 4]);
    let frame = ethernet(ACCESS_MAC, PEER_MAC, &outer);
    assert!(frame.len() > 14 + outer.len(), "the frame is padded");
    assert_eq!(without_padding(&frame), outer);
    bench.push(0, ACCESS, &frame);
    bench.turn();
    let events = bench.events();
    let crate::api::Event::Control { frame, .. } = &events[0] else { panic!("a control frame") };
    assert_eq!(**frame, [0xC0, 0x21, 9, 1, 0, 4]);
}
