//! Which ports an interface's frames pass, and with which VLAN tags: a VLAN is its parent with a tag
//! (IEEE 802.1Q), a bond is its members.
//!
//! Reads what the kernel told once; never asks it, and never changes anything.

use std::collections::HashMap;

use rtnetlink::packet_route::link::{
    BondMode, InfoBond, InfoData, InfoVlan, LinkAttribute, LinkInfo, LinkMessage, VlanProtocol,
};

use crate::api::Interface;
use crate::api::config::{Below, Tag, TagKind, Tags};
use crate::frame::CAPACITY;

/// The largest MTU of an interface, octets: its longest packet fits a frame, behind an Ethernet header and
/// two tags.
const LARGEST_MTU: u32 = 3690;
const _: () = assert!(LARGEST_MTU as usize + 14 + 2 * 4 == CAPACITY);

/// Why an interface cannot be driven.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TopologyError {
    #[error("there is no interface named {0}")]
    Missing(String),
    #[error("{0} is a VLAN of an interface that is not in this network namespace")]
    Elsewhere(String),
    #[error("{0} has more than two VLAN tags: use the raw socket and TUN for it")]
    TooManyTags(String),
    #[error("the bond {0} has no members")]
    NoMembers(String),
    #[error(
        "the bond {0} balances by changing MAC addresses (balance-tlb or balance-alb), which only \
         the kernel can do: use another mode, such as 802.3ad"
    )]
    Balancing(String),
    #[error("{0} is a bond of VLANs or bonds: put the VLANs above the bond")]
    Nested(String),
    #[error(
        "the MTU of {name} is {mtu}, and AF_XDP takes packets of up to {LARGEST_MTU}: longer ones would \
         be lost without a word to their senders. Lower it there and at whoever sends to it (ip link \
         set {name} mtu {LARGEST_MTU}), or leave the interface to the kernel"
    )]
    TooLarge { name: String, mtu: u32 },
}

/// The interfaces of a network namespace.
#[derive(Debug, Default)]
pub(super) struct Topology {
    devices: HashMap<u32, Device>,
}

#[derive(Debug)]
struct Device {
    name: String,
    /// Octets of the longest packet.
    mtu: u32,
    /// The index of the bond or bridge above it.
    master: Option<u32>,
    nature: Nature,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nature {
    Port,
    Vlan { parent: Option<u32>, tag: Tag },
    Bond { mode: BondMode },
}

/// An interface and how its frames pass.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Passage {
    pub(super) ifindex: u32,
    /// Index and name of each port.
    pub(super) ports: Vec<(u32, String)>,
    pub(super) tags: Tags,
}

impl Topology {
    pub(super) fn new(links: &[LinkMessage]) -> Self {
        let devices = links.iter().map(|link| (link.header.index, Device::of(link)));
        Self { devices: devices.collect() }
    }

    /// How the frames of an interface pass.
    pub(super) fn passage(&self, interface: &Interface) -> Result<Passage, TopologyError> {
        let (ifindex, device) = self.named(&interface.name)?;
        if device.mtu > LARGEST_MTU {
            let name = device.name.clone();
            return Err(TopologyError::TooLarge { name, mtu: device.mtu });
        }
        let Some(Below { ports, tags }) = &interface.below else {
            return self.below(ifindex, &interface.name);
        };
        let ports = ports.iter().map(|name| Ok((self.named(name)?.0, name.clone())));
        Ok(Passage { ifindex, ports: ports.collect::<Result<_, _>>()?, tags: *tags })
    }

    fn below(&self, ifindex: u32, name: &str) -> Result<Passage, TopologyError> {
        // Outermost last.
        let mut tags = Vec::new();
        let mut at = ifindex;
        loop {
            let missing = || TopologyError::Elsewhere(name.to_owned());
            let device = self.devices.get(&at).ok_or_else(missing)?;
            match device.nature {
                Nature::Vlan { parent, tag } => {
                    tags.push(tag);
                    at = parent.ok_or_else(missing)?;
                }
                Nature::Port | Nature::Bond { .. } => {
                    let tags = tags.iter().rev().try_fold(Tags::None, |tags, tag| tags.with(*tag));
                    let tags = tags.ok_or_else(|| TopologyError::TooManyTags(name.to_owned()))?;
                    return Ok(Passage { ifindex, ports: self.ports(at, device)?, tags });
                }
            }
        }
    }

    fn ports(&self, ifindex: u32, device: &Device) -> Result<Vec<(u32, String)>, TopologyError> {
        let name = || device.name.clone();
        match device.nature {
            Nature::Bond { mode: BondMode::BalanceTlb | BondMode::BalanceAlb } => {
                return Err(TopologyError::Balancing(name()));
            }
            Nature::Bond { .. } => {}
            Nature::Port | Nature::Vlan { .. } => return Ok(vec![(ifindex, name())]),
        }
        let members = self.devices.iter().filter(|(_, member)| member.master == Some(ifindex));
        let mut ports = Vec::new();
        for (&index, member) in members {
            if member.nature != Nature::Port {
                return Err(TopologyError::Nested(name()));
            }
            ports.push((index, member.name.clone()));
        }
        ports.sort_unstable();
        if ports.is_empty() { Err(TopologyError::NoMembers(name())) } else { Ok(ports) }
    }

    fn named(&self, name: &str) -> Result<(u32, &Device), TopologyError> {
        let found = self.devices.iter().find(|(_, device)| device.name == name);
        let (index, device) = found.ok_or_else(|| TopologyError::Missing(name.to_owned()))?;
        Ok((*index, device))
    }
}

impl Device {
    fn of(link: &LinkMessage) -> Self {
        let (mut name, mut mtu, mut master, mut parent) = (String::new(), 0, None, None);
        let mut infos: &[LinkInfo] = &[];
        for attribute in &link.attributes {
            match attribute {
                LinkAttribute::IfName(text) => name.clone_from(text),
                LinkAttribute::Mtu(octets) => mtu = *octets,
                LinkAttribute::Controller(index) => master = Some(*index),
                LinkAttribute::Link(index) => parent = Some(*index),
                LinkAttribute::LinkInfo(list) => infos = list,
                _ => {}
            }
        }
        let data = infos.iter().find_map(|info| match info {
            LinkInfo::Data(data) => Some(data),
            _ => None,
        });
        let nature = match data {
            Some(InfoData::Vlan(facts)) => Nature::Vlan { parent, tag: tag(facts) },
            Some(InfoData::Bond(facts)) => Nature::Bond { mode: mode(facts) },
            _ => Nature::Port,
        };
        Self { name, mtu, master, nature }
    }
}

fn tag(facts: &[InfoVlan]) -> Tag {
    let mut tag = Tag { kind: TagKind::Customer, id: 0 };
    for fact in facts {
        match fact {
            InfoVlan::Id(id) => tag.id = *id,
            InfoVlan::Protocol(VlanProtocol::Ieee8021Ad) => tag.kind = TagKind::Service,
            _ => {}
        }
    }
    tag
}

fn mode(facts: &[InfoBond]) -> BondMode {
    let mode = facts.iter().find_map(|fact| match fact {
        InfoBond::Mode(mode) => Some(*mode),
        _ => None,
    });
    mode.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Role;

    fn link(index: u32, name: &str, more: Vec<LinkAttribute>) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes = more;
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        message
    }

    fn vlan(index: u32, name: &str, parent: u32, id: u16, protocol: VlanProtocol) -> LinkMessage {
        let data = InfoData::Vlan(vec![InfoVlan::Id(id), InfoVlan::Protocol(protocol)]);
        let info = LinkAttribute::LinkInfo(vec![LinkInfo::Data(data)]);
        link(index, name, vec![LinkAttribute::Link(parent), info])
    }

    fn bond(index: u32, name: &str, mode: BondMode) -> LinkMessage {
        let data = InfoData::Bond(vec![InfoBond::Mode(mode)]);
        link(index, name, vec![LinkAttribute::LinkInfo(vec![LinkInfo::Data(data)])])
    }

    fn member(index: u32, name: &str, of: u32) -> LinkMessage {
        link(index, name, vec![LinkAttribute::Controller(of)])
    }

    fn topology() -> Topology {
        let (q, ad) = (VlanProtocol::Ieee8021Q, VlanProtocol::Ieee8021Ad);
        Topology::new(&[
            link(1, "eth0", vec![]),
            vlan(2, "eth0.100", 1, 100, q),
            vlan(3, "service", 1, 7, ad),
            vlan(4, "service.200", 3, 200, q),
            vlan(5, "deep", 4, 9, q),
            vlan(6, "stray", 99, 9, q),
            bond(10, "bond0", BondMode::Ieee8023Ad),
            member(12, "eth2", 10),
            member(11, "eth1", 10),
            vlan(13, "bond0.5", 10, 5, q),
            bond(20, "empty", BondMode::ActiveBackup),
            bond(21, "alb", BondMode::BalanceAlb),
            member(22, "eth3", 21),
            bond(30, "odd", BondMode::ActiveBackup),
            {
                let mut nested = vlan(31, "eth0.6", 1, 6, q);
                nested.attributes.push(LinkAttribute::Controller(30));
                nested
            },
            link(40, "bridge", vec![]),
            link(50, "jumbo", vec![LinkAttribute::Mtu(9000)]),
            // The card takes long frames, for other VLANs.
            vlan(51, "jumbo.7", 50, 7, q),
        ])
    }

    fn interface(name: &str, below: Option<Below>) -> Interface {
        Interface { name: name.to_owned(), role: Role::Both, queues: None, below }
    }

    #[test]
    fn vlans_and_bonds_lead_down_to_their_ports() {
        let topology = topology();
        let eth0 = || vec![(1, "eth0".to_owned())];
        let members = || vec![(11, "eth1".to_owned()), (12, "eth2".to_owned())];
        for (name, ifindex, ports, tags) in [
            ("eth0", 1, eth0(), ""),
            ("eth0.100", 2, eth0(), "100"),
            ("service.200", 4, eth0(), "7.200"),
            ("bond0", 10, members(), ""),
            ("bond0.5", 13, members(), "5"),
            ("jumbo.7", 51, vec![(50, "jumbo".to_owned())], "7"),
        ] {
            let tags = if tags.is_empty() { Tags::None } else { tags.parse().unwrap() };
            let passage = topology.passage(&interface(name, None));
            assert_eq!(passage, Ok(Passage { ifindex, ports, tags }), "{name}");
        }
        let below = Below { ports: vec!["eth1".into(), "eth0".into()], tags: "8".parse().unwrap() };
        let passage = topology.passage(&interface("bridge", Some(below))).unwrap();
        assert_eq!((passage.ifindex, passage.tags), (40, "8".parse().unwrap()));
        assert_eq!(passage.ports, [(11, "eth1".to_owned()), (1, "eth0".to_owned())]);
    }

    #[test]
    fn what_cannot_be_driven_is_told_why() {
        let topology = topology();
        let reasons: Vec<String> = ["nowhere", "deep", "stray", "empty", "alb", "odd", "jumbo"]
            .map(|name| topology.passage(&interface(name, None)).unwrap_err().to_string())
            .into();
        insta::assert_snapshot!(reasons.join("\n"));
        let below = Below { ports: vec!["eth9".into()], tags: Tags::None };
        let error = topology.passage(&interface("bridge", Some(below))).unwrap_err();
        assert_eq!(error, TopologyError::Missing("eth9".to_owned()));
    }
}
