//! The raw GRE socket: IPv4 packets of protocol 47 through the kernel, many per system call.
//!
//! Needs no NIC set-up and runs wherever CAP_NET_RAW is given. The kernel reassembles fragments
//! before we see a packet, and fills in total length, checksum and a zero identification of what
//! we send (raw(7)); source address and DF are the sender's. It never waits.

mod filter;

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use super::sys::{length_of, option, set_option};
use super::{Link, Port, PortCounters, PortDrop};
use crate::frame::{CAPACITY, Frame, Pool};

/// Packets per system call.
const BURST: usize = 64;
/// Bytes that the kernel may queue in each direction, as we ask for them.
const BUFFER: libc::c_int = 8 << 20;
/// Length of an IPv4 header without options, and where its fields are (RFC 791 §3.1).
const HEADER: usize = 20;
const TYPE_OF_SERVICE: usize = 1;
const FLAGS: usize = 6;
const DONT_FRAGMENT: u8 = 0x40;
const SOURCE: usize = 12;
const DESTINATION: usize = 16;
/// Where `SO_MEMINFO` has the drops (linux/sock_diag.h).
const MEMINFO_DROPS: usize = 8;

/// Why there is no raw socket.
#[derive(Debug, thiserror::Error)]
pub enum RawError {
    /// The process may not open raw sockets.
    #[error("the GRE socket needs CAP_NET_RAW: run as root or give the service that capability")]
    Permission,
    /// No such share.
    #[error("worker {worker} of {workers} has no share of the tunnels")]
    Share {
        /// Number of the worker, from 0.
        worker: u16,
        /// Number of workers.
        workers: u16,
    },
    /// Something else failed.
    #[error("the GRE socket: {what} failed: {source}")]
    Setup {
        /// What was attempted.
        what: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
}

/// One worker's raw socket.
#[derive(Debug)]
pub struct RawPort {
    fd: OwnedFd,
    /// Sends what is longer than the interface's MTU: with a header of ours the kernel would not
    /// fragment.
    fragmenting: OwnedFd,
    receive_buffer: usize,
    kernel_drops: u32,
    counters: Arc<PortCounters>,
}

impl RawPort {
    /// Opens the socket of one worker: it receives the tunnels whose own Call ID is `worker`
    /// modulo `workers`.
    ///
    /// # Errors
    /// In the operator's words, see [`RawError`].
    pub fn open(worker: u16, workers: u16) -> Result<Self, RawError> {
        if worker >= workers {
            return Err(RawError::Share { worker, workers });
        }
        let socket = socket()?;
        let fd = socket.as_fd();
        let setup = |what| move |source| RawError::Setup { what, source };
        filter::attach(fd, worker, workers).map_err(setup("attaching the filter"))?;
        set_option(fd, libc::IPPROTO_IP, libc::IP_HDRINCL, &1)
            .map_err(setup("asking for our own IP headers"))?;
        let receive_buffer = widen(fd, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF)
            .map_err(setup("sizing the receive buffer"))?;
        widen(fd, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)
            .map_err(setup("sizing the send buffer"))?;

        let fragmenting = self::socket()?;
        filter::attach_nothing(fragmenting.as_fd()).map_err(setup("attaching the filter"))?;
        set_option(
            fragmenting.as_fd(),
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            &libc::IP_PMTUDISC_DONT,
        )
        .map_err(setup("allowing fragments"))?;
        Ok(Self {
            fd: socket,
            fragmenting,
            receive_buffer,
            kernel_drops: 0,
            counters: Arc::default(),
        })
    }

    /// Bytes of packets that the kernel queues for us, overhead included. Less than 16 MiB means
    /// that the limit could not be passed (no CAP_NET_ADMIN) and `net.core.rmem_max` holds.
    #[must_use]
    pub fn receive_buffer(&self) -> usize {
        self.receive_buffer
    }

    /// Sends `frames` in order; returns how many the kernel is done with and why it stopped.
    fn send(&self, frames: &mut [Frame]) -> (usize, Option<i32>) {
        let mut addresses = [PLAIN_ADDRESS; BURST];
        let mut parts = [EMPTY_PART; BURST];
        let mut messages = [EMPTY_MESSAGE; BURST];
        let count = frames.len().min(BURST);
        for (((frame, address), part), message) in
            frames.iter_mut().zip(&mut addresses).zip(&mut parts).zip(&mut messages)
        {
            address.sin_addr = in_addr(address_at(frame.data(), DESTINATION));
            let data = frame.data_mut();
            *part = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
            message.msg_hdr.msg_name = std::ptr::from_mut(address).cast();
            message.msg_hdr.msg_namelen = length_of::<libc::sockaddr_in>();
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: the first `count` messages point to addresses, parts and frames' packets that
        // all live through the call; the kernel only reads them.
        let sent = unsafe {
            libc::sendmmsg(
                self.fd.as_raw_fd(),
                messages.as_mut_ptr(),
                u32::try_from(count).unwrap_or(0),
                libc::MSG_DONTWAIT,
            )
        };
        match usize::try_from(sent) {
            Ok(sent) => (sent, None),
            Err(_) => (0, io::Error::last_os_error().raw_os_error()),
        }
    }

    /// Sends one packet that is longer than the interface's MTU in fragments, which only the
    /// kernel's own header allows. Identification and TTL become the kernel's.
    fn send_in_fragments(&self, packet: &[u8]) -> io::Result<()> {
        use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg};

        let header = usize::from(packet.first().copied().unwrap_or_default() & 0x0f) * 4;
        let refuse = || io::Error::from_raw_os_error(libc::EMSGSIZE);
        let payload = packet.get(header..).ok_or_else(refuse)?;
        if packet.get(FLAGS).is_none_or(|flags| flags & DONT_FRAGMENT != 0) {
            return Err(refuse());
        }
        let source = libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: in_addr(address_at(packet, SOURCE)),
            ipi_addr: in_addr(Ipv4Addr::UNSPECIFIED),
        };
        let service = i32::from(packet.get(TYPE_OF_SERVICE).copied().unwrap_or_default());
        set_option(self.fragmenting.as_fd(), libc::IPPROTO_IP, libc::IP_TOS, &service)?;
        sendmsg(
            self.fragmenting.as_raw_fd(),
            &[io::IoSlice::new(payload)],
            &[ControlMessage::Ipv4PacketInfo(&source)],
            MsgFlags::MSG_DONTWAIT,
            Some(&SockaddrIn::from(std::net::SocketAddrV4::new(
                address_at(packet, DESTINATION),
                0,
            ))),
        )?;
        Ok(())
    }

    fn refuse(&self, reason: PortDrop) {
        self.counters.dropped(reason).add(1);
    }
}

impl AsFd for RawPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Port for RawPort {
    fn link(&self) -> Link {
        Link::Ip
    }

    fn receive(&mut self, pool: &mut Pool, into: &mut Vec<Frame>, limit: usize) {
        let mut left = limit;
        while left > 0 {
            let mut parts = [EMPTY_PART; BURST];
            let mut messages = [EMPTY_MESSAGE; BURST];
            let first = into.len();
            for (part, message) in parts.iter_mut().zip(&mut messages).take(left) {
                let Some(mut frame) = pool.take() else { break };
                // A fresh frame has room for its capacity.
                let _ = frame.set_len(CAPACITY);
                let data = frame.data_mut();
                *part = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
                message.msg_hdr.msg_iov = part;
                message.msg_hdr.msg_iovlen = 1;
                into.push(frame);
            }
            let offered = into.len() - first;
            // SAFETY: the first `offered` messages point to parts that live through the call and
            // to chunks of frames that we own and do not touch meanwhile.
            let received = unsafe {
                libc::recvmmsg(
                    self.fd.as_raw_fd(),
                    messages.as_mut_ptr(),
                    u32::try_from(offered).unwrap_or(0),
                    libc::MSG_DONTWAIT,
                    std::ptr::null_mut(),
                )
            };
            let received = usize::try_from(received).unwrap_or(0);
            into.drain(first + received..).for_each(|frame| pool.put(frame));

            let (mut packets, mut bytes) = (0, 0);
            let mut kept = first;
            for (at, message) in (first..).zip(&messages[..received]) {
                if message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
                    self.refuse(PortDrop::TooLong);
                    continue;
                }
                into[at].truncate(message.msg_len as usize);
                packets += 1;
                bytes += into[at].len();
                into.swap(kept, at);
                kept += 1;
            }
            into.drain(kept..).for_each(|frame| pool.put(frame));
            self.counters.received(packets, bytes);
            if received < BURST {
                break;
            }
            left -= received.min(left);
        }
    }

    fn transmit(&mut self, pool: &mut Pool, frames: &mut Vec<Frame>) {
        frames.retain(|frame| {
            let sound = frame.len() >= HEADER && frame.data()[0] >> 4 == 4;
            if !sound {
                self.refuse(PortDrop::Malformed);
            }
            sound
        });
        let (mut packets, mut bytes) = (0, 0);
        let mut rest = frames.as_mut_slice();
        while !rest.is_empty() {
            let (sent, stopped) = self.send(rest);
            packets += sent;
            bytes += rest[..sent].iter().map(Frame::len).sum::<usize>();
            rest = &mut rest[sent..];
            // The error is the first unsent packet's own, or one of the whole socket.
            match (stopped, rest.first()) {
                (None | Some(libc::EINTR), _) | (_, None) => {}
                (Some(libc::EAGAIN | libc::ENOBUFS), _) => {
                    self.counters.dropped(PortDrop::TransmitFull).add(rest.len() as u64);
                    break;
                }
                (Some(libc::EMSGSIZE), Some(frame))
                    if self.send_in_fragments(frame.data()).is_ok() =>
                {
                    packets += 1;
                    bytes += frame.len();
                    rest = &mut rest[1..];
                }
                _ => {
                    self.refuse(PortDrop::TransmitRefused);
                    rest = &mut rest[1..];
                }
            }
        }
        self.counters.sent(packets, bytes);
        pool.put_all(frames);
    }

    fn flush(&mut self, _pool: &mut Pool) -> bool {
        false
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd.as_fd())
    }

    fn held(&self) -> usize {
        0
    }

    fn counters(&self) -> &Arc<PortCounters> {
        &self.counters
    }

    fn refresh_counters(&mut self) {
        let memory: io::Result<[u32; 9]> =
            option(self.fd.as_fd(), libc::SOL_SOCKET, libc::SO_MEMINFO);
        if let Ok(memory) = memory {
            let total = memory[MEMINFO_DROPS];
            let new = total.wrapping_sub(self.kernel_drops);
            self.kernel_drops = total;
            self.counters.dropped(PortDrop::SocketQueue).add(u64::from(new));
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the constant is 2")]
const PLAIN_ADDRESS: libc::sockaddr_in = libc::sockaddr_in {
    sin_family: libc::AF_INET as u16,
    sin_port: 0,
    sin_addr: libc::in_addr { s_addr: 0 },
    sin_zero: [0; 8],
};

const EMPTY_PART: libc::iovec = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };

// SAFETY: null pointers and zero lengths are what the structure means by "nothing".
const EMPTY_MESSAGE: libc::mmsghdr = unsafe { std::mem::zeroed() };

fn in_addr(address: Ipv4Addr) -> libc::in_addr {
    libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) }
}

/// The address at an offset of an IPv4 header; 0.0.0.0 beyond its end.
fn address_at(packet: &[u8], offset: usize) -> Ipv4Addr {
    let octets = packet.get(offset..).and_then(|rest| rest.first_chunk::<4>());
    octets.map_or(Ipv4Addr::UNSPECIFIED, |&octets| octets.into())
}

fn socket() -> Result<OwnedFd, RawError> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: a system call without pointers.
    let fd = unsafe { libc::socket(libc::AF_INET, kind, libc::IPPROTO_GRE) };
    if fd >= 0 {
        // SAFETY: the descriptor is new and nobody else's.
        return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
    }
    let source = io::Error::last_os_error();
    Err(match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => RawError::Permission,
        _ => RawError::Setup { what: "opening", source },
    })
}

/// Asks for a large buffer, beyond the system's limit if we may; returns what we got, bytes.
fn widen(fd: BorrowedFd<'_>, force: libc::c_int, ask: libc::c_int) -> io::Result<usize> {
    if set_option(fd, libc::SOL_SOCKET, force, &BUFFER).is_err() {
        set_option(fd, libc::SOL_SOCKET, ask, &BUFFER)?;
    }
    let bytes: libc::c_int = option(fd, libc::SOL_SOCKET, ask)?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}
