//! Peers that stall, at each step.

use super::*;

/// Lets the clock jump from deadline to deadline, as long as nothing else happens.
fn stall(end: &mut End) -> Vec<(u64, String)> {
    let mut transcript = Vec::new();
    while let Some(deadline) = end.deadline {
        assert!(deadline > end.now, "a deadline moves on");
        end.now = deadline;
        let seconds = deadline.since(Instant::ORIGIN).as_secs();
        let actions = end.input(Input::DeadlinePassed);
        transcript.extend(words(&actions).into_iter().map(|words| (seconds, words)));
    }
    transcript
}

fn last(end: &mut End) -> (u64, String) {
    stall(end).pop().unwrap()
}

#[test]
fn a_peer_that_stalls_is_closed_at_each_step() {
    // RFC 2637 §3.1.4, §3.2.1.
    let mut out = String::new();
    let mut row = |step: &str, mut end: End| {
        let (seconds, words) = last(&mut end);
        out += &format!("{step}: {seconds} s, {words}\n");
    };
    row("server, TCP open", End::server());
    row("client, TCP open", End::client());
    row("server, established", End::established(Role::Server));
    let mut end = End::established(Role::Server);
    end.requested(outgoing_request(PEER));
    row("call requested, owner silent", end);
    let mut end = End::established(Role::Server);
    end.as_pac();
    row("call established as PAC", end);
    let mut end = End::established(Role::Client);
    end.started(Direction::Outgoing);
    row("outgoing call requested", end);
    let mut end = End::established(Role::Client);
    let call = end.as_pns();
    end.input(Input::ClearCall { call, result: DisconnectResult::Request });
    row("call being cleared", end);
    let mut end = End::established(Role::Server);
    end.started(Direction::Incoming);
    row("incoming call requested", end);
    let mut end = End::established(Role::Server);
    let call = end.requested(incoming_request(PEER));
    end.input(Input::Accept { call, own_call_id: own() });
    row("incoming call answered", end);
    let mut end = End::established(Role::Server);
    end.input(Input::Stop(StopReason::LocalShutdown));
    row("stop requested", end);
    insta::assert_snapshot!(out, @r"
    server, TCP open: 60 s, closed: the peer did not establish the control connection in time
    client, TCP open: 60 s, closed: the peer did not establish the control connection in time
    server, established: 120 s, closed: the peer does not answer Echo-Requests
    call requested, owner silent: 120 s, closed: the peer does not answer Echo-Requests
    call established as PAC: 120 s, closed: the peer does not answer Echo-Requests
    outgoing call requested: 60 s, closed: the peer did not send Outgoing-Call-Reply in time
    call being cleared: 60 s, closed: the peer did not send Call-Disconnect-Notify in time
    incoming call requested: 60 s, closed: the peer did not send Incoming-Call-Reply in time
    incoming call answered: 60 s, closed: the peer did not send Incoming-Call-Connected in time
    stop requested: 5 s, closed: stopped by this end; the peer did not answer
    ");
}

#[test]
fn half_a_message_does_not_keep_a_connection_open() {
    let mut server = End::server();
    let octets = start_request(VERSION).emit();
    server.at(59, Input::Received(&octets[..155]));
    assert_eq!(server.deadline, Some(at(60)));
}

#[test]
fn silence_is_asked_about_after_a_minute_and_closed_after_another() {
    // RFC 2637 §3.1.4, 2.
    let mut server = End::established(Role::Server);
    server.as_pac();
    assert_eq!(
        stall(&mut server),
        [
            (60, "send Echo-Request #1".into()),
            (120, "call 1 over: the control connection ended".into()),
            (120, "closed: the peer does not answer Echo-Requests".into()),
        ]
    );
}

#[test]
fn an_echo_reply_counts_only_with_the_identifier_of_the_request() {
    let mut server = End::established(Role::Server);
    assert_eq!(words(&server.at(60, Input::DeadlinePassed)), ["send Echo-Request #1"]);
    let reply = |identifier| {
        let (result, error) = (PlainResult::Ok, GeneralError::None);
        Message::EchoReply(EchoReply { identifier, result, error })
    };
    assert_eq!(words(&server.receive(reply(2))), ["ignored Echo-Reply 0"]);
    assert_eq!(server.deadline, Some(at(120)));
    server.now = at(70);
    assert!(server.receive(reply(1)).is_empty());
    assert_eq!(server.deadline, Some(at(130)), "the next request");
}

#[test]
fn any_message_postpones_the_echo_request() {
    let mut server = End::established(Role::Server);
    server.now = at(50);
    server.receive(one_of(Kind::EchoRequest));
    assert_eq!(server.deadline, Some(at(110)));
}

#[test]
fn a_missing_echo_reply_closes_nothing_while_ppp_lives() {
    let mut server = End::established(Role::Server);
    server.as_pac();
    server.at(60, Input::DeadlinePassed);
    server.at(120, Input::PppAlive(at(90)));
    assert_eq!(words(&server.at(120, Input::DeadlinePassed)), ["echo unanswered"]);
    assert_eq!(
        stall(&mut server).pop(),
        Some((240, "closed: the peer does not answer Echo-Requests".into())),
        "PPP died meanwhile"
    );
}

#[test]
fn ppp_that_lived_before_the_request_and_the_switch_do_not_count() {
    let mut server = End::established(Role::Server);
    server.at(59, Input::PppAlive(at(59)));
    server.at(60, Input::DeadlinePassed);
    // Told late, and once more of what is older still.
    server.at(119, Input::PppAlive(at(59)));
    server.at(119, Input::PppAlive(at(30)));
    assert_eq!(last(&mut server).0, 120);

    let config = Config { ppp_keeps_alive: false, ..config() };
    let mut server = End::opened(Connection::server(config));
    server.receive(start_request(VERSION));
    server.at(60, Input::DeadlinePassed);
    server.at(100, Input::PppAlive(at(100)));
    assert_eq!(last(&mut server).0, 120);
}

#[test]
fn a_deadline_reported_too_early_or_late_does_no_harm() {
    let mut server = End::established(Role::Server);
    assert!(server.at(59, Input::DeadlinePassed).is_empty());
    assert_eq!(server.deadline, Some(at(60)));
    assert_eq!(words(&server.at(500, Input::DeadlinePassed)), ["send Echo-Request #1"]);
    assert_eq!(server.deadline, Some(at(560)));
}
