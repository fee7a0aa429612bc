//! Routes that are given and stay as they are, instead of the kernel's: for benches.
//!
//! Decides as any other snapshot (RFC 1812 §5.2.4). Never talks to the kernel.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::Routes;
use super::message::{Act, Change, Hop, Link, Meaning, Route, Table};
use super::rib::Rib;
use crate::api::Prefix;

/// A router that can be reached by one of our ports.
#[derive(Debug, Clone, Copy)]
pub struct Gateway {
    /// The port's interface.
    pub ifindex: u32,
    /// The interface's MAC address.
    pub source_mac: [u8; 6],
    /// The interface's MTU, bytes.
    pub mtu: u32,
    /// The router's address.
    pub address: Ipv4Addr,
    /// The router's MAC address.
    pub mac: [u8; 6],
}

impl Routes {
    /// Routes that never change: each prefix by its gateway.
    pub fn fixed(routes: impl IntoIterator<Item = (Prefix, Gateway)>) -> Arc<Self> {
        let mut rib = Rib::default();
        for (prefix, gateway) in routes {
            let Gateway { ifindex, source_mac, mtu, address, mac } = gateway;
            if !rib.ports().contains(&ifindex) {
                rib.set_ports(rib.ports().iter().copied().chain([ifindex]).collect());
            }
            let link = Link { mac: Some(source_mac), mtu, up: true, running: true, active: true };
            rib.apply(Change::Link { ifindex, link });
            rib.apply(Change::Neighbour {
                ifindex,
                address: address.into(),
                mac: Some(mac),
                stale: false,
            });
            let hop = Hop {
                ifindex,
                gateway: super::message::Gateway::Address(address.into()),
                weight: 1,
                dead: false,
            };
            let meaning = Meaning::Forward { hops: vec![hop], mtu: None };
            let route = Route::new(Table::Main, 0, meaning);
            let prefix = (prefix.address.into(), prefix.length);
            rib.apply(Change::Route { prefix, act: Act::Append, route });
        }
        let fixed = Self::default();
        fixed.publish(rib.snapshot());
        Arc::new(fixed)
    }
}
