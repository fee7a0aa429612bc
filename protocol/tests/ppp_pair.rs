//! Our server against our client: what a login looks like, and that it always comes to an end.

mod common;

use std::time::Duration;

use common::ppp::{
    CLIENT, End, Impairment, PASSWORD, PERFECT, Pair, SERVER, STRENGTHS_ALL, client_config,
    client_with, require, seconds, server_config, server_with,
};
use protocol::mppe::Strength;
use protocol::ppp::auth::{Method, Refusal};
use protocol::ppp::ccp::{Policy, Strengths};
use protocol::ppp::link::{Config, Encryption, Event, Input, Phase, Reason, Role, Verdict};

fn pair() -> Pair {
    let mut pair = Pair::new(server_config(), client_config(PASSWORD), 1, PERFECT);
    pair.open();
    pair
}

#[test]
fn a_login_step_by_step() {
    let mut pair = pair();
    pair.run(seconds(1));
    assert!(pair.is_up());
    insta::assert_snapshot!("login_server", pair.ends[SERVER].transcript);
    insta::assert_snapshot!("login_client", pair.ends[CLIENT].transcript);
}

#[test]
fn a_wrong_password_ends_both_sides_with_its_name() {
    let mut pair = Pair::new(server_config(), client_config("wrong"), 1, PERFECT);
    pair.open();
    pair.run(seconds(10));
    assert_eq!(pair.ends[SERVER].reason(), "wrong password: Denied");
    assert_eq!(pair.ends[CLIENT].reason(), "wrong password: Denied");
    insta::assert_snapshot!("wrong_password_server", pair.ends[SERVER].transcript);
}

#[test]
fn without_encryption_ipcp_follows_authentication_at_once() {
    let (mut server, mut client) = (server_config(), client_config(PASSWORD));
    server.encryption = Policy::DENY;
    client.encryption = Policy::DENY;
    let mut pair = Pair::new(server, client, 1, PERFECT);
    pair.open();
    pair.run(seconds(1));
    assert!(pair.is_up());
    assert_eq!(pair.ends[SERVER].encryption, Some(Encryption::None));
}

#[test]
fn a_client_that_requires_encryption_refuses_a_server_without() {
    let mut server = server_config();
    server.encryption = Policy::DENY;
    let mut pair = Pair::new(server, client_config(PASSWORD), 1, PERFECT);
    pair.open();
    pair.run(seconds(10));
    assert_eq!(
        pair.ends[CLIENT].reason(),
        "server offered MS-CHAPv2 without MPPE-128; this client requires it"
    );
    assert!(pair.ends[SERVER].reason().starts_with("client hung up"));
}

#[test]
fn the_best_common_strength_is_found() {
    for (server_has, client_has, both) in [
        (&STRENGTHS_ALL[..], &[Strength::Bits40][..], Some("MPPE40 stateless")),
        (&[Strength::Bits56], &STRENGTHS_ALL, Some("MPPE56 stateless")),
        (&STRENGTHS_ALL, &STRENGTHS_ALL, Some("MPPE128 stateless")),
        (&[Strength::Bits128], &[Strength::Bits40], None),
    ] {
        let (mut server, mut client) = (server_config(), client_config(PASSWORD));
        server.encryption = require(server_has);
        client.encryption = require(client_has);
        let mut pair = Pair::new(server, client, 1, PERFECT);
        pair.open();
        pair.run(seconds(20));
        match both {
            Some(name) => {
                assert!(pair.is_up());
                assert_eq!(pair.ends[SERVER].encryption.as_ref().unwrap().to_string(), name);
            }
            None => {
                let reasons = [pair.ends[SERVER].reason(), pair.ends[CLIENT].reason()];
                assert!(reasons.iter().any(|reason| reason.contains("without MPPE")));
                assert!(pair.ends.iter().all(|end| end.network.is_none()));
            }
        }
    }
}

#[test]
fn a_renegotiation_of_lcp_brings_new_keys() {
    // RFC 1661 §4.1: RCR+ in Opened takes the layer down. A second client takes the first's place.
    let mut pair = pair();
    pair.run(seconds(1));
    let before = pair.ends[SERVER].encryption.clone();
    pair.ends[CLIENT] = End::new(client_config(PASSWORD), 0x77);
    pair.ends[CLIENT].now = pair.now;
    pair.ends[CLIENT].open();
    pair.transmit();
    pair.run(seconds(20));
    assert!(pair.is_up());
    assert_ne!(pair.ends[SERVER].encryption, before);
}

#[test]
fn the_owner_can_end_a_link() {
    let mut pair = pair();
    pair.run(seconds(1));
    pair.ends[SERVER].input(Input::Close(Reason::Closed("disconnected by operator".into())));
    pair.transmit();
    pair.run(seconds(10));
    assert_eq!(pair.ends[SERVER].reason(), "disconnected by operator");
    assert_eq!(pair.ends[CLIENT].reason(), "server hung up: disconnected by operator");
}

#[test]
fn a_lost_tunnel_ends_a_link_at_once_for_the_reason_that_it_was_ending_for() {
    let mut pair = pair();
    pair.run(seconds(1));
    let lost = || Input::Lost(Reason::Closed("TCP connection closed".into()));
    pair.ends[SERVER].input(Input::Close(Reason::Closed("disconnected by operator".into())));
    pair.ends[SERVER].input(lost());
    assert_eq!(pair.ends[SERVER].reason(), "disconnected by operator");
    pair.ends[CLIENT].input(lost());
    assert_eq!(pair.ends[CLIENT].reason(), "TCP connection closed");
}

#[test]
fn silence_brings_an_echo_a_second_and_then_the_end() {
    let mut pair = pair();
    pair.run(seconds(1));
    pair.impairment.loss_percent = 100;
    let server = &mut pair.ends[SERVER];
    let login = server.now;
    let first = server.wait(login + Duration::from_secs(29));
    assert!(first.is_empty(), "no echo before keepalive-timeout");
    let echoes = server.wait(login + Duration::from_secs(59));
    assert_eq!(echoes.len(), 30, "one echo a second");
    // Nothing is awaited of somebody who says nothing.
    server.wait(login + Duration::from_secs(61));
    assert_eq!(server.link.phase(), Phase::Ended);
    assert!(server.network.is_none());
    assert_eq!(server.reason(), "client is silent: no traffic and no answer to LCP echoes");
}

#[test]
fn traffic_keeps_a_link_alive_without_echoes() {
    let mut pair = pair();
    pair.run(seconds(1));
    let server = &mut pair.ends[SERVER];
    for step in 0..20 {
        assert!(server.wait(seconds(2 + step * 20)).is_empty());
        server.input(Input::Heard(server.now));
    }
    assert_eq!(server.link.phase(), Phase::Up);
}

#[test]
fn traffic_that_is_told_of_late_counts_from_when_it_came() {
    let mut pair = pair();
    pair.run(seconds(1));
    pair.impairment.loss_percent = 100;
    let server = &mut pair.ends[SERVER];
    let traffic = server.now + Duration::from_secs(20);
    assert!(server.wait(server.now + Duration::from_secs(29)).is_empty());
    // What is older than the last sign of life says nothing.
    server.input(Input::Heard(traffic));
    server.input(Input::Heard(seconds(0)));
    assert!(server.wait(traffic + Duration::from_secs(29)).is_empty());
    assert_eq!(server.wait(traffic + Duration::from_secs(30)).len(), 1, "an echo");
    server.wait(traffic + Duration::from_secs(61));
    assert_eq!(server.reason(), "client is silent: no traffic and no answer to LCP echoes");
}

#[test]
fn an_idle_link_lives_on_the_servers_echoes() {
    let mut pair = pair();
    pair.run(seconds(600));
    assert!(pair.is_up());
    let [client, server] = [CLIENT, SERVER].map(|end| {
        pair.ends[end].transcript.lines().filter(|line| line.contains("> LCP Echo-Req")).count()
    });
    assert_eq!((client, server), (0, 20), "one exchange in thirty seconds serves both");
}

/// Ends with one method each; those without keys without encryption.
fn only(method: Method) -> (Config, Config) {
    let (mut server, mut client) = (server_with(&[method]), client_with(PASSWORD, &[method]));
    if method.strengths() == Strengths::NONE {
        (server.encryption, client.encryption) = (Policy::DENY, Policy::DENY);
    }
    (server, client)
}

#[test]
fn every_method_brings_a_link_up_or_names_the_wrong_password() {
    for method in Method::ALL {
        let (server, client) = only(method);
        let mut pair = Pair::new(server.clone(), client, 1, PERFECT);
        pair.open();
        pair.run(seconds(1));
        assert!(pair.is_up(), "{method}");
        insta::assert_snapshot!(format!("{method}_server"), pair.ends[SERVER].transcript);

        let wrong = Config { encryption: server.encryption, ..client_with("wrong", &[method]) };
        let mut pair = Pair::new(server, wrong, 1, PERFECT);
        pair.open();
        pair.run(seconds(10));
        assert_eq!(pair.ends[SERVER].reason(), "wrong password: Denied", "{method}");
        // RFC 2433 §8: MS-CHAPv1's Failure has no message.
        let told = if method == Method::MsChapV1 { "" } else { ": Denied" };
        assert_eq!(pair.ends[CLIENT].reason(), format!("wrong password{told}"), "{method}");
    }
}

#[test]
fn the_strongest_method_of_both_is_agreed_on() {
    use Method::{ChapMd5, MsChapV1, MsChapV2, Pap};
    for (server_has, client_has, both) in [
        (&Method::ALL[..], &Method::ALL[..], Some(MsChapV2)),
        (&[Pap, ChapMd5, MsChapV1], &Method::ALL, Some(MsChapV1)),
        (&Method::ALL, &[Pap], Some(Pap)),
        (&Method::ALL, &[ChapMd5, Pap], Some(ChapMd5)),
        (&[MsChapV2, Pap], &[ChapMd5, Pap], Some(Pap)),
        (&[MsChapV2, ChapMd5], &[Pap], None),
    ] {
        let deny = |config| Config { encryption: Policy::DENY, ..config };
        let (server, client) = (server_with(server_has), client_with(PASSWORD, client_has));
        let mut pair = Pair::new(deny(server), deny(client), 1, PERFECT);
        pair.open();
        pair.run(seconds(20));
        let method = pair.ends[SERVER].events.iter().find_map(|event| match event {
            Event::Authenticate(attempt) => Some(attempt.proof.method()),
            _ => None,
        });
        assert_eq!(method, both, "{}", pair.ends[SERVER].transcript);
        assert_eq!(pair.is_up(), both.is_some());
        if both.is_none() {
            assert_eq!(pair.ends[SERVER].reason(), "client offers PAP only");
        }
    }
}

#[test]
fn where_encryption_is_required_methods_without_keys_are_not_offered() {
    let (server, mut client) = (server_with(&Method::ALL), client_with(PASSWORD, &[Method::Pap]));
    client.encryption = Policy::DENY;
    let mut pair = Pair::new(server, client, 1, PERFECT);
    pair.open();
    pair.run(seconds(20));
    assert_eq!(pair.ends[SERVER].reason(), "client offers PAP only");
    // And where there is no other, there is no link.
    let mut alone = End::new(server_with(&[Method::Pap, Method::ChapMd5]), 1);
    alone.open();
    assert!(alone.reason().contains("no method that is allowed gives keys for MPPE-128"));
    assert!(alone.sent.is_empty());
}

#[test]
fn a_later_challenge_is_answered_and_changes_no_keys() {
    // RFC 1994 §2; and an MS-CHAP re-authentication does not re-key.
    for method in [Method::MsChapV2, Method::MsChapV1, Method::ChapMd5] {
        let (mut server, client) = only(method);
        if let Role::Server { challenge_interval, .. } = &mut server.role {
            *challenge_interval = Some(Duration::from_secs(60));
        }
        let mut pair = Pair::new(server, client, 1, PERFECT);
        pair.open();
        pair.run(seconds(310));
        assert!(pair.is_up());
        let server = &mut pair.ends[SERVER];
        let count = |is: fn(&Event) -> bool| server.events.iter().filter(|e| is(e)).count();
        assert_eq!(count(|event| matches!(event, Event::Authenticate(_))), 6);
        assert_eq!(count(|event| matches!(event, Event::Encryption(_))), 1);
        assert_eq!(count(|event| matches!(event, Event::NetworkUp(_))), 1);
        // Whoever took the client's place does not know the password.
        server.judges = false;
        pair.run(seconds(365));
        let attempts = pair.ends[SERVER].events.iter().rev().find_map(|event| match event {
            Event::Authenticate(attempt) => Some(attempt.identifier),
            _ => None,
        });
        let identifier = attempts.unwrap();
        let (refusal, message) = (Refusal::Disabled, String::new());
        let verdict = Verdict::Reject { refusal, message, retry: None };
        pair.ends[SERVER].input(Input::Verdict { identifier, verdict });
        pair.transmit();
        pair.run(seconds(380));
        assert_eq!(pair.ends[SERVER].reason(), "account disabled", "{method}");
    }
}

#[test]
fn a_client_that_leaves_a_later_challenge_unanswered_is_ended() {
    let (mut server, client) = only(Method::MsChapV2);
    if let Role::Server { challenge_interval, .. } = &mut server.role {
        *challenge_interval = Some(Duration::from_secs(60));
    }
    let mut pair = Pair::new(Config { keepalive: None, ..server }, client, 1, PERFECT);
    pair.open();
    pair.run(seconds(50));
    pair.impairment.loss_percent = 100;
    pair.ends[SERVER].wait(seconds(85));
    assert!(pair.ends[SERVER].network.is_some(), "it has ten tries");
    pair.ends[SERVER].wait(seconds(120));
    assert_eq!(pair.ends[SERVER].reason(), "client does not answer in authentication");
}

#[test]
fn whatever_the_network_does_a_login_ends_well_or_with_a_reason() {
    for method in Method::ALL {
        let mut up = 0;
        for seed in 0..240_usize {
            let impairment = Impairment {
                loss_percent: [0, 5, 15, 30][seed % 4],
                duplicate_percent: [0, 10, 30][seed % 3],
                jitter: Duration::from_millis([0, 50, 4000][seed / 4 % 3]),
            };
            let (server, client) = only(method);
            let mut pair = Pair::new(server, client, seed as u64, impairment);
            pair.open();
            pair.run(seconds(120));
            // The network heals: who still talks must agree or end.
            pair.impairment = PERFECT;
            pair.run(seconds(400));
            if pair.is_up() {
                up += 1;
                continue;
            }
            let reasons = pair.ends.each_ref().map(End::reason);
            let transcript = &pair.ends[SERVER].transcript;
            let ended = pair.ends.iter().all(|end| end.down.is_some());
            assert!(ended, "{method}, seed {seed}: {reasons:?}\n{transcript}");
            let bad = impairment.loss_percent > 15 || impairment.jitter > Duration::from_secs(3);
            assert!(bad, "{method}, seed {seed} should be up: {reasons:?}\n{transcript}");
        }
        assert!(up > 220, "{method}: {up} of 240 logins came up");
    }
}
