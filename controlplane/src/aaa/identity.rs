//! Who asks and about whom: the attributes that a session's Access-Request and all of its
//! Accounting-Requests have in common (RFC 2865 §5, RFC 2868 §3).
//!
//! Servers join accounts to logins and to each other by them, so they are the same in all.

use std::net::Ipv4Addr;

use protocol::radius::Attributes;
use protocol::radius::dictionary as names;

use crate::daemon::Daemon;

/// Service-Type (RFC 2865 §5.6): Framed.
const FRAMED: u32 = 2;
/// Framed-Protocol (RFC 2865 §5.7).
const PPP: u32 = 1;
/// NAS-Port-Type (RFC 2865 §5.41).
const VIRTUAL: u32 = 5;
/// Tunnel-Type (RFC 2868 §3.1), with tag 0.
const PPTP: u32 = 1;
/// Tunnel-Medium-Type (RFC 2868 §3.2), with tag 0.
const IPV4: u32 = 1;

/// Who we are.
#[must_use]
pub fn nas(daemon: &Daemon) -> Attributes {
    let mut attributes = Attributes::new();
    let listen = daemon.config.server.listen.iter().map(|address| *address.ip());
    if let Some(address) = listen.into_iter().find(|address| !address.is_unspecified()) {
        attributes.address(names::NAS_IP_ADDRESS, address);
    }
    attributes.text(names::NAS_IDENTIFIER, &daemon.host_name);
    attributes
}

/// A session: its number here, the name as its peer sent it, and both ends of its tunnel.
#[must_use]
pub fn session(
    daemon: &Daemon,
    number: u64,
    name: &[u8],
    peer: Ipv4Addr,
    local: Ipv4Addr,
) -> Attributes {
    let (peer, local) = (peer.to_string(), local.to_string());
    let [.., a, b, c, d] = number.to_be_bytes();
    let mut attributes = Attributes::new();
    attributes
        .octets(names::USER_NAME, name)
        .append(&nas(daemon))
        .integer(names::NAS_PORT, u32::from_be_bytes([a, b, c, d]))
        .integer(names::NAS_PORT_TYPE, VIRTUAL)
        .integer(names::SERVICE_TYPE, FRAMED)
        .integer(names::FRAMED_PROTOCOL, PPP)
        .text(names::CALLING_STATION_ID, &peer)
        .text(names::CALLED_STATION_ID, &local)
        .integer(names::TUNNEL_TYPE, PPTP)
        .integer(names::TUNNEL_MEDIUM_TYPE, IPV4)
        .text(names::TUNNEL_CLIENT_ENDPOINT, &peer)
        .text(names::TUNNEL_SERVER_ENDPOINT, &local)
        .text(names::ACCT_SESSION_ID, &daemon.session_ids.of(number));
    attributes
}
