//! Peers that turn on an encrypted session while data flows: they begin LCP anew, they end CCP. Not
//! one packet crosses in the clear, and other sessions notice nothing.

use std::time::Duration;

use lab::caller::Caller;
use lab::capture::{Capture, ppp_of};
use lab::network::SERVER;
use lab::process::Process;
use lab::scene::Scene;
use lab::server::Driver;
use lab::wait;
use protocol::ppp::Protocol;
use protocol::ppp::packet::{Packet, code};

const SOON: Duration = Duration::from_secs(15);
const ALICE: (&str, &str) = ("alice", "secret123");
/// What the core sends all the time.
const PATTERN: &str = "5eedfacec0ffee00";
const PATTERN_BYTES: [u8; 8] = [0x5e, 0xed, 0xfa, 0xce, 0xc0, 0xff, 0xee, 0x00];

fn control(protocol: Protocol, code: u8, identifier: u8, data: &[u8]) -> Vec<u8> {
    let packet = Packet { code, identifier, data }.emit();
    [&protocol.number().to_be_bytes()[..], &packet].concat()
}

/// How many data frames crossed of these protocols.
fn crossed(frames: &[Vec<u8>], protocol: Protocol) -> usize {
    frames.iter().filter_map(|frame| ppp_of(frame)).filter(|(of, _)| *of == protocol).count()
}

fn a_peer_turns_on_its_session(driver: Driver) {
    let scene = Scene::new(driver, "").unwrap();
    let subscriber = scene.network.subscriber(2).unwrap();
    let capture = Capture::start(&scene.network.internet, "subscriber2").unwrap();
    let mut caller = Caller::connect(&subscriber, SERVER).unwrap();
    caller.start().unwrap();
    caller.call(1).unwrap();
    assert!(caller.log_in(ALICE.0, ALICE.1, None, SOON).unwrap());
    let session = scene.server.session_of("alice").unwrap();
    let address = session.address.unwrap().to_string();

    // Data to it never pauses from here on.
    let mut flood = scene.network.core.command("ping");
    flood.args(["-q", "-i", "0.005", "-p", PATTERN, &address]);
    let flood = Process::start("a flood of pings", flood).unwrap();
    let sent = || scene.server.session_of("alice").unwrap().tx_packets;
    let more = |than: u64| {
        wait::until("data to the peer", SOON, || Ok((sent() > than).then_some(()))).unwrap();
    };
    more(10);

    // RFC 1661 §4.3: a Configure-Request in Opened takes the layers above down. What the core sends
    // meanwhile is dropped, and goes on, encrypted with new keys, after a whole login.
    for identifier in 100..103 {
        let request = control(Protocol::LCP, code::CONFIGURE_REQUEST, identifier, &[]);
        caller.send_ppp(&request).unwrap();
    }
    assert!(caller.log_in(ALICE.0, ALICE.1, None, SOON).unwrap());
    let again = scene.server.session_of("alice").unwrap();
    assert_eq!((again.id, &again.encoding[..]), (session.id, "MPPE128 stateless"));
    more(sent() + 10);

    // RFC 1661 §5.5 for CCP: encryption is required, so the session ends.
    caller.send_ppp(&control(Protocol::CCP, code::TERMINATE_REQUEST, 9, &[])).unwrap();
    let ended = ["session ended", "alice", "client ended encryption, which is required"];
    scene.await_log(&ended).unwrap();
    wait::until("the end of the session", SOON, || {
        let sessions = scene.server.sessions()?;
        Ok(sessions.iter().all(|session| session.user.as_deref() != Some("alice")).then_some(()))
    })
    .unwrap();
    scene.witness_is_well().unwrap();
    drop(flood);

    let trace = capture.finish().unwrap();
    assert_eq!(trace.holding(&PATTERN_BYTES), 0, "the core's packets crossed in the clear");
    assert_eq!(crossed(trace.frames(), Protocol::IPV4), 0);
    assert!(crossed(trace.frames(), Protocol::COMPRESSED) > 20);
}

#[test]
fn a_peer_that_begins_anew_or_ends_encryption_gets_nothing_in_the_clear_on_raw_sockets() {
    a_peer_turns_on_its_session(Driver::RawTun);
}

#[test]
fn a_peer_that_begins_anew_or_ends_encryption_gets_nothing_in_the_clear_on_af_xdp() {
    a_peer_turns_on_its_session(Driver::AfXdp);
}
