//! Floods of one tunnel beside quiet ones, on AF_XDP with two workers: of what is right, of what is
//! forged, repeated, unknown or broken, and of more than a rate allows. Whoever is quiet loses
//! nothing, and what the flood loses is counted.
//!
//! No more is under way than rings hold, for otherwise the test would measure the machine.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "common/far.rs"]
mod far;
#[path = "common/lab.rs"]
mod lab;
#[path = "common/ledger.rs"]
mod ledger;
#[path = "common/redirect.rs"]
mod redirect;

use std::net::Ipv4Addr;
use std::num::NonZeroU64;

use common::subscriber::{Subscriber, ipv4, one_hop_on, packet};
use common::{dial, dial_limited, eventually, in_namespace};
use dataplane::api::{DropReason, Handle, Limit, Limits};
use far::Far;
use lab::{
    ACCESS, CORE, LOCAL, PEER, PEER_MAC, PORTS, SERVER, SERVER_MAC, ethernet, network, start,
};
use ledger::Ledger;

/// Frames of a flood that are under way at once, and how often.
const BURST: usize = 180;
const ROUNDS: u16 = 15;

/// The box's own address on the core port.
const OURS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

/// Who floods. The quiet ones are beside it on its worker, and on the other one.
const LOUD: u16 = 40;
const QUIET: [u16; 2] = [42, 43];

fn inner(call_id: u16) -> Ipv4Addr {
    let [high, low] = call_id.to_be_bytes();
    Ipv4Addr::new(10, 9, high, low)
}

/// The box, its ends, and who is quiet.
struct Lab {
    handle: Handle,
    peer: Far,
    server: Far,
    quiet: Vec<Subscriber>,
}

impl Lab {
    /// Each of the quiet sends and receives a packet by each queue, behind what is there already.
    fn exchange(&mut self, number: u16) {
        let Self { peer, server, quiet, .. } = self;
        let [high, low] = number.to_be_bytes();
        for queue in [0, 1_u8] {
            for subscriber in &mut *quiet {
                let mark = [0xA5, queue, high, low];
                let up = subscriber.encrypt(SERVER, &mark);
                peer.send(queue.into(), &ethernet(ACCESS, PEER_MAC, &up));
                let down = packet(SERVER, subscriber.inner, &mark);
                server.send(queue.into(), &ethernet(CORE, SERVER_MAC, &down));
            }
            for _ in 0..quiet.len() {
                eventually("a quiet subscriber's packet", || {
                    let frame = server.try_receive()?;
                    let from = frame[29];
                    let one = quiet.iter().find(|one| one.inner.octets()[3] == from)?;
                    let up = packet(one.inner, SERVER, &[0xA5, queue, high, low]);
                    assert_eq!(frame[14..14 + up.len()], one_hop_on(&up));
                    Some(())
                });
            }
            for _ in 0..quiet.len() {
                eventually("a packet for a quiet subscriber", || {
                    let frame = peer.try_receive()?;
                    let call_id = u16::from_be_bytes([frame[40], frame[41]]);
                    let one = quiet.iter_mut().find(|one| one.peer_call_id == call_id)?;
                    if one.read(&frame[14..]).frame.is_empty() {
                        return None;
                    }
                    let down = packet(SERVER, one.inner, &[0xA5, queue, high, low]);
                    assert_eq!(one.decrypt(&frame[14..]), one_hop_on(&down));
                    Some(())
                });
            }
        }
    }
}

/// Floods with what `next` makes, a frame of Ethernet from the subscribers' side or from the core's,
/// and returns what the workers dropped of it.
fn flood(handle: Handle, mut next: impl FnMut(u16) -> (bool, Vec<u8>)) -> Vec<(DropReason, u64)> {
    let quiet = QUIET.map(|id| dial(&handle, (LOCAL, PEER), id, inner(id), 1456));
    let (peer, server) = (Far::open("peer"), Far::open("server"));
    let mut lab = Lab { handle, peer, server, quiet: quiet.into() };
    let mut number = 0_u16;
    for round in 0..ROUNDS {
        // A NIC brings a tunnel's packets by one queue: they have an order.
        let queue = usize::from(round % 2);
        for _ in 0..BURST {
            let (is_up, frame) = next(number);
            let end = if is_up { &mut lab.peer } else { &mut lab.server };
            end.send(queue, &frame);
            number += 1;
        }
        lab.exchange(round);
    }
    let totals = lab.handle.totals();
    for port in &totals.ports {
        assert!(port.drops.iter().all(|&(_, count)| count == 0), "{port:?}");
    }
    let drops = totals.drops();
    drops.iter().filter(|&(_, count)| count > 0).collect()
}

const SENT: u64 = BURST as u64 * ROUNDS as u64;

/// In a network of its own: sums agree at the end.
fn with_a_box(test: impl FnOnce(Handle) + Send + 'static) {
    in_namespace(|| {
        network();
        let ledger = Ledger::open(&PORTS);
        let handle = start();
        test(handle.clone());
        ledger.balance(&handle);
        handle.stop();
    });
}

fn from_peer(packet: &[u8]) -> (bool, Vec<u8>) {
    (true, ethernet(ACCESS, PEER_MAC, packet))
}

#[test]
fn a_tunnel_at_full_speed_takes_nothing_from_quiet_ones() {
    with_a_box(|handle| {
        let mut loud = dial(&handle, (LOCAL, PEER), LOUD, inner(LOUD), 1456);
        let drops = flood(handle, |number| match number % 3 {
            0 => (false, ethernet(CORE, SERVER_MAC, &packet(SERVER, inner(LOUD), &[0; 600]))),
            _ => from_peer(&loud.encrypt(SERVER, &[0; 600])),
        });
        assert_eq!(drops, []);
    });
}

/// Who knows addresses, Call ID and numbers, but no key.
#[test]
fn forgeries_far_ahead_take_nothing_from_quiet_ones() {
    with_a_box(|handle| {
        let loud = dial(&handle, (LOCAL, PEER), LOUD, inner(LOUD), 1456);
        let drops = flood(handle, |number| {
            let [high, low] = (0x9000 | number.wrapping_mul(977) & 0xFFF).to_be_bytes();
            let ppp = [&[0xFF, 0x03, 0x00, 0xFD, high, low][..], &[0x5A; 80]].concat();
            from_peer(&loud.frame_at(u32::from(number) * 4093, &ppp))
        });
        let all: u64 = drops.iter().map(|(_, count)| count).sum();
        assert_eq!(all, SENT, "each is counted: {drops:?}");
    });
}

#[test]
fn repetitions_take_nothing_from_quiet_ones() {
    with_a_box(|handle| {
        let mut loud = dial(&handle, (LOCAL, PEER), LOUD, inner(LOUD), 1456);
        let again = loud.encrypt(SERVER, &[0; 100]);
        let drops = flood(handle, |_| from_peer(&again));
        assert_eq!(drops, [(DropReason::SequenceReplayed, SENT - 1)]);
    });
}

#[test]
fn control_frames_without_end_take_nothing_from_quiet_ones() {
    with_a_box(|handle| {
        let mut loud = dial(&handle, (LOCAL, PEER), LOUD, inner(LOUD), 1456);
        let drops =
            flood(handle, |_| from_peer(&loud.frame(&[0xC0, 0x21, 9, 1, 0, 8, 0, 0, 0, 0])));
        let [(DropReason::ControlRateLimited, limited)] = drops[..] else { panic!("{drops:?}") };
        // 64 at once, and 20 a second.
        assert!(limited < SENT && limited > SENT / 2, "{limited}");
    });
}

#[test]
fn broken_and_unknown_packets_take_nothing_from_quiet_ones() {
    with_a_box(|handle| {
        let mut loud = dial(&handle, (LOCAL, PEER), LOUD, inner(LOUD), 1456);
        let mut whole = loud.encrypt(SERVER, &[0; 100]);
        // The key's length goes beyond the packet.
        whole[24..26].copy_from_slice(&u16::MAX.to_be_bytes());
        let watched = handle.clone();
        let drops = flood(handle, |number| match number % 3 {
            0 => from_peer(&whole),
            // XDP knows that these are nobody's.
            1 => {
                let id = 5000 + number % 1000;
                from_peer(&Subscriber::new(PEER, LOCAL, (id, id), SERVER).frame(&[0xC0, 0x21]))
            }
            _ => from_peer(&loud.frame(&[])),
        });
        let third = SENT / 3;
        assert_eq!(drops, [(DropReason::GreMalformed, third), (DropReason::PppMalformed, third)]);
        eventually("XDP counts the others", || {
            let xdp = watched.totals().xdp?;
            let unknown = xdp.iter().find(|(reason, _)| reason.name() == "drop_unknown_tunnel");
            unknown.filter(|&(_, count)| count == third)
        });
    });
}

/// Each is a system call of the worker's: at the end of its life, for an address of ours, for a
/// neighbour that nobody is.
#[test]
fn what_the_kernel_has_to_handle_takes_nothing_from_quiet_ones() {
    with_a_box(|handle| {
        let mut loud = dial(&handle, (LOCAL, PEER), LOUD, inner(LOUD), 1456);
        let nobody = Ipv4Addr::from_bits(SERVER.to_bits() + 7);
        let drops = flood(handle, |number| match number % 3 {
            0 => from_peer(&loud.encrypt_packet(&ipv4(253, 1, inner(LOUD), SERVER, &[0; 100]))),
            1 => from_peer(&loud.encrypt(OURS, &[0; 100])),
            _ => from_peer(&loud.encrypt(nobody, &[0; 100])),
        });
        let expected = |(reason, _): &(DropReason, u64)| *reason == DropReason::SlowPathLimited;
        assert!(drops.iter().all(expected), "{drops:?}");
    });
}

#[test]
fn a_tunnel_beyond_its_rate_takes_nothing_from_quiet_ones() {
    with_a_box(|handle| {
        let rate = Some(Limit::of(NonZeroU64::new(256_000).unwrap()));
        let limits = Limits { uplink: rate, downlink: rate };
        let mut loud = dial_limited(&handle, (LOCAL, PEER), LOUD, inner(LOUD), limits);
        let drops = flood(handle, |number| match number % 2 {
            0 => (false, ethernet(CORE, SERVER_MAC, &packet(SERVER, inner(LOUD), &[0; 600]))),
            _ => from_peer(&loud.encrypt(SERVER, &[0; 600])),
        });
        let of = |reason| {
            drops.iter().find(|(which, _)| *which == reason).map_or(0, |&(_, count)| count)
        };
        assert!(of(DropReason::RateExceeded) > SENT / 4, "{drops:?}");
        assert!(of(DropReason::QueueFull) > SENT / 4, "{drops:?}");
    });
}
