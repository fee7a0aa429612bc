//! What no honest client sends: each gets the answer that RFC 2637 names or is dropped with its
//! own counter and a reason in the log, and the witness's session goes on.

use std::time::Duration;

use lab::caller::{self, Caller, Received};
use lab::network::{SERVER, address_of};
use lab::scene::Scene;
use lab::server::Driver;
use lab::wait;
use protocol::ppp::Protocol;
use protocol::pptp::message::Message;
use protocol::pptp::message::codes::StartResult;

const SECOND: Duration = Duration::from_secs(1);
/// Until a connection that violates the protocol is closed, however slow the machine is.
const SOON: Duration = Duration::from_secs(10);

/// Waits until the log has a line with all of these words.
fn await_log(scene: &Scene, words: &[&str]) {
    wait::until(&format!("a log line with {words:?}"), SOON, || {
        let found = scene.server.log().lines().any(|line| words.iter().all(|w| line.contains(w)));
        Ok(found.then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error}, but:\n{}", scene.server.log()));
}

/// Does something to the concentrator, and waits until one of these counters has moved by `by`.
fn counted(scene: &Scene, names: &[&str], by: u64, act: impl FnOnce()) {
    let before = scene.server.stats().unwrap().count(names);
    act();
    wait::until(&format!("{by} more of {names:?}"), SOON, || {
        let now = scene.server.stats()?.count(names);
        Ok((now >= before + by).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error}: {:#?}", scene.server.stats().unwrap()));
}

/// Reads until the server closes the connection.
fn closed(caller: &mut Caller) -> bool {
    loop {
        match caller.receive(SOON) {
            Ok(Received::Message(_)) => {}
            Ok(received) => return received == Received::Closed,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_message_with_a_wrong_header_closes_its_connection_and_the_log_says_why() {
    let scene = Scene::new(Driver::RawTun, "").unwrap();
    let stranger = scene.network.subscriber(2).unwrap();
    // RFC 2637 §1.4: length, PPTP message type, magic cookie, control message type.
    for (what, offset, spoiled, logged) in [
        ("cookie", 4, [0x2B, 0x1A], "cookie"),
        ("length", 0, [0xFF, 0xFF], "length"),
        ("management message", 2, [0, 2], "message type"),
        ("control message type", 8, [0, 99], "control message type"),
    ] {
        for established in [false, true] {
            let mut caller = Caller::connect(&stranger, SERVER).unwrap();
            if established {
                caller.start().unwrap();
            }
            let mut message = caller::start_request();
            message[offset..offset + 2].copy_from_slice(&spoiled);
            caller.send_octets(&message).unwrap();
            assert!(closed(&mut caller), "{what}, established: {established}");
        }
        await_log(&scene, &[logged, &address_of(2).to_string()]);
    }
    scene.witness_is_well().unwrap();
}

#[test]
fn an_older_version_is_refused_and_a_later_one_answered_with_ours() {
    let scene = Scene::new(Driver::RawTun, "").unwrap();
    let stranger = scene.network.subscriber(2).unwrap();
    // RFC 2637 §2.1, §2.2, §3.1.2.
    for (version, expected) in
        [([0x00, 0x80], StartResult::VersionNotSupported), ([0x02, 0x00], StartResult::Ok)]
    {
        let mut caller = Caller::connect(&stranger, SERVER).unwrap();
        let mut message = caller::start_request();
        message[12..14].copy_from_slice(&version);
        caller.send_octets(&message).unwrap();
        let Message::StartReply(reply) = caller.expect().unwrap() else { panic!("no reply") };
        assert_eq!((reply.result, reply.version), (expected, 0x0100));
        if expected == StartResult::VersionNotSupported {
            assert!(closed(&mut caller));
        }
    }
    scene.witness_is_well().unwrap();
}

#[test]
fn messages_arrive_split_at_every_byte_and_coalesced() {
    let scene = Scene::new(Driver::RawTun, "").unwrap();
    let subscriber = scene.network.subscriber(2).unwrap();
    let stream = [caller::start_request(), caller::outgoing_call_request(5)].concat();
    for segment in [1, stream.len()] {
        let mut caller = Caller::connect(&subscriber, SERVER).unwrap();
        for octets in stream.chunks(segment) {
            caller.send_octets(octets).unwrap();
        }
        assert!(matches!(caller.expect().unwrap(), Message::StartReply(_)));
        assert!(matches!(caller.expect().unwrap(), Message::OutgoingCallReply(_)));
    }
    scene.witness_is_well().unwrap();
}

#[test]
fn a_client_that_stalls_at_any_step_is_put_out_in_time() {
    let scene = Scene::new(Driver::RawTun, "[limits]\nlogin-timeout = \"3s\"\n").unwrap();
    let subscriber = scene.network.subscriber(2).unwrap();

    let mut silent = Caller::connect(&subscriber, SERVER).unwrap();
    let mut established = Caller::connect(&subscriber, SERVER).unwrap();
    established.start().unwrap();
    std::thread::scope(|scope| {
        for (call_id, withheld) in
            (1..).zip([Protocol::LCP, Protocol::CHAP, Protocol::CCP, Protocol::IPCP])
        {
            let mut caller = Caller::connect(&subscriber, SERVER).unwrap();
            caller.start().unwrap();
            caller.call(call_id).unwrap();
            scope.spawn(move || stall(&mut caller, withheld));
        }
    });
    assert!(closed(&mut silent), "connected and silent");
    assert!(closed(&mut established), "established, without a call");
    scene.witness_is_well().unwrap();
}

/// Logs in but for one protocol, and expects to be put out.
fn stall(caller: &mut Caller, withheld: Protocol) {
    let up = caller.log_in("alice", "secret123", Some(withheld), 5 * SECOND).unwrap();
    assert!(!up, "without {withheld}");
    // RFC 2637 §2.13: the PAC tells the PNS that the call is over.
    match caller.receive(SOON).unwrap() {
        Received::Closed => {}
        Received::Message(message) => {
            assert!(matches!(*message, Message::CallDisconnectNotify(_)), "{message:?}");
        }
        Received::Nothing => panic!("still there without {withheld}"),
    }
}

#[test]
fn gre_that_belongs_to_nobody_is_dropped_and_counted() {
    for driver in [Driver::RawTun, Driver::AfXdp] {
        let scene = Scene::new(driver, "").unwrap();
        let stranger = scene.network.subscriber(2).unwrap();
        let mut caller = Caller::connect(&scene.subscriber, SERVER).unwrap();
        caller.start().unwrap();
        caller.call(77).unwrap();
        let outsider = Caller::connect(&stranger, SERVER).unwrap();
        let lcp_echo = [0xC0, 0x21, 9, 1, 0, 8, 1, 2, 3, 4];
        let foreign = caller.server_call_id();
        // Nobody's: Call IDs are given in turn, and the witness's is near.
        let unknown = foreign ^ 0x4000;

        counted(&scene, &["peer_foreign", "drop_other_peer"], 5, || {
            for sequence in 0..5 {
                let packet = caller::data_packet(foreign, sequence, &lcp_echo).unwrap();
                outsider.send_gre(&packet).unwrap();
            }
        });
        counted(&scene, &["tunnel_unknown", "drop_unknown_tunnel"], 5, || {
            for sequence in 0..5 {
                let packet = caller::data_packet(unknown, sequence, &lcp_echo).unwrap();
                outsider.send_gre(&packet).unwrap();
            }
        });
        scene.witness_is_well().unwrap();
    }
}

#[test]
fn malformed_packets_of_a_tunnel_are_dropped_each_with_its_reason() {
    let scene = Scene::new(Driver::RawTun, "").unwrap();
    let subscriber = scene.network.subscriber(2).unwrap();
    let mut caller = Caller::connect(&subscriber, SERVER).unwrap();
    caller.start().unwrap();
    caller.call(9).unwrap();
    assert!(caller.log_in("alice", "secret123", None, SOON).unwrap());
    let whole =
        caller::data_packet(caller.server_call_id(), 1000, &[0xC0, 0x21, 9, 1, 0, 4]).unwrap();

    counted(&scene, &["gre_malformed"], 1, || {
        let mut lying = whole.clone();
        // The payload length says more than there is (RFC 2637 §4.1).
        lying[4..6].copy_from_slice(&[0x40, 0x00]);
        caller.send_gre(&lying).unwrap();
    });
    counted(&scene, &["gre_malformed"], 4, || {
        for length in 8..12 {
            caller.send_gre(&whole[..length]).unwrap();
        }
    });
    for length in 0..8 {
        caller.send_gre(&whole[..length]).unwrap();
    }
    counted(&scene, &["ppp_malformed"], 3, || {
        for (sequence, garbage) in (2000..).zip([&[0xFF, 0x03][..], &[0x00], &[0xC0, 0x20, 1]]) {
            let mut packet = whole[..12].to_vec();
            packet[4..6].copy_from_slice(&u16::try_from(garbage.len()).unwrap().to_be_bytes());
            packet[8..12].copy_from_slice(&u32::to_be_bytes(sequence));
            packet.extend_from_slice(garbage);
            caller.send_gre(&packet).unwrap();
        }
    });
    counted(&scene, &["plaintext_refused"], 1, || {
        // A plain IPv4 packet where encryption is required.
        let mut frame = vec![0x00, 0x21];
        frame.extend_from_slice(&[
            0x45, 0, 0, 20, 0, 0, 0, 0, 64, 1, 0, 0, 10, 99, 0, 3, 1, 2, 3, 4,
        ]);
        let packet = caller::data_packet(caller.server_call_id(), 3000, &frame).unwrap();
        caller.send_gre(&packet).unwrap();
    });
    counted(&scene, &["mppe_malformed", "mppe_refused", "mppe_budget"], 2, || {
        for (sequence, garbage) in
            (4000..).zip([&[0x00, 0xFD, 0x90][..], &[0x00, 0xFD, 0x9F, 0xFF, 1, 2, 3, 4]])
        {
            let packet = caller::data_packet(caller.server_call_id(), sequence, garbage).unwrap();
            caller.send_gre(&packet).unwrap();
        }
    });
    scene.witness_is_well().unwrap();
    assert_eq!(scene.server.session_of("alice").unwrap().rx_packets, 0);
}

#[test]
fn a_flood_of_half_open_connections_keeps_nobody_else_out() {
    let scene = Scene::new(Driver::RawTun, "[limits]\nmax-half-open-per-address = 5\n").unwrap();
    let flooder = scene.network.subscriber(2).unwrap();
    let honest = scene.network.subscriber(3).unwrap();
    let mut flood = Vec::new();
    for _ in 0..100 {
        flood.push(Caller::connect(&flooder, SERVER).unwrap());
    }
    // All but five were closed at once.
    for caller in flood.iter_mut().skip(5) {
        assert_eq!(caller.receive(SOON).unwrap(), Received::Closed);
    }
    let mut caller = Caller::connect(&honest, SERVER).unwrap();
    caller.start().unwrap();
    caller.call(1).unwrap();
    assert!(caller.log_in("bob", "hunter2", None, SOON).unwrap());
    for caller in flood.iter_mut().take(5) {
        assert_eq!(caller.receive(Duration::from_millis(1)).unwrap(), Received::Nothing);
    }
    scene.witness_is_well().unwrap();
}

#[test]
fn two_clients_behind_one_address_may_have_the_same_call_id() {
    let scene = Scene::new(Driver::RawTun, "").unwrap();
    let nat = scene.network.subscriber(2).unwrap();
    let mut callers = Vec::new();
    for (user, password) in [("alice", "secret123"), ("bob", "hunter2")] {
        let mut caller = Caller::connect(&nat, SERVER).unwrap();
        caller.start().unwrap();
        caller.call(4242).unwrap();
        assert!(caller.log_in(user, password, None, SOON).unwrap(), "{user}");
        callers.push(caller);
    }
    assert_ne!(callers[0].server_call_id(), callers[1].server_call_id());
    let [alice, bob] = ["alice", "bob"].map(|user| scene.server.session_of(user).unwrap());
    assert_eq!([alice.peer_address, bob.peer_address], [address_of(2); 2]);
    assert_ne!(alice.address, bob.address);
    scene.witness_is_well().unwrap();
}

#[test]
fn a_password_that_is_wrong_and_a_user_that_is_unknown_are_refused_alike() {
    let scene = Scene::new(Driver::RawTun, "").unwrap();
    let subscriber = scene.network.subscriber(2).unwrap();
    for (call_id, (user, password)) in (1..).zip([("alice", "wrong"), ("nobody", "secret123")]) {
        let mut caller = Caller::connect(&subscriber, SERVER).unwrap();
        caller.start().unwrap();
        caller.call(call_id).unwrap();
        assert!(!caller.log_in(user, password, None, SOON).unwrap(), "{user} got in");
        await_log(&scene, &[user]);
    }
    scene.witness_is_well().unwrap();
}
