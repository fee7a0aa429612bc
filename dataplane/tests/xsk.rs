//! AF_XDP on veth: packets cross byte-exact, on every queue, and no frame is ever lost.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "common/frames.rs"]
mod frames;
#[path = "common/redirect.rs"]
mod redirect;

use std::os::fd::AsFd;

use common::{CAP_IPC_LOCK, CAP_NET_RAW, eventually, give_up, in_namespace, ip};
use dataplane::frame::{Frame, Pool, Region};
use dataplane::io::xsk::{BusyPoll, XskConfig, XskError, XskMode, XskPort};
use dataplane::io::{Port, PortDrop};
use frames::{carry, config, packet, total};
use redirect::Redirect;

const FRAMES: u32 = 4096;
/// Octets of the longest packet: what fits a chunk, and more than most networks carry.
const LONGEST: usize = 3460;

fn veth(queues: u32) {
    ip(&format!(
        "link add near numrxqueues {queues} numtxqueues {queues} type veth \
         peer name far numrxqueues {queues} numtxqueues {queues}"
    ));
    for end in ["near", "far"] {
        ip(&format!("link set {end} mtu 3490 up"));
    }
}

#[test]
fn packets_cross_both_ways_on_two_queues_and_frames_sum_to_the_total() {
    in_namespace(|| {
        veth(2);
        let region = Region::new(FRAMES).unwrap();
        let mut pool = Pool::new(region, 256);
        let programs = ["near", "far"].map(Redirect::attach);
        let mut queues = [0, 1].map(|queue| {
            ["near", "far"].map(|end| XskPort::open(&config(end, queue), &mut pool).unwrap())
        });
        for (queue, ports) in (0..).zip(&queues) {
            for (program, port) in programs.iter().zip(ports) {
                program.register(queue, port.as_fd());
                assert_eq!(port.mode(), XskMode::Copy, "veth has no zero-copy");
            }
        }
        for [near, far] in &mut queues {
            carry(&mut pool, near, far, 2_000, LONGEST);
            carry(&mut pool, far, near, 2_000, LONGEST);
            assert_eq!(near.counters().received_packets.get(), 2_000);
            assert_eq!(near.counters().sent_packets.get(), 2_000);
            assert_eq!(far.counters().received_bytes.get(), near.counters().sent_bytes.get());
            for port in [near, far] {
                port.refresh_counters();
                assert_eq!(port.counters().dropped_total(), 0, "{:?}", port.statistics());
            }
        }
        let ports: Vec<_> = queues.iter().flatten().collect();
        assert_eq!(total(region, &pool, &ports, 0), FRAMES as usize);
        drop(queues);
        assert_eq!(total(region, &pool, &[], 0), FRAMES as usize);
    });
}

/// An Ethernet frame with PPTP's GRE (RFC 2637 §4.1) from 192.0.2.9 to 192.0.2.1.
fn pptp(pool: &mut Pool, call_id: u8) -> Frame {
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00];
    bytes.extend_from_slice(&[0x45, 0, 0, 36, 0, 0, 0, 0, 64, 47, 0, 0]);
    bytes.extend_from_slice(&[192, 0, 2, 9, 192, 0, 2, 1]);
    bytes.extend_from_slice(&[0x30, 0x01, 0x88, 0x0b, 0, 4, 0, call_id, 0, 0, 0, 1, 1, 2, 3, 4]);
    let mut frame = pool.take().unwrap();
    assert!(frame.fill(&bytes));
    frame
}

#[test]
fn the_steering_program_brings_a_known_tunnel_to_the_socket_of_its_queue() {
    in_namespace(|| {
        veth(2);
        let mut pool = Pool::new(Region::new(FRAMES).unwrap(), 256);
        let mut steering = ebpf::Steering::load(ebpf::Capacity::default()).unwrap();
        let roles = [(ebpf::Tags::None, ebpf::Roles::Access)];
        let port = steering.attach("far", &roles, 2).unwrap();
        assert_eq!(port.mode, ebpf::Mode::Native);
        let mut far = [0, 1].map(|queue| {
            let socket = XskPort::open(&config("far", queue), &mut pool).unwrap();
            steering.register_socket(port.ifindex, queue, &socket).unwrap();
            socket
        });
        steering.insert_listener([192, 0, 2, 1].into()).unwrap();
        steering.insert_tunnel([192, 0, 2, 9].into(), 7).unwrap();

        // What is sent by a queue of one end arrives by the same queue of the other.
        let mut near = XskPort::open(&config("near", 1), &mut pool).unwrap();
        let mut burst = vec![pptp(&mut pool, 8), pptp(&mut pool, 7), packet(&mut pool, 0, 100)];
        near.transmit(&mut pool, &mut burst);
        let mut arrived = Vec::new();
        eventually("the tunnel's packet arrives", || {
            near.flush(&mut pool);
            far[1].receive(&mut pool, &mut arrived, 64);
            (!arrived.is_empty()).then_some(())
        });
        assert_eq!(arrived.len(), 1);
        assert_eq!(arrived[0].data(), pptp(&mut pool, 7).data());
        far[0].receive(&mut pool, &mut arrived, 64);
        assert_eq!(arrived.len(), 1);
    });
}

#[test]
fn packets_cross_with_busy_polling_too() {
    in_namespace(|| {
        veth(1);
        let mut pool = Pool::new(Region::new(FRAMES).unwrap(), 256);
        let busy_poll = BusyPoll { duration: std::time::Duration::from_micros(20), budget: 64 };
        let [mut near, mut far] = ["near", "far"].map(|end| {
            let config = XskConfig { busy_poll: Some(busy_poll), ..config(end, 0) };
            XskPort::open(&config, &mut pool).unwrap()
        });
        let program = Redirect::attach("far");
        program.register(0, far.as_fd());
        carry(&mut pool, &mut near, &mut far, 500, LONGEST);
    });
}

#[test]
fn a_burst_beyond_one_kick_drains_by_repeated_flushes() {
    in_namespace(|| {
        veth(1);
        let region = Region::new(FRAMES).unwrap();
        let mut pool = Pool::new(region, 256);
        let program = Redirect::attach("far");
        let mut near = XskPort::open(&config("near", 0), &mut pool).unwrap();
        let mut far = XskPort::open(&config("far", 0), &mut pool).unwrap();
        program.register(0, far.as_fd());
        let mut burst: Vec<_> = (0..200).map(|mark| packet(&mut pool, mark, 100)).collect();
        near.transmit(&mut pool, &mut burst);
        eventually("the ring drains", || (!near.flush(&mut pool)).then_some(()));
        let mut arrived = Vec::new();
        eventually("all arrive", || {
            far.receive(&mut pool, &mut arrived, 256);
            (arrived.len() == 200).then_some(())
        });
        assert_eq!(total(region, &pool, &[&near, &far], arrived.len()), FRAMES as usize);
    });
}

#[test]
fn a_transmit_ring_that_stalls_holds_one_ring_of_frames_and_counts_the_rest() {
    in_namespace(|| {
        veth(1);
        let region = Region::new(FRAMES).unwrap();
        let mut pool = Pool::new(region, 256);
        let mut near = XskPort::open(&config("near", 0), &mut pool).unwrap();
        let filled = near.held();
        ip("link set near down");
        for _ in 0..4 {
            let mut burst: Vec<_> = (0..100).map(|mark| packet(&mut pool, mark, 100)).collect();
            near.transmit(&mut pool, &mut burst);
            near.flush(&mut pool);
        }
        assert!(near.held() <= filled + 256, "at most one ring is in flight");
        assert_eq!(near.counters().dropped(PortDrop::TransmitFull).get(), 400 - 256);
        assert_eq!(total(region, &pool, &[&near], 0), FRAMES as usize);
    });
}

#[test]
fn an_empty_fill_ring_and_a_full_receive_ring_are_counted_packet_by_packet() {
    in_namespace(|| {
        veth(1);
        let region = Region::new(FRAMES).unwrap();
        let mut pool = Pool::new(region, 256);
        let program = Redirect::attach("far");
        let mut near = XskPort::open(&config("near", 0), &mut pool).unwrap();
        let mut far = XskPort::open(&config("far", 0), &mut pool).unwrap();
        program.register(0, far.as_fd());
        let mut send = |pool: &mut Pool, count: u32| {
            for mark in 0..count {
                let mut burst = vec![packet(pool, mark, 100)];
                near.transmit(pool, &mut burst);
                while near.flush(pool) {}
            }
            near.counters().sent_packets.get()
        };
        let drops = |far: &mut XskPort| {
            far.refresh_counters();
            [PortDrop::XdpReceive, PortDrop::XdpReceiveRing]
                .map(|reason| far.counters().dropped(reason).get())
        };
        // As many as the fill ring had arrive, and nobody takes them.
        assert_eq!(send(&mut pool, 300), 300);
        eventually("the others are counted", || (drops(&mut far) == [44, 0]).then_some(()));
        // Now there are frames, and no place to put them.
        far.flush(&mut pool);
        assert_eq!(send(&mut pool, 100), 400);
        eventually("they are counted apart", || (drops(&mut far) == [44, 100]).then_some(()));
        let mut arrived = Vec::new();
        far.receive(&mut pool, &mut arrived, 1024);
        assert_eq!(arrived.len(), 256);
        assert_eq!(total(region, &pool, &[&near, &far], arrived.len()), FRAMES as usize);
    });
}

#[test]
fn what_waits_when_its_interface_goes_is_refused_and_not_sent() {
    in_namespace(|| {
        veth(1);
        let region = Region::new(FRAMES).unwrap();
        let mut pool = Pool::new(region, 256);
        let mut near = XskPort::open(&config("near", 0), &mut pool).unwrap();
        let counted = |near: &XskPort| {
            let refused = near.counters().dropped(PortDrop::TransmitRefused).get();
            (near.counters().sent_packets.get(), near.counters().sent_bytes.get(), refused)
        };
        let mut send = |near: &mut XskPort, count: u32| {
            let mut burst: Vec<_> = (0..count).map(|mark| packet(&mut pool, mark, 100)).collect();
            near.transmit(&mut pool, &mut burst);
            while near.flush(&mut pool) {}
            assert_eq!(total(region, &pool, &[&*near], 0), FRAMES as usize);
        };
        send(&mut near, 10);
        ip("link set near down");
        send(&mut near, 20);
        assert_eq!(counted(&near), (10, 1000, 0));
        ip("link set near up");
        send(&mut near, 0);
        assert_eq!(counted(&near), (30, 3000, 0), "they have waited");
        ip("link set near down");
        send(&mut near, 40);
        ip("link del near");
        send(&mut near, 0);
        assert_eq!(counted(&near), (30, 3000, 40));
        send(&mut near, 5);
        assert_eq!(counted(&near), (30, 3000, 45));
    });
}

#[test]
fn empty_and_foreign_frames_are_refused_and_kept() {
    in_namespace(|| {
        veth(1);
        let (region, other) = (Region::new(FRAMES).unwrap(), Region::new(64).unwrap());
        let mut pool = Pool::new(region, 256);
        let mut near = XskPort::open(&config("near", 0), &mut pool).unwrap();
        let mut foreign = Pool::new(other, 64).take().unwrap();
        assert!(foreign.fill(&[1; 60]));
        let mut burst = vec![pool.take().unwrap(), foreign];
        near.transmit(&mut pool, &mut burst);
        near.flush(&mut pool);
        assert_eq!(near.counters().dropped(PortDrop::TransmitRefused).get(), 2);
        assert_eq!(near.counters().sent_packets.get(), 0);
        assert_eq!(total(region, &pool, &[&near], 0), FRAMES as usize);
        assert_eq!(other.depot().len(), 64);
    });
}

#[test]
fn a_queue_can_be_opened_again_right_after_it_was_closed() {
    in_namespace(|| {
        veth(1);
        let region = Region::new(FRAMES).unwrap();
        let mut pool = Pool::new(region, 256);
        for _ in 0..3 {
            drop(XskPort::open(&config("near", 0), &mut pool).unwrap());
        }
    });
}

#[test]
fn what_cannot_work_is_refused_in_the_operators_words() {
    in_namespace(|| {
        veth(1);
        let mut pool = Pool::new(Region::new(FRAMES).unwrap(), 256);
        let mut open = |config: &XskConfig| XskPort::open(config, &mut pool);
        let odd = XskConfig { ring_size: 100, ..config("near", 0) };
        assert!(matches!(open(&odd), Err(XskError::RingSize(100))));
        let zero_copy = XskConfig { mode: Some(XskMode::ZeroCopy), ..config("near", 0) };
        assert!(matches!(open(&zero_copy), Err(XskError::NoZeroCopy(_))));
        assert!(matches!(open(&config("nowhere", 0)), Err(XskError::NoInterface(_))));
        assert!(matches!(open(&config("near", 5)), Err(XskError::Refused { queue: 5, .. })));
        let _first = open(&config("near", 0)).unwrap();
        let busy = open(&config("near", 0)).unwrap_err();
        assert_eq!(
            busy.to_string(),
            "queue 0 of near is in use by another AF_XDP socket; `ss --xdp -e -p` names its process"
        );
    });
}

#[test]
fn the_number_of_queues_is_the_drivers() {
    in_namespace(|| {
        veth(3);
        assert_eq!(XskPort::queues("near").unwrap(), 3);
        assert_eq!(XskPort::queues("lo").unwrap(), 1);
        assert!(matches!(XskPort::queues("nowhere"), Err(XskError::NoInterface(_))));
    });
}

#[test]
fn missing_rights_are_told_in_the_operators_words() {
    in_namespace(|| {
        veth(1);
        let mut pool = Pool::new(Region::new(FRAMES).unwrap(), 256);
        give_up(CAP_IPC_LOCK);
        // The process's limit, which no other test needs as long as it has the capability.
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the limit lives through the call.
        assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) }, 0);
        limit.rlim_cur = limit.rlim_max.min(1 << 20);
        // SAFETY: as above.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) }, 0);
        let locked = XskPort::open(&config("near", 0), &mut pool).unwrap_err();
        assert_eq!(
            locked.to_string(),
            "the memlock limit is below what packet memory needs (16 MiB for each queue): give \
             the service CAP_IPC_LOCK, or set LimitMEMLOCK=infinity (ulimit -l unlimited)"
        );
        give_up(CAP_NET_RAW);
        let denied = XskPort::open(&config("near", 0), &mut pool).unwrap_err();
        assert!(matches!(denied, XskError::Permission));
    });
}
