//! A real kernel's routes, in a network namespace that lives as long as the test's thread.

mod ipv6;
mod load;

use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{Pid, gettid};

use super::*;

const NEAR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x11];
const NEXT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x22];
const THIRD_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x33];

struct Lab {
    mirror: Mirror,
    near: u32,
}

/// A veth `near` with 192.0.2.2/24, of which .1 is a known neighbour, and a mirror.
fn with_a_mirror(test: impl FnOnce(&Lab) + Send) {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)
                .unwrap_or_else(|error| panic!("this test needs root: {error}"));
            ip("link set lo up");
            ip("link add near address 02:00:00:00:00:11 type veth peer name far");
            ip("link set near up");
            ip("link set far up");
            ip("addr add 192.0.2.2/24 dev near");
            ip("neigh add 192.0.2.1 lladdr 02:00:00:00:00:22 nud permanent dev near");
            let near = if_nametoindex("near").unwrap();
            test(&Lab { mirror: Mirror::start([near], routing(None)).unwrap(), near });
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

fn routing(table: Option<u32>) -> Routing {
    Routing { tun: "tun".into(), table }
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

fn ip_batch(commands: &str) {
    let mut ip = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    ip.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
    assert!(ip.wait().unwrap().success());
}

impl Lab {
    fn lookup(&self, destination: &str) -> Decision {
        self.mirror.routes().load().lookup(address(destination))
    }

    fn via(&self, mtu: u32) -> Decision {
        self.via_mac(NEXT_MAC, mtu)
    }

    fn via_mac(&self, next_hop_mac: [u8; 6], mtu: u32) -> Decision {
        Decision::Via { ifindex: self.near, source_mac: NEAR_MAC, next_hop_mac, mtu }
    }

    /// The last octets of the next hops' MAC addresses for all hosts of a /24.
    fn macs(&self, network: &str) -> Vec<u8> {
        let mut macs: Vec<u8> = (0..=255)
            .filter_map(|host| match self.lookup(&format!("{network}.{host}")) {
                Decision::Via { next_hop_mac, .. } => Some(next_hop_mac[5]),
                _ => None,
            })
            .collect();
        macs.sort_unstable();
        macs.dedup();
        macs
    }

    /// Changes reach the mirror in their own time.
    fn expect(&self, destination: &str, expected: Decision) {
        self.wait_for(
            || self.lookup(destination) == expected,
            || format!("{destination}: {:?}, not {expected:?}", self.lookup(destination)),
        );
    }

    fn wait_for(&self, is_so: impl Fn() -> bool, or: impl Fn() -> String) {
        let give_up = Instant::now() + Duration::from_secs(20);
        while !is_so() {
            assert!(Instant::now() < give_up, "{}", or());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn all_that_was_there_is_known_at_the_start() {
    with_a_mirror(|lab| {
        assert_eq!(lab.lookup("192.0.2.1"), lab.via(1500));
        assert_eq!(lab.lookup("192.0.2.9"), Decision::Unresolved { ifindex: lab.near });
        assert_eq!(lab.lookup("192.0.2.2"), Decision::Local);
        assert_eq!(lab.lookup("192.0.2.255"), Decision::Local);
        assert_eq!(lab.lookup("127.0.0.1"), Decision::Local);
        assert_eq!(lab.lookup("10.0.0.1"), Decision::Unreachable(Unreachable::Network));
        let snapshot = lab.mirror.routes();
        let snapshot = snapshot.load();
        let near = snapshot.interface(lab.near).unwrap();
        assert_eq!((near.mac, near.mtu, near.up), (Some(NEAR_MAC), 1500, true));
        assert!(near.addresses.contains(&address("192.0.2.2").into()), "{:?}", near.addresses);
    });
}

#[test]
fn routes_are_followed_as_they_come_change_and_go() {
    with_a_mirror(|lab| {
        ip("route add 10.0.0.0/8 via 192.0.2.1");
        lab.expect("10.0.0.1", lab.via(1500));
        ip("route add 10.1.0.0/16 via 192.0.2.1 mtu 1400");
        lab.expect("10.1.0.1", lab.via(1400));
        ip("route replace 10.1.0.0/16 dev near");
        lab.expect("10.1.0.1", Decision::Unresolved { ifindex: lab.near });
        ip("route replace unreachable 10.1.0.0/16");
        lab.expect("10.1.0.1", Decision::Unreachable(Unreachable::Host));
        ip("route del 10.1.0.0/16");
        lab.expect("10.1.0.1", lab.via(1500));
        let length = |to| lab.mirror.routes().load().length(address(to));
        assert_eq!((length("10.1.0.1"), length("192.0.2.9")), (Some(8), Some(24)));
        assert_eq!((length("192.0.2.2"), length("203.0.113.1")), (Some(32), None));
        ip("route add blackhole 10.0.0.7/32 metric 5");
        lab.expect("10.0.0.7", Decision::Unreachable(Unreachable::Blackhole));
        ip("route add prohibit 10.0.0.7/32 metric 3");
        lab.expect("10.0.0.7", Decision::Unreachable(Unreachable::Prohibited));
        ip("route add 10.0.0.9/32 via 192.0.2.1 table 100");
        ip("route del 10.0.0.0/8");
        lab.expect("10.0.0.9", Decision::Unreachable(Unreachable::Network));
    });
}

/// Peers of tunnels are where this machine has them, subscribers' packets go by a table of their own.
#[test]
fn subscribers_may_have_a_table_of_their_own() {
    with_a_mirror(|lab| {
        ip("route add 10.0.0.0/8 via 192.0.2.1");
        ip("route add 10.1.0.0/16 via 192.0.2.1 table 100");
        let lab =
            Lab { mirror: Mirror::start([lab.near], routing(Some(100))).unwrap(), near: lab.near };
        let peer = |address_of: &str| lab.mirror.routes().load().lookup_peer(address(address_of));
        let nowhere = Decision::Unreachable(Unreachable::Network);
        lab.expect("10.1.0.1", lab.via(1500));
        assert_eq!((lab.lookup("10.2.0.1"), peer("10.2.0.1")), (nowhere, lab.via(1500)));
        // Told later, too; and the local table is everyone's.
        ip("route add 10.3.0.0/16 via 192.0.2.1 table 100");
        lab.expect("10.3.0.1", lab.via(1500));
        ip("route add blackhole 10.3.0.0/24");
        lab.wait_for(
            || peer("10.3.0.1") == Decision::Unreachable(Unreachable::Blackhole),
            || format!("{:?}", peer("10.3.0.1")),
        );
        assert_eq!(lab.lookup("10.3.0.1"), lab.via(1500));
        ip("route add 10.1.0.0/16 via 192.0.2.1 table 101");
        ip("route del 10.1.0.0/16 table 100");
        lab.expect("10.1.0.1", nowhere);
        assert_eq!(
            (lab.lookup("192.0.2.2"), peer("192.0.2.2")),
            (Decision::Local, Decision::Local)
        );
    });
}

#[test]
fn neighbours_are_followed() {
    with_a_mirror(|lab| {
        ip("neigh add 192.0.2.9 lladdr 02:00:00:00:00:22 nud stale dev near");
        lab.expect("192.0.2.9", lab.via(1500));
        ip("neigh replace 192.0.2.9 lladdr 02:00:00:00:00:22 nud failed dev near");
        lab.expect("192.0.2.9", Decision::Unresolved { ifindex: lab.near });
        ip("route add 10.0.0.0/8 via 192.0.2.1");
        lab.expect("10.0.0.1", lab.via(1500));
        ip("neigh replace 192.0.2.1 lladdr 02:00:00:00:00:33 nud permanent dev near");
        lab.expect("10.0.0.1", lab.via_mac(THIRD_MAC, 1500));
        ip("neigh del 192.0.2.1 dev near");
        lab.expect("10.0.0.1", Decision::Unresolved { ifindex: lab.near });
    });
}

/// Workers send without the kernel, so nothing else would make it look.
#[test]
fn gateways_are_found_before_a_packet_needs_them() {
    with_a_mirror(|lab| {
        let (farther, ready) = mpsc::channel();
        let (done, finished) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                unshare(CloneFlags::CLONE_NEWNET).unwrap();
                farther.send(gettid()).unwrap();
                let _ = finished.recv();
            });
            let farther = ready.recv().unwrap();
            ip("neigh del 192.0.2.1 dev near");
            ip("route add 10.0.0.0/8 via 192.0.2.1");
            lab.expect("10.0.0.1", Decision::Unresolved { ifindex: lab.near });
            ip("link set far address 02:00:00:00:00:22");
            ip(&format!("link set far netns {farther}"));
            enter(farther, || {
                ip("addr add 192.0.2.1/24 dev far");
                ip("link set far up");
            });
            // The next mirror does so as it starts; this one would in its own time.
            let lab =
                Lab { mirror: Mirror::start([lab.near], routing(None)).unwrap(), near: lab.near };
            lab.expect("10.0.0.1", lab.via(1500));
            // From Linux 5.16 on the kernel keeps it found, until nobody asks for that.
            assert!(is_managed("192.0.2.1"));
            drop(lab);
            assert!(!is_managed("192.0.2.1"));
            drop(done);
        });
    });
}

/// On a link everyone is its own next hop. Nobody answers here, which the kernel would find out of
/// itself only if it sent something there.
#[test]
fn a_neighbour_on_the_link_that_is_gone_is_found_out() {
    with_a_mirror(|lab| {
        for (sysctl, value) in [("delay_first_probe_time", "1"), ("retrans_time_ms", "50")] {
            std::fs::write(format!("/proc/sys/net/ipv4/neigh/near/{sysctl}"), value).unwrap();
        }
        ip("neigh add 192.0.2.9 lladdr 02:00:00:00:00:22 nud stale dev near");
        ip("neigh add 192.0.2.8 lladdr 02:00:00:00:00:22 nud permanent dev near");
        lab.expect("192.0.2.9", lab.via(1500));
        lab.expect("192.0.2.9", Decision::Unresolved { ifindex: lab.near });
        assert_eq!(lab.lookup("192.0.2.8"), lab.via(1500));
    });
}

fn is_managed(neighbour: &str) -> bool {
    let words = ["-details", "neigh", "show", neighbour];
    let output = Command::new("ip").args(words).output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.starts_with(neighbour), "{shown}");
    shown.contains("managed")
}

/// In the network namespace of another thread.
fn enter(thread: Pid, act: impl FnOnce() + Send) {
    thread::scope(|scope| {
        scope.spawn(move || {
            let namespace = File::open(format!("/proc/self/task/{thread}/ns/net")).unwrap();
            setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
            act();
        });
    });
}

#[test]
fn addresses_and_interfaces_are_followed() {
    with_a_mirror(|lab| {
        ip("addr add 10.9.9.1/32 dev lo");
        lab.expect("10.9.9.1", Decision::Local);
        ip("link set near mtu 1400");
        lab.expect("192.0.2.1", lab.via(1400));
        lab.mirror.set_ports([]);
        lab.expect("192.0.2.1", Decision::Kernel { ifindex: lab.near });
    });
}

/// The kernel sends no message about IPv4 routes that an interface takes with it.
#[test]
fn routes_go_with_their_interface() {
    with_a_mirror(|lab| {
        ip("route add 10.0.0.0/8 via 192.0.2.1");
        ip("route add blackhole 0.0.0.0/0");
        lab.expect("10.0.0.1", lab.via(1500));
        ip("link set near down");
        lab.expect("10.0.0.1", Decision::Unreachable(Unreachable::Blackhole));
        lab.expect("192.0.2.1", Decision::Unreachable(Unreachable::Blackhole));
        lab.expect("192.0.2.2", Decision::Local);
        ip("link del near");
        lab.expect("192.0.2.2", Decision::Unreachable(Unreachable::Blackhole));
    });
}

/// Nor about those that go with the address that they give to packets.
#[test]
fn routes_go_with_their_source_address() {
    with_a_mirror(|lab| {
        ip("addr add 10.9.9.1/32 dev lo");
        ip("route add 10.0.0.0/8 via 192.0.2.1 src 10.9.9.1");
        lab.expect("10.0.0.1", lab.via(1500));
        ip("addr del 10.9.9.1/32 dev lo");
        lab.expect("10.0.0.1", Decision::Unreachable(Unreachable::Network));
    });
}

/// What a rule may send another way is the kernel's: as precisely as prefixes say it.
#[test]
fn what_policy_rules_concern_is_the_kernels() {
    with_a_mirror(|lab| {
        let routes = lab.mirror.routes();
        let is_ruled = |from: &str, to: &str| routes.load().is_ruled(address(from), address(to));
        let is_peer =
            |from: &str, to: &str| routes.load().is_ruled_peer(address(from), address(to));
        // Of packets from two subscribers to two servers, and into two tunnels, which the rule concerns.
        let subscribers = [
            ("10.99.0.1", "192.0.2.1"),
            ("10.99.0.1", "198.51.100.1"),
            ("10.98.0.1", "192.0.2.1"),
            ("10.98.0.1", "198.51.100.1"),
        ];
        let seen = || {
            let ours = subscribers.map(|(from, to)| is_ruled(from, to));
            (ours, ["192.0.2.2", "10.9.9.1"].map(|from| is_peer(from, "192.0.2.1")))
        };
        let (no, all) = ([false; 4], [true; 4]);
        let none = (no, [false; 2]);
        assert_eq!(seen(), none);
        for (rule, expected) in [
            ("from 10.99.0.0/20 lookup 100", ([true, true, false, false], [false; 2])),
            ("to 198.51.100.0/24 lookup 100", ([false, true, false, true], [false; 2])),
            (
                "from 10.99.0.0/20 to 198.51.100.0/24 blackhole",
                ([false, true, false, false], [false; 2]),
            ),
            ("from 192.0.2.2 lookup 100", (no, [true, false])),
            ("iif tun lookup 100", (all, [false; 2])),
            ("iif far lookup 100", none),
            ("iif lo lookup 100", (no, [true; 2])),
            ("oif near lookup 100", none),
            ("fwmark 1 lookup 100", (all, [true; 2])),
            ("tos 0x10 lookup 100", (all, [true; 2])),
            ("ipproto tcp dport 80 lookup 100", (all, [false; 2])),
            ("not from 10.99.0.0/20 lookup 100", (all, [true; 2])),
            ("not iif near lookup 100", (all, [true; 2])),
            ("lookup 100 suppress_prefixlength 0", (all, [true; 2])),
            ("from 10.99.0.0/20 lookup main", none),
            ("lookup main suppress_prefixlength 0", none),
        ] {
            ip(&format!("rule add priority 3000 {rule}"));
            lab.wait_for(|| seen() == expected, || format!("{rule}: {:?}, {expected:?}", seen()));
            let later = Mirror::start([lab.near], routing(None)).unwrap().routes();
            let later =
                subscribers.map(|(from, to)| later.load().is_ruled(address(from), address(to)));
            assert_eq!(later, expected.0, "{rule}");
            ip("rule del priority 3000");
            lab.wait_for(|| seen() == none, || format!("{rule} is gone: {:?}", seen()));
        }
        // Behind the rule that asks our table for all come those for what it has no way to.
        ip("rule add priority 32800 lookup 100");
        ip("rule add priority 2999 from 10.99.0.0/20 lookup 100");
        lab.wait_for(|| seen().0 == [true, true, false, false], || format!("{:?}", seen()));
        assert_eq!(
            policy_rules(&routing(None)).unwrap(),
            [
                "2999: from 10.99.0.0/20 lookup 100 (subscribers' packets from 10.99.0.0/20 go by the kernel)",
                "2999: from 10.99.0.0/20 lookup 100 (packets into tunnels from 10.99.0.0/20 go by the kernel)"
            ]
        );
        // Where another table is the subscribers', the rule that has them look there is no other.
        ip("rule del priority 2999");
        ip("rule add priority 2000 iif tun lookup 100");
        assert_eq!(policy_rules(&routing(Some(100))).unwrap(), [""; 0]);
        ip("rule add priority 1500 fwmark 2 lookup 101");
        assert_eq!(policy_rules(&routing(Some(100))).unwrap().len(), 2);
    });
}

/// Which of them a packet takes is said by more than its destination.
#[test]
fn destinations_with_routes_for_a_type_of_service_are_the_kernels() {
    with_a_mirror(|lab| {
        ip("route add 10.0.0.0/8 via 192.0.2.1");
        ip("route add 10.0.0.0/8 tos 0x10 via 192.0.2.1 metric 50");
        ip("route add 10.1.0.0/16 via 192.0.2.1");
        lab.expect("10.1.0.1", lab.via(1500));
        lab.expect("10.0.0.1", Decision::Kernel { ifindex: 0 });
        let later =
            Lab { mirror: Mirror::start([lab.near], routing(None)).unwrap(), near: lab.near };
        assert_eq!(later.lookup("10.0.0.1"), Decision::Kernel { ifindex: 0 });
        ip("route del 10.0.0.0/8 tos 0x10");
        lab.expect("10.0.0.1", lab.via(1500));
    });
}

#[test]
fn several_next_hops_are_all_used() {
    with_a_mirror(|lab| {
        ip("neigh add 192.0.2.3 lladdr 02:00:00:00:00:33 nud permanent dev near");
        ip("route add 10.0.0.0/8 nexthop via 192.0.2.1 weight 1 nexthop via 192.0.2.3 weight 1");
        lab.wait_for(
            || lab.macs("10.0.0") == [0x22, 0x33],
            || format!("{:02x?}", lab.macs("10.0.0")),
        );
    });
}

/// FRR's routes name objects, and nothing but those changes when a router fails.
#[test]
fn routes_follow_the_next_hops_that_they_name() {
    with_a_mirror(|lab| {
        ip("neigh add 192.0.2.3 lladdr 02:00:00:00:00:33 nud permanent dev near");
        for compatibility in ["1", "0"] {
            // With 0, routes say nothing but the number, and no route is told that an object moves.
            std::fs::write("/proc/sys/net/ipv4/nexthop_compat_mode", compatibility).unwrap();
            ip("nexthop add id 1 via 192.0.2.1 dev near");
            ip("nexthop add id 2 via 192.0.2.3 dev near");
            ip("nexthop add id 10 group 1/2");
            ip("nexthop add id 11 blackhole");
            ip("route add blackhole 10.0.0.0/8");
            ip("route add 10.1.0.0/16 nhid 1");
            ip("route add 10.2.0.0/16 nhid 10 mtu 1400");
            ip("route add 10.3.0.0/16 nhid 11");
            lab.expect("10.3.0.1", Decision::Unreachable(Unreachable::Blackhole));
            lab.expect("10.1.0.1", lab.via(1500));
            lab.wait_for(
                || lab.macs("10.2.0") == [0x22, 0x33],
                || format!("{:02x?}", lab.macs("10.2.0")),
            );
            // A table that has them from the start knows the same.
            let later =
                Lab { mirror: Mirror::start([lab.near], routing(None)).unwrap(), near: lab.near };
            assert_eq!(later.lookup("10.1.0.1"), lab.via(1500));
            assert_eq!(later.macs("10.2.0"), [0x22, 0x33]);

            ip("nexthop replace id 1 via 192.0.2.3 dev near");
            lab.expect("10.1.0.1", lab.via_mac(THIRD_MAC, 1500));
            lab.expect("10.2.0.1", lab.via_mac(THIRD_MAC, 1400));
            ip("nexthop replace id 1 via 192.0.2.1 dev near");
            lab.expect("10.1.0.1", lab.via(1500));
            // A member goes: the group goes on without it.
            ip("nexthop del id 2");
            lab.wait_for(|| lab.macs("10.2.0") == [0x22], || format!("{:x?}", lab.macs("10.2.0")));
            // The last one takes the group and all routes along.
            ip("nexthop del id 1");
            let nowhere = Decision::Unreachable(Unreachable::Blackhole);
            lab.expect("10.1.0.1", nowhere);
            lab.expect("10.2.0.1", nowhere);
            ip("nexthop del id 11");
            ip("route del blackhole 10.0.0.0/8");
            lab.expect("10.3.0.1", Decision::Unreachable(Unreachable::Network));
        }
    });
}
