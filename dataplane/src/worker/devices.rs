//! Devices that tunnels of this worker have to themselves: what such a tunnel brings goes to the
//! kernel by its device, and what the kernel sends by the device goes into that tunnel.
//!
//! One system call asks which devices have something, and no others are read. Never looks
//! at a destination: the kernel has routed.

use std::os::fd::AsFd;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::{BURST, Sink};
use crate::api::DropReason;
use crate::frame::{Frame, Pool};
use crate::io::{Link, Port};

/// The devices of a worker.
#[derive(Default)]
pub(crate) struct Devices {
    places: Vec<Option<Place>>,
    attached: usize,
    /// Which devices have something. `None`: each turn looks at all.
    ready: Option<Epoll>,
}

/// A device and its tunnel.
struct Place {
    port: Box<dyn Port>,
    /// The tunnel's.
    slot: u32,
    received: Vec<Frame>,
    leaving: Vec<Frame>,
    /// It has packets for us.
    readable: bool,
}

impl std::fmt::Debug for Devices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Devices").field("attached", &self.attached).finish_non_exhaustive()
    }
}

impl Devices {
    /// Watches devices from now on. The descriptor becomes readable when one of them has
    /// something.
    pub(super) fn watch(&mut self) -> nix::Result<&Epoll> {
        let epoll = match self.ready.take() {
            Some(epoll) => epoll,
            None => Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
        };
        Ok(self.ready.insert(epoll))
    }

    /// Gives the tunnel in `slot` a device; returns its place.
    pub(super) fn attach(&mut self, port: Box<dyn Port>, slot: u32) -> u32 {
        let free = self.places.iter().position(Option::is_none);
        let at = free.unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        });
        let mut readable = true;
        if let (Some(epoll), Some(fd)) = (&self.ready, port.readiness()) {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, at as u64);
            match epoll.add(fd, event) {
                Ok(()) => readable = false,
                Err(error) => tracing::error!(%error, "a device's packets are not noticed"),
            }
        }
        let (received, leaving) = (Vec::new(), Vec::new());
        self.places[at] = Some(Place { port, slot, received, leaving, readable });
        self.attached += 1;
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    /// Takes a device from its tunnel. Frames that wait to leave go back to the pool.
    pub(super) fn detach(&mut self, place: u32, sink: &mut Sink) {
        let Some(mut place) = self.places.get_mut(place as usize).and_then(Option::take) else {
            return;
        };
        self.attached -= 1;
        self.forget(&place);
        for frame in place.leaving.drain(..).chain(place.received.drain(..)) {
            sink.drop(frame, DropReason::NoPort);
        }
    }

    /// Other descriptors of the device live on, so the poll set would not notice a close.
    fn forget(&self, place: &Place) {
        if let (Some(epoll), Some(fd)) = (&self.ready, place.port.readiness()) {
            // One that is not in the set any more is forgotten already.
            let _ = epoll.delete(fd.as_fd());
        }
    }

    /// Takes what the kernel sends, and returns how many packets that is. Asks which devices have
    /// something if `looks`, else takes what is left of those that were found to.
    pub(super) fn receive(&mut self, pool: &mut Pool, looks: bool) -> usize {
        if self.attached == 0 {
            return 0;
        }
        if looks {
            self.look();
        }
        let mut count = 0;
        let watched = self.ready.is_some();
        for place in self.places.iter_mut().flatten().filter(|place| place.readable) {
            place.port.receive(pool, &mut place.received, BURST);
            place.received.iter().for_each(Frame::prefetch);
            count += place.received.len();
            // A packet that is only partly handed over does not show at the descriptor.
            place.readable = !watched || place.port.flush(pool);
        }
        count
    }

    fn look(&mut self) {
        let Some(epoll) = &self.ready else { return };
        let mut events = [EpollEvent::empty(); 64];
        let count = epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
        for event in events.iter().take(count) {
            let at = usize::try_from(event.data()).unwrap_or(usize::MAX);
            let Some(Some(place)) = self.places.get_mut(at) else { continue };
            if event.events().contains(EpollFlags::EPOLLIN) {
                place.readable = true;
            } else if let Some(fd) = place.port.readiness() {
                // Somebody has deleted the interface: it would show this for ever.
                let _ = epoll.delete(fd.as_fd());
            }
        }
    }

    /// What came by each device, with the slot of its tunnel and what it starts with.
    pub(super) fn received(&mut self) -> impl Iterator<Item = (u32, Link, &mut Vec<Frame>)> {
        self.places
            .iter_mut()
            .flatten()
            .map(|place| (place.slot, place.port.link(), &mut place.received))
    }

    /// A packet for the kernel, by the device in this place.
    pub(crate) fn put(&mut self, sink: &mut Sink, frame: Frame, place: u32) {
        match self.places.get_mut(place as usize) {
            Some(Some(place)) => place.leaving.push(frame),
            _ => sink.drop(frame, DropReason::NoPort),
        }
    }

    /// Sends what waits. `true` if a device has more to hand over.
    pub(super) fn transmit(&mut self, sink: &mut Sink) -> bool {
        let mut pending = false;
        for place in self.places.iter_mut().flatten() {
            if !place.leaving.is_empty() {
                sink.meter.sent.add(place.leaving.len() as u64);
                place.port.transmit(&mut sink.pool, &mut place.leaving);
            }
            pending |= place.readable && self.ready.is_some();
        }
        pending
    }
}
