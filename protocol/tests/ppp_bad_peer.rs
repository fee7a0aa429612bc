//! Clients that stall, cheat, or speak nonsense, against our server: the answer that the RFC
//! names, or silence, and an end with a reason.

// Helpers of tests fail by panicking; clippy.toml's exception reaches only test functions.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::ppp::{
    CLIENT, End, PASSWORD, PERFECT, Pair, Puppet, USER, client_config, describe, only, packet,
    parse, require, respond, seconds, server_config,
};
use protocol::mppe::Strength;
use protocol::ppp::Protocol;
use protocol::ppp::auth::chap::{self, Value};
use protocol::ppp::auth::{Attempt, Credential, Proof, Refusal};
use protocol::ppp::ccp::Policy;
use protocol::ppp::link::{Config, Event, Input, Phase, Verdict};
use protocol::ppp::packet::{Packet, code};

const REQUEST: u8 = code::CONFIGURE_REQUEST;
const MPPE_128: [u8; 6] = [18, 6, 1, 0, 0, 0x40];

fn puppet() -> Puppet {
    Puppet::new(server_config())
}

/// Everything up but with these protocols never answered.
fn silent_in(protocol: Protocol) -> Puppet {
    let mut puppet = puppet();
    puppet.acks.retain(|&of| of != protocol);
    puppet
}

fn unanswered(mut puppet: Puppet) -> (String, usize, u64) {
    let sent = puppet.end.wait(seconds(200));
    (puppet.end.reason(), sent.len(), puppet.end.now.as_micros() / 1_000_000)
}

// Stalls

#[test]
fn a_client_that_never_sends_a_frame_is_a_matter_of_gre() {
    let (reason, sent, _) = unanswered(puppet());
    assert_eq!(reason, "no answer to LCP: no PPP frame of the client arrived (is GRE filtered?)");
    assert_eq!(sent, 10, "RFC 1661 §4.6: Max-Configure");
}

#[test]
fn a_client_that_stalls_in_lcp_ends() {
    let mut puppet = silent_in(Protocol::LCP);
    puppet.log_in();
    assert_eq!(unanswered(puppet).0, "login took too long: stalled in LCP");
}

#[test]
fn a_client_that_stalls_in_authentication_gets_ten_different_challenges() {
    let mut puppet = puppet();
    puppet.login = None;
    let mut sent = puppet.log_in();
    sent.extend(puppet.end.wait(seconds(200)));
    let challenges = only(&sent, Protocol::CHAP, chap::CHALLENGE);
    assert_eq!(challenges.len(), 10);
    for pair in challenges.windows(2) {
        // RFC 1994 §4.1: identifier and value change with each Challenge.
        assert_ne!(pair[0].identifier, pair[1].identifier);
        assert_ne!(pair[0].data, pair[1].data);
    }
    assert_eq!(puppet.end.reason(), "client does not answer in authentication");
}

#[test]
fn a_verdict_that_never_comes_ends_the_login() {
    let mut puppet = puppet();
    puppet.end.judges = false;
    puppet.log_in();
    assert_eq!(puppet.end.link.phase(), Phase::Verdict);
    assert_eq!(unanswered(puppet).0, "login took too long: stalled in the verdict on the login");
}

#[test]
fn a_client_that_stalls_in_ccp_ends() {
    let mut puppet = silent_in(Protocol::CCP);
    puppet.log_in();
    assert_eq!(unanswered(puppet).0, "client does not answer CCP");
}

#[test]
fn a_client_that_stalls_in_ipcp_ends() {
    let mut puppet = silent_in(Protocol::IPCP);
    puppet.encrypt();
    assert_eq!(unanswered(puppet).0, "client refuses or does not answer IPCP");
}

#[test]
fn a_client_that_talks_for_ever_and_never_agrees_is_ended_by_the_login_timeout() {
    let mut puppet = puppet();
    puppet.encrypt();
    let mut identifier = 1_u8;
    while puppet.end.down.is_none() {
        identifier = identifier.wrapping_add(1);
        let until = puppet.end.now + Duration::from_secs(1);
        puppet.wait(until);
        puppet.say(&packet(Protocol::IPCP, REQUEST, identifier, &[2, 6, 0, 0x2D, 15, 1]));
        assert!(puppet.end.now < seconds(80), "{}", puppet.end.transcript);
    }
    assert_eq!(puppet.end.reason(), "login took too long: stalled in IPCP");
}

#[test]
fn a_client_that_starts_again_and_again_has_no_more_time_than_others() {
    let mut puppet = puppet();
    puppet.begin();
    let mut identifier = 100_u8;
    while puppet.end.down.is_none() {
        identifier = identifier.wrapping_add(1);
        let until = puppet.end.now + Duration::from_secs(10);
        puppet.wait(until);
        puppet.say(&packet(Protocol::LCP, REQUEST, identifier, &[]));
        assert!(puppet.end.now < seconds(90), "{}", puppet.end.transcript);
    }
    let reason = puppet.end.reason();
    assert!(reason.starts_with("login took too long: stalled in "), "{reason}");
}

// LCP

#[test]
fn what_lcp_does_not_support_is_rejected_in_one_packet() {
    // Callback, MRRU, Endpoint-Discriminator, Link-Discriminator among good options, as Windows
    // sends them. RFC 1661 §5.4: Reject holds the unknown ones only, in order, unchanged.
    let mut puppet = puppet();
    puppet.begin();
    let options =
        [1, 4, 5, 120, 13, 3, 6, 17, 4, 6, 78, 19, 5, 1, 9, 9, 5, 6, 1, 2, 3, 4, 23, 4, 0, 1, 7, 2];
    assert_eq!(
        puppet.ask(Protocol::LCP, REQUEST, 9, &options),
        "LCP Configure-Reject 9 13:06 17:064e 19:010909 23:0001"
    );
}

#[test]
fn options_of_wrong_length_are_naked_or_discarded() {
    let mut puppet = puppet();
    puppet.begin();
    // The list itself is broken: RFC 1661 §5 discards the packet.
    for broken in [&[1, 3][..], &[1, 0, 5, 0], &[1, 1], &[5, 6, 1, 2, 3], &[7]] {
        assert_eq!(puppet.ask(Protocol::LCP, REQUEST, 1, broken), "", "{broken:02x?}");
    }
    // One option is: it is Naked with good data (RFC 1661 §5.3), in the request's order.
    assert_eq!(
        puppet.ask(Protocol::LCP, REQUEST, 2, &[7, 3, 0, 1, 3, 5, 2, 3, 0, 8, 3, 1]),
        "LCP Configure-Nak 2 7: 1:05dc 2:00000000 8:"
    );
}

#[test]
fn a_client_that_wants_us_to_log_in_is_rejected() {
    let mut puppet = puppet();
    puppet.begin();
    assert_eq!(
        puppet.ask(Protocol::LCP, REQUEST, 1, &[3, 4, 0xC0, 0x23]),
        "LCP Configure-Reject 1 3:c023"
    );
}

#[test]
fn a_client_with_pap_only_is_named_so() {
    let mut puppet = silent_in(Protocol::LCP);
    let sent = puppet.begin();
    let identifier = parse(&sent[0]).1.identifier;
    puppet.ask(Protocol::LCP, code::CONFIGURE_NAK, identifier, &[3, 4, 0xC0, 0x23]);
    puppet.end.wait(seconds(10));
    assert_eq!(puppet.end.reason(), "client offers PAP only");
}

#[test]
fn a_client_that_rejects_authentication_is_named_so() {
    let mut puppet = silent_in(Protocol::LCP);
    let sent = puppet.begin();
    let identifier = parse(&sent[0]).1.identifier;
    puppet.ask(Protocol::LCP, code::CONFIGURE_REJECT, identifier, &[3, 5, 0xC2, 0x23, 0x81]);
    puppet.end.wait(seconds(10));
    assert_eq!(puppet.end.reason(), "client offers no authentication");
}

#[test]
fn replies_to_other_requests_than_ours_change_nothing() {
    // RFC 1661 §5.2–§5.4: identifier and options must be those of the outstanding request.
    let mut puppet = silent_in(Protocol::LCP);
    let sent = puppet.begin();
    let Packet { identifier, data, .. } = parse(&sent[0]).1;
    let stray = identifier.wrapping_add(1);
    for (code, identifier, data) in [
        (code::CONFIGURE_ACK, stray, data),
        (code::CONFIGURE_ACK, identifier, &data[..4]),
        (code::CONFIGURE_NAK, stray, &[1, 4, 5, 0]),
        (code::CONFIGURE_REJECT, identifier, &[1, 4, 5, 0]),
        (code::CONFIGURE_REJECT, identifier, &[99, 2]),
    ] {
        assert_eq!(puppet.ask(Protocol::LCP, code, identifier, data), "", "{code}");
    }
    puppet.say(&packet(Protocol::LCP, REQUEST, 1, &[]));
    assert_eq!(puppet.end.link.phase(), Phase::Lcp, "our request has no answer yet");
}

#[test]
fn after_five_naks_an_option_is_rejected() {
    // RFC 1661 §4.6, Max-Failure.
    let mut puppet = puppet();
    puppet.begin();
    for identifier in 0..5 {
        assert_eq!(
            puppet.ask(Protocol::LCP, REQUEST, identifier, &[1, 4, 0, 10]),
            format!("LCP Configure-Nak {identifier} 1:05dc")
        );
    }
    assert_eq!(
        puppet.ask(Protocol::LCP, REQUEST, 5, &[1, 4, 0, 10]),
        "LCP Configure-Reject 5 1:000a"
    );
    assert!(puppet.ask(Protocol::LCP, REQUEST, 6, &[]).starts_with("LCP Configure-Ack 6"));
}

#[test]
fn naks_count_from_the_last_ack() {
    // RFC 1661 §4.6: Max-Failure is about Naks "without sending a Configure-Ack".
    let mut puppet = silent_in(Protocol::LCP);
    puppet.begin();
    for identifier in 0..5 {
        puppet.ask(Protocol::LCP, REQUEST, identifier, &[1, 4, 0, 10]);
    }
    assert_eq!(puppet.ask(Protocol::LCP, REQUEST, 5, &[]), "LCP Configure-Ack 5");
    assert_eq!(puppet.ask(Protocol::LCP, REQUEST, 6, &[1, 4, 0, 10]), "LCP Configure-Nak 6 1:05dc");
}

#[test]
fn echoes_with_our_own_magic_number_are_a_loop() {
    // RFC 1661 §6.4.
    let mut puppet = puppet();
    puppet.connect();
    let request = puppet.ask(Protocol::LCP, code::ECHO_REQUEST, 1, &[9, 9, 9, 9]);
    let own = u32::from_str_radix(request.split(' ').next_back().unwrap(), 16).unwrap();
    for identifier in 0..4 {
        let answer = puppet.ask(Protocol::LCP, code::ECHO_REQUEST, identifier, &own.to_be_bytes());
        assert_eq!(answer, "");
        // An Echo-Reply counts whatever its magic number.
        puppet.ask(Protocol::LCP, code::ECHO_REPLY, identifier, &own.to_be_bytes());
    }
    assert_eq!(puppet.end.link.phase(), Phase::Up);
    puppet.ask(Protocol::LCP, code::ECHO_REQUEST, 9, &own.to_be_bytes());
    puppet.end.wait(seconds(20));
    assert_eq!(puppet.end.reason(), "the link is looped back");
}

/// RFC 1661 §6.4: the number alone is Naked, though we would Reject the demand for our password.
#[test]
fn our_own_magic_number_is_a_loop() {
    let mut puppet = silent_in(Protocol::LCP);
    let sent = puppet.begin();
    for _ in 0..4 {
        let answer = puppet.say(&sent[0]);
        let naks = only(&answer, Protocol::LCP, code::CONFIGURE_NAK);
        assert_eq!(naks[0].data.len(), 6);
        assert_eq!((answer.len(), naks[0].data[0]), (1, 5));
    }
    puppet.say(&sent[0]);
    puppet.end.wait(seconds(20));
    assert_eq!(puppet.end.reason(), "the link is looped back");
}

/// Each frame of ours comes back: an echo server, or a line that is looped back.
#[test]
fn a_line_that_sends_all_back_is_named_so() {
    for config in [server_config(), client_config(PASSWORD)] {
        let mut puppet = Puppet::new(config);
        puppet.acks.clear();
        let mut frames: std::collections::VecDeque<_> = puppet.begin().into();
        for _ in 0..100 {
            let Some(frame) = frames.pop_front() else { break };
            frames.extend(puppet.say(&frame));
        }
        puppet.end.wait(seconds(20));
        assert_eq!(puppet.end.reason(), "the link is looped back");
    }
}

#[test]
fn garbage_gets_no_answer_and_is_no_sign_of_life() {
    let mut puppet = puppet();
    puppet.begin();
    for garbage in [
        &[][..],
        &[0xFF],
        &[0xFF, 3],
        &[0xC0],
        &[0xC0, 0x21],
        &[0xC0, 0x21, 1, 1, 0, 3],
        &[0xC0, 0x21, 1, 1, 0xFF, 0xFF, 1, 2],
        &[0x01, 0x00, 0x45],
    ] {
        assert!(puppet.say(garbage).is_empty(), "{garbage:02x?}");
    }
    assert_eq!(puppet.end.link.phase(), Phase::Lcp);
}

#[test]
fn unknown_protocols_are_rejected_only_while_lcp_is_opened() {
    // RFC 1661 §5.7. NBFCP, IPXCP, IPV6CP, BACP, EAP, IPv6 data.
    let mut puppet = puppet();
    puppet.begin();
    let unknown = [0x803F, 0x802B, 0x8057, 0xC02B, 0xC227, 0x0057];
    for number in unknown {
        let number = Protocol::new(number).unwrap();
        assert_eq!(puppet.ask(number, 1, 1, &[]), "", "{number}");
    }
    puppet.log_in();
    for number in unknown {
        let number = Protocol::new(number).unwrap();
        let answer = puppet.ask(number, 1, 1, &[]);
        assert!(answer.starts_with("LCP Protocol-Reject"), "{number}: {answer}");
        let data = format!("{:04x}01010004", number.number());
        assert!(answer.ends_with(&data), "{number}: {answer}");
    }
    // Ours, at the wrong time: silence.
    assert_eq!(puppet.ask(Protocol::IPV4, 0x45, 0, &[]), "");
    assert_eq!(puppet.ask(Protocol::COMPRESSED, 0x90, 0, &[]), "");
}

#[test]
fn rejects_and_echoes_fit_the_peers_mru() {
    // RFC 1661 §5.6–§5.8: "MUST be truncated to comply with the peer's established MRU".
    let mut puppet = puppet();
    puppet.begin();
    puppet.say(&packet(Protocol::LCP, REQUEST, 1, &[1, 4, 0, 200, 5, 6, 1, 2, 3, 4]));
    let long = [0_u8; 600];
    for (protocol, code) in
        [(Protocol::LCP, code::ECHO_REQUEST), (Protocol::LCP, 99), (Protocol::IPV6CP, 1)]
    {
        let answers = puppet.say(&packet(protocol, code, 3, &long));
        assert_eq!(answers.len(), 1);
        assert_eq!(answers[0].len(), 2 + 200, "{}", describe(&answers[0]));
        assert_eq!(parse(&answers[0]).1.data.len(), 196);
    }
}

#[test]
fn codes_are_answered_as_rfc_1661_and_1570_say() {
    let mut puppet = puppet();
    puppet.connect();
    assert_eq!(puppet.ask(Protocol::LCP, 99, 8, &[1]), "LCP Code-Reject 2 6308000501");
    assert_eq!(puppet.ask(Protocol::IPCP, 8, 8, &[]), "IPCP Code-Reject 2 08080004");
    for silent in
        [code::IDENTIFICATION, code::TIME_REMAINING, code::DISCARD_REQUEST, code::ECHO_REPLY]
    {
        assert_eq!(puppet.ask(Protocol::LCP, silent, 8, &[0, 0, 0, 0, b'x']), "", "{silent}");
    }
    for silent in [code::RESET_REQUEST, code::RESET_ACK] {
        assert_eq!(puppet.ask(Protocol::CCP, silent, 8, &[]), "", "{silent}");
    }
    let echo = puppet.ask(Protocol::LCP, code::ECHO_REQUEST, 8, &[1, 2, 3, 4, b'x']);
    assert!(echo.starts_with("LCP Echo-Reply 8 ") && echo.ends_with("78"), "{echo}");
    assert!(!echo.contains("01020304"), "the reply has our own magic number");
    assert_eq!(puppet.end.link.phase(), Phase::Up);
}

#[test]
fn a_client_that_hangs_up_is_acknowledged() {
    let mut puppet = puppet();
    puppet.connect();
    assert_eq!(
        puppet.ask(Protocol::LCP, code::TERMINATE_REQUEST, 8, b"User request\x07"),
        "LCP Terminate-Ack 8 "
    );
    assert!(puppet.end.network.is_none(), "data stops at once");
    puppet.end.wait(seconds(10));
    assert_eq!(puppet.end.reason(), "client hung up: User request");
}

#[test]
fn a_copy_of_an_acknowledged_request_does_not_renegotiate() {
    let mut puppet = puppet();
    puppet.connect();
    for (protocol, options) in [
        (Protocol::LCP, &[5, 6, 1, 2, 3, 4][..]),
        (Protocol::CCP, &MPPE_128),
        (Protocol::IPCP, &[3, 6, 10, 99, 0, 10]),
    ] {
        let answer = puppet.ask(protocol, REQUEST, 1, options);
        assert!(answer.starts_with(&format!("{protocol} Configure-Ack 1 ")), "{answer}");
    }
    assert_eq!(puppet.end.link.phase(), Phase::Up);
    // Long after, it is a peer that begins anew.
    puppet.end.wait(seconds(31));
    puppet.acks.clear();
    puppet.say(&packet(Protocol::LCP, REQUEST, 1, &[5, 6, 1, 2, 3, 4]));
    assert_eq!(puppet.end.link.phase(), Phase::Lcp);
    assert!(puppet.end.network.is_none());
}

// Authentication

#[test]
fn a_wrong_password_gets_the_failure_text_of_rfc_2759() {
    let mut puppet = puppet();
    puppet.login = Some((USER.to_vec(), "guess"));
    let sent = puppet.log_in();
    let failures = only(&sent, Protocol::CHAP, chap::FAILURE);
    let text = String::from_utf8(failures[0].data.to_vec()).unwrap();
    // RFC 2759 §6.
    let (before, rest) = text.split_once(" C=").unwrap();
    let (challenge, after) = rest.split_once(' ').unwrap();
    assert_eq!((before, after), ("E=691 R=0", "V=3 M=Denied"));
    assert!(challenge.len() == 32 && challenge.bytes().all(|c| c.is_ascii_hexdigit()));
    assert_eq!(only(&sent, Protocol::LCP, code::TERMINATE_REQUEST).len(), 1);
    puppet.end.wait(seconds(10));
    assert_eq!(puppet.end.reason(), "wrong password: Denied");
}

#[test]
fn each_refusal_has_its_code() {
    for (refusal, code) in [
        (Refusal::PasswordUnchanged, "E=709"),
        (Refusal::RestrictedHours, "E=646"),
        (Refusal::Disabled, "E=647"),
        (Refusal::PasswordExpired, "E=648"),
        (Refusal::NoDialIn, "E=649"),
        (Refusal::WrongPassword, "E=691"),
    ] {
        let mut puppet = puppet();
        puppet.end.judges = false;
        puppet.log_in();
        let identifier = attempt(&puppet.end).identifier;
        let verdict = Verdict::Reject { refusal, message: String::new(), retry: None };
        puppet.end.input(Input::Verdict { identifier, verdict });
        let failure = only(&puppet.end.sent, Protocol::CHAP, chap::FAILURE)[0];
        assert!(failure.data.starts_with(code.as_bytes()));
        assert_eq!(Refusal::from_code(refusal.code().into()), refusal);
    }
}

fn attempt(end: &End) -> Attempt {
    end.events
        .iter()
        .find_map(|event| match event {
            Event::Authenticate(attempt) => Some(attempt.clone()),
            _ => None,
        })
        .unwrap()
}

#[test]
fn a_repeated_response_gets_the_same_success_again() {
    // RFC 1994 §4.2: a lost Success must not kill the login.
    let mut puppet = puppet();
    let sent = puppet.log_in();
    let success = only(&sent, Protocol::CHAP, chap::SUCCESS)[0];
    let challenge = only(&sent, Protocol::CHAP, chap::CHALLENGE)[0];
    let value = Value::parse(challenge.data).unwrap().value.try_into().unwrap();
    let value = respond(&value, USER, PASSWORD).emit();
    let data = Value { value: &value, name: USER }.emit();
    let again = puppet.say(&packet(Protocol::CHAP, chap::RESPONSE, challenge.identifier, &data));
    assert_eq!(again.len(), 1);
    assert_eq!(parse(&again[0]).1, success);
    // Another response under that identifier is none.
    let other = Value { value: &value, name: b"mallory" }.emit();
    let frame = packet(Protocol::CHAP, chap::RESPONSE, challenge.identifier, &other);
    assert!(puppet.say(&frame).is_empty());
    assert_eq!(puppet.end.events.iter().filter(|e| matches!(e, Event::Authenticate(_))).count(), 1);
}

#[test]
fn a_malformed_response_is_refused() {
    for data in [&[0][..], &[49, 1, 2], &[16; 17], &[50; 60]] {
        let mut puppet = puppet();
        puppet.login = None;
        let sent = puppet.log_in();
        let identifier = only(&sent, Protocol::CHAP, chap::CHALLENGE)[0].identifier;
        // One with another identifier is not even looked at.
        let stray = identifier.wrapping_sub(1);
        assert_eq!(puppet.ask(Protocol::CHAP, chap::RESPONSE, stray, data), "");
        let answer = puppet.ask(Protocol::CHAP, chap::RESPONSE, identifier, data);
        assert!(answer.contains("E=691 R=0"), "{answer}");
        puppet.end.wait(seconds(10));
        assert_eq!(puppet.end.reason(), "client sent a malformed MS-CHAPv2 response");
    }
}

#[test]
fn the_domain_is_kept_in_the_name_and_left_out_of_the_hash() {
    // RFC 2759 §4.
    let mut puppet = puppet();
    puppet.end.judges = false;
    puppet.login = Some((b"OFFICE\\alice".to_vec(), PASSWORD));
    puppet.log_in();
    let attempt = attempt(&puppet.end);
    assert_eq!(attempt.name, b"OFFICE\\alice");
    assert!(attempt.verify(&Credential::of_password(PASSWORD)).is_ok());
    assert!(attempt.verify(&Credential::of_password("other")).is_err());
    let Proof::MsChapV2 { peer_challenge, .. } = attempt.proof else { panic!("MS-CHAPv2") };
    assert_eq!(peer_challenge, [0x5A; 16]);
}

#[test]
fn a_verdict_for_an_exchange_that_is_over_is_ignored() {
    let mut puppet = puppet();
    puppet.end.judges = false;
    puppet.log_in();
    let old = attempt(&puppet.end);
    puppet.login = None;
    // The client begins anew while RADIUS thinks.
    puppet.say(&packet(Protocol::LCP, REQUEST, 2, &[5, 6, 9, 9, 9, 9]));
    assert_eq!(puppet.end.link.phase(), Phase::Authentication);
    let verdict = common::ppp::judge(&old);
    puppet.end.input(Input::Verdict { identifier: old.identifier, verdict });
    assert_eq!(puppet.end.link.phase(), Phase::Authentication);
}

#[test]
fn a_server_without_the_password_is_unmasked_by_the_client() {
    // RFC 2759 §5: a wrong S= ends the link.
    let mut end = End::new(client_config(PASSWORD), 3);
    end.open();
    let request = std::mem::take(&mut end.sent).remove(0);
    let ours = parse(&request).1;
    end.receive(&packet(Protocol::LCP, code::CONFIGURE_ACK, ours.identifier, ours.data));
    end.receive(&packet(Protocol::LCP, REQUEST, 1, &[3, 5, 0xC2, 0x23, 0x81]));
    let challenge = Value { value: &[7; 16], name: b"evil" }.emit();
    let sent = end.receive(&packet(Protocol::CHAP, chap::CHALLENGE, 1, &challenge));
    assert_eq!(only(&sent, Protocol::CHAP, chap::RESPONSE).len(), 1);
    let success = format!("S={} M=hello", "0".repeat(40));
    end.receive(&packet(Protocol::CHAP, chap::SUCCESS, 1, success.as_bytes()));
    end.wait(seconds(10));
    assert_eq!(end.reason(), "server does not know the password: its proof is wrong");
    assert!(end.encryption.is_none());
}

#[test]
fn each_login_goes_on_counting_identifiers() {
    // A late verdict must not meet another attempt under its own identifier.
    let mut puppet = puppet();
    let mut last = None;
    for login in 0..20 {
        puppet.begin();
        let sent = puppet.say(&packet(Protocol::LCP, REQUEST, login, &[5, 6, 1, 2, 3, login]));
        let identifier = only(&sent, Protocol::CHAP, chap::CHALLENGE)[0].identifier;
        assert!(last.is_none_or(|last: u8| identifier == last.wrapping_add(1)));
        last = Some(identifier);
    }
}

#[test]
fn a_verdict_can_set_the_users_encryption() {
    for (encryption, expected) in [
        (Some(Policy::DENY), "IPCP Configure-Request 1 3:0a630001"),
        (Some(require(&[Strength::Bits40])), "CCP Configure-Request 1 18:01000020"),
        (None, "CCP Configure-Request 1 18:01000040"),
    ] {
        let mut puppet = puppet();
        puppet.end.judges = false;
        puppet.log_in();
        let attempt = attempt(&puppet.end);
        let Verdict::Accept { accepted, addresses, message, .. } = common::ppp::judge(&attempt)
        else {
            panic!("the password is right");
        };
        let verdict = Verdict::Accept { accepted, addresses, encryption, message };
        puppet.end.input(Input::Verdict { identifier: attempt.identifier, verdict });
        assert_eq!(describe(puppet.end.sent.last().unwrap()), expected);
    }
}

#[test]
fn a_late_copy_of_a_challenge_gets_the_response_that_was_judged() {
    let mut pair = Pair::new(server_config(), client_config(PASSWORD), 1, PERFECT);
    pair.open();
    pair.run(seconds(1));
    assert!(pair.is_up());
    let client = &mut pair.ends[CLIENT];
    let line =
        |sign| client.transcript.lines().find(|l| l.contains(sign)).map(|l| l[9..].to_owned());
    let (challenge, response) = (line("< CHAP Chal").unwrap(), line("> CHAP Resp").unwrap());
    let mut words = challenge.split(' ').skip(2);
    let identifier = words.next().unwrap().parse().unwrap();
    let hex = words.next().unwrap();
    let octet = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    let data: Vec<u8> = (0..hex.len()).step_by(2).map(octet).collect();
    let again = client.receive(&packet(Protocol::CHAP, chap::CHALLENGE, identifier, &data));
    assert_eq!(describe(&again[0]), response);
    // No answer to it is needed any more.
    client.input(Input::Heard(client.now));
    client.wait(seconds(29));
    assert_eq!(client.link.phase(), Phase::Up);
    // A new Challenge is answered too (RFC 1994 §2), and changes no keys.
    let challenge = Value { value: &[9; 16], name: b"penstock" }.emit();
    let frame = packet(Protocol::CHAP, chap::CHALLENGE, identifier.wrapping_add(9), &challenge);
    assert_eq!(only(&client.receive(&frame), Protocol::CHAP, chap::RESPONSE).len(), 1);
    assert_eq!(client.link.phase(), Phase::Up);
}

// CCP

const NO_MPPE: &str = "client offered MS-CHAPv2 without MPPE-128; this server requires it";

fn refused(mut puppet: Puppet) {
    assert!(puppet.end.encryption.is_none());
    assert_eq!(puppet.end.link.phase(), Phase::Terminating);
    puppet.end.wait(seconds(20));
    assert_eq!(puppet.end.reason(), NO_MPPE);
}

#[test]
fn a_client_that_rejects_mppe_is_refused_with_the_reason() {
    let mut puppet = silent_in(Protocol::CCP);
    puppet.log_in();
    let answer = puppet.ask(Protocol::CCP, code::CONFIGURE_REJECT, 1, &MPPE_128);
    assert_eq!(answer, format!("LCP Terminate-Request 2 {NO_MPPE:?}"));
    refused(puppet);
}

#[test]
fn a_client_without_ccp_is_refused() {
    let mut puppet = silent_in(Protocol::CCP);
    puppet.log_in();
    puppet.ask(Protocol::LCP, code::PROTOCOL_REJECT, 1, &[0x80, 0xFD, 1, 1, 0, 4]);
    refused(puppet);
}

#[test]
fn a_client_that_terminates_ccp_is_refused() {
    let mut first = silent_in(Protocol::CCP);
    first.log_in();
    let answer = first.ask(Protocol::CCP, code::TERMINATE_REQUEST, 4, &[]);
    assert!(answer.starts_with("CCP Terminate-Ack 4 ; LCP Terminate-Request"), "{answer}");
    refused(first);

    let mut later = puppet();
    later.connect();
    later.ask(Protocol::CCP, code::TERMINATE_REQUEST, 4, &[]);
    assert!(later.end.network.is_none());
    later.end.wait(seconds(20));
    assert_eq!(later.end.reason(), "client ended encryption, which is required");
}

#[test]
fn an_empty_request_is_naked_with_mppe_and_never_acked() {
    let mut puppet = puppet();
    puppet.log_in();
    for identifier in 0..5 {
        assert_eq!(
            puppet.ask(Protocol::CCP, REQUEST, identifier, &[]),
            format!("CCP Configure-Nak {identifier} 18:01000040")
        );
    }
    puppet.ask(Protocol::CCP, REQUEST, 5, &[]);
    refused(puppet);
}

#[test]
fn mppe_is_naked_down_to_exactly_ours() {
    // RFC 3078 §2.1: one strength bit; with C for compression it is Naked, never Rejected.
    for bits in [0x0100_0041_u32, 0x0100_00E0, 0x0000_0040, 0x0100_0000, 0x0100_0020, 0xFFFF_FFFF] {
        let mut puppet = puppet();
        puppet.log_in();
        let mut option = [18, 6, 0, 0, 0, 0];
        option[2..].copy_from_slice(&bits.to_be_bytes());
        for identifier in 0..5 {
            assert_eq!(
                puppet.ask(Protocol::CCP, REQUEST, identifier, &option),
                format!("CCP Configure-Nak {identifier} 18:01000040"),
                "{bits:#010x}"
            );
        }
        puppet.ask(Protocol::CCP, REQUEST, 5, &option);
        refused(puppet);
    }
}

#[test]
fn other_compressions_are_rejected_and_mppe_stays() {
    let mut puppet = puppet();
    puppet.log_in();
    // Deflate, MPPE, BSD.
    let options = [26, 4, 0x78, 0, 18, 6, 1, 0, 0, 0x40, 21, 3, 0x2F];
    assert_eq!(
        puppet.ask(Protocol::CCP, REQUEST, 1, &options),
        "CCP Configure-Reject 1 26:7800 21:2f"
    );
    let answer = puppet.ask(Protocol::CCP, REQUEST, 2, &MPPE_128);
    assert!(answer.starts_with("CCP Configure-Ack 2 18:01000040; IPCP Configure-Request"));
}

#[test]
fn a_stronger_offer_than_allowed_is_naked_down() {
    let mut config = server_config();
    config.encryption = require(&[Strength::Bits40]);
    let mut puppet = Puppet::new(config);
    puppet.log_in();
    assert_eq!(
        puppet.ask(Protocol::CCP, REQUEST, 1, &[18, 6, 1, 0, 0, 0xE0]),
        "CCP Configure-Nak 1 18:01000020"
    );
}

#[test]
fn a_renegotiation_of_ccp_alone_runs_the_whole_login_again() {
    let mut puppet = puppet();
    puppet.connect();
    puppet.acks.clear();
    let sent = puppet.say(&packet(Protocol::CCP, REQUEST, 77, &MPPE_128));
    assert!(puppet.end.network.is_none());
    assert_eq!(puppet.end.link.phase(), Phase::Lcp);
    assert_eq!(only(&sent, Protocol::LCP, REQUEST).len(), 1);
}

// IPCP

#[test]
fn ipcp_before_ccp_is_held_and_answered_then() {
    let mut puppet = silent_in(Protocol::CCP);
    let sent = puppet.log_in();
    let ccp = only(&sent, Protocol::CCP, REQUEST)[0];
    assert_eq!(puppet.ask(Protocol::IPCP, REQUEST, 1, &[3, 6, 1, 2, 3, 4]), "");
    assert_eq!(puppet.ask(Protocol::IPCP, REQUEST, 2, &[3, 6, 0, 0, 0, 0]), "");
    puppet.ask(Protocol::CCP, REQUEST, 1, &MPPE_128);
    // The newest only.
    let answer = puppet.ask(Protocol::CCP, code::CONFIGURE_ACK, ccp.identifier, ccp.data);
    assert_eq!(answer, "IPCP Configure-Request 1 3:0a630001; IPCP Configure-Nak 2 3:0a63000a");
}

#[test]
fn addresses_and_servers_are_naked_and_what_is_not_configured_rejected() {
    let mut puppet = puppet();
    puppet.encrypt();
    // VJ, WINS and the second DNS are Rejected together (RFC 1332 §3.2; RFC 1877 §1).
    let mut options = vec![3, 6, 0, 0, 0, 0, 2, 6, 0, 0x2D, 15, 1];
    for kind in [129, 130, 131, 132] {
        options.extend([kind, 6, 0, 0, 0, 0]);
    }
    assert_eq!(
        puppet.ask(Protocol::IPCP, REQUEST, 1, &options),
        "IPCP Configure-Reject 1 2:002d0f01 130:00000000 131:00000000 132:00000000"
    );
    assert_eq!(
        puppet.ask(Protocol::IPCP, REQUEST, 2, &[129, 6, 0, 0, 0, 0, 3, 6, 0, 0, 0, 0]),
        "IPCP Configure-Nak 2 129:0a630035 3:0a63000a"
    );
    // A missing address is appended (RFC 1661 §5.3).
    assert_eq!(
        puppet.ask(Protocol::IPCP, REQUEST, 3, &[129, 6, 8, 8, 8, 8]),
        "IPCP Configure-Nak 3 129:0a630035 3:0a63000a"
    );
    // The deprecated option (RFC 1332 §3.1).
    assert_eq!(
        puppet.ask(Protocol::IPCP, REQUEST, 4, &[1, 10, 0, 0, 0, 0, 0, 0, 0, 0]),
        "IPCP Configure-Reject 4 1:0000000000000000"
    );
    assert_eq!(
        puppet.ask(Protocol::IPCP, REQUEST, 5, &[3, 6, 10, 99, 0, 10]),
        "IPCP Configure-Ack 5 3:0a63000a"
    );
    assert_eq!(puppet.end.network.unwrap().mtu, 1450);
}

#[test]
fn a_client_that_insists_on_an_address_is_ended_with_both_named() {
    let mut puppet = puppet();
    puppet.encrypt();
    for identifier in 0..5 {
        let answer = puppet.ask(Protocol::IPCP, REQUEST, identifier, &[3, 6, 1, 2, 3, 4]);
        assert_eq!(answer, format!("IPCP Configure-Nak {identifier} 3:0a63000a"));
    }
    assert_eq!(
        puppet.ask(Protocol::IPCP, REQUEST, 5, &[3, 6, 1, 2, 3, 4]),
        "IPCP Configure-Reject 5 3:01020304"
    );
    puppet.ask(Protocol::IPCP, REQUEST, 6, &[]);
    puppet.end.wait(seconds(20));
    assert_eq!(
        puppet.end.reason(),
        "client insists on address 1.2.3.4; 10.99.0.10 is assigned to it"
    );
}

#[test]
fn a_client_that_never_speaks_of_its_address_comes_up_with_the_assigned_one() {
    let mut puppet = puppet();
    puppet.encrypt();
    for identifier in 0..5 {
        puppet.ask(Protocol::IPCP, REQUEST, identifier, &[]);
    }
    assert_eq!(puppet.ask(Protocol::IPCP, REQUEST, 5, &[]), "IPCP Configure-Ack 5");
    assert_eq!(Some(puppet.end.network.unwrap().remote), common::ppp::addresses().remote);
}

#[test]
fn endless_naks_of_our_request_end() {
    let mut puppet = silent_in(Protocol::IPCP);
    puppet.encrypt();
    for _ in 0..20 {
        let last = puppet.end.transcript.lines().rev().find(|l| l.contains("> IPCP Configure-R"));
        let identifier: u8 = last.unwrap().split(' ').rev().nth(1).unwrap().parse().unwrap();
        puppet.ask(Protocol::IPCP, code::CONFIGURE_NAK, identifier, &[3, 6, 1, 1, 1, 1]);
        if puppet.end.link.phase() == Phase::Terminating {
            puppet.end.wait(seconds(20));
            assert_eq!(puppet.end.reason(), "client refuses or does not answer IPCP");
            return;
        }
    }
    panic!("{}", puppet.end.transcript);
}

#[test]
fn a_client_that_closes_ipcp_loses_the_link() {
    let mut puppet = puppet();
    puppet.connect();
    let answer = puppet.ask(Protocol::IPCP, code::TERMINATE_REQUEST, 9, &[]);
    assert_eq!(answer, "IPCP Terminate-Ack 9 ");
    assert!(puppet.end.network.is_none(), "data stops at once");
    puppet.end.wait(seconds(20));
    assert_eq!(puppet.end.reason(), "client refuses or does not answer IPCP");
}

#[test]
fn the_tunnels_mtu_fits_the_peer_and_the_outer_path() {
    // (configured, peer's MRU, outer MTU) → MTU.
    for (mtu, mru, outer_mtu, expected) in [
        (1450, 1500, 1500, 1450),
        (1460, 1500, 1500, 1456),
        (1450, 1400, 1500, 1396),
        (1450, 1500, 1480, 1436),
    ] {
        let mut puppet = Puppet::new(Config { mtu, outer_mtu, ..server_config() });
        puppet.begin();
        let [high, low] = u16::to_be_bytes(mru);
        puppet.say(&packet(Protocol::LCP, REQUEST, 1, &[1, 4, high, low]));
        puppet.say(&packet(Protocol::CCP, REQUEST, 1, &MPPE_128));
        puppet.say(&packet(Protocol::IPCP, REQUEST, 1, &[3, 6, 10, 99, 0, 10]));
        assert_eq!(puppet.end.network.unwrap().mtu, expected);
    }
}

#[test]
fn a_client_that_rejects_ipcp_is_ended() {
    let mut puppet = silent_in(Protocol::IPCP);
    puppet.encrypt();
    puppet.ask(Protocol::LCP, code::PROTOCOL_REJECT, 1, &[0x80, 0x21, 1, 1, 0, 4]);
    puppet.end.wait(seconds(20));
    assert_eq!(puppet.end.reason(), "client refuses or does not answer IPCP");
}
