//! The data plane's configuration out of ours, and what the kernel has to know besides.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::thread::available_parallelism;
use std::time::Duration;

use dataplane::api;
use dataplane::api::config::Below;

use super::StartError;
use crate::config::{AddressRange, Config, DEFAULT_PROFILE, Role};
use crate::host::is_own_address;
use crate::kernel::Kernel;

/// What the data plane is started with.
#[must_use]
pub fn data_plane(config: &Config) -> api::Config {
    let ours = &config.dataplane;
    let workers = match usize::from(ours.workers) {
        0 if !ours.cores.is_empty() => ours.cores.len().min(64),
        0 => available_parallelism().map_or(1, usize::from).min(64),
        workers => workers,
    };
    let interfaces = ours.interface.iter().map(|interface| api::Interface {
        name: interface.name.clone(),
        role: match interface.role {
            Role::Access => api::Role::Access,
            Role::Core => api::Role::Core,
            Role::Both => api::Role::Both,
        },
        queues: (interface.queues != 0).then_some(interface.queues.into()),
        below: (!interface.ports.is_empty())
            .then(|| Below { ports: interface.ports.clone(), tags: interface.vlan.0 }),
    });
    let listen = config.server.listen.iter().map(|address| *address.ip());
    let pools = config.pool.iter().flat_map(|pool| &pool.ranges).flat_map(AddressRange::prefixes);
    api::Config {
        workers,
        cores: ours.cores.iter().copied().map(usize::from).collect(),
        busy_poll: (ours.busy_poll != 0).then(|| Duration::from_micros(ours.busy_poll.into())),
        balance: ours.balance,
        interfaces: interfaces.collect(),
        listen: listen.filter(|address| !address.is_unspecified()).collect(),
        tun: api::Tun {
            name: ours.tun.clone(),
            mtu: config.server.inner_mtu(),
            address: main_address(config),
            pools: pools.map(|(address, length)| api::Prefix { address, length }).collect(),
            exempt: local_addresses(config),
            pools_ipv6: config.ipv6_pool.iter().map(|pool| pool.prefix.0).collect(),
            exempt_ipv6: local_ipv6_addresses(config),
        },
        table: ours.table.0.clone(),
        frames: ours.frames,
        mppe: ours.mppe.kernel(),
        ..api::Config::default()
    }
}

/// Gives the TUN interface the local addresses that the data plane did not, and the routes of IPv6.
///
/// # Errors
/// If the kernel refuses.
pub async fn complete(config: &Config, kernel: &Kernel) -> Result<(), StartError> {
    let main = main_address(config);
    for address in local_addresses(config) {
        let is_there = is_own_address(address)
            .map_err(|error| StartError::System { what: "asking for our addresses", error })?;
        if Some(address) != main && !is_there {
            kernel.add_address(&config.dataplane.tun, address, None).await?;
        }
    }
    for pool in &config.ipv6_pool {
        kernel.route_ipv6(pool.prefix.0, &config.dataplane.tun).await?;
    }
    for address in local_ipv6_addresses(config) {
        kernel.add_ipv6_address(&config.dataplane.tun, address).await?;
    }
    Ok(())
}

/// The default profile's end of the tunnel, unless another interface has it: then packets to it
/// reach the kernel anyway.
fn main_address(config: &Config) -> Option<Ipv4Addr> {
    let profile = config
        .resolve(DEFAULT_PROFILE)
        .or_else(|| config.resolve(&config.server.default_profile))?;
    // What cannot be asked is tried: the kernel takes an address twice.
    Some(profile.local_address).filter(|address| !is_own_address(*address).unwrap_or(false))
}

fn local_addresses(config: &Config) -> Vec<Ipv4Addr> {
    let mut addresses: Vec<_> =
        config.profile.iter().filter_map(|profile| profile.local_address).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

fn local_ipv6_addresses(config: &Config) -> Vec<Ipv6Addr> {
    let mut addresses: Vec<_> =
        config.profile.iter().filter_map(|profile| profile.local_ipv6_address).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}
