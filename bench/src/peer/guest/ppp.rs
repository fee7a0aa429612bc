//! A PPTP tunnel of the Linux kernel's own: a socket of its pptp module, a PPP unit, MPPE's keys.
//!
//! Uses what accel-ppp and pptpd use once they have negotiated (uapi/linux/ppp-ioctl.h, if_pppox.h). Never
//! negotiates: both ends are told what they would have agreed on.

use std::fs::{File, OpenOptions};
use std::io::{Error, Result, Write};
use std::mem::size_of;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::libc;

const PX_PROTO_PPTP: libc::c_int = 2;
/// CCP is open: what passes of it begins compression.
const SC_CCP_OPEN: libc::c_int = 0x40;
/// It was acknowledged: what was compressed may be sent.
const SC_CCP_UP: libc::c_int = 0x80;
/// MPPE's option as ppp_mppe wants it (RFC 3078 §3): 128 bits, stateless. The key follows.
const MPPE: [u8; 6] = [18, 6, 0x01, 0, 0, 0x40];
/// CCP Configure-Ack of that option, after PPP's protocol number (RFC 1962 §2, RFC 1661 §5.2).
const CCP_ACKNOWLEDGES: [u8; 12] = [0x80, 0xFD, 2, 1, 0, 10, 18, 6, 0x01, 0, 0, 0x40];

/// `struct ppp_option_data`.
#[repr(C)]
pub struct OptionData {
    options: *const u8,
    length: u32,
    transmit: libc::c_int,
}

nix::ioctl_read!(ppp_get_channel, b't', 55, libc::c_int);
nix::ioctl_write_ptr!(ppp_attach_channel, b't', 56, libc::c_int);
nix::ioctl_write_ptr!(ppp_connect_channel, b't', 58, libc::c_int);
nix::ioctl_readwrite!(ppp_new_unit, b't', 62, libc::c_int);
nix::ioctl_write_ptr!(ppp_set_compression, b't', 77, OptionData);
nix::ioctl_write_ptr!(ppp_set_flags, b't', 89, libc::c_int);

/// An end of a tunnel: its address and its Call ID.
pub type End = (Ipv4Addr, u16);

/// Whether packets are sent or received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Send,
    Receive,
}

/// One end, in the network namespace of the thread that opened it, as interface `pppNUMBER`.
#[derive(Debug)]
pub struct Tunnel {
    unit: File,
    number: libc::c_int,
    _channel: File,
    _socket: OwnedFd,
}

impl Tunnel {
    /// Opens the end `local` of a tunnel to `peer`. The interface is down.
    pub fn open(local: End, peer: End) -> Result<Self> {
        let socket = connected(local, peer)?;
        let (channel, unit) = (device()?, device()?);
        let mut index = 0;
        // SAFETY: the kernel writes one int there.
        unsafe { ppp_get_channel(socket.as_raw_fd(), &raw mut index) }?;
        // SAFETY: the kernel reads one int there, as in the calls that follow.
        unsafe { ppp_attach_channel(channel.as_raw_fd(), &raw const index) }?;
        // The next free number.
        let mut number = -1;
        // SAFETY: the kernel reads and writes one int there.
        unsafe { ppp_new_unit(unit.as_raw_fd(), &raw mut number) }?;
        // SAFETY: as above.
        unsafe { ppp_connect_channel(channel.as_raw_fd(), &raw const number) }?;
        Ok(Self { unit, number, _channel: channel, _socket: socket })
    }

    /// Of its interface.
    pub fn number(&self) -> i32 {
        self.number
    }

    /// Gives MPPE a key for one way. It waits for CCP's Configure-Ack.
    pub fn set_key(&self, way: Way, key: [u8; 16]) -> Result<()> {
        let mut options = [0; MPPE.len() + 16];
        let (option, rest) = options.split_at_mut(MPPE.len());
        option.copy_from_slice(&MPPE);
        rest.copy_from_slice(&key);
        let length = u32::try_from(options.len()).map_err(Error::other)?;
        let transmit = libc::c_int::from(way == Way::Send);
        let data = OptionData { options: options.as_ptr(), length, transmit };
        // SAFETY: the kernel reads the structure, and as many octets as it says behind its pointer,
        // both of which outlive the call.
        unsafe { ppp_set_compression(self.unit.as_raw_fd(), &raw const data) }?;
        self.set_flags(SC_CCP_OPEN)
    }

    /// Sends CCP's Configure-Ack: we encrypt from now on, and the other end decrypts when it sees it
    /// pass. The interface is up.
    pub fn begin(&mut self) -> Result<()> {
        self.unit.write_all(&CCP_ACKNOWLEDGES)?;
        self.set_flags(SC_CCP_OPEN | SC_CCP_UP)
    }

    fn set_flags(&self, flags: libc::c_int) -> Result<()> {
        // SAFETY: the kernel reads one int there.
        unsafe { ppp_set_flags(self.unit.as_raw_fd(), &raw const flags) }?;
        Ok(())
    }
}

fn device() -> Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/ppp")
}

fn connected(local: End, peer: End) -> Result<OwnedFd> {
    // SAFETY: no pointer is passed.
    let raw = unsafe {
        libc::socket(libc::AF_PPPOX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, PX_PROTO_PPTP)
    };
    if raw < 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: the call above made this descriptor and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    let length = libc::socklen_t::try_from(size_of::<[u8; ADDRESS]>()).map_err(Error::other)?;
    let address = pppox(local);
    // SAFETY: the kernel reads `length` octets of an address that has as many.
    let bound = unsafe { libc::bind(raw, address.as_ptr().cast(), length) };
    if bound < 0 {
        return Err(Error::last_os_error());
    }
    let address = pppox(peer);
    // SAFETY: as above.
    let connected = unsafe { libc::connect(raw, address.as_ptr().cast(), length) };
    if connected < 0 {
        return Err(Error::last_os_error());
    }
    Ok(socket)
}

/// AF_PPPOX, as addresses have it.
const FAMILY: u16 = 24;

const _: () = assert!(FAMILY as libc::c_int == libc::AF_PPPOX);

/// Octets of the kernel's `struct sockaddr_pppox`, which is packed.
const ADDRESS: usize = 30;

/// Family, protocol, Call ID, two octets of padding, IPv4 address: `struct sockaddr_pppox` with a
/// `struct pptp_addr`.
fn pppox((address, call_id): End) -> [u8; ADDRESS] {
    let mut octets = [0; ADDRESS];
    octets[..2].copy_from_slice(&FAMILY.to_ne_bytes());
    octets[2..6].copy_from_slice(&PX_PROTO_PPTP.to_ne_bytes());
    octets[6..8].copy_from_slice(&call_id.to_ne_bytes());
    octets[10..14].copy_from_slice(&address.octets());
    octets
}
