//! What a secret says: who may in from where, and what live sessions follow.

use std::path::Path;
use std::sync::Arc;

use controlplane::api::client::{Client, ClientError};
use controlplane::api::server::{bind, serve};
use controlplane::api::types::Applied;
use controlplane::config::Config;
use controlplane::users::{Change, Users};
use hyper::Method;
use protocol::mschap::NtHash;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::peer::{Caller, Peer};
use super::server::{Server, user};

async fn api(server: &Server, folder: &Path) -> Client {
    let socket = folder.join("control.sock");
    let listener = bind(&socket).await.unwrap();
    tokio::spawn(serve(listener, Arc::clone(&server.daemon)));
    Client::new(&socket)
}

fn change(of: Value) -> Change {
    serde_json::from_value(of).unwrap()
}

async fn ivan_from(server: &Server, host: u8) -> Result<(), String> {
    let mut peer = Peer::connect(server, Caller::new(host, "ivan", "ivan-secret")).await;
    peer.log_in(7).await.map(drop)
}

#[tokio::test]
async fn who_may_not_call_from_there_or_by_pptp_is_refused_with_649() {
    let server = Server::start("[server]\nlocal-networks = [\"127.0.0.3\"]\n").await;
    let set = |of: Value| server.daemon.users.change("ivan", change(of)).unwrap();
    let refused = Err("no permission to dial in: Access denied".to_owned());

    set(json!({ "caller-id": ["127.0.0.8/30"] }));
    assert_eq!(ivan_from(&server, 2).await, refused);
    assert_eq!(ivan_from(&server, 9).await, Ok(()));
    set(json!({ "caller-id": [], "remote-access": false }));
    assert_eq!(ivan_from(&server, 2).await, refused);
    assert_eq!(ivan_from(&server, 3).await, Ok(()));
    set(json!({ "remote-access": true, "service": "pppoe" }));
    assert_eq!(ivan_from(&server, 2).await, refused);
    set(json!({ "service": "pptp" }));
    assert_eq!(ivan_from(&server, 2).await, Ok(()));
    assert_eq!(server.count("login_not_allowed"), 3);
    assert_eq!(server.count("login_wrong_password"), 0);
}

#[tokio::test]
async fn live_sessions_follow_their_user_if_they_are_told_to() {
    let folder = TempDir::new().unwrap();
    let server = Server::start("").await;
    let client = api(&server, folder.path()).await;
    let mut ivan = Peer::connect(&server, Caller::new(2, "ivan", "ivan-secret")).await;
    let mut anna = Peer::connect(&server, Caller::new(3, "anna", "anna-secret")).await;
    ivan.log_in(7).await.unwrap();
    anna.log_in(7).await.unwrap();
    server.until("both", |daemon| daemon.sessions.up() == 2).await;
    let session = server.daemon.sessions.all().remove(0);
    let rate = || session.terms().unwrap().rate_limit.to_string();

    let set = async |path: &str, body: Value| {
        client.call::<_, Applied>(Method::PATCH, path, &body).await.unwrap()
    };
    set("/v1/users/ivan", json!({ "rate-limit": "1M/2M" })).await;
    assert_eq!(rate(), "", "only the next login sees it");
    let done = set("/v1/users/ivan?apply=true", json!({ "session-timeout": "8h" })).await;
    assert_eq!(done, Applied { changed: 1, disconnected: 0 });
    assert_eq!(rate(), "1M/2M");
    assert_eq!(session.terms().unwrap().session_timeout.unwrap().as_secs(), 8 * 3600);

    let body = json!({ "sessions": { "user": "ivan" }, "change": { "rate-limit": "3M" } });
    let path = "/v1/sessions/set";
    let done: Applied = client.call(Method::POST, path, &body).await.unwrap();
    assert_eq!((done.changed, rate().as_str()), (1, "3M"));
    for wrong in [
        json!({ "sessions": { "user": "ivan" }, "change": { "incoming-filter": "none" } }),
        json!({ "sessions": { "user": "ivan" }, "change": { "rate-limit": "1M 500k" } }),
        json!({ "sessions": {}, "change": { "rate-limit": "1M" } }),
    ] {
        let refused = client.call::<_, Value>(Method::POST, path, &wrong).await;
        assert!(matches!(refused, Err(ClientError::Refused(_))), "{wrong}: {refused:?}");
    }

    let done = set("/v1/users/ivan?apply=true", json!({ "disabled": true })).await;
    assert_eq!(done, Applied { changed: 0, disconnected: 1 });
    assert!(ivan.down().await.contains("may not come in any more"));
    server.until("anna alone", |daemon| daemon.sessions.count() == 1).await;
}

#[tokio::test]
async fn control_connections_from_elsewhere_are_closed() {
    let server = Server::start("[server]\nclient-ip-range = [\"127.0.0.2\"]\n").await;
    assert_eq!(ivan_from(&server, 2).await, Ok(()));
    let mut stranger = Peer::connect(&server, Caller::new(3, "ivan", "ivan-secret")).await;
    stranger.closed().await;
    assert_eq!(server.count("refused_client_ip_range"), 1);
}

/// Older versions took it from imports.
#[tokio::test]
async fn a_user_with_an_empty_password_in_the_database_does_not_come_in() {
    let folder = TempDir::new().unwrap();
    let server = Server::start_with("", |daemon| {
        let config = Config { database: folder.path().join("users.db"), ..Config::default() };
        let open = || Users::open(&config, daemon.addresses.clone()).unwrap();
        open().add(user("ivan")).unwrap();
        let connection = rusqlite::Connection::open(&config.database).unwrap();
        let hash = *NtHash::of_password("").as_bytes();
        assert_eq!(connection.execute("UPDATE user SET nt_hash = ?1", [hash]).unwrap(), 1);
        daemon.users = open();
    })
    .await;
    for (password, answer) in [
        ("", "no permission to dial in: Access denied"),
        ("ivan-secret", "wrong password: Access denied"),
    ] {
        let mut peer = Peer::connect(&server, Caller::new(2, "ivan", password)).await;
        assert_eq!(peer.log_in(7).await.unwrap_err(), answer);
    }
    assert_eq!(server.count("login_not_allowed"), 1);
}
