//! Many routes at once, and routes that change beside many others.

use super::*;

/// More messages than the socket holds: whether some were lost or not, in the end all is known.
#[test]
fn a_burst_of_routes_arrives_whole() {
    with_a_mirror(|lab| {
        let prefixes = || (0..20_000_u32).map(|n| Ipv4Addr::from_bits(0x0A00_0000 + (n << 8)));
        let commands = |verb: &str| -> String {
            prefixes().map(|prefix| format!("route {verb} blackhole {prefix}/24\n")).collect()
        };
        let known = || {
            let routes = lab.mirror.routes();
            let snapshot = routes.load();
            prefixes()
                .filter(|&to| snapshot.lookup(to) == Decision::Unreachable(Unreachable::Blackhole))
                .count()
        };
        ip_batch(&commands("add"));
        lab.wait_for(|| known() == 20_000, || format!("{} of 20000 known", known()));
        ip_batch(&commands("del"));
        lab.wait_for(|| known() == 0, || format!("{} still known", known()));
    });
}

/// Messages of the kernel that found no room with a socket of this network namespace.
fn messages_lost() -> u64 {
    const DROPS: usize = 8;
    let sockets = std::fs::read_to_string("/proc/thread-self/net/netlink").unwrap();
    let drops = |line: &str| line.split_whitespace().nth(DROPS)?.parse::<u64>().ok();
    sockets.lines().skip(1).filter_map(drops).sum()
}

/// The kernel tells of all routes of an object at once, faster than anybody reads; what it says next
/// finds no room either.
#[test]
fn what_was_said_to_a_full_socket_is_asked_for() {
    const ROUTES: u32 = 10_000;
    with_a_mirror(|lab| {
        let prefix = |number: u32| Ipv4Addr::from_bits(0x0A00_0000 + (number << 8));
        let orders = |what: &str, numbers: std::ops::Range<u32>| -> String {
            numbers.map(|number| format!("route replace {what} {}/24\n", prefix(number))).collect()
        };
        let are = |numbers: std::ops::Range<u32>, expected: Decision| {
            let routes = lab.mirror.routes();
            let snapshot = routes.load();
            numbers.filter(|&number| snapshot.lookup(prefix(number)) == expected).count()
        };
        ip("nexthop add id 1 via 192.0.2.1 dev near");
        let all = (0..ROUTES).map(|number| format!("route add {}/24 nhid 1\n", prefix(number)));
        ip_batch(&all.collect::<String>());
        let known = || are(0..ROUTES, lab.via(1500));
        lab.wait_for(|| known() == 10_000, || format!("{} are known", known()));

        let flood = "nexthop replace id 1 via 192.0.2.1 dev near\n".repeat(3);
        let mut changed = 0;
        while messages_lost() == 0 {
            assert!(changed < 2000, "the socket never was full");
            ip_batch(&(flood.clone() + &orders("blackhole", changed..changed + 100)));
            changed += 100;
        }
        let expected = Decision::Unreachable(Unreachable::Blackhole);
        let gone = || are(0..changed, expected);
        lab.wait_for(|| gone() == changed as usize, || format!("{} of {changed}", gone()));
        assert_eq!(are(changed..ROUTES, lab.via(1500)), (ROUTES - changed) as usize);
    });
}

/// While the kernel is asked for all again, as it is whenever a link goes, changes are followed.
#[test]
fn routes_that_change_while_all_are_asked_for_arrive() {
    with_a_mirror(|lab| {
        ip("link add other type veth peer name farther");
        ip("link set farther up");
        let prefix = |n: u32| Ipv4Addr::from_bits(0x0A00_0000 + (n << 8));
        let routes = |verb: &str, numbers: std::ops::Range<u32>| {
            let routes = numbers.map(|n| format!("route {verb} {}/24\n", prefix(n)));
            ip_batch(&routes.collect::<String>());
        };
        routes("add blackhole", 0..5000);
        for round in 0..6 {
            // The kernel takes the routes of this interface away without a word.
            ip("link set other up");
            ip("route replace 10.200.0.0/16 dev other");
            lab.wait_for(
                || lab.lookup("10.200.0.1") != Decision::Unreachable(Unreachable::Network),
                || format!("{:?}", lab.lookup("10.200.0.1")),
            );
            ip("link set other down");
            let (old, new) = (round * 500, (round + 1) * 500);
            routes("del blackhole", old..new - 250);
            routes("replace prohibit", new - 250..new);
            routes("add blackhole", 5000 + old..5000 + new);
        }
        let is_right = |n: u32| {
            let expected = match n {
                ..3000 if n % 500 < 250 => Unreachable::Network,
                ..3000 => Unreachable::Prohibited,
                _ => Unreachable::Blackhole,
            };
            lab.lookup(&prefix(n).to_string()) == Decision::Unreachable(expected)
        };
        let wrong = || (0..8000).filter(|&n| !is_right(n)).count();
        lab.wait_for(|| wrong() == 0, || format!("{} are wrong", wrong()));
        lab.expect("10.200.0.1", Decision::Unreachable(Unreachable::Network));
    });
}

/// A thousand changes a second beside a large table.
#[test]
fn changes_beside_a_large_table_are_in_force_in_time() {
    changes_are_in_force_in_time(100_000);
}

/// And beside the Internet's. Takes half a minute: `cargo nextest run -p penstock-dataplane --lib
/// full_table --run-ignored all --no-capture` prints how long each hundred took.
#[test]
#[ignore = "a million routes in the kernel"]
fn changes_beside_a_full_table_are_in_force_in_time() {
    changes_are_in_force_in_time(1_000_000);
}

fn changes_are_in_force_in_time(count: u32) {
    const CHANGED: u32 = 100;
    /// For a machine that has other things to do now and then.
    const SELDOM: Duration = Duration::from_secs(1);
    with_a_mirror(|lab| {
        let prefix = |number: u32| Ipv4Addr::from_bits(0x0A00_0000 + (number << 8));
        let all: String =
            (0..count).map(|n| format!("route add blackhole {}/24\n", prefix(n))).collect();
        ip_batch(&all);
        let known = |number| lab.mirror.routes().load().lookup(prefix(number));
        let blackhole = Decision::Unreachable(Unreachable::Blackhole);
        let give_up = Instant::now() + Duration::from_secs(120);
        while !(0..count).step_by(997).all(|number| known(number) == blackhole) {
            assert!(Instant::now() < give_up, "the table is known");
            thread::sleep(Duration::from_millis(50));
        }
        ip("link add other type veth peer name farther");
        ip("link set farther up");
        let mut times = Vec::new();
        let begin = Instant::now();
        for round in 0..60_u32 {
            // In the second half all is asked for anew, again and again.
            if round >= 30 && round % 10 == 0 {
                ip("link set other up");
                ip("route replace 10.255.0.0/16 dev other");
            } else if round > 30 && round % 10 == 5 {
                ip("link set other down");
            }
            // They lie far apart, so that each costs nodes of its own.
            let changed: Vec<u32> = (0..CHANGED).map(|n| (n * 9973 + round * 31) % count).collect();
            let orders = changed
                .iter()
                .map(|&number| format!("route replace prohibit {}/24\n", prefix(number)));
            ip_batch(&orders.collect::<String>());
            let told = Instant::now();
            let prohibited = Decision::Unreachable(Unreachable::Prohibited);
            while !changed.iter().all(|&number| known(number) == prohibited) {
                assert!(told.elapsed() < Duration::from_secs(20), "changes arrive");
                thread::sleep(Duration::from_millis(1));
            }
            times.push(told.elapsed());
            thread::sleep((begin + Duration::from_millis(100) * (round + 1)) - Instant::now());
        }
        for (what, times) in ["beside it", "while it is asked for"].iter().zip(times.chunks_mut(30))
        {
            times.sort_unstable();
            let (middle, most) = (times[times.len() / 2], times[times.len() * 9 / 10]);
            println!("{what}: {CHANGED} changes are in force within {middle:?} of {times:?}");
            assert!(middle <= Duration::from_millis(100), "{times:?}");
            assert!(most <= SELDOM, "{times:?}");
        }
    });
}
