//! Logins that a real FreeRADIUS judges: every method, right and wrong, with names and passwords
//! of any script, and with keys that fit.

use lab::capture::Capture;
use lab::client::Client;
use lab::network::{SERVER, address_of};
use lab::radius::relay::{self, Relay};
use lab::radius::scene::{ECHO, FIRST, SECOND, Scene, aaa, section};
use lab::radius::{SECRET, Settings, packet};
use lab::traffic;

const ALL_METHODS: &str =
    "[server]\nauthentication = [\"mschap2\", \"mschap1\", \"chap\", \"pap\"]\n";
const METHODS: [&str; 4] = ["pap", "chap", "mschap1", "mschap2"];
/// `penstock dial`'s exit status for a login that was refused.
const REFUSED: Option<i32> = Some(7);

const USERS: &str = "alice Cleartext-Password := \"secret123\"\n\
    \"Анна\" Cleartext-Password := \"пароль 日本\"\n\
    DEFAULT User-Name == \"WORK\\\\bob\", Cleartext-Password := \"hunter2\"\n";

#[test]
fn every_method_is_judged_by_radius_and_a_wrong_password_refused() {
    let scene = Scene::new(USERS, &format!("{ALL_METHODS}encryption = \"deny\"\n")).unwrap();
    let subscribers: Vec<_> =
        (0..5).map(|number| scene.network.subscriber(number + 1).unwrap()).collect();
    let options = |method| ["--allow", method, "--encryption", "deny"];
    for (user, password) in [("alice", "secret123"), ("Анна", "пароль 日本")] {
        // Side by side: FreeRADIUS answers a wrong password a second late.
        let mut wrong: Vec<_> = METHODS
            .iter()
            .zip(&subscribers[1..])
            .map(|(method, subscriber)| {
                Client::dial_with(subscriber, SERVER, user, "wrong", &options(method)).unwrap()
            })
            .collect();
        for method in METHODS {
            let client = scene.dial(&subscribers[0], user, password, &options(method)).unwrap();
            assert_eq!(scene.server.session_of(user).unwrap().encoding, "none");
            client.hang_up().unwrap();
            scene.await_gone(user).unwrap();
        }
        for client in &mut wrong {
            let status = client.process().wait_exit(std::time::Duration::from_secs(30)).unwrap();
            assert_eq!(status.code(), REFUSED, "{}", client.process().output());
        }
        scene.await_log(&["login failed", user]).unwrap();
    }

    // RFC 2865 §5, RFC 2868: what a server needs to tell sessions and places apart.
    let requests = scene.radius.requests().unwrap();
    assert_eq!(requests.len(), 16, "{requests:#?}");
    let mut sessions = std::collections::BTreeSet::new();
    for request in &requests {
        for (name, value) in [
            ("Service-Type", "Framed-User"),
            ("Framed-Protocol", "PPP"),
            ("NAS-Port-Type", "Virtual"),
            ("Called-Station-Id", "192.0.2.1"),
            ("Tunnel-Type:0", "PPTP"),
            ("Tunnel-Medium-Type:0", "IPv4"),
            ("Tunnel-Server-Endpoint:0", "192.0.2.1"),
        ] {
            assert_eq!(request.get(name), Some(value), "{request:#?}");
        }
        for name in ["NAS-IP-Address", "NAS-Identifier", "NAS-Port", "Message-Authenticator"] {
            request.text(name).unwrap();
        }
        let caller = request.text("Calling-Station-Id").unwrap();
        assert!((1..=5).any(|number| caller == address_of(number).to_string()), "{caller}");
        assert_eq!(request.get("Tunnel-Client-Endpoint:0"), Some(caller));
        sessions.insert(request.text("Acct-Session-Id").unwrap());
    }
    assert_eq!(sessions.len(), 16, "each login has an identifier of its own");
}

#[test]
fn keys_of_radius_encrypt_both_ways_and_no_inner_byte_crosses_in_the_clear() {
    let scene = Scene::new(USERS, ALL_METHODS).unwrap();
    let capture = Capture::start(&scene.network.internet, "concentrator").unwrap();
    let subscriber = scene.network.subscriber(1).unwrap();
    for (user, password, method) in [
        ("alice", "secret123", "mschap1"),
        ("alice", "secret123", "mschap2"),
        ("Анна", "пароль 日本", "mschap2"),
        // RFC 2759 §8: the hash is made of the name without its domain; RADIUS gets all of it.
        ("WORK\\bob", "hunter2", "mschap2"),
    ] {
        let client = scene.dial(&subscriber, user, password, &["--allow", method]).unwrap();
        let sizes = [1, 100, 1000, 1400];
        let exchanged = subscriber.run(|| traffic::udp_exchange(ECHO, sizes, 3)).unwrap();
        assert_eq!(exchanged.returned, 4, "{user} by {method}\n{}", scene.logs());
        let sessions = scene.server.sessions().unwrap();
        assert_eq!(sessions[0].encoding, "MPPE128 stateless", "{user} by {method}");
        client.hang_up().unwrap();
        lab::wait::until("the session's end", std::time::Duration::from_secs(10), || {
            Ok(scene.server.sessions()?.is_empty().then_some(()))
        })
        .unwrap();
    }
    let trace = capture.finish().unwrap();
    for size in [100, 1000, 1400] {
        let inner = traffic::payload(size, 100);
        assert_eq!(trace.holding(&inner[20..36]), 0, "inner bytes crossed in the clear");
    }
    let names = scene.radius.requests().unwrap();
    assert_eq!(names[3].get("User-Name"), Some("WORK\\bob"));
    // Methods without keys are not offered where data must be encrypted.
    for method in ["pap", "chap"] {
        let options = ["--allow", method, "--encryption", "deny"];
        assert_ne!(scene.refused(&subscriber, "alice", "secret123", &options).unwrap(), Some(0));
    }
    assert_eq!(scene.radius.requests().unwrap().len(), 4, "RADIUS was not asked about those");
}

/// What `[[radius]]` says where answers without Message-Authenticator are taken.
const LENIENT: &str = "require-message-authenticator = false";

#[test]
fn answers_without_message_authenticator_are_refused_unless_the_operator_takes_them() {
    let mut without = Settings::new(FIRST, USERS);
    without.message_authenticator = false;
    for (keys, enters) in [("", false), (LENIENT, true)] {
        let settings = format!(
            "{}{}",
            aaa(""),
            section(SECOND, &format!("{keys}\ntimeout = \"1s\"\ntries = 1"))
        );
        let scene = Scene::with(&without, &[], &settings).unwrap();
        // Later versions of FreeRADIUS always put one in: it is taken out on the way.
        let strip = |request: &[u8], answer: &[u8]| packet::unsigned(answer, request, SECRET);
        let ports = [1812, 1813].map(|port| {
            let (at, to) = ((SECOND, port), (FIRST, port));
            let at = std::net::SocketAddrV4::new(at.0, at.1);
            let to = std::net::SocketAddrV4::new(to.0, to.1);
            Relay::start(&scene.network.core, at, to, relay::altered(strip)).unwrap()
        });
        let subscriber = scene.network.subscriber(1).unwrap();
        if enters {
            let client = scene.dial(&subscriber, "alice", "secret123", &[]).unwrap();
            client.hang_up().unwrap();
            assert_ne!(scene.refused(&subscriber, "alice", "wrong", &[]).unwrap(), Some(0));
        } else {
            assert_ne!(scene.refused(&subscriber, "alice", "secret123", &[]).unwrap(), Some(0));
        }
        // Either way the operator is told, and what to do about it.
        scene.await_log(&["Message-Authenticator", "203.0.113.3"]).unwrap();
        assert!(ports[0].requests() > 0);
    }
}
