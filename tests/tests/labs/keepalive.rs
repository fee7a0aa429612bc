//! RouterOS's `keepalive-timeout` on the wire: after that silence one LCP echo a second, after twice
//! as much the session is gone; and a user who dials again need not wait for that.

use std::time::{Duration, Instant};

use lab::capture::{Capture, ppp_of};
use lab::client::Client;
use lab::network::SERVER;
use lab::scene::Scene;
use lab::server::{Driver, Session};
use lab::wait;
use nix::sys::signal::Signal;
use protocol::ppp::Protocol;
use protocol::ppp::packet::code;

const SOON: Duration = Duration::from_secs(60);

fn sessions_of(scene: &Scene, user: &str) -> Vec<Session> {
    let sessions = scene.server.sessions().unwrap();
    sessions.into_iter().filter(|session| session.user.as_deref() == Some(user)).collect()
}

#[test]
fn a_peer_that_falls_silent_is_asked_each_second_and_gone_after_twice_the_time() {
    let scene = Scene::new(Driver::RawTun, "server.keepalive-timeout = \"3s\"\n").unwrap();
    // Once: a machine that is busy with other things is late with either.
    let mut seen = Vec::new();
    let as_told = (2..5).any(|number| {
        let (time, echoes) = falls_silent(&scene, number);
        seen.push((time, echoes));
        time < Duration::from_secs(9) && (2..=4).contains(&echoes)
    });
    assert!(as_told, "times and echoes: {seen:?}");
    scene.witness_is_well().unwrap();
}

/// A client of a new subscriber stops to work. How long it is still there, and how many echoes it
/// is sent.
fn falls_silent(scene: &Scene, number: u8) -> (Duration, usize) {
    let subscriber = scene.network.subscriber(number).unwrap();
    let mut client = Client::dial(&subscriber, SERVER, "alice", "secret123").unwrap();
    client.wait_up().unwrap();
    scene.server.session_of("alice").unwrap();
    let capture = Capture::start(&scene.network.internet, &format!("subscriber{number}")).unwrap();
    // It holds its TCP connection and its raw socket, and reads neither.
    client.process().signal(Signal::SIGSTOP).unwrap();
    let begin = Instant::now();
    wait::until("the end of the session", SOON, || {
        Ok(sessions_of(scene, "alice").is_empty().then_some(()))
    })
    .unwrap();
    let time = begin.elapsed();
    // Since when it was silent is not known to a second: its own echoes came before.
    assert!(time > Duration::from_secs(3), "{time:?}");
    scene.await_log(&["session ended", "alice", "client is silent", "Lost-Carrier"]).unwrap();
    let trace = capture.finish().unwrap();
    let is_echo = |frame: &&Vec<u8>| {
        ppp_of(frame).is_some_and(|(protocol, payload)| {
            protocol == Protocol::LCP && payload.first() == Some(&code::ECHO_REQUEST)
        })
    };
    let from_server = |frame: &&Vec<u8>| frame.get(26..30) == Some(&SERVER.octets());
    let echoes = trace.frames().iter().filter(from_server).filter(is_echo).count();
    (time, echoes)
}

#[test]
fn who_dials_again_does_not_wait_for_the_end_of_the_dead_session() {
    let scene = Scene::new(Driver::RawTun, "").unwrap();
    let add = ["user", "add", "carol", "--remote-address", "10.99.7.7"];
    scene.server.command_with_input(&add, "pw\n").unwrap();
    let (here, there) =
        (scene.network.subscriber(2).unwrap(), scene.network.subscriber(3).unwrap());
    let mut first = Client::dial(&here, SERVER, "carol", "pw").unwrap();
    first.wait_up().unwrap();
    let dead = scene.server.session_of("carol").unwrap();
    first.process().signal(Signal::SIGSTOP).unwrap();

    let mut second = Client::dial(&there, SERVER, "carol", "pw").unwrap();
    second.wait_up().unwrap();
    let alive = wait::until("carol's new session alone", SOON, || {
        let sessions = sessions_of(&scene, "carol");
        let is_new = sessions.iter().all(|session| session.id != dead.id);
        Ok(if is_new { sessions.into_iter().next() } else { None })
    })
    .unwrap();
    assert_eq!(sessions_of(&scene, "carol").len(), 1);
    assert_eq!(alive.address, dead.address);
    let session = format!("session={}", dead.id);
    scene.await_log(&["session ended", &session, "carol"]).unwrap();
    scene.witness_is_well().unwrap();
}
