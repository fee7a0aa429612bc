//! Attributes laid over terms: what an Access-Accept gives, and what a CoA-Request changes.
//!
//! RFC 2865 §5, RFC 2869 §5, RFC 2548 §2.7, and Mikrotik's and WISPr's attributes. What cannot be
//! used is named and leaves the terms as they were; the caller decides what that means.

use std::collections::HashMap;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use protocol::ipv6::Ipv6Prefix;
use protocol::ppp::InterfaceId;
use protocol::radius::dictionary::{self as names};
use protocol::radius::route;
use protocol::radius::value::{Kind, Value};
use protocol::radius::{Definition, Packet, dictionary};
use protocol::router::Settings;

use super::{number, orders};
use crate::config::is_for_hosts;
use crate::ipv6::{Ipv6, Source, is_for_subscribers};
use crate::kernel::Destination;
use crate::rate_limit::{MAX_RATE, Rate, RateLimit};
use crate::terms::{Remote, RemoteAddress, Route, Terms};
use crate::text::printable;

/// Framed-IP-Address (RFC 2865 §5.8): the peer chooses.
const PEER_CHOOSES: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 255);
/// Framed-IP-Address (RFC 2865 §5.8): we choose.
const WE_CHOOSE: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 254);
/// RFC 2869 §5.16: an interim interval is no less than a minute.
const SHORTEST_INTERIM: Duration = Duration::from_secs(60);
/// Every host takes packets of so many octets (RFC 791 §3.1).
const SMALLEST_MTU: u32 = 68;

/// An attribute that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// Which.
    pub attribute: &'static str,
    /// Why.
    pub reason: String,
    /// Whether a session without it would be given more than the server meant.
    pub is_grave: bool,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.attribute, self.reason)
    }
}

fn unusable(definition: Definition, is_grave: bool, reason: impl Into<String>) -> Unusable {
    Unusable { attribute: definition.name, reason: reason.into(), is_grave }
}

/// Everything that an Access-Accept may give. Values were checked.
pub fn at_login(terms: &mut Terms, packet: &Packet<'_>) -> Vec<Unusable> {
    let mut problems = Vec::new();
    if let Some(pool) = packet.first(names::FRAMED_POOL) {
        terms.remote = Some(Remote::Pool(printable(pool)));
    }
    match address(packet, names::FRAMED_IP_ADDRESS) {
        None | Some(WE_CHOOSE) => {}
        Some(PEER_CHOOSES) => {
            let instead = match terms.remote.take() {
                Some(Remote::Address(address)) => Some(RemoteAddress::Address(address)),
                Some(Remote::Pool(pool)) => Some(RemoteAddress::Pool(pool)),
                Some(Remote::PeerChoice(instead)) => instead,
                None => None,
            };
            terms.remote = Some(Remote::PeerChoice(instead));
        }
        Some(address) if is_for_hosts(address) => terms.remote = Some(Remote::Address(address)),
        Some(address) => {
            let reason = format!("{address} is no address of a host");
            problems.push(unusable(names::FRAMED_IP_ADDRESS, true, reason));
        }
    }
    if let Some(mask) = address(packet, names::FRAMED_IP_NETMASK) {
        if mask.to_bits().leading_ones() == mask.to_bits().count_ones() && !mask.is_unspecified() {
            terms.netmask = Some(mask).filter(|mask| *mask != Ipv4Addr::BROADCAST);
        } else {
            let reason = format!("{mask} is no mask");
            problems.push(unusable(names::FRAMED_IP_NETMASK, false, reason));
        }
    }
    for text in packet.all(names::FRAMED_ROUTE) {
        match framed_route(text) {
            Ok(route) => terms.routes.push(route),
            Err(reason) => problems.push(unusable(names::FRAMED_ROUTE, false, reason)),
        }
    }
    problems.extend(ipv6(&mut terms.ipv6, packet));
    let ([first_dns, second_dns], [first_wins, second_wins]) = (&mut terms.dns, &mut terms.wins);
    for (place, definition) in [
        (first_dns, names::MS_PRIMARY_DNS_SERVER),
        (second_dns, names::MS_SECONDARY_DNS_SERVER),
        (first_wins, names::MS_PRIMARY_NBNS_SERVER),
        (second_wins, names::MS_SECONDARY_NBNS_SERVER),
    ] {
        if let Some(server) = address(packet, definition) {
            *place = Some(server).filter(|server| !server.is_unspecified());
        }
    }
    if let Some(mtu) = number(packet, names::FRAMED_MTU) {
        let mtu = u16::try_from(mtu.max(SMALLEST_MTU)).unwrap_or(u16::MAX);
        terms.mtu = Some(terms.mtu.map_or(mtu, |before| before.min(mtu)));
    }
    if let Some(limit) = number(packet, names::PORT_LIMIT) {
        terms.port_limit = Some(limit);
    }
    problems.extend(while_it_lives(terms, packet));
    problems
}

/// RFC 3162 §2, RFC 4818 §3, RFC 6911 §3.
fn ipv6(terms: &mut Ipv6, packet: &Packet<'_>) -> Vec<Unusable> {
    let mut problems = Vec::new();
    let pool = |definition| packet.first(definition).map(|name| Source::Pool(printable(name)));
    let mut prefix = |definition| match packet.value(definition).ok().flatten()? {
        Value::Prefix6 { address, length } => {
            let prefix = Ipv6Prefix::around(address, length);
            let usable = is_for_subscribers(prefix);
            usable.map_err(|reason| problems.push(unusable(definition, true, reason))).ok()?;
            Some(Source::Prefix(prefix))
        }
        _ => None,
    };
    let link = prefix(names::FRAMED_IPV6_PREFIX).or_else(|| pool(names::FRAMED_IPV6_POOL));
    let delegated = prefix(names::DELEGATED_IPV6_PREFIX)
        .or_else(|| pool(names::DELEGATED_IPV6_PREFIX_POOL))
        .or_else(|| pool(names::MIKROTIK_DELEGATED_IPV6_POOL));
    terms.prefix = link.or_else(|| terms.prefix.take());
    terms.delegated = delegated.or_else(|| terms.delegated.take());
    if let Ok(Some(Value::InterfaceId(octets))) = packet.value(names::FRAMED_INTERFACE_ID) {
        terms.interface_id = InterfaceId::new(u64::from_be_bytes(octets));
    }
    for text in packet.all(names::FRAMED_IPV6_ROUTE) {
        let route: Result<route::Route<Ipv6Addr>, _> = printable(text).parse();
        let route = route.map_err(|error| error.to_string()).and_then(|route| {
            let prefix = Ipv6Prefix::around(route.destination, route.length);
            is_for_subscribers(prefix).map(|()| prefix)
        });
        match route {
            Ok(prefix) => terms.routes.push(prefix),
            Err(reason) => problems.push(unusable(names::FRAMED_IPV6_ROUTE, false, reason)),
        }
    }
    let servers: Vec<Ipv6Addr> = packet
        .all(names::DNS_SERVER_IPV6_ADDRESS)
        .filter_map(|octets| Some(Ipv6Addr::from_octets(octets.try_into().ok()?)))
        .take(Settings::MAX_DNS)
        .collect();
    if !servers.is_empty() {
        terms.dns = servers;
    }
    problems
}

/// What may change while a session lives. Values were checked.
pub fn while_it_lives(terms: &mut Terms, packet: &Packet<'_>) -> Vec<Unusable> {
    let mut problems = Vec::new();
    match rate_limit(packet) {
        Ok(Some(limit)) => terms.rate_limit = limit,
        Ok(None) => {}
        Err(reason) => problems.push(unusable(names::MIKROTIK_RATE_LIMIT, false, reason)),
    }
    // A timeout of zero is none.
    let timeout = |definition| {
        number(packet, definition)
            .map(|seconds| Some(Duration::from_secs(seconds.into())).filter(|t| !t.is_zero()))
    };
    if let Some(timeout) = timeout(names::SESSION_TIMEOUT) {
        terms.session_timeout = timeout;
    }
    if let Some(timeout) = timeout(names::IDLE_TIMEOUT) {
        terms.idle_timeout = timeout;
    }
    if let Some(interval) = timeout(names::ACCT_INTERIM_INTERVAL) {
        terms.interim = interval.map(|interval| interval.max(SHORTEST_INTERIM));
    }
    let limit = |low, high| {
        let octets = |definition| number(packet, definition).map(u64::from);
        match (octets(low), octets(high)) {
            (None, None) => None,
            (low, high) => Some(high.unwrap_or(0) << 32 | low.unwrap_or(0)),
        }
    };
    if let Some(octets) = limit(names::MIKROTIK_RECV_LIMIT, names::MIKROTIK_RECV_LIMIT_GIGAWORDS) {
        terms.receive_limit = Some(octets).filter(|octets| *octets != 0);
    }
    if let Some(octets) = limit(names::MIKROTIK_XMIT_LIMIT, names::MIKROTIK_XMIT_LIMIT_GIGAWORDS) {
        terms.transmit_limit = Some(octets).filter(|octets| *octets != 0);
    }
    if let Some(octets) = limit(names::MIKROTIK_TOTAL_LIMIT, names::MIKROTIK_TOTAL_LIMIT_GIGAWORDS)
    {
        terms.total_limit = Some(octets).filter(|octets| *octets != 0);
    }
    let class: Vec<Vec<u8>> = packet.all(names::CLASS).map(<[u8]>::to_vec).collect();
    if !class.is_empty() {
        terms.class = class;
    }
    for filter in packet.all(names::FILTER_ID).map(printable) {
        // As RouterOS has it: of one direction only by its ending.
        match (filter.strip_suffix(".in"), filter.strip_suffix(".out")) {
            (Some(name), _) => terms.incoming_filter = Some(name.to_owned()),
            (None, Some(name)) => terms.outgoing_filter = Some(name.to_owned()),
            (None, None) => {
                terms.incoming_filter = Some(filter.clone());
                terms.outgoing_filter = Some(filter);
            }
        }
    }
    let lists: Vec<String> = packet.all(names::MIKROTIK_ADDRESS_LIST).map(printable).collect();
    if !lists.is_empty() {
        terms.address_lists = lists;
    }
    problems
}

/// A filter of the terms that is not configured: without it the session could do more than the
/// server meant.
pub fn unknown_filter<F>(terms: &Terms, known: &HashMap<String, F>) -> Option<Unusable> {
    let named = terms.incoming_filter.iter().chain(&terms.outgoing_filter);
    let name = named.into_iter().find(|name| !known.contains_key(*name))?;
    let reason = format!("there is no [[filter]] `{name}` in the configuration");
    Some(unusable(names::FILTER_ID, true, reason))
}

/// Mikrotik-Rate-Limit, or else WISPr's attributes.
fn rate_limit(packet: &Packet<'_>) -> Result<Option<RateLimit>, String> {
    if let Some(text) = packet.first(names::MIKROTIK_RATE_LIMIT) {
        return printable(text).parse().map(Some);
    }
    let rate = |definition| {
        number(packet, definition).map(|bits| {
            let rate = u64::from(bits).min(MAX_RATE);
            (rate != 0).then_some(Rate { rate, burst: None, min: None })
        })
    };
    let (up, down) = (rate(names::WISPR_BANDWIDTH_MAX_UP), rate(names::WISPR_BANDWIDTH_MAX_DOWN));
    if up.is_none() && down.is_none() {
        return Ok(None);
    }
    Ok(Some(RateLimit { rx: up.flatten(), tx: down.flatten(), priority: None }))
}

fn framed_route(text: &[u8]) -> Result<Route, String> {
    let text = printable(text);
    let route: route::Route<Ipv4Addr> = text.parse().map_err(|error| format!("{error}"))?;
    Ok(Route {
        destination: Destination { address: route.destination, length: route.length },
        gateway: route.gateway,
        metric: route.metric.unwrap_or(0),
    })
}

/// All attributes by name, for hooks; no passwords and keys.
#[must_use]
pub fn by_name(packet: &Packet<'_>) -> Vec<(String, String)> {
    packet
        .attributes()
        .filter_map(|attribute| Some((dictionary::find(attribute.id)?, attribute.value)))
        .filter(|(definition, _)| {
            definition.kind != Kind::Hidden && *definition != names::MESSAGE_AUTHENTICATOR
        })
        .filter_map(|(definition, octets)| {
            let value = definition.read(octets).ok()?;
            Some((definition.name.to_owned(), value.to_string()))
        })
        .collect()
}

/// Attributes by name after a change: those that it has take the place of those of the same name.
pub fn rename(known: &mut Vec<(String, String)>, packet: &Packet<'_>) {
    let mut fresh = by_name(packet);
    fresh.retain(|(name, _)| orders::changes(name));
    known.retain(|(name, _)| fresh.iter().all(|(other, _)| other != name));
    known.extend(fresh);
}

/// The address in an attribute. Values were checked.
fn address(packet: &Packet<'_>, definition: Definition) -> Option<Ipv4Addr> {
    packet.value(definition).ok().flatten().and_then(|value| value.address())
}
