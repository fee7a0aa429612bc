//! A real kernel's routes of IPv6.

use std::net::Ipv6Addr;

use super::*;

/// The other router on `near`.
const OTHER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x33];

/// 2001:db8:1::2/64 on `near`, and two routers there.
fn with_ipv6(test: impl FnOnce(&Lab) + Send) {
    with_a_mirror(|lab| {
        ip("-6 addr add 2001:db8:1::2/64 dev near nodad");
        ip("-6 neigh add fe80::1 lladdr 02:00:00:00:00:22 nud permanent dev near");
        ip("-6 neigh add fe80::3 lladdr 02:00:00:00:00:33 nud permanent dev near");
        test(lab);
    });
}

impl Lab {
    fn lookup_ipv6(&self, destination: &str) -> Decision {
        let destination: Ipv6Addr = destination.parse().unwrap();
        self.mirror.routes().load().lookup_ipv6(destination)
    }

    fn expect_ipv6(&self, destination: &str, expected: Decision) {
        self.wait_for(
            || self.lookup_ipv6(destination) == expected,
            || format!("{destination}: {:?}, not {expected:?}", self.lookup_ipv6(destination)),
        );
    }

    /// The routers that packets into a prefix of 48 bits go to: the last octets of their MAC
    /// addresses.
    fn expect_routers(&self, prefix: &str, expected: &[u8]) {
        let routers = || {
            let mut routers: Vec<u8> = (0..256)
                .filter_map(|host| match self.lookup_ipv6(&format!("{prefix}::{host:x}")) {
                    Decision::Via { next_hop_mac, .. } => Some(next_hop_mac[5]),
                    _ => None,
                })
                .collect();
            routers.sort_unstable();
            routers.dedup();
            routers
        };
        self.wait_for(|| routers() == expected, || format!("{:02x?}", routers()));
    }
}

#[test]
fn all_of_ipv6_that_was_there_is_known_at_the_start() {
    with_ipv6(|lab| {
        ip("-6 route add 2001:db8:9::/48 via fe80::1 dev near");
        ip("-6 route add blackhole 2001:db8:8::/48");
        let lab = Lab { mirror: Mirror::start([lab.near], routing(None)).unwrap(), near: lab.near };
        assert_eq!(lab.lookup_ipv6("2001:db8:9::1"), lab.via(1500));
        assert_eq!(lab.lookup_ipv6("2001:db8:1::9"), Decision::Unresolved { ifindex: lab.near });
        assert_eq!(lab.lookup_ipv6("2001:db8:1::2"), Decision::Local);
        let blackhole = Decision::Unreachable(Unreachable::Blackhole);
        assert_eq!(lab.lookup_ipv6("2001:db8:8::1"), blackhole);
        let nowhere = Decision::Unreachable(Unreachable::Network);
        assert_eq!(lab.lookup_ipv6("2001:db8:7::1"), nowhere);
        let snapshot = lab.mirror.routes();
        let near = snapshot.load().interface(lab.near).unwrap().clone();
        let ours: Ipv6Addr = "2001:db8:1::2".parse().unwrap();
        assert!(near.addresses.contains(&ours.into()), "{:?}", near.addresses);
    });
}

#[test]
fn routes_of_ipv6_are_followed_as_they_come_change_and_go() {
    with_ipv6(|lab| {
        ip("-6 route add default via fe80::1 dev near");
        lab.expect_ipv6("2001:db8:2::1", lab.via(1500));
        ip("-6 route add 2001:db8:2::/48 via fe80::1 dev near mtu 1400");
        lab.expect_ipv6("2001:db8:2::1", lab.via(1400));
        ip("-6 route replace 2001:db8:2::/48 dev near");
        lab.expect_ipv6("2001:db8:2::1", Decision::Unresolved { ifindex: lab.near });
        ip("-6 route replace 2001:db8:2::/48 via fe80::3 dev near");
        lab.expect_routers("2001:db8:2", &[0x33]);
        ip("-6 route del 2001:db8:2::/48");
        lab.expect_ipv6("2001:db8:2::1", lab.via(1500));
        for (kind, why) in [
            ("unreachable", Unreachable::Host),
            ("prohibit", Unreachable::Prohibited),
            ("blackhole", Unreachable::Blackhole),
        ] {
            ip(&format!("-6 route add {kind} 2001:db8:2::7/128 metric 5"));
            lab.expect_ipv6("2001:db8:2::7", Decision::Unreachable(why));
            ip("-6 route add 2001:db8:2::7/128 via fe80::1 dev near metric 3");
            lab.expect_ipv6("2001:db8:2::7", lab.via(1500));
            ip("-6 route del 2001:db8:2::7/128 metric 3");
            lab.expect_ipv6("2001:db8:2::7", Decision::Unreachable(why));
            ip(&format!("-6 route del {kind} 2001:db8:2::7/128 metric 5"));
            lab.expect_ipv6("2001:db8:2::7", lab.via(1500));
        }
        ip("-6 route add 2001:db8:3::/48 dev near table 100");
        ip("-6 addr add 2001:db8:4::4/128 dev lo");
        lab.expect_ipv6("2001:db8:4::4", Decision::Local);
        assert_eq!(lab.lookup_ipv6("2001:db8:3::1"), lab.via(1500));
    });
}

#[test]
fn neighbours_of_ipv6_are_followed() {
    with_ipv6(|lab| {
        ip("-6 neigh add 2001:db8:1::9 lladdr 02:00:00:00:00:22 nud stale dev near");
        lab.expect_ipv6("2001:db8:1::9", lab.via(1500));
        ip("-6 neigh del 2001:db8:1::9 dev near");
        lab.expect_ipv6("2001:db8:1::9", Decision::Unresolved { ifindex: lab.near });
        ip("-6 route add 2001:db8:9::/48 via fe80::1 dev near");
        lab.expect_ipv6("2001:db8:9::1", lab.via(1500));
        ip("-6 neigh replace fe80::1 lladdr 02:00:00:00:00:33 nud permanent dev near");
        let (source_mac, next_hop_mac) = (NEAR_MAC, OTHER_MAC);
        let moved = Decision::Via { ifindex: lab.near, source_mac, next_hop_mac, mtu: 1500 };
        lab.expect_ipv6("2001:db8:9::1", moved);
    });
}

/// A route by a router on a link-local address is no use without its interface, and a route of IPv4 may
/// have one (RFC 8950).
#[test]
fn ipv4_by_a_router_of_ipv6_needs_no_address_of_its_own() {
    with_ipv6(|lab| {
        ip("route add 10.0.0.0/8 via inet6 fe80::1 dev near");
        lab.expect("10.0.0.1", lab.via(1500));
        ip("route del 10.0.0.0/8");
        lab.expect("10.0.0.1", Decision::Unreachable(Unreachable::Network));
    });
}

/// The kernel makes one route of all gateways of a prefix and metric, however they came.
#[test]
fn several_next_hops_of_ipv6_come_together_or_one_by_one() {
    with_ipv6(|lab| {
        let both = "nexthop via fe80::1 dev near nexthop via fe80::3 dev near";
        ip(&format!("-6 route add 2001:db8:2::/48 {both}"));
        lab.expect_routers("2001:db8:2", &[0x22, 0x33]);
        ip("-6 route del 2001:db8:2::/48 via fe80::1 dev near");
        lab.expect_routers("2001:db8:2", &[0x33]);
        ip("-6 route append 2001:db8:2::/48 via fe80::1 dev near");
        lab.expect_routers("2001:db8:2", &[0x22, 0x33]);
        ip("-6 route replace 2001:db8:2::/48 via fe80::1 dev near");
        lab.expect_routers("2001:db8:2", &[0x22]);
        ip(&format!("-6 route replace 2001:db8:2::/48 {both}"));
        lab.expect_routers("2001:db8:2", &[0x22, 0x33]);
        ip("-6 route add 2001:db8:2::/48 dev near metric 2000");
        ip("-6 route del 2001:db8:2::/48 metric 1024");
        lab.expect_ipv6("2001:db8:2::1", Decision::Unresolved { ifindex: lab.near });
        ip("-6 route add 2001:db8:3::/48 via fe80::1 dev near");
        ip("-6 route append 2001:db8:3::/48 via fe80::3 dev near");
        lab.expect_routers("2001:db8:3", &[0x22, 0x33]);
        // Asked for all, the kernel tells the same.
        let lab = Lab { mirror: Mirror::start([lab.near], routing(None)).unwrap(), near: lab.near };
        lab.expect_routers("2001:db8:3", &[0x22, 0x33]);
    });
}

#[test]
fn routes_of_ipv6_go_with_their_interface() {
    with_ipv6(|lab| {
        ip("-6 route add 2001:db8:2::/48 via fe80::1 dev near");
        ip("-6 route add blackhole default metric 9999");
        lab.expect_ipv6("2001:db8:2::1", lab.via(1500));
        ip("link set near down");
        let blackhole = Decision::Unreachable(Unreachable::Blackhole);
        lab.expect_ipv6("2001:db8:2::1", blackhole);
        lab.expect_ipv6("2001:db8:1::2", blackhole);
        ip("link del near");
        lab.expect_ipv6("2001:db8:1::1", blackhole);
    });
}

#[test]
fn a_burst_of_routes_of_ipv6_arrives_whole() {
    with_ipv6(|lab| {
        let prefix = |n: u32| format!("2001:db8:{:x}:{:x}00::", 0x8000 + (n >> 8), n & 0xFF);
        let commands = |verb: &str| -> String {
            (0..5000).map(|n| format!("route {verb} blackhole {}/56\n", prefix(n))).collect()
        };
        let known = || {
            let known = Decision::Unreachable(Unreachable::Blackhole);
            (0..5000).filter(|&n| lab.lookup_ipv6(&prefix(n)) == known).count()
        };
        ip_batch(&commands("add"));
        lab.wait_for(|| known() == 5000, || format!("{} of 5000 known", known()));
        ip_batch(&commands("del"));
        lab.wait_for(|| known() == 0, || format!("{} still known", known()));
    });
}

#[test]
fn gateways_of_ipv6_are_the_kernels_to_look_after() {
    with_ipv6(|lab| {
        ip("-6 route add 2001:db8:2::/48 via fe80::9 dev near");
        lab.expect_ipv6("2001:db8:2::1", Decision::Unresolved { ifindex: lab.near });
        // The next mirror says so as it starts; this one would in its own time.
        let lab = Lab { mirror: Mirror::start([lab.near], routing(None)).unwrap(), near: lab.near };
        let shown = || {
            let words = ["-details", "neigh", "show", "fe80::9"];
            let output = Command::new("ip").args(words).output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        lab.wait_for(|| shown().contains("managed"), shown);
        ip("-6 neigh replace fe80::9 lladdr 02:00:00:00:00:22 nud reachable dev near");
        lab.expect_ipv6("2001:db8:2::1", lab.via(1500));
    });
}
