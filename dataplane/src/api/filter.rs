//! Which of a subscriber's packets pass: an ordered list of rules for each direction.
//!
//! Rules see inner packets, of IPv4 and of IPv6. The first rule that matches decides; a packet that
//! none matches is accepted, as by RouterOS. A list is checked once, when it is made, and shared by all
//! tunnels that have it.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::{Ipv6Prefix, Prefix};

/// What happens to a packet that a rule matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It passes; later rules are not asked.
    Accept,
    /// It is dropped and counted.
    Drop,
}

/// Addresses of either family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// Of IPv4.
    Ipv4(Prefix),
    /// Of IPv6.
    Ipv6(Ipv6Prefix),
}

impl Block {
    /// Whether an address lies in it.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::Ipv4(prefix), IpAddr::V4(address)) => prefix.contains(address),
            (Self::Ipv6(prefix), IpAddr::V6(address)) => prefix.contains(address),
            (Self::Ipv4(_), IpAddr::V6(_)) | (Self::Ipv6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl From<Prefix> for Block {
    fn from(prefix: Prefix) -> Self {
        Self::Ipv4(prefix)
    }
}

impl From<Ipv6Prefix> for Block {
    fn from(prefix: Ipv6Prefix) -> Self {
        Self::Ipv6(prefix)
    }
}

/// One rule: it matches a packet that has all of what it names. A rule that names nothing matches
/// every packet; one that names addresses matches packets of their family alone.
///
/// The fields are those of RouterOS's firewall rules, one value to each: `action`, `src-address`,
/// `dst-address`, `protocol`, `src-port`, `dst-port`, `icmp-options`. A list of ports is several
/// rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What happens to the packet.
    pub action: Action,
    /// Where the source lies.
    pub src_address: Option<Block>,
    /// Where the destination lies.
    pub dst_address: Option<Block>,
    /// IP protocol number; in IPv6 that of what is behind the extension headers.
    pub protocol: Option<u8>,
    /// Source ports. A rule with ports matches protocols that have such (TCP, UDP, UDP-Lite, SCTP,
    /// DCCP) and no others.
    pub src_port: Option<RangeInclusive<u16>>,
    /// Destination ports, likewise.
    pub dst_port: Option<RangeInclusive<u16>>,
    /// ICMP type and codes. A rule with these matches ICMP and nothing else; if its protocol is 58,
    /// it matches ICMPv6 and nothing else.
    pub icmp: Option<Icmp>,
}

impl Rule {
    /// A rule that matches every packet, to be narrowed by setting fields.
    #[must_use]
    pub const fn all(action: Action) -> Self {
        Self {
            action,
            src_address: None,
            dst_address: None,
            protocol: None,
            src_port: None,
            dst_port: None,
            icmp: None,
        }
    }

    /// Of which protocol its ICMP types are.
    pub(crate) fn icmp_protocol(&self) -> u8 {
        self.protocol.unwrap_or(ICMP)
    }

    /// Whether it looks beyond the IP header.
    pub(crate) const fn has_ports(&self) -> bool {
        self.src_port.is_some() || self.dst_port.is_some()
    }
}

/// An ICMP type (RFC 792, RFC 4443) and a range of its codes; `0..=255` is any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Icmp {
    /// The type.
    pub kind: u8,
    /// The codes.
    pub codes: RangeInclusive<u8>,
}

/// An ordered list of rules that was checked. Clones share it.
///
/// Fragments other than the first have no ports. For them a rule with ports or ICMP types that
/// accepts matches by the rest of what it names, and one that drops does not match: the packet
/// cannot be put together again without its first fragment, on which all rules are asked. A whole
/// packet or first fragment too short for its ports is taken by a rule that drops by ports and by
/// none that accepts by them (RFC 1858 §3).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules(Option<Arc<[Rule]>>);

impl Rules {
    /// The most rules of a list: what one packet may cost is bounded.
    pub const MAX: usize = 256;

    /// Checks a list. An empty one accepts all.
    ///
    /// # Errors
    /// See [`RuleError`]; rules are numbered from 1.
    pub fn new(rules: Vec<Rule>) -> Result<Self, RuleError> {
        if rules.len() > Self::MAX {
            return Err(RuleError::TooMany { count: rules.len() });
        }
        for (number, rule) in (1..).zip(&rules) {
            check(rule, number)?;
        }
        Ok(Self((!rules.is_empty()).then(|| rules.into())))
    }

    /// The rules in their order.
    #[must_use]
    pub fn as_slice(&self) -> &[Rule] {
        self.0.as_deref().unwrap_or_default()
    }

    /// Whether all is accepted.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// Why a list of rules was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// More than [`Rules::MAX`].
    #[error("{count} rules, at most {} can be in one list", Rules::MAX)]
    TooMany {
        /// How many there were.
        count: usize,
    },
    /// Ports, but a protocol that has none.
    #[error("rule {rule}: protocol {protocol} has no ports")]
    NoPorts {
        /// The rule's number.
        rule: usize,
        /// Its protocol.
        protocol: u8,
    },
    /// ICMP types, but another protocol, or ports too.
    #[error("rule {rule}: ICMP types go with ICMP or ICMPv6 alone")]
    NotIcmp {
        /// The rule's number.
        rule: usize,
    },
    /// It names what packets of IPv4 have, and what those of IPv6 have.
    #[error("rule {rule}: no packet is of IPv4 and of IPv6")]
    Families {
        /// The rule's number.
        rule: usize,
    },
    /// A range whose end lies before its start.
    #[error("rule {rule}: a range of ports or ICMP codes is empty")]
    EmptyRange {
        /// The rule's number.
        rule: usize,
    },
    /// A prefix longer than 32 bits.
    #[error("rule {rule}: a prefix has at most 32 bits")]
    Prefix {
        /// The rule's number.
        rule: usize,
    },
}

/// ICMP's protocol number, and ICMPv6's.
pub(crate) const ICMP: u8 = 1;
pub(crate) const ICMPV6: u8 = crate::ipv6::ICMPV6;

/// Whether the first four octets behind the IP header are ports: TCP, UDP, DCCP, SCTP, UDP-Lite.
pub(crate) const fn protocol_has_ports(protocol: u8) -> bool {
    matches!(protocol, 6 | 17 | 33 | 132 | 136)
}

fn check(rule: &Rule, number: usize) -> Result<(), RuleError> {
    if rule.has_ports()
        && let Some(protocol) = rule.protocol.filter(|&protocol| !protocol_has_ports(protocol))
    {
        return Err(RuleError::NoPorts { rule: number, protocol });
    }
    let is_icmp = matches!(rule.icmp_protocol(), ICMP | ICMPV6);
    if rule.icmp.is_some() && (rule.has_ports() || !is_icmp) {
        return Err(RuleError::NotIcmp { rule: number });
    }
    let blocks = || [rule.src_address, rule.dst_address].into_iter().flatten();
    let types = rule.icmp.as_ref().map(|_| rule.icmp_protocol() == ICMPV6);
    let mut families = blocks().map(|block| matches!(block, Block::Ipv6(_))).chain(types);
    if let Some(first) = families.next()
        && families.any(|other| other != first)
    {
        return Err(RuleError::Families { rule: number });
    }
    let ports = [&rule.src_port, &rule.dst_port];
    if ports.into_iter().flatten().any(RangeInclusive::is_empty)
        || rule.icmp.as_ref().is_some_and(|icmp| icmp.codes.is_empty())
    {
        return Err(RuleError::EmptyRange { rule: number });
    }
    if blocks().any(|block| matches!(block, Block::Ipv4(prefix) if prefix.length > 32)) {
        return Err(RuleError::Prefix { rule: number });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_makes_no_sense_is_refused_with_its_reason() {
        let all = Rule::all(Action::Drop);
        let icmp = Some(Icmp { kind: 8, codes: 0..=255 });
        let port = Some(25..=25);
        let ipv4 = Some(Prefix::host([10, 0, 0, 1].into()).into());
        let ipv6 = Some(Ipv6Prefix::host("2001:db8::1".parse().unwrap()).into());
        let refused = [
            Rule { protocol: Some(47), dst_port: port.clone(), ..all.clone() },
            Rule { icmp: icmp.clone(), dst_port: port.clone(), ..all.clone() },
            Rule { icmp: icmp.clone(), protocol: Some(6), ..all.clone() },
            Rule { src_port: Some(RangeInclusive::new(9, 8)), ..all.clone() },
            Rule { icmp: Some(Icmp { kind: 8, codes: RangeInclusive::new(1, 0) }), ..all.clone() },
            Rule { src_address: ipv4, dst_address: ipv6, ..all.clone() },
            Rule { src_address: ipv6, icmp: icmp.clone(), ..all.clone() },
            Rule { src_address: ipv4, icmp: icmp.clone(), protocol: Some(ICMPV6), ..all.clone() },
        ];
        let reasons = refused.map(|rule| Rules::new(vec![all.clone(), rule]).unwrap_err());
        insta::assert_snapshot!(reasons.map(|reason| reason.to_string()).join("\n"), @"
        rule 2: protocol 47 has no ports
        rule 2: ICMP types go with ICMP or ICMPv6 alone
        rule 2: ICMP types go with ICMP or ICMPv6 alone
        rule 2: a range of ports or ICMP codes is empty
        rule 2: a range of ports or ICMP codes is empty
        rule 2: no packet is of IPv4 and of IPv6
        rule 2: no packet is of IPv4 and of IPv6
        rule 2: no packet is of IPv4 and of IPv6
        ");
        let good = [
            Rule { protocol: Some(6), dst_port: port, ..all.clone() },
            Rule { protocol: Some(ICMP), icmp: icmp.clone(), src_address: ipv4, ..all.clone() },
            Rule { protocol: Some(ICMPV6), icmp, dst_address: ipv6, ..all.clone() },
        ];
        assert_eq!(Rules::new(good.to_vec()).unwrap().as_slice(), good);
        assert!(Rules::new(vec![]).unwrap().is_empty());
        assert!(Rules::new(vec![all.clone(); Rules::MAX]).is_ok());
        let error = Rules::new(vec![all; Rules::MAX + 1]).unwrap_err();
        assert_eq!(error.to_string(), "257 rules, at most 256 can be in one list");
    }
}
