//! The kernel's interfaces that tests need and no crate of ours wraps: BPF_PROG_RUN, AF_XDP sockets
//! that only count what reaches them, raw frames on an interface. All of the tests' unsafe code.

use std::io;
use std::mem::size_of;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// `bpf_attr` of BPF_PROG_RUN (uapi/linux/bpf.h).
#[repr(C)]
#[derive(Default)]
struct ProgRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    zero: u32,
}

/// Runs the program over a frame that came in by queue 0 of the loopback interface. The number of
/// its verdict. The kernel takes no frame shorter than an Ethernet header.
pub fn prog_run(program: BorrowedFd<'_>, frame: &[u8]) -> u32 {
    const BPF_PROG_RUN: libc::c_long = 10;
    let mut attr = ProgRun {
        prog_fd: u32::try_from(program.as_raw_fd()).unwrap(),
        data_size_in: u32::try_from(frame.len()).unwrap(),
        data_in: frame.as_ptr().expose_provenance() as u64,
        repeat: 1,
        ..ProgRun::default()
    };
    // SAFETY: `attr` is as large as said; the kernel reads `frame` only and writes no packet back,
    // because there is no `data_out`.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_RUN, &raw mut attr, size_of::<ProgRun>()) };
    assert_eq!(result, 0, "BPF_PROG_RUN: {}", io::Error::last_os_error());
    attr.retval
}

fn checked(result: libc::c_int) -> libc::c_int {
    assert!(result >= 0, "{}", io::Error::last_os_error());
    result
}

fn family(number: libc::c_int) -> libc::sa_family_t {
    number.try_into().unwrap()
}

fn set_option<T>(socket: &OwnedFd, option: libc::c_int, value: &T) {
    let size = libc::socklen_t::try_from(size_of::<T>()).unwrap();
    // SAFETY: the value lives across the call and has the size that is said.
    checked(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_XDP,
            option,
            std::ptr::from_ref(value).cast(),
            size,
        )
    });
}

/// An AF_XDP socket that counts what reaches it: its fill ring stays empty, so every frame is
/// refused and counted.
pub struct CountingSocket {
    socket: OwnedFd,
    memory: Option<NonNull<libc::c_void>>,
}

const CHUNK: u32 = 4096;

impl CountingSocket {
    /// Not bound: enough for the map of sockets.
    pub fn unbound() -> Self {
        // SAFETY: no pointer is passed.
        let socket = checked(unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW, 0) });
        // SAFETY: the descriptor is new and nobody else's.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        set_option(&socket, libc::XDP_RX_RING, &64_u32);
        Self { socket, memory: None }
    }

    /// Bound to a queue of an interface.
    pub fn bound(ifindex: u32, queue: u32) -> Self {
        let mut this = Self::unbound();
        let length = NonZeroUsize::new(CHUNK as usize).unwrap();
        // SAFETY: a new mapping, wherever the kernel likes it.
        let memory = unsafe {
            mmap_anonymous(
                None,
                length,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_PRIVATE,
            )
        }
        .unwrap();
        this.memory = Some(memory);
        set_option(
            &this.socket,
            libc::XDP_UMEM_REG,
            &libc::xdp_umem_reg {
                addr: memory.as_ptr().expose_provenance() as u64,
                len: CHUNK.into(),
                chunk_size: CHUNK,
                headroom: 0,
                flags: 0,
                tx_metadata_len: 0,
            },
        );
        set_option(&this.socket, libc::XDP_UMEM_FILL_RING, &64_u32);
        set_option(&this.socket, libc::XDP_UMEM_COMPLETION_RING, &64_u32);
        let address = libc::sockaddr_xdp {
            sxdp_family: family(libc::AF_XDP),
            sxdp_flags: libc::XDP_COPY,
            sxdp_ifindex: ifindex,
            sxdp_queue_id: queue,
            sxdp_shared_umem_fd: 0,
        };
        let size = libc::socklen_t::try_from(size_of::<libc::sockaddr_xdp>()).unwrap();
        // SAFETY: the address lives across the call and has the size that is said.
        checked(unsafe { libc::bind(this.socket.as_raw_fd(), (&raw const address).cast(), size) });
        this
    }

    /// Frames that reached the socket.
    pub fn reached(&self) -> u64 {
        let mut statistics = libc::xdp_statistics {
            rx_dropped: 0,
            rx_invalid_descs: 0,
            tx_invalid_descs: 0,
            rx_ring_full: 0,
            rx_fill_ring_empty_descs: 0,
            tx_ring_empty_descs: 0,
        };
        let mut size = libc::socklen_t::try_from(size_of::<libc::xdp_statistics>()).unwrap();
        // SAFETY: the kernel writes no more than the size of `statistics`.
        checked(unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_XDP,
                libc::XDP_STATISTICS,
                (&raw mut statistics).cast(),
                &raw mut size,
            )
        });
        statistics.rx_dropped
    }
}

impl AsFd for CountingSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for CountingSocket {
    fn drop(&mut self) {
        if let Some(memory) = self.memory {
            // SAFETY: our mapping with its own length; nothing in this process points into it.
            unsafe { munmap(memory, CHUNK as usize) }.unwrap();
        }
    }
}

/// Sends a frame out of an interface as it is.
pub fn send_frame(ifindex: u32, frame: &[u8]) {
    // SAFETY: no pointer is passed.
    let socket = checked(unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0) });
    // SAFETY: the descriptor is new and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let address = libc::sockaddr_ll {
        sll_family: family(libc::AF_PACKET),
        sll_protocol: 0,
        sll_ifindex: i32::try_from(ifindex).unwrap(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let size = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).unwrap();
    // SAFETY: frame and address live across the call and have the sizes that are said.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const address).cast(),
            size,
        )
    };
    assert_eq!(usize::try_from(sent).unwrap(), frame.len(), "{}", io::Error::last_os_error());
}

/// Takes all capabilities but these (numbers of uapi/linux/capability.h) from the calling thread.
pub fn keep_capabilities(kept: &[u32]) {
    const VERSION_3: u32 = 0x2008_0522;
    let mask = kept.iter().fold(0_u64, |mask, capability| mask | 1 << capability);
    let halves = [0, 32].map(|shift| u32::try_from(mask >> shift & 0xFFFF_FFFF).unwrap());
    // Version and thread (0: this one); effective, permitted, inheritable, low half first.
    let header = [VERSION_3, 0];
    let data = halves.map(|half| [half, half, 0]);
    // SAFETY: both live across the call and have the layout of the kernel's structures of `u32`.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) };
    assert_eq!(result, 0, "this test needs root: {}", io::Error::last_os_error());
}
