//! Packets that nobody should send, inside tunnels and from the core, and sessions that come and
//! go: nothing leaks, neither packets to where they do not belong nor frames, memory, addresses.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use lab::caller::Caller;
use lab::client::Client;
use lab::netns::Namespace;
use lab::network::{CORE, POOL_PREFIX, SERVER, TUNNEL_GATEWAY};
use lab::packet::forged_ip_socket;
use lab::scene::Scene;
use lab::server::Driver;
use lab::traffic;
use protocol::ppp::Protocol;

const SOON: Duration = Duration::from_secs(15);

/// Sends IPv4 packets as they are, by the routes of a namespace.
struct Forger(UdpSocket);

impl Forger {
    fn new(namespace: &Namespace) -> Self {
        Self(forged_ip_socket(namespace).unwrap())
    }

    /// A packet with 20 octets of UDP to the port `discard`, or one that `spoil` made of it.
    fn send(&self, source: Ipv4Addr, to: Ipv4Addr, spoil: impl FnOnce(&mut Vec<u8>)) {
        let mut packet = vec![0x45, 0, 0, 48, 0, 9, 0, 0, 64, 17, 0, 0];
        packet.extend_from_slice(&source.octets());
        packet.extend_from_slice(&to.octets());
        packet.extend_from_slice(&[0x30, 0x39, 0, 9, 0, 28, 0, 0]);
        packet.extend_from_slice(&[0x5A; 20]);
        spoil(&mut packet);
        // The kernel refuses some of them itself, and links lose some: neither harms.
        let _ = self.0.send_to(&packet, (to, 0));
    }
}

/// Whoever is on the way to the tunnels' other ends can route to subscribers as the core does.
#[test]
fn nobody_beside_the_tunnels_puts_packets_into_them() {
    let scene = Scene::new(Driver::AfXdp, "").unwrap();
    let inside = scene.witness_address().unwrap();
    let internet = &scene.network.internet;
    internet.route(&format!("{inside}/32"), SERVER).unwrap();
    let forger = Forger::new(internet);
    let arrived = scene.subscriber.run(|| Ok(UdpSocket::bind((inside, 9))?)).unwrap();
    arrived.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    scene
        .counted(&["drop_access_to_subscriber"], 40, || {
            for number in 0..40_u8 {
                forger.send(CORE, inside, |packet| match number % 4 {
                    // More fragments follow.
                    0 => packet[6] = 0x20,
                    // Four octets of No Operation before UDP (RFC 791 §3.1).
                    1 => {
                        packet[0] = 0x46;
                        packet.splice(20..20, [1; 4]);
                    }
                    _ => {}
                });
            }
            Ok(())
        })
        .unwrap();
    assert!(arrived.recv(&mut [0; 100]).is_err(), "one arrived");
    scene.witness_is_well().unwrap();
}

fn packets_that_lie_inside_a_tunnel_reach_nobody(driver: Driver) {
    let scene = Scene::new(driver, "").unwrap();
    let own = scene.witness_address().unwrap();
    // Everything that can be in the tunnel goes there.
    scene.subscriber.ip(&format!("route replace {POOL_PREFIX} via {TUNNEL_GATEWAY}")).unwrap();
    for setting in ["all", "default", "pptp-out1"] {
        scene.subscriber.sysctl(&format!("net/ipv4/conf/{setting}/rp_filter"), "0").unwrap();
    }
    let forger = Forger::new(&scene.subscriber);
    let other = Ipv4Addr::new(10, 99, 9, 9);

    scene
        .counted(&["source_foreign"], 90, || {
            for _ in 0..30 {
                for source in [other, CORE, SERVER] {
                    forger.send(source, CORE, |_| {});
                }
            }
            Ok(())
        })
        .unwrap();
    // To an address of the pool that nobody has: answered or dropped, never sent in a circle.
    scene
        .counted(&["no_tunnel"], 30, || {
            for _ in 0..30 {
                forger.send(own, other, |_| {});
            }
            Ok(())
        })
        .unwrap();
    // The last hop, GRE inside the tunnel, the concentrator itself, and options.
    for ttl in [0, 1, 2] {
        forger.send(own, CORE, |packet| packet[8] = ttl);
    }
    for to in [TUNNEL_GATEWAY, own, CORE] {
        forger.send(own, to, |packet| {
            packet[9] = 47;
            packet.splice(20.., [0x30, 0x01, 0x88, 0x0B, 0, 4, 0, 1, 0, 0, 0, 1, 0xC0, 0x21, 9, 1]);
            packet[3] = u8::try_from(packet.len()).unwrap();
        });
        forger.send(own, to, |packet| {
            packet[0] = 0x46;
            packet.splice(20..20, [1, 1, 1, 0]);
            packet[3] += 4;
        });
    }
    scene.witness_is_well().unwrap();
}

#[test]
fn packets_that_lie_inside_a_tunnel_reach_nobody_on_raw_sockets() {
    packets_that_lie_inside_a_tunnel_reach_nobody(Driver::RawTun);
}

#[test]
fn packets_that_lie_inside_a_tunnel_reach_nobody_on_af_xdp() {
    packets_that_lie_inside_a_tunnel_reach_nobody(Driver::AfXdp);
}

fn the_core_cannot_harm_a_tunnel(driver: Driver) {
    let scene = Scene::new(driver, "").unwrap();
    let own = scene.witness_address().unwrap();
    let forger = Forger::new(&scene.network.core);
    // Sources that nobody outside can have. Beside AF_XDP the kernel judges them.
    let martians = || {
        for _ in 0..100 {
            for source in [own, Ipv4Addr::LOCALHOST, Ipv4Addr::new(240, 0, 0, 1)] {
                forger.send(source, own, |_| {});
            }
        }
        Ok(())
    };
    match driver {
        Driver::AfXdp => scene.counted(&["source_martian"], 100, martians).unwrap(),
        Driver::RawTun => martians().unwrap(),
    }
    for n in 0..200_u16 {
        // Nobody's address of the pool.
        forger.send(CORE, Ipv4Addr::from_bits(0x0A63_0800 + u32::from(n)), |_| {});
        forger.send(CORE, own, |packet| packet[8] = 1);
        forger.send(CORE, own, |packet| packet[0] = 0x4F);
        // Pieces of what never becomes whole.
        forger.send(CORE, own, |packet| {
            packet[4..8].copy_from_slice(&[n.to_be_bytes()[0], n.to_be_bytes()[1], 0x20, 0x10]);
        });
        // Larger than the tunnel, and not to be cut.
        forger.send(CORE, own, |packet| {
            packet.resize(1500, 0);
            packet[2..4].copy_from_slice(&1500_u16.to_be_bytes());
            packet[6] = 0x40;
        });
    }
    scene.witness_is_well().unwrap();
    // An answer of the tunnel's end: too big, at the tunnel's own MTU (RFC 1191 §4).
    let ping = |size| scene.network.core.run(|| traffic::ping_exchange(own, [size], 3));
    assert_eq!(ping(1400).unwrap().returned, 1);
    let refused = format!("{:#}", ping(1472).unwrap_err());
    assert!(refused.contains("Message too long"), "1500 octets do not fit: {refused}");
    scene.witness_is_well().unwrap();
}

#[test]
fn the_core_cannot_harm_a_tunnel_on_raw_sockets() {
    the_core_cannot_harm_a_tunnel(Driver::RawTun);
}

#[test]
fn the_core_cannot_harm_a_tunnel_on_af_xdp() {
    the_core_cannot_harm_a_tunnel(Driver::AfXdp);
}

fn no_frame_is_lost_to_a_flood(driver: Driver) {
    // As few frames as there may be: a leak of one in ten would end the witness's session.
    let scene = Scene::new(driver, "[dataplane]\nframes = 1024\n").unwrap();
    let subscriber = scene.network.subscriber(2).unwrap();
    let mut caller = Caller::connect(&subscriber, SERVER).unwrap();
    caller.start().unwrap();
    caller.call(7).unwrap();
    assert!(caller.log_in("alice", "secret123", None, SOON).unwrap());
    let before = scene.server.footprint().unwrap();
    let frames: [&[u8]; 6] = [
        &[0x00, 0xFD, 0x90, 0x01, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0x00, 0xFD, 0x10, 0x01, 1],
        &[0x00, 0x21, 0x45, 0, 0, 20],
        &[0xC0, 0x21, 9, 1, 0, 8, 1, 2, 3, 4],
        &[0x80, 0xFD, 14, 1, 0, 4],
        &[0x00, 0x3D, 0xC0, 0, 0, 1, 0x21],
    ];
    for round in 0..20_000 {
        caller.send_ppp(frames[round % frames.len()]).unwrap();
        if round % 100 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    scene.await_rest().unwrap();
    for _ in 0..10 {
        scene.witness_is_well().unwrap();
    }
    let after = scene.server.footprint().unwrap();
    assert!(after.resident < before.resident + 8 * 1024, "{before:?}, then {after:?}");
    assert_eq!(scene.server.stats().unwrap().count(&["no_frame"]), 0);
}

#[test]
fn no_frame_is_lost_to_a_flood_on_raw_sockets() {
    no_frame_is_lost_to_a_flood(Driver::RawTun);
}

#[test]
fn no_frame_is_lost_to_a_flood_on_af_xdp() {
    no_frame_is_lost_to_a_flood(Driver::AfXdp);
}

fn sessions_that_come_and_go_leave_nothing(driver: Driver) {
    let scene = Scene::new(driver, "[lockout]\nfailures = 0\n").unwrap();
    let subscriber = scene.network.subscriber(2).unwrap();
    let round = |call_id: u16| {
        let mut caller = Caller::connect(&subscriber, SERVER).unwrap();
        caller.start().unwrap();
        caller.call(call_id).unwrap();
        // Some get in, some are refused, some give up on the way.
        let withheld = (call_id % 4 == 1).then_some(Protocol::IPCP);
        let password = if call_id % 4 == 2 { "wrong" } else { "secret123" };
        let limit = if withheld.is_some() { Duration::from_millis(50) } else { SOON };
        let up = caller.log_in("alice", password, withheld, limit).unwrap();
        assert_eq!(up, withheld.is_none() && password != "wrong");
        if call_id.is_multiple_of(3) {
            caller.clear().unwrap();
        }
    };
    let alone = || {
        lab::wait::until("the witness alone", SOON, || {
            let all = scene.server.command(&["session", "list", "--all"])?;
            Ok((all.lines().count() == 2).then_some(()))
        })
        .unwrap();
        scene.server.footprint().unwrap()
    };
    (0..40).for_each(round);
    let before = alone();
    (40..240).for_each(round);
    let after = alone();
    scene.server.await_descriptors_of(&before).unwrap();
    assert!(after.resident < before.resident + 4 * 1024, "{before:?}, then {after:?}");
    let stats = scene.server.command(&["stats", "--json"]).unwrap();
    let stats: serde_json::Value = serde_json::from_str(&stats).unwrap();
    let pool = &stats["pools"][0];
    assert_eq!(pool["free"].as_u64(), pool["size"].as_u64().map(|size| size - 1), "{stats:#}");
    scene.witness_is_well().unwrap();
}

#[test]
fn sessions_that_come_and_go_leave_nothing_on_raw_sockets() {
    sessions_that_come_and_go_leave_nothing(Driver::RawTun);
}

#[test]
fn sessions_that_come_and_go_leave_nothing_on_af_xdp() {
    sessions_that_come_and_go_leave_nothing(Driver::AfXdp);
}

#[test]
fn a_tunnel_inside_a_tunnel_harms_neither() {
    let scene = Scene::new(Driver::AfXdp, "").unwrap();
    // The witness's own machine dials the concentrator's inner address, through its tunnel.
    let inner = Client::dial(&scene.subscriber, TUNNEL_GATEWAY, "alice", "secret123").unwrap();
    lab::wait::until("the inner call's end or its session", SOON, || {
        let up = scene.server.sessions()?.len() == 2;
        let failed = scene.server.log().contains("login failed");
        Ok((up || failed).then_some(()))
    })
    .unwrap();
    drop(inner);
    let ended = scene.await_log(&["alice"]).unwrap();
    assert!(!scene.server.log().contains("panicked"), "{ended}");
    // Its route to the core went to the inner tunnel meanwhile.
    let route = format!("route replace {} dev pptp-out1", lab::network::CORE_PREFIX);
    scene.subscriber.ip(&route).unwrap();
    scene.witness_is_well().unwrap();
}
