//! IPv6's gateways of one prefix and metric are one route, as the kernel makes it of them
//! (`fib6_add_rt2node`), beside routes without a gateway that stand alone.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use proptest::prelude::*;

use super::*;

/// Routes of a prefix with one metric, in their order. Numbers stand for interfaces.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Alone(u32),
    Siblings(Vec<u32>),
}

#[derive(Debug, Clone)]
enum Step {
    Add(u32, bool),
    Replace(u32, bool),
    Remove(u32, bool),
    RemoveSiblings,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let route = || (0..3_u32, any::<bool>());
    prop::collection::vec(
        prop_oneof![
            4 => route().prop_map(|(number, joins)| Step::Add(number, joins)),
            2 => route().prop_map(|(number, joins)| Step::Replace(number, joins)),
            4 => route().prop_map(|(number, joins)| Step::Remove(number, joins)),
            1 => Just(Step::RemoveSiblings),
        ],
        0..40,
    )
}

fn told(act: Act, numbers: &[u32], joins: bool) -> Change {
    let router = "fe80::1".parse::<IpAddr>().unwrap();
    let by = if joins { gateway(router) } else { Gateway::None };
    let hops: Vec<Hop> = numbers.iter().map(|number| hop(NO_PORT + number, by)).collect();
    let change = route("2001:db8::/32", act, Table::Main, 1024, forward(&hops));
    let Change::Route { prefix, act, route } = change else { panic!("a route") };
    Change::Route { prefix, act, route: Route { joins, ..route } }
}

/// What the kernel does, and says of it: nothing, if it refuses.
fn obey(kernel: &mut Vec<Entry>, step: &Step) -> Option<Change> {
    let siblings = |entry: &Entry| matches!(entry, Entry::Siblings(_));
    let group = kernel.iter().position(siblings);
    match *step {
        Step::Add(number, false) => {
            let is_free = !kernel.contains(&Entry::Alone(number));
            is_free.then(|| {
                kernel.push(Entry::Alone(number));
                told(Act::Append, &[number], false)
            })
        }
        Step::Add(number, true) => {
            let Some(Entry::Siblings(hops)) = group.map(|at| &mut kernel[at]) else {
                kernel.push(Entry::Siblings(vec![number]));
                return Some(told(Act::Append, &[number], true));
            };
            if hops.contains(&number) {
                return None;
            }
            hops.push(number);
            // It begins with the new one.
            let all: Vec<u32> = hops.iter().rev().copied().collect();
            Some(told(Act::Append, &all, true))
        }
        Step::Replace(number, joins) => {
            let new = if joins { Entry::Siblings(vec![number]) } else { Entry::Alone(number) };
            let alike = kernel.iter().position(|entry| siblings(entry) == joins);
            match alike.or((!kernel.is_empty()).then_some(0)) {
                // Another one that is the same would be there twice.
                Some(at) if kernel.iter().enumerate().any(|(n, e)| n != at && *e == new) => None,
                Some(at) => {
                    kernel[at] = new;
                    Some(told(Act::Replace, &[number], joins))
                }
                None => {
                    kernel.push(new);
                    Some(told(Act::Append, &[number], joins))
                }
            }
        }
        Step::Remove(number, false) => {
            let at = kernel.iter().position(|entry| *entry == Entry::Alone(number))?;
            kernel.remove(at);
            Some(told(Act::Remove, &[number], false))
        }
        Step::Remove(number, true) => {
            let at = group?;
            let Entry::Siblings(hops) = &mut kernel[at] else { return None };
            let hop = hops.iter().position(|hop| *hop == number)?;
            hops.remove(hop);
            if hops.is_empty() {
                kernel.remove(at);
            }
            Some(told(Act::Remove, &[number], true))
        }
        Step::RemoveSiblings => {
            let Entry::Siblings(hops) = kernel.remove(group?) else { return None };
            Some(told(Act::Remove, &hops, true))
        }
    }
}

/// All interfaces that packets go by.
fn ways(snapshot: &Snapshot) -> BTreeSet<u32> {
    (0..256)
        .map(|host| Ipv6Addr::from_bits(0x2001_0DB8_0000_0000_0000_0000_0000_0000 + host))
        .filter_map(|to| match snapshot.lookup_ipv6(to) {
            Decision::Kernel { ifindex } => Some(ifindex - NO_PORT),
            _ => None,
        })
        .collect()
}

proptest! {
    #[test]
    fn the_ways_are_those_of_the_kernel(steps in steps(), at in 0..40_usize) {
        let mut kernel = Vec::new();
        let mut changes = Vec::new();
        let mut followed = rib();
        let mut asked = rib();
        let tell_all = |kernel: &[Entry], asked: &mut Rib| {
            for entry in kernel {
                asked.apply(match entry {
                    Entry::Alone(number) => told(Act::Append, &[*number], false),
                    Entry::Siblings(hops) => told(Act::Append, hops, true),
                });
            }
        };
        for (number, step) in steps.iter().enumerate() {
            if number == at {
                tell_all(&kernel, &mut asked);
            }
            if let Some(change) = obey(&mut kernel, step) {
                prop_assert_eq!(followed.apply(change.clone()), Told::All);
                changes.push(change);
            }
        }
        let expected: BTreeSet<u32> = match kernel.first() {
            None => BTreeSet::new(),
            Some(Entry::Alone(number)) => [*number].into(),
            Some(Entry::Siblings(hops)) => hops.iter().copied().collect(),
        };
        prop_assert_eq!(ways(&followed.snapshot()), expected);
        // Asked for all at some moment, and told all changes again: the same gateways, whatever
        // the order of routes that stand alone.
        if at < steps.len() {
            let alone = |change: &Change| {
                matches!(change, Change::Route { route, .. } if !route.joins)
            };
            if !changes.iter().any(alone) {
                for change in changes {
                    asked.repeat(change);
                }
                prop_assert_eq!(ways(&asked.snapshot()), ways(&followed.snapshot()));
            }
        }
    }
}
