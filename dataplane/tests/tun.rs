//! TUN: the kernel's TCP crosses two devices with offloads, checksums are finished, errors tell.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use common::{CAP_NET_ADMIN, eventually, give_up, in_namespace, ip};
use dataplane::frame::{Frame, Pool, Region};
use dataplane::io::offload::checksum::Sum;
use dataplane::io::tun::{TunConfig, TunError, TunPort};
use dataplane::io::{Port, PortDrop};

const FRAMES: u32 = 1024;
const MTU: u16 = 1400;

fn config(queues: u16, host: u8) -> TunConfig {
    TunConfig {
        name: "inner".to_owned(),
        queues,
        mtu: MTU,
        address: Some((Ipv4Addr::new(10, 9, 0, host), 24)),
    }
}

/// Checks lengths and checksums of an IPv4 packet that carries TCP or UDP.
fn assert_sound(packet: &[u8]) {
    assert!(packet.len() <= usize::from(MTU));
    assert_eq!(usize::from(u16::from_be_bytes([packet[2], packet[3]])), packet.len());
    let (header, transport) = packet.split_at(usize::from(packet[0] & 15) * 4);
    assert!(Sum::default().with(header).is_valid(), "IP checksum");
    let length = u16::try_from(transport.len()).unwrap();
    let sum = Sum::default().with_pseudo_header(&header[12..20], header[9], length).with(transport);
    assert!(sum.is_valid(), "transport checksum");
}

fn is_ipv4(frame: &Frame) -> bool {
    frame.data()[0] >> 4 == 4
}

/// Packets that the device took from us and gave us, as the kernel of the thread's namespace
/// counts them.
fn packets_of_the_kernel() -> [u64; 2] {
    let table = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let line = table.lines().find_map(|line| line.trim().strip_prefix("inner:")).unwrap();
    let numbers: Vec<u64> = line.split_whitespace().map(|word| word.parse().unwrap()).collect();
    [numbers[1], numbers[9]]
}

/// Two namespaces, a device in each: what the kernel sends into one comes out of the other.
#[test]
fn tcp_of_the_kernel_crosses_two_devices_whole_and_in_proper_segments() {
    const BYTES: usize = 16 << 20;
    let byte = |at: usize| (at.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0];
    let (give, devices) = mpsc::channel();
    let (listening, wait) = mpsc::channel();
    let (count, counts) = mpsc::channel();
    let (give_too, count_too, finished) = (give.clone(), count.clone(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(move || {
            in_namespace(move || {
                give.send(TunPort::create(&config(1, 1)).unwrap().remove(0)).unwrap();
                let listener = TcpListener::bind("10.9.0.1:7777").unwrap();
                listening.send(()).unwrap();
                let (mut stream, _) = listener.accept().unwrap();
                let mut received = Vec::new();
                stream.read_to_end(&mut received).unwrap();
                assert_eq!(received.len(), BYTES);
                assert!(received.iter().enumerate().all(|(at, &one)| one == byte(at)));
                stream.write_all(b"thanks").unwrap();
                let [taken, _] = packets_of_the_kernel();
                count.send(taken).unwrap();
            });
        });
        let client = scope.spawn(move || {
            in_namespace(move || {
                give_too.send(TunPort::create(&config(1, 2)).unwrap().remove(0)).unwrap();
                wait.recv().unwrap();
                let mut stream = TcpStream::connect("10.9.0.1:7777").unwrap();
                stream.write_all(&(0..BYTES).map(byte).collect::<Vec<_>>()).unwrap();
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                assert_eq!(answer, "thanks");
                let [_, given] = packets_of_the_kernel();
                count_too.send(given).unwrap();
            });
        });
        let finished = &finished;
        let bridge = scope.spawn(move || {
            let region = Region::new(FRAMES).unwrap();
            let mut pool = Pool::new(region, 256);
            let mut ports = [devices.recv().unwrap(), devices.recv().unwrap()];
            let mut burst = Vec::new();
            while !finished.load(Ordering::Relaxed) {
                let mut idle = true;
                for (from, to) in [(0, 1), (1, 0)] {
                    ports[from].receive(&mut pool, &mut burst, 64);
                    assert!(burst.len() <= 64);
                    burst.iter().filter(|frame| is_ipv4(frame)).for_each(|frame| {
                        assert_sound(frame.data());
                    });
                    idle &= burst.is_empty();
                    ports[to].transmit(&mut pool, &mut burst);
                    assert!(burst.is_empty());
                }
                if idle {
                    std::thread::sleep(std::time::Duration::from_micros(50));
                }
                assert_eq!(region.depot().len() + pool.len(), FRAMES as usize);
            }
            for port in &ports {
                assert_eq!(port.counters().dropped_total(), 0);
            }
            let segments = ports.iter().map(|port| port.counters().sent_packets.get()).max();
            assert!(segments > Some(BYTES as u64 / u64::from(MTU)));
            for large in counts {
                assert!(Some(large * 2) < segments, "{large} packets for {segments:?} segments");
            }
        });
        let outcome = client.join();
        finished.store(true, Ordering::Relaxed);
        bridge.join().unwrap();
        outcome.unwrap();
    });
}

#[test]
fn an_unfinished_udp_checksum_is_finished() {
    in_namespace(|| {
        let mut pool = Pool::new(Region::new(FRAMES).unwrap(), 64);
        let mut port = TunPort::create(&config(1, 1)).unwrap().remove(0);
        let socket = UdpSocket::bind("10.9.0.1:0").unwrap();
        for len in 1..1000 {
            socket.send_to(&vec![0x5a; len], "10.9.0.77:9").unwrap();
            let mut arrived = Vec::new();
            let datagram = eventually("a datagram", || {
                port.receive(&mut pool, &mut arrived, 8);
                arrived.retain(is_ipv4);
                arrived.pop()
            });
            assert_eq!(datagram.len(), 28 + len);
            assert_sound(datagram.data());
        }
    });
}

#[test]
fn every_queue_takes_packets_to_the_kernel() {
    in_namespace(|| {
        let mut pool = Pool::new(Region::new(FRAMES).unwrap(), 64);
        let mut ports = TunPort::create(&config(2, 1)).unwrap();
        let socket = UdpSocket::bind("10.9.0.1:4000").unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        for (number, port) in (1_u8..).zip(&mut ports) {
            // 10.9.0.5:4001 to 10.9.0.1:4000, checksum not used (RFC 768).
            let mut packet =
                vec![0x45, 0, 0, 29, 0, 0, 0, 0, 64, 17, 0, 0, 10, 9, 0, 5, 10, 9, 0, 1];
            let sum = Sum::default().with(&packet).complement();
            packet[10..12].copy_from_slice(&sum);
            packet.extend_from_slice(&[0x0f, 0xa1, 0x0f, 0xa0, 0, 9, 0, 0, number]);
            let mut frame = pool.take().unwrap();
            assert!(frame.fill(&packet));
            port.transmit(&mut pool, &mut vec![frame]);
            let mut datagram = [0; 10];
            let (len, from) = socket.recv_from(&mut datagram).unwrap();
            assert_eq!(
                (&datagram[..len], from.to_string()),
                (&[number][..], "10.9.0.5:4001".into())
            );
            assert_eq!(port.counters().sent_bytes.get(), 29);
        }
    });
}

#[test]
fn packets_that_the_kernel_refuses_are_counted_and_so_are_those_it_had_no_room_for() {
    in_namespace(|| {
        let region = Region::new(FRAMES).unwrap();
        let mut pool = Pool::new(region, 64);
        let mut port = TunPort::create(&config(1, 1)).unwrap().remove(0);
        let socket = UdpSocket::bind("10.9.0.1:0").unwrap();
        for _ in 0..2000 {
            let _ = socket.send_to(&[0; 100], "10.9.0.77:9");
        }
        port.refresh_counters();
        assert!(port.counters().dropped(PortDrop::SocketQueue).get() > 0);

        ip("link set inner down");
        let mut frame = pool.take().unwrap();
        assert!(frame.fill(&[0x45; 40]));
        port.transmit(&mut pool, &mut vec![frame]);
        assert_eq!(port.counters().dropped(PortDrop::TransmitRefused).get(), 1);
        assert_eq!(region.depot().len() + pool.len(), FRAMES as usize);
    });
}

#[test]
fn what_cannot_be_made_is_refused_in_the_operators_words() {
    in_namespace(|| {
        let ports = TunPort::create(&config(2, 1)).unwrap();
        let taken = TunPort::create(&config(2, 1)).unwrap_err();
        assert_eq!(
            taken.to_string(),
            "there is an interface named inner already, perhaps of another instance: choose \
             another name"
        );
        drop(ports);
        let again = TunPort::create(&config(1, 1));
        assert!(again.is_ok(), "a device goes with its last queue");
        drop(again);
        ip("link add inner type veth peer name other");
        assert!(matches!(TunPort::create(&config(1, 1)), Err(TunError::NameTaken(_))));
        for invalid in [
            TunConfig { name: "a-name-that-is-too-long".to_owned(), ..config(1, 1) },
            TunConfig { name: String::new(), ..config(1, 1) },
            TunConfig { mtu: 67, ..config(1, 1) },
            TunConfig { mtu: 3713, ..config(1, 1) },
            TunConfig { queues: 0, ..config(1, 1) },
            TunConfig { address: Some((Ipv4Addr::LOCALHOST, 33)), ..config(1, 1) },
        ] {
            assert!(matches!(TunPort::create(&invalid), Err(TunError::Invalid(_))));
        }
        give_up(CAP_NET_ADMIN);
        let denied = TunPort::create(&TunConfig { name: "mine".to_owned(), ..config(1, 1) });
        assert!(matches!(denied, Err(TunError::Permission(_))));
    });
}
