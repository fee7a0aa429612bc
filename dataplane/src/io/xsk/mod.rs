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

/// Whether the kernel carries a port's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Carries,
    /// The interface is down: what is in the rings waits.
    Rests,
    /// The interface is gone, and what is in the rings with it.
    Ended,
}

/// How many frames a fill ring lacks, of which `filled` entries are not taken, where the port has
/// `receiving` frames to receive with. A card may move as many as its own ring holds out of the fill
/// ring: twice the ring's size is a port's share, so that no port starves the others.
fn missing(ring_size: u32, filled: u32, receiving: usize) -> u32 {
    let share = (2 * ring_size as usize).saturating_sub(receiving);
    ring_size.saturating_sub(filled).min(u32::try_from(share).unwrap_or(u32::MAX))
}

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
    /// Packets in the transmit ring, and their octets, that are not counted yet: the kernel has not taken
    /// them.
    uncounted: (usize, usize),
    ring_size: u32,
    /// The last descriptor received was not the last of its packet.
    continued: bool,
    mode: XskMode,
    busy_poll: bool,
    /// The interface and the queue, for whoever reads the log.
    interface: String,
    queue: u32,
    life: Life,
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
            uncounted: (0, 0),
            ring_size: size,
            continued: false,
            mode,
            busy_poll: config.busy_poll.is_some(),
            interface: config.interface.clone(),
            queue: config.queue,
            life: Life::Carries,
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

    /// Keeps the fill ring full, as far as the pool has frames and the port has not its share of them.
    fn fill(&mut self, pool: &mut Pool) {
        let receiving = self.lent.len().saturating_sub(self.sending as usize);
        for _ in 0..missing(self.ring_size, self.rings.fill.pending(), receiving) {
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

    /// Says once that the kernel carries no more, and that it does again.
    fn note(&mut self, kick: &Kick) {
        let Self { interface, queue, life, .. } = self;
        match (kick, *life) {
            (Kick::Down(error) | Kick::Gone(error), Life::Carries) => {
                tracing::warn!(interface, queue, %error, "the port sends and receives nothing");
            }
            (Kick::Done, Life::Rests) => {
                tracing::info!(interface, queue, "the port sends and receives again");
            }
            _ => {}
        }
        match (kick, *life) {
            (_, Life::Ended) | (Kick::Again, _) => {}
            (Kick::Done, _) => *life = Life::Carries,
            (Kick::Down(_), _) => *life = Life::Rests,
            (Kick::Gone(_), _) => {
                *life = Life::Ended;
                // Nobody will ever take what is in the ring.
                self.count_sent();
                let (packets, _) = std::mem::take(&mut self.uncounted);
                self.counters.dropped(PortDrop::TransmitRefused).add(packets as u64);
            }
        }
    }

    /// Counts what the kernel has taken from the transmit ring.
    fn count_sent(&mut self) {
        let (packets, bytes) = self.uncounted;
        if packets > 0 {
            let waiting = self.rings.transmit.waiting().map(|descriptor| descriptor.len as usize);
            let waiting = waiting.fold((0, 0), |(count, sum), len| (count + 1, sum + len));
            self.counters.sent(packets.saturating_sub(waiting.0), bytes.saturating_sub(waiting.1));
            self.uncounted = waiting;
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
        let (mut packets, mut bytes) = self.uncounted;
        for frame in frames.drain(..) {
            // The kernel swallows an empty descriptor together with its chunk.
            if frame.is_empty() || self.life == Life::Ended {
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
        self.uncounted = (packets, bytes);
    }

    fn flush(&mut self, pool: &mut Pool) -> bool {
        if self.life == Life::Ended {
            return false;
        }
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
                    Kick::Down(_) | Kick::Gone(_) => {
                        remains = false;
                        break;
                    }
                }
            }
            self.complete(pool);
            self.count_sent();
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
        // Who never sends would not notice otherwise.
        let kick = socket::kick_receive(self.fd.as_fd());
        self.note(&kick);
        self.count_sent();
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A card's own ring takes whatever is in the fill ring, and gives nothing back.
    #[test]
    fn a_card_that_only_takes_gets_its_share_and_no_more() {
        for card in [0, 100, 4096, u32::MAX] {
            let (mut filled, mut receiving) = (0, 0);
            for _ in 0..100 {
                let more = missing(1024, filled, receiving);
                receiving += more as usize;
                filled = (filled + more).saturating_sub(card);
                assert!(filled <= 1024 && receiving <= 2048, "{card}: {filled}, {receiving}");
            }
            // What was received is made up for at once.
            assert_eq!(missing(1024, filled.min(1000), receiving.min(2048) - 24), 24);
        }
    }
}
