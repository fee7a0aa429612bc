//! pppd in User Mode Linux and what is agreed on encryption: every level of ours with what it may
//! have, and stateful MPPE on a path that loses the very packets that hurt.

use std::time::Duration;

use lab::capture::{Capture, mppe_of, ppp_of};
use lab::impair::Choice;
use lab::network::{Network, SERVER, gateway_of};
use lab::scene::{Scene, USERS};
use lab::server::{Driver, Server};
use lab::uml::{Guest, Uplink};
use lab::wait;
use protocol::ppp::frame::Protocol;

const LIMIT: Duration = Duration::from_secs(120);
const MSCHAP2: &str = "refuse-pap refuse-chap refuse-mschap refuse-eap";
/// What pings carry: bytes that a cipher would hardly make.
const PATTERN: &str = "5eedfacec0ffee00";
const PATTERN_BYTES: [u8; 8] = [0x5e, 0xed, 0xfa, 0xce, 0xc0, 0xff, 0xee, 0x00];
/// CCP's codes (RFC 1962 §3.1).
const RESET_REQUEST: u8 = 14;

fn uplink(link: &str) -> Uplink<'_> {
    Uplink { link, address: "198.18.2.2/30", gateway: Some(gateway_of(2)) }
}

fn hang_up(server: &Server, guest: &mut Guest) {
    let line = "kill $(head -n 1 /run/ppp0.pid); while [ -e /run/ppp0.pid ]; do sleep 0.2; done";
    guest.run(line, LIMIT).unwrap();
    wait::until("the end of the session", Duration::from_secs(10), || {
        let sessions = server.sessions()?;
        Ok(sessions.iter().all(|session| session.user.as_deref() != Some("alice")).then_some(()))
    })
    .unwrap();
}

/// Pings the core through the tunnel that is up: the first ones may be lost, the last may not.
fn ping(server: &Server, guest: &mut Guest, options: &str, received: &str) {
    guest.run("ip route replace 203.0.113.0/24 dev ppp0", LIMIT).unwrap().success().unwrap();
    let line = format!("ping -c 1 -W 1 203.0.113.2; ping -p {PATTERN} {options} 203.0.113.2");
    let pinged = guest.run(&line, LIMIT).unwrap();
    assert!(pinged.output.contains(received), "{}\n{}", pinged.output, server.log());
}

#[test]
fn pppd_gets_the_encryption_that_both_sides_want_or_none_or_no_session() {
    let network = Network::new().unwrap();
    let link = network.guest_link(2).unwrap();
    let mut guest = Guest::boot(&network.internet, &uplink(&link)).unwrap();
    let strong = "require-mppe-128 nomppe-stateful";
    let weak = "require-mppe-40 nomppe-128 nomppe-stateful";
    let stateful = "require-mppe-128 mppe-stateful";
    let refused = Err("client offered MS-CHAPv2 without MPPE-128/40; this server requires it");
    for (level, mode, cases) in [
        (
            "require",
            "stateless",
            &[
                (strong, Ok("MPPE128 stateless")),
                (weak, Ok("MPPE40 stateless")),
                (stateful, Ok("MPPE128 stateless")),
                ("nomppe", refused),
            ][..],
        ),
        (
            "require",
            "stateful",
            &[
                (stateful, Ok("MPPE128 stateful")),
                ("require-mppe-40 nomppe-128 mppe-stateful", Ok("MPPE40 stateful")),
            ],
        ),
        (
            "prefer",
            "any",
            &[
                ("nomppe", Ok("none")),
                (strong, Ok("MPPE128 stateless")),
                (weak, Ok("MPPE40 stateless")),
            ],
        ),
        ("allow", "any", &[("nomppe", Ok("none")), (strong, Ok("MPPE128 stateless"))]),
        ("deny", "stateless", &[("nomppe", Ok("none")), (strong, Err("hung up"))]),
    ] {
        let settings = format!(
            "[server]\nencryption = \"{level}\"\nencryption-strengths = [128, 40]\n\
             encryption-mode = \"{mode}\"\n"
        );
        let users = &USERS[1..2];
        let server =
            Server::start(&network.concentrator, Driver::RawTun, users, &settings).unwrap();
        for (mppe, expected) in cases {
            let what = format!("{level}, {mode}, pppd {mppe}");
            let capture = Capture::start(&network.internet, "concentrator").unwrap();
            let options = format!("{MSCHAP2} {mppe}");
            let dialled = guest.dial(SERVER, "alice", "secret123", &options).unwrap();
            match expected {
                Ok(encoding) => {
                    let log = server.log();
                    assert_eq!(dialled.status, 0, "{what}: {}\n{log}", dialled.output);
                    let session = server.session_of("alice").unwrap();
                    assert_eq!(&session.encoding, encoding, "{what}: {}", dialled.output);
                    ping(&server, &mut guest, "-c 2 -i 0.2 -W 2", " 2 received");
                    hang_up(&server, &mut guest);
                    let crossed = capture.finish().unwrap().holding(&PATTERN_BYTES);
                    assert_eq!(crossed > 0, *encoding == "none", "{what}");
                }
                Err(words) => {
                    assert_ne!(dialled.status, 0, "{what}: {}", dialled.output);
                    let mut log = String::new();
                    wait::until(words, Duration::from_secs(10), || {
                        log = server.log();
                        Ok(log.contains(words).then_some(()))
                    })
                    .unwrap_or_else(|error| panic!("{what}: {error}\n{log}"));
                    assert!(server.sessions().unwrap().is_empty());
                    let data = [Protocol::IPV4, Protocol::COMPRESSED];
                    let trace = capture.finish().unwrap();
                    let passed = trace.frames().iter().filter_map(|frame| ppp_of(frame));
                    assert_eq!(passed.filter(|(of, _)| data.contains(of)).count(), 0, "{what}");
                }
            }
        }
        server.stop().unwrap();
    }
    guest.power_off().unwrap();
}

/// Loses the first packet that changes the key, and one in the middle of a later keystream.
fn flag_packets() -> Choice {
    let mut lost = 0;
    Box::new(move |frame| {
        let Some(header) = mppe_of(frame).filter(|header| header.encrypted) else { return false };
        let count = header.count.value();
        let is_next = match lost {
            0 => count == 0x0FF,
            // After a reset the count may go on anywhere.
            1 => count > 0x200 && count & 0xFF != 0xFF && !header.flushed,
            _ => false,
        };
        lost += u8::from(is_next);
        is_next
    })
}

fn stateful_mppe_recovers(driver: Driver) {
    let settings = "[server]\nencryption-mode = \"stateful\"\n";
    let scene = Scene::new(driver, settings).unwrap();
    let (server, network) = (&scene.server, &scene.network);
    let (path, hop) = network.guest_link_losing(2, [flag_packets(), flag_packets()]).unwrap();
    let capture = Capture::start(&path, "subscriber").unwrap();
    let mut guest = Guest::boot(&path, &uplink("guest")).unwrap();
    let options = format!("{MSCHAP2} require-mppe-128 mppe-stateful");
    let dialled = guest.dial(SERVER, "alice", "secret123", &options).unwrap();
    assert_eq!(dialled.status, 0, "{}\n{}", dialled.output, server.log());
    let before = server.session_of("alice").unwrap();
    assert_eq!(before.encoding, "MPPE128 stateful", "{}", dialled.output);

    // Past the places of the losses, in both directions; a few packets are lost until the other
    // side has started again.
    guest.run("ip route replace 203.0.113.0/24 dev ppp0", LIMIT).unwrap().success().unwrap();
    let many = "ping -q -c 700 -i 0.01 -W 2 203.0.113.2";
    let pinged = guest.run(many, LIMIT).unwrap();
    let lost =
        hop.tallies().each_ref().map(|tally| tally.lost.load(std::sync::atomic::Ordering::Relaxed));
    assert_eq!(lost, [2, 2], "{}\n{}", pinged.output, server.log());
    ping(server, &mut guest, "-q -c 300 -i 0.01 -W 2", " 300 received");
    let after = server.session_of("alice").unwrap();
    assert_eq!(after.id, before.id);
    hang_up(server, &mut guest);

    let trace = capture.finish().unwrap();
    assert_eq!(trace.holding(&PATTERN_BYTES), 0, "the pings' contents crossed in the clear");
    // Both sides asked the other to start again, and both did with a flushed packet.
    for source in [[198, 18, 2, 2], SERVER.octets()] {
        let from = |frame: &&Vec<u8>| frame.get(26..30) == Some(&source);
        let frames: Vec<_> = trace.frames().iter().filter(from).collect();
        let resets = frames.iter().filter_map(|frame| ppp_of(frame));
        let is_reset = |(protocol, payload): &(Protocol, &[u8])| {
            *protocol == Protocol::CCP && payload.first() == Some(&RESET_REQUEST)
        };
        assert!(resets.filter(is_reset).count() > 0, "{source:?} never asked");
        let flushed = frames.iter().filter_map(|frame| mppe_of(frame));
        assert!(flushed.filter(|header| header.flushed).count() > 0, "{source:?} never flushed");
    }
    scene.witness_is_well().unwrap();
    guest.power_off().unwrap();
}

#[test]
fn stateful_mppe_with_pppd_recovers_from_lost_flag_packets_over_raw_socket_and_tun() {
    stateful_mppe_recovers(Driver::RawTun);
}

#[test]
fn stateful_mppe_with_pppd_recovers_from_lost_flag_packets_over_af_xdp() {
    stateful_mppe_recovers(Driver::AfXdp);
}
