//! The encrypted half of a captured session: keys from its MS-CHAPv2 login, and its packets.

// Each test binary compiles this module and uses only a part of it.
#![allow(dead_code)]
// Helpers of tests fail by panicking; clippy.toml's exception reaches only test functions.
#![allow(clippy::unwrap_used)]

use protocol::mppe::{Header, MasterKey, Sender, SessionKey, Strength};
use protocol::mschap::{Exchange, NtHash, NtResponse, nt_response_v1};
use protocol::ppp::auth::StartKeys;
use protocol::ppp::auth::chap::Value;

use super::pcap::Packet;

/// Password of every captured login.
const PASSWORD: &str = "secret123";

/// One encrypted packet.
#[derive(Debug, Clone)]
pub struct Encrypted {
    pub sender: Sender,
    /// GRE sequence number.
    pub sequence: u32,
    pub header: Header,
    /// What follows the MPPE header.
    pub data: Vec<u8>,
}

/// A session with its keys.
pub struct Session {
    keys: StartKeys,
    pub packets: Vec<Encrypted>,
}

impl Session {
    pub fn of(packets: &[Packet]) -> Self {
        let frames = || packets.iter().filter_map(ppp);
        let client = frames().find_map(|(frame, packet)| {
            (frame.protocol == CHAP && frame.information[0] == RESPONSE).then_some(packet.src)
        });
        let encrypted = frames().filter(|(frame, _)| frame.protocol == COMPRESSED);
        let packets = encrypted.map(|(frame, packet)| Encrypted {
            sender: if Some(packet.src) == client { Sender::Client } else { Sender::Server },
            sequence: frame.sequence,
            header: Header::from_octets([frame.information[0], frame.information[1]]),
            data: frame.information[2..].to_vec(),
        });
        Self { keys: start_keys(frames().map(|(frame, _)| frame)), packets: packets.collect() }
    }

    pub fn initial_key(&self, sender: Sender, strength: Strength) -> SessionKey {
        self.keys.session_key(sender, strength)
    }

    pub fn sent_by(&self, sender: Sender) -> impl Iterator<Item = &Encrypted> {
        self.packets.iter().filter(move |packet| packet.sender == sender)
    }
}

const CHAP: u16 = 0xC223;
const COMPRESSED: u16 = 0x00FD;
const CHALLENGE: u8 = 1;
const RESPONSE: u8 = 2;

struct Frame<'a> {
    sequence: u32,
    protocol: u16,
    information: &'a [u8],
}

/// The PPP frame in a GRE packet, and the IP packet that it came in.
fn ppp(packet: &Packet) -> Option<(Frame<'_>, &Packet)> {
    let gre = packet.gre()?;
    // RFC 2637 §4.1: without bit S there is no payload, bit A puts an acknowledgment before it.
    let (has_sequence, has_acknowledgment) = (gre[0] & 0x10 != 0, gre[1] & 0x80 != 0);
    if !has_sequence {
        return None;
    }
    let sequence = u32::from_be_bytes(gre[8..12].try_into().unwrap());
    let payload = &gre[if has_acknowledgment { 16 } else { 12 }..];
    let payload = payload.strip_prefix(&[0xFF, 0x03]).unwrap_or(payload);
    let (protocol, information) = if payload[0] & 1 == 1 {
        (payload[0].into(), &payload[1..])
    } else {
        (u16::from_be_bytes([payload[0], payload[1]]), &payload[2..])
    };
    Some((Frame { sequence, protocol, information }, packet))
}

fn start_keys<'a>(frames: impl Iterator<Item = Frame<'a>>) -> StartKeys {
    let (mut challenge, mut response) = (None, None);
    for frame in frames.filter(|frame| frame.protocol == CHAP) {
        match frame.information[0] {
            CHALLENGE => challenge = Value::parse(&frame.information[4..]).map(|value| value.value),
            RESPONSE => response = Some(frame.information),
            _ => {}
        }
    }
    // RFC 2759 §4: peer challenge 16, reserved 8, NT-Response 24, flags 1, name.
    let response = response.unwrap();
    let length = usize::from(u16::from_be_bytes([response[2], response[3]]));
    let hash = NtHash::of_password(PASSWORD);
    let nt_response = NtResponse::from_bytes(response[29..53].try_into().unwrap());
    // RFC 2433 §5: MS-CHAPv1's challenge has 8 octets.
    if let Ok(challenge) = challenge.unwrap().try_into() {
        assert_eq!(nt_response_v1(challenge, &hash), nt_response, "the password is the login's");
        return StartKeys::from_mschapv1(&hash.hash(), challenge);
    }
    let exchange = Exchange {
        authenticator_challenge: challenge.unwrap().try_into().unwrap(),
        peer_challenge: &response[5..21].try_into().unwrap(),
        user: &response[54..length],
    };
    assert_eq!(exchange.nt_response(&hash), nt_response, "the password is the captured login's");
    StartKeys::from(&MasterKey::from_mschapv2(&hash.hash(), &nt_response))
}

/// Whether a decrypted packet is a whole IPv4 packet with a right header checksum.
pub fn is_ipv4(plaintext: &[u8]) -> bool {
    let Some(packet) =
        plaintext.strip_prefix(&[0x00, 0x21]).or_else(|| plaintext.strip_prefix(&[0x21]))
    else {
        return false;
    };
    let header_length = packet.first().map_or(0, |first| usize::from(first & 0x0F) * 4);
    if packet.len() < 20 || packet[0] >> 4 != 4 || packet.len() < header_length {
        return false;
    }
    let sum = packet[..header_length]
        .chunks_exact(2)
        .fold(0_u32, |sum, pair| sum + u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let folded = (sum & 0xFFFF) + (sum >> 16);
    folded == 0xFFFF && usize::from(u16::from_be_bytes([packet[2], packet[3]])) == packet.len()
}
