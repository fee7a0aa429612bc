//! Profiles as terms: what a session of each profile is given before anything else is known.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use crate::config::Config;
use crate::host::name_servers;
use crate::ipv6::{Ipv6, Source};
use crate::terms::Terms;

/// The terms of all profiles by name, completed by `default`, with `system` looked up. Their user
/// is empty.
#[must_use]
pub fn templates(config: &Config) -> HashMap<String, Terms> {
    let template = |name: &str| template(config, name).map(|terms| (name.to_owned(), terms));
    config.profile.iter().filter_map(|profile| template(&profile.name)).collect()
}

fn template(config: &Config, name: &str) -> Option<Terms> {
    let two = |servers: &[Ipv4Addr]| [servers.first().copied(), servers.get(1).copied()];
    let resolved = config.resolve(name)?;
    Some(Terms {
        user: String::new(),
        profile: name.to_owned(),
        local_address: resolved.local_address,
        remote: resolved.remote_address.map(Into::into),
        netmask: None,
        routes: resolved.routes,
        dns: two(&name_servers(&resolved.dns_servers)),
        wins: two(&resolved.wins_servers),
        ipv6: Ipv6 {
            enabled: resolved.ipv6.enabled,
            local: resolved.ipv6.local_address,
            interface_id: None,
            prefix: resolved.ipv6.remote_prefix_pool.map(Source::Pool),
            delegated: resolved.ipv6.delegated_pool.map(Source::Pool),
            routes: Vec::new(),
            dns: resolved.ipv6.dns_servers,
        },
        // What the configuration says was checked.
        domain: resolved.domain.parse().ok(),
        dhcp_routes: resolved.dhcp_routes,
        mtu: None,
        clamp_mss: resolved.change_tcp_mss,
        encryption: config.server.encryption_policy(resolved.encryption),
        rate_limit: resolved.rate_limit,
        session_timeout: resolved.session_timeout.unless_zero(),
        idle_timeout: resolved.idle_timeout.unless_zero(),
        receive_limit: None,
        transmit_limit: None,
        total_limit: None,
        only_one: resolved.only_one,
        port_limit: None,
        incoming_filter: resolved.incoming_filter,
        outgoing_filter: resolved.outgoing_filter,
        address_lists: resolved.address_list,
        class: Vec::new(),
        interim: resolved.interim_update.unless_zero(),
        forward: resolved.forward,
        bridge: resolved.bridge,
        account_name: None,
        bare_user: None,
        by_radius: false,
        radius: Vec::new(),
    })
}
