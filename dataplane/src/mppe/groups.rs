//! The tunnels of a burst: a small map from slot to what the burst does with the tunnel.
//!
//! Implements no RFC section. Forgets all between two bursts and allocates only while it grows.

/// Entries in order of first appearance, found by an open-addressed table.
#[derive(Debug)]
pub(super) struct Groups<G> {
    entries: Vec<(u32, G)>,
    /// Index into `entries` plus one, 0 for an empty place. A power of two long, at most half
    /// full.
    table: Vec<u32>,
}

impl<G> Default for Groups<G> {
    fn default() -> Self {
        Self { entries: Vec::new(), table: Vec::new() }
    }
}

impl<G> Groups<G> {
    /// Forgets all and makes room for the tunnels of `packets` packets.
    pub fn start(&mut self, packets: usize) {
        self.entries.clear();
        self.table.clear();
        self.table.resize((2 * packets).next_power_of_two().max(2), 0);
    }

    pub fn clear(&mut self) {
        self.entries.clear();
        self.table.clear();
    }

    /// The entry of `slot` and its index. A new one comes from `make`; there is none if `make` gives
    /// none.
    #[inline]
    pub fn find_or_insert_with(
        &mut self,
        slot: u32,
        make: impl FnOnce() -> Option<G>,
    ) -> Option<(usize, &mut G)> {
        let place = self.place(slot)?;
        let index = match self.table[place] {
            0 => {
                self.entries.push((slot, make()?));
                self.table[place] = u32::try_from(self.entries.len()).ok()?;
                self.entries.len() - 1
            }
            number => number as usize - 1,
        };
        self.entries.get_mut(index).map(|(_, group)| (index, group))
    }

    /// The entry of an index that [`Self::find_or_insert_with`] returned since the start.
    #[inline]
    pub fn get_mut(&mut self, index: usize) -> Option<&mut G> {
        self.entries.get_mut(index).map(|(_, group)| group)
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut G)> {
        self.entries.iter_mut().map(|(slot, group)| (*slot, group))
    }

    /// Where in the table `slot` stands, or the empty place where it would.
    #[inline]
    fn place(&self, slot: u32) -> Option<usize> {
        let mask = self.table.len().checked_sub(1)?;
        // Fibonacci hashing: slots are small consecutive numbers.
        let mut place = (slot.wrapping_mul(0x9E37_79B9) >> 16) as usize & mask;
        loop {
            match (self.table[place] as usize).checked_sub(1) {
                Some(index) if self.entries[index].0 != slot => place = (place + 1) & mask,
                _ => return Some(place),
            }
        }
    }
}
