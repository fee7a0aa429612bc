//! Stateful MPPE against senders and receivers that start again as RFC 3078 says, and as Linux
//! does: over a network that loses packets, flag packets too, both ends are always in step again
//! after one Reset-Request.

use proptest::prelude::*;
use protocol::mppe::stateful::{Decryptor, Encryptor, Refused};
use protocol::mppe::{CoherencyCount, Header, SessionKey, StartKey, Strength};

/// Which key a sender starts again with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Habit {
    /// The current one (RFC 3078 §8.2).
    Rfc,
    /// The next one, whenever bit A is set (drivers/net/ppp/ppp_mppe.c of Linux 6).
    Linux,
}

fn initial() -> SessionKey {
    SessionKey::initial(&StartKey::new(&[7; 16], Strength::Bits128))
}

/// A keystream that goes on from packet to packet.
struct Stream {
    key: SessionKey,
    used: Vec<u8>,
}

impl Stream {
    fn apply(&mut self, data: &mut [u8]) {
        let from = self.used.len();
        self.used.resize(from + data.len(), 0);
        let mut stream = vec![0; self.used.len()];
        self.key.apply_keystream(&mut stream);
        for (octet, key) in data.iter_mut().zip(&stream[from..]) {
            *octet ^= key;
        }
    }

    fn restart(&mut self, change: bool) {
        if change {
            self.key = self.key.next_key();
        }
        self.used.clear();
    }
}

fn stream() -> Stream {
    Stream { key: initial(), used: Vec::new() }
}

/// Another implementation's sender.
struct Sender {
    habit: Habit,
    stream: Stream,
    count: u64,
    reset: bool,
}

impl Sender {
    fn encrypt(&mut self, data: &mut [u8]) -> Header {
        let flag = self.count % 256 == 255;
        // Linux sets bit A on flag packets; RFC 3078 §3.1 too, and on the first packet.
        let first = self.habit == Habit::Rfc && self.count == 0;
        let flushed = flag || std::mem::take(&mut self.reset) || first;
        if flushed {
            self.stream.restart(flag || self.habit == Habit::Linux);
        }
        self.stream.apply(data);
        let count = CoherencyCount::of_packet(self.count);
        self.count += 1;
        Header { flushed, encrypted: true, count }
    }
}

/// Another implementation's receiver: takes what the counts say, and checks nothing.
struct Receiver {
    habit: Habit,
    stream: Stream,
    /// The count of the packet that was taken last, or should have been.
    last: u16,
    discarding: bool,
}

impl Receiver {
    /// `None`: it wants a Reset-Request sent, or discards.
    fn decrypt(&mut self, header: Header, data: &mut [u8]) -> Option<()> {
        let count = header.count.value();
        let flag = count & 0xFF == 0xFF;
        assert!(header.encrypted && (header.flushed || !flag), "Linux calls this insane");
        if !self.discarding {
            self.last = (self.last + 1) % 4096;
            self.discarding = count != self.last;
            if self.discarding {
                return None;
            }
        } else if !header.flushed {
            return None;
        } else {
            while self.last & 0xF00 != count & 0xF00 {
                self.stream.restart(true);
                self.last = (self.last + 256) % 4096;
            }
            self.discarding = false;
            self.last = count;
        }
        if header.flushed {
            self.stream.restart(flag || self.habit == Habit::Linux);
        }
        self.stream.apply(data);
        Some(())
    }
}

fn believable(plain: &[u8]) -> bool {
    plain.starts_with(&[0, 0x21, 0x45])
}

fn packet(number: usize) -> Vec<u8> {
    let mut packet = vec![0, 0x21, 0x45];
    packet.extend(number.to_be_bytes());
    packet.resize(3 + 8 + number % 23, 0xAA);
    packet
}

fn habit() -> impl Strategy<Value = Habit> {
    prop_oneof![Just(Habit::Rfc), Just(Habit::Linux)]
}

/// Runs of packets that arrive and runs that are lost.
fn losses() -> impl Strategy<Value = Vec<(usize, usize)>> {
    prop::collection::vec((1_usize..400, 0_usize..700), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_others_send_is_decrypted(habit in habit(), losses in losses(), delay in 0_usize..4) {
        let mut sender = Sender { habit, stream: stream(), count: 0, reset: false };
        let mut receiver = Decryptor::new(initial());
        let (mut number, mut in_step, mut answers_lost) = (0, true, 0);
        for (arrive, lost) in losses {
            // A request whose answer was lost, or that was not sent yet, is made again.
            let mut request = (!in_step).then_some(delay);
            let mut behind = 0;
            for _ in 0..arrive {
                number += 1;
                let mut data = packet(number);
                let header = sender.encrypt(&mut data);
                match receiver.decrypt(header, &mut data, believable) {
                    Ok(()) => {
                        prop_assert_eq!(data, packet(number));
                        (request, in_step) = (None, true);
                        behind = 0;
                    }
                    Err(Refused::Lost) => (request, in_step) = (Some(delay), false),
                    Err(Refused::Discarded) => behind += 1,
                    Err(other) => prop_assert!(false, "{other}"),
                }
                if request == Some(0) {
                    sender.reset = true;
                }
                request = request.and_then(|delay| delay.checked_sub(1));
                prop_assert!(behind <= delay + 1, "in step again after one round trip");
            }
            for _ in 0..lost {
                // So many answers may be lost before Linux is further than a receiver tries.
                answers_lost += usize::from(sender.reset);
                if answers_lost > 2 {
                    break;
                }
                number += 1;
                sender.encrypt(&mut packet(number));
            }
        }
    }

    #[test]
    fn others_decrypt_what_is_sent(habit in habit(), losses in losses(), delay in 0_usize..4) {
        let mut sender = Encryptor::new(initial());
        let mut receiver = Receiver { habit, stream: stream(), last: 4095, discarding: false };
        let mut number = 0;
        for (arrive, lost) in losses {
            // A request whose answer was lost, or that was not sent yet, is made again.
            let mut request = receiver.discarding.then_some(delay);
            let mut behind = 0;
            for _ in 0..arrive {
                number += 1;
                let mut data = packet(number);
                let header = sender.encrypt(&mut data);
                let was_discarding = receiver.discarding;
                if receiver.decrypt(header, &mut data).is_some() {
                    prop_assert_eq!(data, packet(number));
                    request = None;
                    behind = 0;
                } else if was_discarding {
                    behind += 1;
                } else {
                    request = Some(delay);
                }
                if request == Some(0) {
                    sender.reset();
                    // A second request before the next packet changes nothing.
                    sender.reset();
                }
                request = request.and_then(|delay| delay.checked_sub(1));
                prop_assert!(behind <= delay + 1, "in step again after one round trip");
            }
            // Whole turns of the count cannot be seen by any receiver.
            for _ in 0..lost {
                number += 1;
                sender.encrypt(&mut packet(number));
            }
        }
    }

    #[test]
    fn nothing_moves_for_a_packet_that_is_not_believed(octets: Vec<u8>, word: [u8; 2]) {
        let mut sender = Encryptor::new(initial());
        let mut receiver = Decryptor::new(initial());
        let mut data = packet(1);
        let header = sender.encrypt(&mut data);
        prop_assert_eq!(receiver.decrypt(header, &mut data, believable), Ok(()));
        // A forger can make a loss believed, which costs a Reset-Request; nothing else.
        let forged = Header { flushed: true, ..Header::from_octets(word) };
        let mut garbage = octets.clone();
        if receiver.decrypt(forged, &mut garbage, believable).is_err() {
            prop_assert_eq!(garbage, octets);
            let mut data = packet(2);
            let header = sender.encrypt(&mut data);
            prop_assert_eq!(receiver.decrypt(header, &mut data, believable), Ok(()));
            prop_assert_eq!(data, packet(2));
        }
    }
}

/// RFC 3078 §7.2: the key changes before the packet whose count ends in FF, and at no other.
#[test]
fn keys_change_every_256_packets() {
    let mut sender = Encryptor::new(initial());
    let mut key = initial();
    let mut used = 0;
    for number in 0_usize..1000 {
        let mut data = packet(number);
        let header = sender.encrypt(&mut data);
        assert_eq!(header.flushed, number % 256 == 255);
        if header.flushed {
            key = key.next_key();
            used = 0;
        }
        let mut stream = vec![0; used + data.len()];
        key.apply_keystream(&mut stream);
        let plain: Vec<u8> = data.iter().zip(&stream[used..]).map(|(a, b)| a ^ b).collect();
        assert_eq!(plain, packet(number));
        used = stream.len();
    }
}

/// RFC 3078 §8.2: on loss everything is discarded until a flushed packet; late ones always.
#[test]
fn a_loss_is_reported_once_and_ends_with_a_flushed_packet() {
    let (mut sender, mut receiver) = (Encryptor::new(initial()), Decryptor::new(initial()));
    let mut send = |reset: bool| {
        if reset {
            sender.reset();
        }
        let mut data = packet(1);
        (sender.encrypt(&mut data), data)
    };
    let mut receive =
        |(header, mut data): (Header, Vec<u8>)| receiver.decrypt(header, &mut data, believable);
    let late = send(false);
    assert_eq!(receive(send(false)), Err(Refused::Lost));
    assert_eq!(receive(send(false)), Err(Refused::Discarded));
    let flushed = send(true);
    assert_eq!(flushed.0.count.value(), 0xFF, "the next count that changes the key everywhere");
    assert_eq!(receive(flushed), Ok(()));
    assert_eq!(receive(send(false)), Ok(()));
    assert_eq!(receive(late), Err(Refused::Late));
    let (header, data) = send(false);
    let clear = Header { encrypted: false, ..header };
    assert_eq!(receive((clear, data.clone())), Err(Refused::NotEncrypted));
    assert_eq!(receive((header, data)), Ok(()));
}
