//! Makes packets inside the kernel, for benches, at a pace that no user of a socket reaches.
//!
//! The kernel's test run of XDP programs (`BPF_F_TEST_XDP_LIVE_FRAMES`, since Linux 5.18) gives them frames
//! that are real. Runs while it is called and no longer, and touches no interface's own program.

use std::fmt;
use std::mem::size_of;

use aya::maps::{Array, MapData};
use aya::programs::{TestRun, TestRunAttrs, TestRunOptions, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};

use crate::error::{Error, causes};
use crate::layout::{GENERATED_LENGTH, Generation};
use crate::maps::take;

static OBJECT: &[u8] = include_bytes_aligned!("bpf/generator.o");

const PROGRAM: &str = "generator";
/// Frames that the kernel hands to the program at a time, as many as a NIC's driver takes in a poll.
const BATCH: u32 = 64;
/// The shortest frame that the kernel takes: an Ethernet header and nothing else is none.
const SHORTEST: usize = 15;

/// Where packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Toward {
    /// Nowhere: what is left is the cost of making them.
    Nothing,
    /// To this machine: they came in by the interface with this index.
    Kernel(u32),
    /// Out by the interface with this index.
    Wire(u32),
}

/// The program and the packets that it knows.
pub struct Generator {
    packets: Array<MapData, [u8; GENERATED_LENGTH]>,
    plan: Array<MapData, Generation>,
    /// As the map of packets is.
    capacity: u32,
    /// Of the packets that it was filled with last.
    count: u32,
    length: usize,
    next: u32,
    ebpf: Ebpf,
}

impl fmt::Debug for Generator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generator").field("packets", &self.count).finish_non_exhaustive()
    }
}

impl Generator {
    /// Loads the program, with room for so many packets.
    ///
    /// # Errors
    /// [`Error::Privilege`], [`Error::LockedMemory`], or [`Error::Load`] with the verifier's
    /// words: Linux has what it needs since version 5.18.
    pub fn load(capacity: u32) -> Result<Self, Error> {
        let mut ebpf = EbpfLoader::new()
            .btf(None)
            .map_max_entries("generated", capacity)
            .load(OBJECT)
            .map_err(Error::load)?;
        let program: &mut Xdp = ebpf
            .program_mut(PROGRAM)
            .and_then(|program| program.try_into().ok())
            .ok_or(Error::Object(PROGRAM))?;
        program.load().map_err(|error| Error::load(error.into()))?;
        let packets = take(&mut ebpf, "generated")?;
        let plan = take(&mut ebpf, "generation")?;
        Ok(Self { packets, plan, capacity, count: 0, length: 0, next: 0, ebpf })
    }

    /// Knows these Ethernet frames from now on, and no others. All have the same length, 15 to 1514
    /// octets.
    ///
    /// # Errors
    /// [`Error::Generated`] if they are too many, or of other lengths.
    pub fn fill<'a>(&mut self, packets: impl IntoIterator<Item = &'a [u8]>) -> Result<(), Error> {
        let refuse = |reason| Err(Error::Generated { reason });
        (self.count, self.length, self.next) = (0, 0, 0);
        let mut entry = [0; GENERATED_LENGTH];
        for packet in packets {
            if self.count == 0 {
                self.length = packet.len();
            }
            if packet.len() != self.length || packet.len() < SHORTEST {
                return refuse(format!("a packet of {} octets", packet.len()));
            }
            let Some(into) = entry.get_mut(..packet.len()) else {
                return refuse(format!("a packet of {} octets", packet.len()));
            };
            if self.count == self.capacity {
                return refuse(format!("more than {} packets", self.capacity));
            }
            into.copy_from_slice(packet);
            self.packets
                .set(self.count, entry, 0)
                .map_err(|source| Error::Map { map: "packets", source })?;
            self.count += 1;
        }
        Ok(())
    }

    /// Makes short calls cheap. Each call has the kernel patch its way to the program in and out of its
    /// own code, which takes milliseconds, unless the program is attached: to `interface`, by which
    /// nothing comes in.
    ///
    /// # Errors
    /// [`Error::Generated`] if there is no such interface, or the kernel refuses.
    pub fn stand_by(&mut self, interface: &str) -> Result<(), Error> {
        let program: &mut Xdp = self
            .ebpf
            .program_mut(PROGRAM)
            .and_then(|program| program.try_into().ok())
            .ok_or(Error::Object(PROGRAM))?;
        program
            .attach(interface, XdpMode::Skb)
            .map(drop)
            .map_err(|error| Error::Generated { reason: causes(&error) })
    }

    /// Makes so many packets, in turn those that it knows, and goes on where it ended the last
    /// time. Interfaces are those of the calling thread's network namespace.
    ///
    /// # Errors
    /// [`Error::Generated`] if it knows none or the kernel cannot make them.
    pub fn send(&mut self, packets: u32, toward: Toward) -> Result<(), Error> {
        if packets == 0 {
            return Ok(());
        }
        let empty = vec![0; self.length];
        let context = match toward {
            Toward::Kernel(ifindex) => context(self.length, ifindex),
            // Without a context they come in by the loopback interface.
            Toward::Nothing | Toward::Wire(_) => None,
        };
        let plan = Generation::new(self.next, self.count, self.length, toward);
        self.plan.set(0, plan, 0).map_err(|source| Error::Map { map: "generation", source })?;
        let program: &Xdp = self
            .ebpf
            .program(PROGRAM)
            .and_then(|program| program.try_into().ok())
            .ok_or(Error::Object(PROGRAM))?;
        let options = TestRunOptions {
            data_in: Some(&empty),
            ctx_in: context.as_ref().map(<[u8; 24]>::as_slice),
            repeat: packets,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::default()
        };
        program.test_run(options).map_err(|error| Error::Generated { reason: causes(&error) })?;
        self.next = packets.wrapping_add(self.next).checked_rem(self.count).unwrap_or(0);
        Ok(())
    }
}

/// The kernel's `struct xdp_md` for a packet of so many octets that comes in by an interface's first
/// queue.
fn context(length: usize, ifindex: u32) -> Option<[u8; 24]> {
    let mut octets = [0; 6 * size_of::<u32>()];
    octets[4..8].copy_from_slice(&u32::try_from(length).ok()?.to_ne_bytes());
    octets[12..16].copy_from_slice(&ifindex.to_ne_bytes());
    Some(octets)
}
