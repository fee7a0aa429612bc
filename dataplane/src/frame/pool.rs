//! A worker's own stock of free frames, evened out through the region's depot.
//!
//! Taking and putting touch no shared memory but once per batch. A pool never keeps more than its
//! limit, so one worker cannot hoard what others' fill rings need.

use super::depot::BATCH;
use super::{Frame, Region};

/// Free frames of one worker. Dropping it returns them to the depot.
#[derive(Debug)]
pub struct Pool {
    region: &'static Region,
    free: Vec<u32>,
    limit: usize,
}

impl Pool {
    /// An empty pool that keeps up to `limit` frames (at least two batches of 32) and takes more
    /// from the region's depot when it runs dry.
    #[must_use]
    pub fn new(region: &'static Region, limit: usize) -> Self {
        let limit = limit.max(2 * BATCH);
        Self { region, free: Vec::with_capacity(limit + BATCH), limit }
    }

    /// The region that the frames come from.
    #[must_use]
    pub fn region(&self) -> &'static Region {
        self.region
    }

    /// Frames in stock here, without the depot's.
    #[must_use]
    pub fn len(&self) -> usize {
        self.free.len()
    }

    /// Whether nothing is in stock here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.free.is_empty()
    }

    /// An empty frame that starts at [`HEADROOM`](super::HEADROOM). `None` when the region has no
    /// free frame at all.
    #[inline]
    pub fn take(&mut self) -> Option<Frame> {
        if self.free.is_empty() {
            self.refill();
        }
        self.free.pop().map(|index| Frame::own(self.region, index))
    }

    /// Puts a frame back. One of another region goes home to that region's depot.
    #[inline]
    pub fn put(&mut self, frame: Frame) {
        if !std::ptr::eq(frame.region(), self.region) {
            return;
        }
        self.free.push(frame.disown());
        if self.free.len() > self.limit {
            self.shed();
        }
    }

    /// Puts back all of `frames`.
    pub fn put_all(&mut self, frames: &mut Vec<Frame>) {
        for frame in frames.drain(..) {
            self.put(frame);
        }
    }

    #[cold]
    fn refill(&mut self) {
        let depot = self.region.depot();
        match depot.take_batch() {
            Some(batch) => self.free.extend_from_slice(&batch),
            None => {
                self.free.extend(std::iter::from_fn(|| depot.take()).take(BATCH));
            }
        }
    }

    #[cold]
    fn shed(&mut self) {
        let rest = self.free.len() - BATCH;
        if let Some(batch) = self.free.get(rest..).and_then(|tail| tail.try_into().ok()) {
            self.region.depot().put_batch(batch);
            self.free.truncate(rest);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for index in self.free.drain(..) {
            self.region.depot().put(index);
        }
    }
}
