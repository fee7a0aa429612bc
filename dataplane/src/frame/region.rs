//! The memory that frames are made of: one anonymous mapping that all ports and workers know.
//!
//! A region is never unmapped, so a frame or the kernel can hold a chunk for as long as it likes.
//! It never looks into packets.

use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{CHUNK_SHIFT, Depot};

/// Why there is no memory for frames.
#[derive(Debug, thiserror::Error)]
pub enum RegionError {
    /// No chunks, or more than descriptors can name.
    #[error("a frame region has between 1 and {max} frames, not {chunks}", max = u32::MAX >> 1)]
    Size {
        /// The number asked for.
        chunks: u32,
    },
    /// The kernel did not give the memory.
    #[error("no memory for {chunks} frames of 4 KiB: {source}; set fewer frames")]
    Map {
        /// The number asked for.
        chunks: u32,
        /// The kernel's reason.
        source: std::io::Error,
    },
}

/// One mapping, cut into chunks of [`CHUNK`](super::CHUNK) bytes. All are in the depot at first.
#[derive(Debug)]
pub struct Region {
    pub(super) base: NonNull<u8>,
    chunks: u32,
    depot: Depot,
    resting: Mutex<Vec<Rest>>,
}

/// Chunks that a closed socket left behind.
#[derive(Debug)]
struct Rest {
    since: Instant,
    chunks: Vec<u32>,
}

// SAFETY: the mapping is only reached through frames, each the single owner of its chunk; the
// region's own fields never change and the depot is a concurrent queue.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// Maps a region that stays until the process ends: a daemon makes one.
    ///
    /// # Errors
    /// If `chunks` is 0 or beyond 2³¹ − 1, or the kernel has no such memory.
    pub fn new(chunks: u32) -> Result<&'static Self, RegionError> {
        if chunks == 0 || chunks > u32::MAX >> 1 {
            return Err(RegionError::Size { chunks });
        }
        let bytes = (chunks as usize) << CHUNK_SHIFT;
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches no memory of
        // ours.
        let mapped = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        let base = match NonNull::new(mapped.cast::<u8>()) {
            Some(base) if mapped != libc::MAP_FAILED => base,
            _ => {
                return Err(RegionError::Map { chunks, source: std::io::Error::last_os_error() });
            }
        };
        // Fewer TLB misses where the kernel has huge pages to spare; a refusal costs nothing.
        #[cfg(not(miri))]
        // SAFETY: the range is the mapping made above, and the advice does not change its content.
        unsafe {
            libc::madvise(mapped, bytes, libc::MADV_HUGEPAGE);
        }
        Ok(Box::leak(Box::new(Self {
            base,
            chunks,
            depot: Depot::new(chunks),
            resting: Mutex::default(),
        })))
    }

    /// Number of chunks: what pools, ports, depot, workers' hands and
    /// [`Self::resting`] always sum to.
    #[must_use]
    pub const fn chunks(&self) -> u32 {
        self.chunks
    }

    /// Size of the mapping, bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        (self.chunks as usize) << CHUNK_SHIFT
    }

    /// Where the chunks are that no pool, ring or port holds.
    #[must_use]
    pub const fn depot(&self) -> &Depot {
        &self.depot
    }

    /// How long chunks of a closed AF_XDP socket rest. The kernel takes the socket's pool apart
    /// after close returns (30–50 ms on veth, seconds where the NIC resets its link), and the NIC
    /// may write to a chunk until then.
    pub const REST: Duration = Duration::from_secs(10);

    /// Chunks that closed sockets left behind and that are not in the depot yet.
    #[must_use]
    pub fn resting(&self) -> usize {
        let resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        resting.iter().map(|rest| rest.chunks.len()).sum()
    }

    /// Puts chunks aside for [`Self::REST`].
    pub(super) fn rest(&self, chunks: Vec<u32>) {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        resting.push(Rest { since: Instant::now(), chunks });
    }

    /// Returns chunks to the depot that have rested long enough at `now`. For whoever opens or
    /// closes sockets, not for the path of a packet: it locks.
    pub fn wake(&self, now: Instant) {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        resting.retain(|rest| {
            let awake = now.saturating_duration_since(rest.since) >= Self::REST;
            if awake {
                rest.chunks.iter().for_each(|&index| self.depot.put(index));
            }
            !awake
        });
    }
}
