//! Socket options and requests about interfaces as values, shared by the drivers that libc serves
//! better than a crate.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// The size of `T` as socket calls want it.
#[expect(clippy::cast_possible_truncation, reason = "structures of the kernel are small")]
pub(super) const fn length_of<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}

/// Sets a socket option.
pub(super) fn set_option<T: Copy>(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: the value lives through the call and its size is its own.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            length_of::<T>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads a socket option that is a structure of plain numbers.
pub(super) fn option<T: Plain>(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
) -> io::Result<T> {
    // SAFETY: `Plain` types are valid as zeros; an older kernel fills in only its first fields.
    let mut value: T = unsafe { std::mem::zeroed() };
    let mut size = length_of::<T>();
    // SAFETY: the kernel writes at most `size` bytes into the value, any of which are valid.
    let result = unsafe {
        libc::getsockopt(fd.as_raw_fd(), level, option, (&raw mut value).cast(), &raw mut size)
    };
    if result == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

/// A request about the interface of this name. `None` if no interface can have it.
pub(super) fn interface_request(name: &str) -> Option<libc::ifreq> {
    let text = CString::new(name).ok()?;
    let octets = text.to_bytes();
    // SAFETY: numbers, and a union of numbers and a pointer, are valid as zeros.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if octets.is_empty() || octets.len() >= request.ifr_name.len() {
        return None;
    }
    for (place, &octet) in request.ifr_name.iter_mut().zip(octets) {
        *place = libc::c_char::from_ne_bytes([octet]);
    }
    Some(request)
}

/// A socket for requests about interfaces of the thread's network namespace.
pub(super) fn control_socket() -> io::Result<OwnedFd> {
    // SAFETY: a system call without pointers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Values made of integers alone.
///
/// # Safety
/// Every pattern of bytes must be a valid value.
pub(super) unsafe trait Plain: Copy {}
// SAFETY: an integer.
unsafe impl Plain for libc::c_int {}
// SAFETY: integers only.
unsafe impl Plain for [u32; 9] {}
// SAFETY: integers only.
unsafe impl Plain for libc::xdp_mmap_offsets {}
// SAFETY: integers only.
unsafe impl Plain for libc::xdp_options {}
// SAFETY: integers only.
unsafe impl Plain for libc::xdp_statistics {}
