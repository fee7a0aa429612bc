//! Addresses are given once, stick to their users and always come back.

use proptest::prelude::*;

use super::*;
use crate::config::Profile;

fn addresses(ranges: &[&str], local: [u8; 4]) -> Addresses {
    Addresses::new(&Config {
        profile: vec![Profile {
            name: "default".to_owned(),
            local_address: Some(local.into()),
            ..Profile::default()
        }],
        pool: vec![PoolConfig {
            name: "p".to_owned(),
            ranges: ranges.iter().map(|range| range.parse().unwrap()).collect(),
            next: None,
        }],
        ..Config::default()
    })
}

#[test]
fn our_own_address_is_never_given() {
    let addresses = addresses(&["10.0.0.1-10.0.0.3"], [10, 0, 0, 2]);
    let leases: Vec<_> = (0..2).map(|_| addresses.from_pool("p", "ivan").unwrap()).collect();
    let given: Vec<_> = leases.iter().map(Lease::address).collect();
    assert_eq!(given, [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 3)]);
}

#[test]
fn an_exhausted_pool_refuses_and_recovers() {
    let addresses = addresses(&["10.0.0.1", "10.0.9.0/31"], [10, 9, 9, 9]);
    let mut leases: Vec<_> =
        (0..3).map(|n| addresses.from_pool("p", &format!("user{n}")).unwrap()).collect();
    let refusal = addresses.from_pool("p", "late").unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "pool `p` is exhausted: 3 addresses are in use, 0 belong to users"
    );
    let freed = leases.remove(1).address();
    assert_eq!(addresses.from_pool("p", "late").unwrap().address(), freed);
    assert_eq!(addresses.from_pool("q", "late").unwrap_err(), Refusal::NoSuchPool("q".to_owned()));
}

#[test]
fn the_next_pool_helps_out() {
    let pool = |name: &str, range: &str, next: Option<&str>| PoolConfig {
        name: name.to_owned(),
        ranges: vec![range.parse().unwrap()],
        next: next.map(str::to_owned),
    };
    let pools = vec![
        pool("a", "10.0.0.1", Some("b")),
        pool("c", "10.0.2.1", None),
        pool("b", "10.0.1.1", Some("c")),
    ];
    let addresses = Addresses::new(&Config { pool: pools, ..Config::default() });
    let leases: Vec<_> = (0..3).map(|_| addresses.from_pool("a", "ivan").unwrap()).collect();
    let given: Vec<_> = leases.iter().map(|lease| lease.address().octets()).collect();
    assert_eq!(given, [[10, 0, 0, 1], [10, 0, 1, 1], [10, 0, 2, 1]]);
    let refusal = addresses.from_pool("a", "late").unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "pool `a` is exhausted: 3 addresses are in use, 0 belong to users"
    );
    let refusal = addresses.from_pool("c", "late").unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "pool `c` is exhausted: 1 addresses are in use, 0 belong to users"
    );
}

#[test]
fn an_address_of_the_next_pool_is_had_again_too() {
    let pool = |name: &str, range: &str, next: Option<&str>| PoolConfig {
        name: name.to_owned(),
        ranges: vec![range.parse().unwrap()],
        next: next.map(str::to_owned),
    };
    let pools = vec![pool("a", "10.0.0.1", Some("b")), pool("b", "10.0.1.1-10.0.1.4", None)];
    let addresses = Addresses::new(&Config { pool: pools, ..Config::default() });
    let anna = addresses.from_pool("a", "anna").unwrap();
    let ivan = addresses.from_pool("a", "ivan").unwrap();
    let had = [anna.address(), ivan.address()];
    drop((anna, ivan));
    let ivan = addresses.from_pool("a", "ivan").unwrap();
    let anna = addresses.from_pool("a", "anna").unwrap();
    assert_eq!([anna.address(), ivan.address()], had);
}

#[test]
fn a_refusal_counts_apart_what_is_kept_for_users() {
    let addresses = addresses(&["10.0.0.1-10.0.0.3"], [10, 9, 9, 9]);
    addresses.reserve(Ipv4Addr::new(10, 0, 0, 1));
    addresses.reserve(Ipv4Addr::new(10, 8, 0, 1));
    let _leases: Vec<_> = (0..2).map(|_| addresses.from_pool("p", "ivan").unwrap()).collect();
    let refusal = addresses.from_pool("p", "late").unwrap_err().to_string();
    assert_eq!(refusal, "pool `p` is exhausted: 2 addresses are in use, 1 belong to users");
}

#[test]
fn a_user_gets_the_same_address_again_while_others_come_and_go() {
    let addresses = addresses(&["10.0.0.1-10.0.0.9"], [10, 9, 9, 9]);
    let first = addresses.from_pool("p", "ivan").unwrap().address();
    for other in ["anna", "boris", "chen"] {
        assert_ne!(addresses.from_pool("p", other).unwrap().address(), first);
    }
    assert_eq!(addresses.from_pool("p", "ivan").unwrap().address(), first);
}

/// Every subscriber of a large concentrator, and all of them again after a power cut, in another
/// order.
#[test]
fn sixty_thousand_users_have_their_own_address_twice() {
    const USERS: usize = 60_000;
    let addresses = addresses(&["10.64.0.0-10.64.234.95"], [10, 9, 9, 9]);
    let all = |order: &mut dyn Iterator<Item = usize>| {
        let mut given = vec![None; USERS];
        let leases: Vec<_> = order
            .map(|user| {
                let lease = addresses.from_pool("p", &format!("user{user}")).unwrap();
                given[user] = Some(lease.address());
                lease
            })
            .collect();
        assert!(addresses.from_pool("p", "one too many").is_err());
        drop(leases);
        given
    };
    let first = all(&mut (0..USERS));
    let unique: HashSet<_> = first.iter().collect();
    assert_eq!(unique.len(), USERS);
    // 7919 is a prime: every user once.
    assert_eq!(all(&mut (0..USERS).map(|user| user * 7919 % USERS)), first);
}

#[test]
fn a_reserved_address_waits_for_its_user() {
    let addresses = addresses(&["10.0.0.1-10.0.0.2"], [10, 9, 9, 9]);
    let own = Ipv4Addr::new(10, 0, 0, 1);
    addresses.reserve(own);
    let other = addresses.from_pool("p", "anna").unwrap();
    assert_eq!(other.address(), Ipv4Addr::new(10, 0, 0, 2));
    assert!(addresses.from_pool("p", "boris").is_err());
    let lease = addresses.fixed(own, "ivan").unwrap();
    assert_eq!(
        addresses.fixed(own, "anna").unwrap_err().to_string(),
        "address 10.0.0.1 is in use by ivan"
    );
    drop(lease);
    assert!(addresses.from_pool("p", "boris").is_err(), "still reserved");
    addresses.unreserve(own);
    assert_eq!(addresses.from_pool("p", "boris").unwrap().address(), own);
}

#[derive(Debug, Clone)]
enum Step {
    FromPool(u8),
    Fixed(u8, u8),
    Release(usize),
    Reserve(Vec<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u8..6).prop_map(Step::FromPool),
        (0_u8..12, 0_u8..6).prop_map(|(address, user)| Step::Fixed(address, user)),
        (0_usize..8).prop_map(Step::Release),
        prop::collection::vec(0_u8..12, 0..3).prop_map(Step::Reserve),
    ]
}

proptest! {
    #[test]
    fn no_address_is_given_twice_and_none_is_lost(steps in prop::collection::vec(step(), 0..80)) {
        // Ten addresses, of which one is our own, and two that lie outside of the pool.
        let addresses = addresses(&["10.0.0.0-10.0.0.9"], [10, 0, 0, 5]);
        let nth = |n: u8| Ipv4Addr::new(10, 0, 0, n);
        let mut leases: Vec<Lease> = Vec::new();
        let mut reserved: HashSet<Ipv4Addr> = HashSet::new();
        for step in steps {
            match step {
                Step::FromPool(user) => {
                    if let Ok(lease) = addresses.from_pool("p", &user.to_string()) {
                        prop_assert!(lease.address() != nth(5));
                        prop_assert!(!reserved.contains(&lease.address()));
                        prop_assert!(leases.iter().all(|l| l.address() != lease.address()));
                        leases.push(lease);
                    }
                }
                Step::Fixed(address, user) => {
                    let held = address == 5
                        || leases.iter().any(|lease| lease.address() == nth(address));
                    let lease = addresses.fixed(nth(address), &user.to_string());
                    prop_assert_eq!(lease.is_err(), held);
                    leases.extend(lease.ok());
                }
                Step::Release(place) => {
                    if place < leases.len() {
                        leases.swap_remove(place);
                    }
                }
                Step::Reserve(which) => {
                    for address in reserved.drain() {
                        addresses.unreserve(address);
                    }
                    reserved = which.into_iter().map(nth).collect();
                    for address in &reserved {
                        addresses.reserve(*address);
                    }
                }
            }
            let expected = (0..10)
                .map(nth)
                .filter(|address| *address != nth(5) && !reserved.contains(address))
                .filter(|address| leases.iter().all(|lease| lease.address() != *address))
                .count();
            prop_assert_eq!(addresses.usage()[0].free, expected);
        }
        leases.clear();
        for address in reserved {
            addresses.unreserve(address);
        }
        prop_assert_eq!(addresses.usage()[0].free, 9);
    }
}
