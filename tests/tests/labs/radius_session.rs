//! What RADIUS gives a session: addresses, networks, times, and what is echoed in its accounts.

use std::net::Ipv4Addr;
use std::time::Duration;

use lab::radius::scene::{ECHO, FIRST, Scene, aaa, section};
use lab::radius::{Record, Settings, config};
use lab::{traffic, wait};

const SOON: Duration = Duration::from_secs(20);

const USERS: &str = "alice Cleartext-Password := \"secret123\"\n\
    \tFramed-IP-Address = 10.98.7.6,\n\tClass = 0x0102,\n\tClass += 0x03,\n\
    \tAcct-Interim-Interval = 60\n\
    short Cleartext-Password := \"secret123\"\n\tSession-Timeout = 3\n\
    ours Cleartext-Password := \"secret123\"\n\tFramed-IP-Address = 255.255.255.254\n\
    router Cleartext-Password := \"secret123\"\n\
    \tFramed-Route = \"10.97.0.0/24 0.0.0.0 1\"\n\
    login Cleartext-Password := \"secret123\"\n\tService-Type = Login-User\n\
    pooled Cleartext-Password := \"secret123\", Pool-Name := \"subscribers\"\n\
    second Cleartext-Password := \"secret123\", Pool-Name := \"subscribers\"\n";

fn of(records: &[Record], user: &str, status: &str) -> Option<Record> {
    let found =
        |record: &&Record| record.get("User-Name") == Some(user) && record.status() == status;
    records.iter().find(found).cloned()
}

#[test]
fn addresses_routes_and_times_of_radius_are_the_sessions() {
    let scene = Scene::new(USERS, "").unwrap();
    let [one, two, three, four] =
        [1, 2, 3, 4].map(|number| scene.network.subscriber(number).unwrap());
    let alice = scene.dial(&one, "alice", "secret123", &[]).unwrap();
    let mut short = scene.dial(&two, "short", "secret123", &[]).unwrap();
    let ours = scene.dial(&three, "ours", "secret123", &[]).unwrap();
    let router = scene.dial(&four, "router", "secret123", &[]).unwrap();

    let session = scene.server.session_of("alice").unwrap();
    assert_eq!(session.address, Some(Ipv4Addr::new(10, 98, 7, 6)));
    // RFC 2865 §5.8: 255.255.255.254 is an address of ours.
    let session = scene.server.session_of("ours").unwrap();
    assert!(session.address.unwrap().to_string().starts_with("10.99."), "{session:?}");
    // §5.22: the gateway 0.0.0.0 is the user.
    scene.network.core.ip("route add 10.97.0.0/24 via 203.0.113.1").unwrap();
    four.ip("address add 10.97.0.9/32 dev lo").unwrap();
    let behind = Ipv4Addr::new(10, 97, 0, 9);
    let pinged = scene.network.core.run(|| traffic::ping_exchange(behind, [56, 1000], 3));
    assert_eq!(pinged.unwrap_or_default().returned, 2, "{}", scene.logs());

    // §5.27: and the account says why it ended.
    short.process().wait_exit(SOON).unwrap();
    let stop = scene.radius.await_accounting("the stop", |all| of(all, "short", "Stop")).unwrap();
    assert_eq!(stop.get("Acct-Terminate-Cause"), Some("Session-Timeout"), "{stop:#?}");
    assert!((2..=6).contains(&stop.number("Acct-Session-Time").unwrap()), "{stop:#?}");

    // §5.25: every Class comes back as it was, in order; §5.8: the address that was given.
    let start = scene.radius.await_accounting("a start", |all| of(all, "alice", "Start")).unwrap();
    assert_eq!(start.all("Class").collect::<Vec<_>>(), ["0x0102", "0x03"]);
    assert_eq!(start.get("Framed-IP-Address"), Some("10.98.7.6"));
    alice.hang_up().unwrap();
    let stop = scene.radius.await_accounting("a stop", |all| of(all, "alice", "Stop")).unwrap();
    assert_eq!(stop.all("Class").collect::<Vec<_>>(), ["0x0102", "0x03"]);
    assert_eq!(stop.get("Acct-Terminate-Cause"), Some("User-Request"), "{stop:#?}");
    ours.hang_up().unwrap();
    router.hang_up().unwrap();
    // §5.6: a service that we do not give is a refusal.
    assert_ne!(scene.refused(&one, "login", "secret123", &[]).unwrap(), Some(0));
}

#[test]
fn a_pool_of_radius_gives_addresses_and_takes_them_back_by_the_accounts() {
    let mut radius = Settings::new(FIRST, USERS);
    radius.pool = vec![Ipv4Addr::new(10, 98, 1, 1), Ipv4Addr::new(10, 98, 1, 2)];
    let settings = format!("{}{}", aaa(""), section(FIRST, ""));
    let scene = Scene::with(&radius, &[], &settings).unwrap();
    scene.network.core.ip("route add 10.98.0.0/16 via 203.0.113.1").unwrap();
    let [one, two] = [1, 2].map(|number| scene.network.subscriber(number).unwrap());
    for _ in 0..2 {
        // Twice as many logins as addresses: each stop gives one back.
        let clients = [(&one, "pooled"), (&two, "second")]
            .map(|(subscriber, user)| scene.dial(subscriber, user, "secret123", &[]).unwrap());
        let exchanged = one.run(|| traffic::udp_exchange(ECHO, [100, 1000], 3)).unwrap();
        assert_eq!(exchanged.returned, 2);
        let mut addresses: Vec<_> =
            scene.server.sessions().unwrap().iter().filter_map(|session| session.address).collect();
        addresses.sort();
        assert_eq!(addresses, radius.pool);
        let leases = scene.radius.leases().unwrap();
        for session in scene.server.sessions().unwrap() {
            let lease = (session.address.unwrap(), session.user.unwrap());
            assert!(leases.contains(&lease), "{lease:?} in {leases:?} of {}", config::POOL);
        }
        for client in clients {
            client.hang_up().unwrap();
        }
        wait::until("the end of all leases", SOON, || {
            Ok(scene.radius.leases()?.is_empty().then_some(()))
        })
        .unwrap();
    }
}
