//! Queues against a model: order, room, rate, and every packet somewhere.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::time::Duration;

use proptest::prelude::*;
use protocol::time::Instant;

use super::{Depth, Meter, Offer, Queue, Release, Store};
use crate::api::{Limit, TunnelId};
use crate::frame::{Pool, Region};

const ROOM: usize = 48;
const TUNNELS: u32 = 3;

fn id(slot: u32) -> TunnelId {
    TunnelId { slot, generation: 1 }
}

fn meter(rate: u64, now: Instant) -> Meter {
    Meter::new(Limit::of(NonZeroU64::new(rate).unwrap()), Depth::Queue, now)
}

#[derive(Debug, Clone)]
enum Step {
    Offer { slot: u32, octets: usize },
    Pass { micros: u64 },
    Limit { slot: u32, rate: Option<u64> },
    Empty { slot: u32 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let slot = 0..TUNNELS;
    let step = prop_oneof![
        6 => (slot.clone(), 20_usize..1500).prop_map(|(slot, octets)| Step::Offer { slot, octets }),
        3 => (0_u64..30_000).prop_map(|micros| Step::Pass { micros }),
        1 => (slot.clone(), proptest::option::of(10_000_u64..50_000_000))
            .prop_map(|(slot, rate)| Step::Limit { slot, rate }),
        1 => slot.prop_map(|slot| Step::Empty { slot }),
    ];
    proptest::collection::vec(step, 1..400)
}

proptest! {
    #[test]
    fn queues_keep_order_and_room_and_lose_nothing(steps in steps(), rate in 10_000_u64..5_000_000) {
        let region = Region::new(512).unwrap();
        let mut pool = Pool::new(region, 512);
        let mut store = Store::new(ROOM);
        let mut now = Instant::from_micros(1_000_000);
        let mut queues: Vec<_> = (0..TUNNELS).map(|_| Queue::new(meter(rate, now))).collect();
        // What waits, by a number that each packet has in its first octets.
        let mut model = vec![VecDeque::new(); TUNNELS as usize];
        let mut number = 0_u32;
        for step in steps {
            match step {
                Step::Offer { slot, octets } => {
                    let mut frame = pool.take().unwrap();
                    assert!(frame.set_len(octets));
                    frame.data_mut()[..4].copy_from_slice(&number.to_be_bytes());
                    let at = slot as usize;
                    let was_empty = model[at].is_empty();
                    match queues[at].offer(frame, 0, &mut store, id(slot), now) {
                        Offer::Pass(frame) => {
                            prop_assert!(was_empty, "nothing overtakes");
                            pool.put(frame);
                        }
                        Offer::Waits => model[at].push_back(number),
                        Offer::Full(frame) => pool.put(frame),
                    }
                    number += 1;
                }
                Step::Pass { micros } => {
                    now = now + Duration::from_micros(micros);
                    while let Some((at, id)) = store.next_due(now) {
                        let slot = id.slot as usize;
                        if !queues[slot].begin(at) {
                            continue;
                        }
                        while let Some(release) = queues[slot].release(&mut store, now) {
                            let frame = match release {
                                Release::Send { packet, .. } => packet.frame,
                                Release::Drop(frame) => frame,
                            };
                            let number = u32::from_be_bytes(*frame.data().first_chunk().unwrap());
                            prop_assert_eq!(model[slot].pop_front(), Some(number));
                            pool.put(frame);
                        }
                        queues[slot].schedule(&mut store, id, now);
                    }
                }
                Step::Limit { slot, rate } => {
                    let meter = rate.map(|rate| meter(rate, now));
                    queues[slot as usize].set_meter(meter, &mut store, id(slot), now);
                }
                Step::Empty { slot } => {
                    let at = slot as usize;
                    while let Some(packet) = queues[at].pop(&mut store) {
                        model[at].pop_front().unwrap();
                        pool.put(packet.frame);
                    }
                    prop_assert!(model[at].is_empty());
                }
            }
            let waiting: usize = model.iter().map(VecDeque::len).sum();
            prop_assert_eq!(store.len(), waiting);
            prop_assert!(waiting <= ROOM);
            prop_assert_eq!(pool.len() + region.depot().len() + waiting, 512);
            for (queue, model) in queues.iter().zip(&model) {
                prop_assert_eq!(queue.is_empty(), model.is_empty());
            }
        }
        // Whatever waits has its turn within a second and then goes, if the limit is lifted.
        for (slot, queue) in (0..).zip(&mut queues) {
            prop_assert!(queue.is_empty() || store.deadline().is_some());
            queue.set_meter(None, &mut store, id(slot), now);
        }
        while let Some((at, id)) = store.next_due(now + Duration::from_secs(1)) {
            let queue = &mut queues[id.slot as usize];
            if queue.begin(at) {
                while queue.release(&mut store, now).is_some() {}
            }
        }
        prop_assert_eq!((store.len(), store.deadline()), (0, None));
        prop_assert!(queues.iter().all(Queue::is_over));
    }
}
