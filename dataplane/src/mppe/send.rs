//! A burst of packets to encrypt.
//!
//! Implements RFC 3078 §7.1: a new key before every packet. Never decides what is sent: whatever
//! was pushed and committed has used up its count, and a packet that is then not sent is a loss
//! to the peer.

use protocol::mppe::{CoherencyCount, Header, Strength};

use super::chain::{Chains, Keyed};
use super::groups::Groups;
use super::{SendState, States};

/// A burst to encrypt. To be kept and used again: it allocates only while it grows.
#[derive(Debug, Default)]
pub struct SendBurst {
    packets: Vec<Packet>,
    groups: Groups<Group>,
    pub(super) keys: Chains,
}

#[derive(Debug)]
struct Packet {
    length: usize,
    /// Index of the tunnel's group, none for a tunnel without state.
    group: usize,
    /// Its place among the group's packets.
    place: usize,
    header: Option<Header>,
}

/// The packets of one tunnel.
#[derive(Debug)]
struct Group {
    /// Number of the tunnel's first packet in the burst.
    next: u64,
    /// Packets in the burst.
    packets: usize,
    /// Index of the first packet's key.
    first: usize,
    strength: Strength,
}

impl SendBurst {
    /// Starts a new burst. What was not committed is forgotten.
    pub fn clear(&mut self) {
        self.packets.clear();
        self.groups.clear();
        self.keys.clear();
    }

    /// Adds a packet for the tunnel in `slot`, whose payload has `length` octets; returns its
    /// index. Packets of one tunnel are numbered in the order in which they are pushed. Of the
    /// tunnel's state, without which nothing is encrypted, only what says where in the burst it is may
    /// change.
    #[inline]
    pub fn push(&mut self, slot: u32, state: Option<&mut SendState>, length: usize) -> usize {
        let index = self.packets.len();
        let mut packet = Packet { length, group: usize::MAX, place: 0, header: None };
        if let Some(state) = state {
            let mut mark = state.mark;
            packet.group = self.groups.place(slot, &mut mark, || {
                self.keys.begin(state.strength, state.start, state.key);
                Group { next: state.next, packets: 0, first: 0, strength: state.strength }
            });
            state.mark = mark;
            if let Some(group) = self.groups.get_mut(packet.group) {
                packet.place = group.packets;
                group.packets += 1;
                let count = CoherencyCount::of_packet(group.next + packet.place as u64);
                packet.header = Some(Header::stateless(count));
            }
        }
        self.packets.push(packet);
        index
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

    /// Finds out which keys the burst needs. States do not move.
    pub fn plan(&mut self) {
        for (chain, (_, group)) in self.groups.iter_mut().enumerate() {
            group.first = self.keys.walk(chain, group.packets);
        }
        for (index, packet) in self.packets.iter().enumerate() {
            let Some((_, group)) = self.groups.get(packet.group) else { continue };
            self.keys.packets.push(Keyed {
                packet: index,
                key: group.first + packet.place,
                length: packet.length,
                strength: group.strength,
            });
        }
    }

    /// The MPPE header of a packet. `None` if its tunnel has no state.
    #[must_use]
    #[inline]
    pub fn header(&self, packet: usize) -> Option<Header> {
        self.packets.get(packet).and_then(|packet| packet.header)
    }

    /// Moves the tunnels' keys and counts past the burst and ends it; headers can still be asked
    /// for.
    pub fn commit(&mut self, states: &mut (impl States<SendState> + ?Sized)) {
        for (slot, group) in self.groups.iter_mut() {
            let last = group.first + group.packets - 1;
            if let (Some(state), Some(key)) = (states.state(slot), self.keys.keys.get(last)) {
                state.key = *key;
                state.next = group.next + group.packets as u64;
            }
        }
        self.groups.clear();
        self.keys.clear();
    }
}
