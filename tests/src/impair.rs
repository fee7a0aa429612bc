//! A hop between two links that loses, duplicates, delays and reorders GRE, by seed, or loses the
//! packets that a test chooses.
//! It stands where a bad path would be; the fate of the n-th GRE packet of a direction depends on
//! the seed and n alone, so that a run can be repeated.
//! Never touches other packets: the control connection is TCP and mends itself.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::netns::Namespace;
use crate::packet::{Direction, PacketSocket};

/// What happens to packets, each as parts of a thousand.
#[derive(Debug, Clone, Copy, Default)]
pub struct Impairment {
    /// Never arrives.
    pub loss: u16,
    /// Arrives twice.
    pub duplicate: u16,
    /// Arrives after the next [`Impairment::REORDER_DISTANCE`] packets, or a little later when
    /// none follow.
    pub reorder: u16,
    /// All packets arrive this much later.
    pub delay: Duration,
}

impl Impairment {
    /// How many packets overtake a reordered one.
    pub const REORDER_DISTANCE: usize = 3;
    /// How long a reordered packet waits to be overtaken.
    pub const REORDER_PATIENCE: Duration = Duration::from_millis(20);
}

/// What a hop did in one direction.
#[derive(Debug, Default)]
pub struct Tally {
    /// GRE packets that came.
    pub seen: AtomicU64,
    /// Lost ones.
    pub lost: AtomicU64,
    /// Ones sent twice.
    pub duplicated: AtomicU64,
    /// Ones held back.
    pub reordered: AtomicU64,
}

/// Whether a frame is to be lost.
pub type Choice = Box<dyn FnMut(&[u8]) -> bool + Send>;

/// A running hop.
#[derive(Debug)]
pub struct Hop {
    ending: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    tallies: [Arc<Tally>; 2],
}

impl Hop {
    /// Joins two links of a namespace like a cable with faults: `impairments` go from the first
    /// to the second link and back. The links must have no addresses.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn start(
        namespace: &Namespace,
        links: [&str; 2],
        impairments: [Impairment; 2],
        seed: u64,
    ) -> Result<Self> {
        let mut side = 0_u64;
        let lanes = impairments.map(|impairment| {
            let random = SplitMix(seed ^ side << 32);
            side += 1;
            (impairment, random, None)
        });
        Self::start_lanes(namespace, links, lanes)
    }

    /// As [`Hop::start`], but loses the GRE packets that `chosen` says, of each direction, and
    /// does nothing else.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn start_losing(
        namespace: &Namespace,
        links: [&str; 2],
        chosen: [Choice; 2],
    ) -> Result<Self> {
        let lanes = chosen.map(|chosen| (Impairment::default(), SplitMix(0), Some(chosen)));
        Self::start_lanes(namespace, links, lanes)
    }

    fn start_lanes(
        namespace: &Namespace,
        links: [&str; 2],
        lanes: [(Impairment, SplitMix, Option<Choice>); 2],
    ) -> Result<Self> {
        let ending = Arc::new(AtomicBool::new(false));
        let tallies = [Arc::new(Tally::default()), Arc::new(Tally::default())];
        let mut threads = Vec::new();
        for (side, (impairment, random, chosen)) in lanes.into_iter().enumerate() {
            let from = PacketSocket::open(namespace, links[side], Direction::Incoming)?;
            let to = PacketSocket::open(namespace, links[1 - side], Direction::Incoming)?;
            let mut lane = Lane {
                impairment,
                random,
                chosen,
                tally: Arc::clone(&tallies[side]),
                held: VecDeque::new(),
            };
            let ending = Arc::clone(&ending);
            threads.push(std::thread::spawn(move || lane.carry(&from, &to, &ending)));
        }
        Ok(Self { ending, threads, tallies })
    }

    /// What was done to packets from the first to the second link, and back.
    pub fn tallies(&self) -> &[Arc<Tally>; 2] {
        &self.tallies
    }
}

impl Drop for Hop {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// A frame that waits for its time or for others to overtake it.
struct Held {
    frame: Vec<u8>,
    due: Instant,
    overtaken_by: usize,
}

struct Lane {
    impairment: Impairment,
    random: SplitMix,
    chosen: Option<Choice>,
    tally: Arc<Tally>,
    held: VecDeque<Held>,
}

impl Lane {
    fn carry(&mut self, from: &PacketSocket, to: &PacketSocket, ending: &AtomicBool) {
        let mut buffer = vec![0; 65535];
        while !ending.load(Ordering::Relaxed) {
            let wait = self
                .held
                .iter()
                .map(|held| held.due.saturating_duration_since(Instant::now()))
                .min()
                .unwrap_or(Duration::from_millis(50));
            match from.receive(&mut buffer, wait.min(Duration::from_millis(50))) {
                Ok(Some(length)) => self.take(&buffer[..length], to),
                Ok(None) => {}
                Err(_) => break,
            }
            self.release(to, Instant::now());
        }
        // What is held still goes out, in the order in which it would have.
        if let Some(last) = self.held.iter().map(|held| held.due).max() {
            self.held.make_contiguous().sort_by_key(|held| held.due);
            self.release(to, last);
        }
    }

    fn take(&mut self, frame: &[u8], to: &PacketSocket) {
        if !is_gre(frame) {
            // A link that goes down loses frames, as a cable would.
            let _ = to.send(frame);
            return;
        }
        self.tally.seen.fetch_add(1, Ordering::Relaxed);
        // Always the same number of draws: a packet's fate does not depend on the settings of
        // the others.
        let [lost, duplicated, reordered] = [
            self.random.happens(self.impairment.loss),
            self.random.happens(self.impairment.duplicate),
            self.random.happens(self.impairment.reorder),
        ];
        if lost || self.chosen.as_mut().is_some_and(|chosen| chosen(frame)) {
            self.tally.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let due = Instant::now() + self.impairment.delay;
        if reordered {
            self.tally.reordered.fetch_add(1, Ordering::Relaxed);
            self.held.push_back(Held {
                frame: frame.to_vec(),
                due: due + Impairment::REORDER_PATIENCE,
                overtaken_by: Impairment::REORDER_DISTANCE,
            });
            return;
        }
        for held in &mut self.held {
            if held.overtaken_by > 0 {
                held.overtaken_by -= 1;
                if held.overtaken_by == 0 {
                    held.due = due;
                }
            }
        }
        let copies = if duplicated { 2 } else { 1 };
        self.tally.duplicated.fetch_add(copies - 1, Ordering::Relaxed);
        for _ in 0..copies {
            // Those that were overtaken just now follow this one.
            let place = self.held.iter().position(|held| held.due >= due && held.overtaken_by == 0);
            let held = Held { frame: frame.to_vec(), due, overtaken_by: 0 };
            self.held.insert(place.unwrap_or(self.held.len()), held);
        }
    }

    fn release(&mut self, to: &PacketSocket, now: Instant) {
        let mut index = 0;
        while index < self.held.len() {
            if self.held[index].due <= now {
                if let Some(held) = self.held.remove(index) {
                    let _ = to.send(&held.frame);
                }
            } else {
                index += 1;
            }
        }
    }
}

fn is_gre(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[0x08, 0x00]) && frame.get(23) == Some(&47)
}

/// `SplitMix64`: a small generator whose whole state is the seed.
#[derive(Debug)]
pub struct SplitMix(pub u64);

impl SplitMix {
    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    fn happens(&mut self, per_mille: u16) -> bool {
        self.draw() % 1000 < u64::from(per_mille)
    }
}
