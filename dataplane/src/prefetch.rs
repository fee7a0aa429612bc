//! Hints to the processor: what will be needed soon, so that it is fetched while others are worked
//! on.
//!
//! A hint changes nothing that a program can see. Elsewhere than on x86-64 it does nothing.

use std::ops::Range;

/// Octets of a cache line.
const LINE: usize = 64;

/// Asks the processor to load a value.
#[inline]
pub(crate) fn prefetch<T>(value: &T) {
    prefetch_range(value, 0..size_of::<T>());
}

/// Asks the processor to load a range of the octets of a value that begins at a cache line.
#[inline]
pub(crate) fn prefetch_range<T>(value: &T, octets: Range<usize>) {
    let first = std::ptr::from_ref(value).cast::<u8>();
    let begin = octets.start / LINE * LINE;
    for offset in (begin..octets.end.min(size_of::<T>())).step_by(LINE) {
        prefetch_line(first.wrapping_add(offset));
    }
}

/// Asks the processor to load the cache line at an address, which need not be one of anything.
#[inline]
pub(crate) fn prefetch_line(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing that a program can see and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast::<i8>()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
