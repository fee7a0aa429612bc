//! The smallest XDP program: every packet goes to the AF_XDP socket of its own queue.
//!
//! Written as instructions, so that the drivers are tested without the steering program.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const MAP_CREATE: libc::c_long = 0;
const MAP_UPDATE: libc::c_long = 2;
const PROGRAM_LOAD: libc::c_long = 5;
const LINK_CREATE: libc::c_long = 28;

/// A program attached to an interface, with the map of its sockets. Detached when dropped.
pub struct Redirect {
    sockets: OwnedFd,
    _program: OwnedFd,
    _link: OwnedFd,
}

impl Redirect {
    /// Attaches the program in native mode.
    pub fn attach(interface: &str) -> Self {
        // map_type = XSKMAP, key_size, value_size, max_entries, flags
        let sockets = descriptor(bpf(MAP_CREATE, &[17_u32, 4, 4, 64, 0]));
        let map = u64::try_from(sockets.as_raw_fd()).unwrap();
        let instructions: [u64; 6] = [
            0x0000_0000_0010_1261, // r2 = ctx->rx_queue_index
            (map << 32) | 0x1118,  // r1 = the map…
            0,                     // …its upper half
            0x0000_0002_0000_03b7, // r3 = XDP_PASS, where the map has no socket
            0x0000_0033_0000_0085, // call bpf_redirect_map
            0x0000_0000_0000_0095, // return r0
        ];
        let license = CString::new("Dual MIT/GPL").unwrap();
        #[repr(C)]
        struct Load {
            program_type: u32,
            count: u32,
            instructions: u64,
            license: u64,
            rest: [u64; 12],
        }
        let program = descriptor(bpf(
            PROGRAM_LOAD,
            &Load {
                program_type: 6,
                count: 6,
                instructions: instructions.as_ptr() as u64,
                license: license.as_ptr() as u64,
                rest: [0; 12],
            },
        ));
        let index = nix::net::if_::if_nametoindex(interface).unwrap();
        let program_fd = u32::try_from(program.as_raw_fd()).unwrap();
        // attach_type = XDP, flags = native mode
        let link = descriptor(bpf(LINK_CREATE, &[program_fd, index, 37, 4, 0, 0, 0, 0]));
        Self { sockets, _program: program, _link: link }
    }

    /// Sends the packets of a queue to a socket.
    pub fn register(&self, queue: u32, socket: BorrowedFd<'_>) {
        let value = u32::try_from(socket.as_raw_fd()).unwrap();
        #[repr(C)]
        struct Update {
            map: u64,
            key: u64,
            value: u64,
            flags: u64,
        }
        let update = Update {
            map: u64::try_from(self.sockets.as_raw_fd()).unwrap(),
            key: std::ptr::from_ref(&queue) as u64,
            value: std::ptr::from_ref(&value) as u64,
            flags: 0,
        };
        bpf(MAP_UPDATE, &update);
    }
}

fn bpf<T>(command: libc::c_long, attributes: &T) -> libc::c_long {
    // SAFETY: the attributes live through the call, and so does what they point to.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    assert!(result >= 0, "bpf command {command}: {}", std::io::Error::last_os_error());
    result
}

fn descriptor(number: libc::c_long) -> OwnedFd {
    // SAFETY: bpf returned a new descriptor.
    unsafe { OwnedFd::from_raw_fd(i32::try_from(number).unwrap()) }
}
