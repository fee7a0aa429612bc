//! The daemon and its peers in one process: real TCP on loopback, the real data plane with GRE and
//! the core by datagrams of the test. Needs no rights.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod account;
mod api;
mod dial;
mod drain;
mod hostile;
mod lockout;
mod operation;
mod peer;
mod radius;
mod radius_addresses;
#[path = "../radius/server.rs"]
#[allow(dead_code, reason = "another test uses the rest")]
mod radius_server;
mod seats;
mod secrets;
mod server;
mod terms;
mod wire;

use std::net::Ipv4Addr;

use controlplane::api::types::Selector;
use controlplane::daemon::ending::Ending;
use controlplane::terms::RemoteAddress;
use controlplane::users::Change;
use controlplane::users::wire::HexHash;
use peer::{Caller, Peer, ip};
use protocol::mschap::NtHash;
use protocol::ppp::ccp;
use server::Server;

const FAR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 80);

#[tokio::test]
async fn a_login_brings_a_session_and_its_end_gives_all_back() {
    let server = Server::start("").await;
    let mut peer = Peer::connect(&server, Caller::new(2, "ivan", "ivan-secret")).await;
    let network = peer.log_in(7).await.unwrap();
    assert_eq!(network.remote, Ipv4Addr::new(10, 99, 0, 1));
    server.until("the session", |daemon| daemon.sessions.up() == 1).await;

    let there = ip(253, network.local, FAR, b"there");
    let back = ip(253, FAR, network.local, b"back");
    peer.send(&there).await;
    let mut buffer = [0; 2048];
    let len = server.core.recv(&mut buffer).await.unwrap();
    assert_eq!(buffer[..len], there);
    server.core.send(&back).await.unwrap();
    assert_eq!(peer.receive().await, back);

    let view = server.daemon.sessions.views().remove(0);
    assert_eq!(view.user.as_deref(), Some("ivan"));
    assert_eq!(view.peer_address, Ipv4Addr::new(127, 0, 0, 2));
    assert_eq!(view.address, Some(network.local));
    assert_eq!(view.encoding, "MPPE128 stateless");
    assert_eq!((view.rx_packets, view.rx_bytes), (1, 25));
    assert_eq!((view.tx_packets, view.tx_bytes), (1, 24));
    assert_eq!((view.mtu, view.mru), (1446, 1450));

    peer.hang_up().await;
    server.until_empty().await;
    assert_eq!((server.count("logins"), server.count("logins_failed")), (1, 0));
}

#[tokio::test]
async fn several_calls_of_one_connection_and_of_one_address_do_not_meet() {
    let server = Server::start("").await;
    let mut first = Peer::connect(&server, Caller::new(2, "ivan", "ivan-secret")).await;
    let one = first.log_in(7).await.unwrap();
    // Another client behind the same address, which happens to use the same Call ID: its frames
    // cannot be told apart on the way to it, but the daemon keeps both.
    let caller = Caller::new(2, "anna", "anna-secret");
    let mut second = Peer::connect(&server, caller).await;
    let other = second.log_in(7).await.unwrap();
    assert_ne!(one.local, other.local);
    server.until("both", |daemon| daemon.sessions.up() == 2).await;
    second.hang_up().await;
    server.until("one", |daemon| daemon.sessions.count() == 1).await;
    let packet = ip(253, one.local, FAR, b"still there");
    first.send(&packet).await;
    let mut buffer = [0; 2048];
    let len = server.core.recv(&mut buffer).await.unwrap();
    assert_eq!(buffer[..len], packet);
}

/// Subscribers behind one translated address: each has a connection of its own, and whatever Call
/// ID it likes.
#[tokio::test]
async fn clients_behind_one_address_each_have_their_packets() {
    let server = Server::start("").await;
    let mut peers = Vec::new();
    for (call_id, user) in [(7, "ivan"), (8, "anna"), (0xFFFF, "ivan")] {
        let password = format!("{user}-secret");
        let caller = Caller { call_id, ..Caller::new(2, user, &password) };
        let mut peer = Peer::connect(&server, caller).await;
        let network = peer.log_in(call_id).await.unwrap();
        peers.push((peer, network.local));
    }
    server.until("all three", |daemon| daemon.sessions.up() == 3).await;
    for (peer, address) in &mut peers {
        exchange(&server, peer, *address).await;
    }
}

#[tokio::test]
async fn calls_of_one_connection_each_have_their_packets_and_their_own_end() {
    let server = Server::start("").await;
    let mut peer = Peer::connect(&server, Caller::new(2, "ivan", "ivan-secret")).await;
    let one = peer.log_in(7).await.unwrap();
    let caller = Caller { call_id: 8, ..Caller::new(2, "anna", "anna-secret") };
    let mut first = peer.another(&server, caller);
    let other = peer.log_in(8).await.unwrap();
    assert_ne!(one.local, other.local);
    server.until("both", |daemon| daemon.sessions.up() == 2).await;
    exchange(&server, &mut peer, other.local).await;
    peer.switch(&mut first);
    exchange(&server, &mut peer, one.local).await;
    peer.hang_up().await;
    server.until("the other", |daemon| daemon.sessions.count() == 1).await;
    peer.switch(&mut first);
    exchange(&server, &mut peer, other.local).await;
}

/// A packet each way.
async fn exchange(server: &Server, peer: &mut Peer, address: Ipv4Addr) {
    let there = ip(253, address, FAR, b"there");
    let back = ip(253, FAR, address, b"back");
    peer.send(&there).await;
    let mut buffer = [0; 2048];
    let len = server.core.recv(&mut buffer).await.unwrap();
    assert_eq!(buffer[..len], there);
    server.core.send(&back).await.unwrap();
    assert_eq!(peer.receive().await, back);
}

#[tokio::test]
async fn who_may_not_in_is_told_so() {
    let server = Server::start("").await;
    let disabled = Change { disabled: Some(true), ..Change::default() };
    server.daemon.users.change("anna", disabled).unwrap();
    for (user, password, answer) in [
        ("ivan", "wrong", "wrong password: Access denied"),
        ("nobody", "ivan-secret", "wrong password: Access denied"),
        ("anna", "wrong", "wrong password: Access denied"),
        ("anna", "anna-secret", "account disabled: Access denied"),
    ] {
        let mut peer = Peer::connect(&server, Caller::new(2, user, password)).await;
        assert_eq!(peer.log_in(7).await.unwrap_err(), answer);
        peer.cleared().await;
    }
    server.until_empty().await;
    assert_eq!(server.count("login_wrong_password"), 3);
    assert_eq!(server.count("login_disabled"), 1);
    assert_eq!(server.count("logins_failed"), 4);
}

#[tokio::test]
async fn a_change_of_a_user_counts_for_the_next_login() {
    let server = Server::start("").await;
    let password =
        Change { nt_hash: Some(HexHash(NtHash::of_password("x-secret"))), ..Change::default() };
    server.daemon.users.change("ivan", password).unwrap();
    let mut peer = Peer::connect(&server, Caller::new(2, "DOMAIN\\ivan", "x-secret")).await;
    peer.log_in(7).await.unwrap();
}

#[tokio::test]
async fn an_exhausted_pool_refuses_until_an_address_is_free() {
    let server = Server::start("[[pool]]\nname = \"default\"\nranges = [\"10.1.0.1\"]\n").await;
    let mut ivan = Peer::connect(&server, Caller::new(2, "ivan", "ivan-secret")).await;
    ivan.log_in(7).await.unwrap();
    let mut anna = Peer::connect(&server, Caller::new(3, "anna", "anna-secret")).await;
    let refused = anna.log_in(7).await.unwrap_err();
    assert!(refused.contains("pool `default` is exhausted"), "{refused}");
    assert_eq!(server.count("login_no_address"), 1);
    ivan.hang_up().await;
    server.until_empty().await;
    let mut anna = Peer::connect(&server, Caller::new(3, "anna", "anna-secret")).await;
    assert_eq!(anna.log_in(7).await.unwrap().local, Ipv4Addr::new(10, 1, 0, 1));
}

#[tokio::test]
async fn no_more_sessions_than_are_allowed() {
    let server = Server::start("[limits]\nmax-sessions = 1\n").await;
    let mut ivan = Peer::connect(&server, Caller::new(2, "ivan", "ivan-secret")).await;
    ivan.log_in(7).await.unwrap();
    let mut anna = Peer::connect(&server, Caller::new(3, "anna", "anna-secret")).await;
    let refused = anna.refused(7).await;
    assert!(refused.contains("no resources"), "{refused}");
    assert_eq!(server.count("refused_max_sessions"), 1);
}

#[tokio::test]
async fn who_dials_again_takes_the_place_of_the_session_that_has_the_users_address() {
    let server = Server::start("").await;
    let own = Ipv4Addr::new(10, 99, 1, 1);
    let change =
        Change { remote_address: Some(Some(RemoteAddress::Address(own))), ..Change::default() };
    server.daemon.users.change("ivan", change).unwrap();
    let mut old = Peer::connect(&server, Caller::new(2, "ivan", "ivan-secret")).await;
    assert_eq!(old.log_in(7).await.unwrap().local, own);
    let mut new = Peer::connect(&server, Caller::new(3, "ivan", "ivan-secret")).await;
    let (network, _) = tokio::join!(new.log_in(7), old.cleared());
    assert_eq!(network.unwrap().local, own);
    server.until("one session", |daemon| daemon.sessions.count() == 1).await;
}

#[tokio::test]
async fn an_operator_ends_the_sessions_that_are_meant() {
    let server = Server::start("").await;
    let mut ivan = Peer::connect(&server, Caller::new(2, "ivan", "ivan-secret")).await;
    let mut anna = Peer::connect(&server, Caller::new(3, "anna", "anna-secret")).await;
    ivan.log_in(7).await.unwrap();
    anna.log_in(7).await.unwrap();
    server.until("both", |daemon| daemon.sessions.up() == 2).await;
    let of_anna = Selector { user: Some("anna".to_owned()), ..Selector::default() };
    let disconnected = server.daemon.sessions.disconnect(&of_anna, &Ending::Operator);
    assert_eq!(disconnected, 1);
    assert!(anna.down().await.contains("by the operator"));
    assert!(anna.cleared().await.contains("administrative shutdown"));
    server.until("one", |daemon| daemon.sessions.count() == 1).await;
    assert_eq!(server.daemon.sessions.views()[0].user.as_deref(), Some("ivan"));
}

#[tokio::test]
async fn a_stop_takes_leave_of_everybody() {
    let server = Server::start("").await;
    let mut peer = Peer::connect(&server, Caller::new(2, "ivan", "ivan-secret")).await;
    peer.log_in(7).await.unwrap();
    let goodbye = async {
        peer.cleared().await;
        assert_eq!(peer.closed().await, "stopped by the peer: shutting down");
        peer.control.flush().await;
        // RFC 1661 §4.1: a link that was terminated waits before it is down.
        assert!(peer.down().await.contains("the server is shutting down"));
    };
    tokio::join!(server.stop(), goodbye);
}

#[tokio::test]
async fn a_client_without_encryption_is_told_what_is_missing() {
    let server = Server::start("").await;
    let caller = Caller { encryption: ccp::Policy::DENY, ..Caller::new(2, "ivan", "ivan-secret") };
    let mut peer = Peer::connect(&server, caller).await;
    let reason = peer.log_in(7).await.unwrap_err();
    assert!(
        reason.contains("client offered MS-CHAPv2 without MPPE-128; this server requires it"),
        "{reason}"
    );
    server.until_empty().await;
}

#[tokio::test]
async fn where_encryption_is_denied_data_crosses_in_the_clear() {
    let server = Server::start("[server]\nencryption = \"deny\"\n").await;
    let caller = Caller { encryption: ccp::Policy::DENY, ..Caller::new(2, "ivan", "ivan-secret") };
    let mut peer = Peer::connect(&server, caller).await;
    let network = peer.log_in(7).await.unwrap();
    server.until("the session", |daemon| daemon.sessions.up() == 1).await;
    assert_eq!(server.daemon.sessions.views()[0].encoding, "none");
    let packet = ip(253, network.local, FAR, b"plain");
    peer.send_ppp(&[&[0x00, 0x21], &packet[..]].concat()).await;
    let mut buffer = [0; 2048];
    let len = server.core.recv(&mut buffer).await.unwrap();
    assert_eq!(buffer[..len], packet);
}
