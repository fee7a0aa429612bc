//! Logins that RADIUS judges, and its orders to live sessions, with a server of the test.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use controlplane::radius::counters::Count;
use controlplane::radius::incoming;
use protocol::mppe::{MasterKey, Sender, Strength};
use protocol::mschap::{Exchange, NtHash, NtResponse};
use protocol::radius::dictionary::{self as names, error_cause};
use protocol::radius::{Attributes, Code, Definition, Packet, hiding, seal};
use tokio::net::UdpSocket;

use super::FAR;
use super::peer::{Caller, Peer, ip};
use super::radius_server::{self, Request, secret};
use super::server::Server;

/// The user whom only RADIUS knows.
pub const USER: &str = "olga";
pub const PASSWORD: &str = "olga-secret";

/// What FreeRADIUS does with `mschap`: proof and keys, and these attributes besides.
fn judge(request: &Request, give: &dyn Fn(&mut Attributes)) -> Vec<u8> {
    let packet = request.packet();
    let user = packet.first(names::USER_NAME).unwrap();
    let challenge: [u8; 16] = packet.first(names::MS_CHAP_CHALLENGE).unwrap().try_into().unwrap();
    let response = packet.first(names::MS_CHAP2_RESPONSE).unwrap();
    let peer_challenge: [u8; 16] = response[2..18].try_into().unwrap();
    let exchange =
        Exchange { authenticator_challenge: &challenge, peer_challenge: &peer_challenge, user };
    let nt_response = NtResponse::from_bytes(response[26..].try_into().unwrap());
    let hash = NtHash::of_password(PASSWORD);
    let mut list = Attributes::new();
    if user != USER.as_bytes() || exchange.nt_response(&hash) != nt_response {
        let error = [&response[..1], b"E=691 R=0 C=00 V=3 M=No"].concat();
        list.octets(names::MS_CHAP_ERROR, &error).text(names::REPLY_MESSAGE, "Pay your bill");
        return request.answer(Code::AccessReject, &list);
    }
    let proof = exchange.authenticator_response(&hash.hash(), &nt_response).to_text();
    list.octets(names::MS_CHAP2_SUCCESS, &[&response[..1], proof.as_bytes()].concat());
    let master = MasterKey::from_mschapv2(&hash.hash(), &nt_response);
    for (definition, sender, salt) in
        [(names::MS_MPPE_SEND_KEY, Sender::Server, 1), (names::MS_MPPE_RECV_KEY, Sender::Client, 2)]
    {
        let key = master.start_key(sender, Strength::Bits128);
        let hidden =
            hiding::hide_key(key.as_bytes(), salt, &packet.authenticator(), &secret()).unwrap();
        list.octets(definition, &hidden);
    }
    give(&mut list);
    request.answer(Code::AccessAccept, &list)
}

pub async fn freeradius(give: impl Fn(&mut Attributes) + Send + 'static) -> radius_server::Server {
    radius_server::Server::start(move |request, _| vec![judge(request, &give)]).await
}

pub fn settings(radius: &radius_server::Server, aaa: &str) -> String {
    let server = radius.section("timeout = \"300ms\"\ntries = 2");
    format!("[aaa]\nuse-radius = true\naccounting = false\n{aaa}\n{server}")
}

#[tokio::test]
async fn a_user_of_radius_logs_in_and_data_flows_encrypted() {
    let radius = freeradius(|list| {
        list.address(names::FRAMED_IP_ADDRESS, [10, 77, 0, 5].into())
            .text(names::MIKROTIK_RATE_LIMIT, "2M/10M")
            .octets(names::CLASS, b"gold");
    })
    .await;
    let server = Server::start(&settings(&radius, "")).await;
    let mut peer = Peer::connect(&server, Caller::new(2, USER, PASSWORD)).await;
    let network = peer.log_in(7).await.unwrap();
    assert_eq!(network.local, Ipv4Addr::new(10, 77, 0, 5));
    server.until("the session", |daemon| daemon.sessions.up() == 1).await;
    let there = ip(253, network.local, FAR, b"there");
    peer.send(&there).await;
    let mut buffer = [0; 2048];
    let len = server.core.recv(&mut buffer).await.unwrap();
    assert_eq!(buffer[..len], there);
    let session = server.daemon.sessions.all().remove(0);
    let terms = session.terms().unwrap();
    assert_eq!((terms.user.as_str(), terms.rate_limit.to_string().as_str()), (USER, "2M/10M"));
    assert_eq!(terms.class, [b"gold"]);

    let got = radius.got();
    let packet = got[0].packet();
    let text = |definition: Definition| {
        packet.value(definition).unwrap().map(|value| value.to_string()).unwrap_or_default()
    };
    let id = text(names::ACCT_SESSION_ID);
    assert_eq!(id, server.daemon.session_ids.of(session.id()));
    let sent = [
        names::USER_NAME,
        names::SERVICE_TYPE,
        names::FRAMED_PROTOCOL,
        names::NAS_PORT_TYPE,
        names::CALLING_STATION_ID,
        names::TUNNEL_TYPE,
        names::TUNNEL_CLIENT_ENDPOINT,
        names::NAS_IP_ADDRESS,
    ]
    .map(text);
    assert_eq!(sent, [USER, "2", "1", "5", "127.0.0.2", "1", "127.0.0.2", "127.0.0.1"]);
    // The Message-Authenticator comes first.
    assert_eq!(packet.attributes().next().map(|a| a.id), Some(names::MESSAGE_AUTHENTICATOR.id));
    peer.hang_up().await;
    server.until_empty().await;
}

#[tokio::test]
async fn a_refusal_of_radius_is_a_wrong_password() {
    let radius = freeradius(|_| ()).await;
    let server = Server::start(&settings(&radius, "")).await;
    let mut peer = Peer::connect(&server, Caller::new(2, USER, "another")).await;
    peer.log_in(7).await.unwrap_err();
    assert_eq!(server.count("login_wrong_password"), 1);
}

#[tokio::test]
async fn a_filter_that_nobody_wrote_lets_nobody_in() {
    let radius = freeradius(|list| _ = list.text(names::FILTER_ID, "walled-garden")).await;
    let server = Server::start(&settings(&radius, "")).await;
    let mut peer = Peer::connect(&server, Caller::new(2, USER, PASSWORD)).await;
    peer.log_in(7).await.unwrap_err();
    assert_eq!(server.count("login_wrong_password"), 0);
}

#[tokio::test]
async fn our_own_users_are_not_asked_about() {
    let radius = freeradius(|_| ()).await;
    let server = Server::start(&settings(&radius, "")).await;
    let mut peer = Peer::connect(&server, Caller::new(2, "ivan", "ivan-secret")).await;
    peer.log_in(7).await.unwrap();
    assert!(radius.got().is_empty());
}

#[tokio::test]
async fn a_silent_radius_is_nobodys_failure() {
    let radius = radius_server::Server::silent().await;
    let server = Server::start(&settings(&radius, "")).await;
    let mut peer = Peer::connect(&server, Caller::new(2, USER, PASSWORD)).await;
    peer.log_in(7).await.unwrap_err();
    assert_eq!(server.count("login_radius_silent"), 1);
    assert_eq!(server.count("login_wrong_password"), 0);
}

#[tokio::test]
async fn our_own_users_stand_in_for_a_silent_radius() {
    let radius = radius_server::Server::silent().await;
    let server = Server::start(&settings(&radius, "order = \"radius-first\"")).await;
    let mut peer = Peer::connect(&server, Caller::new(2, "ivan", "ivan-secret")).await;
    peer.log_in(7).await.unwrap();
    assert!(!radius.got().is_empty());
}

#[tokio::test]
async fn radius_has_the_last_word_if_it_is_given_that() {
    let radius = freeradius(|_| ()).await;
    for (fallback, may) in [("unknown", false), ("refused", true)] {
        let aaa = format!("order = \"radius-first\"\nfallback = \"{fallback}\"");
        let server = Server::start(&settings(&radius, &aaa)).await;
        let mut peer = Peer::connect(&server, Caller::new(2, "ivan", "ivan-secret")).await;
        assert_eq!(peer.log_in(7).await.is_ok(), may, "{fallback}");
    }
}

/// Somebody who gives orders.
struct Operator {
    socket: UdpSocket,
    port: SocketAddr,
    identifier: u8,
}

impl Operator {
    async fn new(server: &Server) -> Self {
        let listening = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = listening.local_addr().unwrap();
        tokio::spawn(incoming::serve(listening, Arc::clone(&server.daemon)));
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        Self { socket, port, identifier: 0 }
    }

    fn order(&mut self, code: Code, list: impl FnOnce(&mut Attributes)) -> Vec<u8> {
        let mut attributes = Attributes::new();
        list(&mut attributes);
        self.identifier += 1;
        seal::hashed_request(code, self.identifier, &attributes, true, &secret()).unwrap()
    }

    /// The answer's code and Error-Cause.
    async fn sent(&self, order: &[u8]) -> (Code, Option<u32>) {
        self.socket.send_to(order, self.port).await.unwrap();
        let mut buffer = [0; 4096];
        let length = tokio::time::timeout(Duration::from_secs(20), self.socket.recv(&mut buffer))
            .await
            .unwrap()
            .unwrap();
        let packet = Packet::parse(&buffer[..length]).unwrap();
        let request = Packet::parse(order).unwrap();
        packet.verify_response(&request.authenticator(), &secret()).unwrap();
        assert_eq!(packet.identifier(), request.identifier());
        let cause = packet.value(names::ERROR_CAUSE).unwrap().and_then(|value| value.number());
        (packet.code(), cause)
    }

    async fn coa(&mut self, list: impl FnOnce(&mut Attributes)) -> (Code, Option<u32>) {
        let order = self.order(Code::CoaRequest, list);
        self.sent(&order).await
    }

    async fn disconnect(&mut self, list: impl FnOnce(&mut Attributes)) -> (Code, Option<u32>) {
        let order = self.order(Code::DisconnectRequest, list);
        self.sent(&order).await
    }
}

/// RFC 5176 §2.2, §3: the acknowledgment comes after the change.
#[tokio::test]
async fn a_coa_request_changes_a_live_session_or_nothing() {
    let radius = freeradius(|list| _ = list.integer(names::SESSION_TIMEOUT, 3600)).await;
    let server = Server::start(&settings(&radius, "nas-identifier = \"bras1\"")).await;
    let mut operator = Operator::new(&server).await;
    let mut peer = Peer::connect(&server, Caller::new(2, USER, PASSWORD)).await;
    peer.log_in(7).await.unwrap();
    server.until("the session", |daemon| daemon.sessions.up() == 1).await;
    let session = server.daemon.sessions.all().remove(0);
    let id = server.daemon.session_ids.of(session.id());
    let address = session.facts().address.unwrap();

    let changed = operator
        .coa(|list| {
            list.text(names::USER_NAME, USER)
                .text(names::ACCT_SESSION_ID, &id)
                .address(names::FRAMED_IP_ADDRESS, address)
                .text(names::CALLING_STATION_ID, "127.0.0.2")
                .text(names::NAS_IDENTIFIER, "bras1")
                .text(names::MIKROTIK_RATE_LIMIT, "1M/3M")
                .integer(names::SESSION_TIMEOUT, 0)
                .integer(names::IDLE_TIMEOUT, 600)
                .integer(names::ACCT_INTERIM_INTERVAL, 300)
                .octets(names::CLASS, b"silver");
        })
        .await;
    assert_eq!(changed, (Code::CoaAck, None));
    let terms = session.terms().unwrap();
    assert_eq!(terms.rate_limit.to_string(), "1M/3M");
    assert_eq!(terms.session_timeout, None);
    assert_eq!(terms.idle_timeout, Some(Duration::from_secs(600)));
    assert_eq!(terms.interim, Some(Duration::from_secs(300)));
    assert_eq!(terms.class, [b"silver"]);
    // Hooks and their radattr file see what holds now.
    let known = |name: &str| {
        let of = |(known, value): &(String, String)| (known == name).then(|| value.clone());
        terms.radius.iter().filter_map(of).collect::<Vec<_>>()
    };
    assert_eq!(known("Session-Timeout"), ["0"]);
    assert_eq!(known("Mikrotik-Rate-Limit"), ["1M/3M"]);
    assert!(known("User-Name").is_empty());

    let rate = |list: &mut Attributes| _ = list.text(names::MIKROTIK_RATE_LIMIT, "9M");
    let user = |list: &mut Attributes| _ = list.text(names::USER_NAME, USER);
    let refused = [
        // User-Name is right, another identifier is not.
        operator
            .coa(|list| {
                user(list);
                list.text(names::ACCT_SESSION_ID, "another");
                rate(list);
            })
            .await,
        operator
            .coa(|list| {
                list.text(names::USER_NAME, "ivan");
                rate(list);
            })
            .await,
        operator
            .coa(|list| {
                user(list);
                list.text(names::NAS_IDENTIFIER, "bras2");
                rate(list);
            })
            .await,
        operator.coa(rate).await,
        operator.coa(user).await,
        // A good change beside a bad one.
        operator
            .coa(|list| {
                user(list);
                list.integer(names::IDLE_TIMEOUT, 1).text(names::MIKROTIK_RATE_LIMIT, "fast");
            })
            .await,
        operator
            .coa(|list| {
                user(list);
                list.text(names::FILTER_ID, "walled-garden").integer(names::IDLE_TIMEOUT, 1);
            })
            .await,
        operator
            .coa(|list| {
                user(list);
                rate(list);
                list.octets(names::SESSION_TIMEOUT, &[1]);
            })
            .await,
        operator
            .coa(|list| {
                user(list);
                rate(list);
                list.address(names::FRAMED_IP_NETMASK, [255, 0, 0, 0].into());
            })
            .await,
        // Authorize Only.
        operator
            .coa(|list| {
                user(list);
                rate(list);
                list.integer(names::SERVICE_TYPE, 17).octets(names::STATE, b"again");
            })
            .await,
    ]
    .map(|(code, cause)| {
        assert_eq!(code, Code::CoaNak);
        cause.unwrap()
    });
    assert_eq!(
        refused,
        [
            error_cause::SESSION_CONTEXT_NOT_FOUND,
            error_cause::SESSION_CONTEXT_NOT_FOUND,
            error_cause::NAS_IDENTIFICATION_MISMATCH,
            error_cause::MISSING_ATTRIBUTE,
            error_cause::MISSING_ATTRIBUTE,
            error_cause::INVALID_ATTRIBUTE_VALUE,
            error_cause::INVALID_ATTRIBUTE_VALUE,
            error_cause::INVALID_ATTRIBUTE_VALUE,
            error_cause::UNSUPPORTED_ATTRIBUTE,
            error_cause::UNSUPPORTED_SERVICE,
        ]
    );
    assert_eq!(session.terms().unwrap(), terms);
}

/// RFC 5176 §2.1.
#[tokio::test]
async fn a_disconnect_request_is_acknowledged_once_the_session_is_gone() {
    let radius = freeradius(|_| ()).await;
    let server = Server::start(&settings(&radius, "")).await;
    let mut operator = Operator::new(&server).await;
    let mut peer = Peer::connect(&server, Caller::new(2, USER, PASSWORD)).await;
    peer.log_in(7).await.unwrap();
    server.until("the session", |daemon| daemon.sessions.up() == 1).await;
    let order =
        operator.order(Code::DisconnectRequest, |list| _ = list.text(names::USER_NAME, USER));
    let (answer, _) = tokio::join!(operator.sent(&order), peer.down());
    assert_eq!(answer, (Code::DisconnectAck, None));
    assert_eq!(server.daemon.sessions.count(), 0);
    // A retransmission has the same answer, a new order finds nobody.
    assert_eq!(operator.sent(&order).await, (Code::DisconnectAck, None));
    let again = operator.disconnect(|list| _ = list.text(names::USER_NAME, USER)).await;
    let nobody = Some(error_cause::SESSION_CONTEXT_NOT_FOUND);
    assert_eq!(again, (Code::DisconnectNak, nobody));
    let counters = server.daemon.radius.counters();
    assert_eq!(
        [Count::Obeyed, Count::Repeated, Count::Declined].map(|count| counters.get(count)),
        [1, 1, 1]
    );
}

#[tokio::test]
async fn orders_of_strangers_are_not_answered() {
    let radius = freeradius(|_| ()).await;
    let server = Server::start(&settings(&radius, "")).await;
    let mut operator = Operator::new(&server).await;
    let mut order =
        operator.order(Code::DisconnectRequest, |list| _ = list.text(names::USER_NAME, USER));
    let stranger = UdpSocket::bind("127.0.0.5:0").await.unwrap();
    stranger.send_to(&order, operator.port).await.unwrap();
    *order.last_mut().unwrap() ^= 1;
    operator.socket.send_to(&order, operator.port).await.unwrap();
    operator.socket.send_to(b"?", operator.port).await.unwrap();
    server
        .until("three datagrams", |daemon| {
            daemon.radius.counters().get(Count::IncomingIgnored) == 3
        })
        .await;
    let nothing = operator.socket.try_recv(&mut [0; 10]);
    assert!(nothing.is_err(), "{nothing:?}");
}
