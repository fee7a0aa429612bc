//! Frames keep their bounds, pools and depot keep every chunk.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

/// Cases per property; Miri interprets, so it gets few.
const CASES: u32 = if cfg!(miri) { 4 } else { 64 };

#[derive(Debug, Clone, Copy)]
enum Step {
    PushFront(usize),
    PullFront(usize),
    Truncate(usize),
    SetLen(usize),
    Reset,
}

fn step() -> impl Strategy<Value = Step> {
    let length = || prop_oneof![0..600_usize, 0..2 * CHUNK, Just(usize::MAX), Just(65_536)];
    prop_oneof![
        length().prop_map(Step::PushFront),
        length().prop_map(Step::PullFront),
        length().prop_map(Step::Truncate),
        length().prop_map(Step::SetLen),
        Just(Step::Reset),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_frame_behaves_like_a_window_on_a_plain_array(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let region = Region::new(1).unwrap();
        let mut pool = Pool::new(region, 0);
        let mut frame = pool.take().unwrap();
        let mut model = vec![0_u8; CHUNK];
        let (mut start, mut len) = (HEADROOM, 0);
        for (mark, step) in (1_u8..).zip(steps) {
            match step {
                Step::PushFront(n) => {
                    let fits = n <= start;
                    prop_assert_eq!(frame.push_front(n).map(|new| new.len()), fits.then_some(n));
                    if fits {
                        start -= n;
                        len += n;
                    }
                }
                Step::PullFront(n) => {
                    let fits = n <= len;
                    prop_assert_eq!(frame.pull_front(n), fits);
                    if fits {
                        // An emptied packet stays where it starts.
                        start += if n < len { n } else { 0 };
                        len -= n;
                    }
                }
                Step::Truncate(n) => {
                    frame.truncate(n);
                    len = len.min(n);
                }
                Step::SetLen(n) => {
                    let fits = n <= CHUNK - start;
                    prop_assert_eq!(frame.set_len(n), fits);
                    if fits {
                        len = n;
                    }
                }
                Step::Reset => {
                    frame.reset();
                    (start, len) = (HEADROOM, 0);
                }
            }
            prop_assert_eq!(frame.headroom(), start);
            prop_assert_eq!(frame.tailroom(), CHUNK - start - len);
            prop_assert_eq!(frame.data(), &model[start..start + len]);
            frame.data_mut().fill(mark);
            model[start..start + len].fill(mark);
        }
    }

    #[test]
    fn every_chunk_is_in_exactly_one_place(
        chunks in 1..300_u32,
        moves in proptest::collection::vec((0..2_usize, any::<bool>(), 1..80_usize), 1..40),
    ) {
        let region = Region::new(chunks).unwrap();
        let mut pools = [Pool::new(region, 0), Pool::new(region, 100)];
        let mut out: Vec<Frame> = Vec::new();
        for (which, take, count) in moves {
            for _ in 0..count {
                if take {
                    out.extend(pools[which].take());
                } else if let Some(frame) = out.pop() {
                    pools[which].put(frame);
                }
            }
            let pooled: usize = pools.iter().map(Pool::len).sum();
            prop_assert_eq!(region.depot().len() + pooled + out.len(), chunks as usize);
            let distinct: HashSet<_> = out.iter().map(|frame| frame.data().as_ptr()).collect();
            prop_assert_eq!(distinct.len(), out.len());
        }
        drop((out, pools));
        prop_assert_eq!(region.depot().len(), chunks as usize);
    }
}

#[test]
fn frames_cross_threads_and_come_home_however_they_end() {
    let region = Region::new(256).unwrap();
    let mut pool = Pool::new(region, 64);
    let burst: Vec<_> = std::iter::from_fn(|| pool.take()).take(200).collect();
    std::thread::spawn(move || {
        let mut other = Pool::new(region, 64);
        for (n, frame) in burst.into_iter().enumerate() {
            // Some are dropped, the others take the regular way.
            if n % 3 != 0 {
                other.put(frame);
            }
        }
        assert!(other.len() <= 64);
    })
    .join()
    .unwrap();
    drop(pool);
    assert_eq!(region.depot().len(), 256);
}

#[test]
fn a_frame_of_another_region_goes_home() {
    let (one, two) = (Region::new(40).unwrap(), Region::new(40).unwrap());
    let mut pool = Pool::new(one, 64);
    let stranger = Pool::new(two, 64).take().unwrap();
    assert_eq!(two.depot().len(), 39);
    pool.put(stranger);
    assert!(pool.is_empty());
    assert_eq!(two.depot().len(), 40);
}

#[test]
fn a_region_of_no_size_is_refused() {
    assert!(matches!(Region::new(0), Err(RegionError::Size { .. })));
    assert!(matches!(Region::new(u32::MAX), Err(RegionError::Size { .. })));
}
