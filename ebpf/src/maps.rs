//! The maps of the loaded program, with their types and what errors call them. Never decides what
//! goes into them.

use aya::maps::{Array, HashMap, LpmTrie, MapData, MapError, PerCpuArray, XskMap};
use aya::{Ebpf, Pod};

use crate::error::{Error, map_errno};
use crate::layout::{PortEntry, PortKey, TunnelKey};
use crate::steering::Capacity;

/// One map each, named as in `bpf/maps.h`.
pub(crate) struct Maps {
    pub(crate) ports: Table<PortKey, PortEntry>,
    pub(crate) sockets: XskMap<MapData>,
    pub(crate) listeners: Table<[u8; 4], u32>,
    pub(crate) tunnels: Table<TunnelKey, u32>,
    pub(crate) call_ids: Array<MapData, u64>,
    pub(crate) prefixes: LpmTrie<MapData, [u8; 4], u32>,
    pub(crate) prefixes_ipv6: LpmTrie<MapData, [u8; 16], u32>,
    pub(crate) counters: PerCpuArray<MapData, u64>,
}

impl Maps {
    /// Takes the maps out of the loaded object.
    pub(crate) fn take(ebpf: &mut Ebpf, capacity: &Capacity) -> Result<Self, Error> {
        Ok(Self {
            ports: Table::new(take(ebpf, "ports")?, "ports", capacity.ports),
            sockets: take(ebpf, "sockets")?,
            listeners: Table::new(take(ebpf, "listeners")?, "listeners", capacity.listeners),
            tunnels: Table::new(take(ebpf, "tunnels")?, "tunnels", capacity.tunnels),
            call_ids: take(ebpf, "call_ids")?,
            prefixes: take(ebpf, "prefixes")?,
            prefixes_ipv6: take(ebpf, "prefixes_ipv6")?,
            counters: take(ebpf, "counters")?,
        })
    }
}

pub(crate) fn take<M: TryFrom<aya::maps::Map>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<M, Error> {
    let map = ebpf.take_map(name).ok_or(Error::Object(name))?;
    M::try_from(map).map_err(|_| Error::Object(name))
}

/// A hash map whose errors name it and whose changes may be repeated.
pub(crate) struct Table<K: Pod, V: Pod> {
    map: HashMap<MapData, K, V>,
    name: &'static str,
    limit: u32,
}

impl<K: Pod, V: Pod> Table<K, V> {
    pub(crate) fn new(map: HashMap<MapData, K, V>, name: &'static str, limit: u32) -> Self {
        Self { map, name, limit }
    }

    /// Sets the value of a key, new or not.
    pub(crate) fn set(&mut self, key: K, value: V) -> Result<(), Error> {
        self.map.insert(key, value, 0).map_err(|error| Error::map(self.name, self.limit, error))
    }

    /// Adds a key. `false` if it was there, and then nothing changes.
    pub(crate) fn add(&mut self, key: K, value: V) -> Result<bool, Error> {
        const BPF_NOEXIST: u64 = 1;
        match self.map.insert(key, value, BPF_NOEXIST) {
            Ok(()) => Ok(true),
            Err(error) if map_errno(&error) == Some(libc::EEXIST) => Ok(false),
            Err(error) => Err(Error::map(self.name, self.limit, error)),
        }
    }

    /// Removes a key. `false` if it was not there.
    pub(crate) fn remove(&mut self, key: K) -> Result<bool, Error> {
        was_there(self.map.remove(&key), self.name, self.limit)
    }
}

/// Removing what is not there is no error.
pub(crate) fn was_there(
    removed: Result<(), MapError>,
    name: &'static str,
    limit: u32,
) -> Result<bool, Error> {
    match removed {
        Ok(()) => Ok(true),
        Err(error) if map_errno(&error) == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(Error::map(name, limit, error)),
    }
}
