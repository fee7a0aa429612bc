//! What a link still has to hand to its owner: frames and events in the order they arose.

use std::collections::VecDeque;

use crate::machine::Action;

use super::frame::Protocol;
use super::link::Event;
use super::packet::Packet;

/// A queue that only grows by what one input causes: it is drained after each.
#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    queue: VecDeque<Action<Box<[u8]>, Event>>,
    /// Largest information field that the peer takes; RFC 1661 §6.1's default until it says other.
    pub(crate) peer_mru: u16,
}

impl Outbox {
    pub(crate) const fn new() -> Self {
        Self { queue: VecDeque::new(), peer_mru: super::lcp::DEFAULT_MRU }
    }

    pub(crate) fn send(&mut self, protocol: Protocol, packet: &Packet<'_>) {
        self.send_bytes(protocol, &packet.emit());
    }

    pub(crate) fn send_bytes(&mut self, protocol: Protocol, packet: &[u8]) {
        let frame = [&protocol.number().to_be_bytes()[..], packet].concat();
        self.queue.push_back(Action::Send(frame.into()));
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.queue.push_back(Action::Event(event));
    }

    /// One that is empty keeps no memory: links are idle for most of their lives.
    pub(crate) fn pop(&mut self) -> Option<Action<Box<[u8]>, Event>> {
        let action = self.queue.pop_front();
        if action.is_none() {
            self.queue = VecDeque::new();
        }
        action
    }
}
