//! Frames in the kernel's hands: which chunks one AF_XDP socket was given and has not returned.
//!
//! The kernel names chunks by byte offsets. An offset counts only if its chunk was lent to that
//! very socket, so no descriptor, however wrong, makes a second handle of a chunk. What a closed
//! socket still had rests in the region until the kernel is surely done with it.

use std::ptr::NonNull;

use super::{CHUNK, CHUNK_SHIFT, Frame, Region};

const WORD: usize = u64::BITS as usize;

/// The chunks that one socket holds, a bit each.
#[derive(Debug)]
pub(crate) struct Lent {
    region: &'static Region,
    chunks: Box<[u64]>,
    count: usize,
}

impl Lent {
    pub(crate) fn new(region: &'static Region) -> Self {
        let words = (region.chunks() as usize).div_ceil(WORD);
        Self { region, chunks: vec![0; words].into(), count: 0 }
    }

    /// Chunks that the socket holds.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Lends a frame: the packet's byte offset in the region, and its length.
    ///
    /// # Errors
    /// Gives back a frame of another region, which this socket's kernel side cannot name.
    pub(crate) fn lend(&mut self, frame: Frame) -> Result<(u64, u32), Frame> {
        if !std::ptr::eq(frame.region, self.region) {
            return Err(frame);
        }
        let offset = (u64::from(frame.place.index()) << CHUNK_SHIFT) | frame.headroom() as u64;
        let len = frame.place.len();
        let index = frame.disown() as usize;
        self.chunks[index / WORD] |= 1 << (index % WORD);
        self.count += 1;
        Ok((offset, u32::from(len)))
    }

    /// Takes a frame back. `None` if `offset` lies in no chunk that is lent; a length that leaves
    /// the chunk makes an empty packet, since the chunk itself is the kernel's to return.
    ///
    /// # Safety
    /// The kernel must just have returned this chunk through a ring of the socket, so that it no
    /// longer writes to it.
    pub(crate) unsafe fn take_back(&mut self, offset: u64, len: u32) -> Option<Frame> {
        let index = u32::try_from(offset >> CHUNK_SHIFT).ok()?;
        let word = self.chunks.get_mut(index as usize / WORD)?;
        let bit = 1 << (index as usize % WORD);
        if *word & bit == 0 {
            return None;
        }
        *word &= !bit;
        self.count -= 1;
        let start = u16::try_from(offset & (CHUNK as u64 - 1)).ok()?;
        let mut frame = Frame::own(self.region, index);
        frame.place = super::Place::new(index, start, 0);
        if !usize::try_from(len).is_ok_and(|len| frame.set_len(len)) {
            frame.truncate(0);
        }
        Some(frame)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let held = |&index: &u32| {
            let index = index as usize;
            self.chunks[index / WORD] & (1 << (index % WORD)) != 0
        };
        self.region.rest((0..self.region.chunks()).filter(held).collect());
    }
}

impl Region {
    /// Start of the mapping, for registering it with the kernel.
    pub(crate) const fn base(&self) -> NonNull<u8> {
        self.base
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::{HEADROOM, Pool};

    #[test]
    fn an_offset_names_the_place_of_the_packet() {
        let region = Region::new(1).unwrap();
        let mut lent = Lent::new(region);
        let mut frame = Pool::new(region, 64).take().unwrap();
        assert!(frame.fill(b"packet"));
        assert!(frame.pull_front(2));
        let (offset, len) = lent.lend(frame).unwrap();
        assert_eq!((offset, len), (HEADROOM as u64 + 2, 4));
        assert_eq!((region.depot().len(), lent.len()), (0, 1));
        // SAFETY: no kernel has the chunk.
        let frame = unsafe { lent.take_back(offset, len) }.unwrap();
        assert_eq!(frame.data(), b"cket");
        assert_eq!(lent.len(), 0);
    }

    #[test]
    fn a_frame_of_another_region_is_refused() {
        let (one, two) = (Region::new(1).unwrap(), Region::new(1).unwrap());
        let mut lent = Lent::new(one);
        assert!(lent.lend(Pool::new(two, 64).take().unwrap()).is_err());
        assert_eq!(lent.len(), 0);
        assert_eq!(two.depot().len(), 1);
    }

    #[test]
    fn what_a_closed_socket_held_rests_before_it_is_free() {
        let region = Region::new(70).unwrap();
        let mut pool = Pool::new(region, 70);
        let mut lent = Lent::new(region);
        for _ in 0..67 {
            lent.lend(pool.take().unwrap()).unwrap();
        }
        drop((lent, pool));
        assert_eq!((region.resting(), region.depot().len()), (67, 3));
        region.wake(std::time::Instant::now());
        assert_eq!(region.resting(), 67);
        region.wake(std::time::Instant::now() + Region::REST);
        assert_eq!((region.resting(), region.depot().len()), (0, 70));
    }

    proptest! {
        // Miri interprets, so it gets few cases.
        #![proptest_config(ProptestConfig {
            cases: if cfg!(miri) { 4 } else { 256 },
            failure_persistence: None,
            ..Default::default()
        })]

        #[test]
        fn no_offset_makes_a_second_handle(
            offsets in proptest::collection::vec(
                (prop_oneof![any::<u64>(), 0..50_000_u64], prop_oneof![any::<u32>(), 0..5_000_u32]),
                1..40,
            ),
        ) {
            let region = Region::new(10).unwrap();
            let mut pool = Pool::new(region, 64);
            let mut lent = Lent::new(region);
            let mut held = std::collections::HashSet::new();
            for _ in 0..7 {
                let (offset, _) = lent.lend(pool.take().unwrap()).unwrap();
                held.insert(offset >> CHUNK_SHIFT);
            }
            let mut back = Vec::new();
            for (offset, len) in offsets {
                // SAFETY: no kernel has the chunks.
                let frame = unsafe { lent.take_back(offset, len) };
                prop_assert_eq!(frame.is_some(), held.remove(&(offset >> CHUNK_SHIFT)));
                if let Some(frame) = frame {
                    prop_assert_eq!(frame.headroom() + frame.len() + frame.tailroom(), CHUNK);
                    prop_assert!(frame.data().iter().all(|&byte| byte == 0));
                    back.push(frame);
                }
            }
            prop_assert_eq!(region.depot().len() + pool.len() + lent.len() + back.len(), 10);
        }
    }
}
