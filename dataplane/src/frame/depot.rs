//! The depot: free chunks that belong to no worker, shared by all without a lock.
//!
//! Pools exchange whole batches with it, so that a worker whose ports mostly send pays one queue
//! operation per [`BATCH`] frames to feed one whose ports mostly receive. It never blocks and
//! never runs full: it has a place for every chunk of its region.

use crossbeam::queue::ArrayQueue;

/// Frames that cross between a pool and the depot in one operation.
pub(super) const BATCH: usize = 32;

/// A full batch of chunk numbers.
pub(super) type Batch = [u32; BATCH];

/// Free chunks of a region: full batches, and single ones that were dropped outside of a pool.
#[derive(Debug)]
pub struct Depot {
    batches: ArrayQueue<Batch>,
    singles: ArrayQueue<u32>,
}

impl Depot {
    /// A depot that holds the chunks 0 to `chunks` − 1.
    pub(super) fn new(chunks: u32) -> Self {
        let total = chunks as usize;
        let depot = Self {
            batches: ArrayQueue::new(total.div_ceil(BATCH)),
            singles: ArrayQueue::new(total),
        };
        let mut batch = [0; BATCH];
        for index in 0..chunks {
            batch[index as usize % BATCH] = index;
            if index as usize % BATCH == BATCH - 1 {
                depot.put_batch(batch);
            }
        }
        for index in (0..chunks).skip(total - total % BATCH) {
            depot.put(index);
        }
        depot
    }

    /// Chunks that are here now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.batches.len() * BATCH + self.singles.len()
    }

    /// Whether no chunk is here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn put(&self, index: u32) {
        // There is a place for every chunk and each is owned once: the queue cannot be full.
        let refused = self.singles.push(index);
        debug_assert!(refused.is_ok(), "more chunks came back than the region has");
    }

    pub(super) fn put_batch(&self, batch: Batch) {
        let refused = self.batches.push(batch);
        debug_assert!(refused.is_ok(), "more chunks came back than the region has");
    }

    pub(super) fn take(&self) -> Option<u32> {
        self.singles.pop()
    }

    pub(super) fn take_batch(&self) -> Option<Batch> {
        self.batches.pop()
    }
}
