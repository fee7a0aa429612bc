//! Frames: chunks of one mapped region, each with exactly one owner at any time.
//!
//! A [`Frame`] is an owned handle; moving it is moving the packet, so a packet goes from port to
//! worker to port without a copy. A frame is never lost: one that is dropped goes back to its
//! region's [`Depot`], so that the chunks in pools, rings, ports and the depot always sum to
//! [`Region::chunks`]. All unsafe code about packet memory is here; nothing here does I/O.

mod depot;
mod lent;
mod pool;
mod region;
#[cfg(test)]
mod tests;

pub use depot::Depot;
pub(crate) use lent::Lent;
pub use pool::Pool;
pub use region::{Region, RegionError};

use std::fmt;

use crate::prefetch::prefetch_line;

/// Size of a chunk, bytes: one page, so that a chunk never crosses one (AF_XDP's aligned mode).
pub const CHUNK: usize = 4096;

/// What AF_XDP is told to leave free before its own headroom, bytes.
pub const UMEM_HEADROOM: u16 = 128;

/// Bytes before a packet as drivers hand it over: [`UMEM_HEADROOM`] and the 256 bytes that XDP
/// keeps for itself (`XDP_PACKET_HEADROOM`), which are free again once the packet is ours.
pub const HEADROOM: usize = START as usize;

/// The longest packet that a frame holds behind [`HEADROOM`], bytes.
pub const CAPACITY: usize = CHUNK - HEADROOM;

/// [`HEADROOM`] as frames keep it.
const START: u16 = UMEM_HEADROOM + 256;

const CHUNK_SHIFT: u32 = CHUNK.trailing_zeros();

/// One chunk and the packet in it. Whoever has the frame has the chunk.
///
/// Two machine words, so that frames are moved in registers. As a struct of more fields they are
/// moved as one piece of memory, and each move behind a change of a field waits until the
/// processor has written out all that was stored before: packets that are in no cache yet.
pub struct Frame {
    region: &'static Region,
    place: Place,
}

/// Where in the region the packet starts, and how long it is, in one word, so that one shift leads to
/// its first byte. The upper bits of the start are the chunk's number: no packet starts at the end of
/// its chunk, which is the next one's beginning; one that is emptied stays where it starts.
#[derive(Clone, Copy)]
struct Place(u64);

impl Place {
    const LEN: u64 = 0xFFFF;
    const OFFSET_SHIFT: u32 = 16;
    const INDEX_SHIFT: u32 = Self::OFFSET_SHIFT + CHUNK_SHIFT;

    /// `start` is less than [`CHUNK`].
    const fn new(index: u32, start: u16, len: u16) -> Self {
        let (index, start) = (index as u64, start as u64);
        Self(index << Self::INDEX_SHIFT | start << Self::OFFSET_SHIFT | len as u64)
    }

    #[expect(clippy::cast_possible_truncation, reason = "a region has fewer than 2^31 chunks")]
    const fn index(self) -> u32 {
        (self.0 >> Self::INDEX_SHIFT) as u32
    }

    /// Bytes of the region before the packet.
    const fn offset(self) -> usize {
        (self.0 >> Self::OFFSET_SHIFT) as usize
    }

    /// Bytes of the chunk before the packet.
    const fn start(self) -> usize {
        self.offset() & (CHUNK - 1)
    }

    const fn len(self) -> u16 {
        (self.0 & Self::LEN) as u16
    }

    /// With `n` octets fewer at the front. The packet has more.
    const fn forward(self, n: usize) -> Self {
        Self(self.0 + ((n as u64) << Self::OFFSET_SHIFT) - n as u64)
    }

    /// With `n` octets more at the front. There is as much headroom.
    const fn back(self, n: usize) -> Self {
        Self(self.0 - ((n as u64) << Self::OFFSET_SHIFT) + n as u64)
    }

    /// With the packet's end elsewhere. `len` is at most [`CHUNK`].
    const fn with_len(self, len: usize) -> Self {
        Self(self.0 & !Self::LEN | len as u64)
    }
}

impl Frame {
    /// The handle of chunk `index`, empty, starting at [`HEADROOM`]. `index` must come from a
    /// place that owned it: the depot, a pool, or a descriptor that the kernel gave back.
    const fn own(region: &'static Region, index: u32) -> Self {
        Self { region, place: Place::new(index, START, 0) }
    }

    /// Gives up the handle, not the chunk: the caller now owns `index`.
    const fn disown(self) -> u32 {
        let index = self.place.index();
        std::mem::forget(self);
        index
    }

    /// The byte of the chunk in which the packet starts.
    #[inline]
    fn first(&self) -> *mut u8 {
        debug_assert!(self.place.index() < self.region.chunks(), "a chunk of its region");
        self.region.base.as_ptr().wrapping_add(self.place.offset())
    }

    /// Length of the packet, bytes.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.place.len())
    }

    /// Whether the packet has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.place.len() == 0
    }

    /// Free bytes before the packet.
    #[must_use]
    #[inline]
    pub fn headroom(&self) -> usize {
        self.place.start()
    }

    /// Free bytes behind the packet.
    #[must_use]
    pub fn tailroom(&self) -> usize {
        CHUNK - self.headroom() - self.len()
    }

    /// The packet.
    #[must_use]
    #[inline]
    pub fn data(&self) -> &[u8] {
        let first = self.first();
        // SAFETY: `start + len <= CHUNK` holds for every frame, so the range lies in this chunk,
        // which is mapped for ever and was zeroed by the kernel. This frame is the chunk's only
        // owner, so nobody writes to it while it is borrowed.
        unsafe { std::slice::from_raw_parts(first, self.len()) }
    }

    /// The packet, to be changed in place.
    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        let first = self.first();
        // SAFETY: as in `data`; the only owner is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(first, self.len()) }
    }

    /// Puts `n` bytes before the packet and returns them; they hold what was there before.
    /// `None`, and no change, without that much headroom.
    #[inline]
    pub fn push_front(&mut self, n: usize) -> Option<&mut [u8]> {
        if n > self.headroom() {
            return None;
        }
        self.place = self.place.back(n);
        self.data_mut().get_mut(..n)
    }

    /// Puts these bytes before the packet. `false`, and no change, without that much headroom.
    #[inline]
    #[must_use]
    pub fn push_front_array<const N: usize>(&mut self, bytes: &[u8; N]) -> bool {
        if N > self.headroom() {
            return false;
        }
        self.place = self.place.back(N);
        // SAFETY: the packet has N bytes, as many were just put before it in the same chunk. This frame
        // is the chunk's only owner, and bytes may lie anywhere.
        unsafe { self.first().cast::<[u8; N]>().write(*bytes) };
        true
    }

    /// Takes `n` bytes off the front of the packet. `false`, and no change, if it is shorter. A packet
    /// of `n` bytes is empty then, where it was.
    #[inline]
    #[must_use]
    pub fn pull_front(&mut self, n: usize) -> bool {
        if n >= self.len() {
            let empties = n == self.len();
            if empties {
                self.truncate(0);
            }
            return empties;
        }
        self.place = self.place.forward(n);
        true
    }

    /// Keeps `len` bytes of the packet, from `start` on. `false`, and no change, if it has fewer, or
    /// none from there on.
    #[inline]
    #[must_use]
    pub fn crop(&mut self, start: usize, len: usize) -> bool {
        let fits = start < self.len() && len <= self.len() - start;
        if fits {
            self.place = self.place.forward(start).with_len(len);
        }
        fits
    }

    /// Cuts the packet to `len` bytes; a shorter one stays as it is.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        if len < self.len() {
            self.place = self.place.with_len(len);
        }
    }

    /// Makes the packet `len` bytes long; bytes that this adds hold what was there before.
    /// `false`, and no change, if the chunk has no room for it.
    #[inline]
    #[must_use]
    pub fn set_len(&mut self, len: usize) -> bool {
        let fits = len <= CHUNK - self.headroom();
        if fits {
            self.place = self.place.with_len(len);
        }
        fits
    }

    /// Empties the frame and moves its start back to [`HEADROOM`].
    #[inline]
    pub fn reset(&mut self) {
        self.place = Place::new(self.place.index(), START, 0);
    }

    /// Replaces the packet by `bytes`, behind [`HEADROOM`]. `false`, and an empty frame, if they
    /// are more than [`CAPACITY`].
    #[inline]
    #[must_use]
    pub fn fill(&mut self, bytes: &[u8]) -> bool {
        self.reset();
        let fits = self.set_len(bytes.len());
        if fits {
            self.data_mut().copy_from_slice(bytes);
        }
        fits
    }

    /// Asks the processor to load the cache lines in which the packet starts: those of its headers.
    #[inline]
    pub fn prefetch(&self) {
        let first = self.first();
        prefetch_line(first);
        prefetch_line(first.wrapping_add(64));
    }

    /// Asks the processor to load the cache line before the packet, where headers will be written.
    #[inline]
    pub(crate) fn prefetch_headroom(&self) {
        prefetch_line(self.first().wrapping_sub(64));
    }

    /// The region that the chunk belongs to.
    #[must_use]
    pub fn region(&self) -> &'static Region {
        self.region
    }
}

impl AsRef<[u8]> for Frame {
    fn as_ref(&self) -> &[u8] {
        self.data()
    }
}

impl Drop for Frame {
    /// Returns the chunk to the region's depot. Workers give frames back to their pool, which is
    /// cheaper; this is the net below them.
    fn drop(&mut self) {
        self.region.depot().put(self.place.index());
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("index", &self.place.index())
            .field("start", &self.place.start())
            .field("len", &self.place.len())
            .finish()
    }
}
