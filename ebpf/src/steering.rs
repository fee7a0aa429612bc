//! Loads the XDP program, attaches it to ports and fills its maps: which tunnels live (peer and own
//! Call ID, RFC 2637 §4.1), where PPTP is served, which prefixes are subscribers', which sockets
//! wait at which queues. Never replaces another program, and leaves nothing behind in the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};

use aya::programs::xdp::{XdpLink, XdpMode};
use aya::programs::{ProgramError, Xdp};
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};

use crate::call_ids::{CallIds, Word};
use crate::error::{Error, causes, program_errno};
use crate::interface;
use crate::layout::{PortEntry, PortKey, PrefixAction, PrefixKey, Roles, TunnelKey};
use crate::maps::{Maps, was_there};
use crate::reason::{Counters, Reason};
use crate::tags::Tags;

static OBJECT: &[u8] = include_bytes_aligned!("bpf/steering.o");

const PROGRAM: &str = "steering";

/// How much the maps can hold. They cannot grow later. Tunnels and prefixes take memory only when
/// they exist; a port takes about 100 bytes, a socket 8, a listener about 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Interfaces that can be attached at a time, each VLAN with a role for itself.
    pub ports: u32,
    /// RX queues of all ports together.
    pub sockets: u32,
    /// Addresses where PPTP is served.
    pub listeners: u32,
    /// Live tunnels.
    pub tunnels: u32,
    /// Prefixes of subscribers and addresses of ours in them, in each family.
    pub prefixes: u32,
}

impl Default for Capacity {
    fn default() -> Self {
        Self { ports: 256, sockets: 4096, listeners: 1024, tunnels: 131_072, prefixes: 131_072 }
    }
}

/// Where in the kernel the program runs on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// In the driver, before the kernel has made a packet buffer.
    Native,
    /// In the network stack, for a driver without native XDP: slower.
    Generic {
        /// What the kernel said against native mode.
        refusal: String,
    },
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Native => f.write_str("native"),
            Self::Generic { refusal } => write!(f, "generic (not native: {refusal})"),
        }
    }
}

/// How an interface was attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The interface's index: names the port from now on.
    pub ifindex: u32,
    /// Where the program runs.
    pub mode: Mode,
}

/// The XDP program, its ports and its maps. Dropping it detaches all ports; so does the end of the
/// process, however it ends (Linux 5.9 and newer).
pub struct Steering {
    // Before the program: links are detached while it still exists.
    ports: BTreeMap<u32, Port>,
    maps: Maps,
    call_ids: CallIds,
    capacity: Capacity,
    ebpf: Ebpf,
}

struct Port {
    first_socket: u32,
    queues: u32,
    /// Of which its frames have a role.
    tags: BTreeSet<Tags>,
    _link: XdpLink,
}

impl Port {
    fn sockets(&self) -> Range<u32> {
        self.first_socket..self.first_socket + self.queues
    }
}

impl fmt::Debug for Steering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steering")
            .field("ports", &self.ports.keys())
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

impl Steering {
    /// Loads the program and makes its maps.
    ///
    /// # Errors
    /// [`Error::Privilege`], [`Error::LockedMemory`], or [`Error::Load`] with the verifier's
    /// words.
    pub fn load(capacity: Capacity) -> Result<Self, Error> {
        let mut ebpf = EbpfLoader::new()
            // The program reads no kernel structures, so it needs no description of the kernel.
            .btf(None)
            .map_max_entries("ports", capacity.ports)
            .map_max_entries("sockets", capacity.sockets)
            .map_max_entries("listeners", capacity.listeners)
            .map_max_entries("tunnels", capacity.tunnels)
            .map_max_entries("prefixes", capacity.prefixes)
            .map_max_entries("prefixes_ipv6", capacity.prefixes)
            .load(OBJECT)
            .map_err(Error::load)?;
        program(&mut ebpf)?.load().map_err(|error| Error::load(error.into()))?;
        let maps = Maps::take(&mut ebpf, &capacity)?;
        Ok(Self { ports: BTreeMap::new(), maps, call_ids: CallIds::new(), capacity, ebpf })
    }

    /// Attaches the program to an interface of this network namespace with this many RX queues:
    /// natively, or else generically. `roles` says what frames are for, by their VLAN tags; others
    /// go to the kernel.
    ///
    /// # Errors
    /// [`Error::Occupied`] if another program is there (it stays), [`Error::Attach`] if the
    /// interface takes XDP in no mode, [`Error::Full`], [`Error::NoInterface`],
    /// [`Error::AlreadyAttached`], [`Error::Privilege`].
    pub fn attach(
        &mut self,
        interface: &str,
        roles: &[(Tags, Roles)],
        queues: u32,
    ) -> Result<Attachment, Error> {
        let ifindex = nix::net::if_::if_nametoindex(interface)
            .map_err(|_| Error::NoInterface { interface: interface.into() })?;
        if self.ports.contains_key(&ifindex) {
            return Err(Error::AlreadyAttached { interface: interface.into() });
        }
        if let Some(program) = interface::attached_program(ifindex)
            .map_err(|source| Error::Query { interface: interface.into(), source })?
        {
            return Err(Error::Occupied { interface: interface.into(), program });
        }

        let first_socket = self.free_sockets(queues)?;
        // First the entries: no packet shall find the program without them.
        let attached = roles
            .iter()
            .try_for_each(|&(tags, roles)| {
                let entry = PortEntry { roles: roles.bits(), first_socket, queues };
                self.maps.ports.set(PortKey::new(ifindex, tags), entry)
            })
            .and_then(|()| attach(program(&mut self.ebpf)?, interface, ifindex));
        match attached {
            Ok((link, mode)) => {
                let tags = roles.iter().map(|&(tags, _)| tags).collect();
                self.ports.insert(ifindex, Port { first_socket, queues, tags, _link: link });
                Ok(Attachment { ifindex, mode })
            }
            Err(error) => {
                for &(tags, _) in roles {
                    self.maps.ports.remove(PortKey::new(ifindex, tags))?;
                }
                Err(error)
            }
        }
    }

    /// Detaches the program from a port and forgets the port's sockets.
    ///
    /// # Errors
    /// [`Error::NotAttached`].
    pub fn detach(&mut self, ifindex: u32) -> Result<(), Error> {
        let port = self.ports.remove(&ifindex).ok_or(Error::NotAttached { ifindex })?;
        let sockets = port.sockets();
        let tags = port.tags.clone();
        drop(port);
        for tags in tags {
            self.maps.ports.remove(PortKey::new(ifindex, tags))?;
        }
        for socket in sockets {
            self.remove_socket(socket)?;
        }
        Ok(())
    }

    /// Changes what a port's frames with these tags are for.
    ///
    /// # Errors
    /// [`Error::NotAttached`].
    pub fn set_roles(&mut self, ifindex: u32, tags: Tags, roles: Roles) -> Result<(), Error> {
        let port = self.ports.get_mut(&ifindex).ok_or(Error::NotAttached { ifindex })?;
        let Port { first_socket, queues, .. } = *port;
        let entry = PortEntry { roles: roles.bits(), first_socket, queues };
        self.maps.ports.set(PortKey::new(ifindex, tags), entry)?;
        port.tags.insert(tags);
        Ok(())
    }

    /// Packets that arrive by this queue of the port go to this AF_XDP socket from now on. The
    /// kernel forgets the socket by itself when it is closed.
    ///
    /// # Errors
    /// [`Error::NotAttached`], [`Error::NoQueue`], or [`Error::Map`] if it is no AF_XDP socket
    /// with an RX ring.
    pub fn register_socket(
        &mut self,
        ifindex: u32,
        queue: u32,
        socket: impl AsFd,
    ) -> Result<(), Error> {
        let index = self.socket_index(ifindex, queue)?;
        self.maps
            .sockets
            .set(index, socket.as_fd().as_raw_fd(), 0)
            .map_err(|error| Error::map("sockets", self.capacity.sockets, error))
    }

    /// Packets that arrive by this queue of the port go to the kernel from now on.
    ///
    /// # Errors
    /// [`Error::NotAttached`], [`Error::NoQueue`].
    pub fn unregister_socket(&mut self, ifindex: u32, queue: u32) -> Result<(), Error> {
        let index = self.socket_index(ifindex, queue)?;
        self.remove_socket(index)
    }

    /// PPTP is served at this address: its GRE packets of no known tunnel are dropped from now on.
    ///
    /// # Errors
    /// [`Error::Full`].
    pub fn insert_listener(&mut self, address: Ipv4Addr) -> Result<(), Error> {
        self.maps.listeners.set(address.octets(), 0)
    }

    /// PPTP is not served at this address any more. No error if it never was.
    ///
    /// # Errors
    /// [`Error::Map`].
    pub fn remove_listener(&mut self, address: Ipv4Addr) -> Result<(), Error> {
        self.maps.listeners.remove(address.octets())?;
        Ok(())
    }

    /// A tunnel lives: GRE of this peer with this Call ID goes to a worker (RFC 2637 §4.1). No
    /// error if it was there.
    ///
    /// # Errors
    /// [`Error::Full`].
    pub fn insert_tunnel(&mut self, peer: Ipv4Addr, own_call_id: u16) -> Result<(), Error> {
        if self.maps.tunnels.add(TunnelKey::new(peer, own_call_id), 0)? {
            let word = self.call_ids.take(own_call_id);
            self.write_call_ids(word)?;
        }
        Ok(())
    }

    /// A tunnel is gone. No error if it never was.
    ///
    /// # Errors
    /// [`Error::Map`].
    pub fn remove_tunnel(&mut self, peer: Ipv4Addr, own_call_id: u16) -> Result<(), Error> {
        if self.maps.tunnels.remove(TunnelKey::new(peer, own_call_id))? {
            let word = self.call_ids.release(own_call_id);
            self.write_call_ids(word)?;
        }
        Ok(())
    }

    /// What is done with packets to these addresses that no subscriber sent. Of several prefixes the
    /// longest decides. Host bits of `address` are ignored, `length` is in bits.
    ///
    /// # Errors
    /// [`Error::PrefixLength`], [`Error::Full`].
    pub fn insert_prefix(
        &mut self,
        address: impl Into<IpAddr>,
        length: u8,
        action: PrefixAction,
    ) -> Result<(), Error> {
        let Maps { prefixes, prefixes_ipv6, .. } = &mut self.maps;
        let inserted = match address.into() {
            IpAddr::V4(address) => {
                prefixes.insert(&prefix_key(address.octets(), length)?, action.value(), 0)
            }
            IpAddr::V6(address) => {
                prefixes_ipv6.insert(&prefix_key(address.octets(), length)?, action.value(), 0)
            }
        };
        inserted.map_err(|error| Error::map("prefixes", self.capacity.prefixes, error))
    }

    /// Nothing is known about this very prefix any more. No error if nothing ever was.
    ///
    /// # Errors
    /// [`Error::PrefixLength`].
    pub fn remove_prefix(&mut self, address: impl Into<IpAddr>, length: u8) -> Result<(), Error> {
        let Maps { prefixes, prefixes_ipv6, .. } = &mut self.maps;
        let removed = match address.into() {
            IpAddr::V4(address) => prefixes.remove(&prefix_key(address.octets(), length)?),
            IpAddr::V6(address) => prefixes_ipv6.remove(&prefix_key(address.octets(), length)?),
        };
        was_there(removed, "prefixes", self.capacity.prefixes)?;
        Ok(())
    }

    /// Packets per reason, summed over ports and CPUs.
    ///
    /// # Errors
    /// [`Error::Map`].
    pub fn counters(&self) -> Result<Counters, Error> {
        let mut packets = [0; Reason::ALL.len()];
        for (reason, sum) in Reason::ALL.into_iter().zip(&mut packets) {
            let per_cpu = self
                .maps
                .counters
                .get(&(reason as u32), 0)
                .map_err(|source| Error::Map { map: "counters", source })?;
            *sum = per_cpu.iter().sum();
        }
        Ok(Counters::new(packets))
    }

    /// The first entry of a run of this many that no port has.
    fn free_sockets(&self, queues: u32) -> Result<u32, Error> {
        let mut taken: Vec<Range<u32>> = self.ports.values().map(Port::sockets).collect();
        taken.sort_by_key(|sockets| sockets.start);
        first_gap(&taken, queues, self.capacity.sockets)
            .ok_or(Error::Full { map: "sockets", limit: self.capacity.sockets })
    }

    fn socket_index(&self, ifindex: u32, queue: u32) -> Result<u32, Error> {
        let &Port { first_socket, queues, .. } =
            self.ports.get(&ifindex).ok_or(Error::NotAttached { ifindex })?;
        if queue < queues {
            Ok(first_socket + queue)
        } else {
            Err(Error::NoQueue { ifindex, queue, queues })
        }
    }

    fn remove_socket(&mut self, index: u32) -> Result<(), Error> {
        was_there(self.maps.sockets.unset(index), "sockets", self.capacity.sockets)?;
        Ok(())
    }

    fn write_call_ids(&mut self, word: Option<Word>) -> Result<(), Error> {
        let Some(Word { index, bits }) = word else { return Ok(()) };
        self.maps
            .call_ids
            .set(index, bits, 0)
            .map_err(|source| Error::Map { map: "Call IDs", source })
    }
}

fn program(ebpf: &mut Ebpf) -> Result<&mut Xdp, Error> {
    ebpf.program_mut(PROGRAM)
        .and_then(|program| program.try_into().ok())
        .ok_or(Error::Object(PROGRAM))
}

/// Natively, or else generically.
fn attach(program: &mut Xdp, interface: &str, ifindex: u32) -> Result<(XdpLink, Mode), Error> {
    let native = match attach_in(program, ifindex, XdpMode::Driver) {
        Ok(link) => return Ok((link, Mode::Native)),
        Err(error) => error,
    };
    match program_errno(&native) {
        Some(libc::EPERM) => return Err(Error::denied()),
        Some(libc::EBUSY | libc::EEXIST) => {
            // The question before found none here: it came since, or is on a bond above.
            let program = "attached to it or to the device above it".into();
            return Err(Error::Occupied { interface: interface.into(), program });
        }
        _ => {}
    }
    match attach_in(program, ifindex, XdpMode::Skb) {
        Ok(link) => Ok((link, Mode::Generic { refusal: causes(&native) })),
        Err(generic) => Err(Error::Attach {
            interface: interface.into(),
            native: causes(&native),
            generic: causes(&generic),
        }),
    }
}

fn attach_in(program: &mut Xdp, ifindex: u32, mode: XdpMode) -> Result<XdpLink, ProgramError> {
    let id = program.attach_to_if_index(ifindex, mode)?;
    program.take_link(id)
}

/// A prefix without the bits beyond its length.
fn prefix_key<const OCTETS: usize>(
    mut address: [u8; OCTETS],
    length: u8,
) -> Result<PrefixKey<OCTETS>, Error> {
    if usize::from(length) > 8 * OCTETS {
        return Err(Error::PrefixLength { length });
    }
    let mut bits = length;
    for octet in &mut address {
        *octet &= !0xFF_u8.checked_shr(bits.into()).unwrap_or(0);
        bits = bits.saturating_sub(8);
    }
    Ok(PrefixKey::new(length.into(), address))
}

/// Where a run of `length` entries begins that overlaps none of `taken` (sorted) and ends before
/// `limit`.
fn first_gap(taken: &[Range<u32>], length: u32, limit: u32) -> Option<u32> {
    let mut start = 0;
    for range in taken {
        if range.start - start >= length {
            return Some(start);
        }
        start = range.end;
    }
    (limit.checked_sub(start)? >= length).then_some(start)
}

#[cfg(test)]
mod tests;
