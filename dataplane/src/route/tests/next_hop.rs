//! Next hops that routes name by a number: their messages, and what they move.

use std::net::Ipv6Addr;

use proptest::prelude::*;
use rtnetlink::packet_core::{NetlinkDeserializable, NetlinkHeader};

use super::*;

fn read(kind: u16, payload: &[u8]) -> Option<Message> {
    let mut header = NetlinkHeader::default();
    header.message_type = kind;
    Message::deserialize(&header, payload).ok()
}

/// An attribute as the kernel writes it.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap();
    let mut octets = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
    octets.resize(octets.len().next_multiple_of(4), 0);
    octets
}

/// The message of an object, as the kernel writes it (`nh_fill_node` of `net/ipv4/nexthop.c`).
fn written(id: u32, next_hop: &NextHop) -> Vec<u8> {
    let mut flags = 0_u32;
    let of_it = match next_hop {
        NextHop::Blackhole => attribute(4, &[]),
        NextHop::Group(members) => {
            let members = members.iter().flat_map(|(id, weight)| {
                let [high, low] = u16::try_from(weight - 1).unwrap().to_be_bytes();
                [&id.to_ne_bytes()[..], &[low, high, 0, 0]].concat()
            });
            attribute(2, &members.collect::<Vec<u8>>())
        }
        NextHop::One(hop) => {
            flags = u32::from(hop.dead);
            let by = attribute(5, &hop.ifindex.to_ne_bytes());
            let gateway = match hop.gateway {
                Gateway::None => Vec::new(),
                Gateway::Address(IpAddr::V4(address)) => attribute(6, &address.octets()),
                Gateway::Address(IpAddr::V6(address)) => attribute(6, &address.octets()),
                Gateway::Foreign => attribute(7, &1_u16.to_ne_bytes()),
            };
            [gateway, by].concat()
        }
    };
    let header = [&[2, 0, 0, 0][..], &flags.to_ne_bytes()].concat();
    [header, attribute(1, &id.to_ne_bytes()), of_it].concat()
}

fn next_hops() -> impl Strategy<Value = NextHop> {
    let gateway = prop_oneof![
        Just(Gateway::None),
        any::<Ipv4Addr>().prop_map(|address| Gateway::Address(address.into())),
        any::<Ipv6Addr>().prop_map(|address| Gateway::Address(address.into())),
        Just(Gateway::Foreign),
    ];
    prop_oneof![
        Just(NextHop::Blackhole),
        prop::collection::vec((any::<u32>(), 1..=0x1_0000_u32), 0..9).prop_map(NextHop::Group),
        (any::<u32>(), gateway, any::<bool>()).prop_map(|(ifindex, gateway, dead)| {
            NextHop::One(Hop { ifindex, gateway, weight: 1, dead })
        }),
    ]
}

proptest! {
    #[test]
    fn objects_are_read_as_the_kernel_writes_them(id in any::<u32>(), next_hop in next_hops()) {
        let octets = written(id, &next_hop);
        prop_assert_eq!(read(104, &octets), Some(Message::NextHop { id, next_hop }));
        prop_assert_eq!(read(105, &octets), Some(Message::NextHopGone { id }));
    }

    #[test]
    fn any_octets_are_read_or_refused(
        kind in 104..=106_u16,
        octets in prop::collection::vec(any::<u8>(), 0..64),
        at in 0..40_usize,
        changed in any::<u8>(),
        next_hop in next_hops(),
    ) {
        read(kind, &octets);
        let mut nearly = written(7, &next_hop);
        if let Some(octet) = nearly.get_mut(at) {
            *octet = changed;
        }
        read(kind, &nearly);
    }
}

fn object(id: u32, next_hop: NextHop) -> Change {
    Change::NextHop { id, next_hop }
}

fn one(gateway: Ipv4Addr) -> NextHop {
    NextHop::One(hop(PORT, Gateway::Address(gateway.into())))
}

fn names(id: u32) -> Meaning {
    Meaning::Object { id, mtu: None }
}

/// What is told of an object is all that there is to know, so that routes move at once.
#[test]
fn an_object_moves_its_routes_and_no_other_is_asked_for() {
    let mut rib = rib();
    assert_eq!(rib.apply(object(1, one(GATEWAY))), Told::All);
    assert_eq!(rib.apply(object(10, NextHop::Group(vec![(1, 1)]))), Told::All);
    rib.apply(add("10.1.0.0/16", names(1)));
    rib.apply(add("10.2.0.0/16", names(10)));
    for destination in ["10.1.0.1", "10.2.0.1"] {
        assert_eq!(lookup(&mut rib, destination), VIA_GATEWAY);
    }
    assert!(rib.gateways().contains(&(PORT, GATEWAY.into())));
    assert_eq!(rib.apply(object(1, one(address("192.0.2.3")))), Told::All);
    for destination in ["10.1.0.1", "10.2.0.1"] {
        assert_eq!(lookup(&mut rib, destination), Decision::Unresolved { ifindex: PORT });
    }
    assert_eq!(rib.apply(link(PORT, MAC, false)), Told::Part);
}

/// Its routes are gone in the kernel without a message, and those of the next one with its number
/// are others.
#[test]
fn routes_of_an_object_that_is_gone_are_the_kernels_until_all_are_known_again() {
    let mut rib = rib();
    rib.apply(object(1, one(GATEWAY)));
    rib.apply(add("0.0.0.0/0", forward(&[hop(PORT, Gateway::Address(GATEWAY.into()))])));
    rib.apply(add("10.1.0.0/16", names(1)));
    assert_eq!(rib.apply(Change::NextHopGone { id: 1 }), Told::Part);
    assert_eq!(lookup(&mut rib, "10.1.0.1"), Decision::Kernel { ifindex: 0 });
    rib.apply(object(1, one(GATEWAY)));
    assert_eq!(lookup(&mut rib, "10.1.0.1"), Decision::Kernel { ifindex: 0 });
    rib.apply(route("10.1.0.0/16", Act::Prepend, Table::Main, 0, names(1)));
    assert_eq!(lookup(&mut rib, "10.1.0.1"), VIA_GATEWAY);
    // Those that no route names come and go for nothing.
    rib.apply(object(2, one(GATEWAY)));
    assert_eq!(rib.apply(Change::NextHopGone { id: 2 }), Told::All);
}
