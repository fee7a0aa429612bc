//! The ports below a configuration's interfaces: what they are for, and whether their cards can be used
//! so.
//!
//! Asks the kernel. What has to be changed of a card is said beforehand, and changed only at a start.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Display;

use super::topology::{Passage, Topology, TopologyError};
use super::{DataPlane, Line, netlink};
use crate::api::config::{Remark, Tags};
use crate::api::{Config, Interface, StartError};
use crate::io::nic::{Needs, Nic, NicError, Usage};
use crate::io::xsk::XskPort;

/// Where the frames of all interfaces pass.
pub(super) fn passages(config: &Config) -> Result<Vec<(&Interface, Passage)>, StartError> {
    let topology = Topology::new(&netlink::links()?);
    let passage = |interface| Ok((interface, topology.passage(interface)?));
    let passages: Result<_, TopologyError> = config.interfaces.iter().map(passage).collect();
    passages.map_err(StartError::port)
}

/// A port and the interfaces whose frames pass it.
#[derive(Debug)]
pub(super) struct Physical {
    pub(super) name: String,
    /// How many of its queues are driven.
    pub(super) queues: u32,
    /// How many it has.
    of: u32,
    pub(super) lines: Vec<Line>,
    /// As the operator knows them.
    pub(super) said: Vec<String>,
}

/// The ports of all interfaces, by index.
pub(super) fn physical(
    passages: &[(&Interface, Passage)],
) -> Result<BTreeMap<u32, Physical>, StartError> {
    let mut all: BTreeMap<u32, Physical> = BTreeMap::new();
    for (interface, Passage { ifindex, ports, tags }) in passages {
        let (name, role) = (&interface.name, interface.role);
        for (index, port_name) in ports {
            let port = match all.entry(*index) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert(Physical::of(port_name, interface.queues)?),
            };
            if port.lines.iter().any(|line| line.tags == *tags) {
                return Err(StartError::Config(format!(
                    "{name} has the same frames of {port_name} as an interface before it"
                )));
            }
            port.lines.push(Line { tags: *tags, ifindex: *ifindex, role });
            match tags {
                Tags::None if name == port_name => {}
                Tags::None => port.said.push(format!("{name}: {role}")),
                _ => port.said.push(format!("{name}: {role}, VLAN {tags}")),
            }
        }
    }
    Ok(all)
}

impl Physical {
    /// A port of which so many queues are to be driven. `None`: all of them, for a NIC may hash GRE to
    /// any.
    fn of(name: &str, queues: Option<u32>) -> Result<Self, StartError> {
        let of = XskPort::queues(name).map_err(StartError::port)?;
        let queues = queues.unwrap_or(of);
        if !(1..=of).contains(&queues) {
            return Err(StartError::Config(format!(
                "{name} has {of} queues, of which {queues} cannot be driven"
            )));
        }
        Ok(Self { name: name.to_owned(), queues, of, lines: Vec::new(), said: Vec::new() })
    }

    fn usage(&self) -> Usage {
        let has_vlans = self.lines.iter().any(|line| line.tags != Tags::None);
        Usage { has_vlans, queues: self.queues, of: self.of }
    }

    /// Makes the card usable so. The value is what was done, and what could not be had.
    pub(super) fn prepare(&self) -> Result<Needs, NicError> {
        Nic::survey(&self.name)?.prepare(self.usage())
    }

    fn remarks(&self) -> Vec<Remark> {
        let Self { name, queues, of, .. } = self;
        let needs = match Nic::survey(name).and_then(|nic| nic.needs(self.usage())) {
            Ok(needs) => needs,
            Err(error) => return vec![Remark::Refusal(error.to_string())],
        };
        let driven = format!("{name}: {queues} of {of} queues will be driven");
        let changes = needs.changes();
        let changes = changes.iter().map(|change| format!("{name}: at the start, {change}"));
        let fine = std::iter::once(driven).chain(changes).map(Remark::Fine);
        let warnings = needs.warnings.iter().map(|reason| Remark::Warning(reason.to_string()));
        fine.chain(warnings).collect()
    }
}

impl DataPlane {
    /// What [`Self::start`] would find of the interfaces of a configuration, in the network namespace of
    /// the calling thread. Changes nothing.
    #[must_use]
    pub fn inspect(config: &Config) -> Vec<Remark> {
        let refusal = |reason: &dyn Display| Remark::Refusal(reason.to_string());
        if config.interfaces.is_empty() {
            return Vec::new();
        }
        let topology = match netlink::links() {
            Ok(links) => Topology::new(&links),
            Err(error) => return vec![refusal(&error)],
        };
        let (mut passages, mut remarks) = (Vec::new(), Vec::new());
        for interface in &config.interfaces {
            match topology.passage(interface) {
                Ok(passage) => passages.push((interface, passage)),
                Err(error) => remarks.push(refusal(&error)),
            }
        }
        match physical(&passages) {
            Ok(ports) => remarks.extend(ports.values().flat_map(Physical::remarks)),
            Err(error) => remarks.push(refusal(&error)),
        }
        remarks
    }
}
