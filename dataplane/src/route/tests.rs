//! Tests of what routes mean. Those that follow a real kernel need root and say so.

mod kernel;
mod model;
mod next_hop;
mod resync;
mod siblings;

use std::net::{IpAddr, Ipv4Addr};

use rtnetlink::packet_route::link::{
    BondPortState, InfoBondPort, InfoPortData, LinkAttribute, LinkInfo, LinkMessage,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::message::{Act, Change, Gateway, Hop, Link, Meaning, Route, Table, change};
use super::next_hop::{Message, NextHop};
use super::rib::Rib;
use super::tables::Told;
use super::*;

const PORT: u32 = 2;
const OTHER_PORT: u32 = 3;
const NO_PORT: u32 = 9;
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const OTHER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 3];
const GATEWAY_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

fn address(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn gateway(address: impl Into<IpAddr>) -> Gateway {
    Gateway::Address(address.into())
}

fn link(ifindex: u32, mac: [u8; 6], up: bool) -> Change {
    let link = Link { mac: Some(mac), mtu: 1500, up, running: up, active: true };
    Change::Link { ifindex, link }
}

fn neighbour(ifindex: u32, address: impl Into<IpAddr>, mac: Option<[u8; 6]>) -> Change {
    Change::Neighbour { ifindex, address: address.into(), mac, stale: false }
}

fn hop(ifindex: u32, gateway: Gateway) -> Hop {
    Hop { ifindex, gateway, weight: 1, dead: false }
}

fn forward(hops: &[Hop]) -> Meaning {
    Meaning::Forward { hops: hops.to_vec(), mtu: None }
}

fn route(prefix: &str, act: Act, table: Table, metric: u32, meaning: Meaning) -> Change {
    let (network, length) = prefix.split_once('/').unwrap();
    let prefix = (network.parse().unwrap(), length.parse().unwrap());
    Change::Route { prefix, act, route: Route::new(table, metric, meaning) }
}

fn add(prefix: &str, meaning: Meaning) -> Change {
    route(prefix, Act::Append, Table::Main, 0, meaning)
}

/// Two ports with a neighbour each, and an interface that is no port.
fn rib() -> Rib {
    let mut rib = Rib::new([PORT, OTHER_PORT].into(), Routing::default());
    rib.apply(link(PORT, MAC, true));
    rib.apply(link(OTHER_PORT, OTHER_MAC, true));
    rib.apply(link(NO_PORT, [2, 0, 0, 0, 0, 9], true));
    rib.apply(neighbour(PORT, GATEWAY, Some(GATEWAY_MAC)));
    rib
}

fn lookup(rib: &mut Rib, destination: &str) -> Decision {
    rib.snapshot().lookup(address(destination))
}

const VIA_GATEWAY: Decision =
    Decision::Via { ifindex: PORT, source_mac: MAC, next_hop_mac: GATEWAY_MAC, mtu: 1500 };

#[test]
fn nothing_is_known_at_first() {
    let decision = Routes::default().load().lookup(GATEWAY);
    assert_eq!(decision, Decision::Unreachable(Unreachable::Network));
}

#[test]
fn a_gateway_answers_for_all_behind_it() {
    let mut rib = rib();
    rib.apply(add("0.0.0.0/0", forward(&[hop(PORT, gateway(GATEWAY))])));
    assert_eq!(lookup(&mut rib, "203.0.113.1"), VIA_GATEWAY);
    rib.apply(neighbour(PORT, GATEWAY, None));
    assert_eq!(lookup(&mut rib, "203.0.113.1"), Decision::Unresolved { ifindex: PORT });
}

#[test]
fn on_a_link_everyone_answers_for_itself() {
    let mut rib = rib();
    rib.apply(add("192.0.2.0/24", forward(&[hop(PORT, Gateway::None)])));
    assert_eq!(lookup(&mut rib, "192.0.2.1"), VIA_GATEWAY);
    assert_eq!(lookup(&mut rib, "192.0.2.2"), Decision::Unresolved { ifindex: PORT });
}

#[test]
fn what_leaves_by_no_port_of_ours_is_the_kernels() {
    let mut rib = rib();
    let by_kernel = Decision::Kernel { ifindex: NO_PORT };
    rib.apply(add("10.0.0.0/8", forward(&[hop(NO_PORT, Gateway::None)])));
    rib.apply(neighbour(NO_PORT, address("10.0.0.1"), Some(GATEWAY_MAC)));
    assert_eq!(lookup(&mut rib, "10.0.0.1"), by_kernel);
    rib.set_ports([NO_PORT].into());
    assert!(matches!(lookup(&mut rib, "10.0.0.1"), Decision::Via { ifindex: NO_PORT, .. }));
}

#[test]
fn a_port_that_is_down_or_has_no_mac_address_is_the_kernels() {
    let mut rib = rib();
    rib.apply(add("192.0.2.0/24", forward(&[hop(PORT, Gateway::None)])));
    rib.apply(link(PORT, MAC, false));
    assert_eq!(lookup(&mut rib, "192.0.2.1"), Decision::Kernel { ifindex: PORT });
    let link = Link { mac: None, mtu: 1500, up: true, running: true, active: true };
    rib.apply(Change::Link { ifindex: PORT, link });
    assert_eq!(lookup(&mut rib, "192.0.2.1"), Decision::Kernel { ifindex: PORT });
    rib.apply(Change::LinkGone { ifindex: PORT });
    assert_eq!(lookup(&mut rib, "192.0.2.1"), Decision::Kernel { ifindex: PORT });
}

#[test]
fn ways_that_only_the_kernel_knows_are_the_kernels() {
    let mut rib = rib();
    rib.apply(add("10.0.0.0/8", forward(&[hop(PORT, Gateway::Foreign)])));
    assert_eq!(lookup(&mut rib, "10.0.0.1"), Decision::Kernel { ifindex: PORT });
    rib.apply(add("11.0.0.0/8", forward(&[])));
    assert_eq!(lookup(&mut rib, "11.0.0.1"), Decision::Kernel { ifindex: 0 });
}

#[test]
fn the_smaller_mtu_counts() {
    let mut rib = rib();
    for (prefix, mtu) in [("10.0.0.0/8", 1300), ("11.0.0.0/8", 9000)] {
        let hops = vec![hop(PORT, gateway(GATEWAY))];
        rib.apply(add(prefix, Meaning::Forward { hops, mtu: Some(mtu) }));
    }
    assert!(matches!(lookup(&mut rib, "10.0.0.1"), Decision::Via { mtu: 1300, .. }));
    assert!(matches!(lookup(&mut rib, "11.0.0.1"), Decision::Via { mtu: 1500, .. }));
}

/// RFC 1812 §5.2.4.3.
#[test]
fn the_longest_prefix_wins_and_shows_the_next_when_it_goes() {
    let mut rib = rib();
    let nested = [
        ("0.0.0.0/0", Unreachable::Network),
        ("10.0.0.0/8", Unreachable::Host),
        ("10.1.0.0/16", Unreachable::Prohibited),
        ("10.1.2.0/23", Unreachable::Blackhole),
        ("10.1.3.4/32", Unreachable::Host),
    ];
    for (prefix, why) in nested {
        rib.apply(add(prefix, Meaning::Unreachable(why)));
    }
    for (prefix, why) in nested.into_iter().rev() {
        assert_eq!(lookup(&mut rib, "10.1.3.4"), Decision::Unreachable(why), "{prefix}");
        let remove = route(prefix, Act::Remove, Table::Main, 0, Meaning::Unreachable(why));
        rib.apply(remove);
    }
    assert_eq!(lookup(&mut rib, "10.1.3.4"), Decision::Unreachable(Unreachable::Network));
}

#[test]
fn the_local_table_and_the_lower_metric_win() {
    let mut rib = rib();
    let blackhole = || Meaning::Unreachable(Unreachable::Blackhole);
    let host = || Meaning::Unreachable(Unreachable::Host);
    rib.apply(route("10.0.0.1/32", Act::Prepend, Table::Main, 100, host()));
    rib.apply(route("10.0.0.1/32", Act::Prepend, Table::Main, 50, blackhole()));
    assert_eq!(lookup(&mut rib, "10.0.0.1"), Decision::Unreachable(Unreachable::Blackhole));
    rib.apply(route("10.0.0.1/32", Act::Prepend, Table::Local, 1000, Meaning::Local));
    assert_eq!(lookup(&mut rib, "10.0.0.1"), Decision::Local);
    rib.apply(route("10.0.0.1/32", Act::Remove, Table::Local, 1000, Meaning::Local));
    rib.apply(route("10.0.0.1/32", Act::Remove, Table::Main, 50, blackhole()));
    assert_eq!(lookup(&mut rib, "10.0.0.1"), Decision::Unreachable(Unreachable::Host));
}

#[test]
fn a_route_whose_next_hops_are_dead_is_passed_over() {
    let mut rib = rib();
    let alive = hop(PORT, gateway(GATEWAY));
    let dead = Hop { dead: true, ..hop(OTHER_PORT, Gateway::None) };
    rib.apply(add("0.0.0.0/0", forward(&[alive])));
    rib.apply(add("10.0.0.0/8", forward(&[dead])));
    assert_eq!(lookup(&mut rib, "10.0.0.1"), VIA_GATEWAY);
    rib.apply(add("11.0.0.0/8", forward(&[dead, alive])));
    for last in 0..32 {
        assert_eq!(lookup(&mut rib, &format!("11.0.0.{last}")), VIA_GATEWAY);
    }
    // Told to be alive, or to be gone, in whatever state.
    let revived = hop(OTHER_PORT, Gateway::None);
    rib.apply(add("10.0.0.0/8", forward(&[revived])));
    assert_eq!(lookup(&mut rib, "10.0.0.1"), Decision::Unresolved { ifindex: OTHER_PORT });
    rib.apply(route("10.0.0.0/8", Act::Remove, Table::Main, 0, forward(&[dead])));
    assert_eq!(lookup(&mut rib, "10.0.0.1"), VIA_GATEWAY);
}

#[test]
fn several_next_hops_share_by_weight_and_keep_their_destinations() {
    let mut rib = rib();
    let heavy = Hop { weight: 3, ..hop(PORT, Gateway::None) };
    rib.apply(add("10.0.0.0/8", forward(&[heavy, hop(OTHER_PORT, Gateway::None)])));
    let snapshot = rib.snapshot();
    let by_port = |snapshot: &Snapshot| -> Vec<bool> {
        (0..4096)
            .map(|host| Ipv4Addr::from_bits(0x0A00_0000 + host))
            .map(|to| snapshot.lookup(to) == Decision::Unresolved { ifindex: PORT })
            .collect()
    };
    let ways = by_port(&snapshot);
    let share = ways.iter().filter(|by_port| **by_port).count();
    assert!((2900..3250).contains(&share), "{share} of 4096, 3072 expected");
    rib.apply(neighbour(PORT, GATEWAY, None));
    assert_eq!(by_port(&rib.snapshot()), ways);
}

#[test]
fn the_kernel_is_told_only_of_gateways_that_it_is_unsure_of() {
    let mut rib = rib();
    let unknown = address("192.0.2.3");
    let hops = [(PORT, GATEWAY), (PORT, unknown), (NO_PORT, GATEWAY)]
        .map(|(ifindex, address)| hop(ifindex, gateway(address)));
    rib.apply(add("10.0.0.0/8", forward(&hops)));
    rib.apply(add("11.0.0.0/8", forward(&hops[..1])));
    assert_eq!(rib.unsure_gateways(), [(PORT, unknown.into())].into());
    for (stale, unsure) in [(true, true), (false, false)] {
        let mac = Some(GATEWAY_MAC);
        rib.apply(Change::Neighbour { ifindex: PORT, address: GATEWAY.into(), mac, stale });
        assert_eq!(rib.unsure_gateways().contains(&(PORT, GATEWAY.into())), unsure);
    }
}

/// The kernel tells the last state of a neighbour when it forgets it.
#[test]
fn a_neighbour_that_is_gone_is_not_stale() {
    let mut message = NeighbourMessage::default();
    message.header.ifindex = PORT;
    message.header.state = NeighbourState::Stale;
    let is = NeighbourAddress::Inet(GATEWAY);
    message.attributes.push(NeighbourAttribute::Destination(is));
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(GATEWAY_MAC.to_vec()));
    for (message, mac) in [
        (RouteNetlinkMessage::NewNeighbour(message.clone()), Some(GATEWAY_MAC)),
        (RouteNetlinkMessage::DelNeighbour(message), None),
    ] {
        let told = change(&Message::Route(message), 0, None).unwrap();
        let address = GATEWAY.into();
        let stale = mac.is_some();
        assert_eq!(told, Change::Neighbour { ifindex: PORT, address, mac, stale });
    }
}

#[test]
fn stale_neighbours_have_their_turns() {
    let mut rib = rib();
    let stale = |ifindex, last| {
        let address = Ipv4Addr::new(192, 0, 2, last).into();
        Change::Neighbour { ifindex, address, mac: Some(GATEWAY_MAC), stale: true }
    };
    for last in 10..15 {
        rib.apply(stale(PORT, last));
    }
    rib.apply(stale(NO_PORT, 20));
    let mut last = None;
    let mut turns = Vec::new();
    for _ in 0..5 {
        let turn = rib.stale_neighbours(last, 3);
        last = turn.last().copied();
        turns.extend(turn);
    }
    let expected = (10..15).map(|last| (PORT, Ipv4Addr::new(192, 0, 2, last).into()));
    assert_eq!(turns, expected.collect::<Vec<_>>().repeat(3));
    assert_eq!(rib.stale_neighbours(last, 100).len(), 5);
    rib.set_ports([NO_PORT].into());
    assert_eq!(rib.stale_neighbours(last, 100), [(NO_PORT, address("192.0.2.20").into())]);
}

#[test]
fn a_snapshot_stays_as_it_was() {
    let mut rib = rib();
    rib.apply(add("0.0.0.0/0", forward(&[hop(PORT, gateway(GATEWAY))])));
    let before = rib.snapshot();
    let meaning = forward(&[hop(PORT, gateway(GATEWAY))]);
    rib.apply(route("0.0.0.0/0", Act::Remove, Table::Main, 0, meaning));
    rib.apply(add("10.0.0.0/8", Meaning::Unreachable(Unreachable::Blackhole)));
    rib.apply(Change::LinkGone { ifindex: PORT });
    rib.apply(neighbour(PORT, GATEWAY, None));
    rib.snapshot();
    assert_eq!(before.lookup(address("10.0.0.1")), VIA_GATEWAY);
    assert_eq!(before.interface(PORT).map(|interface| interface.mac), Some(Some(MAC)));
}

#[test]
fn addresses_belong_to_their_interface_whatever_the_link_does() {
    let mut rib = rib();
    let ours = address("192.0.2.7").into();
    rib.apply(Change::Address { ifindex: PORT, address: ours });
    rib.apply(Change::Address { ifindex: PORT, address: ours });
    rib.apply(link(PORT, OTHER_MAC, true));
    assert_eq!(rib.snapshot().interface(PORT).unwrap().addresses, [ours]);
    rib.apply(Change::AddressGone { ifindex: PORT, address: ours });
    assert_eq!(rib.snapshot().interface(PORT).unwrap().addresses, [IpAddr::V4(GATEWAY); 0]);
}

/// The kernel drops IPv4 routes without a message when an interface goes down or loses an address.
#[test]
fn what_changes_routes_silently_asks_for_all_of_them() {
    let mut rib = rib();
    // An interface that no route leads by.
    assert_eq!(rib.apply(link(PORT, MAC, false)), Told::All);
    assert_eq!(rib.apply(link(PORT, MAC, true)), Told::All);
    rib.apply(add("192.0.2.0/24", forward(&[hop(PORT, Gateway::None)])));
    assert_eq!(rib.apply(link(PORT, OTHER_MAC, true)), Told::All);
    assert_eq!(rib.apply(link(PORT, OTHER_MAC, false)), Told::Part);
    assert_eq!(rib.apply(link(PORT, OTHER_MAC, true)), Told::Part);
    assert_eq!(rib.apply(Change::LinkGone { ifindex: PORT }), Told::Part);
    assert_eq!(rib.apply(link(PORT, MAC, true)), Told::All);
    let ours = address("192.0.2.7").into();
    assert_eq!(rib.apply(Change::Address { ifindex: PORT, address: ours }), Told::All);
    assert_eq!(rib.apply(Change::AddressGone { ifindex: PORT, address: ours }), Told::Part);
}

/// With the Internet's table, being asked for all takes seconds: no session or container that ends
/// may cost that.
#[test]
fn interfaces_that_no_route_leads_by_come_and_go_for_nothing() {
    let mut rib = rib();
    let theirs = address("192.0.2.7").into();
    rib.apply(add("10.0.0.0/8", forward(&[hop(PORT, Gateway::Address(GATEWAY.into()))])));
    assert_eq!(rib.apply(Change::Address { ifindex: NO_PORT, address: theirs }), Told::All);
    assert_eq!(rib.apply(Change::AddressGone { ifindex: NO_PORT, address: theirs }), Told::All);
    assert_eq!(rib.apply(link(NO_PORT, MAC, false)), Told::All);
    assert_eq!(rib.apply(Change::LinkGone { ifindex: NO_PORT }), Told::All);
    // But routes go with the address that they give to packets, wherever that was.
    let meaning = forward(&[hop(PORT, Gateway::Address(GATEWAY.into()))]);
    let route = Route { source: Some(theirs), ..Route::new(Table::Main, 0, meaning) };
    let prefix = (address("11.0.0.0").into(), 8);
    rib.apply(Change::Route { prefix, act: Act::Append, route });
    assert_eq!(rib.apply(Change::AddressGone { ifindex: NO_PORT, address: theirs }), Told::Part);
}

#[test]
fn a_member_that_its_bond_keeps_in_reserve_is_not_active() {
    for (state, active) in [(BondPortState::Backup, false), (BondPortState::Active, true)] {
        let mut message = LinkMessage::default();
        message.header.index = PORT;
        let facts = vec![InfoBondPort::BondPortState(state)];
        let info = LinkInfo::PortData(InfoPortData::BondPort(facts));
        message.attributes.push(LinkAttribute::LinkInfo(vec![info]));
        let message = Message::Route(RouteNetlinkMessage::NewLink(message));
        let told = change(&message, 0, None).unwrap();
        let mut rib = rib();
        rib.apply(told);
        assert_eq!(rib.snapshot().interface(PORT).unwrap().active, active);
    }
}

/// A router on a link-local address is known by its interface alone (RFC 4291 §2.5.6).
#[test]
fn routers_with_one_address_on_two_links_are_two() {
    let mut rib = rib();
    let router: IpAddr = "fe80::1".parse().unwrap();
    rib.apply(neighbour(PORT, router, Some(GATEWAY_MAC)));
    rib.apply(neighbour(OTHER_PORT, router, Some([2, 0, 0, 0, 1, 3])));
    rib.apply(add("2001:db8::/32", forward(&[hop(PORT, gateway(router))])));
    rib.apply(add("2001:db8:3::/48", forward(&[hop(OTHER_PORT, gateway(router))])));
    let mut lookup = |text: &str| rib.snapshot().lookup_ipv6(text.parse().unwrap());
    assert_eq!(lookup("2001:db8:2::1"), VIA_GATEWAY);
    let Decision::Via { ifindex, next_hop_mac, .. } = lookup("2001:db8:3::1") else {
        panic!("a way");
    };
    assert_eq!((ifindex, next_hop_mac[5]), (OTHER_PORT, 3));
}

fn route_ipv6(prefix: &str) -> RouteMessage {
    let (network, length) = prefix.split_once('/').unwrap();
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet6;
    message.header.destination_prefix_length = length.parse().unwrap();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.kind = RouteType::Unicast;
    let network = RouteAddress::Inet6(network.parse().unwrap());
    message.attributes.push(RouteAttribute::Destination(network));
    message.attributes.push(RouteAttribute::Oif(PORT));
    message
}

/// Which source a packet has, a trie of destinations does not know.
#[test]
fn routes_for_some_sources_are_the_kernels_for_all() {
    let mut rib = rib();
    rib.apply(add("2001:db8:2::/48", Meaning::Unreachable(Unreachable::Host)));
    let mut message = route_ipv6("2001:db8:2::/48");
    message.header.source_prefix_length = 48;
    let source = RouteAddress::Inet6("2001:db8:f::".parse().unwrap());
    message.attributes.push(RouteAttribute::Source(source));
    let mut tell = |message, decision| {
        rib.apply(change(&Message::Route(message), 0, None).unwrap());
        let to = "2001:db8:2::1".parse().unwrap();
        assert_eq!(rib.snapshot().lookup_ipv6(to), decision);
    };
    tell(RouteNetlinkMessage::NewRoute(message.clone()), Decision::Kernel { ifindex: 0 });
    tell(RouteNetlinkMessage::DelRoute(message), Decision::Unreachable(Unreachable::Host));
}

/// Every interface has them, users' too, and no packet goes by them.
#[test]
fn routes_of_the_link_itself_are_no_change() {
    for of_link in ["fe80::/64", "ff00::/8"] {
        let message = RouteNetlinkMessage::NewRoute(route_ipv6(of_link));
        assert_eq!(change(&Message::Route(message), 0, None), None);
    }
}

/// A port on whose link one neighbour is known.
pub(crate) struct Port {
    pub(crate) ifindex: u32,
    pub(crate) mac: [u8; 6],
    pub(crate) prefix: &'static str,
    pub(crate) neighbour: (IpAddr, [u8; 6]),
}

/// Routes to the links of these ports that stay as they are.
pub(crate) fn links(ports: &[Port]) -> Arc<Routes> {
    let mut rib = Rib::new(ports.iter().map(|port| port.ifindex).collect(), Routing::default());
    for &Port { ifindex, mac, prefix, neighbour: (address, neighbour_mac) } in ports {
        rib.apply(link(ifindex, mac, true));
        rib.apply(neighbour(ifindex, address, Some(neighbour_mac)));
        rib.apply(add(prefix, forward(&[hop(ifindex, Gateway::None)])));
    }
    let routes = Routes::default();
    routes.publish(rib.snapshot());
    Arc::new(routes)
}
