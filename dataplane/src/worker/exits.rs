//! The ways out of a worker: one queue of frames per port, and which port leads where.
//!
//! What the worker's own interfaces cannot reach goes to the kernel: IP packets by the TUN, GRE by
//! the raw socket. Nothing is sent here; the worker empties the queues at the end of a turn.

use std::net::Ipv4Addr;

use super::{Attached, Kind, Sink};
use crate::api::DropReason;
use crate::frame::Frame;

/// Queues of frames that wait for the end of the turn.
#[derive(Debug)]
pub(crate) struct Exits {
    pub(super) queues: Vec<Vec<Frame>>,
    raw: Option<usize>,
    tun: Option<usize>,
}

impl Exits {
    pub(super) fn new(ports: &[Attached]) -> Self {
        Self {
            queues: ports.iter().map(|_| Vec::new()).collect(),
            raw: ports.iter().position(|port| port.kind == Kind::Raw),
            tun: ports.iter().position(|port| port.kind == Kind::Tun),
        }
    }

    /// An IP packet for the kernel.
    pub(crate) fn kernel(&mut self, sink: &mut Sink, frame: Frame) {
        self.put(sink, frame, self.tun);
    }

    /// A packet that starts with the outer IP header, to a tunnel's peer.
    pub(crate) fn peer(&mut self, sink: &mut Sink, frame: Frame, _peer: Ipv4Addr) {
        self.put(sink, frame, self.raw);
    }

    fn put(&mut self, sink: &mut Sink, frame: Frame, port: Option<usize>) {
        match port.and_then(|port| self.queues.get_mut(port)) {
            Some(queue) => queue.push(frame),
            None => sink.drop(frame, DropReason::NoPort),
        }
    }
}
