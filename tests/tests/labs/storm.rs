//! A power cut: everybody dials again at once, and RADIUS answers as many a second as it can.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use lab::load::{CLIENTS, Load, Plan, account, allow_connections, calls_needed, most_connections};
use lab::netns::{self, Namespace};
use lab::radius::relay::{self, Relay};
use lab::radius::scene::{aaa, section};
use lab::radius::{FreeRadius, Settings};
use lab::server::{Driver, Server};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const RADIUS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const PACED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Everybody dials at once where RADIUS gives so many verdicts a second. All are up within twice the
/// time that this takes at least, and no Access-Request is sent for a login that was given up.
fn storm(rate: u32, plan: Plan) {
    let count = plan.clients;
    allow_connections(count.min(most_connections())).unwrap();
    let (clients, namespace) =
        (Namespace::new("clients").unwrap(), Namespace::new("server").unwrap());
    netns::join((&clients, "server"), (&namespace, "clients")).unwrap();
    clients.address("server", &format!("{GATEWAY}/30")).unwrap();
    namespace.address("clients", &format!("{SERVER}/30")).unwrap();
    namespace.route(CLIENTS, GATEWAY).unwrap();
    // As deploy tells operators: a burst of dials must not find a short queue.
    namespace.sysctl("net/core/somaxconn", "65535").unwrap();

    let mut users = String::new();
    for (name, password) in (0..count).map(account) {
        writeln!(users, "{name} Cleartext-Password := \"{password}\"").unwrap();
    }
    let radius = FreeRadius::start(&namespace, &Settings::new(RADIUS, &users)).unwrap();
    let at = |address| SocketAddrV4::new(address, 1812);
    let _pace = Relay::start(&namespace, at(PACED), at(RADIUS), relay::paced(rate)).unwrap();
    let settings = format!(
        "{}{}[[pool]]\nname = \"default\"\nranges = [\"10.128.0.2-10.129.255.254\"]\n",
        aaa("accounting = false"),
        section(PACED, "accounting-port = 0")
    );
    let server = Server::start(&namespace, Driver::RawTun, &[], &settings).unwrap();

    let ideal = Duration::from_secs(count as u64) / rate;
    let began = Instant::now();
    let load = Load::start(&clients, plan).unwrap();
    let up = load.wait_up(2 * ideal + Duration::from_secs(2));
    let took = began.elapsed();
    assert!(up.is_ok(), "{up:?}\n{:#?}\n{}", server.stats(), server.log());
    assert!(server.log().contains("login storm"), "{}", server.log());

    // Every dial is asked about once, but for those who hung up while they waited.
    let requests = radius.requests().unwrap();
    let asked: HashSet<_> = requests.iter().map(|request| request.get("User-Name")).collect();
    assert_eq!(asked.len(), count);
    let gave_up = server.stats().unwrap().count(&["login_gave_up_waiting"]);
    assert!(gave_up > 0, "nobody lost patience: nothing is proved");
    let dials = load.tally().dials;
    assert!(
        requests.len() as u64 + gave_up <= dials,
        "{} requests for {dials} dials, of which {gave_up} waited in vain; all up after {took:?}",
        requests.len()
    );
    let tally = load.stop();
    assert_eq!(tally.lost, 0, "{:?}", tally.failures);
}

/// A small one, with less patience than the storm is long.
#[test]
fn all_are_up_within_twice_the_ideal_time_and_nobody_is_asked_about_in_vain() {
    let plan = Plan {
        ramp: Duration::from_millis(200),
        patience: Duration::from_secs(5),
        rest: Duration::from_millis(500)..Duration::from_millis(1500),
        ..Plan::storm(SERVER, 400)
    };
    storm(40, plan);
}

/// Takes two minutes at least: verdicts are what everybody waits for.
#[test]
fn twenty_thousand_are_up_within_twice_the_ideal_time() {
    let clients = 20_000;
    storm(200, Plan::storm(SERVER, clients).with_calls(calls_needed(clients)));
}
