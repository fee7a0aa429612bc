//! IPV6CP's options: the interface identifiers of both ends.
//!
//! Implements RFC 5072 §4.1 (Interface-Identifier). Rejects header compression (RFC 5172); never
//! agrees on an identifier of zero, nor on one for both ends, and never gives out prefixes: routers
//! advertise them and DHCPv6 delegates them, once the protocol is open.

use std::fmt;
use std::net::Ipv6Addr;
use std::num::NonZeroU64;

use super::entropy::Entropy;
use super::frame::Protocol;
use super::link::Ipv6;
use super::negotiation::{Judgement, Policy, Settlement};
use super::options::{Opt, OptionList, Options};

/// Option types (RFC 5072 §4.1; RFC 5172 §3).
pub mod option {
    /// Interface-Identifier.
    pub const INTERFACE_IDENTIFIER: u8 = 1;
    /// IPv6-Compression-Protocol.
    pub const COMPRESSION: u8 = 2;
}

/// The "u" bit: set in identifiers that were made of a globally unique one (RFC 5072 §4.1).
const UNIVERSAL: u64 = 0x0200_0000_0000_0000;

/// The last 64 bits of an end's addresses, unique on the link. Never zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceId(NonZeroU64);

impl InterfaceId {
    /// An identifier of these bits; zero is none.
    #[must_use]
    pub const fn new(bits: u64) -> Option<Self> {
        match NonZeroU64::new(bits) {
            Some(bits) => Some(Self(bits)),
            None => None,
        }
    }

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0.get()
    }

    /// The address of the end on the link itself (RFC 5072 §5).
    #[must_use]
    pub const fn link_local(self) -> Ipv6Addr {
        Ipv6Addr::from_bits(0xFE80_u128 << 112 | self.bits() as u128)
    }

    const fn octets(self) -> [u8; 8] {
        self.bits().to_be_bytes()
    }

    fn read(option: Opt<'_>) -> Option<u64> {
        option.data.try_into().ok().map(u64::from_be_bytes)
    }

    /// A random one, which is not `other` (RFC 5072 §4.1, case 3: the "u" bit is zero).
    fn draw(entropy: &mut Entropy, other: Option<Self>) -> Self {
        let bits = u64::from_be_bytes(entropy.draw()) & !UNIVERSAL;
        // With random bits neither of these ever happens.
        let id = Self(NonZeroU64::new(bits).unwrap_or(NonZeroU64::MIN));
        if Some(id) == other { Self(id.0 | 4) } else { id }
    }
}

impl fmt::Display for InterfaceId {
    /// As RADIUS dictionaries and routers write it: `0:0:0:1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.bits();
        let group = |shift: u32| bits >> shift & 0xFFFF;
        write!(f, "{:x}:{:x}:{:x}:{:x}", group(48), group(32), group(16), group(0))
    }
}

impl fmt::Debug for InterfaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InterfaceId({self})")
    }
}

/// State of IPV6CP's option.
#[derive(Debug, Clone)]
pub(crate) struct Ipv6cp {
    own: InterfaceId,
    /// Is it in our request? Not after a Reject.
    own_is_told: bool,
    /// The identifier that the peer must take.
    assigned: Option<InterfaceId>,
    /// What is suggested to a peer that has none of its own.
    suggestion: InterfaceId,
    /// The peer's, once it was acknowledged.
    remote: Option<InterfaceId>,
    entropy: Entropy,
}

impl Ipv6cp {
    /// Our end of a link whose peer is to have IPv6. An assigned identifier is never ours.
    pub(crate) fn new(ipv6: Ipv6, mut entropy: Entropy) -> Self {
        let assigned = match ipv6 {
            Ipv6::Identifier(assigned) => Some(assigned),
            Ipv6::No | Ipv6::AnyIdentifier => None,
        };
        let own = InterfaceId::draw(&mut entropy, assigned);
        let suggestion = assigned.unwrap_or_else(|| InterfaceId::draw(&mut entropy, Some(own)));
        Self { own, own_is_told: true, assigned, suggestion, remote: None, entropy }
    }

    /// Our identifier.
    pub(crate) const fn local(&self) -> InterfaceId {
        self.own
    }

    /// The peer's identifier, once there is one.
    pub(crate) const fn remote(&self) -> Option<InterfaceId> {
        self.remote
    }
}

impl Policy for Ipv6cp {
    const PROTOCOL: Protocol = Protocol::IPV6CP;

    fn knows(_code: u8) -> bool {
        false
    }

    fn request(&self) -> OptionList {
        let mut options = OptionList::new();
        if self.own_is_told {
            options.push(option::INTERFACE_IDENTIFIER, &self.own.octets());
        }
        options
    }

    fn judge(&mut self, option: Opt<'_>) -> Judgement {
        if option.kind != option::INTERFACE_IDENTIFIER {
            return Judgement::Reject;
        }
        // RFC 5072 §4.1: zero, and what is ours already, are answered with another one.
        let wanted = InterfaceId::read(option).and_then(InterfaceId::new);
        let is_good = wanted.is_some_and(|wanted| {
            wanted != self.own && self.assigned.is_none_or(|assigned| wanted == assigned)
        });
        if is_good { Judgement::Ack } else { Judgement::Nak(self.suggestion.octets().to_vec()) }
    }

    /// A peer that says nothing of its identifier has none.
    fn missing(&self, request: Options<'_>) -> OptionList {
        let mut options = OptionList::new();
        if request.find(option::INTERFACE_IDENTIFIER).is_none() {
            options.push(option::INTERFACE_IDENTIFIER, &self.suggestion.octets());
        }
        options
    }

    /// Nobody could be reached without an identifier, nor two by one.
    fn settle(&self, _unacceptable: bool) -> Settlement {
        Settlement::Fail
    }

    fn agreed(&mut self, request: Options<'_>) {
        self.remote = request
            .find(option::INTERFACE_IDENTIFIER)
            .and_then(InterfaceId::read)
            .and_then(InterfaceId::new);
    }

    /// The peer suggests another identifier for us: where that is no good, we draw one.
    fn naked(&mut self, option: Opt<'_>) {
        if option.kind != option::INTERFACE_IDENTIFIER {
            return;
        }
        let other = self.remote.or(self.assigned);
        let named = InterfaceId::read(option).and_then(InterfaceId::new);
        self.own = named
            .filter(|named| {
                Some(*named) != other && *named != self.own && *named != self.suggestion
            })
            .unwrap_or_else(|| InterfaceId::draw(&mut self.entropy, other));
    }

    fn rejected(&mut self, kind: u8) {
        if kind == option::INTERFACE_IDENTIFIER {
            self.own_is_told = false;
        }
    }

    fn is_hopeless(&self) -> bool {
        false
    }
}
