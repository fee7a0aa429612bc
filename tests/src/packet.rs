//! A packet socket on one link: whole Ethernet frames, as captures and the impairment hop need.
//! packet(7) is the authority.
//! Never changes a frame.

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::netns::Namespace;

/// Room for bursts that come while the reader does not run.
const RECEIVE_BUFFER: libc::c_int = 64 << 20;

/// Which frames a socket delivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Only what arrives on the link.
    Incoming,
    /// What leaves by the link too.
    Both,
}

/// A packet socket bound to one link.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
}

impl PacketSocket {
    /// Opens the socket on a link of the namespace.
    ///
    /// # Errors
    /// When there is no such link or the kernel refuses.
    pub fn open(namespace: &Namespace, link: &str, direction: Direction) -> Result<Self> {
        namespace.run(|| {
            let index = if_nametoindex(link).with_context(|| format!("finding link {link}"))?;
            let socket = bound_socket(i32::try_from(index)?, direction)
                .with_context(|| format!("opening a packet socket on {link}"))?;
            Ok(Self { socket })
        })
    }

    /// Waits for a frame, at most `limit`; `None` when none came. A frame longer than `buffer`
    /// is cut.
    ///
    /// # Errors
    /// When the link is gone.
    pub fn receive(&self, buffer: &mut [u8], limit: Duration) -> io::Result<Option<usize>> {
        let mut waited = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        if poll(&mut waited, timeout)? == 0 {
            return Ok(None);
        }
        let length = nix::sys::socket::recv(
            self.socket.as_raw_fd(),
            buffer,
            nix::sys::socket::MsgFlags::MSG_DONTWAIT,
        );
        match length {
            Ok(length) => Ok(Some(length)),
            Err(nix::Error::EAGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends a frame by the link.
    ///
    /// # Errors
    /// When the link is down or gone, or the frame is longer than it takes.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        nix::sys::socket::send(
            self.socket.as_raw_fd(),
            frame,
            nix::sys::socket::MsgFlags::empty(),
        )?;
        Ok(())
    }
}

fn bound_socket(index: libc::c_int, direction: Direction) -> io::Result<OwnedFd> {
    let all = short(libc::ETH_P_ALL)?.to_be();
    // Protocol 0: nothing is received before the socket is bound to its link.
    let socket = raw_socket(libc::AF_PACKET, 0)?;
    set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER)?;
    if direction == Direction::Incoming {
        set_option(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1)?;
    }
    let address = libc::sockaddr_ll {
        sll_family: short(libc::AF_PACKET)?,
        sll_protocol: all,
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = size_in_bytes(&address)?;
    // SAFETY: the address is a whole sockaddr_ll and `length` is its size.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if bound < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}

/// A raw IPv4 socket of an IP protocol: the kernel adds headers to what is sent, what is received
/// has them. Used with addresses it is like a UDP socket whose port means nothing.
pub(crate) fn raw_ip_socket(protocol: u8) -> io::Result<OwnedFd> {
    raw_socket(libc::AF_INET, protocol.into())
}

/// A raw IPv4 socket in a namespace that takes whole packets, their headers too: for those who lie
/// about where they come from.
///
/// # Errors
/// Without root.
pub fn forged_ip_socket(namespace: &Namespace) -> Result<UdpSocket> {
    namespace.run(|| {
        let raw = raw_socket(libc::AF_INET, libc::IPPROTO_RAW).context("opening a raw socket")?;
        Ok(UdpSocket::from(raw))
    })
}

fn raw_socket(family: libc::c_int, protocol: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: no pointer is passed.
    let raw = unsafe { libc::socket(family, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call above made this descriptor and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Sets an option whose value is an int.
pub(crate) fn set_option(
    socket: &impl AsRawFd,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let length = size_in_bytes(&value)?;
    // SAFETY: the value is a whole int and `length` is its size.
    let set = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), length)
    };
    if set < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn short(constant: libc::c_int) -> io::Result<u16> {
    u16::try_from(constant).map_err(io::Error::other)
}

fn size_in_bytes<T>(value: &T) -> io::Result<libc::socklen_t> {
    libc::socklen_t::try_from(size_of_val(value)).map_err(io::Error::other)
}
