//! Clients that reach PPP and then cheat, stall or flood: each is put out with a reason that says
//! where it stood, and costs nobody else anything.

use std::time::{Duration, Instant};

use lab::caller::Caller;
use lab::netns::Namespace;
use lab::network::SERVER;
use lab::scene::Scene;
use lab::server::Driver;
use protocol::ppp::Protocol;
use protocol::ppp::frame;
use protocol::ppp::packet::{Packet, code};

/// Until the daemon has dealt with something, however slow the machine is.
const SOON: Duration = Duration::from_secs(15);
const ALICE: (&str, &str) = ("alice", "secret123");

fn caller(namespace: &Namespace, call_id: u16) -> Caller {
    let mut caller = Caller::connect(namespace, SERVER).unwrap();
    caller.start().unwrap();
    caller.call(call_id).unwrap();
    caller
}

fn log_in(caller: &mut Caller) {
    assert!(caller.log_in(ALICE.0, ALICE.1, None, SOON).unwrap());
}

/// A frame with a packet of a control protocol, whose length field is right.
fn control(protocol: Protocol, code: u8, identifier: u8, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len() + 4).unwrap().to_be_bytes();
    [&protocol.number().to_be_bytes()[..], &[code, identifier], &length, data].concat()
}

/// The packet in a frame of this protocol.
fn packet_of(frame: &[u8], protocol: Protocol) -> Option<Packet<'_>> {
    let (found, payload) = frame::parse(frame).ok()?;
    (found == protocol).then(|| Packet::parse(payload).ok())?
}

/// What an honest client sends, but for its CCP Configure-Requests, which become `options`.
fn with_ccp_request(frame: &[u8], options: &[u8]) -> Vec<Vec<u8>> {
    match packet_of(frame, Protocol::CCP) {
        Some(packet) if packet.code == code::CONFIGURE_REQUEST => {
            vec![control(Protocol::CCP, packet.code, packet.identifier, options)]
        }
        _ => vec![frame.to_vec()],
    }
}

#[test]
fn a_client_without_mppe_is_put_out_and_the_log_says_what_it_lacks() {
    let scene = Scene::new(Driver::RawTun, "[limits]\nlogin-timeout = \"4s\"\n").unwrap();
    let subscriber = scene.network.subscriber(2).unwrap();

    // It knows no CCP at all: RFC 1661 §5.7.
    let mut without_ccp = caller(&subscriber, 1);
    let up =
        without_ccp.log_in_altered(ALICE.0.as_bytes(), ALICE.1, SOON, |frame| {
            match packet_of(frame, Protocol::CCP) {
                Some(packet) if packet.code == code::CONFIGURE_REQUEST => {
                    let rejected = [0x80, 0xFD, 1, 1, 0, 10, 18, 6, 1, 0, 0, 0x40];
                    vec![control(Protocol::LCP, code::PROTOCOL_REJECT, 77, &rejected)]
                }
                Some(_) => Vec::new(),
                None => vec![frame.to_vec()],
            }
        });
    assert!(!up.unwrap());
    let lacks_mppe = "client offered MS-CHAPv2 without MPPE-128; this server requires it";
    scene.await_log(&["session=2", "login failed", "alice", lacks_mppe]).unwrap();

    // RFC 3078 §2: what it asks for is Naked with what we need, again and again, never Acked.
    let compression_and_56_bit = [18, 6, 1, 0, 0, 0x81];
    let stateful = [18, 6, 0, 0, 0, 0x40];
    let deflate = [26, 4, 0x78, 0];
    for (call_id, options, reason) in [
        (2, &[][..], lacks_mppe),
        (3, &compression_and_56_bit, lacks_mppe),
        (4, &stateful, lacks_mppe),
        // What is no MPPE is Rejected (RFC 1962 §2), and MPPE awaited until the time is over.
        (5, &deflate, "stalled in CCP"),
    ] {
        let mut caller = caller(&subscriber, call_id);
        let alter = |frame: &[u8]| with_ccp_request(frame, options);
        let up = caller.log_in_altered(ALICE.0.as_bytes(), ALICE.1, SOON, alter).unwrap();
        assert!(!up, "up with {options:02x?}");
        let session = format!("session={}", call_id + 1);
        scene.await_log(&["login failed", &session, "alice", reason]).unwrap();
    }
    scene.witness_is_well().unwrap();
}

#[test]
fn a_client_that_takes_what_it_is_told_gets_in_however_it_began() {
    let scene = Scene::new(Driver::RawTun, "").unwrap();
    let subscriber = scene.network.subscriber(2).unwrap();
    let mppc_and_all_strengths = [18, 6, 1, 0, 0, 0xE1];
    for (call_id, options) in (1..).zip([&[][..], &mppc_and_all_strengths]) {
        let mut asked = false;
        let mut caller = caller(&subscriber, call_id);
        let up = caller.log_in_altered(ALICE.0.as_bytes(), ALICE.1, SOON, |frame| {
            if asked {
                return vec![frame.to_vec()];
            }
            asked = packet_of(frame, Protocol::CCP).is_some();
            with_ccp_request(frame, options)
        });
        assert!(up.unwrap(), "after {options:02x?}");
        assert_eq!(scene.server.session_of("alice").unwrap().encoding, "MPPE128 stateless");
        drop(caller);
        scene.await_log(&["session ended", "alice"]).unwrap();
    }

    // IPCP before CCP is kept and answered then: nobody waits for a restart timer of 3 s.
    let mut early = caller(&subscriber, 9);
    let begin = Instant::now();
    let mut sent = false;
    let up = early.log_in_altered(ALICE.0.as_bytes(), ALICE.1, SOON, |frame| {
        let ahead =
            packet_of(frame, Protocol::CCP).is_some() && !std::mem::replace(&mut sent, true);
        let request = control(Protocol::IPCP, code::CONFIGURE_REQUEST, 200, &[3, 6, 0, 0, 0, 0]);
        let mut frames = if ahead { vec![request] } else { Vec::new() };
        frames.push(frame.to_vec());
        frames
    });
    assert!(up.unwrap(), "{:?}", begin.elapsed());
    scene.witness_is_well().unwrap();
}

#[test]
fn the_log_says_where_a_client_stalled() {
    let settings = "log-level = \"debug\"\n\
                    [limits]\nlogin-timeout = \"3s\"\nshutdown-timeout = \"1s\"\n";
    let scene = Scene::new(Driver::RawTun, settings).unwrap();
    let subscriber = scene.network.subscriber(2).unwrap();

    let mut connected = Caller::connect(&subscriber, SERVER).unwrap();
    let mut established = Caller::connect(&subscriber, SERVER).unwrap();
    established.start().unwrap();
    let mut silent = caller(&subscriber, 1);
    for (call_id, withheld, step) in [
        (2, Protocol::LCP, "stalled in LCP"),
        (3, Protocol::CHAP, "stalled in authentication"),
        (4, Protocol::CCP, "stalled in CCP"),
        (5, Protocol::IPCP, "stalled in IPCP"),
    ] {
        let mut caller = caller(&subscriber, call_id);
        let limit = Duration::from_secs(4);
        assert!(!caller.log_in(ALICE.0, ALICE.1, Some(withheld), limit).unwrap());
        // Withheld LCP is silence: even the answers are.
        let step = if withheld == Protocol::LCP { "no answer to LCP" } else { step };
        scene.await_log(&["login failed", step]).unwrap();
        assert!(caller.closes(SOON).unwrap());
    }
    assert!(connected.closes(SOON).unwrap());
    scene.await_log(&["did not establish the control connection in time"]).unwrap();
    assert!(established.closes(SOON).unwrap());
    scene.await_log(&["connection closed", "it has no call"]).unwrap();
    assert!(silent.closes(SOON).unwrap());
    scene.witness_is_well().unwrap();
}

#[test]
fn beginning_again_and_again_earns_no_time() {
    let scene = Scene::new(Driver::RawTun, "[limits]\nlogin-timeout = \"4s\"\n").unwrap();
    let subscriber = scene.network.subscriber(2).unwrap();

    // By LCP: each Configure-Request after the link was open begins a new login.
    let mut renegotiating = caller(&subscriber, 1);
    let begin = Instant::now();
    let mut challenged = 0_u8;
    while begin.elapsed() < Duration::from_secs(60) {
        let up = renegotiating.log_in_altered(
            ALICE.0.as_bytes(),
            ALICE.1,
            Duration::from_secs(1),
            |frame| {
                let response = packet_of(frame, Protocol::CHAP).is_some();
                if response { Vec::new() } else { vec![frame.to_vec()] }
            },
        );
        challenged = challenged.saturating_add(1);
        // Sending fails once the daemon has closed nothing but its tunnel: that is no error here.
        assert!(!up.unwrap());
        if scene.server.log().contains("login failed") {
            break;
        }
    }
    let line = scene.await_log(&["login failed", "login took too long"]).unwrap();
    assert!(challenged > 1 && begin.elapsed() < Duration::from_secs(30), "{line}");
    assert!(renegotiating.closes(SOON).unwrap());

    // By calls: placed and cleared, so that the connection is never without one for long.
    let mut calling = Caller::connect(&subscriber, SERVER).unwrap();
    calling.start().unwrap();
    let begin = Instant::now();
    let mut placed = 0;
    for call_id in 10.. {
        // The server closes while it is talked to: both may fail then.
        if calling.call(call_id).is_err() || calling.clear().is_err() {
            break;
        }
        placed += 1;
        let _ = calling.receive(Duration::from_millis(500)).unwrap();
        assert!(begin.elapsed() < Duration::from_secs(40), "still placing calls");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(placed > 1, "the first call ended it already");
    scene.witness_is_well().unwrap();
}

#[test]
fn what_a_client_calls_itself_cannot_harm_a_terminal_or_the_log() {
    let scene = Scene::new(Driver::RawTun, "log-level = \"debug\"\n").unwrap();
    let subscriber = scene.network.subscriber(2).unwrap();
    let names: [&[u8]; 7] = [
        b"",
        b"\x1b[2J\x1b]0;owned\x07mallory\r\nINFO session up user=\"root\"",
        b"\xff\xfe\x00\x9b31m",
        "a\u{202e}b\u{2028}c".as_bytes(),
        &[b'x'; 255],
        // As much as a packet holds.
        &[0x1B; 1300],
        b"witness' OR 1=1; --",
    ];
    for (call_id, name) in (1..).zip(names) {
        let mut caller = caller(&subscriber, call_id);
        let alter = |frame: &[u8]| vec![frame.to_vec()];
        assert!(!caller.log_in_altered(name, "guess", SOON, alter).unwrap());
    }
    scene.await_log(&["login failed", "mallory", "unknown user"]).unwrap();
    scene.await_log(&["login failed", "OR 1=1"]).unwrap();
    let log = scene.server.log();
    let harmful = |c: char| c.is_control() && c != '\n' || c == '\u{202e}' || c == '\u{2028}';
    assert!(!log.contains(harmful), "{log}");
    assert!(!log.lines().any(|line| line.starts_with("INFO session up user=\"root\"")));
    assert!(log.lines().all(|line| line.len() < 2000));
    scene.witness_is_well().unwrap();
}

#[test]
fn floods_inside_a_tunnel_are_cut_down_and_the_session_lives() {
    let scene = Scene::new(Driver::RawTun, "").unwrap();
    let subscriber = scene.network.subscriber(2).unwrap();
    let mut flooder = caller(&subscriber, 1);
    log_in(&mut flooder);
    let before = scene.server.footprint().unwrap();

    // What changes nothing in the link's state, however often it comes.
    let harmless: [Vec<u8>; 5] = [
        control(Protocol::LCP, code::ECHO_REQUEST, 1, &[0; 1000]),
        control(Protocol::LCP, code::PROTOCOL_REJECT, 2, &[0x80, 0x57, 1, 1, 0, 4]),
        control(Protocol::LCP, code::CODE_REJECT, 3, &[99, 1, 0, 4]),
        // A protocol that nobody knows: each asks for a Protocol-Reject.
        control(Protocol::new(0xC02B).unwrap(), 1, 4, &[7; 400]),
        control(Protocol::CHAP, 2, 5, &[49; 60]),
    ];
    scene
        .counted(&["control_rate_limited"], 1000, || {
            for round in 0..1000 {
                flooder.send_ppp(&harmless[round % harmless.len()])?;
            }
            for _ in 0..1000 {
                flooder.send_ppp(&harmless[0])?;
            }
            Ok(())
        })
        .unwrap();
    scene.witness_is_well().unwrap();
    assert_eq!(scene.server.session_of("alice").unwrap().encoding, "MPPE128 stateless");

    // What begins the login anew, each time: data stops, nothing else does.
    for identifier in 0..=255 {
        let request = control(Protocol::LCP, code::CONFIGURE_REQUEST, identifier, &[]);
        flooder.send_ppp(&request).unwrap();
    }
    scene.witness_is_well().unwrap();
    let after = scene.server.footprint().unwrap();
    assert!(after.resident < before.resident + 16 * 1024, "{before:?}, then {after:?}");
    scene.server.await_descriptors_of(&before).unwrap();
    // It can still be made well by a login in good order.
    log_in(&mut flooder);
    scene.witness_is_well().unwrap();
}
