//! A data plane on one port with a VLAN for each role, and on ports that share an interface's packets
//! as a bond's members do.
//!
//! Kernels without 8021q and bonding can do this: the interfaces above the ports are bridges, and
//! tagged frames (IEEE 802.1Q) are made by hand.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "common/far.rs"]
mod far;
#[path = "common/redirect.rs"]
mod redirect;

use std::net::Ipv4Addr;
use std::process::Command;

use common::subscriber::{Subscriber, one_hop_on, packet};
use common::{GATEWAY, dial, eventually, in_namespace, ip};
use dataplane::DataPlane;
use dataplane::api::config::{Below, Tags};
use dataplane::api::{Config, Handle, Interface, Prefix, Role, StartError, Tun};
use far::Far;

const LOCAL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 80);
const INNER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 5);
const ACCESS: [u8; 6] = [2, 0, 0, 0, 0, 1];
const CORE: [u8; 6] = [2, 0, 0, 0, 0, 2];
const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 1, 2];
/// VLAN 100, and VLAN 300 in service VLAN 200; priorities are set, as switches do.
const ACCESS_TAGS: &[u8] = &[0x81, 0x00, 0x00, 100];
const CORE_TAGS: &[u8] = &[0x88, 0xA8, 0x00, 200, 0x81, 0x00, 0x01, 0x2C];
const ACCESS_TAGS_OF_A_SWITCH: &[u8] = &[0x81, 0x00, 0xA0, 100];
const CORE_TAGS_OF_A_SWITCH: &[u8] = &[0x88, 0xA8, 0xE0, 200, 0x81, 0x00, 0x71, 0x2C];

fn network(ports: &[(&str, &str)]) {
    for (near, far) in ports {
        let queues = "numrxqueues 2 numtxqueues 2";
        ip(&format!("link add {near} {queues} type veth peer name {far} {queues}"));
        ip(&format!("link set {near} up"));
        ip(&format!("link set {far} up"));
    }
    ip("link add access address 02:00:00:00:00:01 type bridge");
    ip("link add core address 02:00:00:00:00:02 type bridge");
    ip("link set access up");
    ip("link set core up");
    ip("addr add 192.0.2.1/24 dev access");
    ip("addr add 203.0.113.1/24 dev core");
    ip("neigh add 192.0.2.7 lladdr 02:00:00:00:01:01 nud permanent dev access");
    ip("neigh add 203.0.113.80 lladdr 02:00:00:00:01:02 nud permanent dev core");
}

fn interface(name: &str, role: Role, ports: &[&str], vlan: &str) -> Interface {
    let tags = if vlan.is_empty() { Tags::None } else { vlan.parse().unwrap() };
    let ports = ports.iter().map(|&port| port.to_owned()).collect();
    Interface { name: name.to_owned(), role, queues: None, below: Some(Below { ports, tags }) }
}

fn start(interfaces: Vec<Interface>) -> Result<Handle, StartError> {
    let config = Config {
        workers: 2,
        interfaces,
        listen: vec![LOCAL],
        tun: Tun {
            address: Some(GATEWAY),
            pools: vec![Prefix { address: Ipv4Addr::new(10, 9, 0, 0), length: 16 }],
            ..Tun::default()
        },
        ..Config::default()
    };
    DataPlane::start(&config).map(|(handle, _)| handle)
}

fn frame(destination: [u8; 6], source: [u8; 6], tags: &[u8], packet: &[u8]) -> Vec<u8> {
    let mut frame = [&destination[..], &source, tags, &[0x08, 0x00], packet].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

/// Where the packets of one of 64 flows go.
fn flow(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, 64 + number)
}

fn counted(handle: &Handle, reason: &str) -> u64 {
    let xdp = handle.totals().xdp.unwrap();
    xdp.iter().find(|(known, _)| known.name() == reason).unwrap().1
}

#[test]
fn one_arm_carries_both_roles_by_their_vlans() {
    in_namespace(|| {
        network(&[("arm", "switch")]);
        let handle = start(vec![
            interface("access", Role::Access, &["arm"], "100"),
            interface("core", Role::Core, &["arm"], "200.300"),
        ])
        .unwrap();
        let report = handle.report().to_string();
        assert!(report.contains("access: access, VLAN 100"), "{report}");
        assert!(report.contains("core: core, VLAN 200.300"), "{report}");
        let mut switch = Far::open("switch");
        for call_id in [40, 41] {
            let inner = Ipv4Addr::from_bits(INNER.to_bits() + u32::from(call_id));
            let mut subscriber = dial(&handle, (LOCAL, PEER), call_id, inner, 1440);
            for round in 0..24_u16 {
                let payload = vec![0xA5; 1 + usize::from(round) * 58];
                // Every second packet comes by the queue of the worker that does not have it.
                let queue = usize::from(round % 2);
                let up = packet(inner, SERVER, &payload);
                let outer = subscriber.encrypt_packet(&up);
                switch.send(queue, &frame(ACCESS, PEER_MAC, ACCESS_TAGS_OF_A_SWITCH, &outer));
                let expected = frame(SERVER_MAC, CORE, CORE_TAGS, &one_hop_on(&up));
                assert_eq!(switch.receive(), expected[..22 + up.len()]);

                let down = packet(SERVER, inner, &payload);
                switch.send(queue, &frame(CORE, SERVER_MAC, CORE_TAGS_OF_A_SWITCH, &down));
                let sent = switch.receive();
                assert_eq!(sent[..18], frame(PEER_MAC, ACCESS, ACCESS_TAGS, &[])[..18]);
                assert_eq!(subscriber.decrypt(&sent[18..]), one_hop_on(&down));
            }
        }
        assert_eq!(handle.totals().drops().total(), 0);

        // Roles hold in their own VLAN only.
        let down = packet(SERVER, INNER, &[1]);
        let steered = counted(&handle, "redirect_subscriber");
        for (tags, reason) in [
            (ACCESS_TAGS, "drop_access_to_subscriber"),
            (&[], "pass_unknown_port"),
            (&[0x81, 0x00, 0x00, 101], "pass_vlan"),
        ] {
            switch.send(0, &frame(ACCESS, SERVER_MAC, tags, &down));
            eventually(reason, || (counted(&handle, reason) > 0).then_some(()));
        }
        assert_eq!(counted(&handle, "redirect_subscriber"), steered);
        handle.stop();
    });
}

#[test]
fn ports_share_the_packets_of_an_interface_and_stand_in_for_each_other() {
    in_namespace(|| {
        network(&[("access0", "peer"), ("core0", "one"), ("core1", "other")]);
        let handle = start(vec![
            interface("access", Role::Access, &["access0"], ""),
            interface("core", Role::Core, &["core0", "core1"], "7"),
        ])
        .unwrap();
        ip("addr add 198.51.100.1/24 dev core");
        for last in 0..64 {
            let mac = "02:00:00:00:01:02";
            ip(&format!("neigh add 198.51.100.{} lladdr {mac} nud permanent dev core", 64 + last));
        }
        let mut peer = Far::open("peer");
        let mut cores = [Far::open("one"), Far::open("other")];
        let mut subscriber = dial(&handle, (LOCAL, PEER), 40, INNER, 1456);

        // Which member each flow leaves by.
        let ways = |of: &mut Subscriber, peer: &mut Far, cores: &mut [Far; 2], rounds: u8| {
            let mut ways = Vec::new();
            for round in 0..rounds {
                let up = packet(INNER, flow(round), &[0xA5; 40]);
                let outer = of.encrypt_packet(&up);
                peer.send(usize::from(round % 2), &frame(ACCESS, PEER_MAC, &[], &outer));
                let (at, arrived) = eventually("a member sends it", || {
                    let arrived = cores.iter_mut().map(Far::try_receive);
                    arrived.enumerate().find_map(|(at, frame)| Some((at, frame?)))
                });
                let expected = frame(SERVER_MAC, CORE, &[0x81, 0x00, 0x00, 7], &one_hop_on(&up));
                assert_eq!(arrived, expected[..18 + up.len()]);
                ways.push(at);
            }
            ways
        };
        let both = ways(&mut subscriber, &mut peer, &mut cores, 64);
        let by_other: usize = both.iter().sum();
        assert!((17..48).contains(&by_other), "{both:?}");
        // Either brings packets in.
        for (at, far) in cores.iter_mut().enumerate() {
            let down = packet(SERVER, INNER, &[7; 40]);
            far.send(at, &frame(CORE, SERVER_MAC, &[0x81, 0x00, 0x00, 7], &down));
            let sent = peer.receive();
            assert_eq!(sent[..14], frame(PEER_MAC, ACCESS, &[], &[])[..14]);
        }

        ip("link set one down");
        // Changes are gathered for a moment before workers see them: what goes to the member that
        // is down by then is lost. Afterwards nothing is.
        let moves =
            (0..).zip(both).find_map(|(round, at)| (at == 0).then_some(flow(round))).unwrap();
        let mut sent = 0_u16;
        let heard = |far: &mut Far| {
            let frame = far.try_receive()?;
            let number = frame.get(18 + 20..)?.first_chunk()?;
            Some(u16::from_be_bytes(*number))
        };
        let mut newest = eventually("its flows go to the other member", || {
            sent += 1;
            let outer = subscriber.encrypt(moves, &sent.to_be_bytes());
            peer.send(usize::from(sent % 2), &frame(ACCESS, PEER_MAC, &[], &outer));
            heard(&mut cores[1])
        });
        eventually("all that followed", || {
            newest = heard(&mut cores[1]).unwrap_or(newest);
            (newest == sent).then_some(())
        });
        assert_eq!(ways(&mut subscriber, &mut peer, &mut cores, 32), [1; 32]);
        handle.stop();
    });
}

#[test]
fn two_interfaces_cannot_have_the_same_frames() {
    in_namespace(|| {
        network(&[("arm", "switch")]);
        let error = start(vec![
            interface("access", Role::Access, &["arm"], "100"),
            interface("core", Role::Core, &["arm"], "100"),
        ])
        .unwrap_err();
        let said = "core has the same frames of arm as an interface before it";
        assert!(error.to_string().contains(said), "{error}");
    });
}

/// A NIC that takes tags off would have XDP see frames of no VLAN: those of VLANs beside ours, too.
#[test]
fn a_card_takes_no_tags_off() {
    in_namespace(|| {
        network(&[("arm", "switch")]);
        let features = || {
            let output = Command::new("ethtool").args(["-k", "arm"]).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            ["rx-vlan-offload: on", "rx-vlan-stag-hw-parse: on"].map(|line| text.contains(line))
        };
        assert_eq!(features(), [true, true]);
        let handle = start(vec![interface("access", Role::Access, &["arm"], "")]).unwrap();
        assert_eq!(features(), [false, false]);
        handle.stop();
    });
}
