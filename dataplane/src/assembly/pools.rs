//! Routes of the kernel that lead into the TUN: one for each pool, none for a session.
//!
//! They go away with the TUN. A route that is there already is never replaced.

use std::io;
use std::net::Ipv4Addr;

use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::route::RouteScope;

use crate::api::{Prefix, StartError};

/// Routes all of `pools` to an interface.
pub(super) fn route(pools: &[Prefix], ifindex: u32) -> Result<(), StartError> {
    if pools.is_empty() {
        return Ok(());
    }
    let system = |source: io::Error| StartError::system("routing pools to the TUN", source);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(system)?;
    // The caller may be a task of another runtime, in which this one must not block.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("pool-routes".to_owned())
            .spawn_scoped(scope, || runtime.block_on(add(pools, ifindex)))
            .map_err(system)?;
        thread.join().unwrap_or_else(|_| Err(system(io::Error::other("the thread panicked"))))
    })
}

async fn add(pools: &[Prefix], ifindex: u32) -> Result<(), StartError> {
    let (connection, handle, _) = rtnetlink::new_connection()
        .map_err(|error| StartError::system("opening a netlink socket", error))?;
    tokio::spawn(connection);
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
}

fn reason(error: &rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}
