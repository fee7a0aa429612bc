//! The accounting queue's disk full, its file damaged, and answers about it that nobody gave:
//! subscribers notice nothing, and no account is taken for delivered that was not.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use lab::disk::Disk;
use lab::netns::Namespace;
use lab::radius::relay::{self, Relay};
use lab::radius::scene::{ECHO, FIRST, SECOND, Scene, section};
use lab::radius::{Record, SECRET, Settings, packet};
use lab::server::{Driver, Server};
use lab::traffic;

const LOCAL: [(&str, &str); 2] = [("alice", "secret123"), ("bob", "hunter2")];

/// A daemon whose databases lie in a directory and that tells the server at `to` of sessions.
fn scene(directory: &Path, to: Ipv4Addr) -> Scene {
    let server =
        section(to, "authentication-port = 0\ntimeout = \"1s\"\ntries = 1\ndead-time = \"1s\"");
    let settings = format!("database = \"{}/penstock.db\"\n{server}", directory.display());
    Scene::with(&Settings::new(FIRST, ""), &LOCAL, &settings).unwrap()
}

fn count(records: &[Record], user: &str, status: &str) -> usize {
    let of = |record: &&Record| record.get("User-Name") == Some(user) && record.status() == status;
    records.iter().filter(of).count()
}

#[test]
fn a_full_disk_keeps_nobody_out_and_costs_no_account_of_a_daemon_that_lives() {
    let disk = Disk::new(4096).unwrap();
    let scene = scene(disk.path(), FIRST);
    let [one, two] = [1, 2].map(|number| scene.network.subscriber(number).unwrap());
    let alice = scene.dial(&one, "alice", "secret123", &[]).unwrap();
    scene
        .radius
        .await_accounting("a start", |all| (count(all, "alice", "Start") == 1).then_some(()))
        .unwrap();

    let filling = disk.fill().unwrap();
    let bob = scene.dial(&two, "bob", "hunter2", &[]).unwrap();
    let exchanged = two.run(|| traffic::udp_exchange(ECHO, [100, 1000], 3)).unwrap();
    assert_eq!(exchanged.returned, 2);
    alice.hang_up().unwrap();
    scene.await_gone("alice").unwrap();
    scene.await_log(&["ERROR", "accounting", "full"]).unwrap();
    std::fs::remove_file(filling).unwrap();
    bob.hang_up().unwrap();
    scene
        .radius
        .await_accounting("what was held back", |all| {
            let told = |user| count(all, user, "Start") == 1 && count(all, user, "Stop") == 1;
            (told("alice") && told("bob")).then_some(())
        })
        .unwrap_or_else(|error| panic!("{error:?}\n{}", scene.logs()));
}

#[test]
fn a_queue_that_is_damaged_is_named_and_not_touched() {
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("accounting.db");
    let garbage = traffic::payload(1, 8192);
    std::fs::write(&file, &garbage).unwrap();
    let host = Namespace::new("host").unwrap();
    let server = section(FIRST, "authentication-port = 0");
    let settings = format!("database = \"{}/users.db\"\n{server}", directory.path().display());
    let refused = Server::start(&host, Driver::RawTun, &[], &settings).map(drop).unwrap_err();
    let said = format!("{refused:?}");
    assert!(said.contains("accounting.db is damaged"), "{said}");
    assert_eq!(std::fs::read(&file).unwrap(), garbage);
}

#[test]
fn an_answer_that_no_server_gave_delivers_no_account() {
    let directory = tempfile::TempDir::new().unwrap();
    let scene = scene(directory.path(), SECOND);
    let honest = Arc::new(AtomicBool::new(false));
    let passes = Arc::clone(&honest);
    let fate = relay::altered(move |request, answer| {
        if passes.load(Relaxed) {
            return Some(answer.to_vec());
        }
        // RFC 2866 §3: the authenticator is made with the secret.
        packet::answer(answer[0], request, &[], &format!("not {SECRET}"))
    });
    let at = |address| SocketAddrV4::new(address, 1813);
    let _relay = Relay::start(&scene.network.core, at(SECOND), at(FIRST), fate).unwrap();
    let subscriber = scene.network.subscriber(1).unwrap();
    let client = scene.dial(&subscriber, "alice", "secret123", &[]).unwrap();
    // Forged answers are none, so it is told again.
    let told = |status: &'static str, times: usize| {
        move |all: &[Record]| {
            let found = all.iter().filter(|record| record.status() == status).count();
            (found >= times).then_some(found)
        }
    };
    scene.radius.await_accounting("it again", told("Accounting-On", 2)).unwrap();
    honest.store(true, Relaxed);
    scene.radius.await_accounting("the start", told("Start", 1)).unwrap();
    client.hang_up().unwrap();
    scene.radius.await_accounting("the stop", told("Stop", 1)).unwrap();
    let records = scene.radius.accounting().unwrap();
    assert_eq!((count(&records, "alice", "Start"), count(&records, "alice", "Stop")), (1, 1));
}
