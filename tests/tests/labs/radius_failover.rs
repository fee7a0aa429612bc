//! RADIUS servers that stop, fall silent and come back: subscribers get in by those that live.

use std::time::Duration;

use lab::client::Client;
use lab::network::SERVER;
use lab::radius::scene::{FIRST, SECOND, Scene, aaa, section};
use lab::radius::{FreeRadius, Settings};
use lab::wait;

const USERS: &str = "alice Cleartext-Password := \"secret123\"\n\
    bob Cleartext-Password := \"hunter2\"\ncarol Cleartext-Password := \"12345\"\n";

fn scene(dead_time: &str) -> (Scene, FreeRadius) {
    let quick = format!("timeout = \"1s\"\ntries = 1\ndead-time = \"{dead_time}\"");
    let settings = format!("{}{}{}", aaa(""), section(FIRST, &quick), section(SECOND, &quick));
    let scene = Scene::with(&Settings::new(FIRST, USERS), &[], &settings).unwrap();
    let second = FreeRadius::start(&scene.network.core, &Settings::new(SECOND, USERS)).unwrap();
    (scene, second)
}

fn users(records: &[lab::radius::Record]) -> Vec<&str> {
    records.iter().filter_map(|record| record.get("User-Name")).collect()
}

#[test]
fn when_the_first_server_stops_the_second_judges_and_keeps_accounts_until_it_is_back() {
    let (mut scene, second) = scene("3s");
    let [one, two, three] = [1, 2, 3].map(|number| scene.network.subscriber(number).unwrap());
    let alice = scene.dial(&one, "alice", "secret123", &[]).unwrap();
    scene.radius.await_accounting("alice's start", |records| records.first().cloned()).unwrap();
    assert!(second.requests().unwrap().is_empty(), "the first in order is the one that is asked");

    scene.radius.stop().unwrap();
    let bob = scene.dial(&two, "bob", "hunter2", &[]).unwrap();
    assert_eq!(users(&second.requests().unwrap()), ["bob"]);
    alice.hang_up().unwrap();
    second
        .await_accounting("alice's stop at the second server", |records| {
            let stop = |record: &&lab::radius::Record| {
                record.get("User-Name") == Some("alice") && record.status() == "Stop"
            };
            records.iter().find(stop).map(drop)
        })
        .unwrap();
    drop(bob);

    scene.radius.start_again(&scene.network.core).unwrap();
    // It is left alone for its dead time, and then asked again.
    wait::until("a request to the first server", Duration::from_secs(20), || {
        scene.dial(&three, "carol", "12345", &[])?.hang_up()?;
        scene.await_gone("carol")?;
        Ok(users(&scene.radius.requests()?).contains(&"carol").then_some(()))
    })
    .unwrap();
}

#[test]
fn a_server_that_falls_silent_costs_one_login_its_timeouts_and_the_next_ones_nothing() {
    // It stays dead for longer than the test takes.
    let (scene, second) = scene("60s");
    let subscriber = scene.network.subscriber(1).unwrap();
    scene.radius.freeze().unwrap();
    scene.dial(&subscriber, "alice", "secret123", &[]).unwrap().hang_up().unwrap();
    scene.await_gone("alice").unwrap();
    assert_eq!(users(&second.requests().unwrap()), ["alice"]);
    scene.await_log(&["RADIUS", "203.0.113.2"]).unwrap();

    scene.dial(&subscriber, "bob", "hunter2", &[]).unwrap().hang_up().unwrap();
    assert_eq!(users(&second.requests().unwrap()), ["alice", "bob"]);
    // It reads now what was sent to it meanwhile, in its order: nobody asked it about bob.
    scene.radius.thaw().unwrap();
    wait::until("the request that waited", Duration::from_secs(20), || {
        Ok((!scene.radius.requests()?.is_empty()).then_some(()))
    })
    .unwrap();
    assert_eq!(users(&scene.radius.requests().unwrap()), ["alice"]);
}

#[test]
fn while_no_server_answers_nobody_gets_in_and_nobody_is_locked_out_for_it() {
    let (mut scene, mut second) = scene("3s");
    scene.radius.stop().unwrap();
    second.stop().unwrap();
    let subscriber = scene.network.subscriber(1).unwrap();
    // More than the failures that lock an address out.
    let mut clients: Vec<_> =
        (0..8).map(|_| Client::dial(&subscriber, SERVER, "alice", "secret123").unwrap()).collect();
    for client in &mut clients {
        let status = client.process().wait_exit(Duration::from_secs(40)).unwrap();
        assert_ne!(status.code(), Some(0));
    }
    scene.await_log(&["login failed", "alice", "RADIUS"]).unwrap();
    let locked = scene.server.command(&["lockout", "list"]).unwrap();
    assert!(!locked.contains("198.18.1.2") && !locked.contains("alice"), "{locked}");

    scene.radius.start_again(&scene.network.core).unwrap();
    wait::until("a login after the outage", Duration::from_secs(30), || {
        let mut client = Client::dial(&subscriber, SERVER, "alice", "secret123")?;
        Ok(client.wait_up().is_ok().then_some(()))
    })
    .unwrap();
}
