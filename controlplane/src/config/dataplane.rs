//! `[dataplane]`: threads, ports and drivers of the packet path.
//!
//! Never looks at the machine: whether a port exists is found out at the start and by
//! `penstock check`.

use serde::Deserialize;

use super::ConfigError;

/// Longest name of a network interface that the kernel takes (IFNAMSIZ less its end).
const MAX_INTERFACE_NAME: usize = 15;

/// Threads, ports and drivers of the packet path.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Dataplane {
    /// Pinned worker threads; 0 is one for each core that we may run on.
    pub workers: u16,
    /// Packets that each worker can hold at once, in 4 KiB each; 1024 at least.
    pub frames: u32,
    /// Name of the TUN interface.
    pub tun: String,
    /// Ports that AF_XDP drives. None: raw GRE socket and TUN.
    pub interface: Vec<Interface>,
}

impl Default for Dataplane {
    fn default() -> Self {
        Self { workers: 0, frames: 4096, tun: "penstock".to_owned(), interface: Vec::new() }
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
        let ports = self.interface.iter().map(|interface| &interface.name);
        for name in ports.chain([&self.tun]) {
            if name.is_empty() || name.len() > MAX_INTERFACE_NAME || name.contains(['/', ' ']) {
                return Err(ConfigError::new(format!(
                    "`{name}` is no name of an interface (1 to 15 letters)"
                )));
            }
        }
        Ok(())
    }
}
