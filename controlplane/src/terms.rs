//! What a session is given and held to: the one type that accounting, hooks, filters and CoA read.
//!
//! A login makes it of the secret, then the profile, then the profile `default`, then what RADIUS
//! said. It holds decisions alone, never what came of them (the address that a pool gave, the MTU
//! that the link agreed on).

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;
use std::time::Duration;

use protocol::ppp::ccp;
use protocol::ppp::link;
use protocol::router::Domain;
use serde::{Deserialize, Serialize};

use crate::ipv6::Ipv6;
use crate::kernel::Destination;
use crate::rate_limit::RateLimit;

/// What a session is given and held to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Who, as we list and count them: a domain in front and the charset are settled.
    pub user: String,
    /// The name without a domain in front, where RADIUS was asked about one with: the password
    /// proves the name without it (RFC 2759 §8.2), so with any domain it is the same user.
    pub bare_user: Option<String>,
    /// The profile, by its name.
    pub profile: String,
    /// Our end of the tunnel.
    pub local_address: Ipv4Addr,
    /// The subscriber's end; `None` is nothing to give, which refuses the login.
    pub remote: Option<Remote>,
    /// With an address: the network behind the subscriber that it belongs to (Framed-IP-Netmask).
    pub netmask: Option<Ipv4Addr>,
    /// Further networks behind the subscriber.
    pub routes: Vec<Route>,
    /// Name servers, primary and secondary.
    pub dns: [Option<Ipv4Addr>; 2],
    /// WINS servers, primary and secondary.
    pub wins: [Option<Ipv4Addr>; 2],
    /// IPv6.
    pub ipv6: Ipv6,
    /// The connection's domain.
    pub domain: Option<Domain>,
    /// Networks that the subscriber reaches through the tunnel, as DHCP tells it.
    pub dhcp_routes: Vec<Destination>,
    /// Largest inner packet to the subscriber, bytes, where it is below `max-mtu` (Framed-MTU).
    pub mtu: Option<u16>,
    /// Whether the segment size of TCP connections is lowered.
    pub clamp_mss: bool,
    /// How data is encrypted.
    pub encryption: ccp::Policy,
    /// How fast the subscriber may be.
    pub rate_limit: RateLimit,
    /// How long the session may last.
    pub session_timeout: Option<Duration>,
    /// How long it may carry no packet.
    pub idle_timeout: Option<Duration>,
    /// Octets of inner packets that may come from the subscriber.
    pub receive_limit: Option<u64>,
    /// Octets of inner packets that may go to the subscriber.
    pub transmit_limit: Option<u64>,
    /// Octets of inner packets, both ways together.
    pub total_limit: Option<u64>,
    /// What becomes of a second session of the user.
    pub only_one: OnlyOne,
    /// Sessions that the user may have at once (Port-Limit, RFC 2865 §5.42).
    pub port_limit: Option<u32>,
    /// The `[[filter]]` for packets from the subscriber.
    pub incoming_filter: Option<String>,
    /// The `[[filter]]` for packets to the subscriber.
    pub outgoing_filter: Option<String>,
    /// Sets of addresses that the subscriber's is in while the session lasts.
    pub address_lists: Vec<String>,
    /// Every Class of RADIUS, in order (RFC 2865 §5.25).
    pub class: Vec<Vec<u8>>,
    /// Time between two interim accounts.
    pub interim: Option<Duration>,
    /// Which way packets go.
    pub forward: Forward,
    /// The Linux bridge that Ethernet frames of the session are brought to.
    pub bridge: Option<String>,
    /// User-Name of accounts where it is not what the peer sent (RFC 2865 §5.1).
    pub account_name: Option<Vec<u8>>,
    /// Whether RADIUS granted the login.
    pub by_radius: bool,
    /// Attributes of RADIUS by name, for hooks; empty for local users.
    pub radius: Vec<(String, String)>,
}

impl Terms {
    /// What IPCP assigns, and what IPV6CP is to do. Without an address of the subscriber's, the peer chooses it.
    #[must_use]
    pub fn addresses(&self, remote: Option<Ipv4Addr>, ipv6: link::Ipv6) -> link::Addresses {
        link::Addresses {
            local: self.local_address,
            remote,
            dns: self.dns,
            wins: self.wins,
            ipv6,
            bridge: self.bridge.is_some(),
        }
    }
}

/// The subscriber's end of the tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remote {
    /// This address.
    Address(Ipv4Addr),
    /// One of this pool.
    Pool(String),
    /// What the peer wants (Framed-IP-Address 255.255.255.255, RFC 2865 §5.8), and this if it wants
    /// none or cannot have it.
    PeerChoice(Option<RemoteAddress>),
}

/// The subscriber's end as operators write it: an address, or the name of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum RemoteAddress {
    /// This address.
    Address(Ipv4Addr),
    /// One of this pool.
    Pool(String),
}

impl From<String> for RemoteAddress {
    fn from(text: String) -> Self {
        text.parse().map_or(Self::Pool(text), Self::Address)
    }
}

impl From<RemoteAddress> for String {
    fn from(remote: RemoteAddress) -> Self {
        remote.to_string()
    }
}

impl From<RemoteAddress> for Remote {
    fn from(remote: RemoteAddress) -> Self {
        match remote {
            RemoteAddress::Address(address) => Self::Address(address),
            RemoteAddress::Pool(pool) => Self::Pool(pool),
        }
    }
}

impl fmt::Display for RemoteAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Pool(pool) => f.write_str(pool),
        }
    }
}

/// What becomes of a second session of the same user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnlyOne {
    /// Both live.
    #[default]
    No,
    /// The new one is refused.
    Refuse,
    /// The old one ends.
    Replace,
}

/// Which way a session's packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Forward {
    /// By the workers' own routing.
    #[default]
    Fast,
    /// Through the kernel, which filters and translates.
    Kernel,
}

/// A network behind a subscriber: RouterOS's `dst [gateway [metric]]`, RADIUS's Framed-Route
/// (RFC 2865 §5.22).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Route {
    /// The network.
    pub destination: Destination,
    /// The next router in the subscriber's network; `None` is the subscriber.
    pub gateway: Option<Ipv4Addr>,
    /// The kernel prefers the route with the lower one.
    pub metric: u32,
}

impl FromStr for Route {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no route: write `10.1.0.0/16 [gateway [metric]]`");
        let mut words = text.split_ascii_whitespace();
        let destination = words.next().ok_or_else(wrong)?.parse()?;
        let gateway: Option<Ipv4Addr> =
            words.next().map(|word| word.parse().map_err(|_| wrong())).transpose()?;
        let metric = words.next().map(|word| word.parse().map_err(|_| wrong())).transpose()?;
        if words.next().is_some() {
            return Err(wrong());
        }
        let gateway = gateway.filter(|gateway| !gateway.is_unspecified());
        Ok(Self { destination, gateway, metric: metric.unwrap_or(0) })
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.destination)?;
        match (self.gateway, self.metric) {
            (None, 0) => Ok(()),
            (gateway, 0) => write!(f, " {}", gateway.unwrap_or(Ipv4Addr::UNSPECIFIED)),
            (gateway, metric) => {
                write!(f, " {} {metric}", gateway.unwrap_or(Ipv4Addr::UNSPECIFIED))
            }
        }
    }
}

impl TryFrom<String> for Route {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Route> for String {
    fn from(route: Route) -> Self {
        route.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn routes_are_read_as_routeros_writes_them() {
        let shown = |text: &str| match text.parse::<Route>() {
            Ok(route) => format!("{route}\n"),
            Err(reason) => format!("{reason}\n"),
        };
        let answers = [
            "10.150.1.0/24 10.0.103.2 1",
            "10.150.1.0/24 10.0.103.2",
            "10.150.1.0/24",
            "10.150.1.0/24 0.0.0.0 1",
            "10.1.2.3",
            "",
            "10.150.1.1/24",
            "10.150.1.0/24 here",
            "10.150.1.0/24 10.0.103.2 1 2",
            "10.150.1.0/24 10.0.103.2 -1",
        ]
        .map(shown)
        .concat();
        insta::assert_snapshot!(answers, @r"
        10.150.1.0/24 10.0.103.2 1
        10.150.1.0/24 10.0.103.2
        10.150.1.0/24
        10.150.1.0/24 0.0.0.0 1
        10.1.2.3/32
        `` is no route: write `10.1.0.0/16 [gateway [metric]]`
        `10.150.1.1/24` has bits beyond its prefix length
        `10.150.1.0/24 here` is no route: write `10.1.0.0/16 [gateway [metric]]`
        `10.150.1.0/24 10.0.103.2 1 2` is no route: write `10.1.0.0/16 [gateway [metric]]`
        `10.150.1.0/24 10.0.103.2 -1` is no route: write `10.1.0.0/16 [gateway [metric]]`
        ");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9./ ]{0,40}|.{0,20}") {
            let _ = text.parse::<Route>();
        }

        #[test]
        fn what_is_printed_is_read_as_the_same(address: u32, length in 0_u8..=32, gateway: Option<u32>, metric: u32) {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            let route = Route {
                destination: Destination { address: (address & mask).into(), length },
                gateway: gateway.filter(|gateway| *gateway != 0).map(Ipv4Addr::from_bits),
                metric,
            };
            prop_assert_eq!(route.to_string().parse(), Ok(route));
        }
    }
}
