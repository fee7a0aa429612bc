//! What sessions may, and what servers are told of them: Start after the address, Stop with the
//! figures and the cause.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use controlplane::accounting::Accounting;
use controlplane::accounting::keeper::{Pace, Servers};
use controlplane::accounting::record::Records;
use controlplane::terms::Terms;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use protocol::ppp::link::Network;
use protocol::radius::{Attributes, Code, Packet};
use tempfile::TempDir;

use super::FAR;
use super::peer::{Caller, Peer, ip};
use super::server::Server;

/// Servers that remember.
#[derive(Default)]
struct Heard(Mutex<Vec<Vec<u8>>>);

struct Listening(Arc<Heard>);

impl Servers for Listening {
    fn account(&self, attributes: Vec<u8>, _: Duration) -> BoxFuture<'static, Result<(), String>> {
        self.0.0.lock().unwrap().push(attributes);
        async { Ok(()) }.boxed()
    }
}

impl Heard {
    /// Every request as `tshark` would show it, times and ids left away.
    fn transcript(&self) -> String {
        let shown = |attributes: &Vec<u8>| {
            let length = u16::try_from(20 + attributes.len()).unwrap().to_be_bytes();
            let head = [&[4, 0, length[0], length[1]][..], &[0; 16]].concat();
            let packet = [&head[..], attributes].concat();
            let packet = Packet::parse(&packet).unwrap();
            assert_eq!(packet.code(), Code::AccountingRequest);
            let attribute = |attribute: protocol::radius::Attribute<'_>| {
                let definition = protocol::radius::dictionary::find(attribute.id).unwrap();
                let value = match definition.name {
                    "Event-Timestamp" | "Acct-Session-Id" => "…".to_owned(),
                    _ => definition.read(attribute.value).unwrap().to_string(),
                };
                format!("{} = {value}", definition.name)
            };
            packet.attributes().map(attribute).collect::<Vec<_>>().join("\n")
        };
        let all: Vec<_> = self.0.lock().unwrap().iter().map(shown).collect();
        all.join("\n\n")
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

async fn accounted(folder: &TempDir, heard: &Arc<Heard>) -> Server {
    let file = folder.path().join("accounting.db");
    let servers = Arc::new(Listening(Arc::clone(heard)));
    Server::start_with(
        "[server]\nhost-name = \"bras\"\n[aaa]\nnas-ip-address = \"127.0.0.1\"\n",
        |daemon| {
            let records = Records::new(Attributes::new(), daemon.session_ids.of(0));
            daemon.accounting =
                Accounting::start(&file, 1000, records, servers, Pace::default()).unwrap();
        },
    )
    .await
}

async fn log_in(server: &Server) -> (Peer, Network) {
    let mut peer = Peer::connect(server, Caller::new(2, "DOMAIN\\ivan", "ivan-secret")).await;
    let network = peer.log_in(7).await.unwrap();
    server.until("the session", |daemon| daemon.sessions.up() == 1).await;
    (peer, network)
}

#[tokio::test]
async fn an_account_has_what_was_used_and_why_it_ended() {
    let folder = TempDir::new().unwrap();
    let heard = Arc::new(Heard::default());
    let server = accounted(&folder, &heard).await;
    let (mut peer, network) = log_in(&server).await;
    let packet = ip(253, network.local, FAR, b"there");
    peer.send(&packet).await;
    let mut buffer = [0; 2048];
    server.core.recv(&mut buffer).await.unwrap();
    change(&server, |terms| {
        terms.class = vec![b"second".to_vec(), b"first".to_vec()];
        terms.radius = vec![("Reply-Message".to_owned(), "hello".to_owned())];
    })
    .await;
    peer.hang_up().await;
    server.until_empty().await;
    server.until("the accounts", |_| heard.count() == 3).await;
    insta::assert_snapshot!(heard.transcript());
}

async fn change(server: &Server, change: impl FnOnce(&mut Terms)) {
    server.daemon.sessions.all()[0].change_terms(change).await.unwrap();
}

#[tokio::test]
async fn terms_that_are_used_up_end_the_session() {
    let second = Some(Duration::from_secs(1));
    type Change = fn(&mut Terms, Option<Duration>);
    let limits: [(Change, &str); 4] = [
        (|terms, time| terms.session_timeout = time, "session-timeout: up for 1s"),
        (|terms, time| terms.idle_timeout = time, "idle-timeout: no data for 1s"),
        (|terms, _| terms.receive_limit = Some(25), "receive limit: the subscriber sent 25 bytes"),
        (|terms, _| terms.transmit_limit = Some(0), "transmit limit: the subscriber was sent 0"),
    ];
    let ends = limits.map(|(limit, reason)| async move {
        let server = Server::start("").await;
        let (mut peer, network) = log_in(&server).await;
        change(&server, |terms| limit(terms, second)).await;
        peer.send(&ip(253, network.local, FAR, b"there")).await;
        assert!(peer.down().await.contains(reason), "{reason}");
        server.until_empty().await;
    });
    join_all(ends).await;
}

#[tokio::test]
async fn a_limit_that_is_lifted_ends_nothing() {
    let server = Server::start("").await;
    let (mut peer, _) = log_in(&server).await;
    let limit = Duration::from_secs(5);
    change(&server, |terms| terms.session_timeout = Some(limit)).await;
    change(&server, |terms| terms.session_timeout = None).await;
    tokio::time::sleep(limit + Duration::from_millis(500)).await;
    assert_eq!(server.daemon.sessions.up(), 1);
    peer.hang_up().await;
}

#[tokio::test]
async fn a_login_that_fails_is_not_accounted() {
    let folder = TempDir::new().unwrap();
    let heard = Arc::new(Heard::default());
    let server = accounted(&folder, &heard).await;
    let mut peer = Peer::connect(&server, Caller::new(2, "ivan", "wrong")).await;
    peer.log_in(7).await.unwrap_err();
    server.until_empty().await;
    server.daemon.accounting.finish(Duration::from_secs(5)).await;
    // Accounting-On and Accounting-Off.
    assert_eq!(heard.count(), 2);
}
