//! Control connections that lie, flood or fall silent: they cost no more than they are allowed to,
//! and change nothing that is not theirs.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use lab::caller::{self, Caller, Received};
use lab::netns::Namespace;
use lab::network::SERVER;
use lab::scene::Scene;
use lab::server::Driver;
use protocol::pptp;
use protocol::pptp::message::codes::{DisconnectResult, GeneralError, OutgoingResult};
use protocol::pptp::message::{
    CallClearRequest, CallDisconnectNotify, EchoRequest, Kind, Message, SetLinkInfo, Text,
};

const SOON: Duration = Duration::from_secs(15);

fn connect(namespace: &Namespace) -> TcpStream {
    let address = SocketAddr::from((SERVER, pptp::PORT));
    namespace.run(|| Ok(TcpStream::connect_timeout(&address, SOON)?)).unwrap()
}

/// Numbers of no particular kind, the same in each run.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
    *state >> 33
}

#[test]
fn messages_about_calls_of_others_change_nothing() {
    let scene = Scene::new(Driver::RawTun, "log-level = \"debug\"\n").unwrap();
    let nat = scene.network.subscriber(2).unwrap();
    let mut alice = Caller::connect(&nat, SERVER).unwrap();
    alice.start().unwrap();
    alice.call(500).unwrap();
    assert!(alice.log_in("alice", "secret123", None, SOON).unwrap());

    // Another connection, even from behind the same address, owns none of these numbers.
    let mut mallory = Caller::connect(&nat, SERVER).unwrap();
    mallory.start().unwrap();
    for call_id in [500, alice.server_call_id(), 0, 0xFFFF] {
        let notify = CallDisconnectNotify {
            call_id,
            result: DisconnectResult::LostCarrier,
            error: GeneralError::None,
            cause: 0,
            statistics: Text::EMPTY,
        };
        for message in [
            Message::CallClearRequest(CallClearRequest { call_id }),
            Message::CallDisconnectNotify(notify),
            Message::SetLinkInfo(SetLinkInfo {
                peer_call_id: call_id,
                send_accm: 0,
                receive_accm: 0,
            }),
        ] {
            mallory.send_octets(&message.emit()).unwrap();
        }
    }
    mallory.send_octets(&Message::EchoRequest(EchoRequest { identifier: 7 }).emit()).unwrap();
    let Message::EchoReply(reply) = mallory.expect().unwrap() else { panic!("no Echo-Reply") };
    assert_eq!(reply.identifier, 7, "RFC 2637 §2.6; nothing else was answered");
    scene.await_log(&["message ignored", "Call-Clear-Request", "call_id=500"]).unwrap();
    assert_eq!(scene.server.sessions().unwrap().len(), 2);
    scene.witness_is_well().unwrap();

    // Its own call may have alice's number: RFC 2637 §3.2.2 makes it unique in one connection only.
    mallory.call(500).unwrap();
    assert_ne!(mallory.server_call_id(), alice.server_call_id());
    // A second time in the same connection it may not, and the first call does not suffer.
    mallory.send_octets(&caller::outgoing_call_request(500)).unwrap();
    let Message::OutgoingCallReply(reply) = mallory.expect().unwrap() else { panic!("no reply") };
    assert_eq!(
        (reply.result, reply.error),
        (OutgoingResult::GeneralError, GeneralError::BadCallId)
    );
    assert!(mallory.log_in("bob", "hunter2", None, SOON).unwrap());
    // After the call's end the number is free again, and our own number is another.
    let first = mallory.server_call_id();
    mallory.clear().unwrap();
    assert!(matches!(mallory.expect().unwrap(), Message::CallDisconnectNotify(_)));
    mallory.call(500).unwrap();
    assert_ne!(mallory.server_call_id(), first);
    assert!(mallory.log_in("bob", "hunter2", None, SOON).unwrap());
    scene.witness_is_well().unwrap();
}

#[test]
fn a_connection_has_as_many_calls_as_it_may_and_leaves_none() {
    let scene = Scene::new(Driver::RawTun, "[limits]\nmax-calls-per-connection = 3\n").unwrap();
    let subscriber = scene.network.subscriber(2).unwrap();
    let mut caller = Caller::connect(&subscriber, SERVER).unwrap();
    caller.start().unwrap();
    for call_id in 1..=3 {
        caller.call(call_id).unwrap();
    }
    for call_id in 4..=100 {
        caller.send_octets(&caller::outgoing_call_request(call_id)).unwrap();
        let Message::OutgoingCallReply(reply) = caller.expect().unwrap() else { panic!() };
        let answer = (reply.result, reply.error, reply.peer_call_id);
        assert_eq!(answer, (OutgoingResult::GeneralError, GeneralError::NoResource, call_id));
    }
    drop(caller);
    lab::wait::until("the end of all calls", SOON, || {
        let all = scene.server.command(&["session", "list", "--all"])?;
        Ok((all.lines().count() == 2).then_some(()))
    })
    .unwrap();
    scene.witness_is_well().unwrap();
}

#[test]
fn messages_of_every_kind_with_any_fields_at_any_time_harm_nobody() {
    let scene = Scene::new(Driver::RawTun, "").unwrap();
    let subscriber = scene.network.subscriber(2).unwrap();
    let mut state = 7;
    for round in 0..120 {
        let mut stream = connect(&subscriber);
        let mut octets = if round % 4 == 0 { Vec::new() } else { caller::start_request() };
        for _ in 0..8 {
            let kind = Kind::ALL[usize::try_from(random(&mut state)).unwrap() % Kind::ALL.len()];
            let mut message = vec![0; kind.message_len()];
            message.fill_with(|| {
                let [first, second, ..] = random(&mut state).to_le_bytes();
                first & second
            });
            // RFC 2637 §1.4, §2: without a true header nothing of the rest would be read.
            let length = u16::try_from(message.len()).unwrap().to_be_bytes();
            let header = [
                &length[..],
                &[0, 1, 0x1A, 0x2B, 0x3C, 0x4D],
                &kind.number().to_be_bytes(),
                &[0, 0],
            ];
            message[..12].copy_from_slice(&header.concat());
            octets.extend(message);
        }
        // The server may close before it has read all.
        let _ = stream.write_all(&octets);
        stream.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let _ = stream.read(&mut [0; 4096]);
    }
    let log = scene.server.log();
    assert!(!log.contains("panicked"), "{log}");
    scene.witness_is_well().unwrap();
}

#[test]
fn a_peer_that_asks_and_never_reads_gets_no_memory_for_it() {
    let scene = Scene::new(Driver::RawTun, "").unwrap();
    let subscriber = scene.network.subscriber(2).unwrap();
    let before = scene.server.footprint().unwrap();
    let echo = Message::EchoRequest(EchoRequest { identifier: 1 }).emit().repeat(4096);
    let mut streams: Vec<_> = (0..20).map(|_| connect(&subscriber)).collect();
    for stream in &mut streams {
        stream.write_all(&caller::start_request()).unwrap();
        // Until nothing more is taken: what waits then, waits in the kernel.
        stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        for _ in 0..64 {
            match stream.write(&echo) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
    scene.witness_is_well().unwrap();
    let during = scene.server.footprint().unwrap();
    assert!(during.resident < before.resident + 8 * 1024, "{before:?}, then {during:?}");
    drop(streams);
    scene.server.await_descriptors_of(&before).unwrap();
}

#[test]
fn floods_of_connections_are_bounded_counted_and_do_not_fill_the_log() {
    let settings = "[limits]\nmax-half-open = 60\nmax-half-open-per-address = 20\n";
    let scene = Scene::new(Driver::RawTun, settings).unwrap();
    let flooders: Vec<_> = (2..4).map(|n| scene.network.subscriber(n).unwrap()).collect();
    let honest = scene.network.subscriber(9).unwrap();
    let before = scene.server.footprint().unwrap();

    let mut flood = Vec::new();
    scene
        .counted(&["refused_half_open_per_address"], 560, || {
            for _ in 0..300 {
                flood.extend(flooders.iter().map(connect));
            }
            Ok(())
        })
        .unwrap();
    let during = scene.server.footprint().unwrap();
    assert!(during.descriptors <= before.descriptors + 40, "{before:?}, then {during:?}");
    assert!(during.resident < before.resident + 8 * 1024, "{before:?}, then {during:?}");
    let told = scene.await_log(&["connection refused", "max-half-open-per-address"]).unwrap();
    assert!(told.contains("198.18."), "{told}");
    let lines = scene.server.log().lines().filter(|line| line.contains("refused")).count();
    assert!(lines < 280, "a flood of connections became one of {lines} lines");

    let mut caller = Caller::connect(&honest, SERVER).unwrap();
    caller.start().unwrap();
    caller.call(1).unwrap();
    assert!(caller.log_in("bob", "hunter2", None, SOON).unwrap());

    // Who is in has no part in the room that others wait for.
    drop(flood);
    lab::wait::until("room for a flooder that mends its ways", SOON, || {
        let mut caller = Caller::connect(&flooders[0], SERVER)?;
        caller.send_octets(&caller::start_request())?;
        Ok(matches!(caller.receive(SOON)?, Received::Message(_)).then_some(()))
    })
    .unwrap();
    scene.witness_is_well().unwrap();
}

#[test]
fn a_flood_of_violations_does_not_fill_the_log() {
    let scene = Scene::new(Driver::RawTun, "").unwrap();
    let subscriber = scene.network.subscriber(2).unwrap();
    scene
        .counted(&["protocol_violations"], 400, || {
            for _ in 0..400 {
                let mut stream = connect(&subscriber);
                // A web browser's first words.
                stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")?;
                stream.set_read_timeout(Some(SOON))?;
                let _ = stream.read(&mut [0; 64]);
            }
            Ok(())
        })
        .unwrap();
    scene.await_log(&["protocol violation", "198.18.2.2"]).unwrap();
    let lines = scene.server.log().lines().filter(|line| line.contains("198.18.2.2")).count();
    assert!(lines < 200, "{lines} lines of 400 connections");
    assert!(scene.server.stats().unwrap().count(&["log_lines_withheld"]) > 200);
    scene.witness_is_well().unwrap();
}
