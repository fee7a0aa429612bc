//! What a rate leaves to a TCP flow: a sender in memory whose window grows and falls as Reno's.
//!
//! The sender follows RFC 5681 (slow start, congestion avoidance, half a window on loss) with
//! perfect knowledge of what arrived (RFC 6675), and RFC 3168 §6.1.2 on a mark.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::num::NonZeroU64;
use std::time::Duration;

use super::bench::{ACCESS, Bench, INNER, RAW, TUN};
use super::subscriber::packet;
use crate::api::{Command, Limit, Limits};
use crate::ipv4;

const FAR: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 9);
const RATE: u64 = 10_000_000;
/// Milliseconds from a packet's arrival until its sender knows.
const ROUND_TRIP: u64 = 40;
/// Octets of a packet and of TCP's payload in it.
const PACKET: usize = 1440;
const PAYLOAD: usize = 1400;
const SECONDS: u64 = 10;

/// A sender that always has more to send.
struct Reno {
    window: f64,
    threshold: f64,
    next: u32,
    /// What was sent, in its order, and neither is known to have arrived nor to be lost.
    flying: BTreeMap<u32, u32>,
    sent: u32,
    again: VecDeque<u32>,
    /// The window is not cut twice for what was sent before it was cut.
    recovered: u32,
    arrived: BTreeSet<u32>,
}

impl Reno {
    fn new() -> Self {
        Self {
            window: 10.0,
            threshold: f64::INFINITY,
            next: 0,
            flying: BTreeMap::new(),
            sent: 0,
            again: VecDeque::new(),
            recovered: 0,
            arrived: BTreeSet::new(),
        }
    }

    /// What is sent next, by its place in the order of sending, if the window allows it.
    fn send(&mut self) -> Option<u32> {
        if self.flying.len() as f64 >= self.window {
            return None;
        }
        let number = self.again.pop_front().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        self.sent += 1;
        self.flying.insert(self.sent, number);
        Some(self.sent)
    }

    fn acknowledged(&mut self, place: u32, marked: bool) {
        self.arrived.extend(self.flying.remove(&place));
        let growth = if self.window < self.threshold { 1.0 } else { self.window.recip() };
        self.window += growth;
        if marked {
            self.congested(place);
        }
        // Three that were sent later have arrived: what is missing is lost.
        while let Some(entry) = self.flying.first_entry().filter(|entry| entry.key() + 3 <= place) {
            let (place, number) = entry.remove_entry();
            self.again.push_back(number);
            self.congested(place);
        }
    }

    fn congested(&mut self, place: u32) {
        if place > self.recovered {
            self.window = (self.window / 2.0).max(2.0);
            self.threshold = self.window;
            self.recovered = self.sent;
        }
    }

    /// Bits of payload per second over the whole time.
    fn goodput(&self) -> u64 {
        self.arrived.len() as u64 * PAYLOAD as u64 * 8 / SECONDS
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Up,
    Down,
}

/// A flow of its own through a box that holds the tunnel to [`RATE`], with this type of service.
fn flow(way: Way, tos: u8) -> Reno {
    let mut bench = Bench::new(1);
    let (tunnel, mut subscriber) = bench.dial(9, INNER);
    let limit = Some(Limit::of(NonZeroU64::new(RATE).unwrap()));
    let limits = Limits { uplink: limit, downlink: limit };
    bench.handle.command(Command::SetLimits { tunnel, limits }).unwrap();
    let mut sender = Reno::new();
    let mut acknowledgements = VecDeque::new();
    for now in 0..SECONDS * 1000 {
        while let Some((_, place, marked)) =
            acknowledgements.pop_front_if(|&mut (at, ..): &mut (u64, u32, bool)| at <= now)
        {
            sender.acknowledged(place, marked);
        }
        // No more than a cable holds in a millisecond at 100 Mbit/s.
        for place in std::iter::from_fn(|| sender.send()).take(9) {
            let mut payload = place.to_be_bytes().to_vec();
            payload.resize(PACKET - 20, 7);
            let (from, to) = if way == Way::Up { (INNER, FAR) } else { (FAR, INNER) };
            let mut packet = packet(from, to, &payload);
            ipv4::set_tos(&mut packet, tos);
            match way {
                Way::Up => bench.push(0, RAW, &subscriber.encrypt_packet(&packet)),
                Way::Down => bench.push(0, TUN, &packet),
            }
        }
        bench.turn_after(Duration::from_millis(1));
        let sent = bench.pop(0, ACCESS);
        let arrived: Vec<_> = match way {
            Way::Up => bench.pop(0, TUN),
            // Not the acknowledgements that go alone.
            Way::Down => sent
                .iter()
                .filter(|frame| frame[34] & 0x10 != 0)
                .map(|frame| subscriber.decrypt(&frame[14..]))
                .collect(),
        };
        for packet in arrived {
            let place = u32::from_be_bytes(*packet[20..].first_chunk().unwrap());
            acknowledgements.push_back((now + ROUND_TRIP, place, packet[1] & 0b11 == 0b11));
        }
    }
    sender
}

#[test]
fn a_shaped_flow_gets_nine_tenths_of_its_rate_at_40_ms() {
    for tos in [0, 0b10] {
        let goodput = flow(Way::Down, tos).goodput();
        assert!((9_000_000..=10_100_000).contains(&goodput), "{goodput} with {tos:02b}");
    }
}

#[test]
fn a_policed_flow_gets_nine_tenths_of_its_rate_at_40_ms() {
    let goodput = flow(Way::Up, 0).goodput();
    assert!((9_000_000..=10_100_000).contains(&goodput), "{goodput}");
}
