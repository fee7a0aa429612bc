//! Tests of the loader and of the program's verdicts. Those that load the program need root and
//! say so.

mod frames;
mod kernel;
mod oracle;
mod ports;
mod privileges;
mod verdicts;

use std::net::Ipv6Addr;

use super::*;

/// Small maps: a test loads them in no time.
const CAPACITY: Capacity =
    Capacity { ports: 8, sockets: 16, listeners: 8, tunnels: 64, prefixes: 64 };

/// Roles of frames without a tag.
fn untagged(roles: Roles) -> [(Tags, Roles); 1] {
    [(Tags::None, roles)]
}

fn load() -> Steering {
    Steering::load(CAPACITY).unwrap_or_else(|error| panic!("this test needs root: {error}"))
}

#[test]
fn sockets_of_ports_never_overlap() {
    assert_eq!(first_gap(&[], 4, 4), Some(0));
    assert_eq!(first_gap(&[], 5, 4), None);
    assert_eq!(first_gap(&[0..2, 2..4], 4, 8), Some(4));
    assert_eq!(first_gap(&[0..2, 6..8], 4, 8), Some(2));
    assert_eq!(first_gap(&[0..2, 5..8], 4, 8), None);
    assert_eq!(first_gap(&[0..2, 2..3], u32::MAX, u32::MAX), None);
}

#[test]
fn a_full_map_is_told_with_its_limit() {
    let mut steering = Steering::load(Capacity { tunnels: 1, ..CAPACITY })
        .unwrap_or_else(|error| panic!("this test needs root: {error}"));
    let peer = Ipv4Addr::new(192, 0, 2, 1);
    steering.insert_tunnel(peer, 1).unwrap();
    steering.insert_tunnel(peer, 1).unwrap();
    let error = steering.insert_tunnel(peer, 2).unwrap_err();
    assert_eq!(error.to_string(), "no room for another of the 1 tunnels that the map was made for");
}

#[test]
fn removing_what_was_never_there_is_no_error() {
    let mut steering = load();
    steering.remove_tunnel(Ipv4Addr::LOCALHOST, 1).unwrap();
    steering.remove_listener(Ipv4Addr::LOCALHOST).unwrap();
    steering.remove_prefix(Ipv4Addr::LOCALHOST, 8).unwrap();
    steering.remove_prefix(Ipv6Addr::LOCALHOST, 64).unwrap();
}

#[test]
fn a_prefix_longer_than_an_address_is_refused() {
    let mut steering = load();
    let mut refusal = |address: IpAddr, length| {
        steering.insert_prefix(address, length, PrefixAction::Steer).unwrap_err().to_string()
    };
    let ipv4 = refusal(Ipv4Addr::LOCALHOST.into(), 33);
    assert_eq!(ipv4, "a prefix of 33 bits is longer than its address");
    let ipv6 = refusal(Ipv6Addr::LOCALHOST.into(), 129);
    assert_eq!(ipv6, "a prefix of 129 bits is longer than its address");
}
