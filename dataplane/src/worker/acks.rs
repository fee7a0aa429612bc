//! Acknowledgements that are owed: which tunnels send one alone, and when.
//!
//! Implements RFC 2637 §4.1, §4.2.5. All waits are equally long, so a queue keeps them in order
//! without a timer for each tunnel; a tunnel is in it at most once. Acknowledges nothing itself.

use std::collections::VecDeque;

use protocol::gre::ACK_DELAY;
use protocol::time::Instant;

use crate::api::TunnelId;
use crate::table::{Direction, Table, Tunnel};
use crate::worker::BURST;

/// Tunnels that owe an acknowledgement.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    waiting: VecDeque<(Instant, TunnelId)>,
    /// Half the peer's window is outstanding: to be sent in this turn unless data goes out in it.
    urgent: Vec<TunnelId>,
    /// How many of those that wait, from the first on, were asked for from memory.
    expected: usize,
}

impl Acks {
    /// To be called when something of the tunnel was accepted.
    #[inline]
    pub(crate) fn note(&mut self, tunnel: &mut Tunnel, now: Instant) {
        let Some(deadline) = tunnel.acknowledger.deadline() else { return };
        if !tunnel.ack_waiting {
            tunnel.ack_waiting = true;
            self.waiting.push_back((deadline, tunnel.id));
        }
        if !tunnel.ack_urgent && tunnel.acknowledger.due(now) {
            tunnel.ack_urgent = true;
            self.urgent.push(tunnel.id);
        }
    }

    /// A tunnel that has to send its acknowledgement now, alone. `None` if there is no more.
    pub(crate) fn next(&mut self, table: &mut Table, now: Instant) -> Option<TunnelId> {
        while let Some(id) = self.urgent.pop() {
            let Some(tunnel) = table.tunnel_by_id(id) else { continue };
            tunnel.ack_urgent = false;
            if tunnel.acknowledger.due(now) {
                return Some(id);
            }
        }
        if self.expected == 0 {
            self.expect(table, now);
        }
        while let Some((_, id)) = self.waiting.pop_front_if(|&mut (deadline, _)| deadline <= now) {
            self.expected = self.expected.saturating_sub(1);
            let Some(tunnel) = table.tunnel_by_id(id) else { continue };
            tunnel.ack_waiting = false;
            if tunnel.acknowledger.due(now) {
                return Some(id);
            }
            // Data took the one that was owed along, and another has come to be owed since.
            self.note(tunnel, now);
        }
        None
    }

    /// There was no frame for a tunnel's: it waits once more.
    pub(crate) fn put_off(&mut self, tunnel: &mut Tunnel, now: Instant) {
        if !tunnel.ack_waiting {
            tunnel.ack_waiting = true;
            self.waiting.push_back((now + ACK_DELAY, tunnel.id));
        }
    }

    /// Has the processor fetch the tunnels whose wait is over: nothing of them has passed for long.
    fn expect(&mut self, table: &Table, now: Instant) {
        let due = self.waiting.iter().take(BURST).take_while(|(deadline, _)| *deadline <= now);
        let mut slots = [0; BURST];
        self.expected = 0;
        for (slot, (_, id)) in slots.iter_mut().zip(due) {
            *slot = id.slot;
            table.expect_entry(id.slot);
            self.expected += 1;
        }
        let slots = slots.get(..self.expected).unwrap_or_default();
        table.expect_tunnels(slots, Direction::Downlink);
    }

    /// When [`Acks::next`] will have something, at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.waiting.front().map(|&(deadline, _)| deadline)
    }
}
