//! Arbitrary frames at any moment: no panic, no answer larger than its cause allows, and always an
//! end.

mod common;

use std::time::Duration;

use common::ppp::{End, PASSWORD, Puppet, client_config, seconds, server_config};
use proptest::prelude::*;
use protocol::ppp::Protocol;
use protocol::ppp::link::Ipv6;
use protocol::ppp::options::OptionList;
use protocol::ppp::packet::Packet;

/// A frame that gets past the first checks more often than chance would have it.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let protocol = prop_oneof![
        Just(Protocol::LCP.number()),
        Just(Protocol::CCP.number()),
        Just(Protocol::IPCP.number()),
        Just(Protocol::IPV6CP.number()),
        Just(Protocol::CHAP.number()),
        any::<u16>(),
    ];
    let option = (0_u8..24, prop::collection::vec(any::<u8>(), 0..6)).prop_map(|(kind, data)| {
        let mut option = OptionList::new();
        option.push(kind, &data);
        option.as_bytes().to_vec()
    });
    let data = prop_oneof![
        prop::collection::vec(option, 0..4).prop_map(|options| options.concat()),
        prop::collection::vec(any::<u8>(), 0..64),
    ];
    let whole =
        (protocol, 0_u8..17, 0_u8..8, data).prop_map(|(protocol, code, identifier, data)| {
            let packet = Packet { code, identifier, data: &data }.emit();
            [&protocol.to_be_bytes()[..], &packet].concat()
        });
    prop_oneof![4 => whole, 1 => prop::collection::vec(any::<u8>(), 0..40)]
}

fn steps() -> impl Strategy<Value = Vec<(Vec<u8>, u64)>> {
    prop::collection::vec((frame(), 0_u64..4000), 0..60)
}

/// Feeds the frames; then nothing more comes.
fn survive(end: &mut End, steps: &[(Vec<u8>, u64)]) {
    for (frame, milliseconds) in steps {
        let sent = end.receive(frame);
        assert!(sent.len() <= 8, "{} answers to one frame", sent.len());
        let octets: usize = sent.iter().map(Vec::len).sum();
        assert!(octets <= 8 * (frame.len() + 256));
        end.wait(end.now + Duration::from_millis(*milliseconds));
    }
    end.wait(end.now + Duration::from_secs(300));
    assert!(end.down.is_some(), "{}", end.transcript);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_server_survives_anything(steps in steps(), depth in 0..4, ipv6: bool) {
        let mut puppet = Puppet::new(server_config());
        puppet.end.given_ipv6 = if ipv6 { Ipv6::AnyIdentifier } else { Ipv6::No };
        match depth {
            0 => {}
            1 => { puppet.log_in(); }
            2 => { puppet.encrypt(); }
            _ => puppet.connect(),
        }
        survive(&mut puppet.end, &steps);
    }

    #[test]
    fn a_client_survives_anything(steps in steps()) {
        let mut end = End::new(client_config(PASSWORD), 1);
        end.open();
        survive(&mut end, &steps);
    }
}

#[test]
fn nothing_happens_before_open_and_after_the_end() {
    let mut end = End::new(server_config(), 1);
    assert!(end.receive(&[0xC0, 0x21, 9, 1, 0, 8, 0, 0, 0, 0]).is_empty());
    assert_eq!(end.deadline, None);
    end.open();
    end.wait(seconds(100));
    assert!(end.down.is_some());
    assert!(end.receive(&[0xC0, 0x21, 1, 1, 0, 4]).is_empty());
}
