//! Where a client dials: a host name or an IPv4 address, with a port after a colon if it is not
//! PPTP's own.
//!
//! Says what cannot be a server's before anybody dials it in vain; asks no name server.

use std::net::Ipv4Addr;

/// Longest name of DNS (RFC 1035 §2.3.4).
const MAX_NAME: usize = 253;

/// The host and the port.
///
/// # Errors
/// With what no server can have.
pub fn server_name(text: &str) -> Result<(&str, u16), String> {
    let (host, port) = match text.rsplit_once(':') {
        None => (text, protocol::pptp::PORT),
        Some((host, port)) => {
            let number = port.parse().ok().filter(|number| *number != 0);
            let number = number.ok_or_else(|| format!("`{port}` is no port (1 to 65535)"))?;
            (host, number)
        }
    };
    if host.is_empty() || host.len() > MAX_NAME {
        return Err(format!("a server's name has 1 to {MAX_NAME} bytes"));
    }
    if host.contains(':') {
        return Err("a server's address is IPv4: PPTP's tunnels have no other".to_owned());
    }
    if let Some(wrong) = host.chars().find(|letter| letter.is_whitespace() || letter.is_control()) {
        return Err(format!("{wrong:?} cannot stand in a server's name"));
    }
    // The system takes `10.1` for 10.0.0.1 and more of the kind: nobody means that.
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    if last.chars().all(|letter| letter.is_ascii_digit()) {
        let address = host.parse().map_err(|_| format!("`{host}` is no IPv4 address"))?;
        if !is_for_servers(address) {
            return Err(format!("no server can have the address {address}"));
        }
    }
    Ok((host, port))
}

/// Whether a server can have it: not the network "this" (RFC 1122 §3.2.1.3), not multicast, not
/// the reserved rest with broadcast. Loopback may be.
#[must_use]
pub const fn is_for_servers(address: Ipv4Addr) -> bool {
    !matches!(address.octets()[0], 0 | 224..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_names_and_addresses_with_or_without_a_port() {
        assert_eq!(server_name("vpn.example.net"), Ok(("vpn.example.net", 1723)));
        assert_eq!(server_name("vpn.example.net.:1724"), Ok(("vpn.example.net.", 1724)));
        assert_eq!(server_name("192.0.2.1:65535"), Ok(("192.0.2.1", 65535)));
        assert_eq!(server_name("127.0.0.1"), Ok(("127.0.0.1", 1723)));
        assert_eq!(server_name("шлюз"), Ok(("шлюз", 1723)));
    }

    #[test]
    fn what_no_server_can_have_is_refused_with_the_reason() {
        let of = |text: &str| format!("{text:?}: {}\n", server_name(text).unwrap_err());
        let said: String = [
            "",
            ":1723",
            "host:",
            "host:0",
            "host:99999",
            "host:-1",
            "host:port",
            "two words",
            "a\tb",
            "2001:db8::1",
            "[2001:db8::1]:1723",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1:1723",
            "300.1.1.1",
            "192.0.2",
            "1723",
        ]
        .map(of)
        .concat();
        insta::assert_snapshot!(said);
    }
}
