//! `[[profile]]`: RouterOS's `/ppp profile`.
//!
//! A key that a profile leaves out comes from the profile `default`; [`ResolvedProfile`] is the
//! outcome.

use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::Deserialize;

use super::{Config, ConfigError, DEFAULT_PROFILE, Encryption, Span, interface_name, is_for_hosts};
use crate::kernel::Destination;
use crate::rate_limit::RateLimit;
use crate::terms::{self, Forward, RemoteAddress, Route};

/// RouterOS's `/ppp profile`. A key left out is taken from the profile `default`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Profile {
    /// What users refer to.
    pub name: String,
    /// Our end of the tunnel; all sessions may share it.
    pub local_address: Option<Ipv4Addr>,
    /// The subscriber's end: the name of a pool, or an address, which one session can have.
    pub remote_address: Option<RemoteAddress>,
    /// Name servers for the subscriber, at most two.
    pub dns_server: Option<Vec<DnsServer>>,
    /// WINS servers for the subscriber, at most two.
    pub wins_server: Option<Vec<Ipv4Addr>>,
    /// How fast the subscriber may be.
    pub rate_limit: Option<RateLimit>,
    /// What becomes of a second session of the same user.
    pub only_one: Option<OnlyOne>,
    /// How long a session may last; zero is for ever.
    pub session_timeout: Option<Span>,
    /// How long a session may carry no packet; zero is for ever.
    pub idle_timeout: Option<Span>,
    /// Whether data is encrypted.
    pub use_encryption: Option<UseEncryption>,
    /// Whether the segment size of TCP connections is lowered to what the tunnel carries.
    pub change_tcp_mss: Option<bool>,
    /// The `[[filter]]` for packets from the subscriber; empty is none.
    pub incoming_filter: Option<String>,
    /// The `[[filter]]` for packets to the subscriber; empty is none.
    pub outgoing_filter: Option<String>,
    /// Sets of addresses that the subscriber's is in while the session lasts.
    pub address_list: Option<Vec<String>>,
    /// Which way packets go.
    pub forward: Option<Forward>,
    /// The Linux bridge that sessions' Ethernet frames are brought to (BCP, RFC 3518); empty is none.
    pub bridge: Option<String>,
    /// Networks behind each subscriber of the profile.
    pub routes: Option<Vec<Route>>,
    /// Time between two interim accounts; zero is never.
    pub interim_update: Option<Span>,
    /// Whether sessions that are given IPv6 have any.
    pub use_ipv6: Option<bool>,
    /// Our IPv6 address beside the links' own; all sessions may share it.
    pub local_ipv6_address: Option<Ipv6Addr>,
    /// The `[[ipv6-pool]]` of the links' prefixes, which are advertised; empty is none.
    pub remote_ipv6_prefix_pool: Option<String>,
    /// The `[[ipv6-pool]]` of the prefixes that DHCPv6 delegates; empty is none.
    pub dhcpv6_pd_pool: Option<String>,
    /// IPv6 name servers for the subscriber, at most three.
    pub ipv6_dns_server: Option<Vec<Ipv6Addr>>,
    /// The connection's domain, told by DHCP and DHCPv6; empty is none.
    pub domain: Option<String>,
    /// Networks that the subscriber reaches through the tunnel, told by DHCP.
    pub dhcp_routes: Option<Vec<Destination>>,
}

impl Profile {
    pub(super) fn built_in() -> Self {
        Self {
            name: DEFAULT_PROFILE.to_owned(),
            local_address: Some(Ipv4Addr::new(10, 99, 0, 1)),
            remote_address: Some(RemoteAddress::Pool("default".to_owned())),
            dns_server: Some(vec![DnsServer::System]),
            wins_server: Some(Vec::new()),
            rate_limit: Some(RateLimit::default()),
            only_one: Some(OnlyOne::No),
            session_timeout: Some(Span::seconds(0)),
            idle_timeout: Some(Span::seconds(0)),
            use_encryption: Some(UseEncryption::Default),
            change_tcp_mss: Some(true),
            incoming_filter: Some(String::new()),
            outgoing_filter: Some(String::new()),
            address_list: Some(Vec::new()),
            forward: Some(Forward::Fast),
            bridge: Some(String::new()),
            routes: Some(Vec::new()),
            interim_update: Some(Span::seconds(0)),
            use_ipv6: Some(true),
            local_ipv6_address: None,
            remote_ipv6_prefix_pool: Some(String::new()),
            dhcpv6_pd_pool: Some(String::new()),
            ipv6_dns_server: Some(Vec::new()),
            domain: Some(String::new()),
            dhcp_routes: Some(Vec::new()),
        }
    }

    /// What is left out here, from there.
    fn or(&self, default: Option<&Self>) -> Self {
        let Some(default) = default.cloned() else { return self.clone() };
        let own = self.clone();
        Self {
            name: own.name,
            local_address: own.local_address.or(default.local_address),
            remote_address: own.remote_address.or(default.remote_address),
            dns_server: own.dns_server.or(default.dns_server),
            wins_server: own.wins_server.or(default.wins_server),
            rate_limit: own.rate_limit.or(default.rate_limit),
            only_one: own.only_one.filter(|own| *own != OnlyOne::Default).or(default.only_one),
            session_timeout: own.session_timeout.or(default.session_timeout),
            idle_timeout: own.idle_timeout.or(default.idle_timeout),
            use_encryption: own
                .use_encryption
                .filter(|own| *own != UseEncryption::Default)
                .or(default.use_encryption),
            change_tcp_mss: own.change_tcp_mss.or(default.change_tcp_mss),
            incoming_filter: own.incoming_filter.or(default.incoming_filter),
            outgoing_filter: own.outgoing_filter.or(default.outgoing_filter),
            address_list: own.address_list.or(default.address_list),
            forward: own.forward.or(default.forward),
            bridge: own.bridge.or(default.bridge),
            routes: own.routes.or(default.routes),
            interim_update: own.interim_update.or(default.interim_update),
            use_ipv6: own.use_ipv6.or(default.use_ipv6),
            local_ipv6_address: own.local_ipv6_address.or(default.local_ipv6_address),
            remote_ipv6_prefix_pool: own
                .remote_ipv6_prefix_pool
                .or(default.remote_ipv6_prefix_pool),
            dhcpv6_pd_pool: own.dhcpv6_pd_pool.or(default.dhcpv6_pd_pool),
            ipv6_dns_server: own.ipv6_dns_server.or(default.ipv6_dns_server),
            domain: own.domain.or(default.domain),
            dhcp_routes: own.dhcp_routes.or(default.dhcp_routes),
        }
    }
}

/// RouterOS's words for [`terms::OnlyOne`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnlyOne {
    /// As the profile `default` says; there it is `no`.
    Default,
    /// A user may have several sessions.
    No,
    /// A second login is refused, as RouterOS does; one from the same peer address ends the first
    /// session, because a router that was switched off never said goodbye.
    Yes,
    /// A second login ends the first session.
    Replace,
}

impl From<OnlyOne> for terms::OnlyOne {
    fn from(only_one: OnlyOne) -> Self {
        match only_one {
            OnlyOne::Default | OnlyOne::No => Self::No,
            OnlyOne::Yes => Self::Refuse,
            OnlyOne::Replace => Self::Replace,
        }
    }
}

/// Whether a profile's data is encrypted, in RouterOS's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UseEncryption {
    /// As the profile `default` says; there it is as `[server]` says.
    Default,
    /// Never.
    No,
    /// If the peer proposes it.
    Allow,
    /// We propose it, and do without if the peer refuses.
    Yes,
    /// MPPE, or no session.
    Required,
}

/// A name server to give to subscribers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum DnsServer {
    /// Those that this machine itself asks, save loopback ones.
    System,
    /// This one.
    Address(Ipv4Addr),
}

impl TryFrom<String> for DnsServer {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "system" {
            return Ok(Self::System);
        }
        text.parse()
            .map(Self::Address)
            .map_err(|_| format!("`{text}` is neither an IPv4 address nor \"system\""))
    }
}

/// What a session gets: a profile completed by the profile `default`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedProfile {
    /// Our end of the tunnel.
    pub local_address: Ipv4Addr,
    /// The subscriber's end. `None`: only users with an address of their own.
    pub remote_address: Option<RemoteAddress>,
    /// Name servers, with `system` still to be looked up.
    pub dns_servers: Vec<DnsServer>,
    /// WINS servers.
    pub wins_servers: Vec<Ipv4Addr>,
    /// How fast the subscriber may be.
    pub rate_limit: RateLimit,
    /// What becomes of a second session.
    pub only_one: terms::OnlyOne,
    /// How long a session may last; zero is for ever.
    pub session_timeout: Span,
    /// How long a session may carry no packet; zero is for ever.
    pub idle_timeout: Span,
    /// Whether data is encrypted.
    pub encryption: Encryption,
    /// Whether the segment size of TCP connections is lowered to what the tunnel carries.
    pub change_tcp_mss: bool,
    /// The filter for packets from the subscriber.
    pub incoming_filter: Option<String>,
    /// The filter for packets to the subscriber.
    pub outgoing_filter: Option<String>,
    /// Sets of addresses.
    pub address_list: Vec<String>,
    /// Which way packets go.
    pub forward: Forward,
    /// The bridge of its Ethernet frames.
    pub bridge: Option<String>,
    /// Networks behind each subscriber.
    pub routes: Vec<Route>,
    /// Time between two interim accounts; zero is never.
    pub interim_update: Span,
    /// IPv6.
    pub ipv6: ProfileIpv6,
    /// The connection's domain; empty is none.
    pub domain: String,
    /// Networks that are reached through the tunnel.
    pub dhcp_routes: Vec<Destination>,
}

/// What a profile says of IPv6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileIpv6 {
    /// Whether sessions may have any.
    pub enabled: bool,
    /// Our address.
    pub local_address: Option<Ipv6Addr>,
    /// Pool of the links' prefixes.
    pub remote_prefix_pool: Option<String>,
    /// Pool of delegated prefixes.
    pub delegated_pool: Option<String>,
    /// Name servers.
    pub dns_servers: Vec<Ipv6Addr>,
}

impl Config {
    /// What a session of this profile gets, or `None` if there is no such profile or no address of
    /// ours for it.
    #[must_use]
    pub fn resolve(&self, name: &str) -> Option<ResolvedProfile> {
        let named = |name: &str| self.profile.iter().find(|profile| profile.name == name);
        let profile = named(name)?.or(named(DEFAULT_PROFILE));
        let filter = |name: Option<String>| name.filter(|name| !name.is_empty());
        let named_pool = filter;
        let never = Span::seconds(0);
        Some(ResolvedProfile {
            local_address: profile.local_address?,
            remote_address: profile.remote_address,
            dns_servers: profile.dns_server.unwrap_or_default(),
            wins_servers: profile.wins_server.unwrap_or_default(),
            rate_limit: profile.rate_limit.unwrap_or_default(),
            only_one: profile.only_one.unwrap_or(OnlyOne::No).into(),
            session_timeout: profile.session_timeout.unwrap_or(never),
            idle_timeout: profile.idle_timeout.unwrap_or(never),
            encryption: match profile.use_encryption {
                None | Some(UseEncryption::Default) => self.server.encryption,
                Some(UseEncryption::No) => Encryption::Deny,
                Some(UseEncryption::Allow) => Encryption::Allow,
                Some(UseEncryption::Yes) => Encryption::Prefer,
                Some(UseEncryption::Required) => Encryption::Require,
            },
            change_tcp_mss: profile.change_tcp_mss.unwrap_or(true),
            incoming_filter: filter(profile.incoming_filter),
            outgoing_filter: filter(profile.outgoing_filter),
            address_list: profile.address_list.unwrap_or_default(),
            forward: profile.forward.unwrap_or_default(),
            bridge: filter(profile.bridge),
            routes: profile.routes.unwrap_or_default(),
            interim_update: profile.interim_update.unwrap_or(never),
            ipv6: ProfileIpv6 {
                enabled: profile.use_ipv6.unwrap_or(true),
                local_address: profile.local_ipv6_address,
                remote_prefix_pool: named_pool(profile.remote_ipv6_prefix_pool),
                delegated_pool: named_pool(profile.dhcpv6_pd_pool),
                dns_servers: profile.ipv6_dns_server.unwrap_or_default(),
            },
            domain: profile.domain.unwrap_or_default(),
            dhcp_routes: profile.dhcp_routes.unwrap_or_default(),
        })
    }

    /// Whether the address is our end of some profile's tunnels.
    #[must_use]
    pub fn is_local_address(&self, address: Ipv4Addr) -> bool {
        self.profile.iter().any(|profile| profile.local_address == Some(address))
    }

    pub(super) fn validate_profiles(&self) -> Result<(), ConfigError> {
        let fail = |reason: String| Err(ConfigError::new(reason));
        let mut seen = HashSet::new();
        for profile in &self.profile {
            let name = &profile.name;
            if !seen.insert(name) {
                return fail(format!("[[profile]]: the name `{name}` is given twice"));
            }
            let Some(resolved) = self.resolve(name) else {
                return fail(format!(
                    "profile `{name}` has no `local-address`, and neither has `{DEFAULT_PROFILE}`"
                ));
            };
            if resolved.dns_servers.len() > 2 || resolved.wins_servers.len() > 2 {
                return fail(format!(
                    "profile `{name}`: IPCP can give two `dns-server` and two `wins-server`"
                ));
            }
            if resolved.interim_update.unless_zero().is_some_and(|time| time.as_secs() < 60) {
                return fail(format!(
                    "profile `{name}`: `interim-update` is below a minute (RFC 2869 §2.1)"
                ));
            }
            match &resolved.remote_address {
                Some(RemoteAddress::Pool(pool)) if !self.has_pool(pool) => {
                    return fail(format!(
                        "profile `{name}`: `remote-address = \"{pool}\"` names no [[pool]]"
                    ));
                }
                Some(RemoteAddress::Address(address))
                    if !is_for_hosts(*address) || self.is_local_address(*address) =>
                {
                    return fail(format!(
                        "profile `{name}`: `remote-address = \"{address}\"`: no subscriber can \
                         have this address"
                    ));
                }
                _ => {}
            }
            for filter in [&resolved.incoming_filter, &resolved.outgoing_filter] {
                if let Some(filter) = filter
                    && !self.filter.iter().any(|known| known.name == *filter)
                {
                    return fail(format!("profile `{name}`: there is no [[filter]] `{filter}`"));
                }
            }
            if !resolved.domain.is_empty() {
                let domain: Result<protocol::router::Domain, _> = resolved.domain.parse();
                domain.map_err(|reason| {
                    ConfigError::new(format!("profile `{name}`: `domain`: {reason}"))
                })?;
            }
            self.validate_ipv6(&resolved)
                .map_err(|reason| ConfigError::new(format!("profile `{name}`: {reason}")))?;
            if let Some(bridge) = &resolved.bridge {
                interface_name(bridge).map_err(|reason| {
                    ConfigError::new(format!("profile `{name}`: `bridge`: {reason}"))
                })?;
            }
            for route in &resolved.routes {
                self.accepts_route(route)
                    .map_err(|reason| ConfigError::new(format!("profile `{name}`: {reason}")))?;
            }
        }
        if seen.contains(&self.server.default_profile) {
            Ok(())
        } else {
            fail(format!(
                "`default-profile = \"{}\"` names no [[profile]]",
                self.server.default_profile
            ))
        }
    }
}
