use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const NOW: Instant = Instant::ORIGIN;

#[test]
fn all_65535_are_handed_out_once_and_then_there_is_a_clear_error() {
    let mut allocator = Allocator::new(1);
    let ids: BTreeSet<_> =
        (0..65_535).map(|_| allocator.allocate(PEER, Class::ANY, NOW).unwrap()).collect();
    assert_eq!(ids.len(), 65_535);
    assert_eq!(allocator.allocate(PEER, Class::ANY, NOW), Err(Exhausted { peer: PEER }));
    assert!(allocator.allocate(OTHER, Class::ANY, NOW).is_ok(), "another peer has its own");
}

#[test]
fn a_freed_one_rests_sixty_seconds() {
    let mut allocator = Allocator::new(1);
    let class = Class::new(NonZeroU16::new(40_000).unwrap(), 30_000);
    let id = allocator.allocate(PEER, class, NOW).unwrap();
    allocator.free(PEER, id, NOW);
    let almost = NOW + (REST - Duration::from_micros(1));
    assert!(allocator.allocate(PEER, class, almost).is_err());
    assert_eq!(allocator.allocate(PEER, class, NOW + REST), Ok(id));
}

#[test]
fn freeing_twice_or_what_is_not_in_use_changes_nothing() {
    let mut allocator = Allocator::new(1);
    let class = Class::new(NonZeroU16::new(40_000).unwrap(), 30_000);
    let id = allocator.allocate(PEER, class, NOW).unwrap();
    allocator.free(OTHER, id, NOW);
    allocator.free(PEER, id, NOW);
    allocator.free(PEER, id, NOW + Duration::from_secs(30));
    let again = allocator.allocate(PEER, class, NOW + REST).unwrap();
    let later = NOW + REST + Duration::from_secs(30);
    assert!(allocator.allocate(PEER, class, later).is_err(), "{again} is in use");
}

#[test]
fn seeds_give_different_starts_and_a_peer_without_calls_needs_no_memory() {
    let first = |seed| Allocator::new(seed).allocate(PEER, Class::ANY, NOW).unwrap();
    assert_ne!(first(1), first(2));

    let mut allocator = Allocator::new(1);
    let id = allocator.allocate(PEER, Class::ANY, NOW).unwrap();
    allocator.free(PEER, id, NOW);
    let other = allocator.allocate(OTHER, Class::ANY, NOW + REST).unwrap();
    allocator.free(OTHER, other, NOW + REST);
    allocator.expire(NOW + REST + REST);
    assert_eq!((allocator.taken(), allocator.peers.len()), (0, 0));
}

proptest! {
    #[test]
    fn ids_are_never_zero_never_twice_and_always_of_the_class(
        seed: u64,
        stride in 1_u16..20,
        steps in prop::collection::vec((any::<bool>(), any::<u16>(), 0_u64..40), 1..300),
    ) {
        let mut allocator = Allocator::new(seed);
        let mut live: Vec<NonZeroU16> = Vec::new();
        let mut now = NOW;
        for (free, pick, seconds) in steps {
            now = now + Duration::from_secs(seconds);
            if free && !live.is_empty() {
                let id = live.swap_remove(usize::from(pick) % live.len());
                allocator.free(PEER, id, now);
            } else {
                let class = Class::new(NonZeroU16::new(stride).unwrap(), pick);
                let id = allocator.allocate(PEER, class, now).unwrap();
                prop_assert_eq!(id.get() % stride, pick % stride);
                prop_assert!(!live.contains(&id));
                live.push(id);
            }
        }
    }
}
