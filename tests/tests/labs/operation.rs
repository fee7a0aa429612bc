//! What an operator does: look at sessions, end them, add users, stop the daemon.

use std::net::Ipv4Addr;
use std::time::Duration;

use lab::capture::Capture;
use lab::client::Client;
use lab::network::{ACCESS_LINK, CORE, CORE_LINK, Network, SERVER, address_of};
use lab::scene::Scene;
use lab::server::{Driver, Server};
use lab::{traffic, wait};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(10);

#[test]
fn the_list_of_sessions_says_all_that_an_operator_asks_for() {
    let scene = Scene::new(Driver::RawTun, "").unwrap();
    scene.witness_is_well().unwrap();
    let text = scene.server.command(&["session", "list", "--json"]).unwrap();
    let list: Value = serde_json::from_str(&text).unwrap();
    let session = &list.as_array().unwrap()[0];
    for key in [
        "id",
        "mtu",
        "mru",
        "uptime",
        "rx-packets",
        "rx-bytes",
        "tx-packets",
        "tx-bytes",
        "rx-lost",
    ] {
        assert!(session[key].is_u64(), "{key}: {session:#}");
    }
    assert_eq!(session["user"], "witness");
    assert_eq!(session["peer-address"], address_of(1).to_string());
    assert!(session["address"].as_str().unwrap().starts_with("10.99."));
    assert_eq!(session["encoding"], "MPPE128 stateless");
    // witness_is_well alone sends four datagrams and gets four back, 2501 bytes without headers.
    for direction in ["rx", "tx"] {
        assert!(session[format!("{direction}-packets")].as_u64().unwrap() >= 4);
        assert!(session[format!("{direction}-bytes")].as_u64().unwrap() > 2501);
    }
    let table = scene.server.command(&["session", "list"]).unwrap();
    assert!(table.contains("witness") && table.contains("MPPE128 stateless"), "{table}");
}

#[test]
fn disconnecting_a_user_ends_that_session_alone() {
    let scene = Scene::new(Driver::RawTun, "").unwrap();
    let subscriber = scene.network.subscriber(2).unwrap();
    let capture = Capture::start(&subscriber, "wan").unwrap();
    let mut client = Client::dial(&subscriber, SERVER, "alice", "secret123").unwrap();
    client.wait_up().unwrap();
    scene.server.session_of("alice").unwrap();
    scene.server.command(&["session", "disconnect", "--user", "alice"]).unwrap();
    // A call that the other side ended is a lost link.
    let status = client.process().wait_exit(SOON).unwrap();
    assert_eq!(status.code(), Some(8), "{}", client.process().output());
    let messages = capture.finish().unwrap().control_messages().unwrap();
    assert!(messages.contains(&"CDN"), "{messages:?}");
    assert_eq!(scene.server.sessions().unwrap().len(), 1);
    scene.witness_is_well().unwrap();
}

#[test]
fn a_user_added_while_the_daemon_runs_gets_in_and_a_removed_one_does_not() {
    let scene = Scene::new(Driver::RawTun, "").unwrap();
    let subscriber = scene.network.subscriber(2).unwrap();
    scene.server.command_with_input(&["user", "add", "ivan"], "pa ss\n").unwrap();
    let mut client = Client::dial(&subscriber, SERVER, "ivan", "pa ss").unwrap();
    client.wait_up().unwrap();
    client.hang_up().unwrap();
    scene.server.command(&["user", "remove", "ivan"]).unwrap();
    let mut client = Client::dial(&subscriber, SERVER, "ivan", "pa ss").unwrap();
    assert_eq!(client.process().wait_exit(Duration::from_secs(20)).unwrap().code(), Some(7));
}

#[test]
fn a_client_that_vanishes_leaves_no_session() {
    let settings = "[server]\nkeepalive-timeout = \"2s\"\n";
    let scene = Scene::new(Driver::RawTun, settings).unwrap();
    let subscriber = scene.network.subscriber(2).unwrap();
    let mut client = Client::dial(&subscriber, SERVER, "alice", "secret123").unwrap();
    client.wait_up().unwrap();
    // Its link goes down before it can say a word.
    subscriber.ip("link set dev wan down").unwrap();
    client.vanish().unwrap();
    wait::until("the end of the session", Duration::from_secs(15), || {
        Ok((scene.server.sessions()?.len() == 1).then_some(()))
    })
    .unwrap();
    scene.witness_is_well().unwrap();
}

fn a_stop_ends_all_calls_and_leaves_nothing(driver: Driver) {
    let scene = Scene::new(driver, "").unwrap();
    let links = |scene: &Scene| scene.network.concentrator.ip("-details link show").unwrap();
    if driver == Driver::AfXdp {
        assert_eq!(links(&scene).matches("prog/xdp").count(), 2, "{}", links(&scene));
    }
    let capture = Capture::start(&scene.subscriber, "wan").unwrap();
    let Scene { server, mut witness, network, .. } = scene;
    server.stop().unwrap();
    witness.process().wait_exit(SOON).unwrap();

    // RFC 2637 §3.1.1 and §2.13.
    let messages = capture.finish().unwrap().control_messages().unwrap();
    assert!(messages.contains(&"StopCCRQ"), "{messages:?}");
    let left = network.concentrator.ip("-details link show").unwrap();
    assert!(!left.contains("xdp"), "{left}");
    let names: Vec<_> =
        left.lines().filter(|line| !line.starts_with(' ')).map(str::to_owned).collect();
    assert_eq!(names.len(), 3, "lo, {ACCESS_LINK} and {CORE_LINK} are all there was: {names:?}");
    let routes = network.concentrator.ip("route show").unwrap();
    assert!(!routes.contains("10.99."), "{routes}");
}

#[test]
fn a_stop_ends_all_calls_and_leaves_no_tun() {
    a_stop_ends_all_calls_and_leaves_nothing(Driver::RawTun);
}

#[test]
fn a_stop_ends_all_calls_and_leaves_no_xdp_program() {
    a_stop_ends_all_calls_and_leaves_nothing(Driver::AfXdp);
}

#[test]
fn a_second_daemon_is_told_who_has_the_port() {
    let scene = Scene::new(Driver::RawTun, "").unwrap();
    let refused = Server::start(
        &scene.network.concentrator,
        Driver::RawTun,
        &[],
        "[dataplane]\ntun = \"second\"\n",
    );
    let message = format!("{:?}", refused.map(drop).unwrap_err());
    assert!(message.contains("1723") && message.contains("penstock"), "{message}");
    scene.witness_is_well().unwrap();
}

/// The client takes GRE from the address alone that it dialled.
fn each_of_our_addresses_answers_for_itself(driver: Driver, settings: &str) {
    const OTHER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
    let network = Network::new().unwrap();
    network.concentrator.ip(&format!("address add {OTHER}/32 dev lo")).unwrap();
    network.internet.route(&format!("{OTHER}/32"), SERVER).unwrap();
    let users = [("alice", "secret123"), ("bob", "hunter2")];
    let server = Server::start(&network.concentrator, driver, &users, settings).unwrap();
    let subscriber = network.subscriber(1).unwrap();
    for ((user, password), address) in users.into_iter().zip([SERVER, OTHER]) {
        let mut client = Client::dial(&subscriber, address, user, password).unwrap();
        let up = client.wait_up();
        assert!(up.is_ok(), "{up:?}\n{}", server.log());
        let exchanged = subscriber.run(|| traffic::ping_exchange(CORE, [56, 1200], 3));
        assert!(exchanged.unwrap().whole(), "{}", server.log());
        client.hang_up().unwrap();
    }
}

const TWO: &str = "[server]\nlisten = [\"192.0.2.1:1723\", \"198.51.100.1:1723\"]\n";

#[test]
fn each_of_our_addresses_answers_for_itself_over_raw_socket_and_tun() {
    each_of_our_addresses_answers_for_itself(Driver::RawTun, "");
    each_of_our_addresses_answers_for_itself(Driver::RawTun, TWO);
}

#[test]
fn each_of_our_addresses_answers_for_itself_over_af_xdp() {
    each_of_our_addresses_answers_for_itself(Driver::AfXdp, "");
    each_of_our_addresses_answers_for_itself(Driver::AfXdp, TWO);
}
