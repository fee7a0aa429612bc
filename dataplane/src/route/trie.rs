//! Longest prefix match over IPv4 or IPv6 prefixes of which parts are shared: a copy costs one
//! pointer, and a change to a copy costs the nodes on its way, never the whole.
//!
//! One node per octet of the address, so a lookup reads at most four, or sixteen: as many as the
//! longest prefix near it has octets. The few nodes of the first two octets are plain arrays; the
//! many of those behind hold runs of equal values, found by counting bits, so that a million routes
//! take some 20 MB. Never knows what a value means, nor which prefixes made it: the writer paints
//! whole nodes.

use std::fmt::Debug;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::sync::Arc;

use crate::prefetch::{prefetch, prefetch_line};

/// No value.
pub(crate) const NONE: u32 = u32::MAX;

/// Bits of [`Address::spread`].
pub(crate) const SPREAD_BITS: u32 = 24;

/// What has prefixes: an address of either family.
pub(crate) trait Address: Copy + Ord + Debug + Into<IpAddr> {
    /// All octets of an address.
    type Octets: AsRef<[u8]>;

    /// As they are on the wire.
    fn bytes(self) -> Self::Octets;

    /// This many bits of it, then zeros. A length beyond is its own.
    fn prefix(self, length: u8) -> Self;

    /// A number of [`SPREAD_BITS`] bits for sharing by destination: near addresses lie far apart
    /// (Knuth's multiplicative hash; the upper bits are good).
    #[inline]
    fn spread(self) -> u32 {
        let octets = self.bytes();
        let (words, _) = octets.as_ref().as_chunks();
        let hash = words.iter().fold(0_u32, |hash, word| {
            (hash.rotate_left(5) ^ u32::from_be_bytes(*word)).wrapping_mul(0x9E37_79B1)
        });
        hash >> (u32::BITS - SPREAD_BITS)
    }
}

impl Address for Ipv4Addr {
    type Octets = [u8; 4];

    #[inline]
    fn bytes(self) -> [u8; 4] {
        self.octets()
    }

    fn prefix(self, length: u8) -> Self {
        let host = u32::MAX.checked_shr(length.into()).unwrap_or(0);
        Self::from_bits(self.to_bits() & !host)
    }
}

impl Address for Ipv6Addr {
    type Octets = [u8; 16];

    #[inline]
    fn bytes(self) -> [u8; 16] {
        self.octets()
    }

    fn prefix(self, length: u8) -> Self {
        let host = u128::MAX.checked_shr(length.into()).unwrap_or(0);
        Self::from_bits(self.to_bits() & !host)
    }
}

/// Values by the longest prefix.
#[derive(Debug, Clone)]
pub(crate) struct Trie<A> {
    root: Arc<Wide<Wide<Narrow>>>,
    of: PhantomData<A>,
}

/// A node's place: which octets lead to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place<A> {
    /// Octets that lead to it.
    depth: u8,
    /// Those octets, then zeros.
    network: A,
}

impl<A: Address> Place<A> {
    /// The node that holds a prefix.
    pub(crate) fn of(network: A, length: u8) -> Self {
        let depth = length.saturating_sub(1) / 8;
        Self { depth, network: network.prefix(8 * depth) }
    }

    /// The lowest address of all prefixes that the node holds.
    pub(crate) fn first(self) -> A {
        self.network
    }

    /// The slots of this node that a prefix of it covers, first and one past the last.
    pub(crate) fn slots(self, network: A, length: u8) -> Range<usize> {
        let octet = network.bytes().as_ref().get(usize::from(self.depth)).copied();
        let first = usize::from(octet.unwrap_or_default());
        let bits = (8 * (self.depth + 1)).saturating_sub(length).min(8);
        first..first + (1 << bits)
    }
}

impl<A> Default for Trie<A> {
    fn default() -> Self {
        Self { root: Arc::new(Wide::empty()), of: PhantomData }
    }
}

impl<A: Address> Trie<A> {
    /// The value of the longest prefix that covers an address.
    #[inline]
    pub(crate) fn lookup(&self, address: A) -> u32 {
        let octets = address.bytes();
        let &[first, second, ref rest @ ..] = octets.as_ref() else { return NONE };
        let slot = &self.root.slots[usize::from(first)];
        let best = slot.value;
        let Some(node) = &slot.child else { return best };

        let slot = &node.slots[usize::from(second)];
        let best = longer(slot.value, best);
        let Some(node) = &slot.child else { return best };
        node.lookup(rest, best)
    }

    /// Has the processor fetch what lookups of these addresses read first: for all of them at once,
    /// level by level, so that they wait for memory together.
    pub(crate) fn expect(&self, addresses: impl Iterator<Item = A> + Clone) {
        let second = |address: A| {
            let octets = address.bytes();
            let &[first, second, ..] = octets.as_ref() else { return None };
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
    pub(crate) fn paint(&mut self, place: Place<A>, slots: &[u32; 256]) {
        let octets = place.network.bytes();
        if let Some(way) = octets.as_ref().get(..usize::from(place.depth)) {
            Arc::make_mut(&mut self.root).paint(way, slots);
        }
    }
}

fn longer(value: u32, best: u32) -> u32 {
    if value == NONE { best } else { value }
}

/// What a node is to the one above it.
trait Node: Clone {
    fn empty() -> Self;
    fn is_empty(&self) -> bool;
    /// `way`: the octets that lead from here to the node that is painted.
    fn paint(&mut self, way: &[u8], slots: &[u32; 256]);
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

    fn paint(&mut self, way: &[u8], slots: &[u32; 256]) {
        let Some((&octet, way)) = way.split_first() else {
            for (slot, value) in self.slots.iter_mut().zip(slots) {
                slot.value = *value;
            }
            return;
        };
        let slot = &mut self.slots[usize::from(octet)];
        let child = slot.child.get_or_insert_with(|| Arc::new(Child::empty()));
        Arc::make_mut(child).paint(way, slots);
        if child.is_empty() {
            slot.child = None;
        }
    }
}

/// A node of the third octet or a later one: few have anything below.
#[derive(Debug, Clone)]
struct Narrow {
    runs: Runs,
    /// By slot, in order.
    below: Vec<(u8, Arc<Self>)>,
}

impl Narrow {
    /// The value of the longest prefix among `best` and those from here on.
    #[inline]
    fn lookup(&self, octets: &[u8], best: u32) -> u32 {
        let (mut node, mut best) = (self, best);
        for &octet in octets {
            best = longer(node.runs.value(octet), best);
            match node.child(octet) {
                Some(child) => node = child,
                None => break,
            }
        }
        best
    }

    #[inline]
    fn child(&self, slot: u8) -> Option<&Self> {
        if self.below.is_empty() {
            return None;
        }
        let index = self.below.binary_search_by_key(&slot, |(slot, _)| *slot).ok()?;
        Some(&self.below[index].1)
    }
}

impl Node for Narrow {
    fn empty() -> Self {
        Self { runs: Runs::of(&[NONE; 256]), below: Vec::new() }
    }

    fn is_empty(&self) -> bool {
        self.below.is_empty() && self.runs.is_empty()
    }

    fn paint(&mut self, way: &[u8], slots: &[u32; 256]) {
        let Some((&octet, way)) = way.split_first() else {
            self.runs = Runs::of(slots);
            return;
        };
        let index = match self.below.binary_search_by_key(&octet, |(slot, _)| *slot) {
            Ok(index) => index,
            Err(index) => {
                // Most have one, and there are many of them.
                if self.below.is_empty() {
                    self.below.reserve_exact(1);
                }
                self.below.insert(index, (octet, Arc::new(Self::empty())));
                index
            }
        };
        let child = &mut self.below[index].1;
        Arc::make_mut(child).paint(way, slots);
        if child.is_empty() {
            self.below.remove(index);
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
