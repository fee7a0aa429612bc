//! Our own client dials our own server and a Linux one, and data of every size passes both ways.

use std::net::SocketAddrV4;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use lab::capture::Capture;
use lab::client::Client;
use lab::impair::Impairment;
use lab::network::{CORE, SERVER};
use lab::scene::{ECHO, Scene};
use lab::server::Driver;
use lab::traffic::{self, TcpEcho, UdpEcho};

/// IPv4 and UDP or ICMP headers.
const HEADERS: usize = 28;

fn data_of_every_size_passes_both_ways(driver: Driver) {
    let scene = Scene::new(driver, "").unwrap();
    let capture = Capture::start(&scene.network.internet, "concentrator").unwrap();
    let session = scene.witness_session().unwrap();
    let largest = usize::from(session.mtu) - HEADERS;
    let sizes = || (1..64).chain((64..largest).step_by(97)).chain([largest]);

    // From the subscriber to the core …
    let _udp = scene.subscriber.run(|| UdpEcho::start(7)).unwrap();
    let _tcp = scene.subscriber.run(|| TcpEcho::start(7)).unwrap();
    let up = scene.subscriber.run(|| {
        Ok([
            traffic::udp_exchange(ECHO, sizes(), 0)?,
            traffic::ping_exchange(CORE, sizes(), 0)?,
            traffic::tcp_exchange(ECHO, sizes().chain([200_000]))?,
        ])
    });
    // … and from the core to the subscriber.
    let subscriber = scene.witness_address().unwrap();
    let down = scene.network.core.run(|| {
        let echo = SocketAddrV4::new(subscriber, 7);
        Ok([
            traffic::udp_exchange(echo, sizes(), 0)?,
            traffic::ping_exchange(subscriber, sizes(), 0)?,
            traffic::tcp_exchange(echo, sizes().chain([200_000]))?,
        ])
    });
    for outcome in [up, down] {
        let outcome = outcome.unwrap_or_else(|error| panic!("{error:?}\n{}", scene.server.log()));
        assert!(outcome.iter().all(|outcome| outcome.whole()), "{outcome:?}");
    }

    let after = scene.witness_session().unwrap();
    let exchanges = 4 * sizes().count() as u64;
    assert!(after.rx_packets - session.rx_packets >= exchanges, "{after:?}");
    assert!(after.tx_packets - session.tx_packets >= exchanges, "{after:?}");
    assert_eq!(after.rx_lost, 0);

    let trace = capture.finish().unwrap();
    assert!(trace.gre().count() as u64 >= 2 * exchanges, "the data crossed here");
    for size in [64, 452, largest] {
        let contents = traffic::payload(size as u64, size);
        assert_eq!(trace.holding(&contents[..16]), 0, "{size} bytes crossed in the clear");
    }
}

#[test]
fn data_of_every_size_passes_both_ways_over_raw_socket_and_tun() {
    data_of_every_size_passes_both_ways(Driver::RawTun);
}

#[test]
fn data_of_every_size_passes_both_ways_over_af_xdp() {
    data_of_every_size_passes_both_ways(Driver::AfXdp);
}

fn a_packet_longer_than_the_tunnels_mtu_is_answered(driver: Driver) {
    let scene = Scene::new(driver, "").unwrap();
    let largest = usize::from(scene.witness_session().unwrap().mtu) - HEADERS;
    let subscriber = scene.witness_address().unwrap();
    let _udp = scene.subscriber.run(|| UdpEcho::start(7)).unwrap();
    let echo = SocketAddrV4::new(subscriber, 7);
    let sent = scene.network.core.run(|| traffic::udp_exchange(echo, [largest + 1], 1));
    // RFC 1191: the core is told; the second sending fails at its own kernel.
    assert!(sent.unwrap_err().to_string().contains("sending"));
    scene.witness_is_well().unwrap();
}

#[test]
fn a_packet_longer_than_the_tunnels_mtu_is_answered_over_raw_socket_and_tun() {
    a_packet_longer_than_the_tunnels_mtu_is_answered(Driver::RawTun);
}

#[test]
fn a_packet_longer_than_the_tunnels_mtu_is_answered_over_af_xdp() {
    a_packet_longer_than_the_tunnels_mtu_is_answered(Driver::AfXdp);
}

#[test]
fn a_bad_path_costs_packets_and_neither_contents_nor_the_session() {
    let scene = Scene::new(Driver::AfXdp, "").unwrap();
    let impairment =
        Impairment { loss: 30, duplicate: 30, reorder: 60, delay: Duration::from_millis(5) };
    let (subscriber, hop) = scene.network.subscriber_on_bad_path(2, impairment, 7).unwrap();
    let mut client = Client::dial(&subscriber, SERVER, "alice", "secret123").unwrap();
    client.wait_up().unwrap();
    let id = scene.server.session_of("alice").unwrap().id;
    // Every datagram comes whole or not at all; TCP mends what is lost.
    subscriber.run(|| traffic::udp_exchange(ECHO, (1..1400).step_by(7), 20)).unwrap();
    assert!(subscriber.run(|| traffic::tcp_exchange(ECHO, [500_000])).unwrap().whole());
    let session = scene.server.session_of("alice").unwrap();
    assert_eq!(session.id, id);
    let [up, _] = hop.tallies();
    assert!(up.lost.load(Relaxed) > 0 && up.reordered.load(Relaxed) > 0);
    assert!(session.rx_lost > 0 && session.rx_duplicate > 0, "{session:?}");
    scene.witness_is_well().unwrap();
}

#[test]
fn wrong_passwords_end_the_client_with_a_code_of_their_own() {
    let scene = Scene::new(Driver::RawTun, "").unwrap();
    let subscriber = scene.network.subscriber(2).unwrap();
    for (user, password) in [("alice", "wrong"), ("nobody", "secret123")] {
        let mut client = Client::dial(&subscriber, SERVER, user, password).unwrap();
        let status = client.process().wait_exit(Duration::from_secs(20)).unwrap();
        assert_eq!(status.code(), Some(7), "{}", client.process().output());
    }
    // Nobody serves there.
    let mut client = Client::dial(&subscriber, CORE, "alice", "secret123").unwrap();
    let status = client.process().wait_exit(Duration::from_secs(60)).unwrap();
    assert_eq!(status.code(), Some(5), "{}", client.process().output());
    scene.witness_is_well().unwrap();
}
