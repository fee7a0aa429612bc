//! The raw GRE socket: every worker gets its own tunnels and nothing else, packets go out as the
//! worker made them, long ones in fragments.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{CAP_NET_ADMIN, CAP_NET_RAW, eventually, give_up, in_namespace, ip};
use dataplane::frame::{CAPACITY, Frame, Pool, Region};
use dataplane::io::raw::{RawError, RawPort};
use dataplane::io::{Port, PortDrop};

const FRAMES: usize = 512;

/// An IPv4 packet of protocol 47 from 127.0.0.2 to 127.0.0.3 around `gre`.
fn ipv4(options: &[u8], gre: &[u8]) -> Vec<u8> {
    let header = 20 + options.len();
    let mut packet = vec![0x40 | u8::try_from(header / 4).unwrap(), 0, 0, 0];
    packet.extend_from_slice(&[0, 0, 0, 0, 64, 47, 0, 0]);
    packet.extend_from_slice(&[127, 0, 0, 2, 127, 0, 0, 3]);
    packet.extend_from_slice(options);
    packet.extend_from_slice(gre);
    packet
}

/// Enhanced GRE (RFC 2637 §4.1) with a sequence number and `len` octets of payload.
fn gre(call_id: u16, len: usize) -> Vec<u8> {
    let mut header = vec![0x30, 0x01, 0x88, 0x0b];
    header.extend_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
    header.extend_from_slice(&call_id.to_be_bytes());
    header.extend_from_slice(&[0, 0, 0, 1]);
    header.extend((0_u32..).take(len).map(|at| at.to_le_bytes()[0]));
    header
}

fn frame(pool: &mut Pool, bytes: &[u8]) -> Frame {
    let mut frame = pool.take().unwrap();
    assert!(frame.fill(bytes));
    frame
}

fn transmit(port: &mut RawPort, pool: &mut Pool, packets: &[Vec<u8>]) {
    let mut frames = packets.iter().map(|bytes| frame(pool, bytes)).collect();
    port.transmit(pool, &mut frames);
    assert!(frames.is_empty());
}

fn call_ids(frames: &[Frame]) -> Vec<u16> {
    frames
        .iter()
        .map(|frame| {
            let header = usize::from(frame.data()[0] & 15) * 4;
            u16::from_be_bytes([frame.data()[header + 6], frame.data()[header + 7]])
        })
        .collect()
}

fn receive(port: &mut RawPort, pool: &mut Pool, count: usize) -> Vec<Frame> {
    let mut arrived = Vec::new();
    eventually("packets arrive", || {
        port.receive(pool, &mut arrived, 256);
        (arrived.len() >= count).then_some(())
    });
    arrived
}

#[test]
fn every_worker_gets_its_share_and_foreign_gre_reaches_nobody() {
    in_namespace(|| {
        let region = Region::new(512).unwrap();
        let mut pool = Pool::new(region, 64);
        let mut workers: Vec<_> = (0..3).map(|n| RawPort::open(n, 3).unwrap()).collect();
        let mut foreign = vec![
            ipv4(&[], &[0x30, 0x00, 0x88, 0x0b, 0, 0, 0, 3]),
            ipv4(&[], &[0x30, 0x02, 0x88, 0x0b, 0, 0, 0, 3]),
            ipv4(&[], &[0x30, 0x01, 0x08, 0x00, 0, 0, 0, 3]),
        ];
        foreign.extend((0..8).map(|len| ipv4(&[], &gre(3, 4)[..len])));
        transmit(&mut workers[0], &mut pool, &foreign);
        let own: Vec<_> = [0, 1, 2, 3, 65_535, 65_534, 40_001]
            .map(|call_id| ipv4(&[], &gre(call_id, 50)))
            .into_iter()
            .chain([ipv4(&[1, 1, 1, 0], &gre(7, 50))])
            .collect();
        transmit(&mut workers[0], &mut pool, &own);

        let expected: [&[u16]; 3] = [&[0, 3, 65_535], &[1, 7], &[2, 65_534, 40_001]];
        for (port, expected) in workers.iter_mut().zip(expected) {
            // Loopback delivers within the send call, so what is not here now never comes.
            let mut expected = expected.to_vec();
            let mut ids = call_ids(&receive(port, &mut pool, expected.len()));
            ids.sort_unstable();
            expected.sort_unstable();
            assert_eq!(ids, expected);
            assert_eq!(port.counters().received_packets.get(), expected.len() as u64);
        }
        drop(workers);
        assert_eq!(region.depot().len() + pool.len(), FRAMES);
    });
}

#[test]
fn a_packet_keeps_its_source_and_bytes_and_gets_length_and_checksum() {
    in_namespace(|| {
        let mut pool = Pool::new(Region::new(512).unwrap(), 64);
        let mut port = RawPort::open(0, 1).unwrap();
        let sent = ipv4(&[], &gre(9, 1000));
        transmit(&mut port, &mut pool, std::slice::from_ref(&sent));
        let arrived = receive(&mut port, &mut pool, 1);
        let data = arrived[0].data();
        assert_eq!(data[2..4], u16::try_from(sent.len()).unwrap().to_be_bytes());
        assert_eq!(data[6] & 0x40, 0, "DF is the sender's choice");
        assert_eq!(data[12..], sent[12..]);
        let sum: u32 = data[..20]
            .chunks(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
        assert_eq!(port.counters().sent_bytes.get(), sent.len() as u64);
    });
}

#[test]
fn a_packet_beyond_the_mtu_goes_in_fragments_and_arrives_whole() {
    in_namespace(|| {
        ip("link set lo mtu 1000");
        let mut pool = Pool::new(Region::new(512).unwrap(), 64);
        let mut port = RawPort::open(0, 1).unwrap();
        let long = ipv4(&[], &gre(5, 2500));
        let mut fixed = long.clone();
        fixed[6] = 0x40;
        transmit(
            &mut port,
            &mut pool,
            &[ipv4(&[], &gre(4, 50)), long.clone(), fixed, ipv4(&[], &gre(6, 50))],
        );
        let arrived = receive(&mut port, &mut pool, 3);
        let mut ids = call_ids(&arrived);
        ids.sort_unstable();
        assert_eq!(ids, [4, 5, 6]);
        let whole = arrived.iter().find(|frame| frame.len() > 1000).unwrap();
        assert_eq!(whole.data()[12..], long[12..]);
        assert_eq!(port.counters().dropped(PortDrop::TransmitRefused).get(), 1, "DF was set");
        assert_eq!(port.counters().sent_packets.get(), 3);
    });
}

#[test]
fn what_no_frame_holds_is_counted_and_so_is_what_is_no_packet() {
    in_namespace(|| {
        let region = Region::new(512).unwrap();
        let mut pool = Pool::new(region, 64);
        let mut port = RawPort::open(0, 1).unwrap();
        let huge = ipv4(&[], &gre(2, 20_000));
        let sender = send_plainly(&huge);
        assert_eq!(sender, huge.len());
        transmit(&mut port, &mut pool, &[vec![0x45; 19], vec![0x60; 40], ipv4(&[], &gre(1, 10))]);
        let arrived = receive(&mut port, &mut pool, 1);
        assert_eq!(call_ids(&arrived), [1]);
        assert_eq!(port.counters().dropped(PortDrop::TooLong).get(), 1);
        assert_eq!(port.counters().dropped(PortDrop::Malformed).get(), 2);
        drop(arrived);
        assert_eq!(region.depot().len() + pool.len(), FRAMES);
    });
}

#[test]
fn what_the_kernel_could_not_queue_is_counted() {
    in_namespace(|| {
        let mut pool = Pool::new(Region::new(512).unwrap(), 64);
        let mut port = RawPort::open(0, 1).unwrap();
        assert!(port.receive_buffer() >= 16 << 20, "root passes the system's limit");
        let packet = ipv4(&[], &gre(1, CAPACITY - 100));
        for _ in 0..100 {
            transmit(&mut port, &mut pool, &vec![packet.clone(); 64]);
        }
        let mut arrived = Vec::new();
        let mut received = 0;
        loop {
            port.receive(&mut pool, &mut arrived, 64);
            if arrived.is_empty() {
                break;
            }
            received += arrived.len() as u64;
            pool.put_all(&mut arrived);
        }
        port.refresh_counters();
        let drops = port.counters().dropped(PortDrop::SocketQueue).get();
        assert!(drops > 0);
        assert_eq!(received + drops, port.counters().sent_packets.get());
        port.refresh_counters();
        assert_eq!(port.counters().dropped(PortDrop::SocketQueue).get(), drops);
    });
}

#[test]
fn what_cannot_be_opened_is_refused_in_the_operators_words() {
    in_namespace(|| {
        assert!(matches!(RawPort::open(2, 2), Err(RawError::Share { worker: 2, workers: 2 })));
        assert!(matches!(RawPort::open(0, 0), Err(RawError::Share { .. })));
        give_up(CAP_NET_ADMIN);
        let port = RawPort::open(0, 1).unwrap();
        assert!(port.receive_buffer() < 16 << 20, "the system's limit holds");
        give_up(CAP_NET_RAW);
        assert_eq!(
            RawPort::open(0, 1).unwrap_err().to_string(),
            "the GRE socket needs CAP_NET_RAW: run as root or give the service that capability"
        );
    });
}

/// Sends a packet longer than any frame, from a plain socket.
fn send_plainly(packet: &[u8]) -> usize {
    use std::os::fd::AsRawFd;

    use nix::sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
    };
    let fd =
        socket(AddressFamily::Inet, SockType::Raw, SockFlag::empty(), SockProtocol::Raw).unwrap();
    sendto(fd.as_raw_fd(), packet, &SockaddrIn::new(127, 0, 0, 3, 0), MsgFlags::empty()).unwrap()
}
