//! What a worker knows of tunnels: whose every one is, and the state of its own.
//!
//! Every worker has the whole directory (peer and own Call ID, inner prefixes), so that a frame on
//! the wrong queue finds its owner; only the owner has the [`Tunnel`]. Nothing here is shared:
//! each worker changes its own table by the orders that it receives.

mod besides;
mod prefixes;
mod prefixes_ipv6;
mod round_trip;
mod tunnel;

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::api::{Ipv6Prefix, Outer, Prefix, TunnelId};
use crate::counters::TunnelShared;
use crate::ipv4;
use crate::ipv6;
use crate::mailbox::{Destinations, Handed, Opening};
use crate::mppe::{ReceiveState, SendState, States};
use crate::prefetch::prefetch;
use crate::uplink;
use crate::worker::BURST;
use prefixes::Prefixes;
use prefixes_ipv6::PrefixesIpv6;
pub(crate) use tunnel::{Direction, Half, Inside, Protection, Tunnel, Way};

/// The owner of a tunnel that is on its way to this worker, and not here yet.
pub(crate) const ARRIVING: u16 = u16::MAX;

/// No slot.
const NONE: u32 = u32::MAX;

/// A worker's table.
#[derive(Debug)]
pub(crate) struct Table {
    worker: u16,
    /// First slot of the tunnels with each own Call ID, chained by [`Entry::next`]. Call IDs are
    /// ours to give, so no peer can make a chain longer than its own tunnels.
    calls: Box<[u32]>,
    entries: Vec<Option<Entry>>,
    prefixes: Prefixes,
    prefixes_ipv6: PrefixesIpv6,
    /// IPv6 prefixes of each slot that has some.
    ipv6: HashMap<u32, Vec<Ipv6Prefix>>,
    /// Addresses of ours that tunnels ever ended at: those that PPTP is served on, and the few that
    /// calls of ours come from.
    locals: Vec<Ipv4Addr>,
}

/// What every worker knows of a tunnel. On a cache line of its own: packets of many tunnels need
/// one each.
#[derive(Debug)]
#[repr(align(64))]
struct Entry {
    id: TunnelId,
    outer: Outer,
    owner: u16,
    next: u32,
    prefixes: Box<[Prefix]>,
    /// Packets for them have to come from the kernel.
    through_kernel: bool,
    /// With the owner.
    tunnel: Option<Box<Tunnel>>,
    /// The tunnel's, here too so that both can be asked for at once.
    shared: Arc<TunnelShared>,
}

impl Entry {
    /// Asks the processor to load what each packet of a direction needs of this worker's tunnel.
    #[inline]
    fn prefetch(&self, direction: Direction) {
        if let Some(tunnel) = &self.tunnel {
            tunnel.prefetch(direction);
            self.shared.prefetch(direction);
        }
    }
}

const _: () = assert!(size_of::<Entry>() == 64, "an entry is one cache line");

/// Where a packet belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// To a tunnel of this worker.
    Here(u32),
    /// To another worker.
    Worker(u16),
}

/// Where a packet for an inner destination belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Destination {
    pub(crate) place: Place,
    /// It has to come from the kernel.
    pub(crate) through_kernel: bool,
}

/// Whose a GRE packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// A tunnel's.
    Known(Place),
    /// It has the Call ID of a tunnel, but not its addresses.
    OtherPeer,
    /// Nobody's.
    Unknown,
}

impl Table {
    /// What [`Table::expect_destination`] says where no tunnel is.
    pub(crate) const NOWHERE: u32 = NONE;

    pub(crate) fn new(worker: u16) -> Self {
        Self {
            worker,
            calls: vec![NONE; 1 << 16].into(),
            entries: Vec::new(),
            prefixes: Prefixes::default(),
            prefixes_ipv6: PrefixesIpv6::default(),
            ipv6: HashMap::new(),
            locals: Vec::new(),
        }
    }

    /// The number of the worker whose table this is.
    pub(crate) const fn worker(&self) -> u16 {
        self.worker
    }

    /// Enters a tunnel. One that had the slot before and was not closed yet is closed: its close
    /// is on its way, the slot would not have been given again otherwise.
    pub(crate) fn open(&mut self, opening: Opening) {
        if opening.shared.closed.load(Ordering::Acquire) {
            return;
        }
        let Opening { tunnel: id, outer, owner, shared } = opening;
        self.vacate(id.slot);
        if !self.is_local(outer.local) {
            self.locals.push(outer.local);
        }
        let slot = id.slot as usize;
        if self.entries.len() <= slot {
            self.entries.resize_with(slot + 1, || None);
        }
        let head = &mut self.calls[usize::from(outer.own_call_id)];
        let tunnel = || Box::new(Tunnel::new(id, outer, Arc::clone(&shared)));
        let tunnel = (owner == self.worker).then(tunnel);
        self.entries[slot] = Some(Entry {
            id,
            outer,
            owner,
            next: *head,
            prefixes: Box::default(),
            through_kernel: false,
            tunnel,
            shared,
        });
        *head = id.slot;
    }

    /// Forgets a tunnel, unless its slot has another one by now.
    pub(crate) fn close(&mut self, id: TunnelId) {
        if self.entry(id.slot).is_some_and(|entry| entry.id == id) {
            self.vacate(id.slot);
        }
    }

    fn vacate(&mut self, slot: u32) {
        let Some(entry) = self.entries.get_mut(slot as usize).and_then(Option::take) else {
            return;
        };
        for &prefix in &entry.prefixes {
            self.prefixes.remove(prefix, slot);
        }
        for prefix in self.ipv6.remove(&slot).unwrap_or_default() {
            self.prefixes_ipv6.remove(prefix, slot);
        }
        let call = usize::from(entry.outer.own_call_id);
        if self.calls[call] == slot {
            self.calls[call] = entry.next;
            return;
        }
        let mut at = self.calls[call];
        while let Some(before) = self.entries.get_mut(at as usize).and_then(Option::as_mut) {
            if before.next == slot {
                before.next = entry.next;
                return;
            }
            at = before.next;
        }
    }

    /// Whose a tunnel is from now on.
    pub(crate) fn set_owner(&mut self, id: TunnelId, owner: u16) {
        let entry = self.entries.get_mut(id.slot as usize).and_then(Option::as_mut);
        if let Some(entry) = entry.filter(|entry| entry.id == id) {
            entry.owner = owner;
        }
    }

    /// Takes a tunnel of this worker out. It is `owner`'s from now on.
    pub(crate) fn release(&mut self, id: TunnelId, owner: u16) -> Option<Box<Tunnel>> {
        let entry = self.entries.get_mut(id.slot as usize)?.as_mut();
        let entry = entry.filter(|entry| entry.id == id)?;
        let tunnel = entry.tunnel.take()?;
        entry.owner = owner;
        Some(tunnel)
    }

    /// Makes a tunnel of another worker this one's. It comes back if it was closed meanwhile.
    pub(crate) fn adopt(&mut self, tunnel: Box<Tunnel>) -> Result<&mut Tunnel, Box<Tunnel>> {
        let entry = self.entries.get_mut(tunnel.id.slot as usize).and_then(Option::as_mut);
        match entry.filter(|entry| entry.id == tunnel.id) {
            Some(entry) => {
                entry.owner = self.worker;
                Ok(entry.tunnel.insert(tunnel))
            }
            None => Err(tunnel),
        }
    }

    /// The slot of the tunnel that a packet belongs to which was handed over.
    pub(crate) fn slot_of(&self, handed: &Handed) -> Option<u32> {
        match handed {
            Handed::Uplink(frame) => match uplink::call(self, frame.data())? {
                Call::Known(Place::Here(slot)) => Some(slot),
                Call::Known(Place::Worker(_)) | Call::OtherPeer | Call::Unknown => None,
            },
            Handed::Downlink(frame) => match self.destination_of(frame.data())?.place {
                Place::Here(slot) => Some(slot),
                Place::Worker(_) => None,
            },
        }
    }

    /// Sets the inner destinations of a tunnel.
    pub(crate) fn set_destinations(&mut self, id: TunnelId, destinations: Destinations) {
        let Some(entry) = self.entries.get_mut(id.slot as usize).and_then(Option::as_mut) else {
            return;
        };
        if entry.id != id {
            return;
        }
        for &prefix in &entry.prefixes {
            self.prefixes.remove(prefix, id.slot);
        }
        for &prefix in &destinations.prefixes {
            self.prefixes.insert(prefix, id.slot);
        }
        entry.through_kernel = destinations.through_kernel;
        entry.prefixes = destinations.prefixes.into();
    }

    /// Sets the inner destinations of a tunnel in IPv6.
    pub(crate) fn set_destinations_ipv6(&mut self, id: TunnelId, prefixes: Vec<Ipv6Prefix>) {
        if self.entry(id.slot).is_none_or(|entry| entry.id != id) {
            return;
        }
        for prefix in self.ipv6.remove(&id.slot).unwrap_or_default() {
            self.prefixes_ipv6.remove(prefix, id.slot);
        }
        for &prefix in &prefixes {
            self.prefixes_ipv6.insert(prefix, id.slot);
        }
        if !prefixes.is_empty() {
            self.ipv6.insert(id.slot, prefixes);
        }
    }

    /// The tunnel that leads to an inner destination of IPv6, and how long the prefix is that does.
    pub(crate) fn destination_ipv6(&self, address: Ipv6Addr) -> Option<(Destination, u8)> {
        let (slot, length) = self.prefixes_ipv6.lookup(address)?;
        let entry = self.entry(slot)?;
        let place = self.place(slot, entry);
        Some((Destination { place, through_kernel: entry.through_kernel }, length))
    }

    /// How long the prefix is by which a tunnel leads to an inner destination, if it is no single
    /// address.
    #[inline]
    pub(crate) fn network(&self, address: Ipv4Addr) -> Option<u8> {
        self.prefixes.network(address)
    }

    /// The tunnel that a GRE packet with these addresses and this Call ID in its key belongs to.
    #[inline]
    pub(crate) fn call(&self, peer: Ipv4Addr, local: Ipv4Addr, call_id: u16) -> Call {
        let mut slot = self.calls[usize::from(call_id)];
        let mut other = Call::Unknown;
        while let Some(entry) = self.entry(slot) {
            if entry.outer.peer == peer && entry.outer.local == local {
                return Call::Known(self.place(slot, entry));
            }
            other = Call::OtherPeer;
            slot = entry.next;
        }
        other
    }

    /// Whether tunnels end at an address, or did.
    pub(crate) fn is_local(&self, address: Ipv4Addr) -> bool {
        self.locals.contains(&address)
    }

    /// The same, and the tunnel itself, if it is this worker's and the newest with its Call ID, as
    /// nearly all are.
    #[inline]
    pub(crate) fn caller(
        &mut self,
        peer: Ipv4Addr,
        local: Ipv4Addr,
        call_id: u16,
    ) -> Option<(u32, &mut Tunnel)> {
        let slot = self.calls[usize::from(call_id)];
        let entry = self.entries.get_mut(slot as usize)?.as_mut()?;
        let is_its = entry.outer.peer == peer && entry.outer.local == local;
        entry.tunnel.as_deref_mut().filter(|_| is_its).map(|tunnel| (slot, tunnel))
    }

    /// The tunnel that leads to an inner destination.
    pub(crate) fn destination(&self, address: Ipv4Addr) -> Option<Destination> {
        self.destination_in(self.prefixes.lookup(address)?)
    }

    /// The tunnel that a packet of IPv4 or IPv6 is for.
    pub(crate) fn destination_of(&self, packet: &[u8]) -> Option<Destination> {
        if ipv6::is_ipv6(packet) {
            self.destination_ipv6(ipv6::destination(packet)?).map(|(to, _)| to)
        } else {
            self.destination(ipv4::destination(packet)?)
        }
    }

    /// The same, by what [`Table::expect_destination`] said of it.
    /// Fetches what the packet will need there.
    #[inline]
    pub(crate) fn destination_in(&self, slot: u32) -> Option<Destination> {
        let entry = self.entry(slot)?;
        entry.prefetch(Direction::Downlink);
        let place = self.place(slot, entry);
        Some(Destination { place, through_kernel: entry.through_kernel })
    }

    #[inline]
    fn place(&self, slot: u32, entry: &Entry) -> Place {
        if entry.owner == self.worker { Place::Here(slot) } else { Place::Worker(entry.owner) }
    }

    #[inline]
    fn entry(&self, slot: u32) -> Option<&Entry> {
        self.entries.get(slot as usize)?.as_ref()
    }

    /// This worker's tunnel in a slot.
    #[inline]
    pub(crate) fn tunnel(&mut self, slot: u32) -> Option<&mut Tunnel> {
        self.entries.get_mut(slot as usize)?.as_mut()?.tunnel.as_deref_mut()
    }

    /// This worker's tunnel by its name.
    pub(crate) fn tunnel_by_id(&mut self, id: TunnelId) -> Option<&mut Tunnel> {
        self.tunnel(id.slot).filter(|tunnel| tunnel.id == id)
    }
}

/// What a burst will need is fetched for all of its packets at once, in steps, so that they wait for
/// memory together. The numbers may be any: these are hints.
impl Table {
    /// Fetches what uplink packets with these Call IDs need.
    pub(crate) fn expect_calls(&self, call_ids: impl IntoIterator<Item = u16>) {
        let mut slots = [NONE; BURST];
        let mut count = 0;
        for (slot, call_id) in slots.iter_mut().zip(call_ids) {
            *slot = self.calls[usize::from(call_id)];
            self.expect_entry(*slot);
            count += 1;
        }
        self.expect_tunnels(slots.get(..count).unwrap_or_default(), Direction::Uplink);
    }

    /// Fetches what is known of the tunnel in a slot.
    #[inline]
    pub(crate) fn expect_entry(&self, slot: u32) {
        if let Some(entry) = self.entries.get(slot as usize) {
            prefetch(entry);
        }
    }

    /// Fetches what is known of the tunnel that leads to an inner destination, and says in which
    /// slot that is; in none, if no tunnel does.
    #[inline]
    pub(crate) fn expect_destination(&self, address: Ipv4Addr) -> u32 {
        let slot = self.prefixes.lookup(address).unwrap_or(NONE);
        self.expect_entry(slot);
        slot
    }

    /// Fetches the state of this worker's tunnels in these slots.
    #[inline]
    pub(crate) fn expect_tunnels(&self, slots: &[u32], direction: Direction) {
        let mut last = NONE;
        for &slot in slots {
            // Packets of a tunnel often come one behind the other.
            if slot != last
                && let Some(entry) = self.entry(slot)
            {
                entry.prefetch(direction);
            }
            last = slot;
        }
    }
}

impl States<ReceiveState> for Table {
    fn state(&mut self, slot: u32) -> Option<&mut ReceiveState> {
        self.tunnel(slot)?.protection.receive_state()
    }
}

impl States<SendState> for Table {
    fn state(&mut self, slot: u32) -> Option<&mut SendState> {
        self.tunnel(slot)?.protection.send_state()
    }
}
