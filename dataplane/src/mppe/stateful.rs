//! Stateful MPPE: one keystream that runs on from packet to packet, with a new key every 256.
//!
//! Implements RFC 3078 §7.2 and §8.2. Only old peers ask for it, so packets are taken one at a time
//! and share no lanes. Nothing moves for a packet that its caller does not believe: whoever forges
//! one cannot put the tables out of step.

use protocol::mppe::stateful::EXTRA_CHANGES;
use protocol::mppe::{CoherencyCount, Header, SessionKey};
use protocol::time::Instant;
use rc4::{KeyInit, Rc4, StreamCipher};
use zeroize::Zeroize;

use crate::limit::Bucket;

/// Counts that flushes skip between two accepted packets: a few times what one skips at most.
const COUNTS_SKIPPED: u32 = 1024;
/// Key changes that packets further ahead than a turn of the count may cause in one tunnel: a gap of
/// 262,144 packets at once, and as much again within half a second.
type Changes = Bucket<1024, 500>;

/// The same for all tunnels of a worker together: about a tenth of its time, as each change is made
/// alone.
#[derive(Debug, Default)]
pub struct Budget(Bucket<65_536, 16>);

/// Why a packet is not decrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Bit D is clear (RFC 3078 §3.1).
    #[error("MPPE header without the encrypted bit")]
    NotEncrypted,
    /// Packets before it are missing: only a flushed one can be read (RFC 3078 §8.2).
    #[error("the keystream is out of step until a flushed packet comes")]
    OutOfStep,
    /// The missing packets' key changes are more than the tunnel may cause now.
    #[error("far ahead: the budget of key changes is used up")]
    OverBudget,
    /// The caller does not believe what comes out.
    #[error("the plaintext was not accepted")]
    Plaintext,
}

/// A key's keystream, from some place on.
struct Tables {
    /// `None` never happens: keys have a length that RC4 takes.
    cipher: Option<Rc4>,
    /// Drawn for packets that were not believed, and still to be used.
    drawn: Vec<u8>,
}

impl Tables {
    fn of(key: &SessionKey) -> Self {
        Self { cipher: Rc4::new_from_slice(key.as_bytes()).ok(), drawn: Vec::new() }
    }

    /// Applies the next octets of the keystream if `believes` likes what comes out; else the data
    /// and the place in the keystream are as before.
    fn apply(&mut self, data: &mut [u8], believes: impl FnOnce(&[u8]) -> bool) -> bool {
        let have = self.drawn.len();
        if have < data.len() {
            self.drawn.resize(data.len(), 0);
            if let (Some(cipher), Some(new)) = (&mut self.cipher, self.drawn.get_mut(have..)) {
                cipher.apply_keystream(new);
            }
        }
        self.xor(data);
        if believes(data) {
            self.drawn.drain(..data.len());
            return true;
        }
        self.xor(data);
        false
    }

    fn xor(&self, data: &mut [u8]) {
        for (octet, key) in data.iter_mut().zip(&self.drawn) {
            *octet ^= key;
        }
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        self.drawn.zeroize();
    }
}

const fn is_flag(count: CoherencyCount) -> bool {
    count.value() & 0xFF == 0xFF
}

/// Sending half.
pub struct Sender {
    key: SessionKey,
    tables: Tables,
    next: CoherencyCount,
    /// The peer asked for a flushed packet.
    flush: bool,
}

impl Sender {
    /// A direction that has sent nothing yet.
    #[must_use]
    pub fn new(initial: SessionKey) -> Self {
        let tables = Tables::of(&initial);
        Self { key: initial, tables, next: CoherencyCount::default(), flush: false }
    }

    /// The peer sent a Reset-Request: the next packet is flushed.
    pub const fn flush(&mut self) {
        self.flush = true;
    }

    /// Encrypts the next packet, which starts with its inner protocol number, in place.
    pub fn encrypt(&mut self, data: &mut [u8]) -> Header {
        if std::mem::take(&mut self.flush) {
            // RFC 3078 §8.2 starts the tables again with the same key, Linux with the next one. At a
            // flag packet both change the key: the count goes on there, and what is between
            // counts as lost. Nor is any keystream used twice (RFC 3078 §9).
            self.next = CoherencyCount::of_packet(u64::from(self.next.value() | 0xFF));
        }
        let count = self.next;
        let is_flag = is_flag(count);
        if is_flag {
            self.key = self.key.next_key();
            self.tables = Tables::of(&self.key);
        }
        self.tables.apply(data, |_| true);
        self.next = count.next();
        // Not on the very first packet, though RFC 3078 §3.1 has it: the tables are fresh on both
        // sides, and Linux would change its key.
        Header { flushed: is_flag, encrypted: true, count }
    }
}

/// Receiving half: what the packet after the newest accepted one needs.
pub struct Receiver {
    key: SessionKey,
    tables: Tables,
    next: CoherencyCount,
    /// The keys after `key`, as far as packets of the next turn of the count asked for them. Each is
    /// derived once, whoever asks, so that they cost no budget: no forger can keep them from the peer.
    near: Vec<SessionKey>,
    changes: Changes,
    /// How many changes ahead keys were walked for packets that were not accepted, and the key
    /// there.
    scout: Option<(u64, SessionKey)>,
}

impl Receiver {
    /// A direction that has accepted nothing yet.
    #[must_use]
    pub fn new(initial: SessionKey) -> Self {
        Self {
            tables: Tables::of(&initial),
            key: initial,
            next: CoherencyCount::default(),
            near: Vec::new(),
            changes: Changes::default(),
            scout: None,
        }
    }

    /// Decrypts a packet in place, if `believes` likes what comes out. `missing` is how many GRE
    /// sequence numbers lie between it and the newest accepted packet; `None` if none was accepted
    /// yet. `budget` is the worker's.
    ///
    /// # Errors
    /// See [`Refused`]; data and state are as before.
    pub fn decrypt(
        &mut self,
        header: Header,
        missing: Option<u32>,
        now: Instant,
        budget: &mut Budget,
        data: &mut [u8],
        mut believes: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), Refused> {
        if !header.encrypted {
            return Err(Refused::NotEncrypted);
        }
        let steps = header.count.steps_from(self.next);
        if !header.flushed && !is_flag(header.count) {
            return if steps > 0 {
                Err(Refused::OutOfStep)
            } else if self.tables.apply(data, believes) {
                self.next = header.count.next();
                Ok(())
            } else {
                Err(Refused::Plaintext)
            };
        }
        if !header.flushed && steps > 0 {
            return Err(Refused::OutOfStep);
        }
        // Whole turns of the count may be missing too: about as many as the sequence numbers say.
        // Clear frames use numbers up that are no counts; a flush may skip counts without numbers.
        let most = missing.map_or(0, |missing| {
            missing.saturating_add(COUNTS_SKIPPED).saturating_sub(steps.into()) / TURN
        });
        // The nearest first: its keys are free, whatever forgers have spent.
        let likely = [
            Some(0),
            Some(most).filter(|_| most > 0),
            most.checked_sub(1).filter(|&less| less > 0),
        ];
        let mut refused = Refused::Plaintext;
        for turns in likely.into_iter().flatten() {
            let least = changes(self.next, steps) + u64::from(turns) * CHANGES_PER_TURN;
            for changes in least..=least + u64::from(EXTRA_CHANGES) {
                let Some(key) = self.key_after(changes, now, budget) else {
                    refused = Refused::OverBudget;
                    break;
                };
                let mut tables = Tables::of(&key);
                if tables.apply(data, &mut believes) {
                    (self.key, self.tables, self.scout) = (key, tables, None);
                    let used = usize::try_from(changes).unwrap_or(usize::MAX);
                    self.near.drain(..used.min(self.near.len()));
                    self.next = header.count.next();
                    return Ok(());
                }
            }
        }
        Err(refused)
    }

    /// The key after so many changes. What is further ahead than a turn of the count is, if the budgets
    /// reach there.
    fn key_after(&mut self, changes: u64, now: Instant, budget: &mut Budget) -> Option<SessionKey> {
        if changes > NEAR {
            return self.far_key(changes, now, budget);
        }
        let Some(last) = usize::try_from(changes).ok()?.checked_sub(1) else {
            return Some(self.key.clone());
        };
        while self.near.len() <= last {
            let next = self.near.last().unwrap_or(&self.key).next_key();
            self.near.push(next);
        }
        self.near.get(last).cloned()
    }

    /// What was walked is kept for the next packet.
    fn far_key(
        &mut self,
        changes: u64,
        now: Instant,
        Budget(worker): &mut Budget,
    ) -> Option<SessionKey> {
        let begin = self.scout.take().filter(|&(at, _)| at <= changes);
        let (mut at, mut key) = begin.unwrap_or_else(|| (0, self.key.clone()));
        let mut left = self.changes.left(now).min(worker.left(now));
        while at < changes && left > 0 {
            key = key.next_key();
            (at, left) = (at + 1, left - 1);
            self.changes.spend(1);
            worker.spend(1);
        }
        self.scout = Some((at, key.clone()));
        (at == changes).then_some(key)
    }
}

/// Packets and key changes in a turn of the count.
const TURN: u32 = CoherencyCount::MODULUS as u32;
const CHANGES_PER_TURN: u64 = TURN as u64 / 256;
/// The most changes that lead to a packet that is less than a turn ahead.
const NEAR: u64 = CHANGES_PER_TURN + EXTRA_CHANGES as u64;

/// Key changes from before the packet of count `next` to that of the packet `steps` later, whose
/// own is among them (RFC 3078 §8.2).
const fn changes(next: CoherencyCount, steps: u16) -> u64 {
    ((next.value() as u64 + steps as u64 + 1) >> 8) - (next.value() as u64 >> 8)
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender")
            .field("next", &self.next)
            .field("flush", &self.flush)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").field("next", &self.next).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use protocol::mppe::{StartKey, Strength};

    use super::*;

    const NOW: Instant = Instant::from_micros(1_000_000);

    fn initial() -> SessionKey {
        SessionKey::initial(&StartKey::new(&[7; 16], Strength::Bits128))
    }

    /// The sending side of Linux's ppp_mppe.c: a key change at every flushed packet.
    struct Linux {
        key: SessionKey,
        tables: Tables,
        count: u16,
        flush: bool,
    }

    impl Linux {
        fn new() -> Self {
            Self { key: initial(), tables: Tables::of(&initial()), count: 4095, flush: false }
        }

        fn encrypt(&mut self, data: &mut [u8]) -> Header {
            self.count = (self.count + 1) % 4096;
            let flushed = self.count & 0xFF == 0xFF || std::mem::take(&mut self.flush);
            if flushed {
                self.key = self.key.next_key();
                self.tables = Tables::of(&self.key);
            }
            self.tables.apply(data, |_| true);
            let count = CoherencyCount::of_packet(self.count.into());
            Header { flushed, encrypted: true, count }
        }
    }

    /// The sending side as RFC 3078 §8.2 has it: a flushed packet begins the same key again.
    struct Literal {
        key: SessionKey,
        tables: Tables,
        next: u64,
        flush: bool,
    }

    impl Literal {
        fn new() -> Self {
            Self { key: initial(), tables: Tables::of(&initial()), next: 0, flush: true }
        }

        fn encrypt(&mut self, data: &mut [u8]) -> Header {
            let count = CoherencyCount::of_packet(self.next);
            self.next += 1;
            if is_flag(count) {
                self.key = self.key.next_key();
            }
            let flushed = is_flag(count) || std::mem::take(&mut self.flush);
            if flushed {
                self.tables = Tables::of(&self.key);
            }
            self.tables.apply(data, |_| true);
            Header { flushed, encrypted: true, count }
        }
    }

    /// The receiving side of Linux's ppp_mppe.c; `false` for a packet that it discards.
    struct LinuxReceiver {
        key: SessionKey,
        tables: Tables,
        count: u16,
        discards: bool,
    }

    impl LinuxReceiver {
        fn decrypt(&mut self, header: Header, data: &mut [u8]) -> bool {
            let rekey = |key: &mut SessionKey, tables: &mut Tables| {
                *key = key.next_key();
                *tables = Tables::of(key);
            };
            let count = header.count.value();
            if self.discards {
                if !header.flushed {
                    return false;
                }
                while count & !0xFF != self.count & !0xFF {
                    rekey(&mut self.key, &mut self.tables);
                    self.count = (self.count + 256) % 4096;
                }
                self.discards = false;
                self.count = count;
            } else {
                self.count = (self.count + 1) % 4096;
                if count != self.count {
                    self.discards = true;
                    return false;
                }
            }
            if header.flushed {
                rekey(&mut self.key, &mut self.tables);
            }
            self.tables.apply(data, |_| true);
            true
        }
    }

    enum Peer {
        Ours(Sender),
        Linux(Linux),
        Literal(Literal),
    }

    impl Peer {
        fn encrypt(&mut self, data: &mut [u8]) -> Header {
            match self {
                Self::Ours(peer) => peer.encrypt(data),
                Self::Linux(peer) => peer.encrypt(data),
                Self::Literal(peer) => peer.encrypt(data),
            }
        }

        fn flush(&mut self) {
            match self {
                Self::Ours(peer) => peer.flush(),
                Self::Linux(peer) => peer.flush = true,
                Self::Literal(peer) => peer.flush = true,
            }
        }
    }

    fn peers() -> [Peer; 3] {
        [
            Peer::Ours(Sender::new(initial())),
            Peer::Linux(Linux::new()),
            Peer::Literal(Literal::new()),
        ]
    }

    /// Packet `number` of a direction.
    fn plaintext(number: u32) -> Vec<u8> {
        [b"packet".as_slice(), &number.to_be_bytes()].concat()
    }

    /// Sends `packets` packets, of which those that `lost` names are lost, and asks for a flush as
    /// a link does. Returns how many arrived, and when the last that did not.
    fn exchange(peer: Peer, packets: u32, lost: impl Fn(u32) -> bool) -> (u32, Option<u32>) {
        exchange_with(&mut Receiver::new(initial()), peer, packets, lost)
    }

    fn exchange_with(
        receiver: &mut Receiver,
        mut peer: Peer,
        packets: u32,
        lost: impl Fn(u32) -> bool,
    ) -> (u32, Option<u32>) {
        let mut budget = Budget::default();
        let (mut arrived, mut failed, mut newest) = (0, None, None);
        for number in 0..packets {
            let mut data = plaintext(number);
            let header = peer.encrypt(&mut data);
            if lost(number) {
                continue;
            }
            let missing = newest.map(|newest| number - newest - 1);
            let expected = plaintext(number);
            let believes = |data: &[u8]| data == expected;
            match receiver.decrypt(header, missing, NOW, &mut budget, &mut data, believes) {
                Ok(()) => (arrived, newest) = (arrived + 1, Some(number)),
                Err(refused) => {
                    assert_eq!(refused, Refused::OutOfStep, "{number}");
                    failed = Some(number);
                    peer.flush();
                }
            }
        }
        (arrived, failed)
    }

    #[test]
    fn without_loss_every_peer_is_understood_over_flags_and_turns() {
        for peer in peers() {
            assert_eq!(exchange(peer, 9000, |_| false), (9000, None));
        }
    }

    /// RFC 3078 §8.2: one packet, a flag packet, more than 256, more than a whole turn.
    #[test]
    fn after_a_loss_the_next_flushed_packet_is_understood() {
        for gap in [10..11, 254..255, 255..256, 250..260, 300..700, 4000..4200, 100..5000, 0..3] {
            for peer in peers() {
                let (arrived, failed) = exchange(peer, 10_000, |number| gap.contains(&number));
                let sent = 10_000 - (gap.end - gap.start);
                assert!(arrived + 2 >= sent, "{gap:?} {arrived} {failed:?}");
            }
        }
    }

    #[test]
    fn a_flushed_packet_that_is_lost_too_is_asked_for_again() {
        for peer in peers() {
            let lost = |number| number % 100 == 7 || number % 100 == 9 || number % 1000 == 11;
            let (arrived, _) = exchange(peer, 5000, lost);
            assert!(arrived > 4700, "{arrived}");
        }
    }

    #[test]
    fn linux_understands_what_we_send_and_flush() {
        for first_lost in [3_u32, 254, 255, 256, 300, 4094, 4095] {
            for lost in [1, 2, 250, 300] {
                let mut sender = Sender::new(initial());
                let mut linux = LinuxReceiver {
                    key: initial(),
                    tables: Tables::of(&initial()),
                    count: 4095,
                    discards: false,
                };
                let (mut asked, mut discarded) = (None, 0);
                for number in 0..10_000 {
                    let mut data = plaintext(number);
                    let header = sender.encrypt(&mut data);
                    if (first_lost..first_lost + lost).contains(&number) {
                        continue;
                    }
                    if linux.decrypt(header, &mut data) {
                        assert_eq!(data, plaintext(number), "{first_lost} {lost} {number}");
                    } else {
                        discarded += 1;
                        asked = asked.or(Some(number));
                    }
                    // Its Reset-Request takes a while. A flag packet may have come before it: the
                    // counts that are skipped then look like a second loss.
                    if asked.is_some_and(|at| number == at + 5) {
                        asked = None;
                        sender.flush();
                    }
                }
                assert!((1..=12).contains(&discarded), "{first_lost} {lost} {discarded}");
            }
        }
    }

    #[test]
    fn a_forged_packet_moves_nothing_whatever_it_claims() {
        let (mut sender, mut receiver) = (Sender::new(initial()), Receiver::new(initial()));
        let mut budget = Budget::default();
        for number in 0..600_u32 {
            for (flushed, count) in [(false, number), (true, number), (true, number * 7 + 1)] {
                let count = CoherencyCount::of_packet(count.into());
                let forged = Header { flushed, encrypted: true, count };
                let mut data = [number.to_be_bytes()[3]; 40];
                let before = data;
                let result =
                    receiver.decrypt(forged, Some(5000), NOW, &mut budget, &mut data, |_| false);
                assert!(result.is_err() && data == before);
            }
            let mut data = plaintext(number);
            let header = sender.encrypt(&mut data);
            let expected = plaintext(number);
            let believes = |data: &[u8]| data == expected;
            let result = receiver.decrypt(header, Some(0), NOW, &mut budget, &mut data, believes);
            assert_eq!((result, data), (Ok(()), expected));
        }
    }

    /// Forges packets far ahead until the tunnel may change no more keys.
    fn exhausted() -> Receiver {
        let mut receiver = Receiver::new(initial());
        let header = Header { flushed: true, encrypted: true, count: CoherencyCount::default() };
        let mut budget = Budget::default();
        for _ in 0..200 {
            let far = Some(u32::MAX);
            let refused = receiver.decrypt(header, far, NOW, &mut budget, &mut [1; 40], |_| false);
            assert_eq!(refused, Err(Refused::OverBudget));
        }
        assert_eq!(receiver.changes.left(NOW), 0);
        receiver
    }

    #[test]
    fn forgers_take_no_key_from_honest_packets() {
        for peer in peers() {
            assert_eq!(exchange_with(&mut exhausted(), peer, 9000, |_| false), (9000, None));
        }
        for peer in peers() {
            let lost = |number| (250..600).contains(&number);
            let (arrived, failed) = exchange_with(&mut exhausted(), peer, 9000, lost);
            assert!(arrived + 2 >= 8650, "{arrived} {failed:?}");
        }
    }

    #[test]
    fn what_flushed_packets_far_ahead_cost_is_bounded() {
        let header = Header { flushed: true, encrypted: true, count: CoherencyCount::default() };
        // A walk that the budget ended goes on where it was.
        let mut receiver = exhausted();
        let (before, _) = receiver.scout.clone().unwrap();
        let (later, mut budget) = (NOW + Duration::from_millis(100), Budget::default());
        let far = Some(u32::MAX);
        let refused = receiver.decrypt(header, far, later, &mut budget, &mut [1; 40], |_| false);
        assert_eq!(refused, Err(Refused::OverBudget));
        let (at, _) = receiver.scout.clone().unwrap();
        assert_eq!((before, at), (1024, 1224));
        // Nor do many tunnels take more than the worker's.
        let mut budget = Budget::default();
        for _ in 0..100 {
            let mut receiver = Receiver::new(initial());
            let refused = receiver.decrypt(header, far, NOW, &mut budget, &mut [1; 40], |_| false);
            assert_eq!(refused, Err(Refused::OverBudget));
        }
        assert_eq!(budget.0.left(NOW), 0);
    }

    proptest! {
        #[test]
        fn whatever_is_lost_the_rest_is_understood(
            lost in proptest::collection::vec(0_u32..3000, 0..60), which in 0_usize..3,
        ) {
            let [ours, linux, literal] = peers();
            let peer = [ours, linux, literal].into_iter().nth(which).unwrap();
            let (arrived, failed) = exchange(peer, 4000, |number| lost.contains(&number));
            let spared = 4000 - 3 * u32::try_from(lost.len()).unwrap();
            prop_assert!(arrived >= spared, "{}", arrived);
            prop_assert!(failed.is_none_or(|number| number < 3300));
        }
    }
}
