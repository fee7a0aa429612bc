use proptest::prelude::*;

use super::*;
use crate::pptp::message::{
    CallClearRequest, EchoRequest, IncomingCallRequest, Kind, SetLinkInfo, Text,
};

fn conversation() -> Vec<Message> {
    vec![
        Message::EchoRequest(EchoRequest { identifier: 0x1A2B_3C4D }),
        Message::IncomingCallRequest(IncomingCallRequest {
            call_id: 1,
            serial_number: 2,
            bearer_type: 3,
            physical_channel: 4,
            dialed_number_length: 5,
            dialing_number_length: 6,
            dialed_number: Text::new("5550100"),
            dialing_number: Text::new("5550199"),
            subaddress: Text::EMPTY,
        }),
        Message::CallClearRequest(CallClearRequest { call_id: 9 }),
        Message::SetLinkInfo(SetLinkInfo { peer_call_id: 1, send_accm: 2, receive_accm: 3 }),
    ]
}

fn octets() -> Vec<u8> {
    conversation().iter().flat_map(|message| message.emit().to_vec()).collect()
}

fn split<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Result<Message, Error>> {
    let mut splitter = Splitter::new();
    let mut results = Vec::new();
    for mut piece in pieces {
        while let Some(result) = splitter.next(&mut piece) {
            results.push(result);
        }
        assert!(piece.is_empty(), "all of a piece is taken");
    }
    results
}

fn expected() -> Vec<Result<Message, Error>> {
    conversation().into_iter().map(Ok).collect()
}

#[test]
fn every_pair_of_cuts_gives_the_same_messages() {
    let octets = octets();
    for first in 0..=octets.len() {
        for second in first..=octets.len() {
            let pieces = [&octets[..first], &octets[first..second], &octets[second..]];
            assert_eq!(split(pieces), expected(), "{first} {second}");
        }
    }
}

#[test]
fn single_octets_give_the_same_messages() {
    assert_eq!(split(octets().chunks(1)), expected());
}

#[test]
fn a_bad_header_ends_the_stream_at_its_twelfth_octet_and_nothing_follows() {
    let mut octets = octets();
    octets[16 + 4] ^= 0xFF;
    let error = Err(Error::Cookie(0xE52B_3C4D));
    assert_eq!(split([&octets[..16 + 12]]), [expected()[0], error]);
    assert_eq!(split([&octets[..]]), [expected()[0], error], "the rest is not looked at");
    assert_eq!(split([&octets[..16 + 11]]), [expected()[0]]);
}

#[test]
fn a_length_that_is_not_the_types_ends_the_stream_before_the_message_is_awaited() {
    let mut octets = octets();
    octets[1] = 0xFF;
    let error = Error::Length { kind: Kind::EchoRequest, length: 0xFF };
    assert_eq!(split([&octets[..12]]), [Err(error)]);
}

proptest! {
    #[test]
    fn any_cuts_of_any_octets_give_what_the_uncut_octets_give(
        garbage in prop::collection::vec(any::<u8>(), 0..40),
        place in 0_usize..400,
        cuts in prop::collection::vec(1_usize..80, 1..40),
    ) {
        let mut octets = octets();
        let place = place.min(octets.len());
        octets.splice(place..place, garbage);
        let whole = split([&octets[..]]);
        let mut pieces = Vec::new();
        let mut rest = &octets[..];
        for cut in cuts.into_iter().cycle() {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(split(pieces), whole);
    }
}
