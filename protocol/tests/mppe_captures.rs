//! MPPE of Linux peers, decrypted with nothing but the captured login and its password.

mod common;

use common::mppe::{Session, is_ipv4};
use common::pcap;
use protocol::mppe::{Sender, Stateless, Strength};

/// Decrypts each direction of a session, leaving out the packets that `lost` names by their
/// place in it. Returns how many were decrypted.
fn decrypts(session: &Session, strength: Strength, lost: impl Fn(usize) -> bool) -> usize {
    let mut decrypted = 0;
    for sender in [Sender::Client, Sender::Server] {
        let mut receiving = Stateless::new(session.initial_key(sender, strength));
        for (place, packet) in session.sent_by(sender).enumerate() {
            if lost(place) {
                continue;
            }
            let mut data = packet.data.clone();
            assert_eq!(receiving.decrypt(packet.header, &mut data), Ok(()));
            assert!(is_ipv4(&data), "{sender:?}'s packet {place}");
            decrypted += 1;
        }
    }
    decrypted
}

#[test]
fn linux_peers_packets_are_decrypted_in_both_directions() {
    let session = Session::of(&pcap::read("stateless128.pcap"));
    assert_eq!(decrypts(&session, Strength::Bits128, |_| false), session.packets.len());
    let session = Session::of(&pcap::read("mppe40.pcap"));
    assert_eq!(decrypts(&session, Strength::Bits40, |_| false), session.packets.len());
}

/// RFC 3079 §2: one start key for both directions.
#[test]
fn linux_peers_packets_are_decrypted_after_an_ms_chap_v1_login() {
    let session = Session::of(&pcap::read("mschapv1-mppe128.pcap"));
    assert!(session.packets.len() > 20);
    assert_eq!(decrypts(&session, Strength::Bits128, |_| false), session.packets.len());
}

/// RFC 3078 §3.1: 4095 is followed by 0.
#[test]
fn linux_peers_packets_are_decrypted_beyond_the_wrap_of_the_count() {
    let session = Session::of(&pcap::read("stateless128-count-wrap.pcap"));
    assert_eq!(session.packets.len(), 9020);
    assert_eq!(decrypts(&session, Strength::Bits128, |_| false), 9020);
}

/// RFC 3078 §8.1: one key change for each missing packet.
#[test]
fn linux_peers_packets_are_decrypted_after_losses() {
    let session = Session::of(&pcap::read("stateless128-count-wrap.pcap"));
    decrypts(&session, Strength::Bits128, |place| place % 7 != 0);
    decrypts(&session, Strength::Bits128, |place| (10..4000).contains(&place));
}
