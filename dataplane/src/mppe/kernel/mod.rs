//! The arithmetic of MPPE over many keys and packets at once, in several forms.
//!
//! Implements RC4 and SHA-1 as RFC 3078 uses them. Knows neither tunnels nor bursts.
//!
//! | module | what | unsafe |
//! |---|---|---|
//! | `packet` | what kernels are given | |
//! | `sets` | packets in lanes: which share slots, and how they come to their end | |
//! | `lanes` | RC4 on 8 to 32 streams in assembly | yes |
//! | `transpose` | octets between lane order and step order, with AVX2 or AVX-512 | yes |
//! | `portable` | RC4 on 1 to 4 streams, everywhere | |
//! | `choice` | which kernel is the best here | |
//! | `sha` | SHA-1 of key changes | |
//! | `sha_ni` | the same for three chains at once, with SHA-NI | yes |
//!
//! The first five need nothing but `core`: `dataplane/tests/bochs` runs them without a system, on an
//! emulated CPU that has AVX-512.

mod choice;
#[cfg(target_arch = "x86_64")]
mod lanes;
pub mod packet;
mod portable;
#[cfg(target_arch = "x86_64")]
mod sets;
pub mod sha;
#[cfg(target_arch = "x86_64")]
mod sha_ni;
#[cfg(target_arch = "x86_64")]
mod transpose;

#[cfg(test)]
mod tests;

use std::fmt;

use packet::{Key, Packet, Payloads};
#[cfg(target_arch = "x86_64")]
use sets::Lanes;
#[cfg(target_arch = "x86_64")]
use transpose::{Avx2, Avx512};

pub use choice::{Choice, Kernel, Unavailable};

/// RC4 by one of the kernels, with its scratch.
pub enum Rc4 {
    #[cfg(target_arch = "x86_64")]
    Avx512(Box<Lanes<Avx512>>),
    #[cfg(target_arch = "x86_64")]
    Avx2(Box<Lanes<Avx2>>),
    Portable(Box<portable::Streams>),
}

impl Rc4 {
    /// `None` if this CPU cannot run the kernel.
    pub fn new(kernel: Kernel) -> Option<Self> {
        match kernel {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => Lanes::detect().map(Box::new).map(Self::Avx512),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => Lanes::detect().map(Box::new).map(Self::Avx2),
            #[cfg(not(target_arch = "x86_64"))]
            Kernel::Avx512 | Kernel::Avx2 => None,
            Kernel::Portable => Some(Self::portable()),
        }
    }

    /// The kernel that every CPU can run.
    pub fn portable() -> Self {
        Self::Portable(Box::default())
    }

    pub const fn kernel(&self) -> Kernel {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => Kernel::Avx512,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => Kernel::Avx2,
            Self::Portable(_) => Kernel::Portable,
        }
    }

    /// Gives the first 16 octets of each key's keystream.
    pub fn first_octets(&mut self, keys: &[Key], each: impl FnMut(usize, Key)) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(lanes) => lanes.first_octets(keys, each),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(lanes) => lanes.first_octets(keys, each),
            Self::Portable(streams) => streams.first_octets(keys, each),
        }
    }

    /// Applies keystream to packets, the longest first.
    pub fn apply(&mut self, packets: &[Packet], payloads: &mut (impl Payloads + ?Sized)) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(lanes) => lanes.apply(packets, payloads),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(lanes) => lanes.apply(packets, payloads),
            Self::Portable(streams) => streams.apply(packets, payloads),
        }
    }
}

impl fmt::Debug for Rc4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rc4").field(&self.kernel()).finish()
    }
}
