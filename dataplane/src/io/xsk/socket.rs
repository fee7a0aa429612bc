//! The AF_XDP socket itself: its options, binding, the kick that makes it send, its errors.
//!
//! It never touches packets or rings.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use crate::io::sys::{control_socket, interface_request, length_of, option, set_option};

/// Why a queue cannot be used by AF_XDP.
#[derive(Debug, thiserror::Error)]
pub enum XskError {
    /// The ring size is no power of two from 64 to 32768.
    #[error("an AF_XDP ring has a power of two of entries from 64 to 32768, not {0}")]
    RingSize(u32),
    /// No such interface.
    #[error("there is no interface named {0}")]
    NoInterface(String),
    /// The process may not open AF_XDP sockets.
    #[error("AF_XDP needs CAP_NET_RAW: run as root or give the service that capability")]
    Permission,
    /// The kernel has no AF_XDP.
    #[error("this kernel has no AF_XDP (CONFIG_XDP_SOCKETS): use the raw socket and TUN driver")]
    NoAfXdp,
    /// The memlock limit is too low.
    #[error(
        "the memlock limit is below what packet memory needs ({mebibytes} MiB for each queue): \
         give the service CAP_IPC_LOCK, or set LimitMEMLOCK=infinity (ulimit -l unlimited)"
    )]
    Memlock {
        /// Size of the region.
        mebibytes: usize,
    },
    /// Another socket has the queue.
    #[error(
        "queue {queue} of {interface} is in use by another AF_XDP socket; \
         `ss --xdp -e -p` names its process"
    )]
    Busy {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
    },
    /// The interface has fewer queues, or its driver refuses the memory's layout.
    #[error(
        "{interface} does not accept AF_XDP on queue {queue}: it has fewer queues (`ethtool -l \
         {interface}`), or its MTU is too large for a page (at most about 3500)"
    )]
    Refused {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
    },
    /// Zero-copy was demanded and the driver has none.
    #[error("the driver of {0} has no AF_XDP zero-copy: use copy mode")]
    NoZeroCopy(String),
    /// Something else failed.
    #[error("AF_XDP: {what} failed: {source}")]
    Setup {
        /// What was attempted.
        what: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
}

/// How packets get between the NIC and the region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XskMode {
    /// The NIC reads and writes the region itself.
    ZeroCopy,
    /// The kernel copies.
    Copy,
}

/// Most bytes that a driver may have queued for the socket in copy mode.
const SEND_BUFFER: libc::c_int = 8 << 20;
#[expect(clippy::cast_possible_truncation, reason = "the constant is 44")]
const FAMILY: u16 = libc::AF_XDP as u16;
/// Socket option of SOL_XDP: packets that one kick sends in copy mode (Linux 6.18).
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;
/// For how long a queue is retried: the kernel takes a closed socket apart for 30–50 ms, longer
/// on a busy machine.
const BUSY_FOR: Duration = Duration::from_secs(1);
const BUSY_STEP: Duration = Duration::from_millis(10);

/// Opens a socket.
pub(super) fn open() -> Result<OwnedFd, XskError> {
    // SAFETY: a system call without pointers.
    let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd >= 0 {
        // SAFETY: the descriptor is new and nobody else's.
        return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
    }
    let source = io::Error::last_os_error();
    Err(match source.raw_os_error() {
        Some(libc::EPERM) => XskError::Permission,
        Some(libc::EAFNOSUPPORT) => XskError::NoAfXdp,
        _ => XskError::Setup { what: "opening a socket", source },
    })
}

/// The interface's number.
pub(super) fn interface_index(name: &str) -> Result<u32, XskError> {
    let missing = || XskError::NoInterface(name.to_owned());
    let text = CString::new(name).map_err(|_| missing())?;
    // SAFETY: the name is a C string that lives through the call.
    match unsafe { libc::if_nametoindex(text.as_ptr()) } {
        0 => Err(missing()),
        index => Ok(index),
    }
}

/// `ETHTOOL_GCHANNELS` and its answer (linux/ethtool.h).
const GET_CHANNELS: u32 = 0x3c;

#[repr(C)]
#[derive(Default)]
struct Channels {
    command: u32,
    max: [u32; 4],
    receive: u32,
    transmit: u32,
    other: u32,
    combined: u32,
}

/// Receive queues of the interface; one if its driver knows no queues.
pub(super) fn receive_queues(interface: &str) -> Result<u32, XskError> {
    let setup = |source| XskError::Setup { what: "asking for the number of queues", source };
    let mut request =
        interface_request(interface).ok_or_else(|| XskError::NoInterface(interface.to_owned()))?;
    let mut channels = Channels { command: GET_CHANNELS, ..Channels::default() };
    request.ifr_ifru.ifru_data = (&raw mut channels).cast();
    let control = control_socket().map_err(setup)?;
    // SAFETY: the request and the structure that it points to live through the call, which
    // writes to no more than they have.
    let result = unsafe { libc::ioctl(control.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if result == 0 {
        return Ok((channels.receive + channels.combined).max(1));
    }
    let source = io::Error::last_os_error();
    match source.raw_os_error() {
        Some(libc::EOPNOTSUPP) => Ok(1),
        Some(libc::ENODEV) => Err(XskError::NoInterface(interface.to_owned())),
        _ => Err(setup(source)),
    }
}

/// Binds the socket to a queue. With no `mode` the kernel takes zero-copy if the driver has it.
/// Waits up to a second for a queue that is in use.
pub(super) fn bind(
    fd: BorrowedFd<'_>,
    interface: &str,
    queue: u32,
    mode: Option<XskMode>,
) -> Result<XskMode, XskError> {
    let flags = match mode {
        None => 0,
        Some(XskMode::ZeroCopy) => libc::XDP_ZEROCOPY,
        Some(XskMode::Copy) => libc::XDP_COPY,
    };
    let address = libc::sockaddr_xdp {
        sxdp_family: FAMILY,
        sxdp_flags: flags | libc::XDP_USE_NEED_WAKEUP,
        sxdp_ifindex: interface_index(interface)?,
        sxdp_queue_id: queue,
        sxdp_shared_umem_fd: 0,
    };
    let mut waited = Duration::ZERO;
    loop {
        // SAFETY: the address lives through the call and its size is its own.
        let result = unsafe {
            libc::bind(
                fd.as_raw_fd(),
                (&raw const address).cast(),
                length_of::<libc::sockaddr_xdp>(),
            )
        };
        if result == 0 {
            break;
        }
        let source = io::Error::last_os_error();
        let interface = interface.to_owned();
        match source.raw_os_error() {
            Some(libc::EBUSY) if waited < BUSY_FOR => {
                std::thread::sleep(BUSY_STEP);
                waited += BUSY_STEP;
            }
            Some(libc::EBUSY) => return Err(XskError::Busy { interface, queue }),
            Some(libc::EINVAL) => return Err(XskError::Refused { interface, queue }),
            Some(libc::ENODEV) => return Err(XskError::NoInterface(interface)),
            Some(libc::EOPNOTSUPP) => return Err(XskError::NoZeroCopy(interface)),
            _ => return Err(XskError::Setup { what: "binding to a queue", source }),
        }
    }
    let options: libc::xdp_options = option(fd, libc::SOL_XDP, libc::XDP_OPTIONS)
        .map_err(|source| XskError::Setup { what: "asking for the mode", source })?;
    Ok(match options.flags & libc::XDP_OPTIONS_ZEROCOPY {
        0 => XskMode::Copy,
        _ => XskMode::ZeroCopy,
    })
}

/// Lets one kick send up to `packets` in copy mode. Kernels that do not know the option send 32
/// per kick, which the caller's repeated kicks make up for.
pub(super) fn widen_kick(fd: BorrowedFd<'_>, packets: u32) {
    let _ = set_option(fd, libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &packets);
    let _ = set_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &SEND_BUFFER);
}

/// Makes the kernel poll the NIC when we ask for packets, instead of waiting for interrupts.
pub(super) fn busy_poll(fd: BorrowedFd<'_>, for_: Duration, budget: u16) -> Result<(), XskError> {
    let micros = libc::c_int::try_from(for_.as_micros()).unwrap_or(libc::c_int::MAX);
    for (option, value) in [
        (libc::SO_PREFER_BUSY_POLL, 1),
        (libc::SO_BUSY_POLL, micros),
        (libc::SO_BUSY_POLL_BUDGET, libc::c_int::from(budget)),
    ] {
        set_option(fd, libc::SOL_SOCKET, option, &value)
            .map_err(|source| XskError::Setup { what: "switching busy polling on", source })?;
    }
    Ok(())
}

/// What a kick left to do.
#[derive(Debug)]
pub(super) enum Kick {
    /// The kernel took what it could at once.
    Done,
    /// The kernel stopped early: kick again.
    Again,
    /// The interface is down: kicking again is of no use until it is up.
    Down(io::Error),
    /// The interface is gone, and the socket is of no use any more.
    Gone(io::Error),
}

impl Kick {
    /// What became of a call that returned this.
    fn of(result: isize) -> Self {
        if result >= 0 {
            return Self::Done;
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EBUSY | libc::ENOBUFS | libc::EINTR) => Self::Again,
            Some(libc::ENXIO | libc::ENODEV) => Self::Gone(error),
            _ => Self::Down(error),
        }
    }
}

/// Tells the kernel to look at the transmit ring.
pub(super) fn kick_transmit(fd: BorrowedFd<'_>) -> Kick {
    // SAFETY: an empty message: the kernel reads no memory of ours.
    let result = unsafe {
        libc::sendto(fd.as_raw_fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0)
    };
    Kick::of(result)
}

/// Tells the kernel to look at the fill ring, or polls the NIC when busy polling is on.
pub(super) fn kick_receive(fd: BorrowedFd<'_>) -> Kick {
    // SAFETY: an empty buffer: the kernel writes no memory of ours.
    let result = unsafe {
        libc::recvfrom(
            fd.as_raw_fd(),
            std::ptr::null_mut(),
            0,
            libc::MSG_DONTWAIT,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    };
    Kick::of(result)
}
