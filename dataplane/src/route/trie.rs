//! Longest prefix match over IPv4 prefixes of which parts are shared: a copy costs one pointer, and
//! a change to a copy costs the nodes on its way, never the whole.
//!
//! One node per octet of the address, so a lookup reads at most four. A node knows, for each of its
//! 256 slots, the value of the longest of its own prefixes, as runs of equal values found by
//! counting bits. Never knows what a value means, nor which prefixes made it: the writer paints
//! whole nodes.

use std::sync::Arc;

/// No value.
pub(crate) const NONE: u32 = u32::MAX;

/// Values by the longest prefix.
#[derive(Debug, Clone)]
pub(crate) struct Trie {
    root: Arc<Node>,
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
        Self { root: Arc::new(Node::empty()) }
    }
}

impl Trie {
    /// The value of the longest prefix that covers an address.
    #[inline]
    pub(crate) fn lookup(&self, address: u32) -> u32 {
        let mut node = &*self.root;
        let mut best = NONE;
        for octet in address.to_be_bytes() {
            let value = node.value(octet);
            if value != NONE {
                best = value;
            }
            match node.child(octet) {
                Some(child) => node = child,
                None => break,
            }
        }
        best
    }

    /// Sets the values of a node's own prefixes, slot by slot. Nodes that say nothing vanish.
    pub(crate) fn paint(&mut self, place: Place, slots: &[u32; 256]) {
        paint(&mut self.root, 0, place, slots);
    }
}

fn paint(node: &mut Arc<Node>, depth: u8, place: Place, slots: &[u32; 256]) {
    let node = Arc::make_mut(node);
    if depth == place.depth {
        node.set_values(slots);
        return;
    }
    let slot = octet(place.network, depth);
    let index = node.children.rank(slot);
    if !node.children.contains(slot) {
        node.children.set(slot, true);
        node.below.insert(index, Arc::new(Node::empty()));
    }
    paint(&mut node.below[index], depth + 1, place, slots);
    if node.below[index].is_empty() {
        node.children.set(slot, false);
        node.below.remove(index);
    }
}

fn octet(address: u32, depth: u8) -> u8 {
    address.to_be_bytes()[usize::from(depth)]
}

#[derive(Debug, Clone)]
struct Node {
    /// Slots with a node below.
    children: Slots,
    /// Slots where a run of equal values begins. Slot 0 always does.
    starts: Slots,
    below: Vec<Arc<Node>>,
    values: Vec<u32>,
}

impl Node {
    fn empty() -> Self {
        let mut starts = Slots::default();
        starts.set(0, true);
        Self { children: Slots::default(), starts, below: Vec::new(), values: vec![NONE] }
    }

    fn is_empty(&self) -> bool {
        self.below.is_empty() && self.values == [NONE]
    }

    #[inline]
    fn value(&self, slot: u8) -> u32 {
        // The run that covers the slot is the last one that begins at or before it.
        let run = self.starts.rank(slot) + usize::from(self.starts.contains(slot)) - 1;
        self.values[run]
    }

    #[inline]
    fn child(&self, slot: u8) -> Option<&Self> {
        self.children.contains(slot).then(|| &*self.below[self.children.rank(slot)])
    }

    fn set_values(&mut self, slots: &[u32; 256]) {
        self.starts = Slots::default();
        self.values.clear();
        for (slot, &value) in (0..=u8::MAX).zip(slots) {
            if slot == 0 || self.values.last() != Some(&value) {
                self.starts.set(slot, true);
                self.values.push(value);
            }
        }
        self.values.shrink_to_fit();
    }
}

/// A set of slots that tells how many of it lie before a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Slots([u64; 4]);

impl Slots {
    #[inline]
    fn contains(&self, slot: u8) -> bool {
        self.0[usize::from(slot >> 6)] >> (slot & 63) & 1 == 1
    }

    fn set(&mut self, slot: u8, present: bool) {
        let word = &mut self.0[usize::from(slot >> 6)];
        let bit = 1 << (slot & 63);
        *word = if present { *word | bit } else { *word & !bit };
    }

    /// Members before this slot.
    #[inline]
    fn rank(&self, slot: u8) -> usize {
        let word = usize::from(slot >> 6);
        let before: u32 = self.0[..word].iter().map(|word| word.count_ones()).sum();
        let inside = self.0[word] & ((1 << (slot & 63)) - 1);
        (before + inside.count_ones()) as usize
    }
}
