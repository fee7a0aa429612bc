//! Multilink on one link: what is agreed between our two sides and with bad peers, and the
//! fragments of a captured session of Linux's.

// Helpers of tests fail by panicking; clippy.toml's exception reaches only test functions.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashMap;

use common::mppe::{Session, is_ipv4};
use common::pcap;
use common::ppp::{
    CLIENT, PASSWORD, PERFECT, Pair, Puppet, SERVER, client_config, packet, seconds, server_config,
};
use protocol::gre;
use protocol::mppe::{Header as MppeHeader, Sender, Stateless, Strength};
use protocol::ppp::Protocol;
use protocol::ppp::frame;
use protocol::ppp::link::Event;
use protocol::ppp::multilink::reassembly::{Fragment, MAX_HELD};
use protocol::ppp::multilink::{
    Format, Header, Multilink, Reassembler, Receiving, Released, Sending,
};
use protocol::ppp::packet::{Packet, code};
use protocol::time::Instant;

/// A link of ours with these MRRUs.
fn pair(server: Option<u16>, client: Option<u16>) -> Pair {
    let (mut server_side, mut client_side) = (server_config(), client_config(PASSWORD));
    (server_side.mrru, client_side.mrru) = (server, client);
    let mut pair = Pair::new(server_side, client_side, 1, PERFECT);
    pair.open();
    pair.run(seconds(2));
    assert!(pair.is_up());
    pair
}

/// What was agreed last.
fn agreed(events: &[Event]) -> Option<Multilink> {
    events.iter().rev().find_map(|event| match event {
        Event::MultilinkAgreed(multilink) => Some(*multilink),
        _ => None,
    })
}

#[test]
fn two_ends_that_want_it_agree_and_carry_full_packets() {
    let pair = pair(Some(1600), Some(1614));
    let receive = |mrru| Some(Receiving { mrru, format: Format::Long });
    // MRU 1450: what MPPE makes of an inner packet of 1446 goes in one piece.
    let send = Some(Sending { largest: 1450, format: Format::Long });
    assert_eq!(agreed(&pair.ends[SERVER].events), Some(Multilink { receive: receive(1600), send }));
    assert_eq!(agreed(&pair.ends[CLIENT].events), Some(Multilink { receive: receive(1614), send }));
    for end in &pair.ends {
        assert_eq!(end.network.as_ref().unwrap().mtu, 1500);
    }
    insta::assert_snapshot!("multilink_server", pair.ends[SERVER].transcript);
}

#[test]
fn a_small_mrru_bounds_inner_packets() {
    let pair = pair(Some(512), Some(1600));
    assert_eq!(pair.ends[SERVER].network.as_ref().unwrap().mtu, 508);
    assert_eq!(pair.ends[CLIENT].network.as_ref().unwrap().mtu, 508);
}

#[test]
fn an_end_that_does_not_want_it_rejects_it() {
    for (server, client) in [(Some(1600), None), (None, Some(1600)), (None, None)] {
        let pair = pair(server, client);
        for end in &pair.ends {
            assert_eq!(agreed(&end.events), None);
            assert_eq!(end.network.as_ref().unwrap().mtu, 1446);
        }
    }
}

/// The server answers this request of LCP…
fn asked(options: &[u8]) -> String {
    let mut config = server_config();
    config.mrru = Some(1600);
    let mut puppet = Puppet::new(config);
    puppet.begin();
    puppet.ask(Protocol::LCP, code::CONFIGURE_REQUEST, 9, options)
}

#[test]
fn impossible_options_are_answered_and_the_login_goes_on() {
    // RFC 1990 §5.1.1: an MRRU of zero is none; 65535 is one, whatever we send.
    assert!(asked(&[17, 4, 0, 0]).contains("Configure-Nak 9 17:05dc"));
    assert!(asked(&[17, 3, 9]).contains("Configure-Nak 9 17:05dc"));
    assert!(asked(&[17, 4, 0xFF, 0xFF]).contains("Configure-Ack 9"));
    assert!(asked(&[17, 4, 6, 0x40, 18, 3, 1]).contains("Configure-Nak 9 18:"));
    // RFC 1990 §5.1.3: classes have their lengths.
    for discriminator in [&[19, 2][..], &[19, 3, 1], &[19, 6, 3, 1, 2, 3], &[19, 4, 9, 9]] {
        assert!(asked(discriminator).contains("Configure-Reject 9 19:"), "{discriminator:?}");
    }
    for discriminator in [&[19, 3, 0][..], &[19, 9, 3, 1, 2, 3, 4, 5, 6], &[19, 4, 1, 9]] {
        assert!(asked(discriminator).contains("Configure-Ack 9"), "{discriminator:?}");
    }
}

#[test]
fn a_peer_that_insists_on_an_mrru_of_zero_gets_a_link_without_fragments() {
    let mut config = server_config();
    config.mrru = Some(1600);
    let mut puppet = Puppet::new(config);
    puppet.begin();
    let ask =
        |puppet: &mut Puppet| puppet.ask(Protocol::LCP, code::CONFIGURE_REQUEST, 9, &[17, 4, 0, 0]);
    let answers: Vec<_> = (0..6).map(|_| ask(&mut puppet)).collect();
    assert!(answers[..5].iter().all(|answer| answer.contains("Configure-Nak")));
    assert!(answers[5].contains("Configure-Reject 9 17:0000"), "{}", answers[5]);
    puppet.say(&packet(Protocol::LCP, code::CONFIGURE_REQUEST, 10, &[]));
    let agreed = agreed(&puppet.end.events).unwrap();
    assert!(agreed.send.is_none() && agreed.receive.is_some());
}

/// The options of our first request, and of the one after this refusal.
fn refused(code: u8, options: &[u8]) -> (String, String) {
    let mut config = server_config();
    config.mrru = Some(1600);
    let mut puppet = Puppet::new(config);
    puppet.acks.clear();
    let first = puppet.begin().remove(0);
    let identifier = common::ppp::parse(&first).1.identifier;
    let next = puppet.say(&packet(Protocol::LCP, code, identifier, options)).remove(0);
    (common::ppp::describe(&first), common::ppp::describe(&next))
}

#[test]
fn our_own_request_follows_naks_and_rejects() {
    let (first, next) = refused(code::CONFIGURE_NAK, &[17, 4, 5, 0xDC]);
    assert!(first.contains(" 17:0640 19:01"), "{first}");
    assert!(next.contains(" 17:05dc 19:01"), "{next}");
    // More than we can take, or none at all: no multilink, rather than no link.
    for mrru in [[0xFF, 0xFF], [0, 0]] {
        let (_, next) = refused(code::CONFIGURE_NAK, &[17, 4, mrru[0], mrru[1]]);
        assert!(!next.contains(" 17:") && !next.contains(" 19:"), "{next}");
    }
    // RFC 1990 §5.1.2: whoever would send short numbers asks us to ask for them.
    let (_, next) = refused(code::CONFIGURE_NAK, &[18, 2]);
    assert!(next.contains(" 17:0640 18: 19:01"), "{next}");
    let (_, next) = refused(code::CONFIGURE_REJECT, &[17, 4, 6, 0x40]);
    assert!(!next.contains(" 17:"), "{next}");
}

/// Linux sends control frames of NCPs and data in multilink headers, encrypted first: the fragments
/// are of what MPPE made.
#[test]
fn a_captured_session_of_linux_is_put_together_and_decrypted() {
    let packets = pcap::read("multilink-mppe128.pcap");
    let session = Session::of(&packets);
    let agreed = Receiving { mrru: 1614, format: Format::Long };
    let mut sides = HashMap::new();
    let (mut control, mut data) = (0, 0);
    for ip in &packets {
        let Some((gre, payload)) = ip.gre().and_then(|gre| gre::Header::parse(gre).ok()) else {
            continue;
        };
        let Ok((Protocol::MULTILINK, fragment)) = frame::parse(payload) else { continue };
        let is_client = ip.src.octets()[3] == 2;
        let sender = if is_client { Sender::Client } else { Sender::Server };
        let (reassembler, mppe) = sides.entry(is_client).or_insert_with(|| {
            let key = session.initial_key(sender, Strength::Bits128);
            (Reassembler::new(agreed), Stateless::new(key))
        });
        let (header, piece) = Header::parse(agreed.format, fragment).unwrap();
        let (carrier, octets) = (gre.sequence.unwrap(), piece.len());
        let fragment = Fragment { header, carrier, octets, piece: piece.to_vec() };
        let mut released = Released::default();
        reassembler.insert(fragment, MAX_HELD, Instant::ORIGIN, &mut released);
        assert!(released.refused.is_empty());
        if released.whole.is_empty() {
            continue;
        }
        let whole = released.whole.concat();
        match frame::parse(&whole).unwrap() {
            (Protocol::COMPRESSED, datagram) => {
                let (octets, payload) = datagram.split_first_chunk().unwrap();
                let mut payload = payload.to_vec();
                mppe.decrypt(MppeHeader::from_octets(*octets), &mut payload).unwrap();
                assert!(is_ipv4(&payload));
                data += 1;
            }
            (protocol, payload) => {
                assert!(!protocol.is_data());
                Packet::parse(payload).unwrap();
                control += 1;
            }
        }
    }
    assert!(control > 4 && data > 4, "{control} control frames, {data} packets");
}
