//! A data plane on AF_XDP: two veth ports with two queues each, two workers, the real XDP program,
//! the kernel's routes. The kernel forwards nothing here, so what crosses has crossed by AF_XDP;
//! only our own ICMP errors leave by it.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "common/far.rs"]
mod far;
#[path = "common/redirect.rs"]
mod redirect;

use std::net::Ipv4Addr;

use common::subscriber::{Subscriber, ipv4, one_hop_on, packet, sum};
use common::{GATEWAY, dial, eventually, in_namespace, ip};
use dataplane::DataPlane;
use dataplane::api::counters::XdpCounters;
use dataplane::api::{Config, Handle, Interface, Prefix, Role, Tun};
use far::Far;

const LOCAL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 80);
const ACCESS: [u8; 6] = [2, 0, 0, 0, 0, 1];
const CORE: [u8; 6] = [2, 0, 0, 0, 0, 2];
const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 1, 2];

fn network() {
    for (near, mac, far, far_mac) in [
        ("access", "02:00:00:00:00:01", "peer", "02:00:00:00:01:01"),
        ("core", "02:00:00:00:00:02", "server", "02:00:00:00:01:02"),
    ] {
        ip(&format!(
            "link add {near} address {mac} numrxqueues 2 numtxqueues 2 type veth \
             peer name {far} address {far_mac} numrxqueues 2 numtxqueues 2"
        ));
        ip(&format!("link set {near} up"));
        ip(&format!("link set {far} up"));
    }
    ip("addr add 192.0.2.1/24 dev access");
    ip("addr add 203.0.113.1/24 dev core");
    ip("neigh add 192.0.2.7 lladdr 02:00:00:00:01:01 nud permanent dev access");
    ip("neigh add 203.0.113.80 lladdr 02:00:00:00:01:02 nud permanent dev core");
}

fn ethernet(destination: [u8; 6], source: [u8; 6], packet: &[u8]) -> Vec<u8> {
    let mut frame = [&destination[..], &source, &[0x08, 0x00], packet].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

fn start() -> Handle {
    let interface =
        |name: &str, role| Interface { name: name.to_owned(), role, queues: None, below: None };
    let config = Config {
        workers: 2,
        interfaces: vec![interface("access", Role::Access), interface("core", Role::Core)],
        listen: vec![LOCAL],
        tun: Tun {
            address: Some(GATEWAY),
            pools: vec![Prefix { address: Ipv4Addr::new(10, 9, 0, 0), length: 16 }],
            ..Tun::default()
        },
        ..Config::default()
    };
    DataPlane::start(&config).unwrap().0
}

fn xdp(handle: &Handle) -> XdpCounters {
    handle.totals().xdp.unwrap()
}

#[test]
fn packets_cross_from_queue_to_queue_and_between_workers() {
    in_namespace(|| {
        network();
        let handle = start();
        let report = handle.report().to_string();
        let ports: Vec<_> = report.lines().filter(|line| line.starts_with("  ")).collect();
        insta::assert_snapshot!(ports.join("\n"), @r"
        gre queue 0: access, raw
        penstock0 queue 0: core, tun
        access queue 0: access, AF_XDP (native, copy)
        core queue 0: core, AF_XDP (native, copy)
        gre queue 1: access, raw
        penstock0 queue 1: core, tun
        access queue 1: access, AF_XDP (native, copy)
        core queue 1: core, AF_XDP (native, copy)
        ");
        let (mut peer, mut server) = (Far::open("peer"), Far::open("server"));
        // A tunnel outside of the pool is steered, too.
        for (call_id, inner) in
            [(40, Ipv4Addr::new(10, 9, 0, 5)), (41, Ipv4Addr::new(172, 16, 3, 4))]
        {
            let mut subscriber = dial(&handle, (LOCAL, PEER), call_id, inner, 1456);
            for round in 0..40_u16 {
                let payload = vec![0xA5; 1 + usize::from(round) * 36];
                // Every second packet comes by the queue of the worker that does not have it.
                let queue = usize::from(round % 2);
                let up = packet(inner, SERVER, &payload);
                peer.send(queue, &ethernet(ACCESS, PEER_MAC, &subscriber.encrypt_packet(&up)));
                let frame = server.receive();
                assert_eq!(frame[..14], ethernet(SERVER_MAC, CORE, &[])[..14]);
                assert_eq!(frame[14..], one_hop_on(&up));

                let down = packet(SERVER, inner, &payload);
                server.send(queue, &ethernet(CORE, SERVER_MAC, &down));
                let frame = peer.receive();
                assert_eq!(frame[..14], ethernet(PEER_MAC, ACCESS, &[])[..14]);
                assert_eq!(subscriber.decrypt(&frame[14..]), one_hop_on(&down));
            }
        }
        // GRE of nobody ends in XDP, and so does that of a tunnel that was closed.
        let nobody = Subscriber::new(PEER, LOCAL, (99, 99), SERVER).frame(&[0xC0, 0x21]);
        peer.send(0, &ethernet(ACCESS, PEER_MAC, &nobody));
        eventually("XDP drops it", || {
            let dropped =
                xdp(&handle).iter().find(|(reason, _)| reason.name() == "drop_unknown_tunnel");
            dropped.filter(|&(_, count)| count == 1)
        });
        let totals = handle.totals();
        assert_eq!(totals.drops().total(), 0, "{:?}", totals.workers);
        let handed: u64 = totals.workers.iter().map(|worker| worker.handed_over).sum();
        assert_eq!(handed, 80);
        handle.stop();
    });
}

/// RFC 1191 §4 and RFC 1812 §4.3.2.4: errors of ours leave by the kernel's routes, from our end of
/// the tunnel or from the address of the interface that they leave by.
#[test]
fn the_core_is_told_of_what_cannot_arrive() {
    in_namespace(|| {
        network();
        let handle = start();
        let mut server = Far::open("server");
        let inner = Ipv4Addr::new(10, 9, 0, 5);
        dial(&handle, (LOCAL, PEER), 40, inner, 1456);
        let mut large = packet(SERVER, inner, &[0xA5; 1460]);
        // Don't Fragment.
        large[6] = 0x40;
        large[10..12].fill(0);
        let checksum = !sum(&large[..20]);
        large[10..12].copy_from_slice(&checksum.to_be_bytes());
        let dying = ipv4(253, 1, SERVER, inner, &[0xA5; 40]);
        let nobody = packet(SERVER, Ipv4Addr::new(10, 9, 9, 9), &[0xA5; 40]);
        for queue in [0, 1] {
            for (packet, source, kind) in [
                (&large, [10, 9, 0, 1], [3, 4]),
                (&dying, [203, 0, 113, 1], [11, 0]),
                (&nobody, [203, 0, 113, 1], [3, 1]),
            ] {
                server.send(queue, &ethernet(CORE, SERVER_MAC, packet));
                let error = server.receive();
                assert_eq!(error[..14], ethernet(SERVER_MAC, CORE, &[])[..14]);
                let error = &error[14..];
                assert_eq!(error[12..20], [source, SERVER.octets()].concat());
                assert_eq!((error[9], [error[20], error[21]]), (1, kind));
                assert_eq!(error[48..68], [0xA5; 20]);
            }
        }
        handle.stop();
    });
}
