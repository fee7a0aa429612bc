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

/// A gap of this many packets to each one that came is small. Loss makes such gaps, and half of
/// the worker's budget is kept for them.
const SMALL_GAP: u64 = 8;
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
    groups: Groups<Group>,
    pub(super) keys: Chains,
    /// For each key: whether a packet that used it was accepted.
    used: Vec<bool>,
    now: Instant,
    budget: Budget,
}

#[derive(Debug)]
struct Packet {
    slot: u32,
    sequence: u32,
    header: Header,
    length: usize,
    /// Number of the packet, and whether it is before the base.
    number: u64,
    behind: bool,
    key: usize,
    group: usize,
    status: Result<(), Refused>,
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
    /// What is left of the budget after the burst, if it takes from it.
    budget: Option<u32>,
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
            short: Refused::WalkPending,
            newest: None,
            strength: state.strength,
        }
    }

    /// What lies within a slice of the base is walked from there, so that the keys in between are
    /// known and packets that come after it are not too late.
    #[inline]
    fn want(&mut self, number: u64) {
        let is_near = number - self.near.from < u64::from(SLICE);
        if number < self.far.from || is_near {
            self.near.want(number);
        } else {
            self.far.want(number);
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
        self.extra() <= SMALL_GAP * u64::from(self.packets)
    }

    /// Decides how far the burst walks, and adds the pieces to its chains. At most `share` is
    /// walked beyond a step for each packet; returns how much was.
    #[inline]
    fn walk(&mut self, state: &ReceiveState, share: u32, now: Instant, keys: &mut Chains) -> u32 {
        let wanted = self.near.wanted + self.far.wanted;
        let (near, far, extra) = if wanted <= self.packets.into() {
            // One step for each packet is free: every honest packet needs one.
            let all = |wanted| steps(wanted, self.packets) as usize;
            (all(self.near.wanted), all(self.far.wanted), 0)
        } else {
            self.stretch(state, share, now)
        };
        self.near.steps = near;
        self.near.first = keys.add(state.strength, state.start, state.key, near);
        self.far.steps = far;
        self.far.first = keys.add(state.strength, state.start, state.scout_key, far);
        extra
    }

    /// How many steps the pieces get that ask for more than is free, and how many of them are paid
    /// from the budgets.
    #[cold]
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
        (near as usize, far as usize, extra)
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
    }

    /// Adds a packet of the tunnel in `slot`, with its GRE sequence number and `length` octets of
    /// payload after the MPPE header; returns its index.
    #[inline]
    pub fn push(&mut self, slot: u32, sequence: u32, header: Header, length: usize) -> usize {
        self.packets.push(Packet {
            slot,
            sequence,
            header,
            length,
            number: 0,
            behind: false,
            key: 0,
            group: 0,
            status: Err(Refused::Plaintext),
            accepted: false,
        });
        self.packets.len() - 1
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
        self.groups.start(self.packets.len());
        for packet in &mut self.packets {
            packet.status = place(packet, states, &mut self.groups, &mut self.keys);
        }
        let (small, large) = self.shares();
        for (slot, group) in self.groups.iter_mut() {
            if let Some(state) = states.state(slot) {
                let share = if group.has_small_gap() { small } else { large };
                self.budget.spend(group.walk(state, share, now, &mut self.keys));
            }
        }
        self.keys.packets.reserve(self.packets.len());
        for (index, packet) in self.packets.iter_mut().enumerate() {
            if packet.status.is_err() {
                continue;
            }
            let Some(group) = self.groups.get_mut(packet.group) else { continue };
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
        self.packets.get(packet).map_or(Err(Refused::NoKeys), |packet| packet.status)
    }

    /// The caller's verdict that a decrypted packet is what the tunnel's peer sent: inner
    /// protocol, IP version and length, source address. Without it the packet is refused.
    #[inline]
    pub fn accept(&mut self, packet: usize) {
        if let Some(packet) = self.packets.get_mut(packet) {
            packet.accepted = true;
        }
    }

    /// Moves the tunnels' keys, counts, skipped keys and budgets, and ends the burst; the status
    /// of its packets can still be asked for. Of several accepted packets with one number the
    /// first counts.
    pub fn commit(&mut self, states: &mut (impl States<ReceiveState> + ?Sized)) {
        self.used.resize(self.keys.used, false);
        for packet in self.packets.iter_mut().filter(|packet| packet.status.is_ok()) {
            packet.status = if packet.accepted {
                count(packet, states, &mut self.groups, &mut self.used)
            } else {
                Err(Refused::Plaintext)
            };
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
        self.groups.clear();
        self.keys.clear();
        self.used.clear();
    }
}

/// Finds a packet's number, and its key if it is a late one.
#[inline]
fn place(
    packet: &mut Packet,
    states: &mut (impl States<ReceiveState> + ?Sized),
    groups: &mut Groups<Group>,
    keys: &mut Chains,
) -> Result<(), Refused> {
    if !packet.header.encrypted {
        return Err(Refused::NotEncrypted);
    }
    if !packet.header.flushed {
        return Err(Refused::NotFlushed);
    }
    let state = states.state(packet.slot).ok_or(Refused::NoKeys)?;
    let (index, group) = groups
        .find_or_insert_with(packet.slot, || Some(Group::new(state)))
        .ok_or(Refused::NoKeys)?;
    packet.group = index;
    match state.place(packet.sequence, packet.header.count) {
        Place::Inconsistent => return Err(Refused::Inconsistent),
        Place::Ahead(number) => {
            packet.number = number;
            group.want(number);
            group.packets += 1;
        }
        Place::Behind(number) => {
            packet.number = number;
            packet.behind = true;
            let place = state.skipped(number).ok_or_else(|| {
                if state.remembers(number) { Refused::Replay } else { Refused::Late }
            })?;
            packet.key = keys.add_known(state.skipped_key(place));
        }
    }
    Ok(())
}

/// Lets an accepted packet count, unless one of its number has counted before.
#[inline]
fn count(
    packet: &Packet,
    states: &mut (impl States<ReceiveState> + ?Sized),
    groups: &mut Groups<Group>,
    used: &mut [bool],
) -> Result<(), Refused> {
    if packet.behind {
        let state = states.state(packet.slot).ok_or(Refused::NoKeys)?;
        return if state.take_skipped(packet.number) { Ok(()) } else { Err(Refused::Replay) };
    }
    let group = groups.get_mut(packet.group).ok_or(Refused::NoKeys)?;
    if std::mem::replace(&mut used[packet.key], true) {
        return Err(Refused::Replay);
    }
    if group.newest.is_none_or(|newest| newest.number < packet.number) {
        let Packet { number, sequence, key, .. } = *packet;
        group.newest = Some(Newest { number, sequence, key });
    }
    Ok(())
}
