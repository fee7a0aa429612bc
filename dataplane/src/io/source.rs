//! Whose address the kernel would send from: that of the interface by which its routes lead.
//!
//! Implements RFC 6724 by asking. For the few packets that begin here; never sends one.

use std::net::{IpAddr, Ipv6Addr, UdpSocket};

/// Tells our address for packets to another one.
pub(crate) type SourceToward = fn(Ipv6Addr) -> Option<Ipv6Addr>;

/// The kernel's choice of our address for packets to `to`; `None` if it has none, or no way there.
pub(crate) fn source_toward(to: Ipv6Addr) -> Option<Ipv6Addr> {
    /// Any, for connecting sends nothing.
    const PORT: u16 = 9;
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((to, PORT)).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V6(address) => Some(address),
        IpAddr::V4(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_about_itself_is_the_source() {
        // Where the machine has IPv6 at all.
        if UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
            assert_eq!(source_toward(Ipv6Addr::LOCALHOST), Some(Ipv6Addr::LOCALHOST));
        }
        assert_eq!(
            source_toward("2001:db8::1".parse().unwrap()).filter(Ipv6Addr::is_loopback),
            None
        );
    }
}
