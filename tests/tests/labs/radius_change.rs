//! Orders of RADIUS to sessions that are up (RFC 5176): changes, ends, and refusals of what cannot
//! be or comes from somebody else.

use std::net::SocketAddrV4;
use std::time::Duration;

use lab::netns::Namespace;
use lab::network::SERVER;
use lab::radius::scene::{ECHO, ORDERS, Scene};
use lab::radius::{Record, SECRET, radclient};
use lab::traffic;

const SOON: Duration = Duration::from_secs(20);
const INCOMING: &str = "[radius-incoming]\naccept = true\n";

const SLOW: &str = "Mikrotik-Rate-Limit=\"128k/128k\"";

const USERS: &str = "alice Cleartext-Password := \"secret123\"\n\
    ours Cleartext-Password := \"secret123\"\n";

fn of(records: &[Record], user: &str, status: &str) -> Option<Record> {
    let found =
        |record: &&Record| record.get("User-Name") == Some(user) && record.status() == status;
    records.iter().find(found).cloned()
}

fn order(scene: &Scene, kind: &str, attributes: &str) -> lab::radius::Answer {
    radclient(&scene.network.core, ORDERS, kind, SECRET, attributes).unwrap()
}

#[test]
fn a_coa_request_changes_the_rate_of_a_live_session_alone() {
    let scene = Scene::new(USERS, INCOMING).unwrap();
    let [one, two] = [1, 2].map(|number| scene.network.subscriber(number).unwrap());
    let alice = scene.dial(&one, "alice", "secret123", &[]).unwrap();
    let ours = scene.dial(&two, "ours", "secret123", &[]).unwrap();
    let start = scene.radius.await_accounting("a start", |all| of(all, "alice", "Start")).unwrap();
    let id = start.text("Acct-Session-Id").unwrap();
    traffic_passes(&one);
    traffic_passes(&two);
    let before = one.run(|| traffic::burst(ECHO)).unwrap();
    assert!(before >= 150, "{before} of 200");

    let answer = order(&scene, "coa", &format!("Acct-Session-Id=\"{id}\"\n{SLOW}"));
    assert_eq!(answer.code, "CoA-ACK", "{}\n{}", answer.output, scene.logs());
    // 128 kbit/s are 16 of these datagrams a second.
    let limited = one.run(|| traffic::burst(ECHO)).unwrap();
    assert!(limited < 100, "{limited} of 200 after the limit, {before} before");
    assert!(two.run(|| traffic::burst(ECHO)).unwrap() >= 150, "the other session has no limit");

    let unlimited = format!("Acct-Session-Id=\"{id}\"\nMikrotik-Rate-Limit=\"0/0\"");
    assert_eq!(order(&scene, "coa", &unlimited).code, "CoA-ACK", "{}", scene.logs());
    let after = one.run(|| traffic::burst(ECHO)).unwrap();
    assert!(after >= 150, "{after} of 200 when the limit is taken away");
    alice.hang_up().unwrap();
    ours.hang_up().unwrap();
}

#[test]
fn orders_end_sessions_and_what_cannot_be_or_comes_from_others_changes_nothing() {
    let scene = Scene::new(USERS, INCOMING).unwrap();
    let [one, two] = [1, 2].map(|number| scene.network.subscriber(number).unwrap());
    let mut alice = scene.dial(&one, "alice", "secret123", &[]).unwrap();
    let mut ours = scene.dial(&two, "ours", "secret123", &[]).unwrap();
    let start = scene.radius.await_accounting("a start", |all| of(all, "alice", "Start")).unwrap();
    let id = start.text("Acct-Session-Id").unwrap();

    // RFC 5176 §3: what names no session of ours, contradicts itself or cannot be done is refused,
    // and all of it (§3.5).
    for (attributes, cause) in [
        (format!("User-Name=\"nobody\"\n{SLOW}"), "Session-Context-Not-Found"),
        (
            format!("User-Name=\"ours\"\nAcct-Session-Id=\"{id}\"\n{SLOW}"),
            "Session-Context-Not-Found",
        ),
        (
            format!("NAS-Identifier=\"another\"\nUser-Name=\"ours\"\n{SLOW}"),
            "NAS-Identification-Mismatch",
        ),
        (
            "User-Name=\"ours\"\nSession-Timeout=1\nMikrotik-Rate-Limit=\"fast\"".to_owned(),
            "Invalid-Attribute-Value",
        ),
    ] {
        let answer = order(&scene, "coa", &attributes);
        assert_eq!(answer.code, "CoA-NAK", "{attributes}: {}", answer.output);
        let said = format!("Error-Cause = {cause}");
        assert!(answer.output.contains(&said), "{attributes}: {}", answer.output);
    }
    // §3.5, §6.3: silence for who does not know the secret, is no server of ours, or sends again
    // what was captured long ago.
    let disconnect = "User-Name=\"ours\"";
    let long_ago = format!("{disconnect}\nEvent-Timestamp=\"Jan  1 2020 00:00:00 UTC\"");
    let outside = SocketAddrV4::new(SERVER, ORDERS.port());
    for (from, to, secret, attributes) in [
        (&scene.network.core, ORDERS, "guessed", disconnect),
        (&two, outside, SECRET, disconnect),
        (&scene.network.core, ORDERS, SECRET, &long_ago),
    ] {
        let answer = radclient(from, to, "disconnect", secret, attributes).unwrap();
        assert_eq!(answer.code, "", "{attributes}: {}", answer.output);
    }
    assert_eq!(scene.server.sessions().unwrap().len(), 2, "{}", scene.logs());

    let answer = order(&scene, "disconnect", "User-Name=\"alice\"");
    assert_eq!(answer.code, "Disconnect-ACK", "{}\n{}", answer.output, scene.logs());
    alice.process().wait_exit(SOON).unwrap();
    let stop = scene.radius.await_accounting("a stop", |all| of(all, "alice", "Stop")).unwrap();
    assert_eq!(stop.get("Acct-Terminate-Cause"), Some("Admin-Reset"), "{stop:#?}");
    let answer = order(&scene, "disconnect", "User-Name=\"alice\"");
    assert_eq!(answer.code, "Disconnect-NAK", "{}", answer.output);
    assert!(answer.output.contains("Session-Context-Not-Found"), "{}", answer.output);

    // A time that RADIUS sets on a session that is up runs from its beginning.
    let answer = order(&scene, "coa", "User-Name=\"ours\"\nSession-Timeout=2");
    assert_eq!(answer.code, "CoA-ACK", "{}", answer.output);
    ours.process().wait_exit(SOON).unwrap();
    let stop = scene.radius.await_accounting("a stop", |all| of(all, "ours", "Stop")).unwrap();
    assert_eq!(stop.get("Acct-Terminate-Cause"), Some("Session-Timeout"), "{stop:#?}");
}

/// The first packet may be lost with every server.
fn traffic_passes(subscriber: &Namespace) {
    subscriber.run(|| traffic::udp_exchange(ECHO, [100], 5)).unwrap();
}
