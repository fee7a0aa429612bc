//! What each stage that a burst passes costs, for benches: where the time of a packet goes.
//!
//! A worker that is not measured pays a comparison for a stage and burst, and nothing for a packet.
//! Measures elapsed time, in which all else is that the processor does meanwhile.

use std::time::{Duration, Instant};

/// A part of a worker's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// Frames are taken from ports and from other workers.
    Receive,
    /// Orders of the control plane.
    Orders,
    /// Outer headers: the tunnel of each packet, and what its PPP frame is.
    Admit,
    /// The MPPE keys of a burst, and for its packets to the peer the headers.
    Keys,
    /// The keystream over the payloads.
    Keystream,
    /// A look at each plaintext; keys and windows move.
    Inspect,
    /// Rules, rates, routes and the ways out of packets from subscribers.
    Forward,
    /// The tunnels of packets to subscribers.
    Destination,
    /// Rules, rates and sizes of packets to subscribers.
    Prepare,
    /// PPP, GRE and outer headers, and the way out to the peer.
    Envelope,
    /// Acknowledgements that go alone.
    Acknowledge,
    /// Frames are given to ports.
    Transmit,
}

impl Stage {
    /// All of them, in their order.
    pub const ALL: [Self; 12] = [
        Self::Receive,
        Self::Orders,
        Self::Admit,
        Self::Keys,
        Self::Keystream,
        Self::Inspect,
        Self::Forward,
        Self::Destination,
        Self::Prepare,
        Self::Envelope,
        Self::Acknowledge,
        Self::Transmit,
    ];

    /// As reports name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Orders => "orders",
            Self::Admit => "admit",
            Self::Keys => "keys",
            Self::Keystream => "keystream",
            Self::Inspect => "inspect",
            Self::Forward => "forward",
            Self::Destination => "destination",
            Self::Prepare => "prepare",
            Self::Envelope => "envelope",
            Self::Acknowledge => "acknowledge",
            Self::Transmit => "transmit",
        }
    }
}

/// The time of a worker, by stage. Without a watch nothing is measured.
#[derive(Debug, Default)]
pub(crate) struct Stopwatch(Option<Box<Watch>>);

#[derive(Debug)]
struct Watch {
    last: Instant,
    spent: [Duration; Stage::ALL.len()],
}

impl Stopwatch {
    /// Measures from now on, from zero, or no more.
    pub(crate) fn measure(&mut self, on: bool) {
        let spent = [Duration::ZERO; Stage::ALL.len()];
        self.0 = on.then(|| Box::new(Watch { last: Instant::now(), spent }));
    }

    /// What passes from here on is of the next stage that ends.
    #[inline]
    pub(crate) fn begin(&mut self) {
        if let Some(watch) = &mut self.0 {
            watch.last = Instant::now();
        }
    }

    /// The time since the last stage ended was this one's.
    #[inline]
    pub(crate) fn end(&mut self, stage: Stage) {
        if let Some(watch) = &mut self.0 {
            let now = Instant::now();
            watch.spent[stage as usize] += now - watch.last;
            watch.last = now;
        }
    }

    /// What was measured so far. Empty if nothing is.
    pub(crate) fn spent(&self) -> Vec<(Stage, Duration)> {
        self.0.iter().flat_map(|watch| Stage::ALL.into_iter().zip(watch.spent)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_belongs_to_the_stage_that_it_ended_with() {
        let mut watch = Stopwatch::default();
        watch.end(Stage::Admit);
        assert_eq!(watch.spent(), []);
        watch.measure(true);
        std::thread::sleep(Duration::from_millis(2));
        watch.begin();
        watch.end(Stage::Keys);
        std::thread::sleep(Duration::from_millis(3));
        watch.end(Stage::Forward);
        let spent = watch.spent();
        let of = |stage: Stage| spent[stage as usize].1;
        assert!(of(Stage::Forward) >= Duration::from_millis(3));
        assert!(of(Stage::Keys) < of(Stage::Forward));
        assert!(spent.iter().zip(Stage::ALL).all(|((stage, _), expected)| *stage == expected));
        assert_eq!(of(Stage::Admit), Duration::ZERO);
    }
}
