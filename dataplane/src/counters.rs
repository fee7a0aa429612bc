//! Counters with one writer: the worker adds without a lock or a locked instruction, anyone reads.
//!
//! What they mean is in [`crate::api::counters`]; nothing here decides anything.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use protocol::time::Instant;

use crate::api::counters::{DropReason, Drops, TunnelCounters, WorkerTotals};
use crate::io::Counter;
use crate::prefetch::prefetch;
use crate::table::Direction;

/// One counter per reason.
#[derive(Debug)]
pub(crate) struct DropMeter([Counter; DropReason::ALL.len()]);

impl Default for DropMeter {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl DropMeter {
    #[inline]
    pub(crate) fn add(&self, reason: DropReason) {
        self.0[reason as usize].add(1);
    }

    pub(crate) fn read(&self) -> Drops {
        Drops::new(std::array::from_fn(|index| self.0[index].get()))
    }
}

/// A moment, written by one thread; zero stands for never.
#[derive(Debug, Default)]
pub(crate) struct Moment(Counter);

impl Moment {
    #[inline]
    pub(crate) fn set(&self, now: Instant) {
        self.0.set(now.as_micros().max(1));
    }

    pub(crate) fn get(&self) -> Option<Instant> {
        Some(self.0.get()).filter(|&micros| micros != 0).map(Instant::from_micros)
    }
}

/// A smoothed time, written by one thread; zero stands for none.
#[derive(Debug, Default)]
pub(crate) struct Average(Counter);

impl Average {
    /// Takes an eighth of what is new (RFC 2637 §4.4.1).
    pub(crate) fn measured(&self, time: Duration) {
        let new = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
        let average = match self.0.get() {
            0 => new,
            before => before - before / 8 + new / 8,
        };
        self.0.set(average);
    }

    fn get(&self) -> Option<Duration> {
        Some(self.0.get()).filter(|&micros| micros != 0).map(Duration::from_micros)
    }
}

/// What a tunnel's owner and the control plane share. The counters of each direction have a cache
/// line of their own.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct TunnelShared {
    /// Set before the close is announced: an order to open that is still on its way is void then.
    pub(crate) closed: AtomicBool,
    /// It is on its way from one worker to another, and takes no commands.
    pub(crate) moving: AtomicBool,
    pub(crate) rx_packets: Counter,
    pub(crate) rx_bytes: Counter,
    pub(crate) rx_active: Moment,
    pub(crate) heard: Moment,
    pub(crate) lost: Counter,
    pub(crate) reordered: Counter,
    pub(crate) duplicates: Counter,
    pub(crate) round_trip: Average,
    pub(crate) tx_packets: Counter,
    pub(crate) tx_bytes: Counter,
    pub(crate) tx_active: Moment,
    pub(crate) drops: DropMeter,
}

impl TunnelShared {
    /// Asks the processor to load what a packet of a direction counts.
    #[inline]
    pub(crate) fn prefetch(&self, direction: Direction) {
        match direction {
            Direction::Uplink => prefetch(&self.rx_packets),
            Direction::Downlink => prefetch(&self.tx_packets),
        }
    }

    pub(crate) fn read(&self, now: Instant) -> TunnelCounters {
        let active = self.rx_active.get().max(self.tx_active.get());
        TunnelCounters {
            rx_packets: self.rx_packets.get(),
            rx_bytes: self.rx_bytes.get(),
            tx_packets: self.tx_packets.get(),
            tx_bytes: self.tx_bytes.get(),
            lost: self.lost.get(),
            reordered: self.reordered.get(),
            duplicates: self.duplicates.get(),
            round_trip: self.round_trip.get(),
            heard: self.heard.get().map(|at| now.since(at)),
            active: active.map(|at| now.since(at)),
            drops: self.drops.read(),
        }
    }
}

/// One worker's counters.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct WorkerMeter {
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
    pub(crate) handed_over: Counter,
    pub(crate) taken_over: Counter,
    pub(crate) originated: Counter,
    pub(crate) consumed: Counter,
    pub(crate) queued: Counter,
    pub(crate) mss_clamped: Counter,
    pub(crate) fragmented: Counter,
    pub(crate) multilink_sent: Counter,
    pub(crate) multilink_received: Counter,
    pub(crate) fragments: Counter,
    pub(crate) ecn_marked: Counter,
    pub(crate) icmp_errors: Counter,
    pub(crate) icmp_suppressed: Counter,
    pub(crate) tunnels_taken: Counter,
    pub(crate) busy_micros: Counter,
    pub(crate) drops: DropMeter,
}

impl WorkerMeter {
    pub(crate) fn read(&self) -> WorkerTotals {
        WorkerTotals {
            received: self.received.get(),
            sent: self.sent.get(),
            handed_over: self.handed_over.get(),
            taken_over: self.taken_over.get(),
            originated: self.originated.get(),
            consumed: self.consumed.get(),
            queued: self.queued.get(),
            mss_clamped: self.mss_clamped.get(),
            fragmented: self.fragmented.get(),
            multilink_sent: self.multilink_sent.get(),
            multilink_received: self.multilink_received.get(),
            fragments: self.fragments.get(),
            ecn_marked: self.ecn_marked.get(),
            icmp_errors: self.icmp_errors.get(),
            icmp_suppressed: self.icmp_suppressed.get(),
            tunnels_taken: self.tunnels_taken.get(),
            drops: self.drops.read(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_strange_time_moves_the_average_by_an_eighth() {
        let average = Average::default();
        assert_eq!(average.get(), None);
        for (measured, expected) in [(40, 40), (120, 50), (50, 50)] {
            average.measured(Duration::from_millis(measured));
            assert_eq!(average.get(), Some(Duration::from_millis(expected)));
        }
    }
}
