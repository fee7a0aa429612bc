//! The far end of a cable, with all of its queues: frames as they are, in and out by AF_XDP.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::os::fd::AsFd;

use dataplane::frame::{Pool, Region};
use dataplane::io::Port;
use dataplane::io::xsk::{XskConfig, XskPort};

use super::common::eventually;
use super::redirect::Redirect;

/// The far end of a cable: a socket on each of its queues.
pub struct Far {
    queues: Vec<XskPort>,
    _program: Redirect,
    pool: Pool,
}

impl Far {
    pub fn open(interface: &str) -> Self {
        let mut pool = Pool::new(Region::new(4096).unwrap(), 256);
        let program = Redirect::attach(interface);
        let queues = 0..XskPort::queues(interface).unwrap();
        let open = |queue| {
            let config = XskConfig {
                interface: interface.to_owned(),
                queue,
                ring_size: 256,
                mode: None,
                busy_poll: None,
            };
            let port = XskPort::open(&config, &mut pool).unwrap();
            program.register(queue, port.as_fd());
            port
        };
        let queues = queues.map(open).collect();
        Self { queues, _program: program, pool }
    }

    pub fn send(&mut self, queue: usize, frame: &[u8]) {
        let mut owned = self.pool.take().unwrap();
        assert!(owned.fill(frame));
        let port = &mut self.queues[queue];
        port.transmit(&mut self.pool, &mut vec![owned]);
        while port.flush(&mut self.pool) {}
    }

    /// The next frame of IP, tagged or not, on whatever queue.
    pub fn receive(&mut self) -> Vec<u8> {
        eventually("a frame arrives", || self.try_receive())
    }

    pub fn try_receive(&mut self) -> Option<Vec<u8>> {
        let mut frames = Vec::new();
        for port in &mut self.queues {
            port.receive(&mut self.pool, &mut frames, 1);
            port.flush(&mut self.pool);
            if let Some(frame) = frames.pop() {
                let bytes = frame.data().to_vec();
                self.pool.put(frame);
                // Not the kernel's own ARP and the like.
                let is_ours = matches!(
                    bytes[12..14],
                    [0x08, 0x00] | [0x86, 0xDD] | [0x81, 0x00] | [0x88, 0xA8]
                );
                return is_ours.then_some(bytes);
            }
        }
        None
    }
}
