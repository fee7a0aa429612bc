//! What can go wrong with a program in the kernel, told so that an operator knows what to do. Never hides
//! the kernel's own reason: it is the source of the error.

use std::{fs, io};

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::{ProgramError, XdpError};

/// Why steering failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The process may not use BPF.
    #[error(
        "BPF needs {missing}: run as root, or grant it (AmbientCapabilities= in the systemd unit, \
         --cap-add for a container)"
    )]
    Privilege {
        /// The missing capabilities.
        missing: String,
    },

    /// The capabilities are there, and yet the kernel refuses to make maps.
    #[error(
        "the kernel refuses BPF maps although the capabilities are there: before Linux 5.11 the \
         limit of locked memory is too low (ulimit -l, LimitMEMLOCK= in the systemd unit), else \
         the process is in a user namespace, where BPF does not work"
    )]
    LockedMemory,

    /// The kernel did not take the program or its maps.
    #[error("the kernel did not take the BPF program: {}", causes(.0))]
    Load(#[source] EbpfError),

    /// The committed object does not fit to this loader.
    #[error("the BPF object has no usable {0}: rebuild it with `make ebpf`")]
    Object(&'static str),

    /// There is no such interface in this network namespace.
    #[error("there is no interface {interface} here")]
    NoInterface {
        /// Its name.
        interface: String,
    },

    /// The interface was attached before.
    #[error("interface {interface} is attached already")]
    AlreadyAttached {
        /// Its name.
        interface: String,
    },

    /// Somebody else's XDP program is there; it stays.
    #[error(
        "interface {interface} has another XDP program, {program}: stop what attached it, or \
         remove it with `ip link set dev {interface} xdp off`"
    )]
    Occupied {
        /// The interface's name.
        interface: String,
        /// The program that is there.
        program: String,
    },

    /// The interface takes XDP neither natively nor generically.
    #[error("interface {interface} does not take XDP: native: {native}; generic: {generic}")]
    Attach {
        /// Its name.
        interface: String,
        /// The reason against native XDP.
        native: String,
        /// The reason against generic XDP.
        generic: String,
    },

    /// The listening socket takes no filter.
    #[error("the listening socket takes no filter: {reason}")]
    Listener {
        /// The kernel's reason.
        reason: String,
    },

    /// The interface was never attached, or is detached.
    #[error("interface {ifindex} is not attached")]
    NotAttached {
        /// Its index.
        ifindex: u32,
    },

    /// The port has fewer queues.
    #[error("interface {ifindex} was attached with {queues} queues, there is no queue {queue}")]
    NoQueue {
        /// Index of the interface.
        ifindex: u32,
        /// The queue that was asked for, from 0.
        queue: u32,
        /// Queues of the port.
        queues: u32,
    },

    /// A prefix is longer than an address.
    #[error("a prefix of {length} bits is longer than its address")]
    PrefixLength {
        /// The length, bits.
        length: u8,
    },

    /// A map is full: its size is set when the program is loaded.
    #[error("no room for another of the {limit} {map} that the map was made for")]
    Full {
        /// What the map holds.
        map: &'static str,
        /// How many it can hold.
        limit: u32,
    },

    /// A map refused a change or a question.
    #[error("BPF map of {map}: {}", causes(.source))]
    Map {
        /// What the map holds.
        map: &'static str,
        /// The kernel's reason.
        source: MapError,
    },

    /// A bench's packets cannot be made.
    #[error("making packets in the kernel: {reason}")]
    Generated {
        /// What is wrong with them, or the kernel's reason.
        reason: String,
    },

    /// The kernel did not tell about an interface.
    #[error("asking the kernel about interface {interface}: {source}")]
    Query {
        /// Its name.
        interface: String,
        /// The kernel's reason.
        source: io::Error,
    },
}

impl Error {
    /// Tells a lack of rights from all that the kernel refuses for other reasons.
    pub(crate) fn load(error: EbpfError) -> Self {
        let errno = match &error {
            EbpfError::MapError(error) => map_errno(error),
            EbpfError::ProgramError(error) => program_errno(error),
            _ => None,
        };
        if errno == Some(libc::EPERM) { Self::denied() } else { Self::Load(error) }
    }

    /// The kernel said EPERM.
    pub(crate) fn denied() -> Self {
        let missing = missing_capabilities(
            &fs::read_to_string("/proc/thread-self/status").unwrap_or_default(),
        );
        if missing.is_empty() {
            Self::LockedMemory
        } else {
            Self::Privilege { missing: missing.join(" and ") }
        }
    }

    pub(crate) fn map(map: &'static str, limit: u32, source: MapError) -> Self {
        match map_errno(&source) {
            Some(libc::E2BIG | libc::ENOSPC) => Self::Full { map, limit },
            Some(libc::EPERM) => Self::denied(),
            _ => Self::Map { map, source },
        }
    }
}

/// An error and what it came from, on one line. aya's errors leave their sources out.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

pub(crate) fn map_errno(error: &MapError) -> Option<i32> {
    match error {
        MapError::CreateError { io_error, .. } => io_error.raw_os_error(),
        MapError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    }
}

pub(crate) fn program_errno(error: &ProgramError) -> Option<i32> {
    match error {
        ProgramError::LoadError { io_error, .. } => io_error.raw_os_error(),
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        ProgramError::XdpError(XdpError::NetlinkError(error))
        | ProgramError::NetlinkError(error) => error.raw_os_error(),
        _ => None,
    }
}

/// The capabilities that our programs need and `status` (/proc/thread-self/status) does not have.
fn missing_capabilities(status: &str) -> Vec<&'static str> {
    const CAP_NET_ADMIN: u32 = 12;
    const CAP_SYS_ADMIN: u32 = 21;
    const CAP_BPF: u32 = 39;

    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    let has = |capability: u32| effective >> capability & 1 == 1;

    let mut missing = Vec::new();
    if !has(CAP_BPF) && !has(CAP_SYS_ADMIN) {
        missing.push("CAP_BPF");
    }
    if !has(CAP_NET_ADMIN) {
        missing.push("CAP_NET_ADMIN");
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_capabilities_are_named() {
        let status = |mask: &str| format!("Name:\tpenstock\nCapEff:\t{mask}\nCapBnd:\t0\n");
        assert_eq!(missing_capabilities(&status("0000000000000000")), ["CAP_BPF", "CAP_NET_ADMIN"]);
        assert_eq!(missing_capabilities(&status("0000008000001000")), [""; 0]);
        assert_eq!(missing_capabilities(&status("0000000000201000")), [""; 0]);
        assert_eq!(missing_capabilities(&status("0000008000000000")), ["CAP_NET_ADMIN"]);
        assert_eq!(missing_capabilities("").len(), 2);
    }
}
