//! GRE that nobody should send, to raw sockets and to AF_XDP ports: each packet is dropped for a
//! reason that is counted, and no tunnel but the sender's own notices.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use lab::caller::{self, Caller};
use lab::network::{SERVER, address_of};
use lab::packet::forged_ip_socket;
use lab::scene::Scene;
use lab::server::Driver;
use protocol::gre;

const SOON: Duration = Duration::from_secs(15);

/// Sends GRE packets that say to come from somebody else.
struct Forger {
    socket: UdpSocket,
    source: Ipv4Addr,
}

impl Forger {
    /// From the namespace that all subscribers' packets pass.
    fn new(scene: &Scene, source: Ipv4Addr) -> Self {
        Self { socket: forged_ip_socket(&scene.network.internet).unwrap(), source }
    }

    fn send(&self, gre: &[u8]) {
        let length = u16::try_from(20 + gre.len()).unwrap().to_be_bytes();
        // The kernel fills in the checksum and the identification.
        let mut packet =
            vec![0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, gre::IP_PROTOCOL, 0, 0];
        packet.extend_from_slice(&self.source.octets());
        packet.extend_from_slice(&SERVER.octets());
        packet.extend_from_slice(gre);
        self.socket.send_to(&packet, (SERVER, 0)).unwrap();
    }
}

/// A GRE packet of version 1 whose fields are what the test says, true or not.
fn packet(call_id: u16, sequence: u32, acknowledgment: Option<u32>, payload: &[u8]) -> Vec<u8> {
    let header = gre::Header {
        call_id,
        payload_len: u16::try_from(payload.len()).unwrap(),
        sequence: Some(sequence),
        acknowledgment,
    };
    let mut octets = [0; gre::MAX_HEADER_LEN];
    let length = header.emit(&mut octets);
    [&octets[..length], payload].concat()
}

/// The Call ID that the concentrator gave to the witness: from what it sends to it.
fn call_id_of_the_witness(scene: &Scene) -> u16 {
    let capture = lab::capture::Capture::start(&scene.subscriber, "wan").unwrap();
    scene.witness_is_well().unwrap();
    let trace = capture.finish().unwrap();
    let out = trace.tshark("gre && ip.src == 198.18.1.2", &["gre.key.call_id"]).unwrap();
    out.first().unwrap().trim().parse().unwrap()
}

fn forged_packets_do_a_live_tunnel_no_harm(driver: Driver) {
    let scene = Scene::new(driver, "").unwrap();
    let call_id = call_id_of_the_witness(&scene);
    let forger = Forger::new(&scene, address_of(1));
    let garbage: Vec<u8> = (0..400_u32).map(|n| n.to_be_bytes()[3].wrapping_mul(31)).collect();

    // Encrypted data that nobody encrypted, with sequence numbers and coherency counts from near
    // to far ahead. Had one of them moved the window or the keys, the witness would be deaf.
    let refused = ["mppe_refused", "mppe_budget", "mppe_malformed", "sequence_replayed"];
    scene
        .counted(&refused, 200, || {
            for n in 0..200_u32 {
                let count = (n * 20) & 0xFFF;
                let header = [0x00, 0xFD, 0x90 | count.to_be_bytes()[2], count.to_be_bytes()[3]];
                let sequence = 1_u32 << (n % 32);
                forger.send(&packet(call_id, sequence, None, &[&header, &garbage[..]].concat()));
            }
            Ok(())
        })
        .unwrap();
    scene.witness_is_well().unwrap();

    // Plain data, where encryption is required.
    let mut plain = vec![0x00, 0x21, 0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0];
    plain.extend_from_slice(&scene.witness_address().unwrap().octets());
    plain.extend_from_slice(&SERVER.octets());
    scene
        .counted(&["plaintext_refused"], 20, || {
            for n in 0..20 {
                forger.send(&packet(call_id, u32::MAX - n, None, &plain));
            }
            Ok(())
        })
        .unwrap();
    scene.witness_is_well().unwrap();

    // Acknowledgements of what was never sent, and sequence numbers far ahead in clear frames.
    for n in 0..100_u32 {
        let echo = [0xC0, 0x21, 10, 1, 0, 8, 0, 0, 0, 0];
        forger.send(&packet(call_id, n << 24, Some(n.wrapping_mul(0x0101_0101)), &echo));
    }
    // An acknowledgement alone: no payload, no sequence number.
    for n in 0..100_u32 {
        let mut ack = vec![0x20, 0x81, 0x88, 0x0B, 0, 0];
        ack.extend_from_slice(&call_id.to_be_bytes());
        ack.extend_from_slice(&n.wrapping_mul(0x4000_0001).to_be_bytes());
        forger.send(&ack);
    }
    scene.witness_is_well().unwrap();

    // Empty payloads, and payload lengths that promise more than there is.
    scene
        .counted(&["gre_malformed", "ppp_malformed"], 120, || {
            for n in 0..40_u32 {
                forger.send(&packet(call_id, n, None, &[]));
                forger.send(&packet(call_id, n, None, &[0xFF, 0x03]));
                let mut lying = packet(call_id, n, None, &garbage);
                lying[4..6].copy_from_slice(&[0xFF, 0xFF]);
                forger.send(&lying);
            }
            Ok(())
        })
        .unwrap();
    scene.witness_is_well().unwrap();
}

#[test]
fn forged_packets_do_a_live_tunnel_no_harm_on_raw_sockets() {
    forged_packets_do_a_live_tunnel_no_harm(Driver::RawTun);
}

#[test]
fn forged_packets_do_a_live_tunnel_no_harm_on_af_xdp() {
    forged_packets_do_a_live_tunnel_no_harm(Driver::AfXdp);
}

fn gre_cut_at_every_length_is_dropped_or_left_to_the_kernel(driver: Driver) {
    let scene = Scene::new(driver, "").unwrap();
    let subscriber = scene.network.subscriber(2).unwrap();
    let mut caller = Caller::connect(&subscriber, SERVER).unwrap();
    caller.start().unwrap();
    caller.call(7).unwrap();
    assert!(caller.log_in("alice", "secret123", None, SOON).unwrap());
    let whole = packet(caller.server_call_id(), 5000, Some(1), &[0x00, 0xFD, 0x90, 1, 2, 3, 4]);

    // Up to the Call ID it could be anybody's; from there on it is a packet of this tunnel.
    for length in 0..8 {
        caller.send_gre(&whole[..length]).unwrap();
    }
    let cut = whole.len() as u64 - 8;
    scene
        .counted(&["gre_malformed"], cut, || {
            (8..whole.len()).try_for_each(|length| caller.send_gre(&whole[..length]))
        })
        .unwrap();
    // Other GRE is none of ours (RFC 2784): version 0, another protocol, no key.
    for (index, value) in [(1, 0x00), (2, 0x08), (0, 0x10), (1, 0x07)] {
        let mut foreign = whole.clone();
        foreign[index] = value;
        caller.send_gre(&foreign).unwrap();
    }
    scene.witness_is_well().unwrap();
    assert_eq!(scene.server.session_of("alice").unwrap().rx_packets, 0);
}

#[test]
fn gre_cut_at_every_length_is_dropped_on_raw_sockets() {
    gre_cut_at_every_length_is_dropped_or_left_to_the_kernel(Driver::RawTun);
}

#[test]
fn gre_cut_at_every_length_is_dropped_on_af_xdp() {
    gre_cut_at_every_length_is_dropped_or_left_to_the_kernel(Driver::AfXdp);
}

fn a_flood_of_gre_for_no_tunnel_costs_neither_memory_nor_the_witness(driver: Driver) {
    let scene = Scene::new(driver, "").unwrap();
    let stranger = scene.network.subscriber(2).unwrap();
    let socket = caller::gre_socket(&stranger).unwrap();
    let before = scene.server.footprint().unwrap();
    // Every Call ID that there is, so those of others too.
    for call_id in 0..=u16::MAX {
        let packet = packet(call_id, u32::from(call_id), None, &[0xC0, 0x21, 9, 1, 0, 4]);
        socket.send_to(&packet, (SERVER, 0)).unwrap();
        if call_id % 64 == 0 {
            // As fast as a slow machine can count them: what its buffers lose is not counted here.
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let unknown = ["tunnel_unknown", "drop_unknown_tunnel"];
    let foreign = ["peer_foreign", "drop_other_peer"];
    lab::wait::until("most of the flood in the counters", SOON, || {
        Ok((scene.server.stats()?.count(&unknown) > 1000).then_some(()))
    })
    .unwrap();
    scene.await_rest().unwrap();
    assert!(scene.server.stats().unwrap().count(&foreign) <= 1, "one tunnel is there");
    scene.witness_is_well().unwrap();
    let after = scene.server.footprint().unwrap();
    assert!(after.resident < before.resident + 16 * 1024, "{before:?}, then {after:?}");
    scene.server.await_descriptors_of(&before).unwrap();
}

#[test]
fn a_flood_of_gre_for_no_tunnel_costs_nothing_on_raw_sockets() {
    a_flood_of_gre_for_no_tunnel_costs_neither_memory_nor_the_witness(Driver::RawTun);
}

#[test]
fn a_flood_of_gre_for_no_tunnel_costs_nothing_on_af_xdp() {
    a_flood_of_gre_for_no_tunnel_costs_neither_memory_nor_the_witness(Driver::AfXdp);
}
