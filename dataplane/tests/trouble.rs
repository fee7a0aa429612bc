//! What a data plane on AF_XDP makes of trouble on real interfaces: two ports with two queues each,
//! two workers, the kernel's routes. What is lost is counted, and nothing that need not be lost is.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "common/far.rs"]
mod far;
#[path = "common/held.rs"]
mod held;
#[path = "common/lab.rs"]
mod lab;
#[path = "common/ledger.rs"]
mod ledger;
#[path = "common/redirect.rs"]
mod redirect;

use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::subscriber::{Subscriber, one_hop_on, packet};
use common::{dial, eventually, in_namespace, ip, open};
use dataplane::DataPlane;
use dataplane::api::{Config, Forward, Handle, Prefix};
use dataplane::io::PortDrop;
use far::Far;
use held::Held;
use lab::{
    ACCESS, CORE, LOCAL, PEER, PEER_MAC, PORTS, SERVER, SERVER_MAC, ethernet, network, start,
};
use ledger::Ledger;

/// The inner address of the tunnel with this Call ID.
fn inner(call_id: u16) -> Ipv4Addr {
    let [high, low] = call_id.to_be_bytes();
    Ipv4Addr::new(10, 9, high, low)
}

/// Sends packets by the tunnel until one arrives at the server, and takes all that were sent so far.
fn until_it_passes(subscriber: &mut Subscriber, peer: &mut Far, server: &mut Far) {
    const MARK: &[u8] = b"passes";
    let mut sent = 0_u32;
    let heard = |server: &mut Far| {
        let frame = server.try_receive()?;
        let number = frame.get(34..)?.strip_prefix(MARK)?;
        Some(u32::from_be_bytes(*number.first_chunk()?))
    };
    let mut newest = eventually("a packet passes", || {
        sent += 1;
        let payload = [MARK, &sent.to_be_bytes()].concat();
        let up = subscriber.encrypt(SERVER, &payload);
        peer.send(0, &ethernet(ACCESS, PEER_MAC, &up));
        heard(server)
    });
    eventually("the others pass", || {
        newest = heard(server).unwrap_or(newest);
        (newest == sent).then_some(())
    });
}

/// Packets of a tunnel in a round, each way.
const BURST: usize = 24;

/// As many tunnels of each of two workers.
fn subscribers(handle: &Handle, count: u16) -> Vec<Subscriber> {
    (40..40 + count).map(|id| dial(handle, (LOCAL, PEER), id, inner(id), 1456)).collect()
}

/// Sends packets of all tunnels both ways, by the queue that is chosen by the Call ID, and sees that
/// all arrive in their order.
fn exchange(
    subscribers: &mut [Subscriber],
    peer: &mut Far,
    server: &mut Far,
    round: u8,
    queue: impl Fn(u16) -> usize,
) {
    for subscriber in &mut *subscribers {
        let queue = queue(subscriber.own_call_id);
        for number in 0..BURST {
            let payload = vec![round; 1 + number * 50];
            let up = subscriber.encrypt(SERVER, &payload);
            peer.send(queue, &ethernet(ACCESS, PEER_MAC, &up));
            let down = packet(SERVER, subscriber.inner, &payload);
            server.send(queue, &ethernet(CORE, SERVER_MAC, &down));
        }
    }
    let sent = BURST * subscribers.len();
    let mut ups = vec![0; subscribers.len()];
    let mut downs = ups.clone();
    for _ in 0..sent {
        let frame = server.receive();
        let which = usize::from(frame[29] - 40);
        let payload = vec![round; 1 + ups[which] * 50];
        let up = packet(subscribers[which].inner, SERVER, &payload);
        assert_eq!(frame[14..], one_hop_on(&up), "in the order of the tunnel");
        ups[which] += 1;
    }
    while downs.iter().sum::<usize>() < sent {
        let frame = peer.receive();
        let call_id = u16::from_be_bytes([frame[40], frame[41]]);
        let which = usize::from(call_id - 40);
        let subscriber = &mut subscribers[which];
        // Not the acknowledgements that go alone.
        if subscriber.read(&frame[14..]).frame.is_empty() {
            continue;
        }
        let payload = vec![round; 1 + downs[which] * 50];
        let down = packet(SERVER, subscriber.inner, &payload);
        assert_eq!(subscriber.decrypt(&frame[14..]), one_hop_on(&down));
        downs[which] += 1;
    }
}

#[test]
fn nothing_is_lost_with_every_packet_on_the_wrong_queue_and_its_owner_asleep() {
    in_namespace(|| {
        network();
        let ledger = Ledger::open(&PORTS);
        let (handle, _events) =
            DataPlane::start(&Config { balance: false, ..lab::config() }).unwrap();
        let (mut peer, mut server) = (Far::open("peer"), Far::open("server"));
        let mut subscribers = subscribers(&handle, 4);
        let rounds = 20_u8;
        for round in 0..rounds {
            // Two workers: tunnels are dealt to them by their Call IDs.
            exchange(&mut subscribers, &mut peer, &mut server, round, |id| usize::from(1 - id % 2));
            // They sleep as soon as a few turns found nothing.
            std::thread::sleep(Duration::from_millis(5));
        }
        let totals = handle.totals();
        assert_eq!(totals.drops().total(), 0, "{:?}", totals.workers);
        let handed: u64 = totals.workers.iter().map(|worker| worker.handed_over).sum();
        let all = 2 * BURST * subscribers.len() * usize::from(rounds);
        assert_eq!(handed, all as u64, "every packet was handed over");
        for port in &totals.ports {
            assert!(port.drops.iter().all(|&(_, count)| count == 0), "{port:?}");
        }
        ledger.balance(&handle);
        handle.stop();
    });
}

#[test]
fn a_tunnel_follows_its_packets_to_the_worker_that_finds_them_and_loses_none() {
    in_namespace(|| {
        network();
        let ledger = Ledger::open(&PORTS);
        let handle = start();
        let (mut peer, mut server) = (Far::open("peer"), Far::open("server"));
        let mut subscribers = subscribers(&handle, 8);
        let handed =
            || -> u64 { handle.totals().workers.iter().map(|worker| worker.handed_over).sum() };
        let taken =
            || -> u64 { handle.totals().workers.iter().map(|worker| worker.tunnels_taken).sum() };
        let begun = Instant::now();
        let (mut quiet, mut round) = (0, 0_u8);
        while quiet < 5 {
            assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", handle.totals().workers);
            let before = handed();
            exchange(&mut subscribers, &mut peer, &mut server, round, |_| 1);
            round = round.wrapping_add(1);
            quiet = if handed() == before { quiet + 1 } else { 0 };
            // A worker that is busy takes no tunnels.
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(taken(), 4, "half of them were there already");
        let totals = handle.totals();
        assert_eq!(totals.drops().total(), 0, "{:?}", totals.workers);
        ledger.balance(&handle);
        handle.stop();
    });
}

#[test]
fn a_route_moves_under_traffic_without_loss_and_in_time() {
    const OTHER_MAC: [u8; 6] = [2, 0, 0, 0, 1, 3];
    const FAR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);
    const MOVES: usize = 15;
    in_namespace(|| {
        network();
        ip("neigh add 203.0.113.81 lladdr 02:00:00:00:01:03 nud permanent dev core");
        ip("route add 198.51.100.0/24 via 203.0.113.80");
        let ledger = Ledger::open(&PORTS);
        let handle = start();
        let (mut peer, mut server) = (Far::open("peer"), Far::open("server"));
        let mut subscriber = dial(&handle, (LOCAL, PEER), 40, inner(40), 1456);
        let mut number = 0_u32;
        let mut ways = Vec::new();
        let mut times = Vec::new();
        let mut arrived = 0;
        // A packet now and whatever has arrived: numbers in their order, and by which way.
        let mut send = |ways: &mut Vec<[u8; 6]>| {
            let up = subscriber.encrypt(FAR, &number.to_be_bytes());
            peer.send((number % 2) as usize, &ethernet(ACCESS, PEER_MAC, &up));
            number += 1;
            std::thread::sleep(Duration::from_micros(500));
            while let Some(frame) = server.try_receive() {
                ways.push(*frame.first_chunk().unwrap());
            }
            number
        };
        for turn in 0..MOVES {
            for _ in 0..20 {
                send(&mut ways);
            }
            let (next, mac) = if turn % 2 == 0 { (81, OTHER_MAC) } else { (80, SERVER_MAC) };
            ip(&format!("route replace 198.51.100.0/24 via 203.0.113.{next}"));
            let moved = Instant::now();
            while ways.last() != Some(&mac) {
                assert!(moved.elapsed() < Duration::from_secs(10), "the route moves");
                send(&mut ways);
            }
            times.push(moved.elapsed());
        }
        let sent = send(&mut ways) as usize;
        eventually("all arrive", || {
            while let Some(frame) = server.try_receive() {
                ways.push(*frame.first_chunk().unwrap());
            }
            arrived = ways.len();
            (arrived == sent).then_some(())
        });
        let changes = ways.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert_eq!(changes, MOVES, "each packet went by one of the ways, and none by an older one");
        // The middle one, for the machine may be busy with other things during some.
        times.sort_unstable();
        println!("a route was in force after {times:?}");
        assert!(times[MOVES / 2] <= Duration::from_millis(100), "{times:?}");
        ledger.balance(&handle);
        handle.stop();
    });
}

/// RFC 1812 §5.2.4.3: a network behind a subscriber gives way to a longer route of the kernel, in both
/// directions, and no more of it than that.
#[test]
fn the_longest_prefix_wins_whether_it_is_a_tunnels_or_the_kernels() {
    const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 1);
    const BEHIND: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 1);
    in_namespace(|| {
        network();
        ip("route add 10.7.0.0/16 via 203.0.113.80");
        let handle = start();
        let (mut peer, mut server) = (Far::open("peer"), Far::open("server"));
        let mut subscriber = dial(&handle, (LOCAL, PEER), 40, inner(40), 1456);
        let network = Prefix { address: Ipv4Addr::new(10, 0, 0, 0), length: 8 };
        let prefixes = vec![network, Prefix::host(inner(41))];
        open(Forward::Fast, &handle, (LOCAL, PEER), 41, prefixes, 1456);
        let mut router = Subscriber::new(PEER, LOCAL, (41, 41), inner(41));

        let up = packet(subscriber.inner, ELSEWHERE, b"elsewhere");
        peer.send(0, &ethernet(ACCESS, PEER_MAC, &subscriber.encrypt_packet(&up)));
        let arrived = eventually("the packet leaves by the core", || server.try_receive());
        assert_eq!((&arrived[..6], &arrived[14..]), (&SERVER_MAC[..], &one_hop_on(&up)[..]));

        let up = packet(subscriber.inner, BEHIND, b"behind");
        peer.send(0, &ethernet(ACCESS, PEER_MAC, &subscriber.encrypt_packet(&up)));
        let mut inside = |what: &str| {
            eventually(what, || {
                let frame = peer.try_receive()?;
                let is_data = frame[41] == 41 && !router.read(&frame[14..]).frame.is_empty();
                is_data.then(|| router.decrypt(&frame[14..]))
            })
        };
        assert_eq!(inside("the packet enters the tunnel"), one_hop_on(&up));

        // From the core, too: what is not the tunnel's goes back to it, by the kernel.
        for to in [ELSEWHERE, BEHIND] {
            let down = packet(SERVER, to, b"down");
            server.send(0, &ethernet(CORE, SERVER_MAC, &down));
        }
        assert_eq!(inside("its own enters the tunnel")[16..20], BEHIND.octets());
        let counters = handle.totals();
        assert_eq!(counters.drops().total(), 0, "{:?}", counters.workers);
        handle.stop();
    });
}

/// A rule by source routes one subscriber's packets another way, while the others keep theirs.
#[test]
fn a_policy_rule_holds_for_the_packets_that_it_is_for() {
    const OTHER_MAC: [u8; 6] = [2, 0, 0, 0, 1, 3];
    in_namespace(|| {
        network();
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        ip("neigh add 203.0.113.81 lladdr 02:00:00:00:01:03 nud permanent dev core");
        ip("route add 198.51.100.0/24 via 203.0.113.80");
        ip("route add default via 203.0.113.81 table 100");
        let handle = start();
        let (mut peer, mut server) = (Far::open("peer"), Far::open("server"));
        let mut ruled = dial(&handle, (LOCAL, PEER), 40, inner(40), 1456);
        let mut other = dial(&handle, (LOCAL, PEER), 41, inner(41), 1456);
        let destination = Ipv4Addr::new(198, 51, 100, 9);
        // By which way a packet leaves that is sent now.
        let mut number = 0_u32;
        let mut way = |subscriber: &mut Subscriber| {
            number += 1;
            let mark = number.to_be_bytes();
            let up = subscriber.encrypt(destination, &mark);
            peer.send(0, &ethernet(ACCESS, PEER_MAC, &up));
            eventually("the packet leaves", || {
                let frame = server.try_receive()?;
                let is_it = frame.get(34..38) == Some(&mark[..]);
                is_it.then(|| *frame.first_chunk::<6>().unwrap())
            })
        };
        assert_eq!((way(&mut ruled), way(&mut other)), (SERVER_MAC, SERVER_MAC));
        let rule = format!("from {} lookup 100", inner(40));
        ip(&format!("rule add {rule}"));
        eventually("the rule holds", || (way(&mut ruled) == OTHER_MAC).then_some(()));
        assert_eq!((way(&mut ruled), way(&mut other)), (OTHER_MAC, SERVER_MAC));
        ip(&format!("rule del {rule}"));
        eventually("the rule is gone", || (way(&mut ruled) == SERVER_MAC).then_some(()));
        assert_eq!(way(&mut other), SERVER_MAC);
        handle.stop();
    });
}

#[test]
fn neighbours_and_routes_that_flap_cost_no_packet_uncounted() {
    in_namespace(|| {
        network();
        let ledger = Ledger::open(&PORTS);
        let handle = start();
        let (mut peer, mut server) = (Far::open("peer"), Far::open("server"));
        let mut subscriber = dial(&handle, (LOCAL, PEER), 40, inner(40), 1456);
        for round in 0..10 {
            for words in [
                "neigh replace 203.0.113.80 lladdr 02:00:00:00:01:02 nud permanent dev core",
                "route replace blackhole 203.0.113.80/32",
                "route del blackhole 203.0.113.80/32",
                "neigh del 203.0.113.80 dev core",
            ] {
                ip(words);
                for number in 0..8_u8 {
                    let up = subscriber.encrypt(SERVER, &[round, number]);
                    peer.send(usize::from(number % 2), &ethernet(ACCESS, PEER_MAC, &up));
                    let down = packet(SERVER, subscriber.inner, &[round, number]);
                    server.send(usize::from(number % 2), &ethernet(CORE, SERVER_MAC, &down));
                }
                while server.try_receive().is_some() {}
                while peer.try_receive().is_some() {}
            }
        }
        ip("neigh replace 203.0.113.80 lladdr 02:00:00:00:01:02 nud permanent dev core");
        until_it_passes(&mut subscriber, &mut peer, &mut server);
        ledger.balance(&handle);
        handle.stop();
    });
}

/// Sends more to the server than all rings hold.
fn flood(subscriber: &mut Subscriber, peer: &mut Far) {
    for number in 0..3000_u16 {
        let up = subscriber.encrypt(SERVER, &number.to_be_bytes());
        peer.send(usize::from(number % 2), &ethernet(ACCESS, PEER_MAC, &up));
    }
}

/// One subscriber says something to another, by this queue, until it is heard: what comes in a flood may
/// find rings full.
fn is_heard(
    from: &mut Subscriber,
    to: &mut Subscriber,
    peer: &mut Far,
    queue: usize,
    payload: &[u8],
) {
    let up = packet(from.inner, to.inner, payload);
    eventually("the other is heard", || {
        peer.send(queue, &ethernet(ACCESS, PEER_MAC, &from.encrypt_packet(&up)));
        std::thread::sleep(Duration::from_millis(5));
        let frame = peer.try_receive()?;
        let is_data = frame[41] == 40 && !to.read(&frame[14..]).frame.is_empty();
        (is_data && to.decrypt(&frame[14..]) == one_hop_on(&up)).then_some(())
    });
}

#[test]
fn what_finds_no_frame_while_workers_are_held_up_is_counted() {
    in_namespace(|| {
        network();
        let ledger = Ledger::open(&PORTS);
        let handle = start();
        let (mut peer, mut server) = (Far::open("peer"), Far::open("server"));
        let mut subscriber = dial(&handle, (LOCAL, PEER), 40, inner(40), 1456);
        until_it_passes(&mut subscriber, &mut peer, &mut server);
        // Twice as many as a fill ring has frames for, by each queue.
        let held = Held::hold();
        for _ in 0..2 {
            flood(&mut subscriber, &mut peer);
        }
        drop(held);
        until_it_passes(&mut subscriber, &mut peer, &mut server);
        ledger.balance(&handle);
        let lost: u64 = handle
            .totals()
            .ports
            .iter()
            .flat_map(|port| &port.drops)
            .filter(|(reason, _)| *reason == PortDrop::XdpReceive)
            .map(|(_, count)| count)
            .sum();
        assert!(lost > 1000, "{lost}");
        handle.stop();
    });
}

/// What the process has logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Lines that say this of a queue of the core port.
    fn lines(&self, message: &str, queue: u32) -> usize {
        let log = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let of = format!("interface=\"core\" queue={queue}");
        log.lines().filter(|line| line.contains(message) && line.contains(&of)).count()
    }
}

impl io::Write for Log {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_link_that_goes_down_and_up_carries_again_and_a_lost_port_leaves_the_other() {
    in_namespace(|| {
        network();
        let log = Log::default();
        let writer = log.clone();
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
        let ledger = Ledger::open(&PORTS);
        let handle = start();
        let (mut peer, mut server) = (Far::open("peer"), Far::open("server"));
        let mut subscriber = dial(&handle, (LOCAL, PEER), 40, inner(40), 1456);
        let mut other = dial(&handle, (LOCAL, PEER), 41, inner(41), 1456);
        until_it_passes(&mut subscriber, &mut peer, &mut server);
        for end in ["server", "core"] {
            ip(&format!("link set {end} down"));
            flood(&mut subscriber, &mut peer);
            // Another subscriber needs not the port that is down.
            is_heard(&mut other, &mut subscriber, &mut peer, 0, b"hello");
            // Workers look after their ports once a second, whether anything is sent by them or not.
            let is_said = |what: &str| {
                let message = format!("the port sends and receives {what}");
                eventually("it is said", || (log.lines(&message, 0) == 1).then_some(()));
            };
            if end == "core" {
                is_said("nothing");
            }
            ip(&format!("link set {end} up"));
            // Neighbours go with their interface.
            ip("neigh replace 203.0.113.80 lladdr 02:00:00:00:01:02 nud permanent dev core");
            until_it_passes(&mut subscriber, &mut peer, &mut server);
            if end == "core" {
                is_said("again");
            }
        }
        ledger.balance(&handle);

        // The port's sockets are of no interface from now on.
        drop(server);
        ip("link del core");
        flood(&mut subscriber, &mut peer);
        is_heard(&mut other, &mut subscriber, &mut peer, 1, b"still there");
        // A queue by which nothing is sent does not go unnoticed.
        for (queue, times) in [(0, 2), (1, 1)] {
            eventually("it is said", || {
                let said = log.lines("the port sends and receives nothing", queue);
                (said >= times).then_some(())
            });
        }
        ledger.balance(&handle);
        handle.stop();
    });
}
