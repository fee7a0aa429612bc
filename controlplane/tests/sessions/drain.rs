//! A daemon that drains: the port is closed, sessions go on or go, and all of it can be undone.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use controlplane::daemon::drain::Plan;
use tokio::net::TcpStream;

use super::peer::{Caller, Peer};
use super::server::Server;

async fn connects(server: &Server) -> bool {
    match TcpStream::connect(server.address).await {
        Ok(_) => true,
        Err(error) => {
            // Who connected just before is reset; a client that is refused tries the next address
            // of the name.
            assert!(
                [ErrorKind::ConnectionRefused, ErrorKind::ConnectionReset].contains(&error.kind())
            );
            false
        }
    }
}

async fn until_connects(server: &Server, wanted: bool) {
    let wait = async {
        while connects(server).await != wanted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(super::server::PATIENCE, wait).await.is_ok());
}

#[tokio::test]
async fn new_callers_meet_a_closed_port_and_sessions_go_on() {
    let server = Server::start("").await;
    let mut peer = Peer::connect(&server, Caller::new(2, "ivan", "ivan-secret")).await;
    peer.log_in(7).await.unwrap();
    let mut idle = Peer::connect(&server, Caller::new(3, "anna", "anna-secret")).await;
    server.until("both connections", |daemon| daemon.stats().control["connections"] == 2).await;
    server.daemon.drain.set(Some(Plan { disconnect_at: None, rate: 1 }));
    until_connects(&server, false).await;
    let error = TcpStream::connect(server.address).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    // A connection from before has no way in either.
    let refused = idle.refused(7).await;
    assert!(refused.contains("no resources"), "{refused}");
    assert_eq!(server.count("refused_draining"), 1);
    assert!(server.daemon.stats().draining);
    server.until("the session", |daemon| daemon.sessions.up() == 1).await;

    server.daemon.drain.set(None);
    until_connects(&server, true).await;
    let mut again = Peer::connect(&server, Caller::new(4, "anna", "anna-secret")).await;
    again.log_in(7).await.unwrap();
    assert!(!server.daemon.stats().draining);
    assert_eq!(server.count("accept_errors"), 0);
    peer.hang_up().await;
}

#[tokio::test]
async fn sessions_that_are_still_there_go_one_by_one() {
    let server = Server::start("").await;
    let mut ivan = Peer::connect(&server, Caller::new(2, "ivan", "ivan-secret")).await;
    ivan.log_in(7).await.unwrap();
    let mut anna = Peer::connect(&server, Caller::new(3, "anna", "anna-secret")).await;
    anna.log_in(7).await.unwrap();
    tokio::spawn(controlplane::daemon::drain::serve(server.daemon.clone()));
    server.daemon.drain.set(Some(Plan { disconnect_at: Some(Instant::now()), rate: 1 }));
    // The oldest goes first.
    let reason = ivan.down().await;
    assert!(reason.contains("the server is draining"), "{reason}");
    let reason = anna.down().await;
    assert!(reason.contains("the server is draining"), "{reason}");
    server.until_empty().await;
}
