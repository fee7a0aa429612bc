//! Profiles as terms: what a session of each profile is given before anything else is known.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use crate::config::Config;
use crate::host::name_servers;
use crate::rate_limit::RateLimit;
use crate::terms::{Forward, OnlyOne, Remote, Terms};

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
        remote: resolved.pool.map(Remote::Pool),
        netmask: None,
        routes: Vec::new(),
        dns: two(&name_servers(&resolved.dns_servers)),
        wins: two(&resolved.wins_servers),
        mtu: None,
        clamp_mss: resolved.change_tcp_mss,
        encryption: config.server.encryption.into(),
        rate_limit: RateLimit::default(),
        session_timeout: None,
        idle_timeout: None,
        receive_limit: None,
        transmit_limit: None,
        only_one: OnlyOne::No,
        port_limit: None,
        incoming_filter: None,
        outgoing_filter: None,
        address_lists: Vec::new(),
        class: Vec::new(),
        interim: None,
        forward: Forward::Fast,
        radius: Vec::new(),
    })
}
