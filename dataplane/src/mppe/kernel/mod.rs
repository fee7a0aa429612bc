//! The arithmetic of MPPE over many keys and packets at once, in several forms.
//!
//! Implements RC4 and SHA-1 as RFC 3078 uses them. Knows neither tunnels nor bursts.
//!
//! | module | what | unsafe |
//! |---|---|---|
//! | `avx2` | sets of packets in lanes | |
//! | `lanes` | RC4 on 8 to 32 streams in assembly | yes |
//! | `portable` | RC4 on 1 to 4 streams, everywhere | |
//! | `sha` | SHA-1 of key changes | |
//! | `sha_ni` | the same for three chains at once, with SHA-NI | yes |
//! | `transpose` | octets between lane order and step order | yes |

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod lanes;
mod portable;
pub mod sha;
#[cfg(target_arch = "x86_64")]
mod sha_ni;
#[cfg(target_arch = "x86_64")]
mod transpose;

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::Payloads;
use super::chain::Key;

const KEY_LEN: usize = 16;

/// A packet whose key is known.
#[derive(Debug, Clone, Copy)]
pub struct Packet {
    /// 16 octets; a key of 8 octets is given twice, which is the same key to RC4.
    pub key: Key,
    /// Octets of payload.
    pub length: usize,
    /// What the payload is asked for by.
    pub index: usize,
}

/// A form of the arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// RC4 in lanes for CPUs with AVX2, SHA-NI if there is any.
    Avx2,
    /// Interleaved scalar streams, on every CPU.
    Portable,
}

impl Kernel {
    /// All kernels that this CPU can run, the fastest first.
    pub fn available() -> impl Iterator<Item = Self> {
        [Self::Avx2, Self::Portable].into_iter().filter(|kernel| Rc4::new(*kernel).is_some())
    }

    /// The kernel of this name, or the fastest one that this CPU can run.
    ///
    /// # Errors
    ///
    /// If there is no such kernel, or this CPU cannot run it.
    pub fn choose(name: Option<&str>) -> Result<Self, KernelError> {
        let Some(name) = name else { return Ok(Rc4::fastest().kernel()) };
        let kernel = name.parse()?;
        let available = Self::available().any(|available| available == kernel);
        if available { Ok(kernel) } else { Err(KernelError::Unavailable(kernel)) }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        })
    }
}

/// Why a kernel that was asked for cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KernelError {
    /// There is none of this name.
    #[error("no MPPE implementation is called {0:?}: there are avx2 and portable")]
    Unknown(String),
    /// This CPU lacks what it needs.
    #[error("this CPU cannot run the MPPE implementation {0}")]
    Unavailable(Kernel),
}

impl FromStr for Kernel {
    type Err = KernelError;

    fn from_str(name: &str) -> Result<Self, KernelError> {
        match name {
            "avx2" => Ok(Self::Avx2),
            "portable" => Ok(Self::Portable),
            _ => Err(KernelError::Unknown(name.to_owned())),
        }
    }
}

/// RC4 by one of the kernels, with its scratch.
pub enum Rc4 {
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Features, Box<avx2::Lanes>),
    Portable(Box<portable::Streams>),
}

impl Rc4 {
    /// `None` if this CPU cannot run the kernel.
    pub fn new(kernel: Kernel) -> Option<Self> {
        match kernel {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => Some(Self::Avx2(avx2::Features::detect()?, Box::default())),
            #[cfg(not(target_arch = "x86_64"))]
            Kernel::Avx2 => None,
            Kernel::Portable => Some(Self::Portable(Box::default())),
        }
    }

    /// The fastest kernel that this CPU can run.
    pub fn fastest() -> Self {
        let fastest = Kernel::available().find_map(Self::new);
        fastest.unwrap_or_else(|| Self::Portable(Box::default()))
    }

    pub const fn kernel(&self) -> Kernel {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(..) => Kernel::Avx2,
            Self::Portable(_) => Kernel::Portable,
        }
    }

    /// Gives the first 16 octets of each key's keystream.
    pub fn first_octets(&mut self, keys: &[Key], each: impl FnMut(usize, Key)) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(features, lanes) => lanes.first_octets(*features, keys, each),
            Self::Portable(streams) => streams.first_octets(keys, each),
        }
    }

    /// Applies keystream to packets, the longest first.
    pub fn apply(&mut self, packets: &[Packet], payloads: &mut (impl Payloads + ?Sized)) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(features, lanes) => lanes.apply(*features, packets, payloads),
            Self::Portable(streams) => streams.apply(packets, payloads),
        }
    }
}

impl fmt::Debug for Rc4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rc4").field(&self.kernel()).finish()
    }
}
