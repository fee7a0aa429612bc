//! The text of Framed-Route and Framed-IPv6-Route.
//!
//! Implements RFC 2865 §5.22 and RFC 3162 §2.5: a prefix, a gateway and metrics, all but the
//! prefix optional. Never resolves a name.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A network behind a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Route<A> {
    /// First address of the network; the bits beyond the prefix are zero.
    pub destination: A,
    /// Length of the prefix, bits.
    pub length: u8,
    /// Where packets go; `None`: to the subscriber itself (0.0.0.0 in RFC 2865 §5.22).
    pub gateway: Option<A>,
    /// The first metric; further ones are left out, as routers take but one.
    pub metric: Option<u32>,
}

/// Text that is no route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no route: write \"192.0.2.0/24 [gateway [metric]]\"")]
pub struct NoRoute(String);

impl FromStr for Route<Ipv4Addr> {
    type Err = NoRoute;

    fn from_str(text: &str) -> Result<Self, NoRoute> {
        parse(text, |prefix| {
            let (address, length) = match prefix.split_once('/') {
                Some((address, length)) => (address.parse().ok()?, bits(length, 32)?),
                None => {
                    let address: Ipv4Addr = prefix.parse().ok()?;
                    (address, class_length(address)?)
                }
            };
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            Some((Ipv4Addr::from_bits(address.to_bits() & mask), length))
        })
    }
}

impl FromStr for Route<Ipv6Addr> {
    type Err = NoRoute;

    fn from_str(text: &str) -> Result<Self, NoRoute> {
        parse(text, |prefix| {
            let (address, length) = prefix.split_once('/')?;
            let (address, length): (Ipv6Addr, _) = (address.parse().ok()?, bits(length, 128)?);
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            Some((Ipv6Addr::from_bits(address.to_bits() & mask), length))
        })
    }
}

/// RFC 2865 §5.22: a missing length is that of the address's class.
fn class_length(address: Ipv4Addr) -> Option<u8> {
    match address.octets()[0] {
        0..=127 => Some(8),
        128..=191 => Some(16),
        192..=223 => Some(24),
        _ => None,
    }
}

fn bits(text: &str, most: u8) -> Option<u8> {
    let digits = text.bytes().all(|octet| octet.is_ascii_digit());
    text.parse().ok().filter(|bits| digits && *bits <= most)
}

fn parse<A: FromStr + PartialEq + Unspecified>(
    text: &str,
    prefix: impl FnOnce(&str) -> Option<(A, u8)>,
) -> Result<Route<A>, NoRoute> {
    // A log line is no place for kilobytes.
    let wrong = || NoRoute(text.chars().take(80).filter(|c| !c.is_control()).collect());
    let mut words = text.split([' ', '\t', '\0']).filter(|word| !word.is_empty());
    let (destination, length) = words.next().and_then(prefix).ok_or_else(wrong)?;
    let gateway = words.next().map(|word| word.parse::<A>().map_err(|_| wrong())).transpose()?;
    // Each further word must be a metric (RFC 2865 §5.22 has one of -1, which is none).
    let metrics: Vec<i64> =
        words.map(|word| word.parse().map_err(|_| wrong())).collect::<Result<_, _>>()?;
    let metric = metrics.first().and_then(|metric| u32::try_from(*metric).ok());
    let gateway = gateway.filter(|gateway| *gateway != A::UNSPECIFIED);
    Ok(Route { destination, length, gateway, metric })
}

/// The address that means nobody.
trait Unspecified {
    const UNSPECIFIED: Self;
}

impl Unspecified for Ipv4Addr {
    const UNSPECIFIED: Self = Self::UNSPECIFIED;
}

impl Unspecified for Ipv6Addr {
    const UNSPECIFIED: Self = Self::UNSPECIFIED;
}

impl<A: fmt::Display + Unspecified> fmt::Display for Route<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.destination, self.length)?;
        match (&self.gateway, self.metric) {
            (Some(gateway), _) => write!(f, " {gateway}")?,
            (None, Some(_)) => write!(f, " {}", A::UNSPECIFIED)?,
            (None, None) => {}
        }
        self.metric.map_or(Ok(()), |metric| write!(f, " {metric}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v4(text: &str) -> Option<String> {
        text.parse::<Route<Ipv4Addr>>().ok().map(|route| route.to_string())
    }

    /// RFC 2865 §5.22.
    #[test]
    fn a_framed_route_is_prefix_gateway_and_metrics() {
        for (text, means) in [
            ("192.168.1.0/24 192.168.1.1 1", "192.168.1.0/24 192.168.1.1 1"),
            ("192.168.1.0/24 192.168.1.1 1 2 -1 3 400", "192.168.1.0/24 192.168.1.1 1"),
            // Gateway 0.0.0.0: the user.
            ("10.1.2.3/16 0.0.0.0 5", "10.1.0.0/16 0.0.0.0 5"),
            ("10.1.0.0/16  0.0.0.0", "10.1.0.0/16"),
            ("10.1.0.0/16\0", "10.1.0.0/16"),
            // No length: that of the class.
            ("10.0.0.0", "10.0.0.0/8"),
            ("172.16.0.0 10.0.0.1", "172.16.0.0/16 10.0.0.1"),
            ("192.168.5.0", "192.168.5.0/24"),
            ("0.0.0.0/0", "0.0.0.0/0"),
        ] {
            assert_eq!(v4(text).as_deref(), Some(means), "{text}");
        }
    }

    #[test]
    fn what_is_no_route_is_refused() {
        for text in [
            "",
            " ",
            "/24",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.0/",
            "host 10.0.0.1",
            "224.0.0.0",
            "10.0.0.0/8 gateway",
            "10.0.0.0/8 10.0.0.1 one",
            "2001:db8::/32",
        ] {
            assert_eq!(v4(text), None, "{text}");
        }
    }

    /// RFC 3162 §2.5.
    #[test]
    fn a_framed_ipv6_route_has_a_length() {
        let v6 = |text: &str| text.parse::<Route<Ipv6Addr>>().ok().map(|route| route.to_string());
        assert_eq!(
            v6("2000:0:0:106::/64 2000::106:a00:20ff:fe99:a998 1").as_deref(),
            Some("2000:0:0:106::/64 2000::106:a00:20ff:fe99:a998 1")
        );
        assert_eq!(v6("2001:db8::1/32 ::").as_deref(), Some("2001:db8::/32"));
        assert_eq!(v6("2001:db8::"), None);
        assert_eq!(v6("2001:db8::/129"), None);
    }

    proptest! {
        #[test]
        fn a_route_that_is_printed_is_read_as_the_same(
            bits: u32,
            length in 0_u8..=32,
            gateway: Option<u32>,
            metric: Option<u32>,
        ) {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            let route = Route {
                destination: Ipv4Addr::from_bits(bits & mask),
                length,
                gateway: gateway.filter(|bits| *bits != 0).map(Ipv4Addr::from_bits),
                metric,
            };
            prop_assert_eq!(route.to_string().parse(), Ok(route));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = text.parse::<Route<Ipv4Addr>>();
            let _ = text.parse::<Route<Ipv6Addr>>();
        }
    }
}
