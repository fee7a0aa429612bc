//! A cable in memory: two ports, each receives what the other transmits. For tests and benches.
//!
//! Both directions are bounded, so that back-pressure can be tested, and the ends may live in
//! different threads. It never touches the kernel.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Link, Port, PortCounters, PortDrop};
use crate::frame::{Frame, Pool};

/// One end of a cable.
#[derive(Debug)]
pub struct MemoryPort {
    link: Link,
    arriving: Arc<Mutex<VecDeque<Frame>>>,
    leaving: Arc<Mutex<VecDeque<Frame>>>,
    capacity: usize,
    counters: Arc<PortCounters>,
}

/// The two ends of a new cable that holds up to `capacity` frames (at least one) per direction.
#[must_use]
pub fn cable(link: Link, capacity: usize) -> (MemoryPort, MemoryPort) {
    let capacity = capacity.max(1);
    let one = Arc::new(Mutex::new(VecDeque::with_capacity(capacity)));
    let other = Arc::new(Mutex::new(VecDeque::with_capacity(capacity)));
    let end = |arriving: &Arc<_>, leaving: &Arc<_>| MemoryPort {
        link,
        arriving: Arc::clone(arriving),
        leaving: Arc::clone(leaving),
        capacity,
        counters: Arc::default(),
    };
    (end(&one, &other), end(&other, &one))
}

impl MemoryPort {
    /// Sends one frame to the other end, uncounted.
    ///
    /// # Errors
    /// Gives the frame back if the direction is full.
    pub fn push(&self, frame: Frame) -> Result<(), Frame> {
        let mut leaving = lock(&self.leaving);
        if leaving.len() == self.capacity {
            return Err(frame);
        }
        leaving.push_back(frame);
        Ok(())
    }

    /// Takes the next frame from the other end, uncounted.
    #[must_use]
    pub fn pop(&self) -> Option<Frame> {
        lock(&self.arriving).pop_front()
    }
}

/// The frames of one direction. Whole bursts are put in and taken out under one lock.
fn lock(frames: &Mutex<VecDeque<Frame>>) -> MutexGuard<'_, VecDeque<Frame>> {
    // Nothing in here panics halfway.
    frames.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Port for MemoryPort {
    fn link(&self) -> Link {
        self.link
    }

    fn receive(&mut self, _pool: &mut Pool, into: &mut Vec<Frame>, limit: usize) {
        let (before, mut bytes) = (into.len(), 0);
        let mut arriving = lock(&self.arriving);
        for _ in 0..limit {
            let Some(frame) = arriving.pop_front() else { break };
            bytes += frame.len();
            into.push(frame);
        }
        drop(arriving);
        self.counters.received(into.len() - before, bytes);
    }

    fn transmit(&mut self, pool: &mut Pool, frames: &mut Vec<Frame>) {
        let mut leaving = lock(&self.leaving);
        let room = frames.len().min(self.capacity - leaving.len());
        let bytes = frames[..room].iter().map(Frame::len).sum();
        leaving.extend(frames.drain(..room));
        drop(leaving);
        self.counters.sent(room, bytes);
        self.counters.dropped(PortDrop::TransmitFull).add(frames.len() as u64);
        pool.put_all(frames);
    }

    fn flush(&mut self, _pool: &mut Pool) -> bool {
        false
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// The frames on their way to this end, so that both ends together count each once.
    fn held(&self) -> usize {
        lock(&self.arriving).len()
    }

    fn counters(&self) -> &Arc<PortCounters> {
        &self.counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Region;

    #[test]
    fn what_one_end_transmits_the_other_receives_in_order() {
        let region = Region::new(64).unwrap();
        let mut pool = Pool::new(region, 64);
        let (mut near, mut far) = cable(Link::Ip, 8);
        let mut burst: Vec<_> = (0..8)
            .map(|n| {
                let mut frame = pool.take().unwrap();
                assert!(frame.fill(&[n; 20]));
                frame
            })
            .collect();
        near.transmit(&mut pool, &mut burst);
        assert!(burst.is_empty());

        let mut arrived = Vec::new();
        far.receive(&mut pool, &mut arrived, 5);
        assert_eq!(arrived.len(), 5);
        far.receive(&mut pool, &mut arrived, 5);
        let first_bytes: Vec<_> = arrived.iter().map(|frame| frame.data()[0]).collect();
        assert_eq!(first_bytes, [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(far.counters().received_packets.get(), 8);
        assert_eq!(near.counters().sent_bytes.get(), 160);
    }

    #[test]
    fn a_full_cable_drops_counts_and_loses_no_frame() {
        let region = Region::new(64).unwrap();
        let mut pool = Pool::new(region, 64);
        let (mut near, far) = cable(Link::Ethernet, 3);
        let mut burst: Vec<_> = (0..10).filter_map(|_| pool.take()).collect();
        near.transmit(&mut pool, &mut burst);
        assert_eq!(near.counters().dropped(PortDrop::TransmitFull).get(), 7);
        assert_eq!(far.held(), 3);
        let depot = region.depot();
        assert_eq!(depot.len() + pool.len() + near.held() + far.held(), 64);
        drop((near, far));
        assert_eq!(depot.len() + pool.len(), 64);
    }
}
