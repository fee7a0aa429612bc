use proptest::prelude::*;

use super::*;
use crate::mppe::{MasterKey, Sender};
use crate::mschap::NtHash;
use crate::ppp::auth::Refusal;
use crate::radius::seal::response;
use crate::radius::{Attributes, Code};

const REQUEST: Authenticator = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];

fn secret() -> Secret {
    Secret::new(*b"testing123")
}

fn accept(attributes: &Attributes) -> Vec<u8> {
    response(Code::AccessAccept, 1, &REQUEST, attributes, true, &secret()).unwrap()
}

fn octets(digits: &str) -> Vec<u8> {
    hexadecimals(digits.as_bytes())
}

fn hexadecimals(digits: &[u8]) -> Vec<u8> {
    let digit = |octet: u8| u8::try_from(char::from(octet).to_digit(16).unwrap()).unwrap();
    digits.chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// RFC 2548 §2.1.3 and §2.3.2, with the values of RFC 2759 §9.2.
#[test]
fn responses_are_laid_out_in_50_octets() {
    let nt: [u8; 24] =
        octets("82309ecd8d708b5ea08faa3981cd83544233114a3d85d6df").try_into().unwrap();
    let peer: Challenge = octets("21402324255e262a28295f2b3a337c7e").try_into().unwrap();
    let v2 = chap2_response(9, &peer, &NtResponse::from_bytes(nt));
    assert_eq!((v2[0], v2[1], &v2[2..18], &v2[18..26]), (9, 0, &peer[..], &[0; 8][..]));
    assert_eq!(v2[26..], nt);
    let v1 = chap_response(9, &NtResponse::from_bytes(nt));
    assert_eq!((v1[0], v1[1], &v1[2..26], &v1[26..]), (9, 1, &[0; 24][..], &nt[..]));
}

/// RFC 2548 §2.3.3: a leading identifier, then RFC 2759 §5's text (the proof is §9.2's).
#[test]
fn a_success_has_an_identifier_and_a_proof() {
    let text = b"\x07S=407A5589115FD0D6209F510FE9C04566932CDA56";
    let success = Chap2Success::parse(text).unwrap();
    assert_eq!(success.identifier, 7);
    assert_eq!(success.response.to_text().as_bytes(), &text[1..]);
    assert!(Chap2Success::parse(&[&text[..], b" M=welcome"].concat()).is_some());
    for wrong in [&b""[..], b"\x07", &text[1..], &text[..42], b"\x07S=zz"] {
        assert_eq!(Chap2Success::parse(wrong), None);
    }
}

/// RFC 2548 §2.1.5 with RFC 2433 §8 and RFC 2759 §6.
#[test]
fn an_error_has_an_identifier_and_a_failures_text() {
    let v2 = b"\x05E=647 R=1 C=4faedc8c2e89ba56ccc93fe87dfe4f9d V=3 M=Wrong password, E=5";
    let error = ChapError::parse(v2).unwrap();
    assert_eq!((error.identifier, error.failure.refusal), (5, Refusal::Disabled));
    assert_eq!(error.failure.retry, Some(octets("4faedc8c2e89ba56ccc93fe87dfe4f9d")));
    assert_eq!(error.failure.message, "Wrong password, E=5");
    let v1 = ChapError::parse(b"\x05E=648 R=0 C=0123456789abcdef V=2").unwrap();
    assert_eq!((v1.failure.refusal, v1.failure.retry), (Refusal::PasswordExpired, None));
    assert_eq!(ChapError::parse(b""), None);
    let bare = ChapError::parse(b"\x05").unwrap();
    assert_eq!(bare.failure.refusal, Refusal::WrongPassword);
}

/// RFC 2548 §2.4.2, computed with Python's `hashlib`.
#[test]
fn keys_are_read_as_another_implementation_hid_them() {
    let value = octets("9a3cc2ce9d95acbd515934bf3c1211df6cbb58436a13707d8dce03df0e68b438e9d6");
    let key: Vec<u8> = (0xA0..0xB0).collect();
    assert_eq!(*hiding::reveal_key(&value, &REQUEST, &secret()).unwrap(), key);
    assert_eq!(hiding::hide_key(&key, 0x1A3C, &REQUEST, &secret()).unwrap(), value);
}

/// RFC 3079 §3.5's keys, as a server that knows the hash sends them (RFC 2548 §2.4.2, §2.4.3).
#[test]
fn send_key_is_of_what_the_nas_sends() {
    let hash_hash = NtHash::of_password("clientPass").hash();
    let nt = octets("82309ecd8d708b5ea08faa3981cd83544233114a3d85d6df").try_into().unwrap();
    let master = MasterKey::from_mschapv2(&hash_hash, &NtResponse::from_bytes(nt));
    let hidden = |sender, salt| {
        let key = master.start_key(sender, Strength::Bits128);
        hiding::hide_key(key.as_bytes(), salt, &REQUEST, &secret()).unwrap()
    };
    let mut attributes = Attributes::new();
    attributes
        .octets(MS_MPPE_SEND_KEY, &hidden(Sender::Server, 1))
        .octets(MS_MPPE_RECV_KEY, &hidden(Sender::Client, 2));
    let packet = accept(&attributes);
    let keys = start_keys(&Packet::parse(&packet).unwrap(), &REQUEST, &secret()).unwrap();
    assert_eq!(keys, StartKeys::from(&master));
    // RFC 3079 §3.5.3: GetNewKeyFromSHA makes of it the published session key.
    let session = keys.session_key(Sender::Server, Strength::Bits128);
    assert_eq!(session.as_bytes(), octets("405cb2247a7956e6e211007ae27b22d4"));
}

#[test]
fn keys_that_are_missing_or_odd_are_named() {
    let hidden = |key: &[u8]| hiding::hide_key(key, 5, &REQUEST, &secret()).unwrap();
    let reason = |attributes: &Attributes| {
        let packet = accept(attributes);
        start_keys(&Packet::parse(&packet).unwrap(), &REQUEST, &secret()).unwrap_err().to_string()
    };
    let mut attributes = Attributes::new();
    assert_eq!(reason(&attributes), "the answer has no MS-MPPE-Recv-Key");
    attributes.octets(MS_MPPE_RECV_KEY, &hidden(&[1; 8]));
    assert_eq!(reason(&attributes), "the answer has no MS-MPPE-Send-Key");
    attributes.octets(MS_MPPE_SEND_KEY, &hidden(&[1; 14]));
    assert_eq!(reason(&attributes), "MS-MPPE-Send-Key has a key of 14 octets, not of 8 or 16");
    let mut short = Attributes::new();
    short.octets(MS_MPPE_RECV_KEY, &[0x80, 1, 2, 3]);
    assert_eq!(
        reason(&short),
        "MS-MPPE-Recv-Key: a hidden value has 2 octets, which is no number of whole blocks"
    );
}

/// RFC 2548 §2.4.2: a key of 8 octets is for 40 and 56 bit.
#[test]
fn short_keys_are_the_first_octets() {
    let hidden = |key: &[u8], salt| hiding::hide_key(key, salt, &REQUEST, &secret()).unwrap();
    let mut attributes = Attributes::new();
    attributes
        .octets(MS_MPPE_SEND_KEY, &hidden(&[1; 8], 1))
        .octets(MS_MPPE_RECV_KEY, &hidden(&[2; 8], 2));
    let packet = accept(&attributes);
    let keys = start_keys(&Packet::parse(&packet).unwrap(), &REQUEST, &secret()).unwrap();
    let mut long = [[1; 16], [2; 16]];
    long[0][8..].fill(0);
    long[1][8..].fill(0);
    let short = Strengths::of(&[Strength::Bits40, Strength::Bits56]);
    assert_eq!(keys, StartKeys::new(long[1], long[0], short));
}

/// RFC 2548 §2.4.1, computed with Python's `hashlib`.
#[test]
fn chap_mppe_keys_are_the_lm_key_and_the_nt_key() {
    let value = octets("933df35121c5709078f0d6bcfeabef3122703d8ac66dc612dd3cb27620f2bc6b");
    let mut attributes = Attributes::new();
    attributes.octets(MS_CHAP_MPPE_KEYS, &value);
    let packet = accept(&attributes);
    let keys = chap_mppe_keys(&Packet::parse(&packet).unwrap(), &REQUEST, &secret()).unwrap();
    assert_eq!(*keys.lm, [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(keys.nt.to_vec(), (0x20..0x30).collect::<Vec<u8>>());
    let mut short = Attributes::new();
    short.octets(MS_CHAP_MPPE_KEYS, &value[..16]);
    let packet = accept(&short);
    let error = chap_mppe_keys(&Packet::parse(&packet).unwrap(), &REQUEST, &secret());
    assert_eq!(error.err(), Some(KeyError::Length { name: "MS-CHAP-MPPE-Keys", length: 16 }));
}

proptest! {
    #[test]
    fn arbitrary_octets_never_panic(value: Vec<u8>) {
        let _ = Chap2Success::parse(&value);
        let _ = ChapError::parse(&value);
    }
}
