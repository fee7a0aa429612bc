//! Answers that no RADIUS server of ours gave, or not to this request, let nobody in; the next
//! honest answer does.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use lab::caller::Caller;
use lab::network::SERVER;
use lab::radius::relay::{self, Relay};
use lab::radius::scene::{FIRST, SECOND, Scene, aaa, section};
use lab::radius::{SECRET, Settings, packet};

const AUTHENTICATION: u16 = 1812;
const USER_NAME: u8 = 1;
const MICROSOFT: [u8; 4] = [0, 0, 1, 55];
/// MS-CHAP2-Success, RFC 2548 §2.3.3.
const CHAP2_SUCCESS: u8 = 26;
/// MS-MPPE-Send-Key and MS-MPPE-Recv-Key, RFC 2548 §2.4.
const KEYS: [u8; 2] = [16, 17];

type Alter = fn(&[u8], &[u8]) -> Option<Vec<u8>>;

/// Whether an attribute is Microsoft's of this type.
fn is_microsoft(attribute: &[u8], kind: u8) -> bool {
    attribute[0] == packet::VENDOR_SPECIFIC
        && attribute.get(2..6) == Some(&MICROSOFT)
        && attribute.get(6) == Some(&kind)
}

/// The answer with what `change` makes of Microsoft's attribute of this type, signed rightly.
fn with_microsoft(
    request: &[u8],
    answer: &[u8],
    kind: u8,
    change: impl Fn(&mut Vec<u8>),
) -> Option<Vec<u8>> {
    packet::altered(answer, request, SECRET, |attributes| {
        for attribute in attributes.iter_mut().filter(|one| is_microsoft(one, kind)) {
            change(attribute);
            let length = u8::try_from(attribute.len()).unwrap();
            if length > 0 {
                attribute[1] = length;
                attribute[7] = length - 6;
            }
        }
    })
}

fn with_octet(answer: &[u8], at: usize, change: impl Fn(u8) -> u8) -> Option<Vec<u8>> {
    let mut spoiled = answer.to_vec();
    *spoiled.get_mut(at)? = change(spoiled[at]);
    Some(spoiled)
}

/// What happens to the answer about the user of that name.
const FORGERIES: [(&str, Alter); 15] = [
    ("response-authenticator", |_, answer| with_octet(answer, 4, |octet| octet ^ 1)),
    ("identifier", |_, answer| with_octet(answer, 1, |octet| octet.wrapping_add(1))),
    ("code", |_, answer| with_octet(answer, 0, |_| 5)),
    ("other-secret", |request, answer| {
        packet::answer(answer[0], request, &packet::attributes(answer), "guessed")
    }),
    // RFC 3579 §3.2 and CVE-2024-3596.
    ("no-message-authenticator", |request, answer| packet::unsigned(answer, request, SECRET)),
    ("message-authenticator", |request, answer| {
        let mark = [packet::MESSAGE_AUTHENTICATOR, 18];
        let at = answer.windows(2).position(|pair| pair == mark)?;
        packet::authenticated(&with_octet(answer, at + 2, |octet| octet ^ 1)?, request, SECRET)
    }),
    ("cut-short", |_, answer| answer.get(..answer.len() - 3).map(<[u8]>::to_vec)),
    ("header-alone", |_, answer| answer.get(..19).map(<[u8]>::to_vec)),
    ("attribute-too-long", |request, answer| {
        packet::altered(answer, request, SECRET, |attributes| attributes.push(vec![18, 200, 1]))
    }),
    ("attribute-of-no-length", |request, answer| {
        packet::altered(answer, request, SECRET, |attributes| attributes.push(vec![18, 0]))
    }),
    ("empty", |_, _| Some(Vec::new())),
    ("no-proof", |request, answer| with_microsoft(request, answer, CHAP2_SUCCESS, Vec::clear)),
    ("short-proof", |request, answer| {
        with_microsoft(request, answer, CHAP2_SUCCESS, |attribute| attribute.truncate(20))
    }),
    ("proof-of-another", |request, answer| {
        with_microsoft(request, answer, CHAP2_SUCCESS, |attribute| attribute[8] ^= 1)
    }),
    ("no-keys", |request, answer| {
        packet::altered(answer, request, SECRET, |attributes| {
            attributes.retain(|one| !KEYS.iter().any(|kind| is_microsoft(one, *kind)));
        })
    }),
];

#[test]
fn forged_and_malformed_answers_let_nobody_in_and_an_honest_one_does() {
    let users: String = FORGERIES
        .iter()
        .map(|(name, _)| *name)
        .chain(["honest", "replayed"])
        .map(|name| format!("{name} Cleartext-Password := \"secret\"\n"))
        .collect();
    let server = section(SECOND, "timeout = \"1s\"\ntries = 1\naccounting-port = 0");
    let settings = format!("{}{server}", aaa(""));
    let scene = Scene::with(&Settings::new(FIRST, &users), &[], &settings).unwrap();
    let at = |address: Ipv4Addr| SocketAddrV4::new(address, AUTHENTICATION);
    let mut honest = None;
    let fate = relay::altered(move |request, answer| {
        let name = packet::value(request, USER_NAME)?;
        match FORGERIES.iter().find(|(forgery, _)| forgery.as_bytes() == name) {
            Some((_, alter)) => alter(request, answer),
            None if name == b"honest" => {
                honest = Some(answer.to_vec());
                Some(answer.to_vec())
            }
            // The answer to an earlier login, under this one's identifier.
            None => with_octet(honest.as_ref()?, 1, |_| request[1]),
        }
    });
    let _relay = Relay::start(&scene.network.core, at(SECOND), at(FIRST), fate).unwrap();
    let subscriber = scene.network.subscriber(1).unwrap();
    let log_in = |call_id: u16, name: &str| {
        let mut caller = Caller::connect(&subscriber, SERVER).unwrap();
        caller.start().unwrap();
        caller.call(call_id).unwrap();
        let up = caller.log_in(name, "secret", None, Duration::from_secs(15)).unwrap();
        (up, caller)
    };
    let (up, honest) = log_in(1, "honest");
    assert!(up, "{}", scene.logs());
    std::thread::scope(|scope| {
        let names = FORGERIES.iter().map(|(name, _)| *name).chain(["replayed"]);
        let logins: Vec<_> = (2..)
            .zip(names)
            .map(|(call_id, name)| (name, scope.spawn(move || log_in(call_id, name).0)))
            .collect();
        for (name, login) in logins {
            assert!(!login.join().unwrap(), "{name} got in\n{}", scene.logs());
        }
    });
    for (name, _) in FORGERIES {
        scene.await_log(&["login failed", name]).unwrap();
    }
    assert_eq!(scene.server.sessions().unwrap().len(), 1, "the honest one is still in");
    drop(honest);
    scene.await_gone("honest").unwrap();
    assert!(log_in(100, "honest").0, "{}", scene.logs());
}

#[test]
fn answers_that_come_late_or_twice_are_no_answers_to_the_next_request() {
    let users = "slow Cleartext-Password := \"secret\"\nquick Cleartext-Password := \"secret\"\n";
    let server = section(SECOND, "timeout = \"1s\"\ntries = 1\naccounting-port = 0");
    let settings = format!("{}{server}", aaa(""));
    let scene = Scene::with(&Settings::new(FIRST, users), &[], &settings).unwrap();
    let at = |address: Ipv4Addr| SocketAddrV4::new(address, AUTHENTICATION);
    let fate: relay::Fate = Box::new(|request, answer| {
        let slow = packet::value(request, USER_NAME).is_some_and(|name| name == b"slow");
        let first = if slow { Duration::from_secs(4) } else { Duration::ZERO };
        // Each comes three times.
        (0..3).map(|n| (first + Duration::from_millis(50 * n), answer.to_vec())).collect()
    });
    let _relay = Relay::start(&scene.network.core, at(SECOND), at(FIRST), fate).unwrap();
    let subscriber = scene.network.subscriber(1).unwrap();
    assert_ne!(scene.refused(&subscriber, "slow", "secret", &[]).unwrap(), Some(0));
    for _ in 0..3 {
        let client = scene.dial(&subscriber, "quick", "secret", &[]).unwrap();
        client.hang_up().unwrap();
        scene.await_gone("quick").unwrap();
    }
}

#[test]
fn a_flood_of_garbage_before_the_honest_answer_does_not_hide_it() {
    let server = section(SECOND, "timeout = \"5s\"\ntries = 1\naccounting-port = 0");
    let settings = format!("{}{server}", aaa(""));
    let users = "alice Cleartext-Password := \"secret\"\n";
    let scene = Scene::with(&Settings::new(FIRST, users), &[], &settings).unwrap();
    let at = |address: Ipv4Addr| SocketAddrV4::new(address, AUTHENTICATION);
    let fate: relay::Fate = Box::new(|request, answer| {
        let garbage = (0..2000_u64).map(|seed| {
            let length = usize::try_from(seed).unwrap() % 300;
            let mut octets = lab::traffic::payload(seed, length);
            // Every other one looks like an Access-Accept to this request.
            if seed % 2 == 0 && length >= 20 {
                octets[..2].copy_from_slice(&[packet::ACCESS_ACCEPT, request[1]]);
                octets[2..4].copy_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
            }
            (Duration::ZERO, octets)
        });
        garbage.chain([(Duration::from_millis(300), answer.to_vec())]).collect()
    });
    let _relay = Relay::start(&scene.network.core, at(SECOND), at(FIRST), fate).unwrap();
    let subscriber = scene.network.subscriber(1).unwrap();
    let before = scene.server.footprint().unwrap();
    for _ in 0..3 {
        scene.dial(&subscriber, "alice", "secret", &[]).unwrap().hang_up().unwrap();
        scene.await_gone("alice").unwrap();
    }
    let after = scene.server.footprint().unwrap();
    assert!(after.resident < before.resident + 8192, "{before:?} {after:?}");
    let log = scene.server.log();
    assert!(log.lines().count() < 200, "the flood fills the log:\n{log}");
}
