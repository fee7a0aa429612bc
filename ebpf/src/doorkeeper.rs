//! Loads the filter of listening sockets and fills its map of locked addresses: the kernel answers
//! none of their SYNs. Never ends a connection that is there.

use std::fmt;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;

use aya::maps::{MapData, PerCpuArray};
use aya::programs::SocketFilter;
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};

use crate::error::{Error, causes};
use crate::maps::{Table, take};

static OBJECT: &[u8] = include_bytes_aligned!("bpf/doorkeeper.o");

const PROGRAM: &str = "doorkeeper";

/// The filter and its map. A socket keeps the filter until it is closed.
pub struct Doorkeeper {
    locked: Table<[u8; 4], u32>,
    dropped: PerCpuArray<MapData, u64>,
    ebpf: Ebpf,
}

impl fmt::Debug for Doorkeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doorkeeper").finish_non_exhaustive()
    }
}

impl Doorkeeper {
    /// Loads the program and makes a map for so many addresses.
    ///
    /// # Errors
    /// [`Error::Privilege`], [`Error::LockedMemory`], or [`Error::Load`] with the verifier's
    /// words.
    pub fn load(addresses: u32) -> Result<Self, Error> {
        let mut ebpf = EbpfLoader::new()
            .btf(None)
            .map_max_entries("locked", addresses)
            .load(OBJECT)
            .map_err(Error::load)?;
        program(&mut ebpf)?.load().map_err(|error| Error::load(error.into()))?;
        let locked = Table::new(take(&mut ebpf, "locked")?, "locked addresses", addresses);
        let dropped = take(&mut ebpf, "dropped")?;
        Ok(Self { locked, dropped, ebpf })
    }

    /// From now on no locked address gets a connection by this listening IPv4 socket.
    ///
    /// # Errors
    /// [`Error::Listener`].
    pub fn guard(&mut self, listener: impl AsFd) -> Result<(), Error> {
        program(&mut self.ebpf)?
            .attach(listener)
            .map_err(|error| Error::Listener { reason: causes(&error) })
    }

    /// SYNs of this address are dropped from now on. No error if they were before.
    ///
    /// # Errors
    /// [`Error::Full`].
    pub fn lock(&mut self, address: Ipv4Addr) -> Result<(), Error> {
        self.locked.set(address.octets(), 0)
    }

    /// SYNs of this address pass from now on. No error if they did before.
    ///
    /// # Errors
    /// [`Error::Map`].
    pub fn unlock(&mut self, address: Ipv4Addr) -> Result<(), Error> {
        self.locked.remove(address.octets()).map(drop)
    }

    /// SYNs that were dropped so far.
    ///
    /// # Errors
    /// [`Error::Map`].
    pub fn dropped(&self) -> Result<u64, Error> {
        let per_cpu =
            self.dropped.get(&0, 0).map_err(|source| Error::Map { map: "dropped SYNs", source })?;
        Ok(per_cpu.iter().sum())
    }
}

fn program(ebpf: &mut Ebpf) -> Result<&mut SocketFilter, Error> {
    ebpf.program_mut(PROGRAM)
        .and_then(|program| program.try_into().ok())
        .ok_or(Error::Object(PROGRAM))
}
