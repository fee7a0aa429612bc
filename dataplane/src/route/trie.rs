//! Longest prefix match over IPv4 prefixes of which parts are shared: a copy costs one pointer, and
//! a change to a copy costs the nodes on its way, never the whole.
//!
//! One node per octet of the address, so a lookup reads at most four. The few nodes of the first two
//! octets are plain arrays; the many of the third and fourth hold runs of equal values, found by
//! counting bits, so that a million routes take some 20 MB. Never knows what a value means, nor
//! which prefixes made it: the writer paints whole nodes.

use std::sync::Arc;

use crate::prefetch::{prefetch, prefetch_line};

/// No value.
pub(crate) const NONE: u32 = u32::MAX;

/// Values by the longest prefix.
#[derive(Debug, Clone)]
pub(crate) struct Trie {
    root: Arc<Wide<Wide<Narrow>>>,
}

/// A node's place: which octets lead to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    /// Octets that lead to it, 0 to 3.
    depth: u8,
    /// Those octets, then zeros.
    network: u32,
}

impl Place {
    /// The node that holds a prefix.
    pub(crate) fn of(network: u32, length: u8) -> Self {
        let depth = length.saturating_sub(1) / 8;
        Self { depth, network: network & !(u32::MAX >> (8 * depth)) }
    }

    /// The slots of this node that a prefix of it covers, first and one past the last.
    pub(crate) fn slots(self, network: u32, length: u8) -> std::ops::Range<usize> {
        let first = usize::from(octet(network, self.depth));
        let bits = (8 * (self.depth + 1)).saturating_sub(length).min(8);
        first..first + (1 << bits)
    }
}

impl Default for Trie {
    fn default() -> Self {
        Self { root: Arc::new(Wide::empty()) }
    }
}

impl Trie {
    /// The value of the longest prefix that covers an address.
    #[inline]
    pub(crate) fn lookup(&self, address: u32) -> u32 {
        let [first, second, third, fourth] = address.to_be_bytes();
        let slot = &self.root.slots[usize::from(first)];
        let best = slot.value;
        let Some(node) = &slot.child else { return best };

        let slot = &node.slots[usize::from(second)];
        let best = longer(slot.value, best);
        let Some(node) = &slot.child else { return best };

        let best = longer(node.runs.value(third), best);
        match node.child(third) {
            Some(runs) => longer(runs.value(fourth), best),
            None => best,
        }
    }

    /// Has the processor fetch what lookups of these addresses read: for all of them at once,
    /// level by level, so that they wait for memory together.
    pub(crate) fn expect(&self, addresses: impl Iterator<Item = u32> + Clone) {
        let second = |address: u32| {
            let [first, second, ..] = address.to_be_bytes();
            let node = self.root.slots[usize::from(first)].child.as_deref()?;
            Some(&node.slots[usize::from(second)])
        };
        for slot in addresses.clone().filter_map(second) {
            prefetch(slot);
        }
        let third = |address| second(address)?.child.as_deref();
        for node in addresses.clone().filter_map(third) {
            prefetch(node);
        }
        for node in addresses.filter_map(third) {
            if let Values::Many(values) = &node.runs.values {
                prefetch_line(values.as_ptr().cast());
            }
        }
    }

    /// Sets the values of a node's own prefixes, slot by slot. Nodes that say nothing vanish.
    pub(crate) fn paint(&mut self, place: Place, slots: &[u32; 256]) {
        Arc::make_mut(&mut self.root).paint(0, place, slots);
    }
}

fn longer(value: u32, best: u32) -> u32 {
    if value == NONE { best } else { value }
}

fn octet(address: u32, depth: u8) -> u8 {
    address.to_be_bytes()[usize::from(depth)]
}

/// What a node is to the one above it.
trait Node: Clone {
    fn empty() -> Self;
    fn is_empty(&self) -> bool;
    fn paint(&mut self, depth: u8, place: Place, slots: &[u32; 256]);
}

/// A node that has all slots side by side.
#[derive(Debug, Clone)]
struct Wide<Child> {
    slots: [Slot<Child>; 256],
}

#[derive(Debug, Clone)]
struct Slot<Child> {
    value: u32,
    child: Option<Arc<Child>>,
}

impl<Child: Node> Node for Wide<Child> {
    fn empty() -> Self {
        Self { slots: std::array::from_fn(|_| Slot { value: NONE, child: None }) }
    }

    fn is_empty(&self) -> bool {
        self.slots.iter().all(|slot| slot.value == NONE && slot.child.is_none())
    }

    fn paint(&mut self, depth: u8, place: Place, slots: &[u32; 256]) {
        if depth == place.depth {
            for (slot, value) in self.slots.iter_mut().zip(slots) {
                slot.value = *value;
            }
            return;
        }
        let slot = &mut self.slots[usize::from(octet(place.network, depth))];
        let child = slot.child.get_or_insert_with(|| Arc::new(Child::empty()));
        Arc::make_mut(child).paint(depth + 1, place, slots);
        if child.is_empty() {
            slot.child = None;
        }
    }
}

/// A node of the third octet: few have anything below.
#[derive(Debug, Clone)]
struct Narrow {
    runs: Runs,
    /// By slot, in order.
    below: Vec<(u8, Arc<Runs>)>,
}

impl Narrow {
    #[inline]
    fn child(&self, slot: u8) -> Option<&Runs> {
        if self.below.is_empty() {
            return None;
        }
        let index = self.below.binary_search_by_key(&slot, |(slot, _)| *slot).ok()?;
        Some(&self.below[index].1)
    }
}

impl Node for Narrow {
    fn empty() -> Self {
        Self { runs: Runs::empty(), below: Vec::new() }
    }

    fn is_empty(&self) -> bool {
        self.below.is_empty() && self.runs.is_empty()
    }

    fn paint(&mut self, depth: u8, place: Place, slots: &[u32; 256]) {
        if depth == place.depth {
            self.runs = Runs::of(slots);
            return;
        }
        let slot = octet(place.network, depth);
        let index = self.below.partition_point(|(below, _)| *below < slot);
        let is_there = self.below.get(index).is_some_and(|(below, _)| *below == slot);
        let runs = Runs::of(slots);
        match (runs.is_empty(), is_there) {
            (true, true) => {
                self.below.remove(index);
            }
            (true, false) => {}
            (false, true) => self.below[index].1 = Arc::new(runs),
            (false, false) => self.below.insert(index, (slot, Arc::new(runs))),
        }
    }
}

/// The values of 256 slots as runs of equal ones.
#[derive(Debug, Clone)]
struct Runs {
    /// A bit for each slot where a run begins. Slot 0 is always one.
    starts: [u64; 4],
    /// Runs that begin before each of these words.
    before: [u8; 4],
    /// One for each run.
    values: Values,
}

/// Few values stand in the node itself: a lookup waits for memory once less.
#[derive(Debug, Clone)]
enum Values {
    Few([u32; 6]),
    Many(Box<[u32]>),
}

impl Values {
    fn of(values: &[u32]) -> Self {
        let mut few = [NONE; 6];
        match few.get_mut(..values.len()) {
            Some(room) => {
                room.copy_from_slice(values);
                Self::Few(few)
            }
            None => Self::Many(values.into()),
        }
    }

    #[inline]
    fn get(&self, index: usize) -> u32 {
        match self {
            Self::Few(values) => values[index],
            Self::Many(values) => values[index],
        }
    }
}

impl Runs {
    fn empty() -> Self {
        Self::of(&[NONE; 256])
    }

    fn of(slots: &[u32; 256]) -> Self {
        let mut starts = [0_u64; 4];
        let mut before = [0_u8; 4];
        let mut values = Vec::new();
        for (slot, &value) in (0..=u8::MAX).zip(slots) {
            let word = usize::from(slot >> 6);
            if slot & 63 == 0 {
                // 192 at most.
                before[word] = u8::try_from(values.len()).unwrap_or(u8::MAX);
            }
            if values.last() != Some(&value) {
                starts[word] |= 1 << (slot & 63);
                values.push(value);
            }
        }
        Self { starts, before, values: Values::of(&values) }
    }

    fn is_empty(&self) -> bool {
        // Slot 0 begins the only run.
        self.starts == [1, 0, 0, 0] && self.values.get(0) == NONE
    }

    /// The value of the run that began last at or before the slot.
    #[inline]
    fn value(&self, slot: u8) -> u32 {
        let word = usize::from(slot >> 6);
        let up_to_slot = u64::MAX >> (63 - (slot & 63));
        let begun = (self.starts[word] & up_to_slot).count_ones() as usize;
        self.values.get(usize::from(self.before[word]) + begun - 1)
    }
}
