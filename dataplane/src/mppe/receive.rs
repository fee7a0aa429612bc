//! A burst of packets to decrypt.
//!
//! Implements RFC 3078 §8.1 for a path that loses and reorders: missing rekeys from count and
//! GRE sequence number, skipped keys for late packets, a bound on what one packet can cost.
//! Never trusts a plaintext: a packet counts only if its caller accepted it.

use protocol::mppe::{Header, Strength};
use protocol::time::Instant;
use thiserror::Error;

use super::chain::{Chains, Keyed};
use super::groups::Groups;
use super::kernel::packet::Key;
use super::state::{Place, REKEYS_PER_SECOND_OF_WORKER, SkippedKey};
use super::{ReceiveState, States};
use crate::limit::Bucket;

/// Steps that a burst may walk in one tunnel beyond one for each packet…
const SLICE: u32 = 64;
/// …and as many more for each of the tunnel's packets, so that a faster sender is caught up
/// with faster.
const SLICE_PER_PACKET: u32 = 16;

/// A gap of this many packets to each one that came is small. Loss makes such gaps: half of the
/// worker's budget is kept for them, and what they cost is given back when the packets behind them
/// turn out to be the peer's. A worker that more comes to than it can carry loses packets of
/// everyone, all the time; were it to fall behind with keys, it could carry none.
const SMALL_GAP: u32 = 8;
/// That half.
const RESERVE: u32 = REKEYS_PER_SECOND_OF_WORKER / 2;

/// A worker's budget: a token every microsecond.
type Budget = Bucket<REKEYS_PER_SECOND_OF_WORKER, 1>;

/// Why a packet is not decrypted, or why it does not count although it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum Refused {
    /// The tunnel has no state: it is not encrypted, or gone.
    #[error("the tunnel has no MPPE keys")]
    NoKeys,
    /// Bit D is clear (RFC 3078 §3.1).
    #[error("MPPE header without the encrypted bit")]
    NotEncrypted,
    /// Bit A is clear, but stateless mode sets it on every packet (RFC 3078 §3.1).
    #[error("MPPE header without the flushed bit, which stateless mode requires")]
    NotFlushed,
    /// More packets would be missing than sequence numbers.
    #[error("coherency count and sequence number contradict each other")]
    Inconsistent,
    /// The packet comes so late that its key is no longer kept.
    #[error("too late: the packet's key is no longer kept")]
    Late,
    /// A packet of this number was accepted before.
    #[error("replay: a packet of this number was accepted before")]
    Replay,
    /// The packet follows a long gap that is walked over several bursts.
    #[error("far ahead: the walk over a long gap is under way")]
    WalkPending,
    /// The packet is far ahead and a budget of key changes, the tunnel's or the worker's, is used
    /// up.
    #[error("far ahead: the budget of key changes is used up")]
    OverBudget,
    /// The caller has not accepted its plaintext.
    #[error("the plaintext was not accepted")]
    Plaintext,
}

/// A burst to decrypt. To be kept and used again: it allocates only while it grows.
#[derive(Debug, Default)]
pub struct ReceiveBurst {
    packets: Vec<Packet>,
    /// Each has the chain of the same index for what it walks from its base.
    groups: Groups<Group>,
    pub(super) keys: Chains,
    /// For each key: whether a packet that used it was accepted.
    used: Vec<bool>,
    /// Whether a tunnel may need more than a key for each of its packets.
    has_gaps: bool,
    /// Whether a packet was accepted that comes late.
    has_late: bool,
    committed: bool,
    now: Instant,
    budget: Budget,
}

#[derive(Debug)]
struct Packet {
    /// Number of the packet.
    number: u64,
    length: usize,
    key: usize,
    group: usize,
    sequence: u32,
    status: Result<(), Refused>,
    /// Whether the packet is before the base.
    behind: bool,
    accepted: bool,
}

/// The packets of one tunnel.
#[derive(Debug)]
struct Group {
    /// From the base on.
    near: Piece,
    /// From where an earlier burst's walk ended.
    far: Piece,
    packets: u32,
    /// What is left of the budget after the burst, if it takes from it, and how much it takes.
    budget: Option<u32>,
    paid: u32,
    /// Why packets beyond the pieces are refused.
    short: Refused,
    /// The newest accepted packet.
    newest: Option<Newest>,
    strength: Strength,
}

/// Consecutive packet numbers whose keys the burst walks.
#[derive(Debug, Clone, Copy)]
struct Piece {
    /// The first number.
    from: u64,
    /// How many numbers the burst's packets ask for.
    wanted: u64,
    /// How many it gets.
    steps: usize,
    /// Index of the first key.
    first: usize,
}

#[derive(Debug, Clone, Copy)]
struct Newest {
    number: u64,
    sequence: u32,
    key: usize,
}

impl Piece {
    const fn new(from: u64) -> Self {
        Self { from, wanted: 0, steps: 0, first: 0 }
    }

    fn want(&mut self, number: u64) {
        self.wanted = self.wanted.max(number - self.from + 1);
    }

    #[inline]
    fn walk(&mut self, steps: usize, chain: usize, keys: &mut Chains) {
        self.steps = steps;
        self.first = keys.walk(chain, steps);
    }

    /// Index of the key of packet `number`, if it is among those walked.
    #[inline]
    fn key(&self, number: u64) -> Option<usize> {
        let step = usize::try_from(number.checked_sub(self.from)?).ok()?;
        (step < self.steps).then(|| self.first + step)
    }

    /// The number after the last one, and its predecessor's key.
    fn end(&self, keys: &[Key]) -> Option<(u64, Key)> {
        let last = self.steps.checked_sub(1)?;
        Some((self.from + self.steps as u64, *keys.get(self.first + last)?))
    }
}

impl Group {
    fn new(state: &ReceiveState) -> Self {
        Self {
            near: Piece::new(state.next),
            // No number lies beyond the last one: without a walk under way all is near.
            far: Piece::new(if state.scout == 0 { u64::MAX } else { state.scout }),
            packets: 0,
            budget: None,
            paid: 0,
            short: Refused::WalkPending,
            newest: None,
            strength: state.strength,
        }
    }

    /// What lies within a slice of the base is walked from there, so that the keys in between are
    /// known and packets that come after it are not too late. Whether there may be a gap: more to
    /// walk, so far, than there are packets.
    #[inline]
    fn want(&mut self, number: u64) -> bool {
        let is_near = number - self.near.from < u64::from(SLICE);
        if number < self.far.from || is_near {
            self.near.want(number);
            self.near.wanted > self.packets.into()
        } else {
            self.far.want(number);
            true
        }
    }

    #[inline]
    fn key(&self, number: u64) -> Option<usize> {
        self.near.key(number).or_else(|| self.far.key(number))
    }

    /// Key changes that it asks for beyond one for each packet, which every honest packet needs.
    fn extra(&self) -> u64 {
        (self.near.wanted + self.far.wanted).saturating_sub(self.packets.into())
    }

    fn has_small_gap(&self) -> bool {
        self.extra() <= u64::from(SMALL_GAP) * u64::from(self.packets)
    }

    /// Decides how far a burst with gaps walks, and adds the pieces to its chains. At most `share` is
    /// walked beyond a step for each packet; returns how much was.
    #[cold]
    fn walk(
        &mut self,
        chain: usize,
        state: &ReceiveState,
        share: u32,
        now: Instant,
        keys: &mut Chains,
    ) -> u32 {
        let wanted = self.near.wanted + self.far.wanted;
        let (near, far, extra) = if wanted <= self.packets.into() {
            // One step for each packet is free: every honest packet needs one.
            let all = |wanted| steps(wanted, self.packets) as usize;
            (all(self.near.wanted), all(self.far.wanted), 0)
        } else {
            self.stretch(state, share, now)
        };
        self.near.walk(near, chain, keys);
        if far > 0 {
            let chain = keys.begin(state.strength, state.start, state.scout_key);
            self.far.walk(far, chain, keys);
        }
        extra
    }

    /// How many steps the pieces get that ask for more than is free, and how many of them are paid
    /// from the budgets.
    fn stretch(&mut self, state: &ReceiveState, share: u32, now: Instant) -> (usize, usize, u32) {
        let of_tunnel = state.budget_at(now);
        let budget = of_tunnel.min(share);
        let slice = SLICE.saturating_add(SLICE_PER_PACKET.saturating_mul(self.packets));
        let allowed = self.packets.saturating_add(slice.min(budget));
        self.short = if budget < slice { Refused::OverBudget } else { Refused::WalkPending };
        let near = steps(self.near.wanted, allowed);
        // Packets near the base come first, whatever a spoofed one claims.
        let far = if u64::from(near) == self.near.wanted {
            steps(self.far.wanted, allowed - near)
        } else {
            0
        };
        let extra = (near + far).saturating_sub(self.packets);
        self.budget = Some(of_tunnel - extra);
        self.paid = extra;
        (near as usize, far as usize, extra)
    }

    /// Gives back what a small gap before a packet has cost that was accepted; returns how much.
    fn give_back(&mut self) -> u32 {
        let back = self.paid.min(SMALL_GAP);
        self.paid -= back;
        self.budget = self.budget.map(|left| left + back);
        back
    }

    /// Where the walk that did not reach its packets has come to. The nearest goal wins, so that
    /// a spoofed packet far ahead cannot lead it astray for ever.
    fn scout(&self, keys: &[Key]) -> Option<(u64, Key)> {
        if self.near.wanted > self.near.steps as u64 {
            self.near.end(keys)
        } else {
            self.far.end(keys)
        }
    }
}

/// `wanted`, but at most `allowed`.
fn steps(wanted: u64, allowed: u32) -> u32 {
    u32::try_from(wanted).unwrap_or(u32::MAX).min(allowed)
}

impl ReceiveBurst {
    /// Starts a new burst. What was not committed is forgotten.
    pub fn clear(&mut self) {
        self.packets.clear();
        self.groups.clear();
        self.keys.clear();
        self.used.clear();
        (self.has_gaps, self.has_late, self.committed) = (false, false, false);
    }

    /// Adds a packet of the tunnel in `slot`, with its GRE sequence number and `length` octets of
    /// payload after the MPPE header; returns its index. Of the tunnel's state, without which nothing
    /// is decrypted, only what says where in the burst it is may change.
    #[inline]
    pub fn push(
        &mut self,
        slot: u32,
        state: Option<&mut ReceiveState>,
        sequence: u32,
        header: Header,
        length: usize,
    ) -> usize {
        let index = self.packets.len();
        let mut packet = Packet {
            number: 0,
            length,
            key: 0,
            group: usize::MAX,
            sequence,
            status: Ok(()),
            behind: false,
            accepted: false,
        };
        packet.status = self.place(&mut packet, slot, state, header);
        self.packets.push(packet);
        index
    }

    /// Finds a packet's number, and its key if it is a late one.
    #[inline]
    fn place(
        &mut self,
        packet: &mut Packet,
        slot: u32,
        state: Option<&mut ReceiveState>,
        header: Header,
    ) -> Result<(), Refused> {
        if !header.encrypted {
            return Err(Refused::NotEncrypted);
        }
        if !header.flushed {
            return Err(Refused::NotFlushed);
        }
        let state = state.ok_or(Refused::NoKeys)?;
        let place = state.place(packet.sequence, header.count);
        let mut mark = state.mark;
        packet.group = self.groups.place(slot, &mut mark, || {
            self.keys.begin(state.strength, state.start, state.key);
            Group::new(state)
        });
        state.mark = mark;
        match place {
            Place::Inconsistent => return Err(Refused::Inconsistent),
            Place::Ahead(number) => {
                packet.number = number;
                if let Some(group) = self.groups.get_mut(packet.group) {
                    group.packets += 1;
                    self.has_gaps |= group.want(number);
                }
            }
            Place::Behind(number) => {
                packet.number = number;
                packet.behind = true;
                packet.key = self.keys.add_known(late_key(state, number)?);
            }
        }
        Ok(())
    }

    /// Packets in the burst.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.packets.len()
    }

    /// Whether nothing was pushed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Finds out which keys the burst needs and how far it may walk for them. States do not move.
    pub fn plan(&mut self, now: Instant, states: &mut (impl States<ReceiveState> + ?Sized)) {
        self.now = now;
        if self.has_gaps {
            self.plan_gaps(states);
        } else {
            for (chain, (_, group)) in self.groups.iter_mut().enumerate() {
                // No more than the burst has packets.
                let wanted = usize::try_from(group.near.wanted).unwrap_or_default();
                group.near.walk(wanted, chain, &mut self.keys);
            }
        }
        for (index, packet) in self.packets.iter_mut().enumerate() {
            if packet.status.is_err() {
                continue;
            }
            let Some((_, group)) = self.groups.get(packet.group) else { continue };
            if !packet.behind {
                match group.key(packet.number) {
                    Some(key) => packet.key = key,
                    None => {
                        packet.status = Err(group.short);
                        continue;
                    }
                }
            }
            self.keys.packets.push(Keyed {
                packet: index,
                key: packet.key,
                length: packet.length,
                strength: group.strength,
            });
        }
        self.used.resize(self.keys.used, false);
    }

    #[cold]
    fn plan_gaps(&mut self, states: &mut (impl States<ReceiveState> + ?Sized)) {
        let (small, large) = self.shares();
        for (chain, (slot, group)) in self.groups.iter_mut().enumerate() {
            if let Some(state) = states.state(slot) {
                let share = if group.has_small_gap() { small } else { large };
                let extra = group.walk(chain, state, share, self.now, &mut self.keys);
                self.budget.spend(extra);
            }
        }
    }

    /// What each tunnel of the burst may take of the worker's budget: with a small gap, and with a
    /// large one.
    fn shares(&mut self) -> (u32, u32) {
        let (mut small, mut large) = (0, 0);
        for (_, group) in self.groups.iter_mut().filter(|(_, group)| group.extra() > 0) {
            if group.has_small_gap() {
                small += 1;
            } else {
                large += 1;
            }
        }
        if small + large == 0 {
            return (0, 0);
        }
        let left = self.budget.left(self.now);
        (
            left / (small + large),
            left.saturating_sub(RESERVE).checked_div(large).unwrap_or_default(),
        )
    }

    /// After `plan`: whether the packet can be decrypted. After `commit`: whether it counts; only
    /// then it may be forwarded.
    ///
    /// # Errors
    ///
    /// The reason why not.
    #[inline]
    pub fn status(&self, packet: usize) -> Result<(), Refused> {
        match self.packets.get(packet) {
            Some(packet) if self.committed && !packet.accepted => {
                packet.status.and(Err(Refused::Plaintext))
            }
            Some(packet) => packet.status,
            None => Err(Refused::NoKeys),
        }
    }

    /// The caller's verdict that a decrypted packet is what the tunnel's peer sent: inner
    /// protocol, IP version and length, source address. Without it the packet is refused. Of several
    /// with one number the first counts.
    #[inline]
    pub fn accept(&mut self, packet: usize) {
        let Some(packet) = self.packets.get_mut(packet) else { return };
        if packet.status.is_err() || packet.accepted {
            return;
        }
        if packet.behind {
            packet.accepted = true;
            self.has_late = true;
            return;
        }
        let (Some(group), Some(used)) =
            (self.groups.get_mut(packet.group), self.used.get_mut(packet.key))
        else {
            return;
        };
        if std::mem::replace(used, true) {
            packet.status = Err(Refused::Replay);
            return;
        }
        packet.accepted = true;
        if group.newest.is_none_or(|newest| newest.number < packet.number) {
            let Packet { number, sequence, key, .. } = *packet;
            group.newest = Some(Newest { number, sequence, key });
        }
    }

    /// Moves the tunnels' keys, counts, skipped keys and budgets, and ends the burst; the status
    /// of its packets can still be asked for.
    pub fn commit(&mut self, states: &mut (impl States<ReceiveState> + ?Sized)) {
        if self.has_late {
            self.count_late(states);
        }
        if self.has_gaps {
            self.give_back();
        }
        let (keys, used) = (&self.keys.keys, &self.used);
        for (slot, group) in self.groups.iter_mut() {
            let Some(state) = states.state(slot) else { continue };
            if let Some(left) = group.budget {
                state.set_budget(left, self.now);
            }
            if let Some((next, key)) = group.scout(keys) {
                state.set_scout(next, key);
            }
            let Some(newest) = group.newest else { continue };
            state.advance(newest.number, newest.sequence, keys[newest.key], |number| {
                match group.key(number) {
                    Some(key) if used[key] => SkippedKey::Accepted,
                    Some(key) => SkippedKey::Known(keys[key]),
                    None => SkippedKey::Unknown,
                }
            });
        }
        self.committed = true;
        self.groups.clear();
        self.keys.clear();
        self.used.clear();
    }

    /// Each accepted packet pays for the small gap before it.
    #[cold]
    fn give_back(&mut self) {
        for packet in self.packets.iter().filter(|packet| packet.accepted && !packet.behind) {
            if let Some(group) = self.groups.get_mut(packet.group) {
                self.budget.give_back(group.give_back());
            }
        }
    }

    /// Lets accepted late packets count, unless one of their number has counted before.
    #[cold]
    fn count_late(&mut self, states: &mut (impl States<ReceiveState> + ?Sized)) {
        for packet in self.packets.iter_mut().filter(|packet| packet.behind && packet.accepted) {
            let state = self.groups.get(packet.group).and_then(|(slot, _)| states.state(*slot));
            let taken = state.is_some_and(|state| state.take_skipped(packet.number));
            if !taken {
                packet.status = Err(Refused::Replay);
            }
        }
    }
}

/// The key of a late packet, if it was kept.
#[cold]
fn late_key(state: &ReceiveState, number: u64) -> Result<Key, Refused> {
    match state.skipped(number) {
        Some(place) => Ok(state.skipped_key(place)),
        None if state.remembers(number) => Err(Refused::Replay),
        None => Err(Refused::Late),
    }
}
