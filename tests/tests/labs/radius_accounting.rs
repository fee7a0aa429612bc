//! Accounts that a real FreeRADIUS receives: totals to the byte, and exactly one Start and one
//! Stop for each session, whatever dies in between.

use std::collections::BTreeMap;
use std::time::Duration;

use lab::caller::Caller;
use lab::impair::SplitMix;
use lab::netns::Namespace;
use lab::network::SERVER;
use lab::radius::scene::{ECHO, FIRST, Scene, section};
use lab::radius::{Record, Settings};
use lab::{traffic, wait};

const SOON: Duration = Duration::from_secs(30);
/// IPv4 and UDP headers, which are octets of the inner packet too.
const HEADERS: u64 = 28;

/// Users of our own, of whom RADIUS keeps the accounts.
const LOCAL: [(&str, &str); 4] =
    [("alice", "secret123"), ("bob", "hunter2"), ("carol", "12345"), ("dave", "swordfish")];

/// A daemon that judges by itself and tells RADIUS.
fn scene() -> Scene {
    let server =
        section(FIRST, "authentication-port = 0\ntimeout = \"2s\"\ntries = 3\ndead-time = \"1s\"");
    Scene::with(&Settings::new(FIRST, ""), &LOCAL, &server).unwrap()
}

fn of<'a>(records: &'a [Record], user: &str, status: &str) -> Option<&'a Record> {
    records.iter().find(|record| record.get("User-Name") == Some(user) && record.status() == status)
}

#[test]
fn totals_are_what_was_sent_to_the_byte_and_the_packet() {
    let users = "alice Cleartext-Password := \"secret123\"\n\tAcct-Interim-Interval = 60\n";
    let scene = Scene::new(users, "").unwrap();
    let subscriber = scene.network.subscriber(1).unwrap();
    let client = scene.dial(&subscriber, "alice", "secret123", &[]).unwrap();
    let sizes = || (1..1400).step_by(13).chain(std::iter::repeat_n(1400, 100));
    // What is sent and what comes back is counted by the kernel of the subscriber: what is lost
    // on the way is sent again.
    let exchanged = subscriber.run(|| traffic::udp_exchange(ECHO, sizes(), 0)).unwrap();
    assert!(exchanged.whole(), "{exchanged:?}");
    let packets = sizes().count() as u64;
    let octets: u64 = sizes().map(|size| size as u64 + HEADERS).sum();
    client.hang_up().unwrap();

    let records = scene
        .radius
        .await_accounting("the stop", |all| of(all, "alice", "Stop").map(|_| all.to_vec()))
        .unwrap();
    let stop = of(&records, "alice", "Stop").unwrap();
    // RFC 2866 §5.3: input is what came from the subscriber.
    for direction in ["Input", "Output"] {
        assert_eq!(stop.octets(direction).unwrap(), octets, "{direction}: {stop:#?}");
        assert_eq!(stop.number(&format!("Acct-{direction}-Packets")).unwrap(), packets);
    }
    let start = of(&records, "alice", "Start").unwrap();
    assert_eq!(start.octets("Input").unwrap() + start.octets("Output").unwrap(), 0);
    let login = &scene.radius.requests().unwrap()[0];
    for name in
        ["Acct-Session-Id", "NAS-Port", "NAS-IP-Address", "NAS-Identifier", "Calling-Station-Id"]
    {
        assert!(login.text(name).is_ok(), "{login:#?}");
        assert_eq!(start.get(name), login.get(name), "{name}");
        assert_eq!(stop.get(name), login.get(name), "{name}");
    }
    assert!(stop.number("Event-Timestamp").is_err(), "a date, as FreeRADIUS prints it: {stop:#?}");
    assert_eq!(records[0].status(), "Accounting-On", "{records:#?}");

    let Scene { server, radius, network: _network, .. } = scene;
    server.stop().unwrap();
    radius
        .await_accounting("Accounting-Off", |all| {
            (all.last()?.status() == "Accounting-Off").then_some(())
        })
        .unwrap();
}

/// Judges what FreeRADIUS got: each session once begun and once ended, its end not before its
/// beginning. Gives how many there were.
fn each_session_began_once_and_ended_once(records: &[Record]) -> usize {
    let mut seen: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
    for record in records.iter().filter(|record| !record.status().starts_with("Accounting-")) {
        seen.entry(record.text("Acct-Session-Id").unwrap()).or_default().push(record);
    }
    for (id, records) in &seen {
        let told: Vec<_> = records.iter().map(|record| record.status()).collect();
        assert_eq!(told, ["Start", "Stop"], "{id}: {records:#?}");
    }
    seen.len()
}

fn stops(records: &[Record]) -> usize {
    records.iter().filter(|record| record.status() == "Stop").count()
}

/// A call of this user that is up.
fn call(subscriber: &Namespace, call_id: u16, user: usize) -> Option<Caller> {
    let (user, password) = LOCAL[user];
    let mut caller = Caller::connect(subscriber, SERVER).ok()?;
    caller.start().ok()?;
    caller.call(call_id).ok()?;
    caller.log_in(user, password, None, Duration::from_secs(10)).ok()?.then_some(caller)
}

#[test]
fn an_outage_of_radius_loses_no_account_and_keeps_nobody_out() {
    let mut scene = scene();
    let subscriber = scene.network.subscriber(1).unwrap();
    let before = call(&subscriber, 1, 0).unwrap();
    scene.radius.await_accounting("a start", |all| of(all, "alice", "Start").map(drop)).unwrap();
    scene.radius.stop().unwrap();
    // One that began before it and ends in it, one that lives in it, one that begins in it.
    drop(before);
    scene.await_gone("alice").unwrap();
    drop(call(&subscriber, 2, 1).unwrap());
    scene.await_gone("bob").unwrap();
    let after = call(&subscriber, 3, 2).unwrap();
    scene.radius.start_again(&scene.network.core).unwrap();
    scene
        .radius
        .await_accounting("what waited", |all| {
            (stops(all) == 2 && of(all, "carol", "Start").is_some()).then_some(())
        })
        .unwrap();
    drop(after);
    let records = scene
        .radius
        .await_accounting("the last stop", |all| (stops(all) == 3).then(|| all.to_vec()))
        .unwrap();
    assert_eq!(each_session_began_once_and_ended_once(&records), 3);
    // RFC 2866 §5.2, RFC 2869 §5.3: when it happened, not when it was told.
    let delayed = of(&records, "bob", "Start").unwrap();
    assert!(delayed.get("Event-Timestamp").is_some(), "{delayed:#?}");
}

/// How many accounts are on the disk and not answered, once all that was said is there.
fn await_queued(scene: &Scene, what: &str, judge: impl Fn(u64) -> bool) -> u64 {
    let found = wait::until(what, SOON, || {
        let queue = scene.server.stats()?.accounting.unwrap_or_default();
        Ok((queue.unwritten == 0 && judge(queue.queued)).then_some(queue.queued))
    });
    found.unwrap_or_else(|error| panic!("{error}\n{}", scene.logs()))
}

#[test]
fn killed_at_random_points_with_radius_down_each_session_has_one_start_and_one_stop() {
    let mut scene = scene();
    let subscriber = scene.network.subscriber(1).unwrap();
    let mut random = SplitMix(20_261_121);
    let mut call_id = 0;
    await_queued(&scene, "an empty queue", |queued| queued == 0);
    scene.radius.stop().unwrap();
    for round in 0..5 {
        if round == 2 {
            // What the first rounds left waits for nothing else, and nothing of it comes again.
            scene.radius.start_again(&scene.network.core).unwrap();
            await_queued(&scene, "an empty queue", |queued| queued == 0);
            scene.radius.stop().unwrap();
        }
        let before = await_queued(&scene, "the word that the daemon serves", |_| true);
        let mut up = Vec::new();
        for user in 0..LOCAL.len() {
            call_id += 1;
            up.push(call(&subscriber, call_id, user).unwrap_or_else(|| panic!("{}", scene.logs())));
            // Some end in good order, at once.
            if random.draw().is_multiple_of(3) {
                up.pop();
            }
        }
        // In two rounds all beginnings are on the disk, in the others the kill may come before.
        if round % 2 == 1 {
            let all = before + LOCAL.len() as u64;
            await_queued(&scene, "the starts on the disk", |queued| queued >= all);
        }
        // The kill falls somewhere into what all that has set going.
        std::thread::sleep(Duration::from_millis(random.draw() % 400));
        scene.server.kill_and_restart(&scene.network.concentrator).unwrap();
        drop(up);
    }
    scene.radius.start_again(&scene.network.core).unwrap();
    await_queued(&scene, "an empty queue", |queued| queued == 0);
    let records = scene.radius.accounting().unwrap();
    let sessions = each_session_began_once_and_ended_once(&records);
    // Of those two rounds none is missing, but for one in whose place the daemon's own word was
    // counted.
    assert!((2 * LOCAL.len() - 1..=5 * LOCAL.len()).contains(&sessions), "{sessions} sessions");
    // Those that the kill ended say so (RFC 2866 §5.10).
    let rebooted = |record: &&Record| record.get("Acct-Terminate-Cause") == Some("NAS-Reboot");
    assert!(records.iter().filter(rebooted).count() >= 2, "{records:#?}");
}
