//! `[dataplane]`: threads, ports and drivers of the packet path.
//!
//! Never looks at the machine: whether a port exists is found out at the start and by
//! `penstock check`.

use dataplane::api::config::{Kernel, MIN_FRAMES, RouteTable, Tags, TagsError};
use serde::Deserialize;

use super::{ConfigError, interface_name};

/// The longest that the kernel may poll at a time, microseconds: packets of other ports wait meanwhile.
const MAX_BUSY_POLL: u32 = 10_000;

/// Threads, ports and drivers of the packet path.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Dataplane {
    /// Pinned worker threads; 0 is one for each core that we may run on.
    pub workers: u16,
    /// The cores that workers are pinned to, one for each; empty: the first that we may run on.
    pub cores: Vec<u16>,
    /// Microseconds for which the kernel polls a queue for a worker that never sleeps; 0: it sleeps.
    pub busy_poll: u32,
    /// Whether tunnels move between workers.
    pub balance: bool,
    /// The table that workers route subscribers' packets by.
    pub table: Table,
    /// Packets that each worker can hold at once, in 4 KiB each; 1024 at least.
    pub frames: u32,
    /// Name of the TUN interface.
    pub tun: String,
    /// How MPPE is computed.
    pub mppe: Mppe,
    /// Ports that AF_XDP drives. None: raw GRE socket and TUN.
    pub interface: Vec<Interface>,
}

impl Default for Dataplane {
    fn default() -> Self {
        Self {
            workers: 0,
            cores: Vec::new(),
            busy_poll: 0,
            balance: true,
            table: Table::default(),
            frames: 4096,
            tun: "penstock".to_owned(),
            mppe: Mppe::Auto,
            interface: Vec::new(),
        }
    }
}

/// How MPPE is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mppe {
    /// As a short measurement at the start finds fastest.
    Auto,
    /// Packets side by side in lanes, with AVX-512 and its byte permutes (VBMI).
    Avx512,
    /// The same with AVX2.
    Avx2,
    /// On every CPU.
    Portable,
}

impl Mppe {
    /// The data plane's word for it.
    #[must_use]
    pub const fn kernel(self) -> Option<Kernel> {
        match self {
            Self::Auto => None,
            Self::Avx512 => Some(Kernel::Avx512),
            Self::Avx2 => Some(Kernel::Avx2),
            Self::Portable => Some(Kernel::Portable),
        }
    }
}

/// One port of the packet path.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Interface {
    /// Its name in the kernel.
    pub name: String,
    /// Which side it serves.
    pub role: Role,
    /// How many of its queues are driven, from the first on; 0: all.
    #[serde(default)]
    pub queues: u16,
    /// The ports by which its frames pass, where the kernel does not say it.
    #[serde(default)]
    pub ports: Vec<String>,
    /// The VLAN tags that they have there. Empty: none.
    #[serde(default)]
    pub vlan: Vlan,
}

/// A table of routes as an operator names it: "main", a number, or a VRF.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "toml::Value")]
pub struct Table(pub RouteTable);

impl TryFrom<toml::Value> for Table {
    type Error = &'static str;

    fn try_from(value: toml::Value) -> Result<Self, Self::Error> {
        const WRONG: &str = "a table is \"main\", its number, or the name of a VRF";
        match value {
            toml::Value::String(name) if name == "main" => Ok(Self(RouteTable::Main)),
            toml::Value::String(name) => {
                interface_name(&name).map_err(|_| WRONG)?;
                Ok(Self(RouteTable::Vrf(name)))
            }
            toml::Value::Integer(number) => match u32::try_from(number) {
                Ok(number @ 1..) => Ok(Self(RouteTable::Number(number))),
                _ => Err(WRONG),
            },
            _ => Err(WRONG),
        }
    }
}

/// VLAN tags as an operator writes them: `100`, or `100.200` for VLAN 200 in service VLAN 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "String")]
pub struct Vlan(pub Tags);

impl TryFrom<String> for Vlan {
    type Error = TagsError;

    fn try_from(text: String) -> Result<Self, TagsError> {
        if text.is_empty() { Ok(Self::default()) } else { text.parse().map(Self) }
    }
}

/// Which side a port serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Subscribers' tunnels arrive here.
    Access,
    /// Subscribers' packets leave in the clear here.
    Core,
    /// Both.
    Both,
}

impl Dataplane {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let below = self.interface.iter().flat_map(|interface| &interface.ports);
        let names = self.interface.iter().map(|interface| &interface.name);
        for name in names.chain(below).chain([&self.tun]) {
            interface_name(name)
                .map_err(|reason| ConfigError::new(format!("[dataplane]: {reason}")))?;
        }
        if self.frames < MIN_FRAMES {
            return Err(ConfigError::new(format!(
                "`frames = {}`: a worker needs at least {MIN_FRAMES}",
                self.frames
            )));
        }
        let workers = if self.workers == 0 { 1 } else { usize::from(self.workers) };
        if !self.cores.is_empty() && self.cores.len() < workers {
            return Err(ConfigError::new(format!(
                "`cores` names {} cores, and there are {workers} workers",
                self.cores.len()
            )));
        }
        if self.busy_poll > MAX_BUSY_POLL {
            return Err(ConfigError::new(format!(
                "`busy-poll = {}`: at most {MAX_BUSY_POLL} microseconds",
                self.busy_poll
            )));
        }
        for Interface { name, ports, vlan, .. } in &self.interface {
            if ports.is_empty() && *vlan != Vlan::default() {
                return Err(ConfigError::new(format!(
                    "interface `{name}`: `vlan` says nothing without `ports`; of a VLAN interface \
                     the kernel says both"
                )));
            }
        }
        Ok(())
    }
}
