//! A network for whole data planes: an access and a core port, a peer behind one, a server behind the
//! other.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::net::Ipv4Addr;

use dataplane::DataPlane;
use dataplane::api::{Config, Handle, Interface, Prefix, Role, Tun};

use super::common::{GATEWAY, ip};

/// Interfaces of the data plane.
pub const PORTS: [&str; 2] = ["access", "core"];
pub const LOCAL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
pub const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 80);
pub const ACCESS: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub const CORE: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
pub const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 1, 2];

/// Two veth cables with two queues each, of which the data plane has one end and the test the other.
pub fn network() {
    for (near, mac, far, far_mac) in [
        ("access", "02:00:00:00:00:01", "peer", "02:00:00:00:01:01"),
        ("core", "02:00:00:00:00:02", "server", "02:00:00:00:01:02"),
    ] {
        ip(&format!(
            "link add {near} address {mac} numrxqueues 2 numtxqueues 2 type veth \
             peer name {far} address {far_mac} numrxqueues 2 numtxqueues 2"
        ));
        ip(&format!("link set {near} up"));
        ip(&format!("link set {far} up"));
    }
    ip("addr add 192.0.2.1/24 dev access");
    ip("addr add 203.0.113.1/24 dev core");
    ip("neigh add 192.0.2.7 lladdr 02:00:00:00:01:01 nud permanent dev access");
    ip("neigh add 203.0.113.80 lladdr 02:00:00:00:01:02 nud permanent dev core");
}

/// An IPv4 packet in an Ethernet frame, padded as Ethernet does.
pub fn ethernet(destination: [u8; 6], source: [u8; 6], packet: &[u8]) -> Vec<u8> {
    let mut frame = [&destination[..], &source, &[0x08, 0x00], packet].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

/// Two workers on both ports.
pub fn config() -> Config {
    let interface =
        |name: &str, role| Interface { name: name.to_owned(), role, queues: None, below: None };
    Config {
        workers: 2,
        interfaces: vec![interface("access", Role::Access), interface("core", Role::Core)],
        listen: vec![LOCAL],
        tun: Tun {
            address: Some(GATEWAY),
            pools: vec![Prefix { address: Ipv4Addr::new(10, 9, 0, 0), length: 16 }],
            ..Tun::default()
        },
        ..Config::default()
    }
}

pub fn start() -> Handle {
    DataPlane::start(&config()).unwrap().0
}
