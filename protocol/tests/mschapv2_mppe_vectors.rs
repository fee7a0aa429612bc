//! MS-CHAPv2 and MPPE against vectors that an independent implementation computed from the RFCs.
//!
//! The first case is the published one of RFC 2759 §9.2 and RFC 3079 §3.5.

#![allow(clippy::unwrap_used, reason = "a test's helpers may panic like the test itself")]

use protocol::mppe::{CoherencyCount, MasterKey, Sender, SessionKey, Stateless, Strength};
use protocol::mschap::{AuthenticatorResponse, Exchange, NtHash, NtResponse};
use serde_json::Value;

fn cases() -> Vec<Value> {
    serde_json::from_str(include_str!("data/mschapv2_mppe.json")).unwrap()
}

fn text<'a>(case: &'a Value, field: &str) -> &'a str {
    case[field].as_str().unwrap()
}

fn octets(case: &Value, field: &str) -> Vec<u8> {
    let digits = text(case, field);
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

fn fixed<const N: usize>(case: &Value, field: &str) -> [u8; N] {
    octets(case, field).try_into().unwrap()
}

/// Runs `check` for the strengths and directions of every case.
fn for_each_direction(mut check: impl FnMut(&Value, &MasterKey, Sender, Strength)) {
    for case in cases() {
        let hash_hash = NtHash::of_password(text(&case, "password")).hash();
        let response = NtResponse::from_bytes(fixed(&case, "nt_response"));
        let master = MasterKey::from_mschapv2(&hash_hash, &response);
        for (bits, strength) in
            [("40", Strength::Bits40), ("56", Strength::Bits56), ("128", Strength::Bits128)]
        {
            for (direction, sender) in
                [("server_send", Sender::Server), ("server_receive", Sender::Client)]
            {
                check(&case["keys"][bits][direction], &master, sender, strength);
            }
        }
    }
}

/// RFC 2759 §8.1 to §8.7.
#[test]
fn both_sides_proofs_are_the_published_ones() {
    for case in cases() {
        let authenticator_challenge = fixed(&case, "authenticator_challenge");
        let peer_challenge = fixed(&case, "peer_challenge");
        let exchange = Exchange {
            authenticator_challenge: &authenticator_challenge,
            peer_challenge: &peer_challenge,
            user: text(&case, "user").as_bytes(),
        };
        let hash = NtHash::of_password(text(&case, "password"));
        assert_eq!(hash.as_bytes(), &fixed(&case, "nt_password_hash"));
        assert_eq!(hash.hash().as_bytes(), &fixed(&case, "nt_password_hash_hash"));
        assert_eq!(exchange.challenge_hash(), fixed(&case, "challenge"));
        let response = exchange.nt_response(&hash);
        assert_eq!(response.as_bytes(), &fixed(&case, "nt_response"));
        let proof = exchange.authenticator_response(&hash.hash(), &response);
        assert_eq!(proof.to_text(), text(&case, "authenticator_response"));
    }
}

/// RFC 2759 §4: the domain is sent, but not hashed.
#[test]
fn a_domain_before_the_name_changes_no_proof() {
    let with =
        |user| Exchange { authenticator_challenge: &[1; 16], peer_challenge: &[2; 16], user };
    let hash = NtHash::of_password("secret");
    assert_eq!(
        with(br"OFFICE\ivan".as_slice()).nt_response(&hash),
        with(b"ivan".as_slice()).nt_response(&hash)
    );
}

/// RFC 2759 §5.
#[test]
fn an_authenticator_response_is_read_from_a_message() {
    let text = "S=407A5589115FD0D6209F510FE9C04566932CDA56";
    let read = |message: &str| AuthenticatorResponse::from_message(message.as_bytes());
    let proof = read(text).unwrap();
    assert_eq!(proof.to_text(), text);
    assert_eq!(read(&format!("{text} M=Welcome")), Some(proof));
    assert_eq!(read(&text.to_lowercase().replace("s=", "S=")), Some(proof));
    assert_eq!(read(&text[..41]), None);
    assert_eq!(read(&text.replace('7', "g")), None);
    assert_eq!(read("M=Welcome"), None);
    assert_ne!(read(&text.replace('7', "8")), Some(proof));
}

/// RFC 3079 §3.4 and §3.5.
#[test]
fn keys_of_both_directions_are_the_published_ones() {
    for case in cases() {
        let hash_hash = NtHash::of_password(text(&case, "password")).hash();
        let response = NtResponse::from_bytes(fixed(&case, "nt_response"));
        let master = MasterKey::from_mschapv2(&hash_hash, &response);
        assert_eq!(master.as_bytes(), &fixed(&case, "mppe_master_key"));
    }
    for_each_direction(|expected, master, sender, strength| {
        let start = master.start_key(sender, strength);
        assert_eq!(start.as_bytes(), octets(expected, "start_key"));
        let session = SessionKey::initial(&start);
        assert_eq!(session.as_bytes(), octets(expected, "initial_session_key"));
        let mut message = *b"test message";
        session.apply_keystream(&mut message);
        assert_eq!(message.as_slice(), octets(expected, "rc4_test_message"));
    });
}

/// RFC 3078 §7.1 and §7.3: a new key for every packet, the first one included.
#[test]
fn every_packet_has_the_key_and_ciphertext_of_the_vectors() {
    for_each_direction(|expected, master, sender, strength| {
        let mut sending = Stateless::new(master.session_key(sender, strength));
        let mut receiving = sending.clone();
        let vectors = expected["stateless"].as_array().unwrap();
        let last = vectors.last().unwrap()["packet"].as_u64().unwrap();
        let mut vectors = vectors.iter().peekable();
        for packet in 0..=last {
            let plaintext = format!("\0!penstock packet {packet}").into_bytes();
            let mut data = plaintext.clone();
            let header = sending.encrypt(&mut data);
            assert_eq!(header.count, CoherencyCount::of_packet(packet));
            let vector = vectors.next_if(|vector| vector["packet"].as_u64() == Some(packet));
            if let Some(vector) = vector {
                assert_eq!(vector["coherency_count"].as_u64(), Some(header.count.value().into()));
                assert_eq!(sending.key().as_bytes(), octets(vector, "key"));
                assert_eq!(data, octets(vector, "ciphertext_of_packet_text"));
                // The receiver saw none of the packets between two vectors: it skips their keys.
                if packet <= 4096 {
                    receiving.decrypt(header, &mut data).unwrap();
                    assert_eq!(data, plaintext);
                }
            }
        }
        assert!(vectors.next().is_none());
    });
}
