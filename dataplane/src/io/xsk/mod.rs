//! AF_XDP: Ethernet frames of one NIC queue, without a copy between rings and worker.
//!
//! Implements the user side of the kernel's Documentation/networking/af_xdp.rst on plain system
//! calls. It never waits once open, and never hands out a chunk that this socket was not lent.

mod ring;
mod socket;
mod umem;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use socket::{XskError, XskMode};

use super::sys::option;
use super::{Link, Port, PortCounters, PortDrop};
use crate::frame::{CHUNK, Frame, Lent, Pool};
use socket::Kick;
use umem::Rings;

/// Kicks within one flush: with 32 packets each they cover a burst of 256.
const KICKS: usize = 8;

/// What to open.
#[derive(Debug, Clone)]
pub struct XskConfig {
    /// Name of the interface, in the network namespace of the calling thread.
    pub interface: String,
    /// The receive and transmit queue.
    pub queue: u32,
    /// Entries of each of the four rings, a power of two from 64 to 32768. Up to three times as
    /// many frames are in the port's hands: to be filled, received, being sent.
    pub ring_size: u32,
    /// `None` takes zero-copy where the driver has it.
    pub mode: Option<XskMode>,
    /// Poll the NIC from the worker instead of taking interrupts.
    pub busy_poll: Option<BusyPoll>,
}

/// How the kernel polls the NIC on our behalf.
#[derive(Debug, Clone, Copy)]
pub struct BusyPoll {
    /// For how long at a time; microseconds are kept.
    pub duration: Duration,
    /// Packets per poll at most.
    pub budget: u16,
}

/// The kernel's own counts for one socket since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct XskStatistics {
    /// Packets dropped between redirect and ring.
    pub rx_dropped: u64,
    /// Descriptors of the fill ring that the kernel refused.
    pub rx_invalid_descs: u64,
    /// Descriptors of the transmit ring that the kernel refused.
    pub tx_invalid_descs: u64,
    /// Packets dropped because the receive ring was full.
    pub rx_ring_full: u64,
    /// Times the kernel found the fill ring empty.
    pub fill_ring_empty: u64,
}

/// One queue of an interface.
#[derive(Debug)]
pub struct XskPort {
    // The order matters when the port goes: the socket closes before its chunks begin to rest.
    fd: OwnedFd,
    rings: Rings,
    lent: Lent,
    /// Frames that were given to the transmit ring and have not come back.
    sending: u32,
    ring_size: u32,
    /// The last descriptor received was not the last of its packet.
    continued: bool,
    mode: XskMode,
    busy_poll: bool,
    /// The interface and the queue, for whoever reads the log.
    interface: String,
    queue: u32,
    /// The kernel refuses to send.
    dead: bool,
    counters: Arc<PortCounters>,
}

impl XskPort {
    /// Opens a queue and stocks its fill ring from the pool. May wait up to a second for a queue
    /// that was closed just now. Packets arrive once the descriptor is in the XSKMAP of the XDP
    /// program ([`AsFd`]).
    ///
    /// # Errors
    /// In the operator's words, see [`XskError`].
    pub fn open(config: &XskConfig, pool: &mut Pool) -> Result<Self, XskError> {
        let size = config.ring_size;
        if !size.is_power_of_two() || !(64..=32_768).contains(&size) {
            return Err(XskError::RingSize(size));
        }
        let region = pool.region();
        region.wake(Instant::now());
        let socket = socket::open()?;
        let fd = socket.as_fd();
        let rings = umem::register(fd, region, size)?;
        socket::widen_kick(fd, size);
        if let Some(BusyPoll { duration, budget }) = config.busy_poll {
            socket::busy_poll(fd, duration, budget)?;
        }
        let mode = socket::bind(fd, &config.interface, config.queue, config.mode)?;
        let mut port = Self {
            fd: socket,
            rings,
            lent: Lent::new(region),
            sending: 0,
            ring_size: size,
            continued: false,
            mode,
            busy_poll: config.busy_poll.is_some(),
            interface: config.interface.clone(),
            queue: config.queue,
            dead: false,
            counters: Arc::default(),
        };
        port.fill(pool);
        Ok(port)
    }

    /// Receive queues of an interface: all are to be opened, since a NIC may hash GRE to any.
    ///
    /// # Errors
    /// [`XskError::NoInterface`], or [`XskError::Setup`] if the kernel refuses to tell.
    pub fn queues(interface: &str) -> Result<u32, XskError> {
        socket::receive_queues(interface)
    }

    /// The mode that the kernel chose.
    #[must_use]
    pub fn mode(&self) -> XskMode {
        self.mode
    }

    /// The kernel's own counts.
    ///
    /// # Errors
    /// If the kernel refuses to tell.
    pub fn statistics(&self) -> Result<XskStatistics, XskError> {
        let fd = self.fd.as_fd();
        let kernel: libc::xdp_statistics = option(fd, libc::SOL_XDP, libc::XDP_STATISTICS)
            .map_err(|source| XskError::Setup { what: "reading statistics", source })?;
        Ok(XskStatistics {
            rx_dropped: kernel.rx_dropped,
            rx_invalid_descs: kernel.rx_invalid_descs,
            tx_invalid_descs: kernel.tx_invalid_descs,
            rx_ring_full: kernel.rx_ring_full,
            fill_ring_empty: kernel.rx_fill_ring_empty_descs,
        })
    }

    /// Keeps the fill ring full, as far as the pool has frames.
    fn fill(&mut self, pool: &mut Pool) {
        let missing = self.ring_size - self.rings.fill.pending().min(self.ring_size);
        for _ in 0..missing {
            let Some(frame) = pool.take() else { break };
            // A pool gives frames of its own region only, which is the socket's.
            let Ok((offset, _)) = self.lent.lend(frame) else { break };
            self.rings.fill.push(offset & !(CHUNK as u64 - 1));
        }
        self.rings.fill.publish();
        if self.busy_poll || self.rings.fill.needs_wakeup() {
            socket::kick_receive(self.fd.as_fd());
        }
    }

    /// Says once that the kernel sends no more, and that it does again.
    fn note(&mut self, kick: &Kick) {
        let Self { interface, queue, .. } = self;
        match kick {
            Kick::Dead(error) if !self.dead => {
                self.dead = true;
                tracing::warn!(interface, queue, %error, "the port sends nothing");
            }
            Kick::Done if self.dead => {
                self.dead = false;
                tracing::info!(interface, queue, "the port sends again");
            }
            Kick::Dead(_) | Kick::Done | Kick::Again => {}
        }
    }

    /// Takes back what was sent.
    fn complete(&mut self, pool: &mut Pool) {
        self.rings.completion.look();
        while let Some(offset) = self.rings.completion.pop() {
            // SAFETY: the kernel returned the chunk through this socket's completion ring.
            match unsafe { self.lent.take_back(offset, 0) } {
                Some(frame) => {
                    self.sending = self.sending.saturating_sub(1);
                    pool.put(frame);
                }
                None => self.counters.dropped(PortDrop::BadDescriptor).add(1),
            }
        }
        self.rings.completion.release();
    }
}

impl AsFd for XskPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Port for XskPort {
    fn link(&self) -> Link {
        Link::Ethernet
    }

    fn receive(&mut self, pool: &mut Pool, into: &mut Vec<Frame>, limit: usize) {
        let (mut packets, mut bytes) = (0, 0);
        self.rings.receive.look();
        for _ in 0..limit {
            let Some(descriptor) = self.rings.receive.pop() else { break };
            let continues = descriptor.options & libc::XDP_PKT_CONTD != 0;
            // SAFETY: the kernel returned the chunk through this socket's receive ring.
            match unsafe { self.lent.take_back(descriptor.addr, descriptor.len) } {
                // A packet over several chunks: nobody asked for those, and no part is a packet.
                Some(frame) if continues || self.continued => {
                    if !continues {
                        self.counters.dropped(PortDrop::TooLong).add(1);
                    }
                    pool.put(frame);
                }
                Some(frame) => {
                    packets += 1;
                    bytes += frame.len();
                    into.push(frame);
                }
                None => self.counters.dropped(PortDrop::BadDescriptor).add(1),
            }
            self.continued = continues;
        }
        self.rings.receive.release();
        self.counters.received(packets, bytes);
        if packets > 0 {
            self.fill(pool);
        }
    }

    fn transmit(&mut self, pool: &mut Pool, frames: &mut Vec<Frame>) {
        if self.sending as usize + frames.len() > self.ring_size as usize {
            self.complete(pool);
        }
        let (mut packets, mut bytes) = (0, 0);
        for frame in frames.drain(..) {
            // The kernel swallows an empty descriptor together with its chunk.
            if frame.is_empty() {
                self.counters.dropped(PortDrop::TransmitRefused).add(1);
                pool.put(frame);
                continue;
            }
            // Not more than one ring in flight, however slow the NIC: other ports need frames.
            if self.sending >= self.ring_size {
                self.counters.dropped(PortDrop::TransmitFull).add(1);
                pool.put(frame);
                continue;
            }
            match self.lent.lend(frame) {
                Ok((addr, len)) => {
                    self.rings.transmit.push(libc::xdp_desc { addr, len, options: 0 });
                    self.sending += 1;
                    packets += 1;
                    bytes += len as usize;
                }
                Err(stranger) => {
                    self.counters.dropped(PortDrop::TransmitRefused).add(1);
                    pool.put(stranger);
                }
            }
        }
        self.rings.transmit.publish();
        self.counters.sent(packets, bytes);
    }

    fn flush(&mut self, pool: &mut Pool) -> bool {
        let mut remains = false;
        if self.sending > 0 {
            for _ in 0..KICKS {
                remains = self.rings.transmit.pending() > 0;
                if !remains || !self.rings.transmit.needs_wakeup() {
                    break;
                }
                let kick = socket::kick_transmit(self.fd.as_fd());
                self.note(&kick);
                match kick {
                    Kick::Done | Kick::Again => self.complete(pool),
                    Kick::Dead(_) => {
                        remains = false;
                        break;
                    }
                }
            }
            self.complete(pool);
        }
        self.fill(pool);
        remains
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd.as_fd())
    }

    fn held(&self) -> usize {
        self.lent.len()
    }

    fn counters(&self) -> &Arc<PortCounters> {
        &self.counters
    }

    fn refresh_counters(&mut self) {
        if let Ok(kernel) = self.statistics() {
            for (reason, total) in [
                (PortDrop::XdpReceive, kernel.rx_dropped),
                (PortDrop::XdpReceiveRing, kernel.rx_ring_full),
                (PortDrop::XdpInvalidFill, kernel.rx_invalid_descs),
                (PortDrop::XdpInvalidTransmit, kernel.tx_invalid_descs),
            ] {
                self.counters.dropped(reason).set(total);
            }
        }
    }
}
