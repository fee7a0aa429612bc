//! The API as the command line uses it: over a unix socket, against a daemon that runs.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use controlplane::api::client::{Client, ClientError};
use controlplane::api::server::{SocketError, bind, serve};
use controlplane::api::types::{Applied, Disconnected, Selector, SessionView, Stats, UserView};
use controlplane::terms::RemoteAddress;
use controlplane::users::Change;
use controlplane::users::wire::HexHash;
use hyper::Method;
use protocol::mschap::NtHash;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::peer::{Caller, Peer};
use super::server::Server;

/// The daemon's API, with its socket in this folder.
pub async fn api(server: &Server, folder: &Path) -> Client {
    let socket = folder.join("sub/control.sock");
    let listener = bind(&socket).await.unwrap();
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    tokio::spawn(serve(listener, Arc::clone(&server.daemon)));
    Client::new(&socket)
}

#[tokio::test]
async fn users_are_added_changed_and_removed_while_the_daemon_runs() {
    let folder = TempDir::new().unwrap();
    let server = Server::start("").await;
    let client = api(&server, folder.path()).await;
    let new = Change {
        name: Some("имя/с %".to_owned()),
        nt_hash: Some(HexHash(NtHash::of_password("first"))),
        ..Change::default()
    };
    let (): () = client.call(Method::POST, "/v1/users", &new).await.unwrap();
    let again = client.call::<_, ()>(Method::POST, "/v1/users", &new).await.unwrap_err();
    assert!(
        matches!(&again, ClientError::Refused(why) if why.contains("exists already")),
        "{again}"
    );

    let mut peer = Peer::connect(&server, Caller::new(2, "имя/с %", "first")).await;
    peer.log_in(7).await.unwrap();

    let path = "/v1/users/%D0%B8%D0%BC%D1%8F%2F%D1%81%20%25";
    let address = RemoteAddress::Address([10, 99, 0, 77].into());
    let change = Change {
        remote_address: Some(Some(address.clone())),
        comment: Some("flat 5".to_owned()),
        ..Change::default()
    };
    let _: Applied = client.call(Method::PATCH, path, &change).await.unwrap();
    // Another change leaves the first as it is, and `null` takes something away.
    let _: Applied = client.call(Method::PATCH, path, &json!({ "profile": null })).await.unwrap();
    let users: Vec<UserView> = client.call(Method::GET, "/v1/users", &()).await.unwrap();
    assert_eq!(users.len(), 3);
    assert_eq!(users[2].comment, "flat 5");
    assert_eq!(users[2].remote_address, Some(address));

    let _: Applied = client.call(Method::DELETE, path, &()).await.unwrap();
    let gone = client.call::<_, ()>(Method::DELETE, path, &()).await.unwrap_err();
    assert!(matches!(gone, ClientError::NotFound(_)), "{gone}");
}

#[tokio::test]
async fn requests_that_make_no_sense_are_answered_with_the_reason() {
    let folder = TempDir::new().unwrap();
    let server = Server::start("").await;
    let client = api(&server, folder.path()).await;
    let mut answers = String::new();
    for (method, path, body) in [
        (Method::POST, "/v1/users", json!({ "name": "x" })),
        (Method::POST, "/v1/users", json!({ "name": "x", "nt-hash": "short" })),
        (Method::PATCH, "/v1/users/ivan", json!({ "pasword": "x" })),
        (Method::PATCH, "/v1/users/ivan", json!({ "profile": "gold" })),
        (Method::POST, "/v1/sessions/disconnect", json!({})),
        (Method::POST, "/v1/sessions/disconnect", json!({ "user": "nobody" })),
    ] {
        let refused = client.call::<_, Value>(method, path, &body).await.unwrap_err();
        answers.push_str(&format!("{body}: {refused}\n"));
    }
    insta::assert_snapshot!(answers, @r#"
    {"name":"x"}: user `x` has no password: give `nt-hash`
    {"name":"x","nt-hash":"short"}: Failed to deserialize the JSON body into the target type: nt-hash: an NT hash is 32 hexadecimal digits at line 1 column 30
    {"pasword":"x"}: Failed to deserialize the JSON body into the target type: pasword: unknown field `pasword`, expected one of `name`, `nt-hash`, `password`, `service`, `caller-id`, `profile`, `local-address`, `remote-address`, `routes`, `remote-ipv6-prefix`, `delegated-ipv6-prefix`, `ipv6-routes`, `rate-limit`, `session-timeout`, `idle-timeout`, `limit-bytes-in`, `limit-bytes-out`, `remote-access`, `disabled`, `comment` at line 1 column 10
    {"profile":"gold"}: there is no profile `gold` in the configuration
    {}: say which sessions: id, user, address, peer-address or all
    {"user":"nobody"}: there is no such session
    "#);
}

#[tokio::test]
async fn sessions_are_listed_and_ended() {
    let folder = TempDir::new().unwrap();
    let server = Server::start("").await;
    let client = api(&server, folder.path()).await;
    let mut peer = Peer::connect(&server, Caller::new(2, "ivan", "ivan-secret")).await;
    peer.log_in(7).await.unwrap();
    server.until("the session", |daemon| daemon.sessions.up() == 1).await;
    let sessions: Vec<SessionView> = client.call(Method::GET, "/v1/sessions", &()).await.unwrap();
    assert_eq!((sessions.len(), sessions[0].state.as_str()), (1, "up"));
    let stats: Stats = client.call(Method::GET, "/v1/stats", &()).await.unwrap();
    assert_eq!((stats.sessions, stats.control["logins"]), (1, 1));
    assert_eq!(stats.pools[0].size, stats.pools[0].free + 1);

    let selector = Selector { id: Some(sessions[0].id), ..Selector::default() };
    let path = "/v1/sessions/disconnect";
    let done: Disconnected = client.call(Method::POST, path, &selector).await.unwrap();
    assert_eq!(done.disconnected, 1);
    peer.cleared().await;
    server.until_empty().await;
}

#[tokio::test]
async fn a_socket_is_taken_over_from_the_dead_only() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("control.sock");
    let alive = bind(&path).await.unwrap();
    assert!(matches!(bind(&path).await, Err(SocketError::InUse(_))));
    drop(alive);
    assert!(!path.exists(), "a daemon that ends in good order takes its socket along");
    // A killed one does not.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(matches!(
        Client::new(&path).call::<_, Value>(Method::GET, "/v1/users", &()).await,
        Err(ClientError::NotRunning(_))
    ));
    bind(&path).await.unwrap();
    // What is no socket is left alone.
    let file = folder.path().join("precious");
    std::fs::write(&file, "data").unwrap();
    assert!(matches!(bind(&file).await, Err(SocketError::System { .. })));
    assert_eq!(std::fs::read(&file).unwrap(), b"data");
}
