//! Which kernel is the best one here: what the CPU can run, and of that what is fastest.
//!
//! Implements no RFC section. Never changes its mind: a process measures once.

use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::Rc4;
use super::packet::{KEY_LEN, Packet};

/// A form of the arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// RC4 in lanes for CPUs with AVX-512 and its byte permutes (VBMI), SHA-NI if there is any.
    Avx512,
    /// The same for CPUs with AVX2.
    Avx2,
    /// Interleaved scalar streams, on every CPU.
    Portable,
}

impl Kernel {
    /// All kernels that this CPU can run, with AVX-512 and AVX2 only if the system saves their
    /// registers.
    pub fn available() -> impl Iterator<Item = Self> {
        [Self::Avx512, Self::Avx2, Self::Portable]
            .into_iter()
            .filter(|kernel| Rc4::new(*kernel).is_some())
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        })
    }
}

/// This CPU, or the system on it, lacks what a kernel needs that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("this CPU cannot run the MPPE kernel {0}: there is {available}", available = list(Kernel::available()))]
pub struct Unavailable(pub Kernel);

fn list(kernels: impl Iterator<Item = Kernel>) -> String {
    kernels.map(|kernel| kernel.to_string()).collect::<Vec<_>>().join(", ")
}

/// A kernel, and why it is this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The kernel.
    pub kernel: Kernel,
    /// What a packet has cost with each of those that this CPU can run. Empty: it was asked for.
    pub measured: Vec<(Kernel, Duration)>,
}

impl Choice {
    /// The kernel that is wanted, or the one that is fastest here, which takes some milliseconds
    /// to find out for the first time.
    ///
    /// # Errors
    /// If this CPU cannot run the kernel.
    pub fn of(wanted: Option<Kernel>) -> Result<Self, Unavailable> {
        match wanted {
            None => Ok(Self::fastest().clone()),
            Some(kernel) if Rc4::new(kernel).is_some() => Ok(Self { kernel, measured: Vec::new() }),
            Some(kernel) => Err(Unavailable(kernel)),
        }
    }

    /// The fastest kernel that this CPU can run.
    pub fn fastest() -> &'static Self {
        static FASTEST: OnceLock<Choice> = OnceLock::new();
        FASTEST.get_or_init(|| {
            let measured = measure();
            let fastest = measured.iter().min_by_key(|(_, cost)| *cost);
            Self { kernel: fastest.map_or(Kernel::Portable, |(kernel, _)| *kernel), measured }
        })
    }
}

/// `avx2`, or with what was measured: `avx2 (avx2 270 ns, portable 760 ns for a packet)`.
impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kernel)?;
        if self.measured.is_empty() {
            return Ok(());
        }
        let cost = |(kernel, cost): &(Kernel, Duration)| format!("{kernel} {} ns", cost.as_nanos());
        let costs: Vec<_> = self.measured.iter().map(cost).collect();
        write!(f, " ({} for a packet)", costs.join(", "))
    }
}

/// Packets of the burst that is measured, with lengths as they come: most are small or large.
const LENGTHS: [usize; 32] = {
    let mut lengths = [64; 32];
    let mut packet = 0;
    while packet < 16 {
        lengths[packet] = if packet < 6 { 1400 } else { 576 };
        packet += 1;
    }
    lengths
};
/// Turns that each kernel has.
const TURNS: usize = 16;
/// When no further turn begins.
const PATIENCE: Duration = Duration::from_millis(5);

/// What a packet costs with each kernel that can run. They take turns, so that a noisy machine
/// slows them all, and the quickest turn of each counts: noise only ever adds.
fn measure() -> Vec<(Kernel, Duration)> {
    let mut kernels: Vec<_> =
        Kernel::available().filter_map(Rc4::new).map(|rc4| (rc4, Duration::MAX)).collect();
    let packets: Vec<_> = (0..)
        .zip(LENGTHS)
        .map(|(index, length)| Packet { key: [0x5A ^ index; KEY_LEN], length, index: index.into() })
        .collect();
    let keys: Vec<_> = packets.iter().map(|packet| packet.key).collect();
    let mut payloads = LENGTHS.map(|length| vec![0; length]);
    let start = Instant::now();
    for _ in 0..TURNS {
        for (rc4, quickest) in &mut kernels {
            let turn = Instant::now();
            // As the engine does: key changes, then payloads.
            let mut changed = [0; KEY_LEN];
            rc4.first_octets(&keys, |_, octets| changed = octets);
            rc4.apply(&packets, payloads.as_mut_slice());
            std::hint::black_box((changed, &mut payloads));
            *quickest = turn.elapsed().min(*quickest);
        }
        if start.elapsed() > PATIENCE {
            break;
        }
    }
    kernels
        .iter()
        .map(|(rc4, quickest)| {
            (rc4.kernel(), *quickest / u32::try_from(LENGTHS.len()).unwrap_or(1))
        })
        .collect()
}
