//! BCP beside IPCP: what is agreed between our two sides, what is answered to options that only other
//! LANs need, and that no login waits for it or ends by it.

// Helpers of tests fail by panicking; clippy.toml's exception reaches only test functions.
#![allow(clippy::unwrap_used)]

mod common;

use common::ppp::{
    CLIENT, PASSWORD, PERFECT, Pair, Puppet, SERVER, client_config, packet, seconds, server_config,
};
use protocol::ppp::Protocol;
use protocol::ppp::link::{Bridging, Event};
use protocol::ppp::packet::code;

/// A server that bridges its peers, and this client.
fn pair(client_bridges: bool, mrru: Option<u16>) -> Pair {
    let (mut server, mut client) = (server_config(), client_config(PASSWORD));
    (server.bridge, client.bridge) = (true, client_bridges);
    (server.mrru, client.mrru) = (mrru, mrru);
    let mut pair = Pair::new(server, client, 1, PERFECT);
    pair.open();
    pair.run(seconds(2));
    assert!(pair.is_up());
    pair
}

fn bridged(events: &[Event]) -> Option<Bridging> {
    events.iter().find_map(|event| match event {
        Event::BridgeUp(bridging) => Some(*bridging),
        _ => None,
    })
}

#[test]
fn both_ends_agree_on_tags_and_on_frames_that_fit() {
    for (mrru, largest) in [(Some(1600), 1594), (None, 1444)] {
        let pair = pair(true, mrru);
        for end in [SERVER, CLIENT] {
            let agreed = bridged(&pair.ends[end].events);
            assert_eq!(agreed, Some(Bridging { largest, tagged: true }));
        }
    }
}

#[test]
fn a_client_without_a_bridge_rejects_it_and_logs_in_all_the_same() {
    let pair = pair(false, None);
    assert_eq!(bridged(&pair.ends[SERVER].events), None);
    let asked = pair.ends[SERVER].transcript.matches("> BCP Configure-Request").count();
    assert_eq!(asked, 1, "{}", pair.ends[CLIENT].transcript);
}

/// RFC 3518 §5.
#[test]
fn options_of_other_lans_are_rejected_and_tagged_frames_asked_about() {
    let mut config = server_config();
    config.bridge = true;
    let mut puppet = Puppet::new(config);
    puppet.encrypt();
    let mut ask = |options: &[u8]| puppet.ask(Protocol::BCP, code::CONFIGURE_REQUEST, 7, options);
    // Bridge, line and LAN identification; the old spanning trees; control packets' indicator; an
    // address to be assigned.
    let rejected: [&[u8]; 6] =
        [&[1, 4, 0, 1], &[2, 4, 0, 1], &[5, 3, 1], &[7, 3, 1], &[10, 2], &[6, 8, 0, 0, 0, 0, 0, 0]];
    for options in rejected {
        assert!(ask(options).contains("Configure-Reject 7"), "{options:?}");
    }
    assert!(ask(&[4, 3, 9]).contains("Configure-Nak 7 4:02"));
    assert!(ask(&[8, 2]).contains("Configure-Nak 7 8:02"));
    let good = [3, 3, 1, 4, 3, 2, 6, 8, 2, 0, 0, 0, 0, 1, 8, 3, 2, 9, 2];
    assert!(ask(&good).contains("Configure-Ack 7"));
}

#[test]
fn bcp_may_end_and_ip_goes_on() {
    let mut pair = pair(true, None);
    let server = &mut pair.ends[SERVER];
    server.receive(&packet(Protocol::BCP, code::TERMINATE_REQUEST, 9, &[]));
    assert!(server.events.contains(&Event::BridgeDown));
    assert!(server.network.is_some());
}
