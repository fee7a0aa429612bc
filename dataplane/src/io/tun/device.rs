//! Making a TUN device: queues, name, MTU, address, up.
//!
//! One descriptor per queue; the device goes away with the last of them. Nothing here touches
//! packets, and nothing is set on a device that another program made.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use crate::io::sys::{control_socket, interface_request, length_of};

/// The device to make.
#[derive(Debug, Clone)]
pub struct TunConfig {
    /// Its name, at most 15 bytes.
    pub name: String,
    /// Queues, one for each worker: from 1 to 256.
    pub queues: u16,
    /// Largest packet, bytes: from 68 to [`crate::frame::CAPACITY`].
    pub mtu: u16,
    /// Our address on it and the length of its prefix, bits.
    pub address: Option<(Ipv4Addr, u8)>,
}

/// Why there is no TUN device.
#[derive(Debug, thiserror::Error)]
pub enum TunError {
    /// The device node is missing.
    #[error(
        "/dev/net/tun is missing: load the module (modprobe tun), or give the container the device \
         (--device /dev/net/tun)"
    )]
    NoDeviceNode,
    /// The process may not make network devices.
    #[error("making the TUN device {0} needs CAP_NET_ADMIN: run as root or give the service that")]
    Permission(String),
    /// Something has this name already.
    #[error(
        "there is an interface named {0} already, perhaps of another instance: choose another name"
    )]
    NameTaken(String),
    /// No valid configuration.
    #[error("a TUN device has {0}")]
    Invalid(&'static str),
    /// Something else failed.
    #[error("TUN device {name}: {what} failed: {source}")]
    Setup {
        /// The device.
        name: String,
        /// What was attempted.
        what: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
}

/// Refuse a device that exists (linux/if_tun.h).
const IFF_TUN_EXCL: libc::c_int = 0x8000;

/// Says whether the device's line is up, as the kernel shows it. Without a line the kernel keeps
/// routes by the device and drops what it would send by it.
pub(super) fn set_carrier(queue: &File, up: bool) -> io::Result<()> {
    let up = libc::c_int::from(up);
    // SAFETY: the number lives through the call, which only reads it.
    let result = unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNSETCARRIER, &raw const up) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Makes the device and returns the descriptors of its queues, not blocking.
pub(super) fn create(config: &TunConfig) -> Result<Vec<File>, TunError> {
    if config.queues == 0 || config.queues > 256 {
        return Err(TunError::Invalid("from 1 to 256 queues"));
    }
    if !(68..=crate::frame::CAPACITY).contains(&usize::from(config.mtu)) {
        return Err(TunError::Invalid("an MTU from 68 to 3712 bytes"));
    }
    if config.address.is_some_and(|(_, length)| length > 32) {
        return Err(TunError::Invalid("an address with a prefix of 0 to 32 bits"));
    }
    let mut queues = Vec::with_capacity(usize::from(config.queues));
    for number in 0..config.queues {
        let exclusive = if number == 0 { IFF_TUN_EXCL } else { 0 };
        let flags = libc::IFF_TUN | libc::IFF_MULTI_QUEUE | libc::IFF_VNET_HDR | exclusive;
        let queue = open_queue(&config.name, flags)?;
        switch_offloads_on(&queue, &config.name)?;
        queues.push(queue);
    }
    configure(config)?;
    Ok(queues)
}

/// Makes a TAP device and returns the descriptor of its queue, not blocking.
pub(super) fn create_tap(name: &str, mtu: u16) -> Result<File, TunError> {
    let queue = open_queue(name, libc::IFF_TAP | IFF_TUN_EXCL)?;
    configure(&TunConfig { name: name.to_owned(), queues: 1, mtu, address: None })?;
    Ok(queue)
}

fn open_queue(name: &str, flags: libc::c_int) -> Result<File, TunError> {
    let setup =
        |what: &'static str| move |source| TunError::Setup { name: name.to_owned(), what, source };
    let queue = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")
        .map_err(|source| match source.raw_os_error() {
            Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => TunError::NoDeviceNode,
            Some(libc::EPERM | libc::EACCES) => TunError::Permission(name.to_owned()),
            _ => setup("opening /dev/net/tun")(source),
        })?;
    let mut request = request(name)?;
    request.ifr_ifru.ifru_flags = short(flags | libc::IFF_NO_PI);
    // SAFETY: the request lives through the call, which reads and writes nothing else.
    let result = unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if result < 0 {
        let source = io::Error::last_os_error();
        return Err(match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => TunError::Permission(name.to_owned()),
            Some(libc::EBUSY | libc::EEXIST) => TunError::NameTaken(name.to_owned()),
            _ => setup("making a queue")(source),
        });
    }
    Ok(queue)
}

fn switch_offloads_on(queue: &File, name: &str) -> Result<(), TunError> {
    let offloads = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    // SAFETY: the argument is a number.
    let result = unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNSETOFFLOAD, offloads) };
    if result < 0 {
        let (what, source) = ("switching offloads on", io::Error::last_os_error());
        return Err(TunError::Setup { name: name.to_owned(), what, source });
    }
    Ok(())
}

/// Sets MTU and address and brings the device up.
fn configure(config: &TunConfig) -> Result<(), TunError> {
    let setup = |what| move |source| TunError::Setup { name: config.name.clone(), what, source };
    let control = control_socket().map_err(setup("opening a socket"))?;
    let ask = |code: libc::Ioctl, what: &'static str, request: &mut libc::ifreq| {
        // SAFETY: the request lives through the call, which reads and writes nothing else.
        let result = unsafe { libc::ioctl(control.as_raw_fd(), code, std::ptr::from_mut(request)) };
        if result < 0 { Err(setup(what)(io::Error::last_os_error())) } else { Ok(()) }
    };

    let mut mtu = request(&config.name)?;
    mtu.ifr_ifru.ifru_mtu = libc::c_int::from(config.mtu);
    ask(libc::SIOCSIFMTU, "setting the MTU", &mut mtu)?;
    if let Some((address, length)) = config.address {
        let mut own = request(&config.name)?;
        own.ifr_ifru.ifru_addr = socket_address(address);
        ask(libc::SIOCSIFADDR, "setting the address", &mut own)?;
        let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
        let mut netmask = request(&config.name)?;
        netmask.ifr_ifru.ifru_netmask = socket_address(Ipv4Addr::from(mask));
        ask(libc::SIOCSIFNETMASK, "setting the prefix", &mut netmask)?;
    }
    let mut up = request(&config.name)?;
    ask(libc::SIOCGIFFLAGS, "reading its state", &mut up)?;
    // SAFETY: the call above filled in the flags.
    let flags = unsafe { up.ifr_ifru.ifru_flags };
    up.ifr_ifru.ifru_flags = flags | short(libc::IFF_UP);
    ask(libc::SIOCSIFFLAGS, "bringing it up", &mut up)
}

fn request(name: &str) -> Result<libc::ifreq, TunError> {
    interface_request(name).ok_or(TunError::Invalid("a name of 1 to 15 bytes"))
}

fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    const { assert!(length_of::<libc::sockaddr>() == length_of::<libc::sockaddr_in>()) };
    // SAFETY: a structure of numbers.
    let mut plain: libc::sockaddr = unsafe { std::mem::zeroed() };
    plain.sa_family = short(libc::AF_INET).cast_unsigned();
    // The address follows the port of two octets.
    for (place, octet) in plain.sa_data.iter_mut().skip(2).zip(address.octets()) {
        *place = libc::c_char::from_ne_bytes([octet]);
    }
    plain
}

/// The low sixteen bits, as the kernel declares flags.
#[expect(clippy::cast_possible_truncation, reason = "flags have sixteen bits, the highest set")]
const fn short(flags: libc::c_int) -> libc::c_short {
    flags as libc::c_short
}
