//! What routes mean, each meaning once: a full table has few. Knows the objects that meanings name
//! too, so that one message about an object moves all of its routes. Never knows prefixes.

use std::borrow::Cow;
use std::collections::HashMap;

use super::Unreachable;
use super::message::{Hop, Meaning};
use super::next_hop::NextHop;
use super::trie::NONE;

/// The distinct meanings of all routes, by number.
#[derive(Debug, Default)]
pub(super) struct Meanings {
    /// Each with the routes that have it. Without routes it waits to be used again.
    meanings: Vec<(Meaning, u32)>,
    numbers: HashMap<Meaning, u32>,
    free: Vec<u32>,
    /// The kernel's nexthop objects, by their own numbers.
    objects: HashMap<u32, NextHop>,
}

/// What a route comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Way<'a> {
    Local,
    Unreachable(Unreachable),
    /// By one of these; where none is alive, as the kernel knows.
    Forward {
        hops: Cow<'a, [Hop]>,
        mtu: Option<u32>,
    },
}

impl Meanings {
    pub(super) fn get(&self, number: u32) -> &Meaning {
        &self.meanings[number as usize].0
    }

    /// The ways of all meanings, in the order of their numbers.
    pub(super) fn ways(&self) -> impl Iterator<Item = Way<'_>> {
        self.meanings.iter().map(|(meaning, _)| self.way(meaning))
    }

    /// The next hops of all routes.
    pub(super) fn hops(&self) -> impl Iterator<Item = Hop> {
        self.ways().flat_map(|way| match way {
            Way::Forward { hops, .. } => hops.into_owned(),
            Way::Local | Way::Unreachable(_) => Vec::new(),
        })
    }

    fn way<'a>(&'a self, meaning: &'a Meaning) -> Way<'a> {
        match meaning {
            Meaning::Local => Way::Local,
            Meaning::Unreachable(why) => Way::Unreachable(*why),
            Meaning::OfService(_) | Meaning::OfSource { .. } => {
                Way::Forward { hops: Cow::default(), mtu: None }
            }
            Meaning::Forward { hops, mtu } => Way::Forward { hops: hops.into(), mtu: *mtu },
            &Meaning::Object { id, mtu } => {
                let hops = match self.objects.get(&id) {
                    None => Vec::new(),
                    Some(NextHop::Blackhole) => return Way::Unreachable(Unreachable::Blackhole),
                    Some(NextHop::One(hop)) => vec![*hop],
                    Some(NextHop::Group(members)) => {
                        let hop = |&(id, weight)| match self.objects.get(&id)? {
                            NextHop::One(hop) => Some(Hop { weight, ..*hop }),
                            NextHop::Group(_) | NextHop::Blackhole => None,
                        };
                        members.iter().filter_map(hop).collect()
                    }
                };
                Way::Forward { hops: hops.into(), mtu }
            }
        }
    }

    /// An object is there, as it is now.
    pub(super) fn set_object(&mut self, id: u32, next_hop: NextHop) {
        self.objects.insert(id, next_hop);
    }

    /// An object is gone. Routes that name it are the kernel's to decide, even if there is one with
    /// its number again. Whether there are any.
    pub(super) fn forget_object(&mut self, id: u32) -> bool {
        self.objects.remove(&id);
        let mut had_routes = false;
        for (meaning, _) in &mut self.meanings {
            if matches!(meaning, Meaning::Object { id: named, .. } if *named == id) {
                self.numbers.remove(meaning);
                *meaning = Meaning::Forward { hops: Vec::new(), mtu: None };
                had_routes = true;
            }
        }
        had_routes
    }

    pub(super) fn take(&mut self, meaning: &Meaning) -> u32 {
        if let Some(&number) = self.numbers.get(meaning) {
            self.meanings[number as usize].1 += 1;
            return number;
        }
        let number = match self.free.pop() {
            Some(number) => {
                self.meanings[number as usize] = (meaning.clone(), 1);
                number
            }
            None => {
                self.meanings.push((meaning.clone(), 1));
                // As many routes as numbers would fill the memory long before.
                u32::try_from(self.meanings.len() - 1).unwrap_or(NONE)
            }
        };
        self.numbers.insert(meaning.clone(), number);
        number
    }

    pub(super) fn release(&mut self, number: u32) {
        let (meaning, routes) = &mut self.meanings[number as usize];
        *routes -= 1;
        if *routes == 0 {
            // One that named an object that is gone is in no list.
            if self.numbers.get(meaning) == Some(&number) {
                self.numbers.remove(meaning);
            }
            *meaning = Meaning::Unreachable(Unreachable::Network);
            self.free.push(number);
        }
    }
}

impl Meaning {
    /// The kernel passes over a route whose every next hop is dead.
    pub(super) fn is_alive(&self) -> bool {
        match self {
            Self::Forward { hops, .. } => hops.is_empty() || hops.iter().any(|hop| !hop.dead),
            // The kernel takes dead objects away, with their routes.
            Self::Object { .. }
            | Self::Local
            | Self::Unreachable(_)
            | Self::OfService(_)
            | Self::OfSource { .. } => true,
        }
    }

    /// What is left of it without the next hops of another. `None`: nothing.
    pub(super) fn without(&self, other: &Self) -> Option<Self> {
        let (Self::Forward { hops, mtu }, Self::Forward { hops: others, .. }) = (self, other)
        else {
            return None;
        };
        let is_other = |hop: &Hop| {
            others.iter().any(|other| (other.ifindex, other.gateway) == (hop.ifindex, hop.gateway))
        };
        let hops: Vec<Hop> = hops.iter().filter(|hop| !is_other(hop)).copied().collect();
        (!hops.is_empty()).then_some(Self::Forward { hops, mtu: *mtu })
    }

    /// Whether both differ in nothing but in which next hops are dead.
    pub(super) fn is_same_way(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Forward { hops, mtu }, Self::Forward { hops: others, mtu: other_mtu }) => {
                let alive = |hop: &Hop| Hop { dead: false, ..*hop };
                mtu == other_mtu && hops.iter().map(alive).eq(others.iter().map(alive))
            }
            _ => self == other,
        }
    }
}
