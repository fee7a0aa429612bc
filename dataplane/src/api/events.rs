//! The way from the workers to the control plane: a bounded ring for each worker, one bell.
//!
//! A worker whose ring is full drops the frame and counts it; PPP sends again (RFC 1661 §4.6).

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use tokio::sync::Notify;

use super::Event;

/// Events that wait for the control plane, per worker.
const EVENTS: usize = 4096;

/// What the workers write and [`Events`] reads.
#[derive(Debug)]
pub(crate) struct EventRings {
    rings: Vec<ArrayQueue<Event>>,
    bell: Notify,
}

impl EventRings {
    pub(crate) fn new(workers: usize) -> Self {
        let rings = (0..workers).map(|_| ArrayQueue::new(EVENTS)).collect();
        Self { rings, bell: Notify::new() }
    }

    /// Puts an event of a worker in; `false` if its ring is full.
    pub(crate) fn push(&self, worker: usize, event: Event) -> bool {
        self.rings.get(worker).is_some_and(|ring| ring.push(event).is_ok())
    }

    /// Tells the reader, once for all that was pushed in a turn.
    pub(crate) fn ring(&self) {
        self.bell.notify_one();
    }
}

/// The receiving end. There is one.
#[derive(Debug)]
pub struct Events {
    rings: Arc<EventRings>,
    next: usize,
}

impl Events {
    pub(crate) const fn new(rings: Arc<EventRings>) -> Self {
        Self { rings, next: 0 }
    }

    /// The next event that is here now. Workers take turns; one worker's events, and so one
    /// tunnel's, keep their order.
    pub fn try_next(&mut self) -> Option<Event> {
        let count = self.rings.rings.len();
        for _ in 0..count {
            let ring = self.rings.rings.get(self.next);
            self.next = (self.next + 1) % count;
            if let Some(event) = ring.and_then(ArrayQueue::pop) {
                return Some(event);
            }
        }
        None
    }

    /// Waits for the next event. None is lost if the future is dropped.
    pub async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.try_next() {
                return event;
            }
            // A bell that rang since the rings were looked at is remembered.
            self.rings.bell.notified().await;
        }
    }
}
