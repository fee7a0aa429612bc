//! The control plane's end: tunnels are opened, commanded, read and closed here.
//!
//! Every call returns at once; a full ring is an answer, not a wait. The lock in here is the
//! control plane's own, no worker ever takes it.

mod balancing;

use std::collections::{HashSet, VecDeque};
use std::net::Ipv4Addr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::config::PortReport;
use super::counters::PortTotals;
use super::{
    Command, Device, Forward, Ipv6Network, Ipv6Prefix, Outer, Prefix, Report, StartError, Tap,
    Totals, TunnelCounters, TunnelId,
};
use crate::counters::{TunnelShared, WorkerMeter};
use crate::io::PortCounters;
use crate::io::tun::{StandingTap, StandingTun};
use crate::mailbox::{Destinations, Mailbox, Opening, Order, destinations_ipv6};
use crate::route::Mirror;
use crate::steer::{Block, Steer};

/// The data plane's control end. Clones share it; when the last one goes, or by [`Handle::stop`],
/// the workers end.
#[derive(Debug, Clone)]
pub struct Handle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Mutex<Registry>,
    workers: Vec<Party>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    epoch: Instant,
    report: Report,
    /// Follows the kernel's routes as long as workers read them.
    _mirror: Option<Mirror>,
}

/// What a data plane on interfaces has beside its workers.
#[derive(Debug, Default)]
pub(crate) struct Machinery {
    pub(crate) steer: Option<Steer>,
    pub(crate) mirror: Option<Mirror>,
}

/// What the handle needs of a worker.
#[derive(Debug)]
pub(crate) struct Party {
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) meter: Arc<WorkerMeter>,
    /// In the order of the report.
    pub(crate) ports: Vec<Arc<PortCounters>>,
}

#[derive(Debug)]
struct Registry {
    slots: Vec<Slot>,
    /// Slots without a tunnel; the one that rests longest is used first.
    free: VecDeque<u32>,
    /// Peer and own Call ID of every open tunnel.
    calls: HashSet<(Ipv4Addr, u16)>,
    limit: u32,
    /// Where AF_XDP is used.
    steer: Option<Steer>,
    /// Devices of tunnels that were ever made and may live still.
    devices: Vec<Weak<StandingTun>>,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    tunnel: Option<Registered>,
}

#[derive(Debug)]
struct Registered {
    owner: usize,
    /// It has devices of its own, which its worker reads: it does not move.
    bridged: bool,
    outer: Outer,
    shared: Arc<TunnelShared>,
    forward: Forward,
    prefixes: Vec<Prefix>,
    prefixes_ipv6: Vec<Ipv6Prefix>,
}

/// A worker's command ring is full, or the tunnel is on its way from one worker to another. The
/// command comes back: try again a little later.
#[derive(Debug, thiserror::Error)]
#[error("the worker takes no command now")]
pub struct Full(pub Command);

/// Why a tunnel was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// As many tunnels are open as the configuration allows.
    #[error("the data plane has no room for another tunnel")]
    TooMany,
    /// A worker's command ring is full: try again a little later.
    #[error("a worker's command ring is full")]
    Busy,
    /// Another tunnel of the same peer has this Call ID of ours.
    #[error("the Call ID is in use with this peer")]
    CallInUse,
}

impl Handle {
    pub(crate) fn new(
        workers: Vec<Party>,
        machinery: Machinery,
        limit: u32,
        epoch: Instant,
        report: Report,
    ) -> Self {
        let registry = Registry {
            slots: Vec::new(),
            free: VecDeque::new(),
            calls: HashSet::new(),
            limit,
            steer: machinery.steer,
            devices: Vec::new(),
        };
        Self(Arc::new(Inner {
            registry: Mutex::new(registry),
            workers,
            threads: Mutex::default(),
            epoch,
            report,
            _mirror: machinery.mirror,
        }))
    }

    /// Takes a worker's thread over, to end it.
    pub(crate) fn adopt(&self, thread: JoinHandle<()>) {
        self.0.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
    }

    /// Opens a tunnel. A packet that arrives after this returned finds it: call this before the
    /// peer can know its Call ID. Control frames pass at once, data not before
    /// [`Command::SetEncryption`] and [`Command::SetNetwork`].
    ///
    /// # Errors
    /// See [`OpenError`]; nothing has changed then.
    pub fn open(&self, outer: Outer) -> Result<TunnelId, OpenError> {
        let mut registry = self.registry();
        let owner = usize::from(outer.own_call_id) % self.0.workers.len().max(1);
        let shared = Arc::new(TunnelShared::default());
        let tunnel = registry.take(Registered {
            owner,
            bridged: false,
            outer,
            shared: Arc::clone(&shared),
            forward: Forward::Fast,
            prefixes: Vec::new(),
            prefixes_ipv6: Vec::new(),
        })?;
        // A worker's number fits: there are at most 64.
        let opening =
            Opening { tunnel, outer, owner: u16::try_from(owner).unwrap_or_default(), shared };
        let told = self
            .0
            .workers
            .iter()
            .all(|worker| worker.mailbox.order(Order::Open(opening.clone())).is_ok());
        if !told {
            self.remove(&mut registry, tunnel);
            return Err(OpenError::Busy);
        }
        // After the workers: what XDP lets through finds its tunnel.
        if let Some(Err(error)) = registry.steer.as_mut().map(|steer| steer.open(outer)) {
            tracing::error!(%error, peer = %outer.peer, "XDP takes no further tunnel");
            self.remove(&mut registry, tunnel);
            return Err(OpenError::TooMany);
        }
        Ok(tunnel)
    }

    /// Closes a tunnel and returns its counters. Its packets in flight are dropped and counted.
    /// Closing one that is closed already does nothing.
    pub fn close(&self, tunnel: TunnelId) -> Option<TunnelCounters> {
        let shared = self.remove(&mut self.registry(), tunnel)?;
        Some(shared.read(crate::clock::since(self.0.epoch)))
    }

    /// Gives a command to the tunnel's worker. One for a tunnel that is closed is ignored.
    ///
    /// # Errors
    /// If a ring is full or the tunnel moves; the command comes back and may be given again.
    pub fn command(&self, command: Command) -> Result<(), Full> {
        let tunnel = command.tunnel();
        // Held to the end, so that all workers learn of prefixes in one order.
        let mut registry = self.registry();
        let Some(registered) = registry.get(tunnel) else { return Ok(()) };
        let owner = registered.owner;
        // Its state is with nobody.
        if registered.shared.moving.load(Ordering::Acquire) {
            return Err(Full(command));
        }
        match &command {
            Command::SetForward { forward, .. } => registry.set_forward(tunnel, forward),
            Command::SetBridge { bridge, .. } => {
                if let Some(registered) = registry.get_mut(tunnel) {
                    registered.bridged = bridge.is_some();
                }
            }
            Command::SetNetwork { network, .. } => {
                let prefixes = network.as_ref().map_or(&[][..], |network| &network.prefixes);
                let destinations = registry.destinations(tunnel, prefixes);
                // The owner comes last: what it then lets out, the others can already answer.
                for (number, worker) in self.0.workers.iter().enumerate() {
                    let order = Order::Prefixes { tunnel, destinations: destinations.clone() };
                    if number != owner && worker.mailbox.order(order).is_err() {
                        return Err(Full(command));
                    }
                }
                registry.set_prefixes(tunnel, |it| &mut it.prefixes, prefixes);
            }
            Command::SetIpv6 { ipv6, .. } => {
                let prefixes = registry.destinations_ipv6(tunnel, ipv6.as_ref());
                for (number, worker) in self.0.workers.iter().enumerate() {
                    let order = Order::PrefixesIpv6 { tunnel, prefixes: prefixes.clone() };
                    if number != owner && worker.mailbox.order(order).is_err() {
                        return Err(Full(command));
                    }
                }
                let prefixes = ipv6.as_ref().map_or(&[][..], |ipv6| &ipv6.prefixes);
                registry.set_prefixes(tunnel, |it| &mut it.prefixes_ipv6, prefixes);
            }
            _ => {}
        }
        let Some(worker) = self.0.workers.get(owner) else {
            return Ok(());
        };
        match worker.mailbox.order(Order::Command(command)) {
            Ok(()) => Ok(()),
            Err(Order::Command(command)) => Err(Full(command)),
            Err(_) => Ok(()),
        }
    }

    /// Makes a device for tunnels that are to have one to themselves, in the network namespace of
    /// the calling thread, which waits for the kernel. Its MTU is its tunnel's to set later.
    ///
    /// # Errors
    /// If the name is taken or no name for an interface, or the system refuses.
    pub fn device(&self, name: &str, mtu: u16) -> Result<Device, StartError> {
        let device = Arc::new(StandingTun::create(name, mtu).map_err(StartError::port)?);
        let mut registry = self.registry();
        registry.devices.retain(|known| known.strong_count() > 0);
        registry.devices.push(Arc::downgrade(&device));
        Ok(Device(device))
    }

    /// Makes a TAP device for a bridged tunnel, in the network namespace of the calling thread,
    /// which waits for the kernel.
    ///
    /// # Errors
    /// If the name is taken or no name for an interface, or the system refuses.
    pub fn tap(&self, name: &str, mtu: u16) -> Result<Tap, StartError> {
        StandingTap::create(name, mtu).map(|tap| Tap(Arc::new(tap))).map_err(StartError::port)
    }

    /// A tunnel's counters, without stopping its worker. `None` once it is closed: read them
    /// before.
    #[must_use]
    pub fn counters(&self, tunnel: TunnelId) -> Option<TunnelCounters> {
        let shared = Arc::clone(&self.registry().get(tunnel)?.shared);
        Some(shared.read(crate::clock::since(self.0.epoch)))
    }

    /// How long ago a tunnel's newest packet came, as [`Self::counters`] has it.
    #[must_use]
    pub fn heard(&self, tunnel: TunnelId) -> Option<Duration> {
        let heard = self.registry().get(tunnel)?.shared.heard.get()?;
        Some(crate::clock::since(self.0.epoch).since(heard))
    }

    /// The counters of all workers and ports.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let ports =
            self.0.workers.iter().zip(&self.0.report.workers).flat_map(|(worker, report)| {
                let totals = |(counters, port): (&Arc<PortCounters>, &PortReport)| {
                    PortTotals::read(&port.name, port.queue, counters)
                };
                worker.ports.iter().zip(&report.ports).map(totals)
            });
        let registry = self.registry();
        let devices = registry.devices.iter().filter_map(Weak::upgrade);
        let devices = devices.map(|device| PortTotals::read(device.name(), 0, device.counters()));
        Totals {
            workers: self.0.workers.iter().map(|worker| worker.meter.read()).collect(),
            ports: ports.chain(devices).collect(),
            xdp: registry.steer.as_ref().and_then(Steer::counters),
        }
    }

    /// What was chosen at the start.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.0.report
    }

    /// Ends the workers and waits for them. All tunnels are gone then.
    pub fn stop(&self) {
        self.0.stop();
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        // A panic while it was locked cannot have left it half changed in a way that matters.
        self.0.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remove(&self, registry: &mut Registry, tunnel: TunnelId) -> Option<Arc<TunnelShared>> {
        let registered = registry.release(tunnel)?;
        if let Some(steer) = &mut registry.steer {
            steer.close(registered.outer);
            steer.set_prefixes(&registered.forward, &registered.prefixes, &[]);
            steer.set_prefixes(&registered.forward, &registered.prefixes_ipv6, &[]);
        }
        registered.shared.closed.store(true, Ordering::Release);
        for worker in &self.0.workers {
            worker.mailbox.close(tunnel);
        }
        Some(registered.shared)
    }
}

impl Inner {
    fn stop(&self) {
        for worker in &self.workers {
            worker.mailbox.stop();
        }
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            thread.thread().unpark();
            // The thread that balances may be the last that has a handle.
            if thread.thread().id() == std::thread::current().id() {
                continue;
            }
            if thread.join().is_err() {
                tracing::error!("a data plane worker had panicked");
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Registry {
    fn take(&mut self, registered: Registered) -> Result<TunnelId, OpenError> {
        let call = (registered.outer.peer, registered.outer.own_call_id);
        if self.calls.contains(&call) {
            return Err(OpenError::CallInUse);
        }
        let slot = match self.free.pop_front() {
            Some(slot) => slot,
            None => u32::try_from(self.slots.len())
                .ok()
                .filter(|&next| next < self.limit)
                .inspect(|_| self.slots.push(Slot::default()))
                .ok_or(OpenError::TooMany)?,
        };
        let place = self.slots.get_mut(slot as usize).ok_or(OpenError::TooMany)?;
        self.calls.insert(call);
        place.tunnel = Some(registered);
        Ok(TunnelId { slot, generation: place.generation })
    }

    fn release(&mut self, tunnel: TunnelId) -> Option<Registered> {
        let slot = self.slots.get_mut(tunnel.slot as usize)?;
        if slot.generation != tunnel.generation {
            return None;
        }
        let registered = slot.tunnel.take()?;
        self.calls.remove(&(registered.outer.peer, registered.outer.own_call_id));
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push_back(tunnel.slot);
        Some(registered)
    }

    /// Changes the prefixes of one family, which are in `field`.
    fn set_prefixes<P: Copy + Into<Block>>(
        &mut self,
        tunnel: TunnelId,
        field: fn(&mut Registered) -> &mut Vec<P>,
        prefixes: &[P],
    ) {
        let Some(slot) = self.slots.get_mut(tunnel.slot as usize) else { return };
        let Some(registered) = &mut slot.tunnel else { return };
        let old = std::mem::replace(field(registered), prefixes.to_vec());
        if let Some(steer) = &mut self.steer {
            steer.set_prefixes(&registered.forward, &old, prefixes);
        }
    }

    /// Who forwards from the next prefixes on. The XDP program is told anew of those that there are.
    fn set_forward(&mut self, tunnel: TunnelId, forward: &Forward) {
        self.set_prefixes(tunnel, |it| &mut it.prefixes, &[]);
        self.set_prefixes(tunnel, |it| &mut it.prefixes_ipv6, &[]);
        if let Some(registered) = self.get_mut(tunnel) {
            registered.forward = forward.clone();
        }
    }

    fn destinations(&self, tunnel: TunnelId, prefixes: &[Prefix]) -> Destinations {
        let forward = self.get(tunnel).map(|registered| &registered.forward);
        forward.map_or_else(Destinations::default, |forward| Destinations::of(forward, prefixes))
    }

    fn destinations_ipv6(&self, tunnel: TunnelId, ipv6: Option<&Ipv6Network>) -> Vec<Ipv6Prefix> {
        let forward = self.get(tunnel).map(|registered| &registered.forward);
        forward.map_or_else(Vec::new, |forward| destinations_ipv6(forward, ipv6))
    }

    fn get_mut(&mut self, tunnel: TunnelId) -> Option<&mut Registered> {
        let slot = self.slots.get_mut(tunnel.slot as usize)?;
        slot.tunnel.as_mut().filter(|_| slot.generation == tunnel.generation)
    }

    fn get(&self, tunnel: TunnelId) -> Option<&Registered> {
        let slot = self.slots.get(tunnel.slot as usize)?;
        slot.tunnel.as_ref().filter(|_| slot.generation == tunnel.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Network, Prefix};
    use crate::mppe::Choice;

    /// Two workers that never take their orders.
    fn handle(limit: u32) -> Handle {
        let party = || Party {
            mailbox: Arc::new(Mailbox::new().unwrap()),
            meter: Arc::default(),
            ports: vec![],
        };
        let workers = vec![party(), party()];
        let report = Report { workers: Vec::new(), mppe: Choice::fastest().clone() };
        Handle::new(workers, Machinery::default(), limit, Instant::now(), report)
    }

    fn outer(own_call_id: u16) -> Outer {
        Outer {
            local: Ipv4Addr::new(192, 0, 2, 1),
            peer: Ipv4Addr::new(192, 0, 2, 7),
            own_call_id,
            peer_call_id: 1,
            peer_window: 64,
        }
    }

    #[test]
    fn a_slot_is_used_again_and_a_name_is_not() {
        let handle = handle(2);
        let first = handle.open(outer(1)).unwrap();
        handle.open(outer(2)).unwrap();
        assert_eq!(handle.open(outer(3)), Err(OpenError::TooMany));
        assert_eq!(handle.open(outer(1)), Err(OpenError::CallInUse));
        assert!(handle.close(first).is_some());
        assert!(handle.close(first).is_none(), "closing twice does nothing");
        let again = handle.open(outer(1)).unwrap();
        assert_eq!(again.slot, first.slot);
        assert_ne!(again.generation, first.generation);
        assert!(handle.counters(first).is_none() && handle.counters(again).is_some());
    }

    #[test]
    fn full_rings_give_the_command_back_and_undo_an_open() {
        let handle = handle(u32::MAX >> 1);
        let tunnel = handle.open(outer(1)).unwrap();
        let control = || Command::SendControl { tunnel, frame: [0xC0, 0x21].into() };
        let mut taken = 0;
        let Full(command) = loop {
            match handle.command(control()) {
                Ok(()) => taken += 1,
                Err(full) => break full,
            }
        };
        assert!(taken > 1000 && matches!(command, Command::SendControl { .. }));
        // Call ID 1 is worker 1's, so worker 0's ring has room; both have to know a tunnel.
        assert_eq!(handle.open(outer(2)), Err(OpenError::Busy));
        let prefixes = vec![Prefix::host(outer(1).peer)];
        let network = Network { prefixes, mtu: 1400, local: outer(1).local, clamp_mss: true };
        let network = Some(network);
        let full = handle.command(Command::SetNetwork { tunnel, network });
        assert!(matches!(full, Err(Full(Command::SetNetwork { network: Some(_), .. }))));
        // A close always finds room.
        handle.close(tunnel);
        assert!(handle.command(control()).is_ok(), "commands for what is closed are ignored");
        let closes: Vec<_> = handle
            .0
            .workers
            .iter()
            .map(|worker| std::iter::from_fn(|| worker.mailbox.next_close()).count())
            .collect();
        assert_eq!(closes, [2, 2], "the tunnel, and the one that was undone");
    }
}
