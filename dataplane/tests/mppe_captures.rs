//! Linux peers' encrypted packets through receive bursts: in order, lost, reordered, late, twice.

#[path = "../../protocol/tests/common/mod.rs"]
mod common;

use common::mppe::{Encrypted, Session, is_ipv4};
use common::pcap;
use dataplane::mppe::{Engine, ReceiveBurst, ReceiveState, Refused};
use protocol::mppe::{Sender, Strength};
use protocol::time::Instant;

fn session(name: &str) -> Session {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../protocol/tests/data/");
    Session::of(&pcap::read(&format!("{folder}{name}")))
}

/// Receives packets in bursts of `burst`, in the order given, both directions as two tunnels;
/// accepts whole IPv4 packets.
fn receive(
    session: &Session,
    strength: Strength,
    packets: &[&Encrypted],
    burst: usize,
) -> Vec<Result<(), Refused>> {
    let mut states = [Sender::Client, Sender::Server].map(|sender| {
        ReceiveState::new(&session.initial_key(sender, strength), 0, Instant::ORIGIN)
    });
    let (mut engine, mut plan) = (Engine::new(), ReceiveBurst::default());
    let mut results = Vec::new();
    for packets in packets.chunks(burst) {
        plan.clear();
        for packet in packets {
            let slot = u32::from(packet.sender == Sender::Server);
            let state = states.get_mut(slot as usize);
            plan.push(slot, state, packet.sequence, packet.header, packet.data.len());
        }
        plan.plan(Instant::ORIGIN, states.as_mut_slice());
        engine.derive_keys(&mut plan);
        let mut payloads: Vec<_> = packets.iter().map(|packet| packet.data.clone()).collect();
        engine.apply(&plan, payloads.as_mut_slice());
        for (index, payload) in payloads.iter().enumerate() {
            if is_ipv4(payload) {
                plan.accept(index);
            }
        }
        plan.commit(states.as_mut_slice());
        results.extend((0..packets.len()).map(|index| plan.status(index)));
    }
    results
}

fn all_count(results: &[Result<(), Refused>]) -> bool {
    results.iter().all(Result::is_ok)
}

#[test]
fn all_packets_count_in_every_batching() {
    let wrap = session("stateless128-count-wrap.pcap");
    let packets: Vec<_> = wrap.packets.iter().collect();
    for burst in [1, 7, 256] {
        assert!(all_count(&receive(&wrap, Strength::Bits128, &packets, burst)), "{burst}");
    }
    let mppe40 = session("mppe40.pcap");
    let packets: Vec<_> = mppe40.packets.iter().collect();
    assert!(all_count(&receive(&mppe40, Strength::Bits40, &packets, 5)));
}

#[test]
fn packets_count_after_losses() {
    let wrap = session("stateless128-count-wrap.pcap");
    let every_ninth: Vec<_> = wrap.packets.iter().step_by(9).collect();
    assert!(all_count(&receive(&wrap, Strength::Bits128, &every_ninth, 16)));
}

/// A loss of more than a burst may walk: some packets wait for the walk, the others count.
#[test]
fn packets_count_after_a_loss_of_more_than_a_turn_of_the_count() {
    let wrap = session("stateless128-count-wrap.pcap");
    let packets: Vec<_> = wrap.packets[..100].iter().chain(&wrap.packets[8400..]).collect();
    let results = receive(&wrap, Strength::Bits128, &packets, 16);
    let first_after = results[100..].iter().position(Result::is_ok).unwrap();
    assert!(
        results[100..100 + first_after].iter().all(|result| *result == Err(Refused::WalkPending))
    );
    assert!(all_count(&results[100 + first_after + 16..]));
}

#[test]
fn late_packets_count_once() {
    let wrap = session("stateless128-count-wrap.pcap");
    let mut packets: Vec<_> = wrap.packets.iter().collect();
    // Neighbouring runs of 24 change places, so that each second run comes late.
    for pair in packets.chunks_exact_mut(48) {
        pair.rotate_left(24);
    }
    assert!(all_count(&receive(&wrap, Strength::Bits128, &packets, 8)));

    let twice: Vec<_> = packets.iter().flat_map(|packet| [*packet, *packet]).collect();
    let results = receive(&wrap, Strength::Bits128, &twice, 11);
    for pair in results.chunks_exact(2) {
        assert_eq!(pair, [Ok(()), Err(Refused::Replay)]);
    }
}
