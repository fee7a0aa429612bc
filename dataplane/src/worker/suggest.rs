//! Which tunnels another worker should have: those whose packets nearly all arrive there, and, where
//! this one has too much to do, some of its own.
//!
//! Looks at one packet out of [`EVERY`], and only at such that were handed over, so that a packet
//! costs nothing more. Says what it found, and moves nothing.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::Core;
use crate::api::TunnelId;
use crate::balance::{Why, Wish};
use crate::frame::Frame;
use crate::mailbox::{Handed, Shed};
use crate::table::{Call, Direction, Place, Tunnel};
use crate::uplink;

/// Of so many packets that were handed over, one is looked at, on average.
const EVERY: u32 = 64;
/// So many of a tunnel's in a row, all from one worker, say that it should be that worker's…
const ENOUGH: u32 = 8;
/// …if no more than this share of them stands for all of the tunnel's packets.
const SHARE: u64 = 2;
/// Tunnels that are watched at once.
const WATCHED: usize = 1 << 14;
/// Packets that are looked at to find out what this worker is busy with, and turns for it.
const LOOKED_AT: usize = 512;
const TURNS: u32 = 64;

/// What was noticed so far.
#[derive(Debug)]
pub(super) struct Suggestions {
    /// Packets until one is looked at.
    next: u32,
    seed: u32,
    votes: HashMap<u32, Vote, RandomState>,
    shedding: Option<Shedding>,
}

#[derive(Debug)]
struct Vote {
    tunnel: TunnelId,
    by: u16,
    count: u32,
    /// The tunnel's packets when the first of them was looked at.
    packets: u64,
}

/// A worker that has too much looks for what it could give away.
#[derive(Debug)]
struct Shedding {
    order: Shed,
    /// Tunnels of the packets that were seen.
    slots: Vec<u32>,
    turns: u32,
}

impl Default for Suggestions {
    fn default() -> Self {
        Self { next: EVERY, seed: 1, votes: HashMap::default(), shedding: None }
    }
}

impl Suggestions {
    /// Whether to look at a packet. Not at every so-many-th: traffic may have that rhythm too.
    fn is_next(&mut self) -> bool {
        self.next -= 1;
        if self.next > 0 {
            return false;
        }
        // The constants of Numerical Recipes; the upper bits are good.
        self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.next = 1 + (self.seed >> 16) % (2 * EVERY - 1);
        true
    }
}

fn packets(tunnel: &Tunnel) -> u64 {
    tunnel.shared.rx_packets.get() + tunnel.shared.tx_packets.get()
}

impl Core {
    /// A worker handed this over.
    #[inline]
    pub(super) fn notice(&mut self, by: u16, handed: &Handed) {
        if self.suggestions.is_next() {
            self.look(by, handed);
        }
    }

    #[cold]
    fn look(&mut self, by: u16, handed: &Handed) {
        let Some(slot) = self.table.slot_of(handed) else { return };
        let Some(tunnel) = self.table.tunnel(slot) else { return };
        let packets = packets(tunnel);
        let votes = &mut self.suggestions.votes;
        if votes.len() >= WATCHED {
            // Who is busy enough to matter will be back in no time.
            votes.clear();
        }
        let fresh = || Vote { tunnel: tunnel.id, by, count: 0, packets };
        let vote = votes.entry(slot).or_insert_with(fresh);
        if vote.tunnel != tunnel.id || vote.by != by {
            *vote = fresh();
        }
        vote.count += 1;
        if vote.count == ENOUGH {
            let passed = packets.saturating_sub(vote.packets);
            votes.remove(&slot);
            if passed <= SHARE * u64::from(ENOUGH * EVERY) {
                self.wish(slot, by, Why::Arrives);
            }
        }
    }

    /// What cannot be said now is said again.
    fn wish(&mut self, slot: u32, to: u16, why: Why) {
        if let Some(tunnel) = self.table.tunnel(slot) {
            let _ = self.wishes.push(Wish { tunnel: tunnel.id, to, why });
        }
    }

    /// This worker has too much.
    pub(super) fn begin_shedding(&mut self, order: Shed) {
        self.suggestions.shedding = Some(Shedding { order, slots: Vec::new(), turns: 0 });
    }

    /// These packets are about to be processed.
    #[inline]
    pub(super) fn observe(&mut self, frames: &[Frame], direction: Direction) {
        if self.suggestions.shedding.is_some() {
            self.remember(frames, direction);
        }
    }

    #[cold]
    fn remember(&mut self, frames: &[Frame], direction: Direction) {
        let Self { table, suggestions, .. } = self;
        let Some(shedding) = &mut suggestions.shedding else { return };
        let slots = frames.iter().filter_map(|frame| {
            let place = match direction {
                Direction::Uplink => match uplink::call(table, frame.data())? {
                    Call::Known(place) => place,
                    Call::OtherPeer | Call::Unknown => return None,
                },
                Direction::Downlink => table.destination_of(frame.data())?.place,
            };
            match place {
                Place::Here(slot) => Some(slot),
                Place::Worker(_) => None,
            }
        });
        shedding.slots.extend(slots);
    }

    /// At the end of a turn: names the tunnels, if enough was seen.
    pub(super) fn end_shedding(&mut self) {
        let is_enough = |shedding: &mut Shedding| {
            shedding.turns += 1;
            shedding.slots.len() >= LOOKED_AT || shedding.turns >= TURNS
        };
        let Some(shedding) = self.suggestions.shedding.take_if(is_enough) else { return };
        let Shedding { order, mut slots, .. } = shedding;
        let percent = usize::try_from(order.percent).unwrap_or_default();
        let wanted = slots.len() * percent / 100;
        for slot in share(&mut slots, wanted) {
            self.wish(slot, order.to, Why::TooMuch);
        }
    }
}

/// Tunnels that have about `wanted` of these packets together, the busiest first, and none that has
/// more than that alone: whoever took it would be no better off.
fn share(slots: &mut [u32], wanted: usize) -> Vec<u32> {
    slots.sort_unstable();
    let mut tunnels: Vec<_> =
        slots.chunk_by(|one, other| one == other).map(|same| (same.len(), same[0])).collect();
    tunnels.sort_unstable_by(|one, other| other.cmp(one));
    let mut left = wanted;
    let fits = |&(count, slot): &(usize, u32)| {
        left = left.checked_sub(count)?;
        Some(slot)
    };
    tunnels.iter().filter_map(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn a_tunnel_that_is_too_much_for_anyone_stays() {
        assert_eq!(share(&mut [7; 100], 50), []);
        let mut slots = [vec![7; 60], vec![8; 30], vec![9; 10], vec![10; 9]].concat();
        assert_eq!(share(&mut slots, 50), [8, 9, 10]);
        assert_eq!(share(&mut slots, 35), [8]);
    }
}
