//! Bursts against the reference: one packet at a time, in order, on independent code.

use std::time::Duration;

use proptest::prelude::*;
use protocol::mppe::{CoherencyCount, Header, SessionKey, StartKey, Stateless, Strength};
use protocol::time::Instant;

use super::state::{REKEYS_PER_SECOND, REKEYS_PER_SECOND_OF_WORKER, SKIPPED_KEYS};
use super::*;

/// A packet on its way: what GRE and MPPE say about it, its data, and what it was.
#[derive(Debug, Clone)]
struct Wire {
    slot: u32,
    sequence: u32,
    header: Header,
    data: Vec<u8>,
    plaintext: Vec<u8>,
}

/// The sending end of one tunnel, on the reference cipher.
struct Peer {
    slot: u32,
    cipher: Stateless,
    sequence: u32,
}

impl Peer {
    fn new(slot: u32, strength: Strength, sequence: u32) -> Self {
        Self { slot, cipher: Stateless::new(initial(slot, strength)), sequence }
    }

    fn packet(&mut self, length: usize) -> Wire {
        self.sequence = self.sequence.wrapping_add(1);
        let plaintext: Vec<u8> =
            (self.sequence..).map(|octet| octet.to_le_bytes()[0]).take(length).collect();
        let mut data = plaintext.clone();
        let header = self.cipher.encrypt(&mut data);
        Wire { slot: self.slot, sequence: self.sequence, header, data, plaintext }
    }

    fn skip(&mut self, packets: usize) {
        for _ in 0..packets {
            self.packet(0);
        }
    }

    fn clear_frame(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }
}

fn initial(slot: u32, strength: Strength) -> SessionKey {
    let mut octets = [0xA5; 16];
    octets[..4].copy_from_slice(&slot.to_be_bytes());
    SessionKey::initial(&StartKey::new(&octets, strength))
}

/// The receiving end under test.
struct Receiver {
    engine: Engine,
    burst: ReceiveBurst,
    states: Vec<ReceiveState>,
    now: Instant,
}

impl Receiver {
    fn new(peers: &[(Strength, u32)]) -> Self {
        let states = peers
            .iter()
            .zip(0..)
            .map(|(&(strength, sequence), slot)| {
                ReceiveState::new(&initial(slot, strength), sequence, Instant::ORIGIN)
            })
            .collect();
        let burst = ReceiveBurst::default();
        Self { engine: Engine::new(), burst, states, now: Instant::ORIGIN }
    }

    fn with_kernel(mut self, kernel: Kernel) -> Self {
        self.engine = engine(kernel);
        self
    }

    /// Runs a burst and accepts the packets that come out as they were.
    fn receive(&mut self, packets: &[Wire]) -> Vec<Result<(), Refused>> {
        self.burst.clear();
        for packet in packets {
            let Wire { slot, sequence, header, ref data, .. } = *packet;
            let state = self.states.get_mut(slot as usize);
            self.burst.push(slot, state, sequence, header, data.len());
        }
        self.burst.plan(self.now, self.states.as_mut_slice());
        self.engine.derive_keys(&mut self.burst);
        let mut payloads: Vec<_> = packets.iter().map(|packet| packet.data.clone()).collect();
        self.engine.apply(&self.burst, payloads.as_mut_slice());
        for (index, packet) in packets.iter().enumerate() {
            if self.burst.status(index).is_ok() && payloads[index] == packet.plaintext {
                self.burst.accept(index);
            }
        }
        self.burst.commit(self.states.as_mut_slice());
        (0..packets.len()).map(|index| self.burst.status(index)).collect()
    }
}

fn one(strength: Strength) -> (Peer, Receiver) {
    (Peer::new(0, strength, 10), Receiver::new(&[(strength, 10)]))
}

/// An engine with this kernel, or with one that the CPU has.
fn engine(kernel: Kernel) -> Engine {
    Engine::with_kernel(kernel).unwrap_or_default()
}

fn kernels() -> impl Strategy<Value = Kernel> {
    prop_oneof![Just(Kernel::Avx2), Just(Kernel::Portable)]
}

fn strengths() -> impl Strategy<Value = Strength> {
    prop_oneof![Just(Strength::Bits40), Just(Strength::Bits56), Just(Strength::Bits128)]
}

/// RFC 3078 §7.1: what a burst encrypts is what the reference encrypts, in every batching.
#[test]
fn sent_bursts_are_what_the_reference_sends() {
    proptest!(ProptestConfig::with_cases(60), |(
        kernel in kernels(),
        strengths in proptest::collection::vec(strengths(), 1..6),
        bursts in proptest::collection::vec(
            proptest::collection::vec((0..6_u32, 1..400_usize), 1..60), 1..6),
    )| {
        let mut peers: Vec<_> =
            strengths.iter().zip(0..).map(|(&strength, slot)| Peer::new(slot, strength, 0)).collect();
        let mut states: Vec<_> = strengths
            .iter()
            .zip(0..)
            .map(|(&strength, slot)| SendState::new(&initial(slot, strength)))
            .collect();
        let (mut engine, mut burst) = (engine(kernel), SendBurst::default());
        for packets in bursts {
            burst.clear();
            let mut expected = Vec::new();
            for (index, &(slot, length)) in packets.iter().enumerate() {
                let state = states.get_mut(slot as usize);
                prop_assert_eq!(burst.push(slot, state, length), index);
                expected.push(peers.get_mut(slot as usize).map(|peer| peer.packet(length)));
            }
            burst.plan();
            engine.derive_keys(&mut burst);
            let mut payloads: Vec<_> = expected
                .iter()
                .map(|wire| wire.as_ref().map_or(Vec::new(), |wire| wire.plaintext.clone()))
                .collect();
            engine.apply(&burst, payloads.as_mut_slice());
            burst.commit(states.as_mut_slice());
            for (index, wire) in expected.iter().enumerate() {
                prop_assert_eq!(burst.header(index), wire.as_ref().map(|wire| wire.header));
                if let Some(wire) = wire {
                    prop_assert_eq!(&payloads[index], &wire.data);
                }
            }
        }
    });
}

/// RFC 3078 §3.1: 4095 is followed by 0.
#[test]
fn packets_in_order_are_decrypted_across_the_wrap_of_the_count() {
    for kernel in Kernel::available() {
        let (mut peer, receiver) = one(Strength::Bits128);
        let mut receiver = receiver.with_kernel(kernel);
        for _ in 0..1300 {
            let packets: Vec<_> = (0..8).map(|_| peer.packet(20)).collect();
            assert_eq!(receiver.receive(&packets), vec![Ok(()); 8]);
        }
        assert_eq!(receiver.states[0].next(), 10_400);
    }
}

#[test]
fn both_directions_keys_are_derived_side_by_side() {
    for kernel in Kernel::available() {
        let (mut peer, mut receiver) = one(Strength::Bits128);
        let mut engine = engine(kernel);
        let (mut send, mut state) =
            (SendBurst::default(), [SendState::new(&initial(0, Strength::Bits128))]);
        let packets: Vec<_> = (0..9).map(|_| peer.packet(50)).collect();
        for packet in &packets {
            receiver.burst.push(0, receiver.states.first_mut(), packet.sequence, packet.header, 50);
        }
        for _ in 0..14 {
            send.push(0, state.first_mut(), 50);
        }
        receiver.burst.plan(receiver.now, receiver.states.as_mut_slice());
        send.plan();
        engine.derive_keys_of_both(&mut receiver.burst, &mut send);
        let mut received: Vec<_> = packets.iter().map(|packet| packet.data.clone()).collect();
        engine.apply(&receiver.burst, received.as_mut_slice());
        assert!(received.iter().zip(&packets).all(|(data, packet)| *data == packet.plaintext));
        // Both ends of the test have the same initial key: what is sent is what was received.
        let mut sent: Vec<_> = packets.iter().map(|packet| packet.plaintext.clone()).collect();
        sent.resize(14, vec![0; 50]);
        engine.apply(&send, sent.as_mut_slice());
        assert!(sent.iter().zip(&packets).all(|(data, packet)| *data == packet.data));
    }
}

/// RFC 3078 §8.1: the key changes once for each missing packet.
#[test]
fn packets_after_a_gap_are_decrypted() {
    let (mut peer, mut receiver) = one(Strength::Bits56);
    for gap in [0, 1, 3, 40, 79] {
        peer.skip(gap);
        assert_eq!(receiver.receive(&[peer.packet(64)]), [Ok(())], "after a gap of {gap}");
    }
}

#[test]
fn a_late_packet_finds_its_key_and_counts_once() {
    let (mut peer, mut receiver) = one(Strength::Bits128);
    let late = peer.packet(100);
    let newer: Vec<_> = (0..5).map(|_| peer.packet(100)).collect();
    assert_eq!(receiver.receive(&newer), vec![Ok(()); 5]);
    let twice = [late.clone(), late.clone()];
    assert_eq!(receiver.receive(&twice), [Ok(()), Err(Refused::Replay)]);
    assert_eq!(receiver.receive(&[late]), [Err(Refused::Replay)]);
}

#[test]
fn a_packet_later_than_the_kept_keys_is_refused() {
    let (mut peer, mut receiver) = one(Strength::Bits128);
    let late: Vec<_> = (0..=SKIPPED_KEYS).map(|_| peer.packet(9)).collect();
    assert_eq!(receiver.receive(&[peer.packet(9)]), [Ok(())]);
    assert_eq!(receiver.receive(&late[..1]), [Err(Refused::Late)]);
    assert_eq!(receiver.receive(&late[1..]), vec![Ok(()); SKIPPED_KEYS]);
}

#[test]
fn a_replay_is_refused_within_a_burst_and_after_it() {
    let (mut peer, mut receiver) = one(Strength::Bits128);
    let packet = peer.packet(30);
    let twice = [packet.clone(), packet.clone()];
    assert_eq!(receiver.receive(&twice), [Ok(()), Err(Refused::Replay)]);
    assert_eq!(receiver.receive(&[packet]), [Err(Refused::Replay)]);
}

/// RFC 3078 §3.1.
#[test]
fn headers_of_other_modes_are_refused() {
    let (mut peer, mut receiver) = one(Strength::Bits128);
    let good = peer.packet(30);
    let with = |encrypted, flushed| Wire {
        header: Header { encrypted, flushed, ..good.header },
        ..good.clone()
    };
    assert_eq!(
        receiver.receive(&[with(false, true), with(true, false), good.clone()]),
        [Err(Refused::NotEncrypted), Err(Refused::NotFlushed), Ok(())]
    );
}

#[test]
fn a_tunnel_without_keys_refuses_and_disturbs_no_other() {
    let (mut peer, mut receiver) = one(Strength::Bits128);
    let mut stranger = Peer::new(9, Strength::Bits128, 0);
    assert_eq!(
        receiver.receive(&[stranger.packet(5), peer.packet(5)]),
        [Err(Refused::NoKeys), Ok(())]
    );
}

/// A spoofed packet has some plaintext, but never the one that the caller accepts.
fn spoofed(sequence: u32, count: u64) -> Wire {
    let header = Header::stateless(CoherencyCount::of_packet(count));
    Wire { slot: 0, sequence, header, data: vec![0; 40], plaintext: vec![0; 40] }
}

#[test]
fn spoofed_packets_far_ahead_do_not_harm_the_good_ones_beside_them() {
    let (mut peer, mut receiver) = one(Strength::Bits128);
    for round in 0..200_u32 {
        let far = peer.sequence.wrapping_add(1 << (round % 31));
        let mut burst = vec![spoofed(far, u64::from(round) * 997)];
        burst.extend((0..4).map(|_| peer.packet(33)));
        burst.push(spoofed(peer.sequence + 900, receiver.states[0].next() + 904));
        burst.push(peer.packet(33));
        let results = receiver.receive(&burst);
        for good in [1, 2, 3, 4, 6] {
            assert_eq!(results[good], Ok(()), "round {round}");
        }
        assert!(results[0].is_err() && results[5].is_err());
    }
}

#[test]
fn a_spoofed_packet_that_is_not_accepted_moves_nothing() {
    let (mut peer, mut receiver) = one(Strength::Bits128);
    assert_eq!(receiver.receive(&[spoofed(41, 30)]), [Err(Refused::Plaintext)]);
    assert_eq!(receiver.states[0].next(), 0);
    let packets: Vec<_> = (0..31).map(|_| peer.packet(8)).collect();
    assert_eq!(receiver.receive(&packets), vec![Ok(()); 31]);
    assert_eq!(receiver.receive(&[spoofed(11, 0)]), [Err(Refused::Replay)]);
    assert_eq!(receiver.receive(&[spoofed(42, 30)]), [Err(Refused::Inconsistent)]);
}

/// The walk towards a spoofed packet is remembered; reordered packets must not jump to where it
/// came to and leave those between behind.
#[test]
fn a_walk_that_a_spoofed_packet_began_makes_no_packet_late() {
    for lead in 0..80 {
        let (mut peer, mut receiver) = one(Strength::Bits128);
        assert!(receiver.receive(&[peer.packet(33)])[0].is_ok());
        assert!(receiver.receive(&[spoofed(peer.sequence + 2000, 1500)])[0].is_err());
        let in_order: Vec<_> = (0..lead).map(|_| peer.packet(33)).collect();
        assert_eq!(receiver.receive(&in_order), vec![Ok(()); lead]);
        let mut reordered: Vec<_> = (0..20).map(|_| peer.packet(33)).collect();
        reordered.reverse();
        for packet in reordered {
            assert_eq!(receiver.receive(&[packet]), [Ok(())], "{lead} packets after it");
        }
    }
}

#[test]
fn a_burst_that_is_not_committed_has_no_effect() {
    let (mut peer, mut receiver) = one(Strength::Bits128);
    let packet = peer.packet(8);
    receiver.burst.push(0, receiver.states.first_mut(), packet.sequence, packet.header, 8);
    receiver.burst.plan(Instant::ORIGIN, receiver.states.as_mut_slice());
    receiver.engine.derive_keys(&mut receiver.burst);
    receiver.burst.accept(0);
    assert_eq!(receiver.receive(&[packet]), [Ok(())]);
}

#[test]
fn hours_of_clear_frames_are_not_taken_for_lost_packets() {
    let (mut peer, mut receiver) = one(Strength::Bits128);
    assert_eq!(receiver.receive(&[peer.packet(8)]), [Ok(())]);
    for _ in 0..10_000 {
        let sequence = peer.clear_frame();
        receiver.states[0].count_clear_frame(sequence);
    }
    peer.skip(2);
    assert_eq!(receiver.receive(&[peer.packet(8)]), [Ok(())]);
}

#[test]
fn packets_sent_before_the_state_was_made_are_skipped() {
    let mut receiver = Receiver::new(&[(Strength::Bits128, 25)]);
    let mut peer = Peer::new(0, Strength::Bits128, 10);
    peer.skip(15);
    assert_eq!(receiver.receive(&[peer.packet(8)]), [Ok(())]);
}

/// An outage of 5 s at 50,000 packets a second: other tunnels lose nothing, and no burst walks
/// more than its slice.
#[test]
fn an_outage_of_250_000_packets_is_recovered_from_within_a_second() {
    const RATE: u32 = 50_000;
    const BURST: u32 = 32;
    let mut receiver = Receiver::new(&[(Strength::Bits128, 10), (Strength::Bits40, 0)]);
    let mut peer = Peer::new(0, Strength::Bits128, 10);
    let mut other = Peer::new(1, Strength::Bits40, 0);
    assert_eq!(receiver.receive(&[peer.packet(1), other.packet(1)]), [Ok(()), Ok(())]);
    peer.skip(5 * RATE as usize);
    receiver.now = receiver.now + Duration::from_secs(5);
    let outage_ended = receiver.now;
    loop {
        let mut packets = vec![other.packet(1)];
        packets.extend((0..BURST).map(|_| peer.packet(1)));
        let results = receiver.receive(&packets);
        assert_eq!(results[0], Ok(()));
        if results.iter().all(Result::is_ok) {
            break;
        }
        assert_eq!(results.last(), Some(&Err(Refused::WalkPending)));
        receiver.now = receiver.now + Duration::from_secs(1) * BURST / RATE;
        assert!(receiver.now - outage_ended < Duration::from_secs(1));
    }
}

#[test]
fn what_spoofed_packets_cost_is_bounded_by_the_budget() {
    let (mut peer, mut receiver) = one(Strength::Bits128);
    let mut walked = 0;
    let mut over = 0;
    for number in 0..40_000_u32 {
        let sequence = 1_000_000 + number % 100_000;
        let results = receiver.receive(&[spoofed(sequence, u64::from(number % 4096))]);
        let scout = receiver.states[0].scout;
        walked += scout.saturating_sub(walked);
        over += usize::from(results == [Err(Refused::OverBudget)]);
    }
    assert!(walked <= u64::from(REKEYS_PER_SECOND) + 40_000, "{walked} keys walked");
    assert!(over > 0);
    assert_eq!(receiver.receive(&[peer.packet(3)]), [Ok(())]);
}

/// A few forgers take no more of the worker than its own budget, and who merely lost some packets
/// does not feel them.
#[test]
fn what_many_tunnels_gaps_cost_is_bounded_by_the_workers_budget() {
    const FORGED: u32 = 16;
    const MILLIS: u32 = 1000;
    let peers = [(Strength::Bits128, 0); FORGED as usize + 1];
    let mut receiver = Receiver::new(&peers);
    let mut honest = Peer::new(FORGED, Strength::Bits128, 0);
    for round in 0..MILLIS {
        receiver.now = receiver.now + Duration::from_millis(1);
        // Bursts in which each forger's packets may walk a slice of its own.
        let count = u64::from(round * 7919 % 4096);
        let mut packets: Vec<_> = (0..FORGED)
            .flat_map(|slot| std::iter::repeat_n(slot, 8))
            .map(|slot| Wire { slot, ..spoofed(1_000_000 + round % 9000, count) })
            .collect();
        honest.skip(round as usize % 4);
        packets.push(honest.packet(5));
        let results = receiver.receive(&packets);
        assert_eq!(results.last(), Some(&Ok(())), "round {round}");
    }
    // Where the walks are now is no less than what they have cost beyond a step for each packet.
    let walked: u64 = receiver.states.iter().map(|state| state.scout).sum();
    let free = u64::from(FORGED * 8 * MILLIS);
    let bound = u64::from(MILLIS) * 1000 + u64::from(REKEYS_PER_SECOND_OF_WORKER / 2);
    assert!(walked > bound / 4 && walked <= bound + free, "{walked} keys walked");
}

/// A worker that four times as much comes to as it can carry: it reads all that it takes, though the
/// keys of what is lost are more than any budget.
#[test]
fn what_is_lost_before_it_keeps_a_busy_worker_from_nothing() {
    const TUNNELS: u32 = 64;
    const BURSTS: u32 = 8_000;
    let mut states: Vec<_> = (0..TUNNELS)
        .map(|slot| ReceiveState::new(&initial(slot, Strength::Bits128), 0, Instant::ORIGIN))
        .collect();
    let mut burst = ReceiveBurst::default();
    for round in 1..=BURSTS {
        burst.clear();
        for slot in 0..TUNNELS {
            // Three are lost before each.
            let number = 4 * u64::from(round) - 1;
            let header = Header::stateless(CoherencyCount::of_packet(number));
            burst.push(slot, states.get_mut(slot as usize), 4 * round, header, 0);
        }
        burst.plan(Instant::ORIGIN, states.as_mut_slice());
        for index in 0..TUNNELS as usize {
            assert_eq!(burst.status(index), Ok(()), "round {round}");
            burst.accept(index);
        }
        burst.commit(states.as_mut_slice());
    }
    const { assert!(3 * BURSTS * TUNNELS > REKEYS_PER_SECOND_OF_WORKER) };
}

/// What happens to one packet on the way.
#[derive(Debug, Clone)]
enum Fate {
    /// Arrives this many places later than it was sent.
    Arrives(usize),
    ArrivesTwice(usize, usize),
    Lost,
    /// Arrives, and with it a spoofed packet of this sequence number and count.
    WithSpoofed(u32, u16),
}

fn fates() -> impl Strategy<Value = Vec<(u32, usize, Fate)>> {
    let fate = prop_oneof![
        12 => Just(Fate::Arrives(0)),
        3 => (0..25_usize).prop_map(Fate::Arrives),
        1 => (0..25_usize, 0..25_usize).prop_map(|(one, other)| Fate::ArrivesTwice(one, other)),
        2 => Just(Fate::Lost),
        1 => (any::<u32>(), 0..4096_u16).prop_map(|(s, c)| Fate::WithSpoofed(s, c)),
    ];
    proptest::collection::vec((0..3_u32, 1..120_usize, fate), 1..400)
}

/// Loss, reordering, duplicates and spoofed packets in any mixture: every packet that arrives
/// counts, once.
#[test]
fn every_packet_that_arrives_counts_once() {
    proptest!(ProptestConfig::with_cases(60), |(
        kernel in kernels(),
        strengths in [strengths(), strengths(), strengths()],
        first in any::<u32>(),
        fates in fates(),
        burst in 1..64_usize,
    )| {
        let mut peers: Vec<_> =
            (0..3).zip(strengths).map(|(slot, strength)| Peer::new(slot, strength, first)).collect();
        let mut receiver = Receiver::new(&strengths.map(|strength| (strength, first))).with_kernel(kernel);
        let mut arrivals = Vec::new();
        for (place, (slot, length, fate)) in fates.into_iter().enumerate() {
            let packet = peers[slot as usize].packet(length);
            match fate {
                Fate::Arrives(later) => arrivals.push((place + later, packet, true)),
                Fate::ArrivesTwice(one, other) => {
                    arrivals.push((place + one, packet.clone(), true));
                    arrivals.push((place + other, packet, true));
                }
                Fate::Lost => {}
                Fate::WithSpoofed(sequence, count) => {
                    let spoofed = Wire { slot, ..spoofed(sequence, count.into()) };
                    arrivals.push((place, spoofed, false));
                    arrivals.push((place, packet, true));
                }
            }
        }
        arrivals.sort_by_key(|(place, ..)| *place);
        let mut counted = std::collections::HashSet::new();
        for arrivals in arrivals.chunks(burst) {
            let packets: Vec<_> = arrivals.iter().map(|(_, packet, _)| packet.clone()).collect();
            for ((_, packet, genuine), result) in arrivals.iter().zip(receiver.receive(&packets)) {
                if *genuine && counted.insert((packet.slot, packet.sequence)) {
                    prop_assert_eq!(result, Ok(()));
                } else {
                    prop_assert!(result.is_err());
                }
            }
        }
    });
}
