//! LCP's echoes: the worker's while a tunnel's network is open, the control plane's else.

use super::bench::{ACCESS, Bench, INNER, RAW};
use super::subscriber::{Subscriber, keys};
use crate::api::{Command, DropReason, Encryption, Event, Framing};

const MAGIC: u32 = 0x0102_0304;

/// A tunnel with MPPE whose LCP agreed on [`MAGIC`], and its subscriber.
fn dial(bench: &mut Bench) -> (crate::api::TunnelId, Subscriber) {
    let (tunnel, subscriber) = bench.dial(9, INNER);
    let framing = Framing { compress_address_control: true, compress_protocol: true };
    bench.handle.command(Command::SetFraming { tunnel, framing, magic: MAGIC }).unwrap();
    (tunnel, subscriber)
}

/// LCP's packet behind its protocol number.
fn lcp(code: u8, identifier: u8, magic: u32, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + rest.len()).unwrap();
    let header = [0xC0, 0x21, code, identifier];
    [&header[..], &length.to_be_bytes(), &magic.to_be_bytes(), rest].concat()
}

/// What went to the control plane.
fn told(bench: &mut Bench) -> Vec<Box<[u8]>> {
    let frame = |event| match event {
        Event::Control { frame, .. } => frame,
        other => panic!("{other:?}"),
    };
    bench.events().into_iter().map(frame).collect()
}

/// RFC 1661 §5.8, §6.5, §6.6.
#[test]
fn a_request_is_answered_with_its_data_and_our_magic_number() {
    let mut bench = Bench::new(1);
    let (tunnel, subscriber) = dial(&mut bench);
    bench.turn();
    for (sequence, rest) in (0..).zip([&b""[..], b"data", &[7; 120]]) {
        // With padding behind it, which is nobody's data.
        let request = [lcp(9, 77, 0xAABB_CCDD, rest), vec![0; 9]].concat();
        bench.push(0, RAW, &subscriber.frame_at(sequence, &request));
        bench.turn();
        let sent = subscriber.read(&bench.pop(0, ACCESS)[0][14..]);
        assert_eq!(sent.sequence, Some(sequence));
        assert_eq!(sent.frame[..2], [0xFF, 0x03], "frames of LCP are never shortened");
        assert_eq!(sent.frame[2..], lcp(10, 77, MAGIC, rest));
    }
    assert!(bench.events().is_empty());
    assert_eq!(bench.drops(), []);
    assert!(bench.handle.heard(tunnel).is_some());
}

#[test]
fn a_reply_is_a_sign_of_life_and_no_more() {
    let mut bench = Bench::new(1);
    let (tunnel, subscriber) = dial(&mut bench);
    bench.turn();
    assert_eq!(bench.handle.heard(tunnel), None);
    bench.push(0, RAW, &subscriber.frame_at(0, &lcp(10, 1, 5, b"")));
    bench.turn();
    assert!(bench.handle.heard(tunnel).is_some());
    assert!(bench.events().is_empty() && bench.pop(0, ACCESS).is_empty());
    assert_eq!(bench.drops(), []);
}

#[test]
fn what_is_unusual_is_the_control_planes() {
    let mut bench = Bench::new(1);
    let (_, subscriber) = dial(&mut bench);
    let unusual = [
        // By a loop.
        lcp(9, 1, MAGIC, b""),
        // Longer than the least MRU: the reply might have to be cut.
        lcp(9, 1, 5, &[0; 121]),
        // No echoes.
        lcp(11, 1, 5, b""),
        lcp(5, 1, 5, b""),
        // Without a magic number, shorter than it says, another protocol.
        vec![0xC0, 0x21, 9, 1, 0, 7, 1, 2, 3],
        vec![0xC0, 0x21, 9, 1, 0, 12, 1, 2, 3, 4],
        vec![0x80, 0xFD, 9, 1, 0, 8, 1, 2, 3, 4],
    ];
    for (sequence, frame) in (0..).zip(&unusual) {
        bench.push(0, RAW, &subscriber.frame_at(sequence, frame));
    }
    bench.turn();
    assert_eq!(told(&mut bench), unusual.map(Box::from));
    assert!(bench.pop(0, ACCESS).is_empty());
}

#[test]
fn all_are_the_control_planes_while_the_network_is_closed() {
    let mut bench = Bench::new(1);
    let (tunnel, subscriber) = dial(&mut bench);
    let [request, reply] = [lcp(9, 1, 5, b""), lcp(10, 1, 5, b"")];
    for opened in [false, true, false] {
        bench.network(tunnel, opened.then_some(INNER));
        bench.push(0, RAW, &subscriber.frame_at(0, &request));
        bench.push(0, RAW, &subscriber.frame_at(1, &reply));
        bench.turn();
        assert_eq!(told(&mut bench).len(), if opened { 0 } else { 2 });
        assert_eq!(bench.pop(0, ACCESS).len(), usize::from(opened));
    }
}

#[test]
fn a_link_without_magic_numbers_answers_with_zero() {
    let mut bench = Bench::new(1);
    let (tunnel, subscriber) = bench.dial(9, INNER);
    let (receive, send) = keys(9);
    bench.protect(tunnel, Encryption::stateless(receive, send));
    bench.push(0, RAW, &subscriber.frame_at(0, &lcp(9, 3, 0, b"")));
    bench.turn();
    let sent = subscriber.read(&bench.pop(0, ACCESS)[0][14..]);
    assert_eq!(sent.frame[2..], lcp(10, 3, 0, b""));
}

#[test]
fn a_flood_of_requests_is_answered_at_the_rate_of_control_frames() {
    let mut bench = Bench::new(1);
    let (_, subscriber) = dial(&mut bench);
    for sequence in 0..500 {
        bench.push(0, RAW, &subscriber.frame_at(sequence, &lcp(9, 1, 5, b"")));
    }
    bench.turn_after(std::time::Duration::from_secs(1));
    let answers = bench.pop(0, ACCESS).len();
    assert!((1..250).contains(&answers), "{answers} answers at once");
    let limited = 4 * 64 - answers as u64;
    assert_eq!(bench.drops(), [(DropReason::ControlRateLimited, limited)]);
}
