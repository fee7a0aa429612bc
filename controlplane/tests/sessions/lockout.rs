//! Who guesses passwords, and who only seems to.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use controlplane::api::types::{Cleared, LockoutSelector, LockoutView};
use controlplane::lockout::Subject;
use hyper::Method;
use tempfile::TempDir;

use super::api::api;
use super::peer::{Caller, Peer};
use super::server::Server;

const GUESSER: u8 = 2;

async fn guess(server: &Server, host: u8, user: &str) {
    let mut peer = Peer::connect(server, Caller::new(host, user, "wrong")).await;
    // What is sent twice is one guess.
    peer.twice = true;
    let refused = peer.log_in(7).await.unwrap_err();
    assert!(refused.starts_with("wrong password"), "{refused}");
}

/// The daemon closes the connection of a locked address before a word.
async fn is_locked_out(server: &Server, host: u8) -> bool {
    let mut peer = Peer::connect(server, Caller::new(host, "ivan", "ivan-secret")).await;
    let connection = peer.outcome().await;
    peer.control.is_closed() && connection.is_err()
}

#[tokio::test]
async fn the_seventh_wrong_password_locks_the_address_until_it_is_cleared() {
    let folder = TempDir::new().unwrap();
    let server = Server::start("").await;
    let client = api(&server, folder.path()).await;
    for n in 0..6 {
        guess(&server, GUESSER, if n % 2 == 0 { "nobody" } else { "ivan" }).await;
    }
    let mut ivan = Peer::connect(&server, Caller::new(GUESSER, "ivan", "ivan-secret")).await;
    ivan.log_in(7).await.unwrap();
    ivan.hang_up().await;
    server.until_empty().await;
    guess(&server, GUESSER, "nobody").await;
    assert!(is_locked_out(&server, GUESSER).await);
    assert!(server.count("refused_locked_out") >= 1);
    // Others are not, not even with the same user.
    let mut ivan = Peer::connect(&server, Caller::new(3, "ivan", "ivan-secret")).await;
    ivan.log_in(7).await.unwrap();
    ivan.hang_up().await;

    let locks: Vec<LockoutView> = client.call(Method::GET, "/v1/lockouts", &()).await.unwrap();
    assert_eq!((locks.len(), locks[0].locks), (1, 1));
    assert_eq!(locks[0].address, Some(Ipv4Addr::new(127, 0, 0, GUESSER)));
    assert!((290..=300).contains(&locks[0].left));
    let path = "/v1/lockouts/clear";
    let which = LockoutSelector { address: locks[0].address, ..LockoutSelector::default() };
    let done: Cleared = client.call(Method::POST, path, &which).await.unwrap();
    assert_eq!(done.cleared, 1);
    client.call::<_, Cleared>(Method::POST, path, &which).await.unwrap_err();
    client.call::<_, Cleared>(Method::POST, path, &LockoutSelector::default()).await.unwrap_err();
    assert!(!is_locked_out(&server, GUESSER).await);
}

#[tokio::test]
async fn a_lock_on_a_user_binds_only_who_failed() {
    let server = Server::start("").await;
    for host in 10..17 {
        guess(&server, host, "ivan").await;
    }
    let locks = server.daemon.lockouts.list();
    assert_eq!(locks.len(), 1, "{locks:?}");
    let with_the_right_password = async |host| {
        let mut ivan = Peer::connect(&server, Caller::new(host, "ivan", "ivan-secret")).await;
        ivan.log_in(7).await
    };
    assert!(with_the_right_password(12).await.is_err(), "an address that failed for the user");
    assert!(with_the_right_password(30).await.is_ok(), "the victim's own");
    let mut anna = Peer::connect(&server, Caller::new(12, "anna", "anna-secret")).await;
    anna.log_in(7).await.unwrap();
}

#[tokio::test]
async fn an_address_with_a_session_is_not_locked_out() {
    let server = Server::start("").await;
    let mut neighbour = Peer::connect(&server, Caller::new(GUESSER, "anna", "anna-secret")).await;
    neighbour.log_in(7).await.unwrap();
    for _ in 0..8 {
        guess(&server, GUESSER, "nobody").await;
    }
    let locks = server.daemon.lockouts.list();
    assert!(locks.iter().all(|lock| matches!(lock.subject, Subject::User(_))), "{locks:?}");
    assert!(!is_locked_out(&server, GUESSER).await);
}

/// How long it took until this peer was told that its password is wrong.
async fn told_after(server: &Server, began: Instant, call_id: u16) -> Duration {
    let caller = Caller { call_id, ..Caller::new(GUESSER, "nobody", "wrong") };
    let mut peer = Peer::connect(server, caller).await;
    let refused = peer.log_in(call_id).await.unwrap_err();
    assert!(refused.starts_with("wrong password"), "{refused}");
    began.elapsed()
}

#[tokio::test]
async fn guesses_at_once_from_a_neighbours_address_are_slowed_down_after_seven() {
    let server = Server::start("").await;
    let mut neighbour = Peer::connect(&server, Caller::new(GUESSER, "anna", "anna-secret")).await;
    neighbour.log_in(7).await.unwrap();
    let began = Instant::now();
    let guesses = (20..29).map(|call_id| told_after(&server, began, call_id));
    let mut told = futures_util::future::join_all(guesses).await;
    told.sort_unstable();
    // Seven may fail as anywhere, and the others are told late.
    assert!(told[7..].iter().all(|after| after.as_secs() >= 3), "{told:?}");
    server.until("the session", |daemon| daemon.sessions.up() == 1).await;
}
