//! Routes of the kernel that lead into the TUN: one for each pool and table, none for a session.
//!
//! They go away with the TUN. A route that is there already is never replaced.

use std::net::Ipv4Addr;

use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::route::RouteScope;

use super::MAIN_TABLE;
use super::netlink::{converse, reason};
use crate::api::{Prefix, StartError};

/// Routes all of `pools` to an interface, in main and in another table. What comes by a VRF and is the
/// kernel's to deliver (fragments, packets with options) is looked up in the VRF's.
pub(super) fn route(pools: &[Prefix], ifindex: u32, other: Option<u32>) -> Result<(), StartError> {
    if pools.is_empty() {
        return Ok(());
    }
    converse("routing pools to the TUN", async |handle| {
        for table in std::iter::once(MAIN_TABLE).chain(other) {
            for &Prefix { address, length } in pools {
                let route = RouteMessageBuilder::<Ipv4Addr>::new()
                    .destination_prefix(address, length)
                    .output_interface(ifindex)
                    .table_id(table)
                    .scope(RouteScope::Link)
                    .build();
                handle.route().add(route).execute().await.map_err(|error| {
                    let what = format!("routing {address}/{length} to the TUN in table {table}");
                    StartError::system(what, reason(&error))
                })?;
            }
        }
        Ok(())
    })
}
