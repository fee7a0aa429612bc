//! What a tunnel is held to: rules and rates, and who does not feel them.

use std::net::Ipv4Addr;
use std::num::NonZeroU64;
use std::time::Duration;

use super::bench::{ACCESS, Bench, INNER, RAW, TUN};
use super::subscriber::packet;
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
    let forbidden = Some(Prefix::host(FORBIDDEN));
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
