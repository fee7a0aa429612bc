//! What two cores of this machine are together, for MPPE: two engines beside each other against one
//! alone. Two workers cannot be more.
//!
//! Cores of a virtual machine may be two threads of one core, which then have one set of execution
//! units between them. No packet path is measured here.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use dataplane::mppe::{Engine, SendBurst, SendState};

use super::network::Subscriber;
use super::rig::pin;
use crate::cpu;

/// Packets of a burst, each of a tunnel of its own.
const BURST: u16 = 64;
/// Bursts that warm up, and that are measured.
const WARM: usize = 50;
const MEASURED: usize = 400;

/// How many times as much two engines do as one, by processor time of a packet of `length` octets.
///
/// # Errors
/// When the clock cannot be read.
pub fn two_against_one(length: usize) -> Result<f64> {
    let alone = time(1, length)?;
    let beside = time(2, length)?;
    Ok(2.0 * alone.as_secs_f64() / beside.as_secs_f64())
}

/// Processor time of one engine's measured bursts, where so many work beside each other.
fn time(engines: usize, length: usize) -> Result<Duration> {
    let (start, done) = (Barrier::new(engines), AtomicUsize::new(0));
    let times: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..engines)
            .map(|number| {
                let (start, done) = (&start, &done);
                scope.spawn(move || {
                    pin(number, engines);
                    let mut bursts = Bursts::new(length);
                    start.wait();
                    (0..WARM).for_each(|_| bursts.encrypt());
                    let begin = cpu::now()?;
                    (0..MEASURED).for_each(|_| bursts.encrypt());
                    let time = cpu::now()?.saturating_sub(begin);
                    done.fetch_add(1, Ordering::Release);
                    // The others are measured beside one that works.
                    while done.load(Ordering::Acquire) < engines {
                        bursts.encrypt();
                    }
                    Ok(time)
                })
            })
            .collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect::<Result<_>>()
    })?;
    let count = u32::try_from(times.len()).ok().filter(|&count| count > 0);
    Ok(times.iter().sum::<Duration>() / count.context("no engine came to its end")?)
}

/// An engine's work.
struct Bursts {
    engine: Engine,
    burst: SendBurst,
    states: Vec<SendState>,
    payloads: Vec<Vec<u8>>,
}

impl Bursts {
    fn new(length: usize) -> Self {
        Self {
            engine: Engine::new(),
            burst: SendBurst::default(),
            states: (0..BURST).map(|at| SendState::new(&Subscriber::new(at).keys().1)).collect(),
            payloads: (0..BURST).map(|_| vec![0x5A; length]).collect(),
        }
    }

    fn encrypt(&mut self) {
        let Self { engine, burst, states, payloads } = self;
        burst.clear();
        for (slot, (state, payload)) in (0..).zip(states.iter_mut().zip(payloads.iter())) {
            burst.push(slot, Some(state), payload.len());
        }
        burst.plan();
        engine.derive_keys(burst);
        engine.apply(burst, payloads.as_mut_slice());
        burst.commit(states.as_mut_slice());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_beside_each_other_come_to_their_ends() {
        // Not a measurement: other tests run beside it.
        let ratio = two_against_one(64).unwrap();
        assert!(ratio.is_finite() && ratio > 0.0, "{ratio}");
    }
}
