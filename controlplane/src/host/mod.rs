//! What the machine around us is like: who has a port, what the kernel forwards, what we may do.
//!
//! Reads `/proc`, asks `nft` and `ip`, and changes nothing but, where it is asked to, our own limit of open
//! files.

pub mod descriptors;
pub mod forwarding;
pub mod port;

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;

use crate::config::DnsServer;

/// Rights that the packet path needs, by their bit in `/proc/self/status` (capability.h).
pub const CAPABILITIES: [(u32, &str); 2] = [(12, "CAP_NET_ADMIN"), (13, "CAP_NET_RAW")];

/// Rights that AF_XDP needs besides.
pub const XDP_CAPABILITIES: [(u32, &str); 2] = [(39, "CAP_BPF"), (14, "CAP_IPC_LOCK")];

/// The rights that we lack.
#[must_use]
pub fn missing_capabilities(xdp: bool) -> Vec<&'static str> {
    let effective = effective_capabilities();
    let more: &[(u32, &'static str)] = if xdp { &XDP_CAPABILITIES } else { &[] };
    CAPABILITIES
        .iter()
        .chain(more)
        .filter(|(bit, _)| effective >> bit & 1 == 0)
        .map(|(_, name)| *name)
        .collect()
}

fn effective_capabilities() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .unwrap_or(0)
}

/// Whether we have the right of this bit.
fn may(bit: u32) -> bool {
    effective_capabilities() >> bit & 1 != 0
}

/// Whether this network namespace has an interface of that name.
#[must_use]
pub fn interface_exists(name: &str) -> bool {
    interface_index(name).is_some()
}

/// Whether that interface is a bridge, which other interfaces can be put into.
#[must_use]
pub fn is_bridge(name: &str) -> bool {
    Path::new("/sys/class/net").join(name).join("bridge").is_dir()
}

/// The number of an interface in this network namespace.
#[must_use]
pub fn interface_index(name: &str) -> Option<u32> {
    nix::net::if_::if_nametoindex(OsStr::new(name)).ok()
}

/// The addresses of all interfaces in this network namespace.
///
/// # Errors
/// If the system does not tell, as without descriptors.
pub fn own_addresses() -> io::Result<Vec<Ipv4Addr>> {
    let interfaces = nix::ifaddrs::getifaddrs()?;
    Ok(interfaces.filter_map(|interface| Some(interface.address?.as_sockaddr_in()?.ip())).collect())
}

/// Whether this machine has the address. So it has the broadcast addresses of its networks, which
/// nobody else may have either. Asked at each login, so that it must not cost more with each of this
/// machine's interfaces.
///
/// # Errors
/// If the system does not tell, as without descriptors.
pub fn is_own_address(address: Ipv4Addr) -> io::Result<bool> {
    match UdpSocket::bind((address, 0)) {
        Ok(_) if address.is_loopback() || !binds_to_any() => Ok(true),
        Ok(_) => Ok(own_addresses()?.contains(&address)),
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether a socket can be bound to addresses of others.
fn binds_to_any() -> bool {
    let value = fs::read_to_string("/proc/sys/net/ipv4/ip_nonlocal_bind");
    value.map_or(true, |value| value.trim() != "0")
}

/// The machine's name without its domain.
#[must_use]
pub fn host_name() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .and_then(|name| name.split('.').next().map(ToOwned::to_owned))
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "penstock".to_owned())
}

/// The name servers that a profile means: `system` is replaced by those of `/etc/resolv.conf`.
/// At most two, as IPCP can give (RFC 1877).
#[must_use]
pub fn name_servers(configured: &[DnsServer]) -> Vec<Ipv4Addr> {
    let system = || {
        let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        system_name_servers(&text)
    };
    let mut servers = Vec::new();
    for server in configured {
        match server {
            DnsServer::System => servers.extend(system()),
            DnsServer::Address(address) => servers.push(*address),
        }
    }
    servers.truncate(2);
    servers
}

/// A subscriber cannot reach what listens on this machine's loopback.
fn system_name_servers(resolv_conf: &str) -> Vec<Ipv4Addr> {
    resolv_conf
        .lines()
        .filter_map(|line| line.split_once("nameserver"))
        .filter(|(before, _)| before.trim().is_empty())
        .filter_map(|(_, address)| address.trim().parse().ok())
        .filter(|address: &Ipv4Addr| !address.is_loopback() && !address.is_unspecified())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_resolvers_are_not_given_to_subscribers() {
        let text = "# nameserver 1.1.1.1\nnameserver 127.0.0.53\nnameserver  10.0.0.53\n\
                    nameserver fe80::1\nsearch example.net\nnameserver 9.9.9.9\n";
        assert_eq!(
            system_name_servers(text),
            [Ipv4Addr::new(10, 0, 0, 53), Ipv4Addr::new(9, 9, 9, 9)]
        );
    }

    #[test]
    fn configured_servers_keep_their_order_and_are_two() {
        let servers = [1, 2, 3].map(|n| DnsServer::Address(Ipv4Addr::new(10, 0, 0, n)));
        assert_eq!(
            name_servers(&servers),
            [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)]
        );
    }

    #[test]
    fn loopback_exists_and_nonsense_does_not() {
        assert!(interface_exists("lo"));
        assert!(!interface_exists("nonsense0"));
    }
}
