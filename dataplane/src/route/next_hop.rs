//! Next hops as objects of their own (`ip nexthop`): routes name one by its number, and one message
//! moves all of them. FRR gives all its routes so. Reads those messages of rtnetlink that
//! netlink-packet-route does not know (`linux/nexthop.h`). Never keeps anything.

use std::net::IpAddr;

use rtnetlink::packet_core::{
    DecodeError, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable, NlasIterator,
};
use rtnetlink::packet_route::RouteNetlinkMessage;

use super::message::{Gateway, Hop};

const RTM_NEWNEXTHOP: u16 = 104;
const RTM_DELNEXTHOP: u16 = 105;
const RTM_GETNEXTHOP: u16 = 106;

/// Octets of `struct nhmsg`: family, scope, protocol, one reserved, flags.
const HEADER: usize = 8;

/// A message of rtnetlink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    /// Of links, addresses, neighbours, routes and rules.
    Route(RouteNetlinkMessage),
    /// An object is there, as it is now.
    NextHop { id: u32, next_hop: NextHop },
    /// An object is gone, and with it each route that names it.
    NextHopGone { id: u32 },
    /// Asks for all objects.
    GetNextHops,
}

/// What an object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NextHop {
    One(Hop),
    /// Several, by their numbers, each with its share.
    Group(Vec<(u32, u32)>),
    Blackhole,
}

impl Message {
    /// The request for all objects.
    pub(super) fn ask_for_next_hops() -> NetlinkMessage<Self> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        NetlinkMessage::new(header, NetlinkPayload::InnerMessage(Self::GetNextHops))
    }
}

impl NetlinkDeserializable for Message {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        match header.message_type {
            RTM_NEWNEXTHOP => {
                let (id, next_hop) = parse(payload)?;
                Ok(Self::NextHop { id, next_hop })
            }
            RTM_DELNEXTHOP => Ok(Self::NextHopGone { id: parse(payload)?.0 }),
            _ => RouteNetlinkMessage::deserialize(header, payload).map(Self::Route),
        }
    }
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        match self {
            Self::Route(message) => message.message_type(),
            Self::NextHop { .. } => RTM_NEWNEXTHOP,
            Self::NextHopGone { .. } => RTM_DELNEXTHOP,
            Self::GetNextHops => RTM_GETNEXTHOP,
        }
    }

    fn buffer_len(&self) -> usize {
        match self {
            Self::Route(message) => message.buffer_len(),
            // Of objects nothing is sent but the question, which is for those of all families.
            Self::NextHop { .. } | Self::NextHopGone { .. } | Self::GetNextHops => HEADER,
        }
    }

    fn serialize(&self, buffer: &mut [u8]) {
        match self {
            Self::Route(message) => message.serialize(buffer),
            Self::NextHop { .. } | Self::NextHopGone { .. } | Self::GetNextHops => buffer.fill(0),
        }
    }
}

fn parse(payload: &[u8]) -> Result<(u32, NextHop), DecodeError> {
    const NHA_ID: u16 = 1;
    const NHA_GROUP: u16 = 2;
    const NHA_BLACKHOLE: u16 = 4;
    const NHA_OIF: u16 = 5;
    const NHA_GATEWAY: u16 = 6;
    const NHA_ENCAP_TYPE: u16 = 7;
    const NHA_ENCAP: u16 = 8;
    const RTNH_F_DEAD: u32 = 1;

    let (header, attributes) = payload
        .split_first_chunk::<HEADER>()
        .ok_or_else(|| DecodeError::from("a nexthop message without its header"))?;
    let [.., f0, f1, f2, f3] = *header;
    let dead = u32::from_ne_bytes([f0, f1, f2, f3]) & RTNH_F_DEAD != 0;
    let mut id = None;
    let mut hop = Hop { ifindex: 0, gateway: Gateway::None, weight: 1, dead };
    let mut is_encapsulated = false;
    let mut other = None;
    for attribute in NlasIterator::new(attributes) {
        let attribute = attribute?;
        let value = attribute.value();
        match attribute.kind() {
            NHA_ID => id = number(value),
            NHA_GROUP => other = Some(NextHop::Group(members(value))),
            NHA_BLACKHOLE => other = Some(NextHop::Blackhole),
            NHA_OIF => hop.ifindex = number(value).unwrap_or_default(),
            NHA_GATEWAY => {
                let ipv4 = || <[u8; 4]>::try_from(value).map(IpAddr::from);
                let ipv6 = || <[u8; 16]>::try_from(value).map(IpAddr::from);
                hop.gateway = ipv4().or_else(|_| ipv6()).map_or(Gateway::Foreign, Gateway::Address);
            }
            NHA_ENCAP_TYPE | NHA_ENCAP => is_encapsulated = true,
            _ => {}
        }
    }
    if is_encapsulated {
        hop.gateway = Gateway::Foreign;
    }
    let id = id.ok_or_else(|| DecodeError::from("a nexthop message without a number"))?;
    Ok((id, other.unwrap_or(NextHop::One(hop))))
}

fn number(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_ne_bytes)
}

/// `struct nexthop_grp`: number, weight less one, from Linux 6.12 on its upper octet, two reserved.
fn members(value: &[u8]) -> Vec<(u32, u32)> {
    let (members, _) = value.as_chunks::<8>();
    members
        .iter()
        .map(|&[i0, i1, i2, i3, low, high, ..]| {
            let weight = u32::from(u16::from_be_bytes([high, low])) + 1;
            (u32::from_ne_bytes([i0, i1, i2, i3]), weight)
        })
        .collect()
}
