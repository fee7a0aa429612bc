use proptest::prelude::*;

use super::*;
use crate::radius::dictionary::{
    CLASS, FRAMED_IP_ADDRESS, MIKROTIK_GROUP, MIKROTIK_RATE_LIMIT, MS_PRIMARY_DNS_SERVER,
    SESSION_TIMEOUT, USER_NAME,
};
use crate::radius::seal::{access_request, hashed_request, response};
use crate::radius::{Attributes, Secret, Value};

/// A packet of these octets behind a header that is right.
fn with_attributes(octets: &[u8]) -> Vec<u8> {
    let length = u16::try_from(HEADER_LEN + octets.len()).unwrap().to_be_bytes();
    [&[2, 9], &length[..], &[7; 16], octets].concat()
}

/// RFC 2865 §3: what is shorter than its Length field is discarded, what is longer is padded.
#[test]
fn lengths_are_checked() {
    let packet = with_attributes(&[27, 6, 0, 0, 0, 60]);
    assert_eq!(Packet::parse(&packet[..19]), Err(Malformed::Truncated { have: 19, need: 20 }));
    assert_eq!(Packet::parse(&packet[..25]), Err(Malformed::Truncated { have: 25, need: 26 }));
    let padded = [&packet[..], &[0xFF; 9]].concat();
    assert_eq!(Packet::parse(&padded).unwrap().as_bytes(), packet);
    for (length, error) in [(19_u16, 19), (0, 0), (4097, 4097)] {
        let mut packet = vec![0; 5000];
        packet[0] = 2;
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        assert_eq!(Packet::parse(&packet), Err(Malformed::Length(error)));
    }
}

#[test]
fn an_unknown_code_is_discarded() {
    let mut packet = with_attributes(&[]);
    packet[0] = 99;
    assert_eq!(Packet::parse(&packet), Err(Malformed::Code(99)));
}

/// RFC 2865 §5: an attribute lies within the packet, with its header.
#[test]
fn attributes_that_do_not_fit_are_refused() {
    for (octets, number, at, length) in [
        (&[1, 1][..], 1, 20, 1),
        (&[1, 0], 1, 20, 0),
        (&[1], 1, 20, 0),
        (&[1, 4, b'a'], 1, 20, 4),
        (&[1, 3, b'a', 27, 7, 0, 0, 0, 0], 27, 23, 7),
    ] {
        let error = Malformed::Attribute { number, at, length };
        assert_eq!(Packet::parse(&with_attributes(octets)), Err(error), "{octets:?}");
    }
}

/// RFC 2865 §5.26.
#[test]
fn a_known_vendors_attributes_are_taken_apart() {
    let octets =
        [
            &[
                26,
                6 + 6 + 5,
                0,
                0,
                0x3A,
                0x8C,
                8,
                6,
                b'1',
                b'M',
                b'/',
                b'2',
                3,
                5,
                b'v',
                b'i',
                b'p',
            ][..],
            &[26, 12, 0, 0, 1, 0x37, 28, 6, 9, 9, 9, 9],
            // Another vendor's stays whole, whatever is in it.
            &[26, 8, 0, 0, 0, 9, 1, 200],
            // A vendor's attribute without a vendor is an attribute like another.
            &[26, 4, 0, 0],
        ]
        .concat();
    let packet = with_attributes(&octets);
    let packet = Packet::parse(&packet).unwrap();
    let ids: Vec<String> = packet.attributes().map(|attribute| attribute.id.to_string()).collect();
    insta::assert_snapshot!(
        ids.join(" "),
        @"Mikrotik-Rate-Limit Mikrotik-Group MS-Primary-DNS-Server Attr-26 Attr-26"
    );
    assert_eq!(packet.first(MIKROTIK_RATE_LIMIT), Some(&b"1M/2"[..]));
    assert_eq!(packet.first(MIKROTIK_GROUP), Some(&b"vip"[..]));
    let dns = packet.value(MS_PRIMARY_DNS_SERVER).unwrap().and_then(|value| value.address());
    assert_eq!(dns, Some([9, 9, 9, 9].into()));
}

#[test]
fn a_known_vendors_attributes_lie_within_theirs() {
    for octets in [
        &[26, 8, 0, 0, 0x3A, 0x8C, 8, 3][..],
        &[26, 8, 0, 0, 0x3A, 0x8C, 8, 1],
        &[26, 7, 0, 0, 0x3A, 0x8C, 8],
    ] {
        assert_eq!(Packet::parse(&with_attributes(octets)), Err(Malformed::Vendor(14988)));
    }
}

/// RFC 2865 §5: an attribute of a known kind with a wrong length.
#[test]
fn values_of_wrong_length_are_named() {
    let packet = with_attributes(&[25, 4, 1, 2, 27, 5, 0, 0, 60]);
    let packet = Packet::parse(&packet).unwrap();
    let error = packet.check_values().unwrap_err();
    assert_eq!(error.to_string(), "Session-Timeout has 3 octets that are no number (4 octets)");
    assert_eq!(packet.value(SESSION_TIMEOUT), Err(error));
    assert_eq!(packet.value(FRAMED_IP_ADDRESS), Ok(None));
    assert_eq!(packet.value(CLASS), Ok(Some(Value::Octets(&[1, 2]))));
}

#[test]
fn a_value_that_does_not_fit_is_not_sent_in_part() {
    let secret = Secret::new(*b"secret");
    let mut attributes = Attributes::new();
    attributes.octets(USER_NAME, &[b'a'; 253]).octets(MIKROTIK_GROUP, &[b'a'; 247]);
    assert!(hashed_request(Code::AccountingRequest, 1, &attributes, false, &secret).is_ok());
    for (definition, length) in [(USER_NAME, 254), (MIKROTIK_GROUP, 248)] {
        let mut attributes = attributes.clone();
        attributes.octets(definition, &vec![0; length]).text(CLASS, "behind it");
        let error = access_request(1, &[0; 16], &attributes, None, &secret).unwrap_err();
        assert_eq!((error.name, error.length), (definition.name, length));
    }
    let mut many = Attributes::new();
    for _ in 0..16 {
        many.octets(CLASS, &[1; 253]);
    }
    assert_eq!(
        access_request(1, &[0; 16], &many, None, &secret).unwrap_err().to_string(),
        "Class does not fit into the packet (253 octets)"
    );
    assert_eq!(
        access_request(1, &[0; 16], &Attributes::new(), Some(&[1; 129]), &secret)
            .unwrap_err()
            .to_string(),
        "User-Password does not fit into the packet (129 octets)"
    );
}

#[test]
fn a_list_knows_what_is_in_it() {
    let mut list = Attributes::new();
    list.text(USER_NAME, "alice").text(MIKROTIK_GROUP, "gold");
    assert!(list.has(USER_NAME, b"alice") && list.has(MIKROTIK_GROUP, b"gold"));
    assert!(!list.has(USER_NAME, b"alic") && !list.has(CLASS, b"alice"));
    assert!(!Attributes::new().has(USER_NAME, b""));
}

#[test]
fn a_list_that_was_kept_is_taken_up_again() {
    let mut list = Attributes::new();
    list.text(USER_NAME, "alice").octets(CLASS, &[]);
    let kept = list.as_bytes().unwrap();
    assert_eq!(Attributes::from_bytes(kept), Some(list.clone()));
    assert_eq!(Attributes::from_bytes(&[]), Some(Attributes::new()));
    for broken in [&kept[..5], &kept[..8], &[1], &[1, 0], &[1, 1, 1]] {
        assert_eq!(Attributes::from_bytes(broken), None, "{broken:?}");
    }
    assert_eq!(Attributes::from_bytes(&vec![2; 4078]), None);
}

#[test]
fn lists_are_appended_whole_or_not_at_all() {
    let mut one = Attributes::new();
    one.text(USER_NAME, "alice");
    let mut two = Attributes::new();
    two.octets(CLASS, &[1]);
    assert_eq!(one.append(&two).as_bytes(), Ok(&b"\x01\x07alice\x19\x03\x01"[..]));
    let mut large = Attributes::new();
    for _ in 0..15 {
        large.octets(CLASS, &[1; 253]);
    }
    one.append(&large.clone());
    assert!(one.as_bytes().is_ok());
    assert!(one.append(&large).as_bytes().is_err());
}

fn any_attributes() -> impl Strategy<Value = Vec<(Definition, Vec<u8>)>> {
    let one = prop::sample::select(dictionary::ALL)
        .prop_filter("has its own place", |definition| definition.name != "Message-Authenticator");
    prop::collection::vec((one, prop::collection::vec(any::<u8>(), 0..=20)), 0..20)
}

proptest! {
    #[test]
    fn arbitrary_octets_never_panic(octets: Vec<u8>) {
        let _ = Packet::parse(&octets);
        let packet = with_attributes(&octets);
        if let Ok(packet) = Packet::parse(&packet) {
            let taken: usize = packet.attributes().map(|a| a.value.len()).sum();
            prop_assert!(taken <= octets.len());
            let _ = packet.check_values();
            let secret = Secret::new(*b"secret");
            let _ = packet.verify_response(&[0; 16], &secret);
            let _ = packet.verify_access_request(&secret);
        }
    }

    #[test]
    fn attributes_come_back_in_order(list in any_attributes(), identifier: u8, id: [u8; 16]) {
        let secret = Secret::new(*b"secret");
        let mut attributes = Attributes::new();
        for (definition, value) in &list {
            attributes.octets(*definition, value);
        }
        let sent = response(Code::AccessAccept, identifier, &id, &attributes, true, &secret);
        let sent = sent.unwrap();
        let packet = Packet::parse(&sent).unwrap();
        prop_assert_eq!(packet.identifier(), identifier);
        prop_assert_eq!(packet.code(), Code::AccessAccept);
        // The Message-Authenticator is the first.
        let back: Vec<_> = packet.attributes().skip(1).map(|a| (a.id, a.value.to_vec())).collect();
        let list: Vec<_> = list.into_iter().map(|(d, value)| (d.id, value)).collect();
        prop_assert_eq!(back, list);
    }

    #[test]
    fn what_a_value_means_is_what_is_sent(
        definition in prop::sample::select(dictionary::ALL),
        octets in prop::collection::vec(any::<u8>(), 0..=20),
    ) {
        if let Ok(value) = definition.read(&octets) {
            let sent = value.emit();
            prop_assert_eq!(definition.read(&sent), Ok(value));
            prop_assert!(!value.to_string().chars().any(char::is_control));
        }
    }
}

#[test]
fn values_have_texts() {
    use crate::radius::dictionary as d;
    let text = |definition: Definition, octets: &[u8]| definition.read(octets).unwrap().to_string();
    let lines = [
        text(USER_NAME, "вася\n\u{1b}[1m".as_bytes()),
        text(USER_NAME, b"\xE2\xE0\xF1\xFF"),
        text(CLASS, &[0xDE, 0xAD]),
        text(d::USER_PASSWORD, b"hush"),
        text(FRAMED_IP_ADDRESS, &[10, 0, 0, 9]),
        text(SESSION_TIMEOUT, &[0, 0, 14, 16]),
        text(d::TUNNEL_TYPE, &[0, 0, 0, 1]),
        text(d::TUNNEL_CLIENT_ENDPOINT, b"\x01192.0.2.7"),
        text(d::TUNNEL_CLIENT_ENDPOINT, b"192.0.2.7"),
        text(d::FRAMED_INTERFACE_ID, &[0, 1, 0, 2, 0, 3, 0, 4]),
        text(d::FRAMED_IPV6_ADDRESS, &[0x20, 1, 0xD, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        // RFC 3162 §2.3: bits beyond the length are zero.
        text(d::FRAMED_IPV6_PREFIX, &[0, 33, 0x20, 1, 0xD, 0xB8, 0xFF]),
        text(d::DELEGATED_IPV6_PREFIX, &[0, 0]),
    ];
    insta::assert_snapshot!(lines.join("\n"), @r"
    вася\u{a}\u{1b}[1m
    \xe2\xe0\xf1\xff
    0xdead
    (hidden)
    10.0.0.9
    3600
    1
    192.0.2.7
    192.0.2.7
    1:2:3:4
    2001:db8::1
    2001:db8:8000::/33
    ::/0
    ");
}

/// RFC 2868 §3.1 and §3.3.
#[test]
fn tags_are_taken_off() {
    use crate::radius::dictionary::{TUNNEL_SERVER_ENDPOINT, TUNNEL_TYPE};
    assert_eq!(TUNNEL_TYPE.read(&[3, 0, 0, 1]), Ok(Value::TaggedInteger { tag: 3, value: 1 }));
    assert_eq!(TUNNEL_TYPE.read(&[0x20, 0, 0, 1]), Ok(Value::TaggedInteger { tag: 0, value: 1 }));
    assert!(TUNNEL_TYPE.read(&[0, 0, 1]).is_err());
    assert_eq!(
        TUNNEL_SERVER_ENDPOINT.read(b"\x1fx"),
        Ok(Value::TaggedText { tag: 31, text: b"x" })
    );
    assert_eq!(TUNNEL_SERVER_ENDPOINT.read(b" x"), Ok(Value::TaggedText { tag: 0, text: b" x" }));
    assert_eq!(TUNNEL_SERVER_ENDPOINT.read(b""), Ok(Value::TaggedText { tag: 0, text: b"" }));
}

/// RFC 3162 §2.3, RFC 4818 §3: 2 to 18 octets, enough for the length.
#[test]
fn prefixes_have_the_octets_that_their_length_needs() {
    use crate::radius::dictionary::DELEGATED_IPV6_PREFIX as PREFIX;
    for octets in [&[][..], &[0], &[0, 129], &[0, 8], &[0, 64, 0x20], &[0; 19]] {
        assert!(PREFIX.read(octets).is_err(), "{octets:?}");
    }
    assert!(PREFIX.read(&[0, 128, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]).is_ok());
}
