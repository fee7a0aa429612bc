use proptest::prelude::*;

use super::*;

/// A message of `kind` whose fields hold `fill`, cut or filled up with zeros.
fn octets(kind: Kind, fill: &[u8]) -> Vec<u8> {
    let mut octets = Vec::new();
    octets.extend(u16::try_from(kind.message_len()).unwrap().to_be_bytes());
    octets.extend([0, 1]);
    octets.extend(MAGIC_COOKIE.to_be_bytes());
    octets.extend(kind.number().to_be_bytes());
    octets.extend([0, 0]);
    octets.extend(fill.iter().take(kind.message_len() - HEADER_LEN));
    octets.resize(kind.message_len(), 0);
    octets
}

proptest! {
    #[test]
    fn every_message_is_what_it_was_after_emission_and_parsing(
        kind in prop::sample::select(&Kind::ALL[..]),
        fill in prop::collection::vec(any::<u8>(), MAX_LEN),
    ) {
        let message = Message::parse(&octets(kind, &fill)).unwrap();
        prop_assert_eq!(message.kind(), kind);
        let emitted = message.emit();
        prop_assert_eq!(emitted.len(), kind.message_len());
        prop_assert_eq!(Message::parse(&emitted), Ok(message));
    }

    #[test]
    fn arbitrary_octets_never_panic(octets in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Message::parse(&octets);
    }

    #[test]
    fn one_changed_octet_never_panics_and_never_changes_the_length_of_a_type(
        kind in prop::sample::select(&Kind::ALL[..]), place in 0_usize..12, value: u8,
    ) {
        let mut octets = octets(kind, &[]);
        octets[place] = value;
        if let Ok(message) = Message::parse(&octets) {
            // Some types share a length: then another type is what the octet says.
            prop_assert_eq!(message.kind().message_len(), kind.message_len());
        }
    }

    #[test]
    fn text_ends_at_its_first_nul_and_needs_none(field: [u8; 64]) {
        let text = Reader(&field).text::<64>().unwrap();
        let expected: Vec<u8> = field.into_iter().take_while(|&octet| octet != 0).collect();
        prop_assert_eq!(text.as_bytes(), expected);
        prop_assert!(text.to_string().chars().all(|c| c.is_ascii() && !c.is_ascii_control()));
    }
}

#[test]
fn a_message_cut_anywhere_is_refused() {
    for kind in Kind::ALL {
        let octets = octets(kind, &[]);
        for len in 0..octets.len() {
            let expected = if len < HEADER_LEN {
                Error::Truncated(len)
            } else {
                Error::Length { kind, length: len }
            };
            assert_eq!(Message::parse(&octets[..len]), Err(expected));
        }
    }
}

#[test]
fn headers_that_lie_are_refused_with_the_reason() {
    let good = octets(Kind::EchoRequest, &[]);
    let with = |place: usize, value: u8| {
        let mut octets = good.clone();
        octets[place] = value;
        Message::parse(&octets).unwrap_err()
    };
    let reasons = [with(4, 0x47), with(3, 2), with(9, 0), with(9, 16), with(1, 15), with(0, 0xFF)];
    insta::assert_snapshot!(reasons.map(|reason| reason.to_string()).join("\n"), @r"
    magic cookie is 0x472b3c4d: not PPTP, or out of step
    PPTP message type is 2, not 1 (control)
    unknown control message type 0
    unknown control message type 16
    Echo-Request has length 15, must be 16
    Echo-Request has length 65296, must be 16
    ");
}

#[test]
fn reserved_fields_are_read_whatever_they_hold_and_sent_as_zero() {
    // RFC 2637 §2: reserved fields are sent as zero; peers are sloppy.
    let mut sloppy = octets(Kind::CallClearRequest, &[0x12, 0x34, 0xFF, 0xFF]);
    sloppy[10] = 0xFF;
    let message = Message::parse(&sloppy).unwrap();
    assert_eq!(message, Message::CallClearRequest(CallClearRequest { call_id: 0x1234 }));
    assert_eq!(&message.emit()[10..], [0, 0, 0x12, 0x34, 0, 0]);
}

#[test]
fn codes_that_the_rfc_does_not_define_are_kept() {
    for value in 0..=u8::MAX {
        assert_eq!(u8::from(codes::GeneralError::from(value)), value);
        assert_eq!(u8::from(codes::StartResult::from(value)), value);
        assert_eq!(u8::from(codes::StopReason::from(value)), value);
        assert_eq!(u8::from(codes::PlainResult::from(value)), value);
        assert_eq!(u8::from(codes::OutgoingResult::from(value)), value);
        assert_eq!(u8::from(codes::IncomingResult::from(value)), value);
        assert_eq!(u8::from(codes::DisconnectResult::from(value)), value);
    }
    // RFC 2637 §2.3: the reasons are 1 to 3.
    assert_eq!(codes::StopReason::from(0), codes::StopReason::Other(0));
}
