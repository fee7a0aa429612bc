//! The kernel is asked for all while routes change: what it tells may be from before or after each
//! change that it tells of.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// One route for each prefix and metric, as nearly everybody has them.
type Kernel = BTreeMap<(u8, u32), u8>;

#[derive(Debug, Clone)]
enum Step {
    Add { prefix: u8, metric: u32, gateway: u8 },
    Replace { prefix: u8, metric: u32, gateway: u8 },
    Remove { prefix: u8, metric: u32 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || (0..3_u8, 0..2_u32);
    prop::collection::vec(
        prop_oneof![
            (key(), 0..3_u8).prop_map(|((prefix, metric), gateway)| Step::Add {
                prefix,
                metric,
                gateway
            }),
            (key(), 0..3_u8).prop_map(|((prefix, metric), gateway)| Step::Replace {
                prefix,
                metric,
                gateway
            }),
            key().prop_map(|(prefix, metric)| Step::Remove { prefix, metric }),
        ],
        0..40,
    )
}

fn route_change(prefix: u8, metric: u32, gateway: u8, act: Act) -> Change {
    let meaning = forward(&[hop(NO_PORT + u32::from(gateway), Gateway::None)]);
    Change::Route {
        prefix: (Ipv4Addr::new(10, prefix, 0, 0).into(), 16),
        act,
        route: Route::new(Table::Main, metric, meaning),
    }
}

/// What the kernel does, and says of it: nothing, if it refuses.
fn obey(kernel: &mut Kernel, step: &Step) -> Option<Change> {
    match *step {
        Step::Add { prefix, metric, gateway } => {
            let is_free = !kernel.contains_key(&(prefix, metric));
            is_free.then(|| {
                kernel.insert((prefix, metric), gateway);
                route_change(prefix, metric, gateway, Act::Prepend)
            })
        }
        Step::Replace { prefix, metric, gateway } => {
            let act = match kernel.insert((prefix, metric), gateway) {
                Some(_) => Act::Replace,
                None => Act::Prepend,
            };
            Some(route_change(prefix, metric, gateway, act))
        }
        Step::Remove { prefix, metric } => {
            let gateway = kernel.remove(&(prefix, metric))?;
            Some(route_change(prefix, metric, gateway, Act::Remove))
        }
    }
}

fn all(kernel: &Kernel) -> impl Iterator<Item = Change> {
    kernel
        .iter()
        .map(|(&(prefix, metric), &gateway)| route_change(prefix, metric, gateway, Act::Append))
}

proptest! {
    #[test]
    fn whenever_it_answers_the_end_is_the_same(steps in steps(), at in 0..40_usize) {
        let mut kernel = Kernel::new();
        let mut told = Vec::new();
        let mut asked = rib();
        let mut followed = rib();
        for (number, step) in steps.iter().enumerate() {
            if number == at {
                all(&kernel).for_each(|change| { asked.apply(change); });
            }
            if let Some(change) = obey(&mut kernel, step) {
                followed.apply(change.clone());
                told.push(change);
            }
        }
        if at >= steps.len() {
            all(&kernel).for_each(|change| { asked.apply(change); });
        }
        for change in told {
            // It may be that all is to be asked for once more, where this was not needed.
            asked.repeat(change);
        }
        let (asked, followed) = (asked.snapshot(), followed.snapshot());
        for prefix in 0..3 {
            let to = Ipv4Addr::new(10, prefix, 0, 1);
            prop_assert_eq!(asked.lookup(to), followed.lookup(to));
        }
    }
}

#[test]
fn what_replaced_one_of_several_is_asked_for_again() {
    let mut rib = rib();
    for gateway in [0, 1] {
        rib.apply(route_change(0, 0, gateway, Act::Append));
    }
    assert_eq!(rib.repeat(route_change(0, 0, 2, Act::Replace)), Told::Part);
}

/// A message may be older than what is known: the route that it takes away is gone already.
#[test]
fn a_route_that_is_gone_already_takes_no_other_along() {
    let mut rib = rib();
    rib.apply(route_change(0, 0, 1, Act::Append));
    let gone = route_change(0, 0, 0, Act::Remove);
    assert_eq!(rib.repeat(gone.clone()), Told::All);
    assert_eq!(lookup(&mut rib, "10.0.0.1"), Decision::Kernel { ifindex: NO_PORT + 1 });
    // Later that says that something was missed.
    assert_eq!(rib.apply(gone), Told::Part);
    assert_eq!(lookup(&mut rib, "10.0.0.1"), Decision::Kernel { ifindex: NO_PORT + 1 });
    assert_eq!(rib.apply(route_change(0, 0, 1, Act::Remove)), Told::All);
    assert_eq!(rib.apply(route_change(0, 0, 1, Act::Remove)), Told::All);
}
