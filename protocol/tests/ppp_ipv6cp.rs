//! IPV6CP beside IPCP: identifiers of both ends, and that nothing about it touches IPv4.

// Helpers of tests fail by panicking; clippy.toml's exception reaches only test functions.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::pcap;
use common::ppp::{Puppet, only, packet, parse, server_config};
use proptest::prelude::*;
use protocol::gre;
use protocol::ppp::link::{Ipv6, Phase};
use protocol::ppp::options::OptionList;
use protocol::ppp::packet::{Packet, code};
use protocol::ppp::{InterfaceId, Protocol, frame};

const REQUEST: u8 = code::CONFIGURE_REQUEST;
const PEER: u64 = 0x0211_22FF_FE33_4455;

fn identifier(bits: u64) -> Vec<u8> {
    let mut options = OptionList::new();
    options.push(1, &bits.to_be_bytes());
    options.as_bytes().to_vec()
}

/// A peer that has its IPv4 already, on a server that gives IPv6.
fn connected(ipv6: Ipv6, acks: bool) -> Puppet {
    let mut puppet = Puppet::new(server_config());
    puppet.end.given_ipv6 = ipv6;
    if acks {
        puppet.acks.push(Protocol::IPV6CP);
    }
    puppet.connect();
    puppet
}

/// The identifier that the server asked for, in its newest request.
fn servers(puppet: &mut Puppet) -> u64 {
    let until = puppet.end.now + Duration::from_secs(4);
    let sent = puppet.end.wait(until);
    let requests = only(&sent, Protocol::IPV6CP, REQUEST);
    let newest = requests.last().unwrap();
    u64::from_be_bytes(newest.data[2..10].try_into().unwrap())
}

#[test]
fn ipv6cp_comes_up_beside_ipcp() {
    let mut puppet = Puppet::new(server_config());
    puppet.end.given_ipv6 = Ipv6::AnyIdentifier;
    puppet.acks.push(Protocol::IPV6CP);
    puppet.encrypt();
    puppet.say(&packet(Protocol::IPV6CP, REQUEST, 1, &identifier(PEER)));
    puppet.say(&packet(Protocol::IPCP, REQUEST, 1, &[3, 6, 10, 99, 0, 10]));
    let transcript = puppet.end.transcript.clone();
    insta::assert_snapshot!("ipv6cp_server", transcript);
    let ids = puppet.end.ipv6.unwrap();
    assert_eq!(ids.remote, InterfaceId::new(PEER).unwrap());
    assert_eq!(ids.remote.link_local().to_string(), "fe80::211:22ff:fe33:4455");
    assert_ne!(ids.local.bits(), 0);
}

#[test]
fn identifiers_of_every_kind_get_the_answer_of_rfc_5072() {
    let mut puppet = connected(Ipv6::AnyIdentifier, false);
    let own = servers(&mut puppet);
    let mut naked = |data: &[u8]| {
        let answers = puppet.say(&packet(Protocol::IPV6CP, REQUEST, 7, data));
        let nak = only(&answers, Protocol::IPV6CP, code::CONFIGURE_NAK)[0].data.to_vec();
        assert_eq!(nak[..2], [1, 10]);
        u64::from_be_bytes(nak[2..].try_into().unwrap())
    };
    // §4.1: zero, one that is ours, a malformed one and none at all.
    let suggested = naked(&identifier(0));
    assert!(suggested != 0 && suggested != own);
    assert_eq!(naked(&identifier(own)), suggested);
    assert_eq!(naked(&[1, 4, 0, 0]), suggested);
    assert_eq!(naked(&[]), suggested);
    // Header compression is no option of ours (RFC 5172).
    let compression = [&[2, 4, 0, 0x61][..], &identifier(PEER)].concat();
    let answer = puppet.ask(Protocol::IPV6CP, REQUEST, 8, &compression);
    assert_eq!(answer, "IPV6CP Configure-Reject 8 2:0061");
    let answer = puppet.ask(Protocol::IPV6CP, REQUEST, 9, &identifier(suggested));
    assert!(answer.starts_with("IPV6CP Configure-Ack 9"), "{answer}");
}

#[test]
fn an_assigned_identifier_is_the_only_one() {
    let assigned = InterfaceId::new(0x0001_0002_0003_0004).unwrap();
    let mut puppet = connected(Ipv6::Identifier(assigned), true);
    let answer = puppet.ask(Protocol::IPV6CP, REQUEST, 1, &identifier(PEER));
    assert_eq!(answer, "IPV6CP Configure-Nak 1 1:0001000200030004");
    puppet.say(&packet(Protocol::IPV6CP, REQUEST, 2, &identifier(assigned.bits())));
    assert_eq!(puppet.end.ipv6.unwrap().remote, assigned);
    assert_eq!(assigned.to_string(), "1:2:3:4");
}

#[test]
fn a_suggestion_of_the_peers_is_taken_unless_it_is_no_good() {
    for (suggested, taken) in [(5, true), (0, false), (PEER, false)] {
        let mut puppet = connected(Ipv6::AnyIdentifier, false);
        puppet.say(&packet(Protocol::IPV6CP, REQUEST, 1, &identifier(PEER)));
        let until = puppet.end.now + Duration::from_secs(4);
        let sent = puppet.end.wait(until);
        let first = only(&sent, Protocol::IPV6CP, REQUEST)[0].identifier;
        let nak = packet(Protocol::IPV6CP, code::CONFIGURE_NAK, first, &identifier(suggested));
        let answers = puppet.say(&nak);
        let next = only(&answers, Protocol::IPV6CP, REQUEST)[0];
        let own = u64::from_be_bytes(next.data[2..10].try_into().unwrap());
        assert!(own != 0 && own != PEER);
        assert_eq!(own == suggested, taken);
        let ack = packet(Protocol::IPV6CP, code::CONFIGURE_ACK, next.identifier, next.data);
        puppet.say(&ack);
        assert_eq!(puppet.end.ipv6.unwrap().local.bits(), own);
    }
}

#[test]
fn a_peer_without_ipv6_keeps_ipv4() {
    // RFC 1661 §5.7: it rejects the protocol.
    let mut puppet = connected(Ipv6::AnyIdentifier, false);
    let reject = packet(Protocol::LCP, code::PROTOCOL_REJECT, 9, &[0x80, 0x57, 1, 1, 0, 4]);
    assert!(puppet.say(&reject).is_empty());
    let quiet = puppet.wait(puppet.end.now + Duration::from_secs(20));
    assert!(only(&quiet, Protocol::IPV6CP, REQUEST).is_empty());
    assert_eq!(puppet.end.link.phase(), Phase::Up);
    // It never answers: ten requests, then silence.
    let mut puppet = connected(Ipv6::AnyIdentifier, false);
    let mut requests = 0;
    for _ in 0..60 {
        let sent = puppet.wait(puppet.end.now + Duration::from_secs(2));
        requests += only(&sent, Protocol::IPV6CP, REQUEST).len();
        puppet.say(&packet(Protocol::LCP, code::ECHO_REPLY, 1, &[0; 4]));
    }
    assert_eq!(requests, 9, "one was sent at the start");
    assert_eq!(puppet.end.link.phase(), Phase::Up);
    assert!(puppet.end.network.is_some() && puppet.end.ipv6.is_none());
    // And when it wants IPv6 after all, there it is.
    puppet.acks.push(Protocol::IPV6CP);
    puppet.say(&packet(Protocol::IPV6CP, REQUEST, 1, &identifier(PEER)));
    assert!(puppet.end.ipv6.is_some());
    // It closes IPV6CP and keeps IPv4.
    let answer = puppet.ask(Protocol::IPV6CP, code::TERMINATE_REQUEST, 5, b"");
    assert_eq!(answer, "IPV6CP Terminate-Ack 5 ");
    assert!(puppet.end.network.is_some() && puppet.end.ipv6.is_none());
}

#[test]
fn a_link_without_ipv6_rejects_the_protocol() {
    let mut puppet = connected(Ipv6::No, false);
    let answer = puppet.ask(Protocol::IPV6CP, REQUEST, 1, &identifier(PEER));
    assert!(answer.starts_with("LCP Protocol-Reject"), "{answer}");
    assert!(only(&puppet.end.sent, Protocol::IPV6CP, REQUEST).is_empty());
}

#[test]
fn naks_without_end_cost_ipv6_alone() {
    // The peer Naks whatever we ask for…
    let mut puppet = connected(Ipv6::AnyIdentifier, false);
    let until = puppet.end.now + Duration::from_secs(4);
    let mut sent = puppet.end.wait(until);
    let mut naks = 0;
    while let Some(request) = only(&sent, Protocol::IPV6CP, REQUEST).first() {
        naks += 1;
        assert!(naks < 20, "it ends");
        let suggestion = identifier(0x4000 + naks);
        let nak = packet(Protocol::IPV6CP, code::CONFIGURE_NAK, request.identifier, &suggestion);
        sent = puppet.say(&nak);
    }
    assert_eq!(puppet.end.link.phase(), Phase::Up);
    // …or insists on an identifier that it cannot have.
    let mut puppet = connected(Ipv6::AnyIdentifier, false);
    let answers: Vec<u8> = (0..8)
        .flat_map(|n| {
            let answers = puppet.say(&packet(Protocol::IPV6CP, REQUEST, n, &identifier(0)));
            answers.iter().map(|frame| parse(frame).1.code).collect::<Vec<_>>()
        })
        .collect();
    let nak = code::CONFIGURE_NAK;
    assert_eq!(answers[..6], [nak, nak, nak, nak, nak, code::TERMINATE_REQUEST]);
    puppet.wait(puppet.end.now + Duration::from_secs(20));
    assert_eq!(puppet.end.link.phase(), Phase::Up);
    assert!(puppet.end.network.is_some() && puppet.end.ipv6.is_none());
}

#[test]
fn a_request_before_ccp_is_open_waits() {
    let mut puppet = Puppet::new(server_config());
    puppet.end.given_ipv6 = Ipv6::AnyIdentifier;
    puppet.log_in();
    assert!(puppet.say(&packet(Protocol::IPV6CP, REQUEST, 3, &identifier(PEER))).is_empty());
    let sent = puppet.say(&packet(Protocol::CCP, REQUEST, 1, &[18, 6, 1, 0, 0, 0x40]));
    let acks = only(&sent, Protocol::IPV6CP, code::CONFIGURE_ACK);
    assert_eq!((acks.len(), acks[0].identifier), (1, 3));
}

#[test]
fn a_new_login_begins_ipv6_anew() {
    let mut puppet = connected(Ipv6::AnyIdentifier, true);
    puppet.say(&packet(Protocol::IPV6CP, REQUEST, 1, &identifier(PEER)));
    let before = puppet.end.ipv6.unwrap();
    // RFC 1661 §4.1: RCR+ in Opened takes all layers down.
    puppet.say(&packet(Protocol::LCP, REQUEST, 77, &[5, 6, 9, 9, 9, 9]));
    assert!(puppet.end.ipv6.is_none() && puppet.end.network.is_none());
    puppet.say(&packet(Protocol::CCP, REQUEST, 2, &[18, 6, 1, 0, 0, 0x40]));
    puppet.say(&packet(Protocol::IPV6CP, REQUEST, 2, &identifier(PEER)));
    puppet.say(&packet(Protocol::IPCP, REQUEST, 2, &[3, 6, 10, 99, 0, 10]));
    assert_ne!(puppet.end.ipv6.unwrap(), before);
}

/// pppd's own IPV6CP, as its server answered it.
#[test]
fn the_captured_request_of_pppd_is_acknowledged_as_pppd_did() {
    let captured: Vec<(u8, Vec<u8>)> = pcap::read("stateless128.pcap")
        .iter()
        .filter_map(|ip| {
            let (_, payload) = gre::Header::parse(ip.gre()?).unwrap();
            let (protocol, packet) = frame::parse(payload).ok()?;
            let from = ip.src.octets()[3];
            (protocol == Protocol::IPV6CP).then(|| (from, packet.to_vec()))
        })
        .collect();
    let of = |host: u8, code: u8| {
        captured.iter().find(|(from, packet)| (*from == 2) == (host == 2) && packet[0] == code)
    };
    let (_, request) = of(2, REQUEST).unwrap();
    let mut puppet = connected(Ipv6::AnyIdentifier, true);
    let answers = puppet.say(&[&[0x80, 0x57][..], request].concat());
    let acks = only(&answers, Protocol::IPV6CP, code::CONFIGURE_ACK);
    let request = Packet::parse(request).unwrap();
    assert_eq!((acks[0].identifier, acks[0].data), (request.identifier, request.data));
    if let Some((_, ack)) = of(1, code::CONFIGURE_ACK) {
        assert_eq!(acks[0].emit(), *ack);
    }
    assert!(puppet.end.ipv6.is_some());
}

proptest! {
    #[test]
    fn arbitrary_packets_of_ipv6cp_never_harm_ipv4(
        packets in prop::collection::vec(
            (0_u8..8, 0_u8..4, prop::collection::vec(any::<u8>(), 0..24), any::<bool>()),
            0..40,
        ),
    ) {
        let mut puppet = connected(Ipv6::AnyIdentifier, true);
        for (code, id, data, well_formed) in packets {
            let data = if well_formed {
                let mut options = OptionList::new();
                options.push(data.first().map_or(1, |kind| kind % 4), data.get(1..).unwrap_or(&[]));
                options.as_bytes().to_vec()
            } else {
                data
            };
            let sent = puppet.say(&packet(Protocol::IPV6CP, code, id, &data));
            prop_assert!(sent.len() <= 4);
        }
        prop_assert!(puppet.end.network.is_some());
        prop_assert_eq!(puppet.end.link.phase(), Phase::Up);
    }
}
