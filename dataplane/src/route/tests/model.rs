//! The trie and its writer against the plainest model: a list of prefixes that is searched whole.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use proptest::prelude::*;

use super::*;

/// Told apart by what they decide.
fn meanings() -> impl Strategy<Value = Meaning> {
    prop_oneof![
        Just(Meaning::Local),
        Just(Meaning::Unreachable(Unreachable::Host)),
        Just(Meaning::Unreachable(Unreachable::Prohibited)),
        Just(Meaning::Unreachable(Unreachable::Blackhole)),
        Just(forward(&[hop(NO_PORT, Gateway::None)])),
        Just(forward(&[Hop { dead: true, ..hop(NO_PORT + 1, Gateway::None) }])),
    ]
}

/// A family, its addresses as the upper bits of a number.
trait Family: Address {
    const BITS: u8;
    /// Few bits vary, in all octets or in the first and last ones, so that prefixes nest and collide.
    const VARYING: u128;

    fn of(bits: u128) -> Self;
    fn bits(self) -> u128;
    fn lookup(self, snapshot: &Snapshot) -> Decision;
}

impl Family for Ipv4Addr {
    const BITS: u8 = 32;
    const VARYING: u128 = 0x0301_8181 << 96;

    fn of(bits: u128) -> Self {
        Self::from_bits(u32::try_from(bits >> 96).unwrap())
    }

    fn bits(self) -> u128 {
        u128::from(self.to_bits()) << 96
    }

    fn lookup(self, snapshot: &Snapshot) -> Decision {
        snapshot.lookup(self)
    }
}

impl Family for Ipv6Addr {
    const BITS: u8 = 128;
    const VARYING: u128 = 0x0301_8181_0000_0001_8000_0000_0000_0181;

    fn of(bits: u128) -> Self {
        Self::from_bits(bits)
    }

    fn bits(self) -> u128 {
        self.to_bits()
    }

    fn lookup(self, snapshot: &Snapshot) -> Decision {
        snapshot.lookup_ipv6(self)
    }
}

fn addresses<A: Family>() -> impl Strategy<Value = A> {
    any::<u128>().prop_map(|bits| A::of(bits & A::VARYING))
}

#[derive(Debug, Clone)]
enum Step<A> {
    Change(A, u8, Act, Route),
    Publish,
}

fn steps<A: Family>() -> impl Strategy<Value = Vec<Step<A>>> {
    let change = (
        addresses::<A>(),
        0..=A::BITS,
        prop_oneof![Just(Act::Prepend), Just(Act::Append), Just(Act::Replace), Just(Act::Remove)],
        prop_oneof![Just(Table::Local), Just(Table::Main)],
        0..2_u32,
        meanings(),
    )
        .prop_map(|(network, length, act, table, metric, meaning)| {
            let route = Route::new(table, metric, meaning);
            Step::Change(network.prefix(length), length, act, route)
        });
    prop::collection::vec(prop_oneof![8 => change, 1 => Just(Step::Publish)], 1..80)
}

struct Model<A>(BTreeMap<(A, u8), Vec<Route>>);

impl<A: Family> Model<A> {
    fn change(&mut self, network: A, length: u8, act: Act, route: &Route) {
        let routes = self.0.entry((network, length)).or_default();
        let rank = |route: &Route| (route.table, route.metric);
        let same = routes.iter().position(|have| have == route);
        let rival = same.or(routes.iter().position(|have| rank(have) == rank(route)));
        match act {
            Act::Remove => {
                same.map(|index| routes.remove(index));
            }
            _ if same.is_some() => {}
            Act::Replace if rival.is_some() => routes[rival.unwrap()] = route.clone(),
            Act::Append => routes.push(route.clone()),
            Act::Prepend | Act::Replace => routes.insert(0, route.clone()),
        }
        routes.sort_by_key(rank);
    }

    fn lookup(&self, destination: A) -> Decision {
        let covers = |network: A, length: u8| {
            (network.bits() ^ destination.bits()).leading_zeros() >= u32::from(length)
        };
        let alive = |route: &&Route| match &route.meaning {
            Meaning::Forward { hops, .. } => !hops[0].dead,
            _ => true,
        };
        let best = self
            .0
            .iter()
            .filter(|&(&(network, length), _)| covers(network, length))
            .filter_map(|((_, length), routes)| Some((length, routes.iter().find(alive)?)))
            .max_by_key(|(length, _)| *length);
        match best.map(|(_, route)| &route.meaning) {
            None => Decision::Unreachable(Unreachable::Network),
            Some(Meaning::Local) => Decision::Local,
            Some(Meaning::Unreachable(why)) => Decision::Unreachable(*why),
            Some(Meaning::Forward { .. }) => Decision::Kernel { ifindex: NO_PORT },
            Some(Meaning::OfSource { .. } | Meaning::OfService(_) | Meaning::Object { .. }) => {
                Decision::Kernel { ifindex: 0 }
            }
        }
    }
}

fn check<A: Family>(steps: Vec<Step<A>>, destinations: &[A]) -> Result<(), TestCaseError> {
    let mut rib = Rib::default();
    let mut model = Model(BTreeMap::new());
    let mut published = Vec::new();
    for step in steps.into_iter().chain([Step::Publish]) {
        match step {
            Step::Change(network, length, act, route) => {
                model.change(network, length, act, &route);
                let prefix = (network.into(), length);
                rib.apply(Change::Route { prefix, act, route });
            }
            Step::Publish => {
                let answers: Vec<Decision> =
                    destinations.iter().map(|&to| model.lookup(to)).collect();
                published.push((rib.snapshot(), answers));
            }
        }
    }
    // The old ones too: what came after must not show in them.
    for (snapshot, answers) in published {
        for (&to, answer) in destinations.iter().zip(answers) {
            prop_assert_eq!(to.lookup(&snapshot), answer, "{:?}", to);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn every_lookup_is_that_of_the_model(
        steps in steps(),
        near in prop::collection::vec(addresses::<Ipv4Addr>(), 64),
        anywhere in prop::collection::vec(any::<Ipv4Addr>(), 16),
    ) {
        check(steps, &[near, anywhere].concat())?;
    }

    #[test]
    fn every_lookup_of_ipv6_is_that_of_the_model(
        steps in steps(),
        near in prop::collection::vec(addresses::<Ipv6Addr>(), 64),
        anywhere in prop::collection::vec(any::<Ipv6Addr>(), 16),
    ) {
        check(steps, &[near, anywhere].concat())?;
    }
}
