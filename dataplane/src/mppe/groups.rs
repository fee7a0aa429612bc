//! The tunnels of a burst: a small map from slot to what the burst does with the tunnel.
//!
//! Implements no RFC section. Forgets all between two bursts and allocates only while it grows.

/// Where in its last burst a tunnel's entry stood. A hint that its state keeps, which proves nothing:
/// the entry there says whether it is the tunnel's (the sparse set of Briggs and Torczon), so nobody
/// has to take a mark back, and a state that was saved or never used may have any.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mark(u32);

/// Entries in order of first appearance.
#[derive(Debug)]
pub(super) struct Groups<G> {
    entries: Vec<(u32, G)>,
}

impl<G> Default for Groups<G> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

impl<G> Groups<G> {
    /// Forgets all.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Where the entry of `slot` stands, whose state has `mark`. A new one comes from `make`.
    #[inline]
    pub fn place(&mut self, slot: u32, mark: &mut Mark, make: impl FnOnce() -> G) -> usize {
        let marked = mark.0 as usize;
        match self.entries.get(marked) {
            Some((of, _)) if *of == slot => marked,
            _ => {
                let index = self.entries.len();
                self.entries.push((slot, make()));
                // No burst has more entries than that.
                *mark = Mark(u32::try_from(index).unwrap_or(u32::MAX));
                index
            }
        }
    }

    /// The entry at an index that [`Self::place`] returned.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&(u32, G)> {
        self.entries.get(index)
    }

    #[inline]
    pub fn get_mut(&mut self, index: usize) -> Option<&mut G> {
        self.entries.get_mut(index).map(|(_, group)| group)
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut G)> {
        self.entries.iter_mut().map(|(slot, group)| (*slot, group))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_marks_are_each_slot_has_one_entry() {
        let mut groups = Groups::default();
        for round in 0..3 {
            let mut marks = [Mark(0), Mark(7), Mark(1), Mark(u32::MAX), Mark(2)];
            for _ in 0..2 {
                for (slot, mark) in (10..).zip(&mut marks) {
                    let place = groups.place(slot, mark, || slot + round);
                    assert_eq!(groups.get(place), Some(&(slot, slot + round)));
                }
            }
            assert_eq!(groups.iter_mut().count(), 5);
            groups.clear();
        }
    }
}
