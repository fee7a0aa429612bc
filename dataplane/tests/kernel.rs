//! A data plane on the kernel's own devices: raw GRE socket and TUN. A subscriber pings the box
//! through its tunnel, and the kernel answers; the kernel takes our ICMP errors to heart.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use common::subscriber::{Subscriber, ipv4, sum};
use common::{GATEWAY, dial, dial_by, eventually, in_namespace, ip};
use dataplane::DataPlane;
use dataplane::api::{Config, Event, Events, Forward, Handle, Prefix, Tun};
use dataplane::frame::{Pool, Region};
use dataplane::io::Port;
use dataplane::io::raw::RawPort;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::Ipv4RecvErr;

const LOCAL: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const ICMP: u8 = 1;

fn start(workers: usize) -> (Handle, Events) {
    let pools = vec![Prefix { address: Ipv4Addr::new(10, 9, 0, 0), length: 16 }];
    let tun = Tun { address: Some(GATEWAY), pools, ..Tun::default() };
    DataPlane::start(&Config { workers, tun, ..Config::default() }).unwrap()
}

/// The subscribers' side: one raw socket for all of them.
struct Access {
    port: RawPort,
    pool: Pool,
}

impl Access {
    fn open() -> Self {
        let pool = Pool::new(Region::new(512).unwrap(), 64);
        Self { port: RawPort::open(0, 1).unwrap(), pool }
    }

    fn send(&mut self, packet: &[u8]) {
        let mut frame = self.pool.take().unwrap();
        assert!(frame.fill(packet));
        self.port.transmit(&mut self.pool, &mut vec![frame]);
    }

    /// The next data packet for this subscriber.
    fn receive(&mut self, subscriber: &mut Subscriber) -> Vec<u8> {
        eventually("the box sends a data packet", || self.try_receive(subscriber))
    }

    fn try_receive(&mut self, subscriber: &mut Subscriber) -> Option<Vec<u8>> {
        let mut frames = Vec::new();
        self.port.receive(&mut self.pool, &mut frames, 1);
        let frame = frames.pop()?;
        let data = frame.data();
        let is_ours = data[16..20] == PEER.octets()
            && data[26..28] == subscriber.peer_call_id.to_be_bytes()
            && data[20] & 0x10 != 0;
        is_ours.then(|| subscriber.decrypt(data))
    }
}

fn echo_request(sequence: u16, len: usize) -> Vec<u8> {
    let mut message = vec![8, 0, 0, 0, 0x12, 0x34];
    message.extend(sequence.to_be_bytes());
    message.extend((0_u32..).take(len).map(|at| at.to_le_bytes()[0]));
    let checksum = !sum(&message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    message
}

#[test]
fn pings_of_every_size_cross_two_workers_and_the_kernel() {
    in_namespace(|| {
        let (handle, _events) = start(2);
        let mut access = Access::open();
        for call_id in [40_000_u16, 40_001] {
            let [_, low] = call_id.to_be_bytes();
            let inner = Ipv4Addr::new(10, 9, 7, low);
            let mut subscriber = dial(&handle, (LOCAL, PEER), call_id, inner, 1456);
            // With 8 octets of ICMP and 20 of IP the last one fills the MTU of 1450.
            for (number, len) in (0..).zip((0..1422).step_by(79)) {
                let request = echo_request(number, len);
                let packet = ipv4(ICMP, 64, inner, GATEWAY, &request);
                access.send(&subscriber.encrypt_packet(&packet));
                let reply = access.receive(&mut subscriber);
                assert_eq!(reply[12..16], GATEWAY.octets());
                assert_eq!(reply[16..20], inner.octets());
                assert_eq!(reply[20], 0, "an echo reply");
                assert_eq!(reply[24..], request[4..]);
            }
        }
        let drops = handle.totals().drops();
        // Only what the box itself sent, which its own raw sockets hear on the loopback device.
        let unknown = drops.of(dataplane::api::DropReason::TunnelUnknown)
            + drops.of(dataplane::api::DropReason::PeerForeign);
        assert_eq!(drops.total(), unknown);
        handle.stop();
    });
}

/// The length of a packet and its flags and fragment offset.
fn shape(packet: &[u8]) -> (usize, [u8; 2]) {
    (packet.len(), [packet[6], packet[7]])
}

/// RFC 1191: the first datagram teaches the kernel the tunnel's MTU, which is smaller than the
/// TUN's; the next one it cuts itself.
#[test]
fn the_kernel_learns_the_mtu_of_a_tunnel() {
    in_namespace(|| {
        let (handle, _events) = start(2);
        let mut access = Access::open();
        let inner = Ipv4Addr::new(10, 9, 0, 5);
        let mut subscriber = dial(&handle, (LOCAL, PEER), 5, inner, 1300);
        let socket = UdpSocket::bind((GATEWAY, 0)).unwrap();
        let first = eventually("the kernel cuts datagrams", || {
            socket.send_to(&[7; 1400], (inner, 9)).unwrap();
            access.try_receive(&mut subscriber)
        });
        assert_eq!(shape(&first), (1300, [0x20, 0]));
        assert_eq!(shape(&access.receive(&mut subscriber)), (148, [0, 160]));
        let workers = handle.totals().workers;
        assert!(workers.iter().map(|worker| worker.icmp_errors).sum::<u64>() > 0);
        assert!(workers.iter().all(|worker| worker.fragmented == 0));
        handle.stop();
    });
}

/// The kernel's echo replies may be cut (RFC 791 §2.3).
#[test]
fn what_fits_the_tun_but_not_the_tunnel_is_cut() {
    in_namespace(|| {
        let (handle, _events) = start(1);
        let mut access = Access::open();
        let inner = Ipv4Addr::new(10, 9, 0, 6);
        let mut subscriber = dial(&handle, (LOCAL, PEER), 6, inner, 1300);
        let request = echo_request(1, 1400);
        access.send(&subscriber.encrypt_packet(&ipv4(ICMP, 64, inner, GATEWAY, &request)));
        let first = access.receive(&mut subscriber);
        let second = access.receive(&mut subscriber);
        assert_eq!((shape(&first), shape(&second)), ((1300, [0x20, 0]), (148, [0, 160])));
        assert_eq!([&first[24..], &second[20..]].concat(), request[4..]);
        handle.stop();
    });
}

/// Packets that an interface received from us and that it sent to us, as the kernel counts them.
fn passed(interface: &str) -> [u64; 2] {
    let table = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let mut lines = table.lines();
    let line = lines.find_map(|line| line.trim_start().strip_prefix(interface)?.strip_prefix(':'));
    let numbers = line.unwrap().split_whitespace().map(|word| word.parse().unwrap());
    let numbers: Vec<u64> = numbers.collect();
    [numbers[1], numbers[9]]
}

#[test]
fn a_tunnel_with_a_device_of_its_own_uses_that_alone() {
    in_namespace(|| {
        // A tunnel of each worker.
        for call_id in [70, 71] {
            let (handle, _events) = start(2);
            let mut access = Access::open();
            let device = handle.device("pptp-in1", 1400).unwrap();
            device.set_running(true);
            let inner = Ipv4Addr::new(10, 9, 0, 5);
            ip("route add 10.9.0.5 dev pptp-in1");
            let forward = Forward::Device(device);
            let mut subscriber = dial_by(forward, &handle, (LOCAL, PEER), call_id, inner, 1400);
            for number in 0..50 {
                let request = echo_request(number, 600);
                access.send(&subscriber.encrypt_packet(&ipv4(ICMP, 64, inner, GATEWAY, &request)));
                let reply = access.receive(&mut subscriber);
                assert_eq!(reply[24..], request[4..]);
            }
            assert_eq!(passed("pptp-in1"), [50, 50]);
            assert_eq!(passed("penstock0"), [0, 0]);
            let port = |handle: &Handle| {
                handle.totals().ports.into_iter().find(|port| port.name == "pptp-in1")
            };
            assert_eq!(port(&handle).unwrap().sent_packets, 50);

            // By the common TUN the same address leads nowhere.
            ip("route del 10.9.0.5 dev pptp-in1");
            let socket = UdpSocket::bind((GATEWAY, 0)).unwrap();
            socket.connect((inner, 9)).unwrap();
            setsockopt(&socket, Ipv4RecvErr, &true).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            socket.send(b"anyone there?").unwrap();
            let answer = socket.recv(&mut [0; 64]).unwrap_err();
            assert_eq!(answer.kind(), std::io::ErrorKind::HostUnreachable);

            let error = handle.device("pptp-in1", 1400).unwrap_err().to_string();
            assert!(error.contains("there is an interface named pptp-in1 already"), "{error}");
            // An interface that somebody deletes fells no worker.
            ip("link del pptp-in1");
            access.send(&subscriber.encrypt(GATEWAY, &[1]));
            eventually("the packet is counted as refused", || {
                port(&handle)?.drops.iter().any(|(_, count)| *count > 0).then_some(())
            });
            handle.stop();
        }
    });
}

#[test]
fn a_name_that_no_interface_can_have_is_refused() {
    in_namespace(|| {
        let (handle, _events) = start(1);
        for name in ["", "sixteen-letters-"] {
            let said = handle.device(name, 1400).unwrap_err().to_string();
            assert!(said.contains("1 to 15 bytes"), "{said}");
        }
        handle.stop();
    });
}

/// RFC 1812 §5.2.7.1.
#[test]
fn the_kernel_learns_that_a_pool_address_has_no_session() {
    in_namespace(|| {
        let (handle, _events) = start(1);
        let socket = UdpSocket::bind((GATEWAY, 0)).unwrap();
        socket.connect((Ipv4Addr::new(10, 9, 9, 9), 9)).unwrap();
        // A datagram socket hears of errors that may pass only if it asks.
        setsockopt(&socket, Ipv4RecvErr, &true).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket.send(b"anyone there?").unwrap();
        let answer = socket.recv(&mut [0; 64]).unwrap_err();
        assert_eq!(answer.kind(), std::io::ErrorKind::HostUnreachable);
        handle.stop();
    });
}

#[test]
fn control_frames_reach_the_control_plane_and_wake_it() {
    in_namespace(|| {
        let (handle, mut events) = start(1);
        let mut access = Access::open();
        let mut subscriber = dial(&handle, (LOCAL, PEER), 5, Ipv4Addr::new(10, 9, 0, 5), 1456);
        let lcp = [0xC0, 0x21, 11, 1, 0, 8, 1, 2, 3, 4];
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for _ in 0..3 {
            access.send(&subscriber.frame(&[&[0xFF, 0x03], &lcp[..]].concat()));
            let Event::Control { frame, .. } = runtime.block_on(events.next()) else {
                panic!("a control frame")
            };
            assert_eq!(*frame, lcp);
        }
    });
}
