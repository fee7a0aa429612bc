//! Peers that repeat, guess and cheat in each method of authentication.

// Helpers of tests fail by panicking; clippy.toml's exception reaches only test functions.
#![allow(clippy::unwrap_used)]

mod common;

use common::ppp::{End, PASSWORD, USER, client_with, only, packet, parse, seconds, server_with};
use protocol::mschap::{Exchange, NtHash};
use protocol::ppp::Protocol;
use protocol::ppp::auth::chap::{self, Value};
use protocol::ppp::auth::{Attempt, Failure, Method, Password, Proof, Refusal, mschapv2, pap};
use protocol::ppp::ccp::{Policy, Strengths};
use protocol::ppp::link::{Addresses, Config, Event, Input, Phase, Role, Verdict};
use protocol::ppp::packet::{Packet, code};

/// A server with one method at its authentication, and what it sent last.
fn server(method: Method) -> (End, Vec<Vec<u8>>) {
    let mut config = server_with(&[method]);
    if method.strengths() == Strengths::NONE {
        config.encryption = Policy::DENY;
    }
    let mut end = End::new(config, 7);
    end.judges = false;
    end.open();
    let request = std::mem::take(&mut end.sent).remove(0);
    let ours = parse(&request).1;
    end.receive(&packet(Protocol::LCP, code::CONFIGURE_REQUEST, 1, &[5, 6, 1, 2, 3, 4]));
    let sent = end.receive(&packet(Protocol::LCP, code::CONFIGURE_ACK, ours.identifier, ours.data));
    assert_eq!(end.link.phase(), Phase::Authentication);
    (end, sent)
}

fn attempts(end: &End) -> Vec<&Attempt> {
    end.events
        .iter()
        .filter_map(|event| match event {
            Event::Authenticate(attempt) => Some(attempt),
            _ => None,
        })
        .collect()
}

fn judge(end: &mut End, verdict: Verdict) -> Vec<Vec<u8>> {
    let identifier = attempts(end).last().unwrap().identifier;
    end.input(Input::Verdict { identifier, verdict });
    std::mem::take(&mut end.sent)
}

fn refuse(end: &mut End, retry: Option<Vec<u8>>) -> Vec<Vec<u8>> {
    let (refusal, message) = (Refusal::WrongPassword, "Denied".to_owned());
    judge(end, Verdict::Reject { refusal, message, retry })
}

fn request(name: &[u8], password: &str) -> Vec<u8> {
    pap::Request { name, password: Password::from(password.as_bytes()) }.emit()
}

#[test]
fn a_repeated_pap_request_gets_the_same_answer_and_no_second_verdict() {
    // RFC 1334 §2.2.
    let (mut end, _) = server(Method::Pap);
    let data = request(USER, PASSWORD);
    assert!(end.receive(&packet(Protocol::PAP, pap::REQUEST, 9, &data)).is_empty());
    assert!(end.receive(&packet(Protocol::PAP, pap::REQUEST, 10, &data)).is_empty());
    let verdict = common::ppp::judge(attempts(&end)[0]);
    let sent = judge(&mut end, verdict);
    let ack = only(&sent, Protocol::PAP, pap::ACK)[0];
    assert_eq!((ack.identifier, ack.data), (9, &b"\x07Welcome"[..]));
    let again = end.receive(&packet(Protocol::PAP, pap::REQUEST, 11, &data));
    let again = parse(&again[0]).1;
    assert_eq!((again.code, again.identifier, again.data), (pap::ACK, 11, ack.data));
    // Another user's request gets nothing from a login that is over.
    let other = packet(Protocol::PAP, pap::REQUEST, 12, &request(b"mallory", PASSWORD));
    assert!(end.receive(&other).is_empty());
    assert_eq!(attempts(&end).len(), 1);
}

#[test]
fn a_wrong_pap_password_gets_a_nak_and_the_end() {
    let (mut end, _) = server(Method::Pap);
    end.receive(&packet(Protocol::PAP, pap::REQUEST, 1, &request(USER, "guess")));
    let sent = refuse(&mut end, Some(vec![0; 16]));
    assert_eq!(only(&sent, Protocol::PAP, pap::NAK)[0].data, b"\x06Denied");
    assert_eq!(only(&sent, Protocol::LCP, code::TERMINATE_REQUEST).len(), 1);
    end.wait(seconds(20));
    assert_eq!(end.reason(), "wrong password: Denied");
}

#[test]
fn a_malformed_proof_is_refused_by_the_methods_name() {
    for (method, protocol, data) in [
        (Method::Pap, Protocol::PAP, &[9, b'a'][..]),
        (Method::ChapMd5, Protocol::CHAP, &[3, 1, 2, 3]),
        (Method::MsChapV1, Protocol::CHAP, &[16; 17]),
        // RFC 2433 §6: the flag says that there is a LAN Manager response alone.
        (Method::MsChapV1, Protocol::CHAP, &[&[49][..], &[0; 49]].concat()),
        (Method::MsChapV2, Protocol::CHAP, &[48; 49]),
    ] {
        let (mut end, sent) = server(method);
        let identifier = sent.first().map_or(1, |frame| parse(frame).1.identifier);
        // PAP's request is CHAP's Challenge by number, and its Nak CHAP's Success.
        let code = if method == Method::Pap { pap::REQUEST } else { chap::RESPONSE };
        let sent = end.receive(&packet(protocol, code, identifier, data));
        assert_eq!(only(&sent, Protocol::LCP, code::TERMINATE_REQUEST).len(), 1, "{method}");
        assert!(attempts(&end).is_empty());
        end.wait(seconds(20));
        assert_eq!(end.reason(), format!("client sent a malformed {method} response"));
    }
}

#[test]
fn a_client_that_never_sends_its_password_is_ended() {
    let (mut end, _) = server(Method::Pap);
    end.wait(seconds(50));
    assert_eq!(end.reason(), "client does not answer in authentication");
}

#[test]
fn a_server_that_never_answers_pap_is_given_up() {
    let mut config = client_with(PASSWORD, &[Method::Pap]);
    config.encryption = Policy::DENY;
    let mut end = End::new(config, 7);
    end.open();
    let first = std::mem::take(&mut end.sent).remove(0);
    let ours = parse(&first).1;
    end.receive(&packet(Protocol::LCP, code::CONFIGURE_ACK, ours.identifier, ours.data));
    let sent = end.receive(&packet(Protocol::LCP, code::CONFIGURE_REQUEST, 1, &[3, 4, 0xC0, 0x23]));
    let mut requests = sent;
    requests.extend(end.wait(seconds(40)));
    let requests = only(&requests, Protocol::PAP, pap::REQUEST);
    assert_eq!(requests.len(), 10);
    // RFC 1334 §2.2.1: the identifier changes each time.
    assert!(requests.windows(2).all(|pair| pair[0].identifier != pair[1].identifier));
    end.wait(seconds(60));
    assert_eq!(end.reason(), "server does not answer in authentication");
}

/// A client's MS-CHAPv2 Response to this challenge.
fn respond(identifier: u8, challenge: &[u8], name: &[u8], password: &str) -> Vec<u8> {
    let (challenge, peer_challenge) = (challenge.try_into().unwrap(), [0x5A; 16]);
    let exchange = Exchange {
        authenticator_challenge: &challenge,
        peer_challenge: &peer_challenge,
        user: name,
    };
    let nt_response = exchange.nt_response(&NtHash::of_password(password));
    let value = mschapv2::Response { peer_challenge, nt_response }.emit();
    let data = Value { value: &value, name }.emit();
    packet(Protocol::CHAP, chap::RESPONSE, identifier, &data)
}

#[test]
fn a_failure_with_retry_is_answered_in_the_same_exchange() {
    // RFC 2759 §6, §9.1.4, as a RADIUS server allows it.
    let (mut end, sent) = server(Method::MsChapV2);
    let Packet { identifier, data, .. } = parse(&sent[0]).1;
    let challenge = Value::parse(data).unwrap().value.to_vec();
    let wrong = respond(identifier, &challenge, USER, "guess");
    end.receive(&wrong);
    let next = vec![0xC7; 16];
    let sent = refuse(&mut end, Some(next.clone()));
    let failure = parse(&sent[0]).1;
    assert_eq!(sent.len(), 1, "the link stays");
    assert_eq!((failure.code, failure.identifier), (chap::FAILURE, identifier));
    assert_eq!(Failure::parse(failure.data).retry, Some(next.clone()));
    assert!(failure.data.starts_with(b"E=691 R=1 C=C7C7"));
    // A copy of the wrong Response gets a copy of the Failure, and is no second failure.
    assert_eq!(end.receive(&wrong), sent);
    assert_eq!(attempts(&end).len(), 1);
    // No Challenge is repeated meanwhile: somebody types.
    assert!(end.wait(seconds(30)).is_empty());

    let identifier = identifier.wrapping_add(1);
    end.receive(&respond(identifier, &next, USER, PASSWORD));
    let (first, second) = (attempts(&end)[0], attempts(&end)[1]);
    assert!(!first.is_retry && second.is_retry);
    let Proof::MsChapV2 { authenticator_challenge, .. } = second.proof else { panic!() };
    assert_eq!(authenticator_challenge[..], next);
    let verdict = common::ppp::judge(second);
    let sent = judge(&mut end, verdict);
    assert_eq!(parse(&sent[0]).1.identifier, identifier);
    assert_eq!(parse(&sent[0]).1.code, chap::SUCCESS);
    assert_eq!(end.link.phase(), Phase::Ccp);
}

#[test]
fn the_third_wrong_password_is_the_last_of_an_exchange() {
    // RFC 2759 §9.1.5.
    let (mut end, sent) = server(Method::MsChapV2);
    let Packet { mut identifier, data, .. } = parse(&sent[0]).1;
    let mut challenge = Value::parse(data).unwrap().value.to_vec();
    for attempt in 1..=3_u8 {
        end.receive(&respond(identifier, &challenge, USER, "guess"));
        challenge = vec![attempt; 16];
        let sent = refuse(&mut end, Some(challenge.clone()));
        let flag = if attempt == 3 { "R=0" } else { "R=1" };
        assert!(String::from_utf8_lossy(parse(&sent[0]).1.data).contains(flag));
        identifier = identifier.wrapping_add(1);
    }
    assert_eq!(end.link.phase(), Phase::Terminating);
    assert_eq!(attempts(&end).len(), 3);
}

#[test]
fn a_retry_with_a_challenge_of_another_length_is_none() {
    for (method, challenge) in
        [(Method::MsChapV2, 8), (Method::MsChapV1, 16), (Method::ChapMd5, 16)]
    {
        let (mut end, sent) = server(method);
        let identifier = parse(&sent[0]).1.identifier;
        let length = if method == Method::ChapMd5 { 16 } else { 49 };
        let value = vec![1; length];
        let data = Value { value: &value, name: USER }.emit();
        end.receive(&packet(Protocol::CHAP, chap::RESPONSE, identifier, &data));
        let sent = refuse(&mut end, Some(vec![0; challenge]));
        assert!(!String::from_utf8_lossy(parse(&sent[0]).1.data).contains("R=1"), "{method}");
        assert_eq!(end.link.phase(), Phase::Terminating);
    }
}

#[test]
fn a_verdict_without_the_servers_proof_lets_nobody_in() {
    // RFC 2759 §5: the client would not believe it, and there would be no keys.
    let (mut end, sent) = server(Method::MsChapV2);
    let Packet { identifier, data, .. } = parse(&sent[0]).1;
    let challenge = Value::parse(data).unwrap().value.to_vec();
    end.receive(&respond(identifier, &challenge, USER, PASSWORD));
    let addresses: Addresses = common::ppp::addresses();
    let verdict = Verdict::Accept {
        accepted: Default::default(),
        addresses,
        encryption: None,
        message: String::new(),
    };
    let sent = judge(&mut end, verdict);
    assert_eq!(parse(&sent[0]).1.code, chap::FAILURE);
    end.wait(seconds(20));
    assert_eq!(end.reason(), "the verdict on the login lacks MS-CHAPv2's proof of the server");
}

#[test]
fn a_user_who_must_encrypt_cannot_come_in_by_a_method_without_keys() {
    let (mut end, _) = server(Method::Pap);
    end.receive(&packet(Protocol::PAP, pap::REQUEST, 1, &request(USER, PASSWORD)));
    let Verdict::Accept { accepted, addresses, message, .. } =
        common::ppp::judge(attempts(&end)[0])
    else {
        panic!("the password is right");
    };
    let encryption = Some(Policy::default());
    judge(&mut end, Verdict::Accept { accepted, addresses, encryption, message });
    end.wait(seconds(20));
    assert_eq!(end.reason(), "PAP gives no keys for MPPE-128, which is required");
    assert!(end.encryption.is_none());
}

#[test]
fn a_later_challenge_must_be_answered_by_the_same_user() {
    let role = Role::Server {
        name: b"penstock".to_vec(),
        methods: vec![Method::MsChapV2],
        challenge_interval: Some(std::time::Duration::from_secs(60)),
    };
    let mut puppet = common::ppp::Puppet::new(Config { keepalive: None, ..Config::new(role) });
    puppet.connect();
    puppet.login = None;
    let sent = puppet.wait(seconds(60));
    let challenge = only(&sent, Protocol::CHAP, chap::CHALLENGE)[0];
    let value = Value::parse(challenge.data).unwrap().value.to_vec();
    let sent = puppet.say(&respond(challenge.identifier, &value, b"mallory", PASSWORD));
    assert_eq!(only(&sent, Protocol::CHAP, chap::FAILURE).len(), 1);
    assert!(puppet.end.network.is_none());
    puppet.end.wait(seconds(80));
    assert_eq!(puppet.end.reason(), "client answered a later challenge under another name");
}

/// A server that asks again each minute, with its client connected.
fn asked_again() -> (common::ppp::Puppet, u8, [u8; 16]) {
    let role = Role::Server {
        name: b"penstock".to_vec(),
        methods: vec![Method::MsChapV2],
        challenge_interval: Some(std::time::Duration::from_secs(60)),
    };
    let mut puppet = common::ppp::Puppet::new(Config { keepalive: None, ..Config::new(role) });
    puppet.connect();
    puppet.login = None;
    let sent = puppet.wait(seconds(60));
    let challenge = only(&sent, Protocol::CHAP, chap::CHALLENGE)[0];
    let value = Value::parse(challenge.data).unwrap().value.try_into().unwrap();
    (puppet, challenge.identifier, value)
}

#[test]
fn a_later_challenge_that_is_answered_wrongly_or_not_at_all_ends_the_session() {
    // RFC 1994 §4.2: "If the Value received in a Response is not equal to the expected value, then
    // the implementation MUST transmit a CHAP packet with the Code field set to 4 (Failure), and
    // SHOULD take action to terminate the link."
    let (mut puppet, identifier, value) = asked_again();
    let sent = puppet.say(&respond(identifier, &value, USER, "guess"));
    let failure = only(&sent, Protocol::CHAP, chap::FAILURE)[0];
    assert!(failure.data.starts_with(b"E=691 R=0"), "{:?}", failure.data);
    assert!(puppet.end.network.is_none(), "data passes no longer");
    puppet.end.wait(seconds(80));
    assert!(puppet.end.reason().starts_with("wrong password"), "{}", puppet.end.reason());

    let (mut silent, _, _) = asked_again();
    silent.end.wait(seconds(120));
    assert_eq!(silent.end.reason(), "client does not answer in authentication");
}

#[test]
fn requests_to_change_a_password_are_not_answered_and_change_nothing() {
    // RFC 2433 §9 and §10 (codes 5 and 6), RFC 2759 §7 (code 7), of all lengths.
    let lengths = [0, 1, 4, 67, 582, 586, 1400];
    let ask = |end: &mut End, identifier: u8| {
        for code in 5..=7 {
            for length in lengths {
                let sent = end.receive(&packet(Protocol::CHAP, code, identifier, &vec![7; length]));
                assert!(sent.is_empty(), "code {code}, {length} octets: {sent:?}");
            }
        }
    };
    for method in [Method::MsChapV1, Method::MsChapV2] {
        // Before the Response, while it is judged, and after "password expired".
        let (mut end, sent) = server(method);
        let Packet { identifier, data, .. } = parse(&sent[0]).1;
        let challenge = Value::parse(data).unwrap().value.to_vec();
        ask(&mut end, identifier);
        assert_eq!(end.link.phase(), Phase::Authentication);
        let value = vec![1; 49];
        let response = Value { value: &value, name: USER }.emit();
        end.receive(&packet(Protocol::CHAP, chap::RESPONSE, identifier, &response));
        ask(&mut end, identifier);
        let (refusal, message) = (Refusal::PasswordExpired, "Expired".to_owned());
        let sent = judge(&mut end, Verdict::Reject { refusal, message, retry: None });
        let failure = only(&sent, Protocol::CHAP, chap::FAILURE)[0];
        let text = String::from_utf8_lossy(failure.data).into_owned();
        assert!(text.starts_with("E=648 R=0 C="), "{text}");
        assert!(!challenge.is_empty());
        ask(&mut end, identifier.wrapping_add(1));
        end.wait(seconds(20));
        assert!(end.reason().starts_with("password expired"), "{}", end.reason());
    }
}

#[test]
fn the_longest_pap_fields_are_taken_and_longer_ones_are_none() {
    // RFC 1334 §2.2.1: lengths are one octet.
    let longest = [255_u8; 255];
    let whole = [&[255][..], &longest, &[255], &longest].concat();
    let (mut end, _) = server(Method::Pap);
    end.receive(&packet(Protocol::PAP, pap::REQUEST, 1, &whole));
    assert_eq!(attempts(&end)[0].name, longest);
    refuse(&mut end, None);
    assert_eq!(end.link.phase(), Phase::Terminating);
    // Each cut of it says more than it has.
    for length in (0..whole.len()).step_by(17) {
        let (mut end, _) = server(Method::Pap);
        let sent = end.receive(&packet(Protocol::PAP, pap::REQUEST, 1, &whole[..length]));
        assert_eq!(only(&sent, Protocol::PAP, pap::NAK).len(), 1, "{length} octets");
        assert!(attempts(&end).is_empty());
        end.wait(seconds(20));
        assert_eq!(end.reason(), "client sent a malformed PAP response");
    }
}
