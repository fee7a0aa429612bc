//! What a tunnel is held to: rules and rates, and who does not feel them.

use std::net::Ipv4Addr;
use std::num::NonZeroU64;
use std::time::Duration;

use super::bench::{ACCESS, Bench, INNER, QUEUED, RAW, TUN};
use super::subscriber::{Subscriber, packet};
use crate::api::filter::Action;
use crate::api::{Command, DropReason, Limit, Limits, Prefix, Rule, Rules, TunnelId};

const FAR: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 9);
const FORBIDDEN: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 66);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 6);

fn rate(bits: u64) -> Option<Limit> {
    Some(Limit::of(NonZeroU64::new(bits).unwrap()))
}

impl Bench {
    fn limit(&self, tunnel: TunnelId, limits: Limits) {
        self.handle.command(Command::SetLimits { tunnel, limits }).unwrap();
    }

    fn filter(&self, tunnel: TunnelId, incoming: &[Rule], outgoing: &[Rule]) {
        let rules = |rules: &[Rule]| Rules::new(rules.to_vec()).unwrap();
        let (incoming, outgoing) = (rules(incoming), rules(outgoing));
        self.handle.command(Command::SetFilters { tunnel, incoming, outgoing }).unwrap();
    }
}

#[test]
fn rules_drop_each_way_what_they_say_and_are_taken_back() {
    let mut bench = Bench::new(1);
    let (tunnel, mut subscriber) = bench.dial(9, INNER);
    let forbidden = Some(Prefix::host(FORBIDDEN).into());
    let to = Rule { dst_address: forbidden, ..Rule::all(Action::Drop) };
    let from = Rule { src_address: forbidden, ..Rule::all(Action::Drop) };
    bench.filter(tunnel, &[to], &[from]);
    let mut exchange = |bench: &mut Bench| {
        for (number, peer) in [(1, FAR), (2, FORBIDDEN)] {
            bench.push(0, RAW, &subscriber.encrypt(peer, &[number]));
            bench.push(0, TUN, &packet(peer, INNER, &[number]));
        }
        bench.turn();
        let up = bench.pop(0, TUN);
        let down: Vec<_> =
            bench.pop(0, ACCESS).iter().map(|frame| subscriber.decrypt(&frame[14..])).collect();
        (up, down)
    };
    let allowed = (vec![packet(INNER, FAR, &[1])], vec![packet(FAR, INNER, &[1])]);
    assert_eq!(exchange(&mut bench), allowed);
    let drops = [(DropReason::FilteredIncoming, 1), (DropReason::FilteredOutgoing, 1)];
    assert_eq!(bench.drops(), drops);
    let counters = bench.handle.counters(tunnel).unwrap();
    assert_eq!((counters.rx_packets, counters.tx_packets), (2, 1), "what was accepted, and sent");
    assert_eq!(counters.drops.total(), 2);

    bench.filter(tunnel, &[], &[]);
    let (up, down) = exchange(&mut bench);
    assert_eq!((up.len(), down.len()), (2, 2));
}

/// Accepted packets move the keys whether they then pass or not, and count as received.
#[test]
fn the_uplink_is_held_to_its_rate_and_its_keys_stay_in_step() {
    let mut bench = Bench::new(1);
    let (tunnel, mut subscriber) = bench.dial(9, INNER);
    let (_, mut free) = bench.dial(10, OTHER);
    bench.limit(tunnel, Limits { uplink: rate(1_000_000), downlink: None });
    let (mut passed, mut of_free) = (0, 0);
    for round in 0..1000_u32 {
        for _ in 0..2 {
            bench.push(0, RAW, &subscriber.encrypt(FAR, &[7; 980]));
        }
        bench.push(0, RAW, &free.encrypt(FAR, &[8; 980]));
        bench.turn_after(Duration::from_millis(4));
        for packet in bench.pop(0, TUN) {
            if packet[12..16] == INNER.octets() {
                passed += packet.len();
            } else {
                of_free += 1;
            }
        }
        assert_eq!(of_free, round + 1, "who has no limit loses nothing");
    }
    // Four seconds at 1 Mbit/s, and what was saved up.
    assert!(passed.abs_diff(500_000 + 31_250) < 2_000, "{passed}");
    let counters = bench.handle.counters(tunnel).unwrap();
    assert_eq!((counters.rx_packets, counters.rx_bytes), (2000, 2_000_000));
    assert_eq!((counters.lost, counters.duplicates), (0, 0));
    assert_eq!(bench.drops(), [(DropReason::RateExceeded, 2000 - passed as u64 / 1000)]);

    bench.limit(tunnel, Limits::default());
    for _ in 0..50 {
        bench.push(0, RAW, &subscriber.encrypt(FAR, &[7; 980]));
    }
    bench.turn();
    assert_eq!(bench.pop(0, TUN).len(), 50);
}

/// Inner packets that came out for a subscriber, of all that came out.
fn received(subscriber: &mut Subscriber, sent: &[Vec<u8>]) -> Vec<Vec<u8>> {
    // The peer's Call ID and whether there is a sequence number.
    let is_mine = |frame: &&Vec<u8>| {
        frame[40..42] == subscriber.peer_call_id.to_be_bytes() && frame[34] & 0x10 != 0
    };
    let mine: Vec<_> = sent.iter().filter(is_mine).collect();
    mine.iter().map(|frame| subscriber.decrypt(&frame[14..])).collect()
}

/// Two subscribers that can be told apart by the Call ID of what they receive.
fn pair(bench: &mut Bench) -> ((TunnelId, Subscriber), (TunnelId, Subscriber)) {
    let of = |peer_call_id| crate::api::Outer { peer_call_id, ..super::bench::outer(peer_call_id) };
    (bench.dial_as(of(9), INNER), bench.dial_as(of(10), OTHER))
}

#[test]
fn the_downlink_is_held_to_its_rate_and_those_beside_it_lose_nothing() {
    let mut bench = Bench::new(1);
    let ((tunnel, mut slow), (_, mut free)) = pair(&mut bench);
    bench.limit(tunnel, Limits { uplink: None, downlink: rate(1_000_000) });
    let (mut numbers, mut octets) = (Vec::new(), 0);
    for number in 0..2000_u32 {
        bench.push(0, TUN, &packet(FAR, INNER, &[&number.to_be_bytes()[..], &[7; 976]].concat()));
        bench.push(0, TUN, &packet(FAR, OTHER, &[8; 980]));
        bench.turn_after(Duration::from_millis(2));
        let sent = bench.pop(0, ACCESS);
        assert_eq!(received(&mut free, &sent).len(), 1, "at once");
        for packet in received(&mut slow, &sent) {
            octets += packet.len();
            numbers.push(u32::from_be_bytes(*packet[20..].first_chunk().unwrap()));
        }
    }
    assert!(numbers.is_sorted(), "in their order");
    assert!(octets.abs_diff(500_000 + 12_500) < 2_000, "{octets}");
    let counters = bench.handle.counters(tunnel).unwrap();
    assert_eq!(counters.tx_packets, numbers.len() as u64, "what was sent is counted");
    assert_eq!(counters.tx_bytes, octets as u64);
    let drops = bench.handle.totals().drops();
    let waiting = bench.queued()[0] as u64;
    assert!(drops.of(DropReason::QueueFull) > 0 && drops.of(DropReason::QueueDelay) > 0);
    assert_eq!(drops.total() + waiting + counters.tx_packets, 2000);
    assert_eq!(counters.drops.total(), drops.total());
}

#[test]
fn what_waits_is_marked_where_that_is_understood() {
    let mut bench = Bench::new(1);
    let (tunnel, mut subscriber) = bench.dial(9, INNER);
    bench.limit(tunnel, Limits { uplink: None, downlink: rate(1_000_000) });
    let mut ect = packet(FAR, INNER, &[7; 980]);
    crate::ipv4::set_tos(&mut ect, 0b10);
    let mut marked = 0;
    for _ in 0..1000 {
        bench.push(0, TUN, &ect);
        bench.turn_after(Duration::from_millis(4));
        for packet in received(&mut subscriber, &bench.pop(0, ACCESS)) {
            assert!(crate::ipv4::View::parse(&packet).is_some(), "its checksum is right");
            marked += u64::from(packet[1] == 0b11);
        }
    }
    assert!(marked > 5);
    assert_eq!(bench.handle.totals().workers[0].ecn_marked, marked);
    assert_eq!(bench.handle.totals().drops().of(DropReason::QueueDelay), 0);
}

#[test]
fn a_limit_that_is_lifted_lets_out_what_waits_in_its_order() {
    let mut bench = Bench::new(1);
    let (tunnel, mut subscriber) = bench.dial(9, INNER);
    bench.limit(tunnel, Limits { uplink: None, downlink: rate(1_000_000) });
    for number in 0..25 {
        bench.push(0, TUN, &packet(FAR, INNER, &[number; 980]));
    }
    bench.turn();
    let mut numbers: Vec<_> =
        received(&mut subscriber, &bench.pop(0, ACCESS)).iter().map(|packet| packet[20]).collect();
    assert_eq!(numbers.len(), 12);
    bench.limit(tunnel, Limits::default());
    bench.push(0, TUN, &packet(FAR, INNER, &[25; 980]));
    bench.turn();
    numbers
        .extend(received(&mut subscriber, &bench.pop(0, ACCESS)).iter().map(|packet| packet[20]));
    assert_eq!(numbers, (0..=25).collect::<Vec<_>>());
    assert_eq!(bench.drops(), []);
}

/// What waited for one holder of the tunnel's addresses never reaches the next.
#[test]
fn a_tunnel_that_closes_or_is_renegotiated_drops_and_counts_what_waits() {
    let mut bench = Bench::new(1);
    let (tunnel, _) = bench.dial(9, INNER);
    bench.limit(tunnel, Limits { uplink: None, downlink: rate(1_000_000) });
    let fill = |bench: &mut Bench| {
        for _ in 0..25 {
            bench.push(0, TUN, &packet(FAR, INNER, &[1; 980]));
        }
        bench.turn();
        bench.pop_all();
        bench.queued()[0] as u64
    };
    let first = fill(&mut bench);
    assert_eq!(first, 13);
    bench.network(tunnel, None);
    bench.network(tunnel, Some(INNER));
    bench.turn();
    assert_eq!(bench.queued(), [0]);
    assert_eq!(bench.drops(), [(DropReason::NetworkClosed, first)]);

    let second = fill(&mut bench);
    assert!(second > first);
    bench.handle.close(tunnel);
    // The same slot is taken again before the worker has looked.
    let (again, mut subscriber) = bench.dial(9, INNER);
    assert_eq!(again.slot, tunnel.slot);
    bench.turn();
    let dropped = bench.handle.totals().drops().of(DropReason::NetworkClosed);
    assert_eq!((bench.queued(), dropped), (vec![0], first + 10 + second - 10));
    // The schedule that the old one left means nothing to the new one.
    bench.push(0, TUN, &packet(FAR, INNER, &[2]));
    bench.turn_after(Duration::from_secs(2));
    assert_eq!(received(&mut subscriber, &bench.pop(0, ACCESS)), [packet(FAR, INNER, &[2])]);
}

/// Many tunnels whose rates are far below what comes for them.
#[test]
fn floods_of_slow_tunnels_never_take_all_frames_and_quiet_ones_lose_nothing() {
    let mut bench = Bench::new(2);
    let address = |number: u16| Ipv4Addr::from_bits(0x0A00_0100 + u32::from(number));
    for number in 0..60_u16 {
        let (tunnel, _) = bench.dial(100 + number, address(number));
        bench.limit(tunnel, Limits { uplink: None, downlink: rate(64_000) });
    }
    let ((limited, mut quiet), (_, mut free)) = pair(&mut bench);
    bench.limit(limited, Limits { uplink: None, downlink: rate(10_000_000) });
    for round in 0..300_u16 {
        for number in 0..60 {
            // Half of them on the queue of the wrong worker.
            let worker = usize::from(number + round) % 2;
            bench.push(worker, TUN, &packet(FAR, address(number), &[7; 1000]));
        }
        for inner in [INNER, OTHER] {
            bench.push(0, TUN, &packet(FAR, inner, &[8; 980]));
        }
        bench.turn_after(Duration::from_millis(5));
        let sent = [bench.pop(0, ACCESS), bench.pop(1, ACCESS)].concat();
        assert_eq!(received(&mut quiet, &sent).len(), 1, "its rate allows that");
        assert_eq!(received(&mut free, &sent).len(), 1);
        assert!(bench.queued().iter().all(|&queued| queued < QUEUED));
    }
    assert!(bench.queued().iter().all(|&queued| queued > QUEUED / 2));
    assert_eq!(bench.handle.counters(limited).unwrap().drops.total(), 0);
}
