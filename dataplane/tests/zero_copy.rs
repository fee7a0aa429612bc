//! AF_XDP in zero-copy mode: the card itself reads and writes our frames. veth cannot, virtio_net of
//! Linux 7.2 can.
//!
//! These tests run in a QEMU guest that `make test-zerocopy` boots: four cards, each pair joined by a
//! cable, `access` to `peer` and `core` to `server`.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "common/far.rs"]
mod far;
#[path = "common/frames.rs"]
mod frames;
#[path = "common/redirect.rs"]
mod redirect;

use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::Command;

use common::subscriber::{Subscriber, one_hop_on, packet};
use common::{GATEWAY, dial, eventually, ip};
use dataplane::DataPlane;
use dataplane::api::{Config, Interface, Prefix, Role, Tun};
use dataplane::frame::{Pool, Region};
use dataplane::io::Port;
use dataplane::io::xsk::{XskConfig, XskMode, XskPort};
use far::Far;
use redirect::Redirect;

const FRAMES: u32 = 4096;
/// Octets of the longest frame that Ethernet carries, without its checksum.
const LONGEST: usize = 1514;
const GREETING: &[u8] = b"are you there";
const LOCAL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 80);
const ACCESS: [u8; 6] = [2, 0, 0, 0, 0, 1];
const CORE: [u8; 6] = [2, 0, 0, 0, 0, 2];
const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 1, 2];

#[test]
#[ignore = "needs the cards of a guest: make test-zerocopy"]
fn frames_cross_both_ways_whole_and_sum_to_the_total() {
    for end in ["access", "peer"] {
        ip(&format!("link set {end} up"));
    }
    let region = Region::new(FRAMES).unwrap();
    let mut pool = Pool::new(region, 256);
    let programs = ["access", "peer"].map(Redirect::attach);
    // A queue that was closed can be had again, in the same mode.
    for _ in 0..2 {
        let [mut near, mut far] = ["access", "peer"].map(|end| {
            let port = XskPort::open(&frames::config(end, 0), &mut pool).unwrap();
            assert_eq!(port.mode(), XskMode::ZeroCopy, "{end}");
            port
        });
        programs[0].register(0, near.as_fd());
        programs[1].register(0, far.as_fd());
        for _ in 0..2 {
            frames::carry(&mut pool, &mut near, &mut far, 1_000, LONGEST);
            frames::carry(&mut pool, &mut far, &mut near, 1_000, LONGEST);
            assert_eq!(frames::total(region, &pool, &[&near, &far], 0), FRAMES as usize);
            ip("link set access down");
            ip("link set access up");
        }
        for port in [&mut near, &mut far] {
            port.refresh_counters();
            assert_eq!(port.counters().sent_packets.get(), 2_000);
            assert_eq!(port.counters().received_packets.get(), 2_000);
            assert_eq!(port.counters().dropped_total(), 0, "{:?}", port.statistics());
        }
    }
    assert_eq!(frames::total(region, &pool, &[], 0), FRAMES as usize);
}

/// The cards' rings have 256 entries, which a card fills out of the fill ring as packets come.
#[test]
#[ignore = "needs the cards of a guest: make test-zerocopy"]
fn a_card_with_long_rings_gets_its_share_of_the_frames_and_no_more() {
    for end in ["access", "peer"] {
        ip(&format!("link set {end} up"));
    }
    let mut pool = Pool::new(Region::new(FRAMES).unwrap(), 256);
    let program = Redirect::attach("access");
    let [mut near, mut far] = ["access", "peer"].map(|end| {
        let config = XskConfig { ring_size: 64, ..frames::config(end, 0) };
        XskPort::open(&config, &mut pool).unwrap()
    });
    program.register(0, near.as_fd());
    for _ in 0..200 {
        frames::carry(&mut pool, &mut far, &mut near, 1, LONGEST);
        assert!(near.held() <= 128, "{}", near.held());
    }
    assert_eq!(near.held(), 128);
}

#[test]
#[ignore = "needs the cards of a guest: make test-zerocopy"]
fn a_data_plane_carries_tunnels_and_goes_on_after_its_links_were_down() {
    for (end, address) in [("access", "192.0.2.1/24"), ("core", "203.0.113.1/24")] {
        ip(&format!("address add {address} dev {end}"));
        ip(&format!("link set {end} up"));
    }
    let interface =
        |name: &str, role| Interface { name: name.to_owned(), role, queues: None, below: None };
    let config = Config {
        interfaces: vec![interface("access", Role::Access), interface("core", Role::Core)],
        listen: vec![LOCAL],
        tun: Tun {
            address: Some(GATEWAY),
            pools: vec![Prefix { address: Ipv4Addr::new(10, 9, 0, 0), length: 16 }],
            ..Tun::default()
        },
        ..Config::default()
    };
    let (handle, _events) = DataPlane::start(&config).unwrap();
    let report = handle.report().to_string();
    for (end, role) in [("access", "access"), ("core", "core")] {
        let line = format!("  {end} queue 0: {role}, AF_XDP (native, zero-copy)\n");
        assert!(report.contains(&line), "{report}");
    }
    for end in ["peer", "server"] {
        ip(&format!("link set {end} up"));
    }
    let (mut peer, mut server) = (Far::open("peer"), Far::open("server"));
    let mut subscriber = dial(&handle, (LOCAL, PEER), 40, Ipv4Addr::new(10, 9, 0, 5), 1456);
    for down in ["", "access", "core"] {
        if !down.is_empty() {
            ip(&format!("link set {down} down"));
            ip(&format!("link set {down} up"));
        }
        // They go with the link. The mirror may learn of them after the first packets.
        neighbour("192.0.2.7", "02:00:00:00:01:01", "access");
        neighbour("203.0.113.80", "02:00:00:00:01:02", "core");
        eventually("a packet crosses", || {
            let up = subscriber.encrypt(SERVER, GREETING);
            peer.send(0, &ethernet(ACCESS, PEER_MAC, &up));
            server.try_receive()
        });
        carry(&mut subscriber, &mut peer, &mut server);
    }
    handle.stop();
}

/// Packets of all lengths by the tunnel, to the core and back.
fn carry(subscriber: &mut Subscriber, peer: &mut Far, server: &mut Far) {
    for length in (1..1400).step_by(23) {
        let payload = vec![0xA5; length];
        let up = packet(subscriber.inner, SERVER, &payload);
        peer.send(0, &ethernet(ACCESS, PEER_MAC, &subscriber.encrypt_packet(&up)));
        let frame = loop {
            let frame = server.receive();
            // Greetings that were sent before the first came through.
            if !frame.ends_with(GREETING) {
                break frame;
            }
        };
        assert_eq!(frame[..14], ethernet(SERVER_MAC, CORE, &[])[..14]);
        assert_eq!(frame[14..], one_hop_on(&up), "{length}");
        let down = packet(SERVER, subscriber.inner, &payload);
        server.send(0, &ethernet(CORE, SERVER_MAC, &down));
        let frame = loop {
            let frame = peer.receive();
            assert_eq!(frame[..14], ethernet(PEER_MAC, ACCESS, &[])[..14]);
            // An acknowledgement alone, where the way up was slow.
            if !subscriber.read(&frame[14..]).frame.is_empty() {
                break frame;
            }
        };
        assert_eq!(subscriber.decrypt(&frame[14..]), one_hop_on(&down), "{length}");
    }
}

fn ethernet(destination: [u8; 6], source: [u8; 6], packet: &[u8]) -> Vec<u8> {
    let mut frame = [&destination[..], &source, &[0x08, 0x00], packet].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

/// A permanent neighbour, by the guest's busybox, whose `ip` makes none.
fn neighbour(address: &str, mac: &str, interface: &str) {
    let arguments = ["-s", address, mac, "-i", interface];
    assert!(Command::new("arp").args(arguments).status().unwrap().success());
}
