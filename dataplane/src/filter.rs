//! What a subscriber's rules say of a packet.
//!
//! Implements RFC 1858 §3 (fragments cannot hide ports). Walks at most [`Rules::MAX`] rules, keeps
//! nothing between packets.

use std::net::IpAddr;

use crate::api::filter::{Action, ICMP, ICMPV6, Rule, Rules, protocol_has_ports};
use crate::ipv4::View;
use crate::ipv6;

/// What rules look at.
#[derive(Debug, Clone, Copy)]
struct Seen {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    transport: Transport,
}

/// What a packet shows of what rules look at behind the IP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    /// Source and destination.
    Ports(u16, u16),
    /// Type and code.
    Icmp(u8, u8),
    /// A fragment that is not the first.
    Later,
    /// Less than it ought to have.
    Short,
}

impl Transport {
    /// `icmp` is what the packet's family has for that.
    fn read(payload: &[u8], protocol: u8, icmp: u8) -> Self {
        match *payload {
            [kind, code, ..] if protocol == icmp => Self::Icmp(kind, code),
            [s0, s1, d0, d1, ..] if protocol_has_ports(protocol) => {
                Self::Ports(u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]))
            }
            _ => Self::Short,
        }
    }
}

/// The action of the first rule that matches; without one the packet is accepted.
pub(crate) fn judge(rules: &Rules, packet: &[u8], view: &View) -> Action {
    if rules.is_empty() {
        return Action::Accept;
    }
    let payload = packet.get(view.header_len..view.total_len).unwrap_or_default();
    let transport = match view.fragment_offset {
        0 => Transport::read(payload, view.protocol, ICMP),
        _ => Transport::Later,
    };
    let (source, destination) = (view.source.into(), view.destination.into());
    first(rules, &Seen { source, destination, protocol: view.protocol, transport })
}

/// The same for a packet of IPv6. What hides its transport header from rules does not pass.
pub(crate) fn judge_ipv6(rules: &Rules, packet: &[u8], view: &ipv6::View) -> Action {
    if rules.is_empty() {
        return Action::Accept;
    }
    let Some(upper) = ipv6::upper(packet, view) else { return Action::Drop };
    let payload = packet.get(upper.offset..view.total_len).unwrap_or_default();
    let transport = match upper.is_later {
        false => Transport::read(payload, upper.protocol, ICMPV6),
        true => Transport::Later,
    };
    let (source, destination) = (view.source.into(), view.destination.into());
    first(rules, &Seen { source, destination, protocol: upper.protocol, transport })
}

fn first(rules: &Rules, seen: &Seen) -> Action {
    let matching = rules.as_slice().iter().find(|rule| matches(rule, seen));
    matching.map_or(Action::Accept, |rule| rule.action)
}

fn matches(rule: &Rule, seen: &Seen) -> bool {
    rule.src_address.is_none_or(|block| block.contains(seen.source))
        && rule.dst_address.is_none_or(|block| block.contains(seen.destination))
        && rule.protocol.is_none_or(|protocol| protocol == seen.protocol)
        && (!rule.has_ports() || has_ports(rule, seen))
        && (rule.icmp.is_none() || has_icmp(rule, seen))
}

fn has_ports(rule: &Rule, seen: &Seen) -> bool {
    if !protocol_has_ports(seen.protocol) {
        return false;
    }
    match seen.transport {
        Transport::Ports(source, destination) => {
            rule.src_port.as_ref().is_none_or(|ports| ports.contains(&source))
                && rule.dst_port.as_ref().is_none_or(|ports| ports.contains(&destination))
        }
        Transport::Icmp(..) => false,
        transport @ (Transport::Later | Transport::Short) => unseen(rule, transport),
    }
}

fn has_icmp(rule: &Rule, seen: &Seen) -> bool {
    let of_family = if seen.source.is_ipv4() { ICMP } else { ICMPV6 };
    if seen.protocol != of_family || rule.icmp_protocol() != of_family {
        return false;
    }
    match (seen.transport, &rule.icmp) {
        (Transport::Icmp(kind, code), Some(icmp)) => {
            kind == icmp.kind && icmp.codes.contains(&code)
        }
        (transport, _) => unseen(rule, transport),
    }
}

/// Whether a rule matches a packet that does not show what the rule looks at.
fn unseen(rule: &Rule, transport: Transport) -> bool {
    match transport {
        // Without the first fragment, on which all rules are asked, it is of no use to anyone.
        Transport::Later => rule.action == Action::Accept,
        Transport::Short => rule.action == Action::Drop,
        Transport::Ports(..) | Transport::Icmp(..) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;
    use crate::api::filter::{Block, Icmp};
    use crate::api::{Ipv6Prefix, Prefix};
    use crate::ipv4;

    const TCP: u8 = 6;
    const UDP: u8 = 17;
    const SUBSCRIBER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
    const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 80);

    fn packet(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let len = u16::try_from(payload.len()).unwrap();
        let header = ipv4::header(len, 0, 7, protocol, SUBSCRIBER, SERVER);
        [&header[..], payload].concat()
    }

    /// The fragment of a packet at an offset in units of 8 octets.
    fn fragment(protocol: u8, offset: u16, payload: &[u8]) -> Vec<u8> {
        let mut packet = packet(protocol, payload);
        packet[6..8].copy_from_slice(&(ipv4::MORE_FRAGMENTS | offset).to_be_bytes());
        packet[10..12].fill(0);
        let checksum = !ipv4::sum(&packet[..20]);
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        packet
    }

    fn ports(source: u16, destination: u16) -> Vec<u8> {
        [&source.to_be_bytes()[..], &destination.to_be_bytes(), &[0; 16]].concat()
    }

    fn passes(rules: &[Rule], packet: &[u8]) -> bool {
        let rules = Rules::new(rules.to_vec()).unwrap();
        let action = match ipv6::is_ipv6(packet) {
            false => judge(&rules, packet, &View::parse(packet).unwrap()),
            true => judge_ipv6(&rules, packet, &ipv6::View::parse(packet).unwrap()),
        };
        action == Action::Accept
    }

    const HOST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xDB8, 1, 0, 0, 0, 0, 5);
    const FAR: Ipv6Addr = Ipv6Addr::new(0x2001, 0xDB8, 0xFFFF, 0, 0, 0, 0, 0x80);

    fn packet_ipv6(next_header: u8, payload: &[u8]) -> Vec<u8> {
        let len = u16::try_from(payload.len()).unwrap();
        [&ipv6::header(len, next_header, HOST, FAR)[..], payload].concat()
    }

    fn drop_all() -> Rule {
        Rule::all(Action::Drop)
    }

    fn accept_all() -> Rule {
        Rule::all(Action::Accept)
    }

    #[test]
    fn the_first_rule_that_matches_decides_and_without_one_the_packet_passes() {
        let web = Rule { protocol: Some(TCP), dst_port: Some(80..=80), ..accept_all() };
        let rules = [web.clone(), Rule { protocol: Some(TCP), ..drop_all() }, accept_all()];
        assert!(passes(&rules, &packet(TCP, &ports(1025, 80))));
        assert!(!passes(&rules, &packet(TCP, &ports(1025, 81))));
        assert!(passes(&rules, &packet(UDP, &ports(1025, 81))));
        assert!(!passes(&[drop_all(), web], &packet(TCP, &ports(1025, 80))));
        assert!(passes(&[], &packet(TCP, &ports(1, 1))));
    }

    #[test]
    fn addresses_match_by_prefix() {
        let net = |address, length| Some(Prefix { address, length }.into());
        let server = Rule { dst_address: net(Ipv4Addr::new(203, 0, 113, 0), 24), ..drop_all() };
        let other = Rule { dst_address: net(Ipv4Addr::new(203, 0, 112, 0), 24), ..drop_all() };
        let own = Rule { src_address: net(SUBSCRIBER, 32), ..drop_all() };
        assert!(!passes(&[server], &packet(UDP, &ports(1, 1))));
        assert!(passes(&[other], &packet(UDP, &ports(1, 1))));
        assert!(!passes(&[own], &packet(UDP, &ports(1, 1))));
    }

    #[test]
    fn a_rule_with_addresses_is_about_packets_of_their_family() {
        let net = |address, length| Some(Ipv6Prefix::around(address, length).into());
        let (ipv4, ipv6) = (packet(UDP, &ports(1, 1)), packet_ipv6(UDP, &ports(1, 1)));
        let all_ipv4 = Prefix { address: Ipv4Addr::UNSPECIFIED, length: 0 };
        for (rule, of_ipv4, of_ipv6) in [
            (drop_all(), false, false),
            (Rule { dst_address: net(FAR, 48), ..drop_all() }, true, false),
            (
                Rule { src_address: net(HOST, 128), dst_address: net(FAR, 128), ..drop_all() },
                true,
                false,
            ),
            (Rule { dst_address: net(HOST, 48), ..drop_all() }, true, true),
            (Rule { dst_address: net(FAR, 0), ..drop_all() }, true, false),
            (Rule { dst_address: Some(all_ipv4.into()), ..drop_all() }, false, true),
        ] {
            assert_eq!(passes(std::slice::from_ref(&rule), &ipv4), of_ipv4, "{rule:?}");
            assert_eq!(passes(std::slice::from_ref(&rule), &ipv6), of_ipv6, "{rule:?}");
        }
    }

    /// RFC 4443 §2.1: the same numbers mean other things.
    #[test]
    fn icmp_types_are_those_of_their_family() {
        let icmp = |protocol| Rule {
            protocol,
            icmp: Some(Icmp { kind: 128, codes: 0..=0 }),
            ..drop_all()
        };
        let echo = packet_ipv6(ICMPV6, &[128, 0, 0, 0]);
        assert!(!passes(&[icmp(Some(ICMPV6))], &echo));
        assert!(passes(&[icmp(Some(ICMPV6))], &packet_ipv6(ICMPV6, &[128, 1, 0, 0])));
        assert!(passes(&[icmp(Some(ICMPV6))], &packet(ICMPV6, &[128, 0, 0, 0])));
        assert!(!passes(&[icmp(Some(ICMPV6))], &packet_ipv6(ICMPV6, &[128])), "too short to tell");
        for rule in [icmp(None), icmp(Some(ICMP))] {
            assert!(passes(std::slice::from_ref(&rule), &echo));
            assert!(passes(std::slice::from_ref(&rule), &packet_ipv6(ICMP, &[128, 0])));
            assert!(!passes(std::slice::from_ref(&rule), &packet(ICMP, &[128, 0])));
        }
        let behind = [&[ICMPV6, 0, 0, 0, 0, 0, 0, 0][..], &[128, 0, 0, 0]].concat();
        assert!(!passes(&[icmp(Some(ICMPV6))], &packet_ipv6(60, &behind)));
    }

    #[test]
    fn port_rules_leave_protocols_without_ports_alone() {
        let smtp = [Rule { dst_port: Some(0..=u16::MAX), ..drop_all() }];
        assert!(passes(&smtp, &packet(47, &ports(1, 25))));
        assert!(passes(&smtp, &packet(ICMP, &ports(1, 25))));
        assert!(!passes(&smtp, &packet(132, &ports(1, 25))));
        let from = [Rule { src_port: Some(0..=1023), dst_port: Some(25..=25), ..drop_all() }];
        assert!(!passes(&from, &packet(TCP, &ports(1023, 25))));
        assert!(passes(&from, &packet(TCP, &ports(1024, 25))));
    }

    #[test]
    fn icmp_matches_by_type_and_code() {
        let unreachable = [Rule { icmp: Some(Icmp { kind: 3, codes: 0..=3 }), ..drop_all() }];
        assert!(!passes(&unreachable, &packet(ICMP, &[3, 1, 0, 0])));
        assert!(passes(&unreachable, &packet(ICMP, &[3, 4, 0, 0])));
        assert!(passes(&unreachable, &packet(ICMP, &[8, 1, 0, 0])));
        assert!(passes(&unreachable, &packet(UDP, &[3, 1, 0, 0])));
    }

    /// RFC 1858 §3: what the rules would drop cannot be put together at the other end, and what
    /// they accept arrives whole.
    #[test]
    fn fragments_share_the_fate_of_the_first_one() {
        let no_mail = [Rule { protocol: Some(TCP), dst_port: Some(25..=25), ..drop_all() }];
        assert!(!passes(&no_mail, &fragment(TCP, 0, &ports(1025, 25))));
        assert!(passes(&no_mail, &fragment(TCP, 3, &ports(1025, 25))), "payload is no port");
        let web = Rule { protocol: Some(TCP), dst_port: Some(80..=80), ..accept_all() };
        let only_web = [web, drop_all()];
        assert!(passes(&only_web, &fragment(TCP, 0, &ports(1025, 80))));
        assert!(passes(&only_web, &fragment(TCP, 3, &[0; 8])));
        assert!(!passes(&only_web, &fragment(UDP, 3, &[0; 8])), "no rule accepts any UDP");
        // Without ports in it, whole or first, no rule by ports lets it pass.
        for len in 0..4 {
            assert!(!passes(&only_web, &packet(TCP, &vec![0; len])));
            assert!(!passes(&no_mail, &packet(TCP, &vec![0; len])));
            assert!(!passes(&no_mail, &fragment(TCP, 0, &vec![0; len])));
        }
        let no_echo = [Rule { icmp: Some(Icmp { kind: 8, codes: 0..=255 }), ..drop_all() }];
        assert!(!passes(&no_echo, &packet(ICMP, &[8])));
        assert!(passes(&no_echo, &fragment(ICMP, 3, &[8, 0, 0, 0])));
    }

    proptest! {
        #[test]
        fn arbitrary_packets_get_an_answer(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
            protocol: u8,
            drop: bool,
            dst in 0_u16..100,
        ) {
            let action = if drop { Action::Drop } else { Action::Accept };
            let rules = [Rule { dst_port: Some(0..=dst), ..Rule::all(action) }, drop_all()];
            let shows = match bytes[..] {
                [_, _, a, b, ..] => u16::from_be_bytes([a, b]) <= dst,
                _ => drop,
            };
            let expected = protocol_has_ports(protocol) && shows && !drop;
            prop_assert_eq!(passes(&rules, &packet(protocol, &bytes)), expected);
            let packet = packet_ipv6(protocol, &bytes);
            let has_extensions = ipv6::upper(&packet, &ipv6::View::parse(&packet).unwrap())
                .is_none_or(|upper| upper.offset != ipv6::HEADER_LEN);
            prop_assert!(has_extensions || passes(&rules, &packet) == expected);
        }

        /// A prefix covers an address if they have as many bits in common.
        #[test]
        fn prefixes_of_ipv6_match_by_their_bits(
            address: u128, length in 0_u8..=128, differs in proptest::option::of(0_u8..128),
        ) {
            let bit = differs.map_or(0, |bit| 1 << (127 - bit));
            let other = Ipv6Addr::from_bits(address ^ bit);
            let block = Block::from(Ipv6Prefix::around(Ipv6Addr::from_bits(address), length));
            let expected = differs.is_none_or(|bit| bit >= length);
            prop_assert_eq!(block.contains(other.into()), expected);
            prop_assert!(!block.contains(Ipv4Addr::LOCALHOST.into()));
        }
    }
}
