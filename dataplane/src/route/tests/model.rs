//! The trie and its writer against the plainest model: a list of prefixes that is searched whole.

use std::collections::BTreeMap;

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

prop_compose! {
    /// Few bits vary, in all octets, so that prefixes nest and collide.
    fn addresses()(bits in any::<u32>()) -> u32 {
        bits & 0x0301_8181
    }
}

#[derive(Debug, Clone)]
enum Step {
    Change(u32, u8, Act, Route),
    Publish,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let change = (
        addresses(),
        0..=32_u8,
        prop_oneof![Just(Act::Prepend), Just(Act::Append), Just(Act::Replace), Just(Act::Remove)],
        prop_oneof![Just(Table::Local), Just(Table::Main)],
        0..2_u32,
        meanings(),
    )
        .prop_map(|(network, length, act, table, metric, meaning)| {
            let network = network & u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            Step::Change(network, length, act, Route { table, metric, meaning })
        });
    prop::collection::vec(prop_oneof![8 => change, 1 => Just(Step::Publish)], 1..80)
}

#[derive(Default)]
struct Model(BTreeMap<(u32, u8), Vec<Route>>);

impl Model {
    fn change(&mut self, network: u32, length: u8, act: Act, route: &Route) {
        let routes = self.0.entry((network, length)).or_default();
        let rank = |route: &Route| (route.table, route.metric);
        let same = routes.iter().position(|have| have == route);
        let rival = same.or(routes.iter().position(|have| rank(have) == rank(route)));
        match act {
            Act::Remove => {
                rival.map(|index| routes.remove(index));
            }
            _ if same.is_some() => {}
            Act::Replace if rival.is_some() => routes[rival.unwrap()] = route.clone(),
            Act::Append => routes.push(route.clone()),
            Act::Prepend | Act::Replace => routes.insert(0, route.clone()),
        }
        routes.sort_by_key(rank);
    }

    fn lookup(&self, destination: u32) -> Decision {
        let covers =
            |network: u32, length: u8| (network ^ destination).leading_zeros() >= u32::from(length);
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
        }
    }
}

proptest! {
    #[test]
    fn every_lookup_is_that_of_the_model(
        steps in steps(),
        destinations in prop::collection::vec(addresses(), 64),
        anywhere in prop::collection::vec(any::<u32>(), 16),
    ) {
        let mut rib = Rib::default();
        let mut model = Model::default();
        let destinations: Vec<u32> = destinations.into_iter().chain(anywhere).collect();
        let mut published = Vec::new();
        for step in steps {
            match step {
                Step::Change(network, length, act, route) => {
                    model.change(network, length, act, &route);
                    rib.apply(Change::Route { network, length, act, route });
                }
                Step::Publish => {
                    let answers: Vec<Decision> =
                        destinations.iter().map(|&to| model.lookup(to)).collect();
                    published.push((rib.snapshot(), answers));
                }
            }
        }
        let answers = destinations.iter().map(|&to| model.lookup(to)).collect();
        published.push((rib.snapshot(), answers));
        // The old ones too: what came after must not show in them.
        for (snapshot, answers) in published {
            for (&to, answer) in destinations.iter().zip(answers) {
                prop_assert_eq!(snapshot.lookup(Ipv4Addr::from_bits(to)), answer);
            }
        }
    }
}
