//! The rings that AF_XDP shares with the kernel: one side produces, the other consumes.
//!
//! Cursors run freely through 32 bits and are masked to find an entry, as the kernel's do
//! (net/xdp/xsk_queue.h). What the other side writes is a hint that is clamped, never trusted.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// Our side's view of a ring of which we fill the entries.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProducerCursor {
    size: u32,
    next: u32,
    done: u32,
}

impl ProducerCursor {
    /// A cursor of a ring with `size` entries, a power of two, which stands at `at`.
    pub(super) const fn new(size: u32, at: u32) -> Self {
        Self { size, next: at, done: at }
    }

    /// Notes how far the consumer got. A position that it cannot have reached changes nothing.
    pub(super) fn observe(&mut self, consumer: u32) {
        if self.next.wrapping_sub(consumer) <= self.pending() {
            self.done = consumer;
        }
    }

    /// Entries that were produced and, as far as known, not consumed.
    pub(super) const fn pending(&self) -> u32 {
        self.next.wrapping_sub(self.done)
    }

    /// The next entry to write. `None` while the ring is full, as far as known.
    pub(super) fn claim(&mut self) -> Option<usize> {
        (self.pending() < self.size).then(|| {
            let entry = self.next & (self.size - 1);
            self.next = self.next.wrapping_add(1);
            entry as usize
        })
    }
}

/// Our side's view of a ring of which the kernel fills the entries.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConsumerCursor {
    size: u32,
    next: u32,
    filled: u32,
}

impl ConsumerCursor {
    /// A cursor of a ring with `size` entries, a power of two, which stands at `at`.
    pub(super) const fn new(size: u32, at: u32) -> Self {
        Self { size, next: at, filled: at }
    }

    /// Notes how far the producer got. More than a ring ahead of us it cannot be.
    pub(super) fn observe(&mut self, producer: u32) {
        if producer.wrapping_sub(self.next) <= self.size {
            self.filled = producer;
        }
    }

    /// The next entry to read. `None` when there is none, as far as known.
    pub(super) fn claim(&mut self) -> Option<usize> {
        (self.next != self.filled).then(|| {
            let entry = self.next & (self.size - 1);
            self.next = self.next.wrapping_add(1);
            entry as usize
        })
    }
}

/// Where a ring lies in memory. The memory stays mapped as long as the ring that has this.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout<T> {
    pub(super) producer: NonNull<AtomicU32>,
    pub(super) consumer: NonNull<AtomicU32>,
    pub(super) flags: NonNull<AtomicU32>,
    pub(super) entries: NonNull<T>,
    pub(super) size: u32,
}

impl<T: Copy> Layout<T> {
    fn producer(&self) -> &AtomicU32 {
        // SAFETY: by `Layout::from`'s contract the word is mapped, aligned and only used atomically.
        unsafe { self.producer.as_ref() }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as in `producer`.
        unsafe { self.consumer.as_ref() }
    }

    fn needs_wakeup(&self) -> bool {
        // SAFETY: as in `producer`.
        let flags = unsafe { self.flags.as_ref() };
        flags.load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }
}

/// A ring that we fill: fill ring, transmit ring.
#[derive(Debug)]
pub(super) struct ProducerRing<T, M> {
    cursor: ProducerCursor,
    layout: Layout<T>,
    _memory: M,
}

// SAFETY: the ring owns its side of shared memory that is not tied to a thread; entries are plain
// numbers.
unsafe impl<T: Copy + Send, M: Send> Send for ProducerRing<T, M> {}

impl<T: Copy, M> ProducerRing<T, M> {
    /// A ring over `layout`.
    ///
    /// # Safety
    /// The pointers of `layout` must be aligned and valid, `entries` for `size` of them, for as
    /// long as `memory` lives; `size` is a power of two; nobody else produces.
    pub(super) unsafe fn new(layout: Layout<T>, memory: M) -> Self {
        let at = layout.producer().load(Ordering::Relaxed);
        Self { cursor: ProducerCursor::new(layout.size, at), layout, _memory: memory }
    }

    /// Writes an entry, which the consumer sees after [`Self::publish`]. `false` if the ring is
    /// full.
    #[inline]
    pub(super) fn push(&mut self, entry: T) -> bool {
        let place = match self.cursor.claim() {
            Some(place) => place,
            None => {
                self.pending();
                match self.cursor.claim() {
                    Some(place) => place,
                    None => return false,
                }
            }
        };
        // SAFETY: the cursor gives places below `size`, within the entries.
        let entry_at = unsafe { self.layout.entries.add(place) };
        // SAFETY: the consumer is done with this place and does not look at it before `publish`.
        unsafe { entry_at.write(entry) };
        true
    }

    /// Shows the consumer what was pushed.
    #[inline]
    pub(super) fn publish(&self) {
        self.layout.producer().store(self.cursor.next, Ordering::Release);
    }

    /// Entries that the consumer has not taken yet.
    #[inline]
    pub(super) fn pending(&mut self) -> u32 {
        self.cursor.observe(self.layout.consumer().load(Ordering::Acquire));
        self.cursor.pending()
    }

    /// The entries that the consumer has not taken yet.
    pub(super) fn waiting(&mut self) -> impl Iterator<Item = T> {
        let (count, size) = (self.pending(), self.layout.size);
        let first = self.cursor.next.wrapping_sub(count);
        (0..count).map(move |at| {
            let place = first.wrapping_add(at) & (size - 1);
            // SAFETY: the mask keeps the place below `size`, within the entries.
            let entry_at = unsafe { self.layout.entries.add(place as usize) };
            // SAFETY: we wrote this place, and the consumer only reads it.
            unsafe { entry_at.read() }
        })
    }

    /// Whether the kernel wants a system call before it goes on with this ring.
    pub(super) fn needs_wakeup(&self) -> bool {
        self.layout.needs_wakeup()
    }
}

/// A ring that the kernel fills: receive ring, completion ring.
#[derive(Debug)]
pub(super) struct ConsumerRing<T, M> {
    cursor: ConsumerCursor,
    layout: Layout<T>,
    _memory: M,
}

// SAFETY: as for `ProducerRing`.
unsafe impl<T: Copy + Send, M: Send> Send for ConsumerRing<T, M> {}

impl<T: Copy, M> ConsumerRing<T, M> {
    /// A ring over `layout`.
    ///
    /// # Safety
    /// As for [`ProducerRing::new`]; nobody else consumes.
    pub(super) unsafe fn new(layout: Layout<T>, memory: M) -> Self {
        let at = layout.consumer().load(Ordering::Relaxed);
        Self { cursor: ConsumerCursor::new(layout.size, at), layout, _memory: memory }
    }

    /// Looks how far the producer got.
    #[inline]
    pub(super) fn look(&mut self) {
        self.cursor.observe(self.layout.producer().load(Ordering::Acquire));
    }

    /// Reads the next entry that the last [`Self::look`] saw.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<T> {
        let place = self.cursor.claim()?;
        // SAFETY: the cursor gives places below `size`, within the entries.
        let entry_at = unsafe { self.layout.entries.add(place) };
        // SAFETY: the producer has filled this place and leaves it alone until `release`.
        Some(unsafe { entry_at.read() })
    }

    /// Gives the places of what was popped back to the producer.
    #[inline]
    pub(super) fn release(&self) {
        self.layout.consumer().store(self.cursor.next, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    /// A ring in plain memory: what the kernel maps.
    struct Shared {
        words: [AtomicU32; 3],
        entries: Box<[std::cell::UnsafeCell<u64>]>,
    }

    // SAFETY: entries are only touched by the two rings, which agree by the cursors on who may.
    unsafe impl Sync for Shared {}

    impl Shared {
        fn new(size: u32, at: u32) -> Arc<Self> {
            Arc::new(Self {
                words: [AtomicU32::new(at), AtomicU32::new(at), AtomicU32::new(0)],
                entries: (0..size).map(|_| std::cell::UnsafeCell::new(0)).collect(),
            })
        }

        fn ends(self: &Arc<Self>) -> (ProducerRing<u64, Arc<Self>>, ConsumerRing<u64, Arc<Self>>) {
            let layout = Layout {
                producer: NonNull::from(&self.words[0]),
                consumer: NonNull::from(&self.words[1]),
                flags: NonNull::from(&self.words[2]),
                entries: NonNull::new(self.entries.as_ptr().cast_mut().cast()).unwrap(),
                size: u32::try_from(self.entries.len()).unwrap(),
            };
            // SAFETY: the Arc keeps the words and entries alive; one producer is made.
            let producer = unsafe { ProducerRing::new(layout, Arc::clone(self)) };
            // SAFETY: as above, one consumer.
            let consumer = unsafe { ConsumerRing::new(layout, Arc::clone(self)) };
            (producer, consumer)
        }
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Push(usize),
        Publish,
        Look,
        Pop(usize),
        Release,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (1..12_usize).prop_map(Step::Push),
            Just(Step::Publish),
            Just(Step::Look),
            (1..12_usize).prop_map(Step::Pop),
            Just(Step::Release),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        /// Two queues are the oracle: what is written but not shown, and what is shown.
        #[test]
        fn two_ends_behave_like_a_bounded_queue(
            power in 0..5_u32,
            at in prop_oneof![Just(0), any::<u32>(), u32::MAX - 20..=u32::MAX],
            steps in proptest::collection::vec(step(), 1..200),
        ) {
            let size = 1 << power;
            let (mut producer, mut consumer) = Shared::new(size, at).ends();
            let (mut written, mut shown, mut seen) = (VecDeque::new(), VecDeque::new(), 0_usize);
            let (mut popped, mut mark) = (0_usize, 0_u64);
            for step in steps {
                match step {
                    Step::Push(count) => for _ in 0..count {
                        let room = written.len() + shown.len() + popped < size as usize;
                        mark += 1;
                        prop_assert_eq!(producer.push(mark), room);
                        if room {
                            written.push_back(mark);
                        }
                    },
                    Step::Publish => {
                        producer.publish();
                        shown.append(&mut written);
                    }
                    Step::Look => {
                        consumer.look();
                        seen = shown.len();
                    }
                    Step::Pop(count) => for _ in 0..count {
                        let expected = if seen > 0 { shown.pop_front() } else { None };
                        prop_assert_eq!(consumer.pop(), expected);
                        if expected.is_some() {
                            seen -= 1;
                            popped += 1;
                        }
                    },
                    Step::Release => {
                        consumer.release();
                        popped = 0;
                    }
                }
                prop_assert_eq!(producer.pending() as usize, written.len() + shown.len() + popped);
            }
        }

        #[test]
        fn a_cursor_believes_no_impossible_position(
            at in any::<u32>(),
            claims in 0..20_u32,
            told in any::<u32>(),
        ) {
            let mut producer = ProducerCursor::new(16, at);
            let claimed = (0..claims).filter_map(|_| producer.claim()).count();
            producer.observe(told);
            prop_assert!(producer.pending() as usize <= claimed);

            let mut consumer = ConsumerCursor::new(16, at);
            consumer.observe(told);
            let readable = std::iter::from_fn(|| consumer.claim()).take(100).count();
            prop_assert!(readable <= 16);
        }
    }

    #[test]
    fn entries_cross_threads_in_order() {
        let (mut producer, mut consumer) = Shared::new(8, u32::MAX - 3).ends();
        let sender = std::thread::spawn(move || {
            for n in 0..2_000_u64 {
                while !producer.push(n) {
                    std::thread::yield_now();
                }
                producer.publish();
            }
        });
        let mut next = 0;
        while next < 2_000 {
            consumer.look();
            while let Some(n) = consumer.pop() {
                assert_eq!(n, next);
                next += 1;
            }
            consumer.release();
            std::thread::yield_now();
        }
        sender.join().unwrap();
    }
}
