//! Who asks and about whom: the attributes that a session's Access-Request and all of its
//! Accounting-Requests have in common (RFC 2865 §5, RFC 2868 §3).
//!
//! Servers join accounts to logins and to each other by them, so they are the same in all.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use protocol::radius::Attributes;
use protocol::radius::dictionary as names;

use crate::config::{self, Config};
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
pub fn nas(config: &Config, host_name: &str) -> Attributes {
    let mut attributes = Attributes::new();
    if let Some(address) = address(config) {
        attributes.address(names::NAS_IP_ADDRESS, address);
    }
    let identifier = Some(&config.aaa.nas_identifier).filter(|name| !name.is_empty());
    attributes.text(names::NAS_IDENTIFIER, identifier.map_or(host_name, String::as_str));
    attributes
}

/// The address that is configured, or from which the first server is asked. It is looked up once:
/// accounts that name another NAS than their Accounting-On would stay open for ever.
fn address(config: &Config) -> Option<Ipv4Addr> {
    let to = |server: &config::Radius| {
        let source = server.src_address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        // The kernel chooses the way; nothing is sent.
        let socket = UdpSocket::bind((source, 0)).ok()?;
        socket.connect((server.address, server.accounting_port.max(1))).ok()?;
        match socket.local_addr().ok()?.ip() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        }
    };
    config.aaa.nas_ip_address.or_else(|| config.radius.iter().find_map(to))
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
        .append(&daemon.nas)
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
