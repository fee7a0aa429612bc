//! Workers on threads of their own, between memory ports: they wake each other, hand packets over,
//! and lose none.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::net::Ipv4Addr;

use common::subscriber::packet;
use common::{dial, eventually};
use dataplane::api::config::{Kernel, PortReport};
use dataplane::api::{Config, Event, Role, StartError};
use dataplane::frame::{Pool, Region};
use dataplane::io::Link;
use dataplane::io::memory::{MemoryPort, cable};
use dataplane::mppe::Unavailable;
use dataplane::{Attachment, DataPlane, Kind};

const FRAMES: u32 = 4096;
const LOCAL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const FAR: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 9);

fn attach(name: &str, kind: Kind, role: Role) -> (Attachment, MemoryPort) {
    let (near, far) = cable(Link::Ip, 256);
    let report = PortReport {
        name: name.to_owned(),
        driver: "memory",
        queue: 0,
        role,
        lines: Vec::new(),
        mode: String::new(),
    };
    (Attachment { kind, report, port: Box::new(near), lines: Vec::new() }, far)
}

#[test]
fn two_threads_hand_every_packet_over_and_lose_none() {
    let region = Region::new(FRAMES).unwrap();
    let mut pool = Pool::new(region, 64);
    let (mut ports, mut far) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let (raw, far_raw) = attach("gre", Kind::Raw, Role::Access);
        let (tun, far_tun) = attach("tun", Kind::Tun, Role::Core);
        ports.push(vec![raw, tun]);
        far.push((far_raw, far_tun));
    }
    let config = Config { workers: 2, balance: false, ..Config::default() };
    let (handle, mut events) = DataPlane::launch(&config, region, ports).unwrap();
    let mut subscribers: Vec<_> = (0..8_u16)
        .map(|call_id| {
            let inner = Ipv4Addr::from_bits(0x0A00_0000 + u32::from(call_id));
            dial(&handle, (LOCAL, PEER), call_id, inner, 1456)
        })
        .collect();

    let send = |pool: &mut Pool, port: &MemoryPort, bytes: &[u8]| {
        let mut frame = pool.take().unwrap();
        assert!(frame.fill(bytes));
        assert!(port.push(frame).is_ok(), "the cable has room for a round");
    };
    let rounds = 200;
    for round in 0..rounds {
        for (call_id, subscriber) in subscribers.iter_mut().enumerate() {
            // Always by the other worker's ports.
            let wrong = 1 - call_id % 2;
            send(&mut pool, &far[wrong].0, &subscriber.encrypt(FAR, &[round; 40]));
            send(&mut pool, &far[wrong].1, &packet(FAR, subscriber.inner, &[round; 40]));
        }
        for (worker, (raw, tun)) in far.iter().enumerate() {
            for subscriber in subscribers.iter_mut().skip(worker).step_by(2) {
                let up = eventually("the uplink", || tun.pop());
                assert_eq!(up.data(), packet(subscriber.inner, FAR, &[round; 40]));
                pool.put(up);
                let down = eventually("the downlink", || raw.pop());
                assert_eq!(
                    subscriber.decrypt(down.data()),
                    packet(FAR, subscriber.inner, &[round; 40])
                );
                pool.put(down);
            }
        }
    }
    send(&mut pool, &far[0].0, &subscribers[0].frame(&[0xC0, 0x21, 9, 1, 0, 4]));
    let Event::Control { frame, .. } = eventually("the event", || events.try_next()) else {
        panic!("a control frame")
    };
    assert_eq!(*frame, [0xC0, 0x21, 9, 1, 0, 4]);

    let totals = handle.totals();
    assert_eq!(totals.drops().total(), 0, "{:?}", totals.workers);
    let handed: u64 = totals.workers.iter().map(|worker| worker.handed_over).sum();
    assert_eq!(handed, 2 * 8 * u64::from(rounds));
    handle.stop();
    drop(far);
    assert_eq!(region.depot().len() + pool.len(), FRAMES as usize, "all frames came home");
}

#[test]
fn an_mppe_kernel_that_is_asked_for_is_taken_or_refused() {
    let region = Region::new(64).unwrap();
    for kernel in [Kernel::Avx512, Kernel::Avx2, Kernel::Portable] {
        let config = Config { mppe: Some(kernel), ..Config::default() };
        let launched = DataPlane::launch(&config, region, vec![Vec::new()]);
        if Kernel::available().any(|available| available == kernel) {
            let (handle, _events) = launched.unwrap();
            assert_eq!(handle.report().mppe.to_string(), kernel.to_string());
            handle.stop();
        } else {
            let reason = launched.err().unwrap().to_string();
            assert_eq!(reason, format!("data plane configuration: {}", Unavailable(kernel)));
        }
    }
}

#[test]
fn a_configuration_out_of_range_is_refused_with_its_reason() {
    let region = Region::new(64).unwrap();
    let mut reasons = Vec::new();
    let default = Config::default;
    for config in [
        Config { workers: 0, ..default() },
        Config { workers: 65, ..default() },
        Config { workers: 2, cores: vec![0], ..default() },
        Config { cores: vec![4095], ..default() },
        Config { max_tunnels: 0, ..default() },
        Config { frames: 10, ..default() },
        Config {
            tun: dataplane::api::Tun { name: "a-name-that-is-long".into(), ..Default::default() },
            ..default()
        },
    ] {
        let ports = (0..config.workers).map(|_| Vec::new()).collect();
        match DataPlane::launch(&config, region, ports) {
            Err(error @ StartError::Config(_)) => reasons.push(error.to_string()),
            other => panic!("{other:?}"),
        }
    }
    insta::assert_snapshot!(reasons.join("\n"), @r"
    data plane configuration: between 1 and 64 workers can run
    data plane configuration: between 1 and 64 workers can run
    data plane configuration: fewer cores than workers are named
    data plane configuration: core 4095 is not among those that the process may use
    data plane configuration: max_tunnels lies between 1 and 2^31 - 1
    data plane configuration: a worker needs at least 1024 frames
    data plane configuration: an interface's name has 1 to 15 bytes
    ");
}
