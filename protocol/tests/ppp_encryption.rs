//! Who agrees on which encryption, what becomes of a link without, and stateful mode's resets.

// Helpers of tests fail by panicking; clippy.toml's exception reaches only test functions.
#![allow(clippy::unwrap_used)]

mod common;

use std::fmt::Write as _;
use std::time::Duration;

use common::ppp::{
    CLIENT, Impairment, PASSWORD, PERFECT, Pair, Puppet, SERVER, client_config, client_with, only,
    packet, parse, seconds, server_config, server_with,
};
use protocol::mppe::Strength;
use protocol::ppp::Protocol;
use protocol::ppp::auth::Method;
use protocol::ppp::ccp::{Level, Modes, Policy, Strengths};
use protocol::ppp::link::{Config, Encryption, Event, Input, Phase};
use protocol::ppp::packet::code;

const LEVELS: [Level; 4] = [Level::Deny, Level::Allow, Level::Prefer, Level::Require];

fn policy(level: Level) -> Policy {
    Policy { level, ..Policy::default() }
}

fn ends(server: Policy, client: Policy, seed: u64, impairment: Impairment) -> Pair {
    let server = Config { encryption: server, ..server_config() };
    let client = Config { encryption: client, ..client_config(PASSWORD) };
    let mut pair = Pair::new(server, client, seed, impairment);
    pair.open();
    pair
}

#[test]
fn levels_meet_as_the_table_says() {
    let mut table = String::new();
    for server in LEVELS {
        for client in LEVELS {
            let mut pair = ends(policy(server), policy(client), 1, PERFECT);
            pair.run(seconds(30));
            let outcome = match &pair.ends[SERVER].encryption {
                Some(encryption) if pair.is_up() => encryption.to_string(),
                _ => {
                    assert!(pair.ends.iter().all(|end| end.network.is_none()));
                    format!("{} / {}", pair.ends[SERVER].reason(), pair.ends[CLIENT].reason())
                }
            };
            writeln!(table, "{server:?} + {client:?}: {outcome}").unwrap();
        }
    }
    insta::assert_snapshot!(
        table,
        @"
        Deny + Deny: none
        Deny + Allow: none
        Deny + Prefer: none
        Deny + Require: client hung up: server offered MS-CHAPv2 without MPPE-128; this client requires it / server offered MS-CHAPv2 without MPPE-128; this client requires it
        Allow + Deny: none
        Allow + Allow: none
        Allow + Prefer: MPPE128 stateless
        Allow + Require: MPPE128 stateless
        Prefer + Deny: none
        Prefer + Allow: MPPE128 stateless
        Prefer + Prefer: MPPE128 stateless
        Prefer + Require: MPPE128 stateless
        Require + Deny: client offered MS-CHAPv2 without MPPE-128; this server requires it / server hung up: client offered MS-CHAPv2 without MPPE-128; this server requires it
        Require + Allow: MPPE128 stateless
        Require + Prefer: MPPE128 stateless
        Require + Require: MPPE128 stateless
        "
    );
}

#[test]
fn nobody_waits_long_for_a_proposal_of_encryption() {
    // Both only allow it: the restart timer is as long as one waits for the other.
    let mut pair = ends(policy(Level::Allow), policy(Level::Allow), 1, PERFECT);
    pair.run(seconds(1));
    assert!(!pair.is_up());
    pair.run(seconds(4));
    assert!(pair.is_up());
    // And not at all for a peer whose IPCP comes first.
    let mut pair = ends(policy(Level::Allow), policy(Level::Deny), 1, PERFECT);
    pair.run(seconds(1));
    assert!(pair.is_up());
}

#[test]
fn a_proposal_that_ipcp_overtook_is_still_taken() {
    let mut puppet = Puppet::new(Config { encryption: policy(Level::Allow), ..server_config() });
    puppet.acks.retain(|&protocol| protocol == Protocol::LCP);
    let sent = puppet.log_in();
    assert!(only(&sent, Protocol::CCP, code::CONFIGURE_REQUEST).is_empty());
    let answers = puppet.say(&packet(Protocol::IPCP, 1, 1, &[3, 6, 10, 99, 0, 10]));
    assert_eq!(only(&answers, Protocol::IPCP, code::CONFIGURE_ACK).len(), 1);
    puppet.acks = vec![Protocol::LCP, Protocol::CCP, Protocol::IPCP];
    puppet.say(&packet(Protocol::CCP, 1, 1, &[18, 6, 1, 0, 0, 0x40]));
    assert!(matches!(puppet.end.encryption, Some(Encryption::Mppe { .. })));
    puppet.say(&packet(Protocol::IPCP, 1, 2, &[3, 6, 10, 99, 0, 10]));
    assert_eq!(puppet.end.link.phase(), Phase::Up);
}

#[test]
fn once_data_passes_in_the_clear_it_is_too_late_for_encryption() {
    let mut puppet = Puppet::new(Config { encryption: policy(Level::Allow), ..server_config() });
    puppet.log_in();
    puppet.say(&packet(Protocol::IPCP, 1, 1, &[3, 6, 10, 99, 0, 10]));
    assert_eq!(puppet.end.encryption, Some(Encryption::None));
    let answer = puppet.ask(Protocol::CCP, 1, 1, &[18, 6, 1, 0, 0, 0x40]);
    assert!(answer.starts_with("LCP Protocol-Reject"), "{answer}");
    assert_eq!(puppet.end.link.phase(), Phase::Up);
}

#[test]
fn encryption_that_was_agreed_never_ends_in_clear_data() {
    for level in [Level::Allow, Level::Prefer, Level::Require] {
        let mut puppet = Puppet::new(Config { encryption: policy(level), ..server_config() });
        puppet.connect();
        puppet.ask(Protocol::CCP, code::TERMINATE_REQUEST, 4, &[]);
        assert!(puppet.end.network.is_none());
        puppet.end.wait(seconds(20));
        assert_eq!(puppet.end.reason(), "client ended encryption, which is required");
        assert!(!puppet.end.events.contains(&Event::Encryption(Encryption::None)));
    }
}

#[test]
fn a_client_that_refuses_what_we_only_prefer_comes_up_in_the_clear() {
    for refusal in ["reject", "protocol", "terminate", "empty", "silence"] {
        let config = Config { encryption: policy(Level::Prefer), ..server_config() };
        let mut puppet = Puppet::new(config);
        puppet.acks.retain(|&protocol| protocol != Protocol::CCP);
        let sent = puppet.log_in();
        let ours = only(&sent, Protocol::CCP, code::CONFIGURE_REQUEST)[0];
        let (identifier, options) = (ours.identifier, ours.data);
        match refusal {
            "reject" => {
                puppet.ask(Protocol::CCP, code::CONFIGURE_REJECT, identifier, options);
            }
            "protocol" => {
                let rejected = [0x80, 0xFD, 1, 1, 0, 4];
                puppet.ask(Protocol::LCP, code::PROTOCOL_REJECT, 1, &rejected);
            }
            "terminate" => {
                puppet.ask(Protocol::CCP, code::TERMINATE_REQUEST, 1, &[]);
            }
            "empty" => {
                for identifier in 0..6 {
                    puppet.ask(Protocol::CCP, code::CONFIGURE_REQUEST, identifier, &[]);
                }
            }
            _ => {
                puppet.wait(seconds(35));
            }
        }
        // What it says to our farewell needs no answer.
        assert_eq!(puppet.ask(Protocol::CCP, code::TERMINATE_ACK, 2, &[]), "", "{refusal}");
        puppet.say(&packet(Protocol::IPCP, 1, 1, &[3, 6, 10, 99, 0, 10]));
        assert_eq!(puppet.end.link.phase(), Phase::Up, "{refusal}\n{}", puppet.end.transcript);
        assert_eq!(puppet.end.encryption, Some(Encryption::None), "{refusal}");
    }
}

#[test]
fn a_method_without_keys_comes_up_in_the_clear_where_that_is_allowed() {
    for method in [Method::Pap, Method::ChapMd5] {
        let encryption = policy(Level::Prefer);
        let server = Config { encryption, ..server_with(&[method]) };
        let client = Config { encryption, ..client_with(PASSWORD, &[method]) };
        let mut pair = Pair::new(server, client, 1, PERFECT);
        pair.open();
        pair.run(seconds(2));
        assert!(pair.is_up(), "{}", pair.ends[SERVER].transcript);
        assert_eq!(pair.ends[SERVER].encryption, Some(Encryption::None));
    }
    // RFC 3079 §2.1: with MS-CHAPv1 40 bit cannot be had.
    let weak = Policy { strengths: Strengths::of(&[Strength::Bits40]), ..policy(Level::Prefer) };
    let server = Config { encryption: weak, ..server_with(&[Method::MsChapV1]) };
    let client = Config { encryption: weak, ..client_with(PASSWORD, &[Method::MsChapV1]) };
    let mut pair = Pair::new(server, client, 1, PERFECT);
    pair.open();
    pair.run(seconds(2));
    assert_eq!(pair.ends[SERVER].encryption, Some(Encryption::None));
}

const STATEFUL: Policy =
    Policy { level: Level::Require, strengths: Strengths::BITS_128, modes: Modes::Any };

#[test]
fn stateful_mode_is_agreed_to_only_where_it_is_accepted() {
    // As pppd with `mppe-stateful` once its stateless request was Naked: bit S alone.
    let request = [18, 6, 0, 0, 0, 0x40];
    let mut strict = Puppet::new(server_config());
    strict.log_in();
    assert_eq!(strict.ask(Protocol::CCP, 1, 1, &request), "CCP Configure-Nak 1 18:01000040");
    let mut lax = Puppet::new(Config { encryption: STATEFUL, ..server_config() });
    let sent = lax.log_in();
    let ours = only(&sent, Protocol::CCP, code::CONFIGURE_REQUEST)[0];
    assert_eq!(ours.data, [18, 6, 1, 0, 0, 0x40], "stateless is what we propose");
    lax.say(&packet(Protocol::CCP, 1, 1, &request));
    // RFC 1962 §2: each direction has its own option.
    let encryption = lax.end.encryption.as_ref().unwrap().to_string();
    assert_eq!(encryption, "MPPE128 stateless/MPPE128 stateful");
}

#[test]
fn a_nak_of_stateless_mode_is_followed_where_stateful_is_accepted() {
    for (encryption, expected) in
        [(STATEFUL, [18, 6, 0, 0, 0, 0x40]), (Policy::default(), [18, 6, 1, 0, 0, 0x40])]
    {
        let mut puppet = Puppet::new(Config { encryption, ..server_config() });
        puppet.acks.retain(|&protocol| protocol != Protocol::CCP);
        let sent = puppet.log_in();
        let identifier = only(&sent, Protocol::CCP, code::CONFIGURE_REQUEST)[0].identifier;
        let nak = packet(Protocol::CCP, code::CONFIGURE_NAK, identifier, &[18, 6, 0, 0, 0, 0x40]);
        let sent = puppet.say(&nak);
        assert_eq!(only(&sent, Protocol::CCP, code::CONFIGURE_REQUEST)[0].data, expected);
    }
}

#[test]
fn where_stateful_mode_is_preferred_a_peer_may_still_insist_on_stateless() {
    let encryption = Policy { modes: Modes::Stateful, ..STATEFUL };
    let mut puppet = Puppet::new(Config { encryption, ..server_config() });
    let sent = puppet.log_in();
    let ours = only(&sent, Protocol::CCP, code::CONFIGURE_REQUEST)[0];
    assert_eq!(ours.data, [18, 6, 0, 0, 0, 0x40]);
    // It is told once, and has its way the second time.
    let request = [18, 6, 1, 0, 0, 0x40];
    assert_eq!(puppet.ask(Protocol::CCP, 1, 1, &request), "CCP Configure-Nak 1 18:00000040");
    puppet.say(&packet(Protocol::CCP, 1, 2, &request));
    let encryption = puppet.end.encryption.as_ref().unwrap().to_string();
    assert_eq!(encryption, "MPPE128 stateful/MPPE128 stateless");
}

fn stateful() -> Puppet {
    let mut puppet = Puppet::new(Config { encryption: STATEFUL, ..server_config() });
    puppet.acks.retain(|&protocol| protocol != Protocol::CCP);
    let sent = puppet.log_in();
    let identifier = only(&sent, Protocol::CCP, code::CONFIGURE_REQUEST)[0].identifier;
    let bits = [18, 6, 0, 0, 0, 0x40];
    let sent = puppet.say(&packet(Protocol::CCP, code::CONFIGURE_NAK, identifier, &bits));
    let ours = only(&sent, Protocol::CCP, code::CONFIGURE_REQUEST)[0];
    puppet.say(&packet(Protocol::CCP, code::CONFIGURE_ACK, ours.identifier, ours.data));
    puppet.say(&packet(Protocol::CCP, 1, 1, &bits));
    puppet.say(&packet(Protocol::IPCP, 1, 1, &[3, 6, 10, 99, 0, 10]));
    assert_eq!(puppet.end.encryption.as_ref().unwrap().to_string(), "MPPE128 stateful");
    assert_eq!(puppet.end.link.phase(), Phase::Up);
    puppet
}

#[test]
fn a_reset_request_is_told_and_acknowledged() {
    // RFC 3078 §8.2; RFC 1962 §3.1.
    let mut puppet = stateful();
    puppet.end.events.clear();
    assert_eq!(puppet.ask(Protocol::CCP, code::RESET_REQUEST, 9, &[]), "CCP Reset-Ack 9 ");
    assert_eq!(puppet.end.events, [Event::Resynchronise]);
    // In stateless mode it means nothing (RFC 3078 §8.1).
    let mut stateless = Puppet::new(server_config());
    stateless.connect();
    stateless.end.events.clear();
    assert_eq!(stateless.ask(Protocol::CCP, code::RESET_REQUEST, 9, &[]), "");
    stateless.end.input(Input::OutOfStep);
    assert!(stateless.end.sent.is_empty() && stateless.end.events.is_empty());
}

#[test]
fn a_lost_packet_is_answered_by_a_reset_request() {
    let mut puppet = stateful();
    let mut ask = || {
        puppet.end.input(Input::OutOfStep);
        let sent = std::mem::take(&mut puppet.end.sent);
        let (protocol, packet_sent) = parse(&sent[0]);
        assert_eq!((protocol, packet_sent.code), (Protocol::CCP, code::RESET_REQUEST));
        assert!(packet_sent.data.is_empty(), "RFC 3078 §8.2: without data");
        let identifier = packet_sent.identifier;
        (identifier, identifier)
    };
    // RFC 1962 §3.1: the same identifier until the Ack.
    let (first, again) = (ask().0, ask().0);
    assert_eq!(first, again);
    assert_eq!(puppet.ask(Protocol::CCP, code::RESET_ACK, first, &[]), "");
    puppet.end.input(Input::OutOfStep);
    let next = std::mem::take(&mut puppet.end.sent);
    assert_ne!(parse(&next[0]).1.identifier, first);
}

#[test]
fn whatever_the_network_does_levels_end_well_or_with_a_reason() {
    for seed in 0..160_u64 {
        let at = |shift: u64| LEVELS[usize::try_from(seed >> shift & 3).unwrap()];
        let impairment = Impairment {
            loss_percent: 10,
            duplicate_percent: 10,
            jitter: Duration::from_millis(80),
        };
        let mut pair = ends(policy(at(0)), policy(at(2)), seed, impairment);
        pair.run(seconds(90));
        pair.impairment = PERFECT;
        pair.run(seconds(300));
        let strict = at(0) == Level::Require || at(2) == Level::Require;
        let denied = at(0) == Level::Deny || at(2) == Level::Deny;
        assert_eq!(pair.is_up(), !(strict && denied), "{seed}\n{}", pair.ends[SERVER].transcript);
        if !pair.is_up() {
            assert!(pair.ends.iter().all(|end| end.down.is_some()));
        } else if strict {
            let encryption = pair.ends[SERVER].encryption.as_ref();
            assert!(matches!(encryption, Some(Encryption::Mppe { .. })));
        }
    }
}
