//! Sessions of Linux peers, as they were captured: a worker takes the place of each end.

use std::net::Ipv4Addr;

use protocol::mppe::{Sender, Stateless, Strength};

use super::bench::{Bench, LOCAL, RAW, TUN, outer};
use super::captured::mppe::Session;
use super::captured::pcap::{self, Packet};
use super::subscriber::ipv4;
use crate::api::{Encryption, Outer};
use crate::ipv4::View;

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 2);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 1);

/// What `sender` encrypted, decrypted in order by the reference cipher: inner IP packets.
fn plaintexts(session: &Session, sender: Sender, strength: Strength) -> Vec<Vec<u8>> {
    let mut cipher = Stateless::new(session.initial_key(sender, strength));
    let decrypt = |packet: &super::captured::mppe::Encrypted| {
        let mut data = packet.data.clone();
        cipher.decrypt(packet.header, &mut data).unwrap();
        let field = if data[0] == 0x21 { 1 } else { 2 };
        data.split_off(field)
    };
    session.sent_by(sender).map(decrypt).collect()
}

/// Sends all GRE of one captured end through a worker; returns what comes out for the kernel.
fn replay(capture: &[Packet], strength: Strength, sender: Sender) -> Vec<Vec<u8>> {
    let session = Session::of(capture);
    let address = if sender == Sender::Client { CLIENT } else { SERVER };
    let packets: Vec<_> = capture
        .iter()
        .filter(|packet| packet.src == address)
        .filter_map(|packet| Some(ipv4(47, 64, packet.src, LOCAL, packet.gre()?)))
        .collect();
    let call_id = u16::from_be_bytes([packets[0][26], packets[0][27]]);
    let mut bench = Bench::new(1);
    let outer = Outer { peer: address, ..outer(call_id) };
    let tunnel = bench.handle.open(outer).unwrap();
    let other = if sender == Sender::Client { Sender::Server } else { Sender::Client };
    bench.protect(
        tunnel,
        Encryption::stateless(
            session.initial_key(sender, strength),
            session.initial_key(other, strength),
        ),
    );
    let expected = plaintexts(&session, sender, strength);
    bench.network(tunnel, View::parse(&expected[0]).map(|inner| inner.source));
    let mut arrived = Vec::new();
    for burst in packets.chunks(50) {
        for packet in burst {
            bench.push(0, RAW, packet);
        }
        bench.turn_after(std::time::Duration::from_secs(10));
        arrived.extend(bench.pop(0, TUN));
        bench.pop_all();
    }
    assert_eq!(bench.drops(), []);
    let counters = bench.handle.counters(tunnel).unwrap();
    assert_eq!(counters.rx_packets, expected.len() as u64);
    assert_eq!((counters.lost, counters.reordered, counters.duplicates), (0, 0, 0));
    assert_eq!(arrived, expected);
    arrived
}

#[test]
fn whole_sessions_of_linux_peers_are_decrypted() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../protocol/tests/data/");
    for (name, strength, packets) in [
        ("stateless128.pcap", Strength::Bits128, 1),
        ("mppe40.pcap", Strength::Bits40, 1),
        ("stateless128-count-wrap.pcap", Strength::Bits128, 4500),
    ] {
        let capture = pcap::read(&format!("{folder}{name}"));
        for sender in [Sender::Client, Sender::Server] {
            assert!(replay(&capture, strength, sender).len() >= packets, "{name}");
        }
    }
}
