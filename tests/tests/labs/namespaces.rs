//! The lab's own parts do what the other tests rely on.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::Ordering;
use std::time::Duration;

use lab::capture::Capture;
use lab::impair::{Hop, Impairment};
use lab::netns::{self, Namespace};
use lab::packet::{Direction, PacketSocket};
use lab::process::Process;
use lab::traffic::{self, TcpEcho, UdpEcho};

const LEFT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const RIGHT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);

fn addressed_pair() -> (Namespace, Namespace) {
    let (left, right) = (Namespace::new("left").unwrap(), Namespace::new("right").unwrap());
    netns::join((&left, "to-right"), (&right, "to-left")).unwrap();
    left.address("to-right", "10.1.0.1/24").unwrap();
    right.address("to-left", "10.1.0.2/24").unwrap();
    (left, right)
}

#[test]
fn traffic_of_every_kind_returns_whole_and_a_capture_sees_it() {
    let (left, right) = addressed_pair();
    let capture = Capture::start(&left, "to-right").unwrap();
    let _udp = right.run(|| UdpEcho::start(7)).unwrap();
    let _tcp = right.run(|| TcpEcho::start(7)).unwrap();
    let echo = SocketAddrV4::new(RIGHT, 7);

    assert!(left.run(|| traffic::udp_exchange(echo, [1, 700, 1472], 0)).unwrap().whole());
    assert!(left.run(|| traffic::tcp_exchange(echo, [1, 1460, 100_000])).unwrap().whole());
    assert!(left.run(|| traffic::ping_exchange(RIGHT, [0, 56, 1472], 0)).unwrap().whole());
    // One byte more than the link's MTU must not pass in pieces.
    assert!(left.run(|| traffic::udp_exchange(echo, [1473], 0)).is_err());

    let trace = capture.finish().unwrap();
    let text = traffic::payload(700, 700);
    assert_eq!(trace.holding(&text), 2, "a request and its echo");
    assert_eq!(trace.holding(&traffic::payload(701, 700)), 0);
    let datagrams = trace.tshark("udp.port == 7 && udp.length == 708", &["ip.src"]).unwrap();
    assert_eq!(datagrams, [LEFT.to_string(), RIGHT.to_string()]);
}

#[test]
fn a_process_stands_inside_its_namespace_and_ends_with_its_value() {
    let (left, _right) = addressed_pair();
    let mut command = left.command("sh");
    command.args(["-c", "ls /sys/class/net; echo $$; sleep 1000"]);
    let mut process = Process::start("sh", command).unwrap();
    let (_, line) = process
        .wait_line("the shell's number", 0, Duration::from_secs(10), |text| {
            text.parse::<u32>().is_ok()
        })
        .unwrap();
    assert!(process.output().contains("to-right"));
    let group: i32 = line.text.parse().unwrap();
    drop(process);
    let group = nix::unistd::Pid::from_raw(group);
    // The shell's child is an orphan now: it is up to the system's first process to bury it.
    lab::wait::until("the end of the group", Duration::from_secs(10), || {
        Ok(nix::sys::signal::killpg(group, None).is_err().then_some(()))
    })
    .unwrap();
}

/// Sends GRE packets with numbers through a hop; gives the numbers in the order of arrival.
fn through_hop(impairment: Impairment, seed: u64) -> (Vec<u8>, [u64; 4]) {
    let (left, right) = (Namespace::new("left").unwrap(), Namespace::new("right").unwrap());
    let middle = Namespace::new("middle").unwrap();
    netns::join((&left, "out"), (&middle, "a")).unwrap();
    netns::join((&middle, "b"), (&right, "in")).unwrap();
    let hop = Hop::start(&middle, ["a", "b"], [impairment, Impairment::default()], seed).unwrap();
    let capture = Capture::start(&right, "in").unwrap();

    let sender = PacketSocket::open(&left, "out", Direction::Incoming).unwrap();
    for number in 0..200_u8 {
        let mut frame = vec![0xFF; 12];
        frame.extend_from_slice(&[0x08, 0x00, 0x45, 0, 0, 25, 0, 0, 0, 0, 64, 47, 0, 0]);
        frame.extend_from_slice(&[10, 1, 0, 1, 10, 1, 0, 2]);
        frame.extend_from_slice(&[0x30, 0x01, 0x88, 0x0B, number]);
        sender.send(&frame).unwrap();
    }
    let tally = &hop.tallies()[0];
    lab::wait::until("200 packets at the hop", Duration::from_secs(10), || {
        Ok((tally.seen.load(Ordering::Relaxed) == 200).then_some(()))
    })
    .unwrap();
    let counts = [&tally.seen, &tally.lost, &tally.duplicated, &tally.reordered]
        .map(|counter| counter.load(Ordering::Relaxed));
    // What it holds still leaves.
    drop(hop);
    let trace = capture.finish().unwrap();
    (trace.gre().map(|packet| packet[4]).collect(), counts)
}

#[test]
fn a_hop_without_faults_keeps_every_packet_in_order() {
    let (arrived, counts) = through_hop(Impairment::default(), 1);
    assert_eq!(arrived, (0..200).collect::<Vec<u8>>());
    assert_eq!(counts, [200, 0, 0, 0]);
}

#[test]
fn a_seed_decides_the_fate_of_every_packet() {
    let impairment = Impairment { loss: 100, duplicate: 50, reorder: 100, ..Impairment::default() };
    let (first, counts) = through_hop(impairment, 7);
    let (second, again) = through_hop(impairment, 7);
    assert_eq!(counts, again);
    let sorted = |mut numbers: Vec<u8>| {
        numbers.sort_unstable();
        numbers
    };
    assert_eq!(sorted(first.clone()), sorted(second));
    let [seen, lost, duplicated, reordered] = counts;
    assert!(lost > 0 && duplicated > 0 && reordered > 0, "{counts:?}");
    assert_eq!(first.len() as u64, seen - lost + duplicated);
    assert!(!first.is_sorted());
}
