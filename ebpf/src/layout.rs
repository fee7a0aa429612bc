//! Keys and values of the maps as the program in `bpf/structs.h` lays them out. Addresses and Call
//! IDs are in network order. Never holds a pointer or padding: both languages assert sizes and
//! offsets, so that a change on one side alone does not build.

use std::mem::{offset_of, size_of};
use std::net::Ipv4Addr;

use aya::Pod;

use crate::generator::Toward;
use crate::tags::{Tag, Tags};

/// A tunnel as its packets name it (`struct tunnel_key`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct TunnelKey {
    peer: [u8; 4],
    own_call_id: [u8; 2],
    zero: [u8; 2],
}

const _: () = assert!(size_of::<TunnelKey>() == 8);
const _: () = assert!(offset_of!(TunnelKey, own_call_id) == 4);

// SAFETY: plain bytes without padding, asserted above; every bit pattern is a value.
unsafe impl Pod for TunnelKey {}

impl TunnelKey {
    pub(crate) fn new(peer: Ipv4Addr, own_call_id: u16) -> Self {
        Self { peer: peer.octets(), own_call_id: own_call_id.to_be_bytes(), zero: [0; 2] }
    }
}

/// A port as its frames name it (`struct port_key`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct PortKey {
    interface: u32,
    outer: u16,
    inner: u16,
}

const _: () = assert!(size_of::<PortKey>() == 8);
const _: () = assert!(offset_of!(PortKey, inner) == 6);

// SAFETY: plain integers without padding, asserted above; every bit pattern is a value.
unsafe impl Pod for PortKey {}

impl PortKey {
    pub(crate) fn new(ifindex: u32, tags: Tags) -> Self {
        let bits = |at| tags.as_slice().get(at).map_or(0, Tag::bits);
        Self { interface: ifindex, outer: bits(0), inner: bits(1) }
    }
}

/// A port (`struct port`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct PortEntry {
    pub(crate) roles: u32,
    pub(crate) first_socket: u32,
    pub(crate) queues: u32,
}

const _: () = assert!(size_of::<PortEntry>() == 12);
const _: () = assert!(offset_of!(PortEntry, queues) == 8);

// SAFETY: plain integers without padding, asserted above; every bit pattern is a value.
unsafe impl Pod for PortEntry {}

/// A prefix (`struct prefix_key`, `struct prefix_ipv6_key`): aya's key puts the length before these
/// bytes.
pub(crate) type PrefixKey<const OCTETS: usize> = aya::maps::lpm_trie::Key<[u8; OCTETS]>;

const _: () = assert!(size_of::<PrefixKey<4>>() == 8);
const _: () = assert!(size_of::<PrefixKey<16>>() == 20);

/// Words of the bitmap of Call IDs (`CALL_ID_WORDS`).
pub(crate) const CALL_ID_WORDS: usize = 1024;

const _: () = assert!(CALL_ID_WORDS * 64 == 1 << 16);

/// The longest packet that a bench makes (`GENERATED_LENGTH`).
pub(crate) const GENERATED_LENGTH: usize = 1514;

/// What happens to prepared packets (`struct generation`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Generation {
    next: u32,
    count: u32,
    length: u32,
    verdict: u32,
    ifindex: u32,
}

const _: () = assert!(size_of::<Generation>() == 20);
const _: () = assert!(offset_of!(Generation, ifindex) == 16);

// SAFETY: plain integers without padding, asserted above; every bit pattern is a value.
unsafe impl Pod for Generation {}

impl Generation {
    /// `length`: octets of each packet, [`GENERATED_LENGTH`] at most.
    pub(crate) fn new(next: u32, count: u32, length: usize, toward: Toward) -> Self {
        let (verdict, ifindex) = match toward {
            Toward::Nothing => (XDP_DROP, 0),
            Toward::Kernel(_) => (XDP_PASS, 0),
            Toward::Wire(ifindex) => (XDP_DROP, ifindex),
        };
        // What is too long the program refuses.
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        Self { next, count, length, verdict, ifindex }
    }
}

/// The kernel's verdicts (`XDP_*`).
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;

/// What a port is for (`ROLE_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Roles {
    /// Subscribers dial in by it: PPTP's GRE is steered.
    Access,
    /// It leads to the core: packets to subscribers are steered.
    Core,
    /// Both, as on a box with one arm.
    Both,
}

impl Roles {
    pub(crate) fn bits(self) -> u32 {
        match self {
            Self::Access => 1,
            Self::Core => 2,
            Self::Both => 3,
        }
    }
}

/// What is done with packets to a prefix (`PREFIX_*`). The longest prefix decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PrefixAction {
    /// Those of the core go to a worker: subscribers are there.
    Steer,
    /// Those of the core go to the kernel, which forwards them to the subscribers there.
    Kernel,
    /// All go to the kernel: an address of ours inside a subscribers' prefix.
    Own,
}

impl PrefixAction {
    pub(crate) fn value(self) -> u32 {
        match self {
            Self::Steer => 1,
            Self::Kernel => 2,
            Self::Own => 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Reason;
    use crate::tags::TagKind;

    const CONSTANTS: &str = include_str!("bpf/constants.h");

    fn defined(name: &str) -> u32 {
        let rest = CONSTANTS
            .lines()
            .find_map(|line| line.strip_prefix("#define ")?.strip_prefix(name)?.strip_prefix(' '))
            .unwrap_or_else(|| panic!("{name} is not in constants.h"));
        match rest.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16).unwrap(),
            None => rest.parse().unwrap(),
        }
    }

    #[test]
    fn tags_have_the_programs_kinds() {
        let customer = Tag { kind: TagKind::Customer, id: 7 };
        let service = Tag { kind: TagKind::Service, id: 4094 };
        assert_eq!(u32::from(customer.bits()), defined("TAG_CUSTOMER") | 7);
        assert_eq!(u32::from(service.bits()), defined("TAG_SERVICE") | 4094);
    }

    #[test]
    fn roles_and_actions_have_the_programs_values() {
        assert_eq!(Roles::Access.bits(), defined("ROLE_ACCESS"));
        assert_eq!(Roles::Core.bits(), defined("ROLE_CORE"));
        assert_eq!(Roles::Both.bits(), defined("ROLE_ACCESS") | defined("ROLE_CORE"));
        assert_eq!(PrefixAction::Steer.value(), defined("PREFIX_STEER"));
        assert_eq!(PrefixAction::Kernel.value(), defined("PREFIX_KERNEL"));
        assert_eq!(PrefixAction::Own.value(), defined("PREFIX_OWN"));
        assert_eq!(CALL_ID_WORDS, defined("CALL_ID_WORDS") as usize);
        assert_eq!(GENERATED_LENGTH, defined("GENERATED_LENGTH") as usize);
        assert_eq!(XDP_DROP, defined("XDP_DROP"));
        assert_eq!(XDP_PASS, defined("XDP_PASS"));
    }

    #[test]
    fn reasons_have_the_programs_names_and_values() {
        let ours: Vec<String> = Reason::ALL
            .iter()
            .map(|reason| format!("REASON_{} = {}", reason.name().to_uppercase(), *reason as u32))
            .chain([format!("REASONS = {}", Reason::ALL.len())])
            .collect();
        let theirs: Vec<&str> = CONSTANTS
            .lines()
            .filter_map(|line| line.trim().strip_suffix(','))
            .filter(|line| line.starts_with("REASON"))
            .collect();
        assert_eq!(ours, theirs);
    }
}
