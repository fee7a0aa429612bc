//! Sessions of Linux pppd, client and server: every control frame decodes and is emitted again
//! byte for byte; the client's requests get from our server what pppd's server answered.

// Helpers of tests fail by panicking; clippy.toml's exception reaches only test functions.
#![allow(clippy::unwrap_used)]

mod common;

use common::pcap;
use common::ppp::{End, Puppet, client_with, packet, parse, require, seconds, server_config};
use protocol::gre;
use protocol::mppe::Strength;
use protocol::ppp::Protocol;
use protocol::ppp::auth::chap::{self, Value};
use protocol::ppp::auth::{Attempt, Credential, Method, Proof, Unproven, mschapv1, mschapv2};
use protocol::ppp::ccp::Policy;
use protocol::ppp::frame::{self, Framing};
use protocol::ppp::link::Phase;
use protocol::ppp::options::{OptionList, Options};
use protocol::ppp::packet::{Packet, code};

const CAPTURES: [&str; 8] = [
    "chap-md5",
    "client-without-mppe",
    "mppe40",
    "mschapv1-mppe128",
    "multilink-mppe128",
    "stateless128",
    "stateless128-count-wrap",
    "wrong-password",
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Client,
    Server,
}

/// The PPP frames of a capture.
fn frames(capture: &str) -> Vec<(From, Vec<u8>)> {
    pcap::read(&format!("{capture}.pcap"))
        .iter()
        .filter_map(|ip| {
            let (_, payload) = gre::Header::parse(ip.gre()?).unwrap();
            let from = if ip.src.octets()[3] == 2 { From::Client } else { From::Server };
            (!payload.is_empty()).then(|| (from, payload.to_vec()))
        })
        .collect()
}

/// The control packets that this side sent, in order.
fn control(capture: &str, side: From, protocol: Protocol) -> Vec<Vec<u8>> {
    frames(capture)
        .into_iter()
        .filter(|(from, frame)| *from == side && frame::parse(frame).unwrap().0 == protocol)
        .map(|(_, frame)| frame::parse(&frame).unwrap().1.to_vec())
        .collect()
}

#[test]
fn every_control_frame_is_emitted_again_byte_for_byte() {
    let mut seen = 0;
    for capture in CAPTURES {
        for (_, bytes) in frames(capture) {
            let (protocol, payload) = frame::parse(&bytes).unwrap();
            let framing = Framing {
                compress_address_control: !bytes.starts_with(&[0xFF, 0x03]),
                compress_protocol: (bytes.len() - payload.len()) % 2 == 1,
            };
            let emitted = frame::emit(protocol, payload, framing);
            // pppd leaves FF 03 away from LCP's codes above 7, which RFC 1661 §6.6 forbids: such
            // a frame is understood, and never sent.
            if protocol == Protocol::LCP && framing.compress_address_control {
                assert!(payload[0] > code::CODE_REJECT, "{capture}");
                assert_eq!(emitted, [&[0xFF, 0x03], &bytes[..]].concat(), "{capture}");
            } else {
                assert_eq!(emitted, bytes, "{capture}");
            }
            if protocol.is_data() {
                continue;
            }
            let packet = Packet::parse(payload).unwrap();
            assert_eq!(packet.emit(), payload, "{capture}");
            seen += 1;
            if protocol == Protocol::CHAP && packet.code <= chap::RESPONSE {
                assert_eq!(Value::parse(packet.data).unwrap().emit(), packet.data);
            } else if protocol != Protocol::CHAP && packet.code <= code::CONFIGURE_REJECT {
                let mut again = OptionList::new();
                for option in Options::parse(packet.data).unwrap() {
                    again.push(option.kind, option.data);
                }
                assert_eq!(again.as_bytes(), packet.data, "{capture}");
            }
        }
    }
    assert!(seen > 150, "{seen} control frames");
}

/// The login in a capture, as our server would have asked for its verdict, and what the server
/// there answered.
fn login(capture: &str) -> (Attempt, Vec<u8>) {
    let server = control(capture, From::Server, Protocol::CHAP);
    let client = control(capture, From::Client, Protocol::CHAP);
    let challenge = Value::parse(Packet::parse(&server[0]).unwrap().data).unwrap().value;
    let packet = Packet::parse(&client[0]).unwrap();
    let value = Value::parse(packet.data).unwrap();
    let proof = match (challenge.len(), value.value.len()) {
        (8, 49) => Proof::MsChapV1 {
            challenge: challenge.try_into().unwrap(),
            nt_response: mschapv1::Response::parse(value.value).unwrap().0,
        },
        _ => {
            let response = mschapv2::Response::parse(value.value).unwrap();
            assert_eq!(response.emit(), value.value);
            Proof::MsChapV2 {
                authenticator_challenge: challenge.try_into().unwrap(),
                peer_challenge: response.peer_challenge,
                nt_response: response.nt_response,
            }
        }
    };
    let attempt = Attempt {
        identifier: packet.identifier,
        name: value.name.to_vec(),
        proof,
        is_retry: false,
    };
    (attempt, Packet::parse(&server[1]).unwrap().data.to_vec())
}

#[test]
fn captured_logins_verify_and_yield_the_captured_proof_of_the_server() {
    let stored = Credential::of_password("secret123");
    for capture in ["stateless128", "mppe40", "client-without-mppe", "multilink-mppe128"] {
        let (attempt, success) = login(capture);
        let accepted = attempt.verify(&stored).unwrap();
        let proof = accepted.response.unwrap();
        assert!(success.starts_with(proof.to_text().as_bytes()), "{capture}");
    }
    let (attempt, _) = login("mschapv1-mppe128");
    assert!(attempt.verify(&stored).unwrap().response.is_none());
    let (attempt, failure) = login("wrong-password");
    assert_eq!(attempt.verify(&stored).unwrap_err(), Unproven::WrongPassword);
    assert!(failure.starts_with(b"E=691"));
}

/// Answers of our server to the requests that the captured client made of a protocol.
fn replay(puppet: &mut Puppet, capture: &str, protocol: Protocol) -> Vec<Vec<u8>> {
    let mut answers = Vec::new();
    for request in control(capture, From::Client, protocol) {
        if Packet::parse(&request).unwrap().code == code::CONFIGURE_REQUEST {
            let frame = [&protocol.number().to_be_bytes()[..], &request].concat();
            answers.extend(puppet.say(&frame));
        }
    }
    answers
}

/// What the captured server answered, and ours: packets of Ack, Nak and Reject.
fn replies(frames: &[Vec<u8>], protocol: Protocol) -> Vec<Vec<u8>> {
    frames
        .iter()
        .map(|frame| parse(frame))
        .filter(|(of, packet)| *of == protocol && (2..=4).contains(&packet.code))
        .map(|(_, packet)| packet.emit())
        .collect()
}

fn captured_replies(capture: &str, protocol: Protocol) -> Vec<Vec<u8>> {
    let mut packets = control(capture, From::Server, protocol);
    packets.retain(|packet| (2..=4).contains(&packet[0]));
    packets
}

#[test]
fn the_captured_client_gets_the_captured_answers() {
    for (capture, strength) in [
        ("stateless128", Strength::Bits128),
        ("stateless128-count-wrap", Strength::Bits128),
        ("mppe40", Strength::Bits40),
    ] {
        let mut config = server_config();
        config.encryption = require(&[strength]);
        let mut puppet = Puppet::new(config);
        puppet.begin();
        for protocol in [Protocol::LCP, Protocol::CCP, Protocol::IPCP] {
            let answers = replay(&mut puppet, capture, protocol);
            assert_eq!(
                replies(&answers, protocol),
                captured_replies(capture, protocol),
                "{capture}: {protocol}\n{}",
                puppet.end.transcript
            );
        }
        assert_eq!(puppet.end.link.phase(), Phase::Up, "{capture}");
        // pppd proposes IPV6CP, which its server knows and ours does not (RFC 1661 §5.7).
        let ipv6cp = control(capture, From::Client, Protocol::IPV6CP);
        if let Some(request) = ipv6cp.first() {
            let frame = [&[0x80, 0x57][..], request].concat();
            let rejects = puppet.say(&frame);
            assert_eq!(parse(&rejects[0]).1.code, code::PROTOCOL_REJECT);
        }
    }
}

#[test]
fn the_captured_client_without_mppe_is_refused_with_the_reason() {
    let capture = "client-without-mppe";
    let mut puppet = Puppet::new(server_config());
    puppet.acks.retain(|&protocol| protocol != Protocol::CCP);
    puppet.begin();
    replay(&mut puppet, capture, Protocol::LCP);
    let answers = replay(&mut puppet, capture, Protocol::CCP);
    // Deflate, MVRCA and BSD are Rejected, as pppd's server did.
    assert_eq!(replies(&answers, Protocol::CCP), captured_replies(capture, Protocol::CCP));
    // The client Rejects MPPE itself; its packet names our request as it named pppd's.
    let ccp = control(capture, From::Client, Protocol::CCP);
    let reject = ccp.iter().find(|packet| packet[0] == code::CONFIGURE_REJECT).unwrap();
    puppet.say(&[&[0x80, 0xFD][..], reject].concat());
    puppet.end.wait(seconds(20));
    assert_eq!(
        puppet.end.reason(),
        "client offered MS-CHAPv2 without MPPE-128; this server requires it"
    );
}

#[test]
fn the_captured_client_with_a_wrong_password_is_refused() {
    let mut puppet = Puppet::new(server_config());
    puppet.login = Some((b"alice".to_vec(), "another"));
    puppet.begin();
    replay(&mut puppet, "wrong-password", Protocol::LCP);
    for terminate in control("wrong-password", From::Client, Protocol::LCP) {
        if terminate[0] == code::TERMINATE_REQUEST {
            puppet.say(&[&[0xC0, 0x21][..], &terminate].concat());
        }
    }
    puppet.end.wait(seconds(20));
    assert_eq!(puppet.end.reason(), "wrong password: Denied");
}

/// The methods whose Response depends on the Challenge alone.
#[test]
fn our_client_answers_challenges_as_the_captured_client_did() {
    for (capture, method) in [("chap-md5", Method::ChapMd5), ("mschapv1-mppe128", Method::MsChapV1)]
    {
        let mut config = client_with("secret123", &[method]);
        config.encryption = Policy::DENY;
        let mut end = End::new(config, 9);
        end.open();
        let first = std::mem::take(&mut end.sent).remove(0);
        let (_, ours) = parse(&first);
        end.receive(&packet(Protocol::LCP, code::CONFIGURE_ACK, ours.identifier, ours.data));
        let request = &control(capture, From::Server, Protocol::LCP)[0];
        end.receive(&[&[0xC0, 0x21][..], request].concat());
        let challenge = &control(capture, From::Server, Protocol::CHAP)[0];
        let sent = end.receive(&[&[0xC2, 0x23][..], challenge].concat());
        let response = &control(capture, From::Client, Protocol::CHAP)[0];
        assert_eq!(&sent[0][2..], &response[..], "{capture}");
        let success = &control(capture, From::Server, Protocol::CHAP)[1];
        end.receive(&[&[0xC2, 0x23][..], success].concat());
        assert_eq!(end.link.phase(), Phase::Ipcp, "{capture}");
    }
}

/// pppd as a server, against our client.
#[test]
fn our_client_agrees_with_the_captured_server() {
    let mut end = End::new(common::ppp::client_config("secret123"), 9);
    end.open();
    let acknowledge = |end: &mut End, sent: &[Vec<u8>]| {
        for frame in sent {
            let (protocol, Packet { code, identifier, data }) = parse(frame);
            if code == code::CONFIGURE_REQUEST {
                end.receive(&packet(protocol, code::CONFIGURE_ACK, identifier, data));
            }
        }
    };
    let first = std::mem::take(&mut end.sent);
    acknowledge(&mut end, &first);
    let request = &control("stateless128", From::Server, Protocol::LCP)[0];
    let sent = end.receive(&[&[0xC0, 0x21][..], request].concat());
    // Exactly what the captured client answered.
    let ack = control("stateless128", From::Client, Protocol::LCP)
        .into_iter()
        .find(|packet| packet[0] == code::CONFIGURE_ACK)
        .unwrap();
    assert_eq!(&sent[0][2..], &ack[..]);
    assert_eq!(end.link.phase(), Phase::Authentication);
    let challenge = &control("stateless128", From::Server, Protocol::CHAP)[0];
    let sent = end.receive(&[&[0xC2, 0x23][..], challenge].concat());
    let (_, response) = parse(&sent[0]);
    assert_eq!(response.identifier, challenge[1]);
    assert_eq!(response.data.len(), 1 + 49 + 5);
}
