//! What the data plane is told at its start, and what it chose.
//!
//! A configuration is refused as a whole with a reason, or taken as it is; what the machine
//! decides (native or generic XDP, zero-copy or copy, the cores) is in the [`Report`].

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

pub use ebpf::{Tag, TagKind, Tags, TagsError};

use super::{Ipv6Prefix, Prefix};
pub use crate::mppe::{Choice, Kernel};

/// The fewest frames that a worker can do with.
pub const MIN_FRAMES: u32 = 1024;

/// How the data plane is to run. [`Config::default`] is the embedded form: one worker, a raw GRE
/// socket and a TUN, no interface of its own.
#[derive(Debug, Clone)]
pub struct Config {
    /// Worker threads, 1 to 64.
    pub workers: usize,
    /// The cores that the workers are pinned to, in order. Empty: the first ones that the process
    /// may use; a lone worker without interfaces is not pinned. Fewer than workers is refused.
    pub cores: Vec<usize>,
    /// Workers never sleep, and have the kernel poll the queues of `interfaces` for so long at a time;
    /// microseconds are kept. `None`: workers sleep until an interrupt wakes them.
    pub busy_poll: Option<Duration>,
    /// Whether tunnels move to the workers on whose queues their packets arrive, and away from those
    /// that have too much to do.
    pub balance: bool,
    /// Interfaces whose queues the workers drive by AF_XDP. Empty: all packets pass the kernel.
    pub interfaces: Vec<Interface>,
    /// Addresses that GRE comes to, for XDP's filter. Each tunnel's own local address is added
    /// when it opens.
    pub listen: Vec<Ipv4Addr>,
    /// The way to and from the kernel.
    pub tun: Tun,
    /// The table that subscribers' packets are routed by.
    pub table: RouteTable,
    /// Tunnels that can be open at once.
    pub max_tunnels: u32,
    /// Frames of packet memory per worker, each of 4 KiB, beyond those that AF_XDP's rings hold;
    /// [`MIN_FRAMES`] at least.
    pub frames: u32,
    /// How MPPE is computed; `None` takes what is fastest on this machine.
    pub mppe: Option<Kernel>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            workers: 1,
            cores: Vec::new(),
            busy_poll: None,
            balance: true,
            interfaces: Vec::new(),
            listen: Vec::new(),
            tun: Tun::default(),
            table: RouteTable::Main,
            max_tunnels: 65_535,
            frames: 4096,
            mppe: None,
        }
    }
}

/// A table of the kernel's routes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RouteTable {
    /// The main table, which peers of tunnels are always routed by.
    #[default]
    Main,
    /// The one with this number.
    Number(u32),
    /// That of the VRF with this name.
    Vrf(String),
}

/// An interface that is driven by AF_XDP: itself, or the ports below it if it is a VLAN or a bond.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name. Its addresses, MAC address, routes and neighbours count.
    pub name: String,
    /// What comes in by it.
    pub role: Role,
    /// How many of its queues are driven, from 0 on; they are dealt to the workers in turn.
    /// `None`: all that it has.
    pub queues: Option<u32>,
    /// The ports that its frames pass and the VLAN tags that they have there. `None`: as the
    /// kernel says.
    pub below: Option<Below>,
}

/// How frames of an interface pass.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Below {
    /// By these ports: one, or several that share the packets.
    pub ports: Vec<String>,
    /// With these VLAN tags.
    pub tags: Tags,
}

/// What comes in by a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Subscribers' GRE.
    Access,
    /// Plain IP of the core network.
    Core,
    /// Either.
    Both,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Access => "access",
            Self::Core => "core",
            Self::Both => "access and core",
        })
    }
}

impl Role {
    /// Whether GRE is expected.
    #[must_use]
    pub fn is_access(self) -> bool {
        matches!(self, Self::Access | Self::Both)
    }

    /// Whether plain IP is expected.
    #[must_use]
    pub fn is_core(self) -> bool {
        matches!(self, Self::Core | Self::Both)
    }
}

/// The TUN interface, one for the whole data plane with a queue for each worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tun {
    /// Its name, at most 15 bytes.
    pub name: String,
    /// Its MTU: the kernel fragments by it what it sends to subscribers. Tunnels may have less.
    pub mtu: u16,
    /// Our inner address: set on the TUN, and never steered past the kernel. `None`: the
    /// addresses of tunnels are elsewhere on this machine (the LAN port's own).
    pub address: Option<Ipv4Addr>,
    /// Prefixes of subscribers' addresses: routed to the TUN, and steered by XDP.
    pub pools: Vec<Prefix>,
    /// Further addresses of ours inside `pools` that XDP leaves to the kernel.
    pub exempt: Vec<Ipv4Addr>,
    /// Prefixes of subscribers' IPv6, steered by XDP. The kernel's routes to them are the caller's.
    pub pools_ipv6: Vec<Ipv6Prefix>,
    /// Addresses of ours that XDP leaves to the kernel wherever they lie.
    pub exempt_ipv6: Vec<Ipv6Addr>,
}

impl Default for Tun {
    fn default() -> Self {
        Self {
            name: "penstock0".to_owned(),
            mtu: 1450,
            address: None,
            pools: Vec::new(),
            exempt: Vec::new(),
            pools_ipv6: Vec::new(),
            exempt_ipv6: Vec::new(),
        }
    }
}

/// What is to be known of an interface before it is driven, in the operator's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remark {
    /// It is as it should be, or will be made so.
    Fine(String),
    /// It can be driven, but not as one would like.
    Warning(String),
    /// The data plane would not start.
    Refusal(String),
}

/// What was chosen at the start, to be logged and printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Workers in the order of their numbers.
    pub workers: Vec<WorkerReport>,
    /// How MPPE is computed, and why so.
    pub mppe: Choice,
}

/// Where a worker runs and what it drives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerReport {
    /// The core it is pinned to, if it is.
    pub core: Option<usize>,
    /// Its ports.
    pub ports: Vec<PortReport>,
}

/// One queue of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortReport {
    /// The interface's name; `gre` for the raw socket.
    pub name: String,
    /// The driver: `AF_XDP`, `raw` or `tun`.
    pub driver: &'static str,
    /// The queue's number.
    pub queue: u32,
    /// What comes in by it, by whatever VLAN.
    pub role: Role,
    /// The interfaces whose frames pass it: `eth0.100: access, VLAN 100` and the like. Empty if
    /// there is none but itself.
    pub lines: Vec<String>,
    /// How it runs: `native, zero-copy` and the like; empty where there is no choice.
    pub mode: String,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "MPPE: {}", self.mppe)?;
        for (number, worker) in self.workers.iter().enumerate() {
            match worker.core {
                Some(core) => writeln!(f, "worker {number} on core {core}")?,
                None => writeln!(f, "worker {number}, not pinned")?,
            }
            for port in &worker.ports {
                let PortReport { name, queue, role, driver, .. } = port;
                write!(f, "  {name} queue {queue}: {role}, {driver}")?;
                if !port.mode.is_empty() {
                    write!(f, " ({})", port.mode)?;
                }
                writeln!(f)?;
                for line in &port.lines {
                    writeln!(f, "    {line}")?;
                }
            }
        }
        Ok(())
    }
}

/// Why the data plane did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A value of the configuration is out of its range.
    #[error("data plane configuration: {0}")]
    Config(String),
    /// A port, the packet memory or the XDP program cannot be had.
    #[error(transparent)]
    Port(Box<dyn std::error::Error + Send + Sync>),
    /// The system refused something that is needed.
    #[error("{what}: {source}")]
    System {
        /// What was being done.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
}

impl StartError {
    /// A driver's reason, which says all there is to say.
    pub(crate) fn port(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Port(Box::new(error))
    }

    pub(crate) fn system(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::System { what: what.into(), source: source.into() }
    }
}
