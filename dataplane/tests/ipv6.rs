//! IPv6 of subscribers on AF_XDP, both ways, by the kernel's routes and without its forwarding, which
//! is switched off here.

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

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};

use common::subscriber::Subscriber;
use common::{eventually, in_namespace, ip, open};
use dataplane::DataPlane;
use dataplane::api::config::Below;
use dataplane::api::{
    Command as Order, Config, Forward, Handle, Interface, Ipv6Network, Prefix, Role, Tun,
};
use far::Far;
use lab::{ACCESS, CORE, LOCAL, PEER, PEER_MAC, SERVER_MAC, config, ethernet, network};
use ledger::Ledger;

const POOL: &str = "2001:db8:1::/48";
const SERVER_IPV6: &str = "2001:db8:cafe::80";
/// Behind a router that only its link-local address names.
const FAR_SERVER: &str = "2001:db8:ffff::80";
const UDP: u8 = 17;
const FRAGMENT: u8 = 44;

/// A packet with the hop limit 64.
fn packet(next: u8, from: &str, to: &str, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap();
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([next, 64]);
    for address in [from, to] {
        packet.extend(address.parse::<Ipv6Addr>().unwrap().octets());
    }
    packet.extend(payload);
    packet
}

fn one_hop_on(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[7] -= 1;
    packet
}

/// The packet in a frame with these tags, padded as Ethernet does.
fn frame(to: [u8; 6], from: [u8; 6], tags: &[u8], packet: &[u8]) -> Vec<u8> {
    let mut frame = [&to[..], &from, tags, &[0x86, 0xDD], packet].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

fn encrypt(subscriber: &mut Subscriber, packet: &[u8]) -> Vec<u8> {
    subscriber.encrypt_data(&[&[0x00, 0x57], packet].concat())
}

/// Routes of IPv6 by `core`, which has no address of its own, so that the kernel says nothing there.
fn route_ipv6() {
    ip("link set core addrgenmode none");
    let set = |name: &str, value: &str| {
        fs::write(format!("/proc/sys/net/ipv6/conf/{name}"), value).unwrap();
    };
    set("core/disable_ipv6", "0");
    set("all/forwarding", "0");
    ip("-6 route add 2001:db8:cafe::/64 dev core");
    ip("-6 route add 2001:db8:ffff::/48 via fe80::1 dev core");
    for neighbour in [SERVER_IPV6, "fe80::1"] {
        ip(&format!("-6 neigh add {neighbour} lladdr 02:00:00:00:01:02 nud permanent dev core"));
    }
}

fn network_of(prefixes: &[&str]) -> Ipv6Network {
    Ipv6Network {
        prefixes: prefixes.iter().map(|prefix| prefix.parse().unwrap()).collect(),
        local: "fe80::1".parse().unwrap(),
        peer: "fe80::5".parse().unwrap(),
    }
}

/// A tunnel with IPv4 and these prefixes.
fn dual(handle: &Handle, call_id: u16, prefixes: &[&str]) -> Subscriber {
    let inner = Ipv4Addr::from_bits(0x0A09_0000 + u32::from(call_id));
    let ends = (LOCAL, PEER);
    let tunnel = open(Forward::Fast, handle, ends, call_id, vec![Prefix::host(inner)], 1456);
    let ipv6 = Some(network_of(prefixes));
    handle.command(Order::SetIpv6 { tunnel, ipv6 }).unwrap();
    Subscriber::new(PEER, LOCAL, (call_id, call_id), inner)
}

fn counted(handle: &Handle, reason: &str) -> u64 {
    let xdp = handle.totals().xdp.unwrap();
    xdp.iter().find(|(known, _)| known.name() == reason).unwrap().1
}

/// Packets that the kernel forwarded, or would have.
fn forwarded_by_the_kernel() -> u64 {
    let snmp = fs::read_to_string("/proc/thread-self/net/snmp6").unwrap();
    let of = |name: &str| -> u64 {
        let line = snmp.lines().find(|line| line.split_whitespace().next() == Some(name));
        line.unwrap().split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    of("Ip6OutForwDatagrams") + of("Ip6InReceives")
}

#[test]
fn ipv6_crosses_both_ways_and_the_kernel_sees_none_of_it() {
    in_namespace(|| {
        network();
        route_ipv6();
        let ledger = Ledger::open(&lab::PORTS);
        let mut config = config();
        config.tun.pools_ipv6 = vec![POOL.parse().unwrap()];
        let (handle, _events) = DataPlane::start(&config).unwrap();
        let (mut peer, mut server) = (Far::open("peer"), Far::open("server"));
        let before = forwarded_by_the_kernel();
        let mut downlink = 0;
        // A prefix of the pool, and one that only its session knows.
        for (call_id, prefix, host) in [
            (40, "2001:db8:1:7::/64", "2001:db8:1:7::5"),
            (41, "2001:db8:200::/56", "2001:db8:200:3::9"),
        ] {
            let mut subscriber = dual(&handle, call_id, &[prefix]);
            for round in 0..20_u16 {
                let payload =
                    [&[UDP, 0, 0, 1, 0, 0, 0, 9][..], &vec![0xA5; 1 + usize::from(round) * 70]];
                let payload = payload.concat();
                let queue = usize::from(round % 2);
                let next = if round % 3 == 0 { FRAGMENT } else { UDP };
                let far = if round % 4 == 0 { FAR_SERVER } else { SERVER_IPV6 };
                let up = packet(next, host, far, &payload);
                peer.send(queue, &ethernet(ACCESS, PEER_MAC, &encrypt(&mut subscriber, &up)));
                let sent = server.receive();
                assert_eq!(sent[..14], frame(SERVER_MAC, CORE, &[], &[])[..14]);
                assert_eq!(sent[14..], one_hop_on(&up));

                let down = packet(next, far, host, &payload);
                server.send(queue, &frame(CORE, SERVER_MAC, &[], &down));
                let sent = peer.receive();
                assert_eq!(sent[..14], ethernet(PEER_MAC, ACCESS, &[])[..14]);
                assert_eq!(subscriber.decrypt(&sent[14..]), one_hop_on(&down));
                downlink += 1;
            }
        }
        assert_eq!(counted(&handle, "redirect_subscriber_ipv6"), downlink);
        assert_eq!(forwarded_by_the_kernel(), before);
        // Nobody on an access port reaches a subscriber.
        let down = packet(UDP, SERVER_IPV6, "2001:db8:1:7::5", &[1; 60]);
        peer.send(0, &frame(ACCESS, PEER_MAC, &[], &down));
        eventually("XDP drops it", || {
            (counted(&handle, "drop_access_to_subscriber") == 1).then_some(())
        });
        let totals = handle.totals();
        assert_eq!(totals.drops().total(), 0, "{:?}", totals.workers);
        ledger.balance(&handle);
        handle.stop();
    });
}

/// A prefix is steered as long as its session has it.
#[test]
fn what_no_session_has_is_the_kernels() {
    in_namespace(|| {
        network();
        route_ipv6();
        let (handle, _events) = DataPlane::start(&config()).unwrap();
        let (mut peer, mut server) = (Far::open("peer"), Far::open("server"));
        let down =
            frame(CORE, SERVER_MAC, &[], &packet(UDP, SERVER_IPV6, "2001:db8:1:7::5", &[1; 60]));
        let passed = |handle: &Handle, count| {
            eventually("XDP passes it", || {
                (counted(handle, "pass_no_prefix") == count).then_some(())
            });
        };
        server.send(0, &down);
        passed(&handle, 1);
        let mut subscriber = dual(&handle, 40, &["2001:db8:1:7::/64"]);
        server.send(0, &down);
        let sent = peer.receive();
        assert_eq!(subscriber.decrypt(&sent[14..]), one_hop_on(&down[14..]));
        let tunnel = open(Forward::Fast, &handle, (LOCAL, PEER), 50, vec![], 1456);
        let other =
            frame(CORE, SERVER_MAC, &[], &packet(UDP, SERVER_IPV6, "2001:db8:2:7::5", &[1; 60]));
        for (network, count) in [(Some(network_of(&["2001:db8:2:7::/64"])), 1), (None, 2)] {
            handle.command(Order::SetIpv6 { tunnel, ipv6: network }).unwrap();
            server.send(1, &other);
            if count == 1 {
                peer.receive();
            }
            passed(&handle, count);
        }
        handle.stop();
    });
}

/// One port with a VLAN for each role; the interfaces above it are bridges, as in the tests of VLANs.
#[test]
fn tagged_frames_carry_ipv6_too() {
    const ACCESS_TAGS: &[u8] = &[0x81, 0x00, 0x00, 100];
    const CORE_TAGS: &[u8] = &[0x88, 0xA8, 0x00, 200, 0x81, 0x00, 0x01, 0x2C];
    in_namespace(|| {
        ip("link add arm type veth peer name switch");
        for up in ["arm", "switch"] {
            ip(&format!("link set {up} up"));
        }
        for (name, mac) in [("access", "02:00:00:00:00:01"), ("core", "02:00:00:00:00:02")] {
            ip(&format!("link add {name} address {mac} type bridge"));
            ip(&format!("link set {name} up"));
        }
        ip("addr add 192.0.2.1/24 dev access");
        ip("neigh add 192.0.2.7 lladdr 02:00:00:00:01:01 nud permanent dev access");
        route_ipv6();
        let interface = |name: &str, role, tags: &str| Interface {
            name: name.to_owned(),
            role,
            queues: None,
            below: Some(Below { ports: vec!["arm".to_owned()], tags: tags.parse().unwrap() }),
        };
        let config = Config {
            interfaces: vec![
                interface("access", Role::Access, "100"),
                interface("core", Role::Core, "200.300"),
            ],
            listen: vec![LOCAL],
            tun: Tun { pools_ipv6: vec![POOL.parse().unwrap()], ..Tun::default() },
            ..Config::default()
        };
        let (handle, _events) = DataPlane::start(&config).unwrap();
        let mut switch = Far::open("switch");
        let host = "2001:db8:1:7::5";
        let mut subscriber = dual(&handle, 40, &["2001:db8:1:7::/64"]);
        for len in [1, 600, 1400] {
            let up = packet(UDP, host, SERVER_IPV6, &vec![0xA5; len]);
            let outer = encrypt(&mut subscriber, &up);
            let mut tagged = ethernet(ACCESS, PEER_MAC, &outer);
            tagged.splice(12..12, ACCESS_TAGS.iter().copied());
            switch.send(0, &tagged);
            let sent = switch.receive();
            assert_eq!(sent[..22], frame(SERVER_MAC, CORE, CORE_TAGS, &[])[..22]);
            assert_eq!(sent[22..], one_hop_on(&up));
            let down = packet(UDP, SERVER_IPV6, host, &vec![0xA5; len]);
            switch.send(0, &frame(CORE, SERVER_MAC, CORE_TAGS, &down));
            let sent = switch.receive();
            assert_eq!(subscriber.decrypt(&sent[18..]), one_hop_on(&down));
        }
        // In the VLAN of subscribers' own networks nobody reaches one.
        let down = packet(UDP, SERVER_IPV6, host, &[1; 60]);
        switch.send(0, &frame(ACCESS, PEER_MAC, ACCESS_TAGS, &down));
        eventually("XDP drops it", || {
            (counted(&handle, "drop_access_to_subscriber") == 1).then_some(())
        });
        assert_eq!(handle.totals().drops().total(), 0);
        handle.stop();
    });
}
