//! What AF_XDP shares with the kernel: the region as its packet memory (UMEM) and the four rings.
//!
//! Every socket registers the region for itself, so that ports of mixed modes (zero-copy, copy)
//! work side by side. The pages count against the memlock limit once per socket.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;

use super::ring::{ConsumerRing, Layout, ProducerRing};
use super::socket::XskError;
use crate::frame::{CHUNK, Region, UMEM_HEADROOM};
use crate::io::sys::{option, set_option};

#[expect(clippy::cast_possible_truncation, reason = "a page")]
const CHUNK_SIZE: u32 = CHUNK as u32;

/// One mapped ring; unmapped when dropped.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a mapping is not tied to a thread; all it does by itself is to go away.
unsafe impl Send for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is what mmap returned; the ring that used it owned this value.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

/// The rings of one socket.
#[derive(Debug)]
pub(super) struct Rings {
    pub(super) fill: ProducerRing<u64, Mapping>,
    pub(super) completion: ConsumerRing<u64, Mapping>,
    pub(super) receive: ConsumerRing<libc::xdp_desc, Mapping>,
    pub(super) transmit: ProducerRing<libc::xdp_desc, Mapping>,
}

/// Registers `region` with a new socket and makes its rings of `size` entries each.
pub(super) fn register(
    fd: BorrowedFd<'_>,
    region: &'static Region,
    size: u32,
) -> Result<Rings, XskError> {
    let memory = libc::xdp_umem_reg {
        addr: region.base().as_ptr() as u64,
        len: region.bytes() as u64,
        chunk_size: CHUNK_SIZE,
        headroom: u32::from(UMEM_HEADROOM),
        flags: 0,
        tx_metadata_len: 0,
    };
    set_option(fd, libc::SOL_XDP, libc::XDP_UMEM_REG, &memory).map_err(|source| {
        match source.raw_os_error() {
            Some(libc::ENOBUFS) => XskError::Memlock { mebibytes: region.bytes() >> 20 },
            _ => XskError::Setup { what: "registering packet memory", source },
        }
    })?;
    for (ring, what) in [
        (libc::XDP_UMEM_FILL_RING, "making the fill ring"),
        (libc::XDP_UMEM_COMPLETION_RING, "making the completion ring"),
        (libc::XDP_RX_RING, "making the receive ring"),
        (libc::XDP_TX_RING, "making the transmit ring"),
    ] {
        set_option(fd, libc::SOL_XDP, ring, &size)
            .map_err(|source| XskError::Setup { what, source })?;
    }
    let offsets: libc::xdp_mmap_offsets = option(fd, libc::SOL_XDP, libc::XDP_MMAP_OFFSETS)
        .map_err(|source| XskError::Setup { what: "asking for the rings' layout", source })?;

    let (layout, memory) = map(fd, &offsets.fr, size, libc::XDP_UMEM_PGOFF_FILL_RING)?;
    // SAFETY: `map` made the layout for this mapping; this is the socket's only fill ring.
    let fill = unsafe { ProducerRing::new(layout, memory) };
    let (layout, memory) = map(fd, &offsets.cr, size, libc::XDP_UMEM_PGOFF_COMPLETION_RING)?;
    // SAFETY: as above.
    let completion = unsafe { ConsumerRing::new(layout, memory) };
    let (layout, memory) = map(fd, &offsets.rx, size, libc::XDP_PGOFF_RX_RING as u64)?;
    // SAFETY: as above.
    let receive = unsafe { ConsumerRing::new(layout, memory) };
    let (layout, memory) = map(fd, &offsets.tx, size, libc::XDP_PGOFF_TX_RING as u64)?;
    // SAFETY: as above.
    let transmit = unsafe { ProducerRing::new(layout, memory) };
    Ok(Rings { fill, completion, receive, transmit })
}

/// Maps one ring of `size` entries of type `T`.
fn map<T: Copy>(
    fd: BorrowedFd<'_>,
    offsets: &libc::xdp_ring_offset,
    size: u32,
    page_offset: u64,
) -> Result<(Layout<T>, Mapping), XskError> {
    let what = "mapping a ring";
    let fail = |source| XskError::Setup { what, source };
    let place = |offset: u64| {
        usize::try_from(offset).map_err(|_| fail(std::io::ErrorKind::InvalidData.into()))
    };
    let bytes = place(offsets.desc)? + size as usize * size_of::<T>();
    let page_offset = libc::off_t::try_from(page_offset)
        .map_err(|_| fail(std::io::ErrorKind::InvalidInput.into()))?;
    // SAFETY: a new shared mapping at an address of the kernel's choice touches no memory of ours.
    let start = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_POPULATE,
            fd.as_raw_fd(),
            page_offset,
        )
    };
    let start = match NonNull::new(start.cast::<u8>()) {
        Some(mapped) if start != libc::MAP_FAILED => mapped,
        _ => return Err(fail(std::io::Error::last_os_error())),
    };
    let memory = Mapping { start, bytes };
    let word = |offset: u64| -> Result<NonNull<u8>, XskError> {
        let offset = place(offset)?;
        if offset >= bytes {
            return Err(fail(std::io::ErrorKind::InvalidData.into()));
        }
        // SAFETY: the offset lies within the mapping.
        Ok(unsafe { start.add(offset) })
    };
    let layout = Layout {
        producer: word(offsets.producer)?.cast::<AtomicU32>(),
        consumer: word(offsets.consumer)?.cast::<AtomicU32>(),
        flags: word(offsets.flags)?.cast::<AtomicU32>(),
        entries: word(offsets.desc)?.cast::<T>(),
        size,
    };
    Ok((layout, memory))
}
