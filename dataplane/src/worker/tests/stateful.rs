//! Sessions with stateful MPPE, against the reference of `protocol`.

use std::net::Ipv4Addr;
use std::time::Duration;

use protocol::mppe::stateful::{Decryptor, Encryptor};
use protocol::mppe::{Cipher, Header, Mode};

use super::bench::{ACCESS, Bench, INNER, LOCAL, PEER, RAW, TUN, outer};
use super::subscriber::{Subscriber, keys, packet};
use crate::api::{Command, DropReason, Encryption, Event, TunnelId};

const FAR: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 9);

/// A box and a subscriber, stateful both ways.
struct Session {
    bench: Bench,
    tunnel: TunnelId,
    subscriber: Subscriber,
    sending: Encryptor,
    receiving: Decryptor,
}

impl Session {
    fn new() -> Self {
        let mut bench = Bench::new(1);
        let tunnel = bench.handle.open(outer(9)).unwrap();
        let (receive, send) = keys(9);
        let stateful = |key| Cipher { key, mode: Mode::Stateful };
        let (sending, receiving) = (Encryptor::new(receive.clone()), Decryptor::new(send.clone()));
        let encryption = Encryption::Mppe { receive: stateful(receive), send: stateful(send) };
        bench.protect(tunnel, encryption);
        bench.network(tunnel, Some(INNER));
        bench.turn();
        let subscriber = Subscriber::new(PEER, LOCAL, (9, 7), INNER);
        Self { bench, tunnel, subscriber, sending, receiving }
    }

    /// The next encrypted packet of the subscriber, in GRE.
    fn encrypt(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut data = [&[0x00, 0x21], &packet(INNER, FAR, payload)[..]].concat();
        let header = self.sending.encrypt(&mut data);
        let ppp = [&[0xFF, 0x03, 0x00, 0xFD], &header.to_octets()[..], &data].concat();
        self.subscriber.frame(&ppp)
    }

    /// Sends a packet up; what came out at the other end.
    fn up(&mut self, packet: &[u8]) -> Vec<Vec<u8>> {
        self.bench.push(0, RAW, packet);
        self.bench.turn();
        self.bench.pop(0, TUN)
    }

    /// Sends a packet down; the subscriber's next encrypted packet.
    fn down(&mut self, payload: &[u8]) -> (Header, Vec<u8>) {
        self.bench.push(0, TUN, &packet(FAR, INNER, payload));
        self.bench.turn();
        let sent = self.bench.pop(0, ACCESS);
        let frame = self.subscriber.read(&sent.last().unwrap()[14..]).frame;
        let (octets, data) = frame[4..].split_first_chunk().unwrap();
        (Header::from_octets(*octets), data.to_vec())
    }

    fn read(&mut self, header: Header, mut data: Vec<u8>, payload: &[u8]) -> bool {
        let expected = [&[0x00, 0x21], &packet(FAR, INNER, payload)[..]].concat();
        self.receiving.decrypt(header, &mut data, |data| data == expected).is_ok()
    }

    fn asks(&mut self) -> usize {
        let events = self.bench.events();
        let is_ask =
            |event: &&Event| matches!(event, Event::OutOfStep { tunnel } if *tunnel == self.tunnel);
        events.iter().filter(is_ask).count()
    }
}

#[test]
fn data_crosses_both_ways_over_flags_and_a_turn_of_the_count() {
    let mut session = Session::new();
    for round in 0..4500_u32 {
        let payload = vec![round.to_be_bytes()[3]; 1 + round as usize % 90];
        let up = session.encrypt(&payload);
        assert_eq!(session.up(&up), [packet(INNER, FAR, &payload)], "{round}");
        let (header, data) = session.down(&payload);
        assert_eq!(header.flushed, round & 0xFF == 0xFF);
        assert!(session.read(header, data, &payload), "{round}");
    }
    assert_eq!(session.bench.drops(), []);
    let counters = session.bench.handle.counters(session.tunnel).unwrap();
    assert_eq!((counters.rx_packets, counters.tx_packets), (4500, 4500));
}

/// RFC 3078 §8.2: also when the lost packet is a flag packet.
#[test]
fn after_a_loss_the_peer_is_asked_and_its_flushed_packet_is_read() {
    for lost in [10, 255, 4095] {
        let mut session = Session::new();
        for _ in 0..lost {
            let up = session.encrypt(&[1]);
            assert_eq!(session.up(&up).len(), 1);
        }
        session.encrypt(&[2]);
        for _ in 0..20 {
            let up = session.encrypt(&[3]);
            assert!(session.up(&up).is_empty());
        }
        assert!((1..=4).contains(&session.asks()), "asked, but not for each packet");
        assert_eq!(session.bench.drops(), [(DropReason::MppeOutOfStep, 20)]);
        session.sending.reset();
        for _ in 0..600 {
            let up = session.encrypt(&[4]);
            assert_eq!(session.up(&up), [packet(INNER, FAR, &[4])]);
        }
        assert_eq!(session.asks(), 0);
    }
}

#[test]
fn a_peer_that_asks_gets_a_flushed_packet_and_reads_on() {
    let mut session = Session::new();
    for lost in [1, 3, 256, 300] {
        for round in 0..300 {
            let (header, data) = session.down(&[5]);
            if round >= lost {
                session.read(header, data, &[5]);
            }
        }
        let (header, data) = session.down(&[6]);
        if !session.read(header, data, &[6]) {
            let tunnel = session.tunnel;
            session.bench.handle.command(Command::Flush { tunnel }).unwrap();
            let (header, data) = session.down(&[7]);
            assert!(header.flushed && session.read(header, data, &[7]), "{lost}");
        }
        let (header, data) = session.down(&[8]);
        assert!(session.read(header, data, &[8]));
    }
}

#[test]
fn forged_and_late_packets_cost_the_session_nothing_but_asking() {
    let mut session = Session::new();
    for round in 0..600_u32 {
        let up = session.encrypt(&[1]);
        let late = session.encrypt(&[2]);
        for octets in [[0x90, 0x07], [0x10, round.to_be_bytes()[3]], [0x00, 0x01], [0x9F, 0xFF]] {
            let ppp = [&[0xFF, 0x03, 0x00, 0xFD], &octets[..], &[0xA5; 40]].concat();
            // The last ones cost more keys than the tunnel may change.
            for ahead in [9, 1 << 30] {
                let sequence = session.subscriber.sequence + ahead;
                let forged = session.subscriber.frame_at(sequence, &ppp);
                assert!(session.up(&forged).is_empty());
            }
        }
        assert_eq!(session.up(&up), [packet(INNER, FAR, &[1])], "{round}");
        assert_eq!(session.up(&late), [packet(INNER, FAR, &[2])], "{round}");
        assert!(session.up(&up).is_empty(), "and once only");
        session.bench.turn_after(Duration::from_millis(20));
    }
    // What came in between is unreadable once a later one was read.
    let (first, second) = (session.encrypt(&[3]), session.encrypt(&[4]));
    assert!(session.up(&second).is_empty());
    assert_eq!(session.up(&first), [packet(INNER, FAR, &[3])]);
    let plain = [&[0x00, 0x21], &packet(INNER, FAR, &[9])[..]].concat();
    let plain = session.subscriber.frame(&plain);
    assert!(session.up(&plain).is_empty(), "nothing passes in the clear");
    assert_eq!(session.bench.handle.totals().drops().of(DropReason::PlaintextRefused), 1);
}

/// The directions agree on their modes apart.
#[test]
fn one_way_may_be_stateful_and_the_other_not() {
    let mut session = Session::new();
    let (receive, send) = keys(9);
    let mut subscriber = Subscriber::new(PEER, LOCAL, (9, 7), INNER);
    subscriber.sequence = 1000;
    session.bench.protect(
        session.tunnel,
        Encryption::Mppe {
            receive: Cipher { key: receive, mode: Mode::Stateless },
            send: Cipher { key: send.clone(), mode: Mode::Stateful },
        },
    );
    session.receiving = Decryptor::new(send);
    for round in 0..300 {
        let up = subscriber.encrypt(FAR, &[1]);
        assert_eq!(session.up(&up), [packet(INNER, FAR, &[1])]);
        let (header, data) = session.down(&[2]);
        assert!(session.read(header, data, &[2]), "{round}");
    }
    let (receive, send) = keys(9);
    session.bench.protect(
        session.tunnel,
        Encryption::Mppe {
            receive: Cipher { key: receive.clone(), mode: Mode::Stateful },
            send: Cipher { key: send, mode: Mode::Stateless },
        },
    );
    session.sending = Encryptor::new(receive);
    session.subscriber.sequence = 5000;
    let mut subscriber = Subscriber::new(PEER, LOCAL, (9, 7), INNER);
    for _ in 0..300 {
        let up = session.encrypt(&[3]);
        assert_eq!(session.up(&up), [packet(INNER, FAR, &[3])]);
        session.bench.pop_all();
        session.bench.push(0, TUN, &packet(FAR, INNER, &[4]));
        session.bench.turn();
        let sent = session.bench.pop(0, ACCESS);
        let sent = sent.iter().find(|frame| frame[34] & 0x10 != 0).unwrap();
        assert_eq!(subscriber.decrypt(&sent[14..]), packet(FAR, INNER, &[4]));
    }
    assert_eq!(session.bench.drops(), []);
}
