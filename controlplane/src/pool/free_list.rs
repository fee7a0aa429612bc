//! A queue of free indexes from which any member can be taken in constant time.
//!
//! A doubly linked list in two arrays, allocated once. Never holds an index twice.

/// No neighbour: an end of the list.
const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Node {
    previous: u32,
    next: u32,
    free: bool,
}

/// Indexes below a fixed number, those that are free in the order in which they became so.
#[derive(Debug)]
pub(super) struct FreeList {
    nodes: Vec<Node>,
    head: u32,
    tail: u32,
    len: usize,
}

impl FreeList {
    /// All indexes below `size`, in order.
    pub(super) fn full(size: usize) -> Self {
        let node = Node { previous: NONE, next: NONE, free: false };
        let mut list = Self { nodes: vec![node; size], head: NONE, tail: NONE, len: 0 };
        for index in (0..NONE).take(size) {
            list.push_back(index);
        }
        list
    }

    /// How many are free.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Takes the index that has been free for longest.
    pub(super) fn pop_front(&mut self) -> Option<u32> {
        let index = self.head;
        self.remove(index).then_some(index)
    }

    /// Takes this index. `false` if it is not free.
    pub(super) fn remove(&mut self, index: u32) -> bool {
        let Some(node) = self.nodes.get_mut(index as usize).filter(|node| node.free) else {
            return false;
        };
        node.free = false;
        let Node { previous, next, .. } = *node;
        match self.nodes.get_mut(previous as usize) {
            Some(neighbour) => neighbour.next = next,
            None => self.head = next,
        }
        match self.nodes.get_mut(next as usize) {
            Some(neighbour) => neighbour.previous = previous,
            None => self.tail = previous,
        }
        self.len -= 1;
        true
    }

    /// Makes this index the one that became free last. Nothing happens if it was free already.
    pub(super) fn push_back(&mut self, index: u32) {
        let Some(node) = self.nodes.get_mut(index as usize).filter(|node| !node.free) else {
            return;
        };
        *node = Node { previous: self.tail, next: NONE, free: true };
        match self.nodes.get_mut(self.tail as usize) {
            Some(neighbour) => neighbour.next = index,
            None => self.head = index,
        }
        self.tail = index;
        self.len += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The list against a queue that is obviously right.
        #[test]
        fn it_behaves_as_a_queue(
            size in 0_usize..9,
            steps in prop::collection::vec((0_u8..3, 0_u32..10), 0..60),
        ) {
            let mut list = FreeList::full(size);
            let mut model: VecDeque<u32> = (0..).take(size).collect();
            for (step, index) in steps {
                match step {
                    0 => prop_assert_eq!(list.pop_front(), model.pop_front()),
                    1 => {
                        let place = model.iter().position(|known| *known == index);
                        prop_assert_eq!(list.remove(index), place.is_some());
                        place.map(|place| model.remove(place));
                    }
                    _ => {
                        list.push_back(index);
                        if (index as usize) < size && !model.contains(&index) {
                            model.push_back(index);
                        }
                    }
                }
                prop_assert_eq!(list.len(), model.len());
            }
            while let Some(index) = model.pop_front() {
                prop_assert_eq!(list.pop_front(), Some(index));
            }
            prop_assert_eq!(list.pop_front(), None);
        }
    }
}
