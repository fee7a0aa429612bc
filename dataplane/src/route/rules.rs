//! Policy rules of the kernel's routing (`ip rule`), and which packets they keep from the workers, who
//! look at one table and the local one: what a rule may send another way goes by the kernel.
//!
//! As precisely as prefixes can say it, and never less than a rule concerns. A rule is passed over
//! only if it cannot concern our packets, or comes behind the one that asks our table. Never looks
//! into other tables. What comes from the core network for a subscriber asks no rules: its tunnel is
//! where it goes.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};

use super::Routing;
use super::tables::Prefix;

const LOCAL: u32 = 255;
const MAIN: u32 = 254;
/// The interface of packets that this machine itself makes.
const OURS: &str = "lo";
/// The protocol of packets to tunnels' peers.
const GRE: u8 = 47;

/// A rule, as the kernel tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    priority: u32,
    from: Prefix,
    to: Prefix,
    iif: Option<String>,
    has_oif: bool,
    protocol: Option<u8>,
    has_ports: bool,
    /// It looks at what is none of the above.
    has_more: bool,
    inverted: bool,
    action: Action,
    /// In the words of `ip rule`.
    shown: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Lookup(u32),
    /// The same, but some of its routes do not count.
    LookupSome(u32),
    /// The table of the packet's VRF, if it is of one.
    LookupVrf,
    Nothing,
    Other,
}

/// Which packets the kernel has to route, because rules may send them another way.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Ruled {
    subscribers: Vec<Exemption>,
    peers: Vec<Exemption>,
}

/// Packets with these sources and destinations, and the rule that concerns them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Exemption {
    from: Prefix,
    to: Prefix,
    rule: String,
}

impl Rule {
    pub(super) fn read(message: &RuleMessage) -> Option<Self> {
        let header = &message.header;
        let all = match header.family {
            AddressFamily::Inet => (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
            AddressFamily::Inet6 => (IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
            _ => return None,
        };
        let mut rule = Self {
            priority: 0,
            from: all,
            to: all,
            iif: None,
            has_oif: false,
            protocol: None,
            has_ports: false,
            has_more: header.tos != 0,
            inverted: header.flags.contains(RuleFlags::Invert),
            action: Action::Other,
            shown: String::new(),
        };
        let mut table = u32::from(header.table);
        let mut is_of_vrf = false;
        let mut suppresses = false;
        let mut words = String::new();
        for attribute in &message.attributes {
            rule.look_at(attribute, (header.src_len, header.dst_len), &mut words);
            match attribute {
                RuleAttribute::Table(number) => table = *number,
                RuleAttribute::L3MDev(is) => is_of_vrf = *is,
                RuleAttribute::SuppressPrefixLen(length) => suppresses |= *length != u32::MAX,
                RuleAttribute::SuppressIfGroup(group) => suppresses |= *group != u32::MAX,
                _ => {}
            }
        }
        rule.action = match header.action {
            RuleAction::ToTable if is_of_vrf => Action::LookupVrf,
            RuleAction::ToTable if suppresses => Action::LookupSome(table),
            RuleAction::ToTable => Action::Lookup(table),
            RuleAction::Nop => Action::Nothing,
            _ => Action::Other,
        };
        let does = match (header.action, rule.action) {
            (_, Action::LookupVrf) => "lookup [l3mdev-table]".to_owned(),
            (_, Action::Lookup(table) | Action::LookupSome(table)) => format!("lookup {table}"),
            (action, _) => format!("{action:?}").to_lowercase(),
        };
        if header.tos != 0 {
            let _ = write!(words, " tos {:#x}", header.tos);
        }
        let from = match rule.from {
            (_, 0) => "all".to_owned(),
            (network, length) => format!("{network}/{length}"),
        };
        let to = match rule.to {
            (_, 0) => String::new(),
            (network, length) => format!(" to {network}/{length}"),
        };
        let not = if rule.inverted { "not " } else { "" };
        rule.shown = format!("{}: {not}from {from}{to}{words} {does}", rule.priority);
        Some(rule)
    }

    /// What an attribute says of the packets that the rule is for.
    fn look_at(&mut self, attribute: &RuleAttribute, lengths: (u8, u8), words: &mut String) {
        // Writing to a string does not fail.
        let _ = match attribute {
            RuleAttribute::Priority(priority) => {
                self.priority = *priority;
                Ok(())
            }
            RuleAttribute::Source(address) => {
                self.from = (*address, lengths.0);
                Ok(())
            }
            RuleAttribute::Destination(address) => {
                self.to = (*address, lengths.1);
                Ok(())
            }
            RuleAttribute::Iifname(name) => {
                self.iif = Some(name.clone());
                write!(words, " iif {name}")
            }
            RuleAttribute::Oifname(name) => {
                self.has_oif = true;
                write!(words, " oif {name}")
            }
            RuleAttribute::IpProtocol(protocol) => {
                self.protocol = Some(u8::from(*protocol));
                write!(words, " ipproto {}", u8::from(*protocol))
            }
            RuleAttribute::SourcePortRange(ports) => {
                self.has_ports = true;
                write!(words, " sport {}-{}", ports.start, ports.end)
            }
            RuleAttribute::DestinationPortRange(ports) => {
                self.has_ports = true;
                write!(words, " dport {}-{}", ports.start, ports.end)
            }
            RuleAttribute::FwMark(mark) => {
                self.has_more = true;
                write!(words, " fwmark {mark:#x}")
            }
            RuleAttribute::FwMask(_) => {
                self.has_more = true;
                Ok(())
            }
            RuleAttribute::UidRange(range) => {
                self.has_more = true;
                write!(words, " uidrange {}-{}", range.start, range.end)
            }
            RuleAttribute::TunId(id) => {
                self.has_more = true;
                write!(words, " tun_id {id}")
            }
            RuleAttribute::Other(attribute) => {
                /// `FRA_PAD`: fills up to eight octets.
                const PADDING: u16 = 18;
                let kind = rtnetlink::packet_core::Nla::kind(attribute);
                self.has_more |= kind != PADDING;
                if kind == PADDING { Ok(()) } else { write!(words, " (and more)") }
            }
            // What it does, and who made it.
            _ => Ok(()),
        };
    }

    /// Whether it is for all packets of its family, whatever comes in by this interface.
    fn is_for_all_of(&self, iif: &str) -> bool {
        let is_for_it = self.iif.as_deref().is_none_or(|name| name == iif);
        is_for_it
            && !(self.inverted || self.has_oif || self.has_ports || self.has_more)
            && self.protocol.is_none()
            && (self.from.1, self.to.1) == (0, 0)
    }

    /// The packets that it may be for, of those that come in by this interface.
    fn scope(&self, iif: &str) -> Option<(Prefix, Prefix)> {
        let all = |prefix: Prefix| match prefix.0 {
            IpAddr::V4(_) => (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
            IpAddr::V6(_) => (IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
        };
        if self.inverted {
            return Some((all(self.from), all(self.to)));
        }
        let is_other = self.iif.as_deref().is_some_and(|name| name != iif);
        // Neither packets that are forwarded nor ours of the raw socket are bound to an interface.
        // Ours are GRE, which has no ports.
        let is_no_gre = iif == OURS
            && (self.has_ports || self.protocol.is_some_and(|protocol| protocol != GRE));
        (!is_other && !self.has_oif && !is_no_gre).then_some((self.from, self.to))
    }
}

impl Ruled {
    /// What these rules have the kernel decide.
    pub(super) fn new(rules: &[Rule], routing: &Routing) -> Self {
        let (ipv4, ipv6): (Vec<_>, Vec<_>) = rules.iter().partition(|rule| rule.from.0.is_ipv4());
        let both = |iif: &str, table: Option<u32>| {
            let families = [&ipv4, &ipv6].map(|rules| exemptions(rules.clone(), iif, table));
            families.into_iter().flatten().collect()
        };
        Self { subscribers: both(&routing.tun, routing.table), peers: both(OURS, None) }
    }

    /// Whether a subscriber's packet is the kernel's to route.
    #[inline]
    pub(super) fn has_subscriber(&self, source: IpAddr, destination: IpAddr) -> bool {
        self.subscribers.iter().any(|it| it.concerns(source, destination))
    }

    /// The same for a packet to a tunnel's peer.
    pub(super) fn has_peer(&self, local: IpAddr, peer: IpAddr) -> bool {
        self.peers.iter().any(|it| it.concerns(local, peer))
    }

    /// Whether it depends on their sources which subscribers' packets are.
    pub(super) fn asks_for_sources(&self) -> bool {
        self.subscribers.iter().any(|it| it.from.1 != 0)
    }

    /// Each rule, and what it costs.
    pub(super) fn costs(&self) -> Vec<String> {
        let of_subscribers = self.subscribers.iter().map(|it| it.cost("subscribers' packets"));
        let of_peers = self.peers.iter().map(|it| it.cost("packets into tunnels"));
        of_subscribers.chain(of_peers).collect()
    }
}

impl Exemption {
    fn concerns(&self, source: IpAddr, destination: IpAddr) -> bool {
        covers(self.from, source) && covers(self.to, destination)
    }

    fn cost(&self, whose: &str) -> String {
        let side = |word: &str, (network, length): Prefix| match length {
            0 => String::new(),
            _ => format!(" {word} {network}/{length}"),
        };
        let (from, to) = (side("from", self.from), side("to", self.to));
        let all = if from.is_empty() && to.is_empty() { "all " } else { "" };
        format!("{} ({all}{whose}{from}{to} go by the kernel)", self.rule)
    }
}

/// What rules of one family have the kernel decide of packets that come in by `iif`, which workers
/// route by the table with this number, or main.
fn exemptions(mut rules: Vec<&Rule>, iif: &str, table: Option<u32>) -> Vec<Exemption> {
    let own = table.unwrap_or(MAIN);
    rules.sort_by_key(|rule| rule.priority);
    let find = |action: Action| {
        rules.iter().position(|rule| rule.action == action && rule.is_for_all_of(iif))
    };
    // Behind the rule that asks our table for all come those for packets that it has no way for.
    // Where that is not main it may be a VRF's; or nobody asks it but we, who were told to.
    let vrf = || table.and_then(|_| find(Action::LookupVrf));
    let asks_ours = find(Action::Lookup(own)).or_else(vrf).or_else(|| find(Action::Lookup(MAIN)));
    let before = rules.get(..asks_ours.unwrap_or(rules.len())).unwrap_or_default();
    let diverts = |rule: &&&Rule| match rule.action {
        Action::Lookup(table) | Action::LookupSome(table) => table != own && table != LOCAL,
        Action::LookupVrf | Action::Nothing => false,
        Action::Other => true,
    };
    let exemption = |rule: &&Rule| {
        let (from, to) = rule.scope(iif)?;
        Some(Exemption { from, to, rule: rule.shown.clone() })
    };
    before.iter().filter(diverts).filter_map(exemption).collect()
}

fn covers((network, length): Prefix, address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            (network.to_bits() ^ address.to_bits()).leading_zeros() >= u32::from(length)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            (network.to_bits() ^ address.to_bits()).leading_zeros() >= u32::from(length)
        }
        _ => false,
    }
}
