//! How many sessions a user and a peer address may have.

use super::peer::{Caller, Peer};
use super::server::Server;

const ONLY_ONE: &str = "[[profile]]
name = \"default\"
local-address = \"10.99.0.254\"
remote-address = \"default\"
only-one = ";

async fn dial(server: &Server, host: u8, user: &str) -> (Peer, Result<(), String>) {
    let caller =
        Caller::new(host, user, if user == "anna" { "anna-secret" } else { "ivan-secret" });
    let mut peer = Peer::connect(server, caller).await;
    let outcome = peer.log_in(7).await.map(|_| ());
    (peer, outcome)
}

#[tokio::test]
async fn only_one_refuses_a_second_place_and_believes_the_same_one() {
    let server = Server::start(&format!("{ONLY_ONE}\"yes\"")).await;
    let (mut first, outcome) = dial(&server, 2, "ivan").await;
    outcome.unwrap();
    let (_stranger, refused) = dial(&server, 3, "ivan").await;
    refused.unwrap_err();
    assert_eq!(server.count("login_too_many_sessions"), 1);
    server.until("the session", |daemon| daemon.sessions.up() == 1).await;
    // The same router again, which lost its power: the old session ends for it.
    let (mut again, outcome) = dial(&server, 2, "ivan").await;
    outcome.unwrap();
    first.cleared().await;
    server.until("one session", |daemon| daemon.sessions.count() == 1).await;
    again.hang_up().await;
    server.until_empty().await;
    // Nobody is there, so anyone may.
    let (mut last, outcome) = dial(&server, 3, "ivan").await;
    outcome.unwrap();
    last.hang_up().await;
    server.until_empty().await;
}

#[tokio::test]
async fn only_one_replaces_whoever_it_is_if_it_says_so_and_leaves_others_alone() {
    let server = Server::start(&format!("{ONLY_ONE}\"replace\"")).await;
    let (_first, outcome) = dial(&server, 2, "ivan").await;
    outcome.unwrap();
    let (mut anna, outcome) = dial(&server, 4, "anna").await;
    outcome.unwrap();
    // A domain in front names the same user.
    let (mut second, outcome) = dial(&server, 3, "LAN\\ivan").await;
    outcome.unwrap();
    server.until("two sessions", |daemon| daemon.sessions.count() == 2).await;
    let mut peers: Vec<_> =
        server.daemon.sessions.views().iter().map(|view| view.peer_address.octets()[3]).collect();
    peers.sort_unstable();
    assert_eq!(peers, [3, 4]);
    anna.hang_up().await;
    second.hang_up().await;
    server.until_empty().await;
}

#[tokio::test]
async fn a_user_and_an_address_have_as_many_sessions_as_the_limits_say() {
    let limits = "[limits]\nmax-sessions-per-user = 2\nmax-sessions-per-address = 1\n";
    let server = Server::start(limits).await;
    let mut up = Vec::new();
    for host in [2, 3] {
        let (peer, outcome) = dial(&server, host, "ivan").await;
        outcome.unwrap();
        up.push(peer);
    }
    for (host, user) in [(4, "ivan"), (2, "anna")] {
        let (_peer, refused) = dial(&server, host, user).await;
        refused.unwrap_err();
    }
    assert_eq!(server.count("login_too_many_sessions"), 2);
    let (mut anna, outcome) = dial(&server, 4, "anna").await;
    outcome.unwrap();
    anna.hang_up().await;
    for mut peer in up {
        peer.hang_up().await;
    }
    server.until_empty().await;
}
