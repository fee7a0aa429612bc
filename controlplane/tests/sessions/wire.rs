//! A port of the data plane whose other end is a socket of the test: one datagram, one packet.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

use dataplane::frame::{CAPACITY, Frame, Pool};
use dataplane::io::{Link, Port, PortCounters, PortDrop};

/// The data plane's end.
pub struct Wire {
    socket: UnixDatagram,
    counters: Arc<PortCounters>,
}

impl Wire {
    /// A port and the test's end of it.
    pub fn new() -> io::Result<(Self, UnixDatagram)> {
        let (near, far) = UnixDatagram::pair()?;
        near.set_nonblocking(true)?;
        far.set_nonblocking(true)?;
        Ok((Self { socket: near, counters: Arc::default() }, far))
    }
}

impl Port for Wire {
    fn link(&self) -> Link {
        Link::Ip
    }

    fn receive(&mut self, pool: &mut Pool, into: &mut Vec<Frame>, limit: usize) {
        let mut buffer = [0; CAPACITY];
        for _ in 0..limit {
            let Ok(len) = self.socket.recv(&mut buffer) else { return };
            if let Some(mut frame) = pool.take()
                && frame.fill(&buffer[..len])
            {
                self.counters.received_packets.add(1);
                into.push(frame);
            }
        }
    }

    fn transmit(&mut self, pool: &mut Pool, frames: &mut Vec<Frame>) {
        for frame in frames.drain(..) {
            match self.socket.send(frame.data()) {
                Ok(_) => self.counters.sent_packets.add(1),
                Err(_) => self.counters.dropped(PortDrop::TransmitFull).add(1),
            }
            pool.put(frame);
        }
    }

    fn flush(&mut self, _: &mut Pool) -> bool {
        false
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }

    fn held(&self) -> usize {
        0
    }

    fn counters(&self) -> &Arc<PortCounters> {
        &self.counters
    }
}
