//! A data plane on AF_XDP: two veth ports with two queues each, two workers, the real XDP program,
//! the kernel's routes. The kernel forwards nothing here, so what crosses has crossed by AF_XDP;
//! only our own ICMP errors leave by it.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "common/far.rs"]
mod far;
#[path = "common/lab.rs"]
mod lab;
#[path = "common/ledger.rs"]
mod ledger;
#[path = "common/redirect.rs"]
mod redirect;

use std::net::Ipv4Addr;
use std::time::Duration;

use common::subscriber::{Subscriber, ipv4, one_hop_on, packet, sum};
use common::{dial, eventually, in_namespace, ip, open};
use dataplane::DataPlane;
use dataplane::api::config::{Remark, RouteTable};
use dataplane::api::counters::XdpCounters;
use dataplane::api::{Config, Forward, Handle, Prefix, StartError};
use far::Far;
use lab::{
    ACCESS, CORE, LOCAL, PEER, PEER_MAC, SERVER, SERVER_MAC, config, ethernet, network, start,
};
use ledger::Ledger;

fn xdp(handle: &Handle) -> XdpCounters {
    handle.totals().xdp.unwrap()
}

#[test]
fn packets_cross_from_queue_to_queue_and_between_workers() {
    in_namespace(|| {
        network();
        let ledger = Ledger::open(&lab::PORTS);
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
        ledger.balance(&handle);
        handle.stop();
    });
}

/// RFC 1191 §4 and RFC 1812 §4.3.2.4: errors of ours leave by the kernel's routes, from our end of
/// the tunnel or from the address of the interface that they leave by.
#[test]
fn the_core_is_told_of_what_cannot_arrive() {
    in_namespace(|| {
        network();
        let ledger = Ledger::open(&lab::PORTS);
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
        ledger.balance(&handle);
        handle.stop();
    });
}

/// A router and its backup have the network behind them in common.
#[test]
fn a_network_of_two_tunnels_is_steered_until_the_last_of_them_is_gone() {
    in_namespace(|| {
        network();
        let handle = start();
        let (mut peer, mut server) = (Far::open("peer"), Far::open("server"));
        let behind = Prefix { address: Ipv4Addr::new(192, 168, 7, 0), length: 24 };
        let inside = Ipv4Addr::new(192, 168, 7, 9);
        for other in [Forward::Fast, Forward::Kernel] {
            let [main, backup] = [(40, Forward::Fast), (41, other)].map(|(call_id, forward)| {
                open(forward, &handle, (LOCAL, PEER), call_id, vec![behind], 1456)
            });
            handle.close(backup);
            // The kernel forwards nothing: what arrives has been steered.
            let mut subscriber = Subscriber::new(PEER, LOCAL, (40, 40), inside);
            let down = packet(SERVER, inside, b"to the main router");
            server.send(0, &ethernet(CORE, SERVER_MAC, &down));
            assert_eq!(subscriber.decrypt(&peer.receive()[14..]), one_hop_on(&down));
            handle.close(main);
        }
        let steered = |handle: &Handle| {
            let count =
                |name| xdp(handle).iter().find(|(known, _)| known.name() == name).unwrap().1;
            [count("redirect_subscriber"), count("pass_no_prefix")]
        };
        assert_eq!(steered(&handle), [2, 0]);
        server.send(0, &ethernet(CORE, SERVER_MAC, &packet(SERVER, inside, b"to nobody")));
        eventually("XDP leaves it to the kernel", || (steered(&handle) == [2, 1]).then_some(()));
        handle.stop();
    });
}

/// A driver without native XDP, or one that has none for the MTU, as veth's for that of its other end.
#[test]
fn packets_cross_in_generic_mode() {
    in_namespace(|| {
        network();
        for far in ["peer", "server"] {
            ip(&format!("link set {far} mtu 3600"));
        }
        let ledger = Ledger::open(&lab::PORTS);
        let handle = start();
        let report = handle.report().to_string();
        assert_eq!(report.matches("AF_XDP (generic (not native: ").count(), 4, "{report}");
        let (mut peer, mut server) = (Far::open("peer"), Far::open("server"));
        let inner = Ipv4Addr::new(10, 9, 0, 5);
        let mut subscriber = dial(&handle, (LOCAL, PEER), 40, inner, 1456);
        for round in 0..40_u16 {
            let (queue, payload) = (usize::from(round % 2), vec![7; 1 + usize::from(round) * 36]);
            let up = packet(inner, SERVER, &payload);
            peer.send(queue, &ethernet(ACCESS, PEER_MAC, &subscriber.encrypt_packet(&up)));
            assert_eq!(server.receive()[14..], one_hop_on(&up));
            let down = packet(SERVER, inner, &payload);
            server.send(queue, &ethernet(CORE, SERVER_MAC, &down));
            assert_eq!(subscriber.decrypt(&peer.receive()[14..]), one_hop_on(&down));
        }
        let verdicts = xdp(&handle);
        let redirected = verdicts.iter().filter(|(_, count)| *count == 40);
        let reasons: Vec<_> = redirected.map(|(reason, _)| reason.name()).collect();
        assert_eq!(reasons, ["redirect_tunnel", "redirect_subscriber"]);
        ledger.balance(&handle);
        handle.stop();
    });
}

/// What XDP leaves to the kernel (here for its IP options) is looked up in the VRF's table, or by the
/// operator's rule, which has no way on to main.
#[test]
fn the_kernel_finds_subscribers_by_another_table_too() {
    in_namespace(|| {
        network();
        for (key, value) in [("ip_forward", "1"), ("conf/all/rp_filter", "0")] {
            std::fs::write(format!("/proc/sys/net/ipv4/{key}"), value).unwrap();
        }
        ip("rule add pref 100 iif core lookup 10");
        ip("route add unreachable default table 10");
        let config = Config { table: RouteTable::Number(10), ..config() };
        let (handle, _events) = DataPlane::start(&config).unwrap();
        let (mut peer, mut server) = (Far::open("peer"), Far::open("server"));
        let inner = Ipv4Addr::new(10, 9, 0, 5);
        let mut subscriber = dial(&handle, (LOCAL, PEER), 40, inner, 1456);
        // Four octets of No Operation (RFC 791 §3.1).
        let with_options = |ttl| {
            let mut packet = ipv4(253, ttl, SERVER, inner, b"\x01\x01\x01\x01payload");
            packet[0] = 0x46;
            packet[10..12].fill(0);
            let checksum = !sum(&packet[..24]);
            packet[10..12].copy_from_slice(&checksum.to_be_bytes());
            packet
        };
        server.send(0, &ethernet(CORE, SERVER_MAC, &with_options(64)));
        assert_eq!(subscriber.decrypt(&peer.receive()[14..]), with_options(63));
        handle.stop();
    });
}

#[test]
fn what_a_start_would_find_of_cards_is_said_and_nothing_is_changed() {
    in_namespace(|| {
        network();
        ip("link set core mtu 9000");
        let mut config = config();
        config.interfaces[0].queues = Some(1);
        let core = "the MTU of core is 9000, and AF_XDP takes packets of up to 3690: longer ones would \
                    be lost without a word to their senders. Lower it there and at whoever sends to it \
                    (ip link set core mtu 3690), or leave the interface to the kernel";
        let said = || -> Vec<String> {
            let said = |remark| match remark {
                Remark::Fine(text) => format!("fine: {text}"),
                Remark::Warning(text) => format!("warning: {text}"),
                Remark::Refusal(text) => format!("refusal: {text}"),
            };
            DataPlane::inspect(&config).into_iter().map(said).collect()
        };
        let first = said();
        assert_eq!(first, said(), "the first one changed nothing");
        assert_eq!(first[0], format!("refusal: {core}"));
        insta::assert_snapshot!(first[1..].join("\n"), @"
        fine: access: 1 of 2 queues will be driven
        fine: access: at the start, `rx-vlan-hw-parse` is switched off
        fine: access: at the start, `rx-vlan-stag-hw-parse` is switched off
        warning: access does not say over which of its queues it spreads packets: what does not come by those that are driven (1) goes by the kernel
        ");
        let refused = DataPlane::start(&config).unwrap_err();
        assert_eq!(refused.to_string(), core);
    });
}

#[test]
fn queues_that_are_not_driven_go_by_the_kernel_and_polling_workers_never_sleep() {
    in_namespace(|| {
        network();
        let mut config = config();
        for interface in &mut config.interfaces {
            interface.queues = Some(1);
        }
        config.busy_poll = Some(Duration::from_micros(20));
        let ledger = Ledger::open(&lab::PORTS);
        let (handle, _events) = DataPlane::start(&config).unwrap();
        let (mut peer, mut server) = (Far::open("peer"), Far::open("server"));
        let inner = Ipv4Addr::new(10, 9, 0, 5);
        let mut subscriber = dial(&handle, (LOCAL, PEER), 40, inner, 1456);
        for queue in [0, 1, 0, 1] {
            let up = packet(inner, SERVER, &[0xA5; 100]);
            peer.send(queue, &ethernet(ACCESS, PEER_MAC, &subscriber.encrypt_packet(&up)));
            assert_eq!(server.receive()[14..], one_hop_on(&up));
        }
        let gre = handle
            .totals()
            .ports
            .iter()
            .filter(|port| port.name == "gre")
            .map(|port| port.received_packets)
            .sum::<u64>();
        assert_eq!(gre, 2, "those of the queue that is not driven");
        ledger.balance(&handle);
        handle.stop();

        config.interfaces[1].queues = Some(3);
        let Err(StartError::Config(reason)) = DataPlane::start(&config) else {
            panic!("there are no three queues")
        };
        assert_eq!(reason, "core has 2 queues, of which 3 cannot be driven");
    });
}
