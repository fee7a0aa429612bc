//! What one end answers, and which Call ID it names.

use super::*;

#[test]
fn the_reply_to_a_call_is_only_written_when_its_owner_accepts_it() {
    let mut server = End::established(Role::Server);
    let actions = server.receive(outgoing_request(PEER));
    assert_eq!(words(&actions), ["call 1 requested, peer's ID 200"]);
    let call = CallHandle(1);
    let actions = server.input(Input::Accept { call, own_call_id: own() });
    assert_eq!(
        words(&actions),
        [
            "send Outgoing-Call-Reply 100/200 (connected, no error)",
            "call 1 established 100/200, window 64",
        ]
    );
}

#[test]
fn an_earlier_version_is_refused_with_result_5_and_a_later_one_answered_with_ours() {
    // RFC 2637 §2.2, §3.1.2.
    let mut server = End::server();
    assert_eq!(
        words(&server.receive(start_request(0x00FF))),
        [
            "send Start-Control-Connection-Reply (protocol version not supported)",
            "closed: the peer speaks PPTP version 0x00ff, 0x0100 is needed",
        ]
    );
    let mut server = End::server();
    let actions = server.receive(start_request(0x0200));
    let Action::Send(Message::StartReply(reply)) = &actions[0] else { panic!("{actions:?}") };
    assert_eq!((reply.version, reply.result), (VERSION, StartResult::Ok));
}

#[test]
fn a_client_stops_a_server_of_an_earlier_version() {
    // RFC 2637 §3.1.1.
    let mut client = End::client();
    assert_eq!(
        words(&client.receive(start_reply(0x0001, StartResult::Ok))),
        ["send Stop-Control-Connection-Request (protocol version not supported)"]
    );
    assert_eq!(
        words(&client.receive(one_of(Kind::StopReply))),
        ["closed: the peer speaks PPTP version 0x0001, 0x0100 is needed"]
    );
}

#[test]
fn a_client_that_is_refused_says_why() {
    let mut client = End::client();
    assert_eq!(
        words(&client.receive(start_reply(VERSION, StartResult::NotAuthorized))),
        ["closed: the server refused the control connection: not authorized"]
    );
}

#[test]
fn requests_that_cannot_be_met_get_the_error_that_the_rfc_names() {
    // RFC 2637 §2.16.
    let mut server = End::server();
    assert_eq!(
        words(&server.receive(outgoing_request(PEER))),
        [
            "send Outgoing-Call-Reply 0/200 (general error, no control connection yet)",
            "request with ID 200 refused: no control connection yet",
        ]
    );
    let mut server = End::established(Role::Server);
    server.as_pac();
    assert_eq!(
        words(&server.receive(outgoing_request(PEER))),
        [
            "send Outgoing-Call-Reply 0/200 (general error, bad Call ID)",
            "request with ID 200 refused: bad Call ID",
        ]
    );
    server.requested(outgoing_request(PEER + 1));
    assert_eq!(
        words(&server.receive(incoming_request(PEER + 2))),
        [
            "send Incoming-Call-Reply 0/202 (general error, no resources)",
            "request with ID 202 refused: no resources",
        ]
    );
    assert_eq!(server.machine.calls(), 2, "nothing else is touched");
}

#[test]
fn a_second_start_request_is_told_that_the_connection_exists_and_calls_stay() {
    // RFC 2637 §2.2, result code 3.
    let mut server = End::established(Role::Server);
    server.as_pac();
    assert_eq!(
        words(&server.receive(start_request(VERSION))),
        [
            "send Start-Control-Connection-Reply (control connection exists already)",
            "ignored Start-Control-Connection-Request 0",
        ]
    );
    assert_eq!((server.machine.is_established(), server.machine.calls()), (true, 1));
}

#[test]
fn each_message_about_a_call_names_the_id_of_its_end() {
    // RFC 2637 §2.12 to §2.15: disconnects and link info name the PAC's Call ID, clear requests
    // and WAN errors the PNS's. The other end's ID names nothing.
    let mut server = End::established(Role::Server);
    let call = server.as_pac();
    for wrong in [link_info(PEER), Message::CallClearRequest(CallClearRequest { call_id: OWN })] {
        assert!(words(&server.receive(wrong))[0].starts_with("ignored"));
    }
    assert_eq!(words(&server.receive(link_info(OWN))), ["call 1: link info"]);
    let result = DisconnectResult::AdminShutdown;
    assert_eq!(
        words(&server.input(Input::ClearCall { call, result })),
        [
            "send Call-Disconnect-Notify 100 (administrative shutdown)",
            "call 1 over: cleared by this end",
        ]
    );

    let mut client = End::established(Role::Client);
    let call = client.as_pns();
    assert!(words(&client.receive(disconnect(OWN)))[0].starts_with("ignored"));
    assert_eq!(words(&client.receive(one_of(Kind::WanErrorNotify))), ["call 1: WAN errors"]);
    assert_eq!(
        words(&client.input(Input::ClearCall { call, result })),
        ["send Call-Clear-Request 100"]
    );
    assert_eq!(
        words(&client.receive(disconnect(PEER))),
        ["call 1 over: disconnected by the peer: lost carrier (cause 16)"]
    );
}

#[test]
fn a_clear_request_is_confirmed_even_before_the_call_was_accepted() {
    // RFC 2637 §3.2.4.1: wait_cs_ans. The PAC has no Call ID for it yet.
    let mut server = End::established(Role::Server);
    let call = server.requested(outgoing_request(PEER));
    assert_eq!(
        words(&server.receive(one_of(Kind::CallClearRequest))),
        [
            "send Call-Disconnect-Notify 0 (requested)",
            "call 1 over: cleared by the peer (Call-Clear-Request)",
        ]
    );
    let late = server.input(Input::Accept { call, own_call_id: own() });
    assert!(late.is_empty(), "the owner's answer crossed it");
}

#[test]
fn a_call_that_is_aborted_before_its_reply_is_over_when_the_pac_says_so() {
    // RFC 2637 §3.2.4.2: wait_disconnect, with and without a reply that crosses the abort.
    for reply_first in [false, true] {
        let mut client = End::established(Role::Client);
        let call = client.started(Direction::Outgoing);
        let result = DisconnectResult::Request;
        client.input(Input::ClearCall { call, result });
        if reply_first {
            assert!(client.receive(outgoing_reply(OutgoingResult::Connected)).is_empty());
        }
        let actions = client.receive(disconnect(if reply_first { PEER } else { 0 }));
        assert!(words(&actions)[0].starts_with("call 1 over: disconnected by the peer"));
        assert_eq!(client.machine.calls(), 0);
    }
}

#[test]
fn refusals_carry_the_codes_of_their_message() {
    let cases = [
        (
            Refusal::Prohibited,
            "(administratively prohibited, no error)",
            "(not accepted, no error)",
        ),
        (
            Refusal::Error(GeneralError::NoResource),
            "(general error, no resources)",
            "(general error, no resources)",
        ),
    ];
    for (refusal, outgoing, incoming) in cases {
        let mut server = End::established(Role::Server);
        let call = server.requested(outgoing_request(PEER));
        let actions = words(&server.input(Input::Refuse { call, refusal }));
        assert_eq!(actions[0], format!("send Outgoing-Call-Reply 0/200 {outgoing}"));
        let call = server.requested(incoming_request(PEER));
        let actions = words(&server.input(Input::Refuse { call, refusal }));
        assert_eq!(actions[0], format!("send Incoming-Call-Reply 0/200 {incoming}"));
        assert_eq!(server.machine.calls(), 0);
    }
}

#[test]
fn an_own_call_id_is_never_given_to_two_calls_of_a_connection() {
    let mut server = End::established(Role::Server);
    server.as_pac();
    let call = server.requested(outgoing_request(PEER + 1));
    assert_eq!(
        words(&server.input(Input::Accept { call, own_call_id: own() })),
        [
            "send Outgoing-Call-Reply 0/201 (general error, no resources)",
            "call 2 over: own Call ID is in use already",
        ]
    );
    let direction = Direction::Outgoing;
    let actions = server.input(Input::StartCall { direction, own_call_id: own() });
    assert_eq!(words(&actions), ["call with ID 100 not started"]);
}

#[test]
fn a_peer_that_gives_two_calls_one_call_id_violates_the_protocol() {
    // RFC 2637 §3.2.2.
    let mut client = End::established(Role::Client);
    client.as_pns();
    let second = NonZeroU16::new(OWN + 1).unwrap();
    client.input(Input::StartCall { direction: Direction::Outgoing, own_call_id: second });
    let Message::OutgoingCallReply(mut reply) = outgoing_reply(OutgoingResult::Connected) else {
        unreachable!()
    };
    reply.peer_call_id = second.get();
    let actions = words(&client.receive(Message::OutgoingCallReply(reply)));
    assert_eq!(
        actions[2..],
        ["closed: protocol violation: the peer used its Call ID 200 for two calls"]
    );
}

#[test]
fn octets_that_are_no_message_clear_all_calls_and_close_with_the_reason() {
    let mut server = End::established(Role::Server);
    server.as_pac();
    let actions = server.input(Input::Received(b"GET / HTTP/1.1\r\n\r\n"));
    assert_eq!(
        words(&actions),
        [
            "call 1 over: the control connection ended",
            "closed: protocol violation: magic cookie is 0x2f204854: not PPTP, or out of step",
        ]
    );
    assert!(server.receive(one_of(Kind::EchoRequest)).is_empty(), "nothing follows");
    assert_eq!(server.deadline, None);
}

#[test]
fn loss_of_the_tcp_connection_clears_all_of_its_calls() {
    let mut server = End::established(Role::Server);
    server.as_pac();
    server.requested(outgoing_request(PEER + 1));
    assert_eq!(
        words(&server.input(Input::PeerClosed)),
        [
            "call 1 over: the control connection ended",
            "call 2 over: the control connection ended",
            "closed: TCP connection closed by the peer",
        ]
    );
}

#[test]
fn a_read_full_of_messages_queues_at_most_two_outputs_for_each() {
    let mut server = End::established(Role::Server);
    let flood: Vec<u8> = (0..256)
        .flat_map(|n| {
            if n % 2 == 0 { one_of(Kind::EchoRequest) } else { start_request(VERSION) }
                .emit()
                .to_vec()
        })
        .collect();
    assert!(server.input(Input::Received(&flood)).len() <= 2 * 256);
    assert!(server.machine.outputs.capacity() <= 8, "nor is their memory kept");
}
