//! TUN: IP packets to and from the kernel, one queue per worker, large TCP packets both ways.
//!
//! Reading cuts what the kernel left large and finishes checksums ([`super::offload`]); writing
//! joins the segments of a burst. One system call carries up to 64 KiB either way. It never
//! waits, and never returns a packet longer than a frame.

mod device;
mod standing;
mod tap;

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

pub use device::{TunConfig, TunError};
pub use standing::StandingTun;
pub use tap::{StandingTap, TapPort};

use super::offload::coalesce::{Coalescer, Group, LargeHeader};
use super::offload::segment::{SegmentError, Segmenter};
use super::offload::{VnetHeader, checksum};
use super::{Link, Port, PortCounters, PortDrop};
use crate::frame::{CAPACITY, Frame, Pool};

/// The longest IP packet.
const LARGEST: usize = 65_535;
/// Packets that one write joins at most, with their headers.
const PARTS: usize = 2 + 64;

/// One queue of a TUN device.
#[derive(Debug)]
pub struct TunPort {
    queue: File,
    /// Where packets longer than a frame arrive: room for the frame's part, then the rest.
    large: Box<[u8]>,
    /// What is being cut, and its length in `large`.
    cutting: Option<(Segmenter, usize)>,
    coalescer: Coalescer,
    /// Name of the device, at the queue that also tells the kernel's drops.
    watched: Option<String>,
    counters: Arc<PortCounters>,
}

/// What one read brought.
enum Arrival {
    Packet(Frame),
    Large,
    Dropped,
    Nothing,
}

impl TunPort {
    /// Makes the device and returns its queues. It disappears with the last of them.
    ///
    /// # Errors
    /// In the operator's words, see [`TunError`].
    pub fn create(config: &TunConfig) -> Result<Vec<Self>, TunError> {
        let queues = device::create(config)?;
        let mut watched = Some(config.name.clone());
        let port = |queue| Self { watched: watched.take(), ..Self::of(queue, Arc::default()) };
        Ok(queues.into_iter().map(port).collect())
    }

    /// A port that drives this queue.
    fn of(queue: File, counters: Arc<PortCounters>) -> Self {
        Self {
            queue,
            large: vec![0; CAPACITY + LARGEST].into(),
            cutting: None,
            coalescer: Coalescer::default(),
            watched: None,
            counters,
        }
    }

    fn drop_one(&self, reason: PortDrop) {
        self.counters.dropped(reason).add(1);
    }

    /// Reads one packet: into `frame`, or beyond it into `large`.
    fn read(&mut self, mut frame: Frame, pool: &mut Pool) -> Arrival {
        let mut header = [0; VnetHeader::LENGTH];
        // A fresh frame has room for its capacity.
        let _ = frame.set_len(CAPACITY);
        let (head, tail) = self.large.split_at_mut(CAPACITY);
        let read = self.queue.read_vectored(&mut [
            IoSliceMut::new(&mut header),
            IoSliceMut::new(frame.data_mut()),
            IoSliceMut::new(tail),
        ]);
        let Some(length) = read.ok().and_then(|read| read.checked_sub(VnetHeader::LENGTH)) else {
            pool.put(frame);
            return Arrival::Nothing;
        };
        let header = VnetHeader::from_bytes(header);
        frame.truncate(length);

        if header.gso_type != VnetHeader::GSO_NONE {
            head[..frame.len()].copy_from_slice(frame.data());
            pool.put(frame);
            return match Segmenter::new(&self.large[..length], &header) {
                Ok(segmenter) => {
                    self.cutting = Some((segmenter, length));
                    Arrival::Large
                }
                Err(SegmentError::Malformed | SegmentError::Unsupported) => {
                    self.drop_one(PortDrop::Malformed);
                    Arrival::Dropped
                }
            };
        }
        let needs_checksum = header.flags & VnetHeader::NEEDS_CHECKSUM != 0;
        let reason = if length > CAPACITY {
            PortDrop::TooLong
        } else if needs_checksum && checksum::finish(frame.data_mut(), &header).is_none() {
            PortDrop::Malformed
        } else {
            return Arrival::Packet(frame);
        };
        self.drop_one(reason);
        pool.put(frame);
        Arrival::Dropped
    }

    /// Cuts what is left of a large packet, up to `limit` frames in `into`.
    fn cut(&mut self, pool: &mut Pool, into: &mut Vec<Frame>, limit: usize) {
        let Some((segmenter, length)) = &mut self.cutting else { return };
        while into.len() < limit {
            let Some(segment) = segmenter.next_length() else {
                self.cutting = None;
                return;
            };
            // Without a frame the rest waits here.
            let Some(mut frame) = pool.take() else { return };
            let written = frame.set_len(segment)
                && segmenter.write_next(&self.large[..*length], frame.data_mut()).is_some();
            if !written {
                self.counters.dropped(PortDrop::TooLong).add(segmenter.remaining() as u64);
                pool.put(frame);
                self.cutting = None;
                return;
            }
            into.push(frame);
        }
    }

    /// Writes one packet as it is: its checksums are complete.
    fn write_one(&mut self, frame: &Frame) {
        let header = VnetHeader::default().to_bytes();
        let parts = [IoSlice::new(&header), IoSlice::new(frame.data())];
        match self.queue.write_vectored(&parts).map(drop) {
            // The device takes a packet whole or not at all.
            Ok(()) => self.counters.sent(1, frame.len()),
            Err(error) => self.drop_one(reason(&error)),
        }
    }

    /// Writes a group as one packet, or one by one should the kernel refuse that.
    fn write_group(&mut self, coalescer: &Coalescer, group: &Group, frames: &[Frame]) {
        let members = || coalescer.members(group).filter_map(|at| frames.get(at));
        let large = members()
            .next()
            .zip(members().last())
            .and_then(|(first, last)| LargeHeader::of(group, first.data(), last.data()));
        if let Some(large) = large {
            let vnet = large.vnet.to_bytes();
            let mut parts = [IoSlice::new(&[]); PARTS];
            parts[0] = IoSlice::new(&vnet);
            parts[1] = IoSlice::new(large.bytes());
            let headers = large.bytes().len();
            for (part, frame) in parts[2..].iter_mut().zip(members()) {
                *part = IoSlice::new(frame.data().get(headers..).unwrap_or_default());
            }
            if self.queue.write_vectored(&parts[..2 + group.count()]).is_ok() {
                self.counters.sent(group.count(), members().map(Frame::len).sum());
                return;
            }
        }
        members().for_each(|frame| self.write_one(frame));
    }
}

/// Why the kernel did not take a packet.
fn reason(error: &io::Error) -> PortDrop {
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => PortDrop::TransmitFull,
        _ => PortDrop::TransmitRefused,
    }
}

impl Port for TunPort {
    fn link(&self) -> Link {
        Link::Ip
    }

    fn receive(&mut self, pool: &mut Pool, into: &mut Vec<Frame>, limit: usize) {
        let before = into.len();
        let limit = before.saturating_add(limit);
        let mut reads = limit - before;
        loop {
            self.cut(pool, into, limit);
            if into.len() >= limit || reads == 0 {
                break;
            }
            // Without a frame the packet waits in the kernel.
            let Some(frame) = pool.take() else { break };
            reads -= 1;
            match self.read(frame, pool) {
                Arrival::Packet(frame) => into.push(frame),
                Arrival::Large | Arrival::Dropped => {}
                Arrival::Nothing => break,
            }
        }
        let new = &into[before..];
        self.counters.received(new.len(), new.iter().map(Frame::len).sum());
    }

    fn transmit(&mut self, pool: &mut Pool, frames: &mut Vec<Frame>) {
        let mut coalescer = std::mem::take(&mut self.coalescer);
        coalescer.plan(frames);
        for group in coalescer.groups() {
            self.write_group(&coalescer, group, frames);
        }
        self.coalescer = coalescer;
        pool.put_all(frames);
    }

    /// `true` while a large packet is only partly handed over, which the descriptor does not show.
    fn flush(&mut self, _pool: &mut Pool) -> bool {
        self.cutting.is_some()
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        Some(self.queue.as_fd())
    }

    fn held(&self) -> usize {
        0
    }

    fn counters(&self) -> &Arc<PortCounters> {
        &self.counters
    }

    /// The first queue tells what the kernel dropped for all of them.
    fn refresh_counters(&mut self) {
        let Some(name) = &self.watched else { return };
        let mut table = String::new();
        let read = File::open("/proc/thread-self/net/dev")
            .and_then(|mut file| file.read_to_string(&mut table));
        if read.is_ok()
            && let Some(drops) = transmit_drops(&table, name)
        {
            self.counters.dropped(PortDrop::SocketQueue).set(drops);
        }
    }
}

/// Packets that the kernel could not queue for the device: the twelfth number of its line.
fn transmit_drops(table: &str, name: &str) -> Option<u64> {
    let numbers =
        table.lines().find_map(|line| line.trim_start().strip_prefix(name)?.strip_prefix(':'))?;
    numbers.split_ascii_whitespace().nth(11)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::transmit_drops;

    #[test]
    fn the_kernels_drops_are_found_in_its_table() {
        let table = "Inter-|   Receive        |  Transmit\n face |bytes ...\n\
             pts00: 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9\n\
              pts0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n";
        assert_eq!(transmit_drops(table, "pts0"), Some(12));
        assert_eq!(transmit_drops(table, "pts"), None);
    }
}
