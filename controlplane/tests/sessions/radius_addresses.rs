//! Addresses and networks that RADIUS gives, and what stands in their way.

use std::net::Ipv4Addr;

use protocol::radius::Attributes;
use protocol::radius::dictionary as names;

use super::peer::{Caller, Peer};
use super::radius::{PASSWORD, USER, freeradius, settings};
use super::server::Server;

/// What a peer gets, or is told, when RADIUS gives this.
async fn given(
    server: &str,
    give: impl Fn(&mut Attributes) + Send + 'static,
) -> (Result<Ipv4Addr, String>, Server) {
    let radius = freeradius(give).await;
    let server = Server::start(&settings(&radius, server)).await;
    let mut peer = Peer::connect(&server, Caller::new(2, USER, PASSWORD)).await;
    (peer.log_in(7).await.map(|network| network.local), server)
}

fn address(list: &mut Attributes, octets: [u8; 4]) {
    list.address(names::FRAMED_IP_ADDRESS, octets.into());
}

/// RFC 2865 §5.8 with RFC 1332 §3.3: 255.255.255.255 lets the peer choose, and this one asks for
/// an address.
#[tokio::test]
async fn a_peer_that_may_choose_and_has_no_wish_gets_an_address_of_its_profile() {
    let (got, server) = given("", |list| address(list, [255; 4])).await;
    assert_eq!(got, Ok(Ipv4Addr::new(10, 99, 0, 2)));
    let session = server.daemon.sessions.all().remove(0);
    assert_eq!(session.facts().address, Some(Ipv4Addr::new(10, 99, 0, 2)));
}

/// RFC 2869 §5.18.
#[tokio::test]
async fn an_unknown_pool_lets_nobody_in() {
    let (got, server) = given("", |list| _ = list.text(names::FRAMED_POOL, "gone")).await;
    assert!(got.unwrap_err().contains("there is no pool `gone`"));
    assert_eq!((server.count("login_wrong_password"), server.count("login_no_address")), (0, 1));
}

#[tokio::test]
async fn an_address_of_another_session_is_given_to_nobody_else() {
    let radius = freeradius(|list| address(list, [10, 99, 0, 2])).await;
    let server = Server::start(&settings(&radius, "")).await;
    let mut first = Peer::connect(&server, Caller::new(2, "ivan", "ivan-secret")).await;
    assert_eq!(first.log_in(7).await.unwrap().local, Ipv4Addr::new(10, 99, 0, 2));
    let mut second = Peer::connect(&server, Caller::new(3, USER, PASSWORD)).await;
    let reason = second.log_in(7).await.unwrap_err();
    assert!(reason.contains("10.99.0.2 is in use by ivan"), "{reason}");
    server.until("the session", |daemon| daemon.sessions.up() == 1).await;
    first.hang_up().await;
    server.until_empty().await;
    // It is free again.
    let mut third = Peer::connect(&server, Caller::new(4, USER, PASSWORD)).await;
    assert_eq!(third.log_in(7).await.unwrap().local, Ipv4Addr::new(10, 99, 0, 2));
}

#[tokio::test]
async fn an_address_that_belongs_to_a_user_of_ours_is_not_radiuss_to_give() {
    let (got, server) = given("", |list| address(list, [10, 77, 0, 50])).await;
    assert_eq!(got, Ok(Ipv4Addr::new(10, 77, 0, 50)));
    drop(server);
    let radius = freeradius(|list| address(list, [10, 77, 0, 50])).await;
    let server = Server::start(&settings(&radius, "")).await;
    server.daemon.addresses.reserve(Ipv4Addr::new(10, 77, 0, 50));
    let mut peer = Peer::connect(&server, Caller::new(2, USER, PASSWORD)).await;
    let reason = peer.log_in(7).await.unwrap_err();
    assert!(reason.contains("belongs to a local user"), "{reason}");
}

#[tokio::test]
async fn an_address_of_the_server_itself_is_given_to_nobody() {
    let (got, _server) = given("", |list| address(list, [10, 99, 0, 1])).await;
    let reason = got.unwrap_err();
    assert!(reason.contains("in use by this server"), "{reason}");
}

/// RFC 2865 §5.9 and §5.22: a network that is others' is not behind a subscriber, whoever says so.
#[tokio::test]
async fn networks_that_overlap_a_pool_are_left_out_and_the_others_serve() {
    let (got, server) = given("", |list| {
        address(list, [10, 99, 0, 7]);
        list.address(names::FRAMED_IP_NETMASK, [255, 255, 255, 0].into())
            .text(names::FRAMED_ROUTE, "10.97.0.0/24 0.0.0.0 1")
            .text(names::FRAMED_ROUTE, "10.99.0.0/16")
            .text(names::FRAMED_ROUTE, "0.0.0.0/0")
            .text(names::FRAMED_ROUTE, "10.96.0.0/24");
    })
    .await;
    assert_eq!(got, Ok(Ipv4Addr::new(10, 99, 0, 7)));
    let terms = server.daemon.sessions.all()[0].terms().unwrap();
    let routes: Vec<String> = terms.routes.iter().map(ToString::to_string).collect();
    assert_eq!(routes, ["10.97.0.0/24 0.0.0.0 1", "10.96.0.0/24"]);
}

/// Neither the tunnel's own ends, nor this machine's addresses, are behind it.
#[tokio::test]
async fn a_network_that_holds_an_end_of_the_tunnel_is_not_behind_it() {
    let (got, server) = given("", |list| {
        address(list, [10, 77, 0, 5]);
        list.text(names::FRAMED_ROUTE, "10.96.0.0/24").text(names::FRAMED_ROUTE, "127.0.0.2/32");
    })
    .await;
    assert_eq!(got, Ok(Ipv4Addr::new(10, 77, 0, 5)));
    let terms = server.daemon.sessions.all()[0].terms().unwrap();
    let routes: Vec<String> = terms.routes.iter().map(ToString::to_string).collect();
    assert_eq!(routes, ["10.96.0.0/24"]);
}

/// Its packets would run into themselves.
#[tokio::test]
async fn the_outer_address_of_a_peer_is_not_its_inner_one() {
    let radius = freeradius(|list| address(list, [10, 77, 0, 5])).await;
    let server = Server::start(&settings(&radius, "")).await;
    let mut peer = Peer::connect(&server, Caller::new(2, USER, PASSWORD)).await;
    peer.log_in(7).await.unwrap();
    let session = server.daemon.sessions.all().remove(0);
    let terms = session.terms().unwrap();
    let outer = [Ipv4Addr::new(10, 55, 0, 9), Ipv4Addr::LOCALHOST];
    let chosen = controlplane::aaa::lease::choose(&server.daemon, &terms, Some(outer[0]), outer);
    let reason = chosen.await.unwrap_err();
    assert!(reason.contains("the peer's own outer address"), "{reason}");
}

/// Mikrotik's limit of both ways together.
#[tokio::test]
async fn octets_both_ways_together_end_a_session() {
    let (got, server) = given("", |list| {
        list.integer(names::MIKROTIK_TOTAL_LIMIT, 0)
            .integer(names::MIKROTIK_TOTAL_LIMIT_GIGAWORDS, 2);
    })
    .await;
    got.unwrap();
    let session = server.daemon.sessions.all().remove(0);
    assert_eq!(session.terms().unwrap().total_limit, Some(2 << 32));
}

/// What an operator sees of a session is what holds now.
#[tokio::test]
async fn what_a_session_is_given_can_be_seen() {
    let (got, server) = given("", |list| {
        list.text(names::MIKROTIK_RATE_LIMIT, "2M/10M")
            .text(names::FRAMED_ROUTE, "10.96.0.0/24")
            .octets(names::CLASS, &[1, 0xAB])
            .integer(names::SESSION_TIMEOUT, 3600);
    })
    .await;
    got.unwrap();
    let ids = &server.daemon.session_ids;
    let shown = server.daemon.sessions.views_with_terms(ids)[0].terms.clone().unwrap();
    assert!(shown.radius);
    assert_eq!(
        (shown.profile.as_str(), shown.rate_limit.to_string().as_str()),
        ("default", "2M/10M")
    );
    assert_eq!((shown.session_timeout, shown.idle_timeout), (Some(3600), None));
    assert_eq!(shown.class, ["01ab"]);
    assert_eq!(shown.routes[0].to_string(), "10.96.0.0/24");
    let session = server.daemon.sessions.all().remove(0);
    assert_eq!(shown.acct_session_id, ids.of(session.id()));
    session
        .change_terms(|terms| terms.idle_timeout = Some(std::time::Duration::from_secs(60)))
        .await
        .unwrap();
    let shown = server.daemon.sessions.views_with_terms(ids)[0].terms.clone().unwrap();
    assert_eq!(shown.idle_timeout, Some(60));
}
