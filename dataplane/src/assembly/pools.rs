//! Routes of the kernel that lead into the TUN: one for each pool, none for a session.
//!
//! They go away with the TUN. A route that is there already is never replaced.

use std::net::Ipv4Addr;

use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::route::RouteScope;

use super::netlink::{converse, reason};
use crate::api::{Prefix, StartError};

/// Routes all of `pools` to an interface.
pub(super) fn route(pools: &[Prefix], ifindex: u32) -> Result<(), StartError> {
    if pools.is_empty() {
        return Ok(());
    }
    converse("routing pools to the TUN", async |handle| {
        for pool in pools {
            let route = RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(pool.address, pool.length)
                .output_interface(ifindex)
                .scope(RouteScope::Link)
                .build();
            handle.route().add(route).execute().await.map_err(|error| {
                let what = format!("routing the pool {}/{} to the TUN", pool.address, pool.length);
                StartError::system(what, reason(&error))
            })?;
        }
        Ok(())
    })
}
