//! A peer that may choose its address (RFC 2865 §5.8 with RFC 1332 §3.3): its owner is asked, and
//! IPCP waits for the answer.

// Helpers of tests fail by panicking; clippy.toml's exception reaches only test functions.
#![allow(clippy::panic)]

mod common;

use std::net::Ipv4Addr;

use common::ppp::{Puppet, addresses, judge, packet, seconds, server_config};
use proptest::prelude::*;
use protocol::ppp::Protocol;
use protocol::ppp::ccp::Policy;
use protocol::ppp::link::{Addresses, Event, Input, Phase, Verdict};
use protocol::ppp::packet::code;

const REQUEST: u8 = code::CONFIGURE_REQUEST;
const WANTED: [u8; 6] = [3, 6, 10, 77, 0, 9];
const ANY: [u8; 6] = [3, 6, 0, 0, 0, 0];

/// A client that was let in without encryption and may choose its address.
fn chooser() -> Puppet {
    let mut puppet = Puppet::new(server_config());
    puppet.end.judges = false;
    puppet.log_in();
    let attempt = puppet.end.events.iter().rev().find_map(|event| match event {
        Event::Authenticate(attempt) => Some(attempt.clone()),
        _ => None,
    });
    let Some((identifier, Verdict::Accept { accepted, message, .. })) =
        attempt.map(|attempt| (attempt.identifier, judge(&attempt)))
    else {
        panic!("the password is right");
    };
    let addresses = Addresses { remote: None, ..addresses() };
    let encryption = Some(Policy::DENY);
    let verdict = Verdict::Accept { accepted, addresses, encryption, message };
    puppet.end.input(Input::Verdict { identifier, verdict });
    let sent = std::mem::take(&mut puppet.end.sent);
    for frame in sent {
        let (protocol, asked) = common::ppp::parse(&frame);
        if protocol == Protocol::IPCP && asked.code == REQUEST {
            puppet.say(&packet(protocol, code::CONFIGURE_ACK, asked.identifier, asked.data));
        }
    }
    assert_eq!(puppet.end.link.phase(), Phase::Ipcp, "{}", puppet.end.transcript);
    puppet
}

fn wanted(puppet: &Puppet) -> Vec<Option<Ipv4Addr>> {
    let wanted = |event: &Event| match event {
        Event::AddressWanted(address) => Some(*address),
        _ => None,
    };
    puppet.end.events.iter().filter_map(wanted).collect()
}

fn assign(puppet: &mut Puppet, address: [u8; 4]) -> String {
    puppet.end.input(Input::Assign(address.into()));
    let sent = std::mem::take(&mut puppet.end.sent);
    sent.iter().map(|frame| common::ppp::describe(frame)).collect::<Vec<_>>().join("; ")
}

#[test]
fn a_peer_gets_the_address_that_it_wants_when_the_owner_says_so() {
    let mut puppet = chooser();
    assert_eq!(puppet.ask(Protocol::IPCP, REQUEST, 1, &WANTED), "");
    // It repeats itself: it is asked about once, and the newest is answered.
    assert_eq!(puppet.ask(Protocol::IPCP, REQUEST, 2, &WANTED), "");
    assert_eq!(wanted(&puppet), [Some(Ipv4Addr::new(10, 77, 0, 9))]);
    assert_eq!(assign(&mut puppet, [10, 77, 0, 9]), "IPCP Configure-Ack 2 3:0a4d0009");
    assert_eq!(puppet.end.network.map(|it| it.remote), Some(Ipv4Addr::new(10, 77, 0, 9)));
}

/// RFC 1332 §3.3: 0.0.0.0 asks for any.
#[test]
fn a_peer_without_a_wish_is_told_what_it_gets() {
    for (options, refusal) in [(&ANY[..], ""), (&[][..], "")] {
        let mut puppet = chooser();
        assert_eq!(puppet.ask(Protocol::IPCP, REQUEST, 1, options), refusal);
        assert_eq!(wanted(&puppet), [None]);
        assert_eq!(assign(&mut puppet, [10, 77, 0, 1]), "IPCP Configure-Nak 1 3:0a4d0001");
        // The choice is made: another wish is only a wrong address.
        let again = puppet.ask(Protocol::IPCP, REQUEST, 2, &WANTED);
        assert_eq!(again, "IPCP Configure-Nak 2 3:0a4d0001");
        let taken = puppet.ask(Protocol::IPCP, REQUEST, 3, &[3, 6, 10, 77, 0, 1]);
        assert_eq!(taken, "IPCP Configure-Ack 3 3:0a4d0001");
        assert_eq!(wanted(&puppet).len(), 1);
    }
}

#[test]
fn a_wish_that_the_owner_does_not_grant_is_naked() {
    let mut puppet = chooser();
    puppet.ask(Protocol::IPCP, REQUEST, 1, &WANTED);
    assert_eq!(assign(&mut puppet, [10, 77, 0, 1]), "IPCP Configure-Nak 1 3:0a4d0001");
    assert!(puppet.end.network.is_none());
}

#[test]
fn an_owner_that_never_decides_ends_the_login() {
    let mut puppet = chooser();
    puppet.ask(Protocol::IPCP, REQUEST, 1, &WANTED);
    puppet.end.wait(seconds(200));
    assert_eq!(puppet.end.link.phase(), Phase::Ended);
}

#[test]
fn a_decision_that_nobody_waits_for_changes_nothing() {
    let mut puppet = chooser();
    puppet.ask(Protocol::IPCP, REQUEST, 1, &WANTED);
    assign(&mut puppet, [10, 77, 0, 9]);
    assert_eq!(assign(&mut puppet, [10, 77, 0, 8]), "");
    assert_eq!(puppet.end.network.map(|it| it.remote), Some(Ipv4Addr::new(10, 77, 0, 9)));
}

proptest! {
    #[test]
    fn no_request_panics_and_none_is_acknowledged_before_the_decision(
        requests in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..24), 1..8),
    ) {
        let mut puppet = chooser();
        for (identifier, data) in (1..).zip(&requests) {
            let answer = puppet.ask(Protocol::IPCP, REQUEST, identifier, data);
            prop_assert!(!answer.contains("Configure-Ack"), "{}", answer);
        }
        prop_assert!(wanted(&puppet).len() <= 1);
    }
}
