//! Netlink's messages as changes of what we mirror. Whatever does not concern unicast of IPv4 and
//! IPv6 in the tables that we know is no change. Never keeps anything.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rtnetlink::packet_core::{NLM_F_APPEND, NLM_F_REPLACE};
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{
    BondPortState, InfoBondPort, InfoPortData, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType,
    LinkMessage,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteNextHop,
    RouteNextHopFlags, RouteProtocol, RouteType, RouteVia,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::Unreachable;
use super::next_hop::{Message, NextHop};
use super::rules::Rule;
use super::tables::Prefix;
use crate::ipv6;

/// One thing that changed in the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// An interface is there, as it is now.
    Link { ifindex: u32, link: Link },
    /// An interface is gone.
    LinkGone { ifindex: u32 },
    /// An interface has an address.
    Address { ifindex: u32, address: IpAddr },
    /// An interface has an address no more.
    AddressGone { ifindex: u32, address: IpAddr },
    /// A neighbour has this MAC address, or none that we may use. `stale`: the kernel would ask
    /// for it anew if it sent there.
    Neighbour { ifindex: u32, address: IpAddr, mac: Option<[u8; 6]>, stale: bool },
    /// A next hop that routes may name is there, as it is now.
    NextHop { id: u32, next_hop: NextHop },
    /// A next hop is gone, and each route that named it.
    NextHopGone { id: u32 },
    /// A policy rule is there.
    Rule(Rule),
    /// A policy rule is gone.
    RuleGone(Rule),
    /// A route came or went.
    Route { prefix: Prefix, act: Act, route: Route },
}

/// What a link message says of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    pub mac: Option<[u8; 6]>,
    pub mtu: u32,
    pub up: bool,
    pub running: bool,
    /// Not a member that its bond keeps in reserve.
    pub active: bool,
}

/// How a route changes what is there for its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// Before those of the same metric.
    Prepend,
    /// After those of the same metric.
    Append,
    /// In place of the first of the same metric.
    Replace,
    /// Away.
    Remove,
}

impl Act {
    /// How a route comes to a prefix that does not have it.
    pub(super) const fn insertion(self) -> Self {
        match self {
            Self::Replace => Self::Prepend,
            other => other,
        }
    }
}

/// One route of a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    /// The local table comes before the main one.
    pub table: Table,
    /// The type of service that packets must have for it; 0 for all. Those that ask for one come
    /// before the others.
    pub tos: u8,
    /// Lower is better.
    pub metric: u32,
    /// Its next hops and those of the prefix's other such routes of the same table and metric are
    /// one route with several: what the kernel does with IPv6's gateways.
    pub joins: bool,
    /// The address that packets of ours get: the route goes with it.
    pub source: Option<IpAddr>,
    pub meaning: Meaning,
}

impl Route {
    /// One that is for all packets and stands alone.
    pub(super) const fn new(table: Table, metric: u32, meaning: Meaning) -> Self {
        Self { table, tos: 0, metric, joins: false, source: None, meaning }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    Local,
    Main,
    /// The one that subscribers' packets are routed by, where that is another.
    Chosen,
}

/// What a route does with packets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Meaning {
    Forward {
        hops: Vec<Hop>,
        mtu: Option<u32>,
    },
    /// By the next hops of the object with this number, whatever they are at a time.
    Object {
        id: u32,
        mtu: Option<u32>,
    },
    Local,
    Unreachable(Unreachable),
    /// It is for packets with a type of service alone: which way others take, the kernel knows.
    OfService(Box<Self>),
    /// It is for packets from these sources alone: which way others take, the kernel knows.
    OfSource {
        network: Ipv6Addr,
        length: u8,
        metric: u32,
    },
}

/// A next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Hop {
    pub ifindex: u32,
    pub gateway: Gateway,
    /// Share among several, 1 to 256.
    pub weight: u32,
    /// The kernel does not use it now.
    pub dead: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Gateway {
    /// The destination is on the link.
    None,
    /// Of either family, whatever the route's is (RFC 8950).
    Address(IpAddr),
    /// An encapsulation, or no address of IP: only the kernel can go this way.
    Foreign,
}

/// What a message changes, if it concerns us. `flags` are those of its netlink header, `chosen` is
/// the table's number that is [`Table::Chosen`].
pub(super) fn change(message: &Message, flags: u16, chosen: Option<u32>) -> Option<Change> {
    let message = match message {
        Message::Route(message) => message,
        Message::NextHop { id, next_hop } => {
            return Some(Change::NextHop { id: *id, next_hop: next_hop.clone() });
        }
        Message::NextHopGone { id } => return Some(Change::NextHopGone { id: *id }),
        Message::GetNextHops => return None,
    };
    match message {
        RouteNetlinkMessage::NewLink(message) => link(message),
        RouteNetlinkMessage::DelLink(message) => {
            is_whole(message).then_some(Change::LinkGone { ifindex: message.header.index })
        }
        RouteNetlinkMessage::NewAddress(message) => {
            let (ifindex, address) = address(message)?;
            Some(Change::Address { ifindex, address })
        }
        RouteNetlinkMessage::DelAddress(message) => {
            let (ifindex, address) = address(message)?;
            Some(Change::AddressGone { ifindex, address })
        }
        RouteNetlinkMessage::NewNeighbour(message) => neighbour(message, usable_mac(message)),
        RouteNetlinkMessage::DelNeighbour(message) => neighbour(message, None),
        RouteNetlinkMessage::NewRoute(message) => {
            let act = match flags {
                flags if flags & NLM_F_REPLACE != 0 => Act::Replace,
                flags if flags & NLM_F_APPEND != 0 => Act::Append,
                _ => Act::Prepend,
            };
            route(message, act, chosen)
        }
        RouteNetlinkMessage::DelRoute(message) => route(message, Act::Remove, chosen),
        RouteNetlinkMessage::NewRule(message) => Rule::read(message).map(Change::Rule),
        RouteNetlinkMessage::DelRule(message) => Rule::read(message).map(Change::RuleGone),
        _ => None,
    }
}

/// What an answer to a dump says. A route comes after those told before it: the kernel tells the
/// best of a prefix first.
pub(super) fn dumped(message: &Message, chosen: Option<u32>) -> Option<Change> {
    change(message, NLM_F_APPEND, chosen)
}

/// Bridges send messages about their ports in a family of their own; they say less.
fn is_whole(message: &LinkMessage) -> bool {
    message.header.interface_family == AddressFamily::Unspec
}

fn link(message: &LinkMessage) -> Option<Change> {
    if !is_whole(message) {
        return None;
    }
    let header = &message.header;
    let mut link = Link {
        mac: None,
        mtu: 0,
        up: header.flags.contains(LinkFlags::Up),
        running: header.flags.contains(LinkFlags::Running),
        active: true,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Address(mac) if header.link_layer_type == LinkLayerType::Ether => {
                link.mac = mac.as_slice().try_into().ok();
            }
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::LinkInfo(infos) => link.active = !infos.iter().any(is_in_reserve),
            _ => {}
        }
    }
    Some(Change::Link { ifindex: header.index, link })
}

/// Whether a bond sends nothing by this member: it is a backup, or not of the active aggregator.
fn is_in_reserve(info: &LinkInfo) -> bool {
    let LinkInfo::PortData(InfoPortData::BondPort(facts)) = info else { return false };
    facts.contains(&InfoBondPort::BondPortState(BondPortState::Backup))
}

fn address(message: &AddressMessage) -> Option<(u32, IpAddr)> {
    // On a point-to-point link `Address` is the other end's, and `Local` is ours. IPv6 says `Local`
    // only there.
    let find =
        |is: fn(&AddressAttribute) -> Option<&IpAddr>| message.attributes.iter().find_map(is);
    let local = find(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(address),
        _ => None,
    });
    let only = || {
        find(|attribute| match attribute {
            AddressAttribute::Address(address @ IpAddr::V6(_)) => Some(address),
            _ => None,
        })
    };
    Some((message.header.index, *local.or_else(only)?))
}

fn neighbour(message: &NeighbourMessage, mac: Option<[u8; 6]>) -> Option<Change> {
    if message.header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => {
            Some(IpAddr::V4(*address))
        }
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => {
            Some(IpAddr::V6(*address))
        }
        _ => None,
    })?;
    // One that is gone had a state, too.
    let stale = mac.is_some() && message.header.state == NeighbourState::Stale;
    Some(Change::Neighbour { ifindex: message.header.ifindex, address, mac, stale })
}

fn usable_mac(message: &NeighbourMessage) -> Option<[u8; 6]> {
    match message.header.state {
        NeighbourState::Permanent
        | NeighbourState::Noarp
        | NeighbourState::Reachable
        | NeighbourState::Stale
        | NeighbourState::Delay
        | NeighbourState::Probe => {}
        _ => return None,
    }
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(mac) => mac.as_slice().try_into().ok(),
        _ => None,
    })
}

fn route(message: &RouteMessage, act: Act, chosen: Option<u32>) -> Option<Change> {
    const LOCAL: u32 = 255;
    const MAIN: u32 = 254;

    let header = &message.header;
    let (unspecified, bits) = match header.address_family {
        AddressFamily::Inet => (IpAddr::V4(Ipv4Addr::UNSPECIFIED), Ipv4Addr::BITS),
        AddressFamily::Inet6 => (IpAddr::V6(Ipv6Addr::UNSPECIFIED), Ipv6Addr::BITS),
        _ => return None,
    };
    if u32::from(header.destination_prefix_length) > bits
        || header.flags.contains(RouteFlags::Cloned)
    {
        return None;
    }

    let mut destination = unspecified;
    let mut source = Ipv6Addr::UNSPECIFIED;
    let mut table = u32::from(header.table);
    let mut metric = 0;
    let mut mtu = None;
    let mut object = None;
    let mut preferred = None;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::NhId(id) => object = Some(*id),
            RouteAttribute::PrefSource(RouteAddress::Inet(address)) => {
                preferred = Some(IpAddr::V4(*address));
            }
            RouteAttribute::Destination(RouteAddress::Inet(address)) => {
                destination = IpAddr::V4(*address);
            }
            RouteAttribute::Destination(RouteAddress::Inet6(address)) => {
                destination = IpAddr::V6(*address);
            }
            RouteAttribute::Source(RouteAddress::Inet6(address)) => source = *address,
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::Metrics(metrics) => {
                mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    let is_foreign = match destination {
        IpAddr::V4(_) => bits != Ipv4Addr::BITS,
        // Each interface has those of its link, and no packet goes beyond it.
        IpAddr::V6(address) => bits != Ipv6Addr::BITS || ipv6::is_of_link(address),
    };
    if is_foreign {
        return None;
    }
    let table = match table {
        LOCAL => Table::Local,
        MAIN => Table::Main,
        number if Some(number) == chosen => Table::Chosen,
        _ => return None,
    };
    let meaning = match object {
        // What else the message says of next hops is how they were when it was sent.
        Some(id) => Meaning::Object { id, mtu },
        None => meaning(header, &message.attributes, mtu)?,
    };
    let prefix = (destination, header.destination_prefix_length);
    if header.source_prefix_length != 0 {
        // The kernel asks for it before those of its prefix that are for all.
        let length = header.source_prefix_length;
        let meaning = Meaning::OfSource { network: source, length, metric };
        let route = Route { source: preferred, ..Route::new(table, 0, meaning) };
        return Some(Change::Route { prefix, act, route });
    }
    // IPv6's kernel puts none before others of its metric.
    let act = if destination.is_ipv6() && act == Act::Prepend { Act::Append } else { act };
    let joins = destination.is_ipv6() && joins(message, &meaning);
    let tos = header.tos;
    let meaning = if tos == 0 { meaning } else { Meaning::OfService(meaning.into()) };
    let route = Route { tos, joins, source: preferred, ..Route::new(table, metric, meaning) };
    Some(Change::Route { prefix, act, route })
}

fn meaning(
    header: &RouteHeader,
    attributes: &[RouteAttribute],
    mtu: Option<u32>,
) -> Option<Meaning> {
    Some(match header.kind {
        RouteType::Unicast => Meaning::Forward { hops: hops(header, attributes), mtu },
        RouteType::Local | RouteType::Broadcast | RouteType::Anycast | RouteType::Multicast => {
            Meaning::Local
        }
        RouteType::BlackHole => Meaning::Unreachable(Unreachable::Blackhole),
        RouteType::Unreachable => Meaning::Unreachable(Unreachable::Host),
        RouteType::Prohibit => Meaning::Unreachable(Unreachable::Prohibited),
        // "Not in this table", and there is no other that we know.
        RouteType::Throw => Meaning::Unreachable(Unreachable::Network),
        _ => return None,
    })
}

/// Whether IPv6's kernel makes one route of this one and others (`rt6_qualify_for_ecmp`): it has
/// gateways of its own, and no router's advertisement made it.
fn joins(message: &RouteMessage, meaning: &Meaning) -> bool {
    let Meaning::Forward { hops, .. } = meaning else { return false };
    message.header.protocol != RouteProtocol::Ra
        && !hops.is_empty()
        && hops.iter().all(|hop| hop.gateway != Gateway::None)
}

fn hops(header: &RouteHeader, attributes: &[RouteAttribute]) -> Vec<Hop> {
    let several = attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::MultiPath(hops) => Some(hops),
        _ => None,
    });
    if let Some(hops) = several {
        return hops.iter().map(hop_of_several).collect();
    }
    let ifindex = attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(ifindex) => Some(*ifindex),
        _ => None,
    });
    ifindex
        .map(|ifindex| Hop {
            ifindex,
            gateway: gateway(attributes),
            weight: 1,
            dead: header.flags.contains(RouteFlags::Dead),
        })
        .into_iter()
        .collect()
}

fn hop_of_several(hop: &RouteNextHop) -> Hop {
    Hop {
        ifindex: hop.interface_index,
        gateway: gateway(&hop.attributes),
        // The kernel counts from 0.
        weight: u32::from(hop.hops) + 1,
        dead: hop.flags.contains(RouteNextHopFlags::Dead),
    }
}

fn gateway(attributes: &[RouteAttribute]) -> Gateway {
    let mut gateway = Gateway::None;
    for attribute in attributes {
        match attribute {
            RouteAttribute::Gateway(RouteAddress::Inet(address))
            | RouteAttribute::Via(RouteVia::Inet(address)) => {
                gateway = Gateway::Address(IpAddr::V4(*address));
            }
            RouteAttribute::Gateway(RouteAddress::Inet6(address))
            | RouteAttribute::Via(RouteVia::Inet6(address)) => {
                gateway = Gateway::Address(IpAddr::V6(*address));
            }
            RouteAttribute::Gateway(_)
            | RouteAttribute::Via(_)
            | RouteAttribute::Encap(_)
            | RouteAttribute::EncapType(_)
            | RouteAttribute::NewDestination(_) => return Gateway::Foreign,
            _ => {}
        }
    }
    gateway
}
