//! Tunnels that move from worker to worker under traffic.

use std::net::Ipv4Addr;
use std::num::NonZeroU64;
use std::time::Duration;

use proptest::prelude::*;

use super::bench::{ACCESS, Bench, INNER, RAW, TUN, outer};
use super::subscriber::{Subscriber, packet};
use crate::api::{Command, Limit, Limits, Outer, TunnelId};
use crate::balance::{Why, Wish};

const FAR: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 9);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 6);

/// Sends a packet each way by this worker's ports.
fn send(bench: &mut Bench, worker: usize, subscriber: &mut Subscriber, number: u8) {
    bench.push(worker, RAW, &subscriber.encrypt(FAR, &[number]));
    bench.push(worker, TUN, &packet(FAR, subscriber.inner, &[number]));
}

/// The last octets of what arrived at both ends, in the order in which it did.
fn arrived(bench: &mut Bench, worker: usize, subscriber: &mut Subscriber) -> (Vec<u8>, Vec<u8>) {
    let last = |packet: Vec<u8>| packet.last().copied().unwrap();
    let ups = bench.pop(worker, TUN).into_iter().map(last).collect();
    let downs = bench.pop(worker, ACCESS);
    let data = downs.iter().map(|frame| &frame[14..]);
    let data: Vec<_> = data.filter(|down| !subscriber.read(down).frame.is_empty()).collect();
    (ups, data.into_iter().map(|down| last(subscriber.decrypt(down))).collect())
}

#[test]
fn a_tunnel_moves_with_its_keys_numbers_and_counters() {
    let mut bench = Bench::new(2);
    let (tunnel, mut subscriber) = bench.dial(8, INNER);
    send(&mut bench, 0, &mut subscriber, 1);
    bench.turn();
    assert_eq!(arrived(&mut bench, 0, &mut subscriber), (vec![1], vec![1]));
    assert!(!bench.handle.move_tunnel(tunnel, 0), "it is there");
    assert!(!bench.handle.move_tunnel(tunnel, 2), "there is no such worker");
    assert!(bench.handle.move_tunnel(tunnel, 1));
    assert!(!bench.handle.move_tunnel(tunnel, 0), "one way at a time");
    let flush = || Command::Flush { tunnel };
    assert!(bench.handle.command(flush()).is_err(), "its state is with nobody");
    bench.turn();
    assert!(bench.handle.command(flush()).is_ok());
    for (worker, number) in [(0, 2), (1, 3)] {
        send(&mut bench, worker, &mut subscriber, number);
        bench.turn();
        let expected = (vec![number], vec![number]);
        assert_eq!(arrived(&mut bench, 1, &mut subscriber), expected, "by the new owner");
    }
    assert_eq!(bench.drops(), []);
    let totals = bench.handle.totals();
    let taken: Vec<_> = totals.workers.iter().map(|worker| worker.tunnels_taken).collect();
    assert_eq!(taken, [0, 1]);
    let counters = bench.handle.counters(tunnel).unwrap();
    assert_eq!((counters.rx_packets, counters.tx_packets), (3, 3));
    assert_eq!((counters.lost, counters.reordered), (0, 0));
}

#[test]
fn what_waits_for_a_rate_moves_along_in_its_order() {
    let mut bench = Bench::new(2);
    let (tunnel, mut subscriber) = bench.dial(8, INNER);
    let downlink = Some(Limit::of(NonZeroU64::new(800_000).unwrap()));
    let limits = Limits { uplink: None, downlink };
    bench.handle.command(Command::SetLimits { tunnel, limits }).unwrap();
    bench.turn();
    for number in 0..40 {
        bench.push(0, TUN, &packet(FAR, INNER, &[&[0; 900][..], &[number]].concat()));
    }
    bench.turn();
    assert!(bench.queued()[0] > 10, "{:?}", bench.queued());
    let mut downs = arrived(&mut bench, 0, &mut subscriber).1;
    assert!(bench.handle.move_tunnel(tunnel, 1));
    bench.turn();
    downs.extend(arrived(&mut bench, 0, &mut subscriber).1);
    assert_eq!(bench.queued()[0], 0);
    assert!(bench.queued()[1] > 10);
    while bench.queued()[1] > 0 {
        bench.turn_after(Duration::from_millis(5));
        downs.extend(arrived(&mut bench, 1, &mut subscriber).1);
    }
    assert!(downs.is_sorted(), "{downs:?}");
    let dropped: u64 = bench.drops().iter().map(|(_, count)| count).sum();
    assert_eq!(downs.len() as u64 + dropped, 40);
    assert!(downs.len() > 10, "CoDel may take some of what waits: {downs:?}");
}

#[test]
fn a_tunnel_that_is_closed_on_its_way_costs_no_frame_uncounted() {
    for turns in [&[][..], &[0], &[1], &[0, 1], &[1, 0], &[1, 0, 1], &[0, 1, 0], &[2, 1, 0]] {
        let mut bench = Bench::new(3);
        // Call ID 9 is worker 0's of three.
        let (tunnel, mut subscriber) = bench.dial(9, INNER);
        bench.turn();
        let limits =
            Limits { uplink: None, downlink: Some(Limit::of(NonZeroU64::new(64_000).unwrap())) };
        bench.handle.command(Command::SetLimits { tunnel, limits }).unwrap();
        for number in 0..30 {
            send(&mut bench, 0, &mut subscriber, number);
        }
        bench.turn();
        bench.pop_all();
        assert!(bench.handle.move_tunnel(tunnel, 1));
        for worker in 0..3 {
            send(&mut bench, worker, &mut subscriber, 99);
        }
        for &worker in turns {
            bench.turn_worker(worker);
        }
        assert!(bench.handle.close(tunnel).is_some());
        // The slot and the Call ID are used again, before anyone knows that they are free.
        let (again, mut fresh) = bench.dial(9, INNER);
        assert_eq!(again.slot, tunnel.slot);
        bench.turn();
        bench.pop_all();
        send(&mut bench, 2, &mut fresh, 7);
        bench.turn();
        assert_eq!(arrived(&mut bench, 0, &mut fresh), (vec![7], vec![7]), "{turns:?}");
        assert!(bench.handle.move_tunnel(again, 2));
        bench.turn();
        send(&mut bench, 1, &mut fresh, 8);
        bench.turn();
        assert_eq!(arrived(&mut bench, 2, &mut fresh), (vec![8], vec![8]), "{turns:?}");
    }
}

#[test]
fn a_worker_wishes_a_tunnel_away_whose_packets_come_from_another() {
    let mut bench = Bench::new(2);
    let (tunnel, mut subscriber) = bench.dial(8, INNER);
    let (_, mut near) = bench.dial(10, OTHER);
    for number in 0..200_u8 {
        for _ in 0..4 {
            send(&mut bench, 1, &mut subscriber, number);
            // Of this one every second packet is where it belongs, and as many again.
            send(&mut bench, usize::from(number % 2), &mut near, number);
            send(&mut bench, 0, &mut near, number);
        }
        bench.turn();
        bench.pop_all();
    }
    let wishes = bench.wishes();
    assert!(!wishes.is_empty());
    let there = Wish { tunnel, to: 1, why: Why::Arrives };
    assert!(wishes.iter().all(|wish| *wish == there), "{wishes:?}");
}

/// The old owner's ring holds more than it takes in a turn: what is left there comes before what other
/// workers send straight to the new one, and is not waited for in vain.
#[test]
fn what_the_old_owner_has_yet_to_take_is_not_overtaken() {
    let mut bench = Bench::new(3);
    let (tunnel, mut subscriber) = bench.dial(9, INNER);
    bench.turn();
    let mut number = 0_u8;
    let mut push = |bench: &mut Bench, worker: usize| {
        bench.push(worker, TUN, &packet(FAR, INNER, &[number / 8, number]));
        number += 1;
    };
    for _ in 0..30 {
        bench.push(1, RAW, &subscriber.encrypt(FAR, &[0]));
    }
    bench.turn_worker(1);
    for _ in 0..4 {
        for _ in 0..62 {
            push(&mut bench, 2);
        }
        // It finds them on its queue, and hands them over.
        bench.turn_worker(2);
    }
    assert!(bench.handle.move_tunnel(tunnel, 1));
    let mut downs = Vec::new();
    let mut turn = |bench: &mut Bench, worker: usize| {
        bench.turn_worker(worker);
        bench.pop(worker, TUN);
        downs.extend(arrived(bench, worker, &mut subscriber).1);
    };
    // It takes 256 of 278, and leaves; the new owner has its luggage.
    turn(&mut bench, 0);
    turn(&mut bench, 1);
    push(&mut bench, 2);
    for worker in [2, 1, 0, 1, 0, 1, 2, 1] {
        turn(&mut bench, worker);
    }
    assert_eq!(downs, (0..249).collect::<Vec<u8>>());
    assert_eq!(bench.drops(), []);
}

/// What workers do meanwhile, and who sees the packets.
#[derive(Debug, Clone)]
enum Step {
    Send { worker: u8, tunnel: usize, packets: u16 },
    Turn { worker: usize },
    Move { tunnel: usize, to: u16 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3_u8, 0..2_usize, 1..40_u16).prop_map(|(worker, tunnel, packets)| {
            Step::Send { worker, tunnel, packets }
        }),
        5 => (0..3_usize).prop_map(|worker| Step::Turn { worker }),
        1 => (0..2_usize, 0..3_u16).prop_map(|(tunnel, to)| Step::Move { tunnel, to }),
    ]
}

/// The last numbers of the flows: of each tunnel, by each worker's ports.
type Flows = [[u16; 3]; 2];

/// Takes what has come out anywhere, and looks at the order of each flow.
fn follow(
    bench: &mut Bench,
    tunnels: &mut [(TunnelId, Subscriber)],
    ups: &mut Flows,
    downs: &mut Flows,
) -> Result<(), TestCaseError> {
    for worker in 0..3 {
        for up in bench.pop(worker, TUN) {
            let tunnel = usize::from(up[12..16] == OTHER.octets());
            let last = &mut ups[tunnel][usize::from(up[20])];
            let number = u16::from_be_bytes([up[21], up[22]]);
            prop_assert_eq!(number, *last + 1, "from the subscriber");
            *last = number;
        }
        for frame in bench.pop(worker, ACCESS) {
            let tunnel = usize::from(frame[14 + 27]);
            let subscriber = &mut tunnels[tunnel].1;
            if subscriber.read(&frame[14..]).frame.is_empty() {
                continue;
            }
            let down = subscriber.decrypt(&frame[14..]);
            let last = &mut downs[tunnel][usize::from(down[20])];
            let number = u16::from_be_bytes([down[21], down[22]]);
            prop_assert_eq!(number, *last + 1, "to the subscriber");
            *last = number;
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Each tunnel's subscriber is heard by one worker's port, and by all of them packets come for it,
    /// in numbered flows, more than a worker takes from its ring in a turn. Whenever tunnels move and in whatever order workers have their turns, none is lost and none
    /// overtakes another of its flow.
    #[test]
    fn nothing_is_lost_or_overtaken_whenever_tunnels_move(
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let mut bench = Bench::new(3);
        let calls = [(0, 9, INNER), (1, 10, OTHER)];
        let mut tunnels = calls.map(|(peer_call_id, own, inner)| {
            bench.dial_as(Outer { peer_call_id, ..outer(own) }, inner)
        });
        bench.turn();
        let (mut sent_up, mut sent_down) = (Flows::default(), Flows::default());
        let (mut ups, mut downs) = (Flows::default(), Flows::default());
        for step in steps {
            match step {
                Step::Send { worker, tunnel, packets } => for _ in 0..packets {
                    let subscriber = &mut tunnels[tunnel].1;
                    let next = |sent: &mut Flows| {
                        let number = &mut sent[tunnel][usize::from(worker)];
                        *number += 1;
                        let [high, low] = number.to_be_bytes();
                        [worker, high, low]
                    };
                    let down = packet(FAR, subscriber.inner, &next(&mut sent_down));
                    bench.push(usize::from(worker), TUN, &down);
                    if worker == 1 {
                        let up = subscriber.encrypt(FAR, &next(&mut sent_up));
                        bench.push(usize::from(worker), RAW, &up);
                    }
                },
                Step::Turn { worker } => bench.turn_worker(worker),
                Step::Move { tunnel, to } => {
                    bench.handle.move_tunnel(tunnels[tunnel].0, to);
                }
            }
            follow(&mut bench, &mut tunnels, &mut ups, &mut downs)?;
        }
        for _ in 0..24 {
            for worker in 0..3 {
                bench.turn_worker(worker);
                follow(&mut bench, &mut tunnels, &mut ups, &mut downs)?;
            }
        }
        bench.turn();
        prop_assert_eq!(bench.drops(), []);
        prop_assert_eq!(ups, sent_up);
        prop_assert_eq!(downs, sent_down);
    }
}
