//! `[[filter]]`: which of a subscriber's packets pass, in RouterOS's words.
//!
//! The rules are the data plane's; here they are read. A rule with lists of ports becomes several,
//! which share its place.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::str::FromStr;

use dataplane::api::filter::{self, Action, Block, Rules};
use dataplane::api::{Ipv6Prefix, Prefix};
use protocol::ipv6::NoPrefix;
use serde::Deserialize;

use super::{Config, ConfigError};
use crate::kernel::Destination;

/// An ordered list of rules: the first that matches decides, and what none matches passes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Filter {
    /// What profiles and RADIUS's Filter-Id refer to.
    pub name: String,
    /// The rules.
    pub rules: Vec<Rule>,
}

/// One rule: it matches a packet that has all of what it names.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rule {
    /// What happens to the packet.
    pub action: Verb,
    /// Where the source lies.
    pub src_address: Option<Network>,
    /// Where the destination lies.
    pub dst_address: Option<Network>,
    /// IP protocol.
    pub protocol: Option<Protocol>,
    /// Source ports.
    pub src_port: Option<Ports>,
    /// Destination ports.
    pub dst_port: Option<Ports>,
    /// ICMP type, or type and codes; ICMPv6's where that is the protocol.
    pub icmp_options: Option<IcmpOptions>,
    /// The operator's note.
    #[serde(default)]
    pub comment: String,
}

/// Addresses of either family: "203.0.113.0/24", "2001:db8::/32"; without a length one alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Network(pub Block);

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.contains(':') {
            let prefix: Ipv6Prefix = text.parse().map_err(|error: NoPrefix| error.to_string())?;
            return Ok(Self(prefix.into()));
        }
        let Destination { address, length } = text.parse()?;
        Ok(Self(Prefix { address, length }.into()))
    }
}

/// RouterOS's word for an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// The packet passes.
    Accept,
    /// The packet is dropped.
    Drop,
}

/// An IP protocol, by name or number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Protocol(pub u8);

/// Names of protocols, as RouterOS and `/etc/protocols` have them.
const PROTOCOLS: [(&str, u8); 13] = [
    ("icmp", 1),
    ("igmp", 2),
    ("ipencap", 4),
    ("tcp", 6),
    ("udp", 17),
    ("dccp", 33),
    ("gre", 47),
    ("ipsec-esp", 50),
    ("ipsec-ah", 51),
    ("icmpv6", 58),
    ("ospf", 89),
    ("sctp", 132),
    ("udp-lite", 136),
];

impl TryFrom<String> for Protocol {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let named = PROTOCOLS.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
        named.or_else(|| text.parse().ok()).map(Self).ok_or_else(|| {
            let names = PROTOCOLS.map(|(name, _)| name).join(", ");
            format!("`{text}` is no protocol: a number, or one of {names}")
        })
    }
}

/// Ports and ranges of them: "25", "1000-2000", "80,443".
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Ports(Vec<RangeInclusive<u16>>);

impl TryFrom<String> for Ports {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.split(',').map(|word| range(word.trim())).collect::<Option<_>>().map(Self).ok_or_else(
            || format!("`{text}` are no ports: write \"25\", \"1000-2000\" or \"80,443\""),
        )
    }
}

/// An ICMP type, or a type and its codes: "8", "3:4", "3:0-5".
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct IcmpOptions {
    kind: u8,
    codes: RangeInclusive<u8>,
}

impl TryFrom<String> for IcmpOptions {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let read = || {
            let (kind, codes) = match text.split_once(':') {
                Some((kind, codes)) => (kind, range(codes)?),
                None => (text.as_str(), 0..=255),
            };
            Some(Self { kind: kind.parse().ok()?, codes })
        };
        read().ok_or_else(|| {
            format!("`{text}` are no ICMP options: write \"8\", \"3:4\" or \"3:0-5\"")
        })
    }
}

/// One number or two with a dash between, ascending.
fn range<T: FromStr + PartialOrd + Copy>(text: &str) -> Option<RangeInclusive<T>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = first.parse().ok()?..=last.parse().ok()?;
    (!range.is_empty()).then_some(range)
}

impl Rule {
    /// The same for the data plane: one rule for each pair of ranges of ports.
    fn expand(&self) -> Vec<filter::Rule> {
        let ranges = |ports: &Option<Ports>| match ports {
            Some(Ports(ranges)) => ranges.iter().cloned().map(Some).collect(),
            None => vec![None],
        };
        let (from, to) = (ranges(&self.src_port), ranges(&self.dst_port));
        let rule = |src_port: &Option<RangeInclusive<u16>>, dst_port: &Option<_>| filter::Rule {
            action: match self.action {
                Verb::Accept => Action::Accept,
                Verb::Drop => Action::Drop,
            },
            src_address: self.src_address.map(|Network(block)| block),
            dst_address: self.dst_address.map(|Network(block)| block),
            protocol: self.protocol.map(|Protocol(number)| number),
            src_port: src_port.clone(),
            dst_port: dst_port.clone(),
            icmp: self
                .icmp_options
                .as_ref()
                .map(|options| filter::Icmp { kind: options.kind, codes: options.codes.clone() }),
        };
        from.iter().flat_map(|from| to.iter().map(move |to| rule(from, to))).collect()
    }
}

impl Filter {
    /// The list as the data plane takes it.
    ///
    /// # Errors
    /// If a rule makes no sense, with its number.
    pub fn rules(&self) -> Result<Rules, String> {
        for (number, rule) in (1..).zip(&self.rules) {
            // Alone, so that the number is the one that the operator counts.
            Rules::new(rule.expand())
                .map_err(|error| format!("filter `{}`, rule {number}: {error}", self.name))?;
        }
        Rules::new(self.rules.iter().flat_map(Rule::expand).collect())
            .map_err(|error| format!("filter `{}`: {error}", self.name))
    }
}

impl Config {
    /// All filters by name.
    #[must_use]
    pub fn filters(&self) -> HashMap<String, Rules> {
        let rules = |filter: &Filter| Some((filter.name.clone(), filter.rules().ok()?));
        self.filter.iter().filter_map(rules).collect()
    }

    pub(super) fn validate_filters(&self) -> Result<(), ConfigError> {
        let mut seen = HashSet::new();
        for filter in &self.filter {
            if filter.name.is_empty() || !seen.insert(&filter.name) {
                return Err(ConfigError::new(format!(
                    "[[filter]]: the name `{}` is {}",
                    filter.name,
                    if filter.name.is_empty() { "empty" } else { "given twice" }
                )));
            }
            filter.rules().map_err(ConfigError::new)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the data plane makes of a filter's rules.
    fn read(rules: &str) -> Result<Rules, String> {
        let text = format!("name = \"f\"\nrules = [{rules}]");
        toml::from_str::<Filter>(&text).map_err(|error| error.message().to_owned())?.rules()
    }

    #[test]
    fn rules_are_of_either_family() {
        let rules = read(
            r#"{ action = "drop", dst-address = "2001:db8:bad::/48", protocol = "tcp", dst-port = "25" },
               { action = "drop", src-address = "2001:db8::5" },
               { action = "accept", protocol = "icmpv6", icmp-options = "128:0" },
               { action = "drop", dst-address = "203.0.113.0/24" }"#
                .replace('\n', "")
                .as_str(),
        );
        insta::assert_debug_snapshot!(rules.unwrap().as_slice());
    }

    #[test]
    fn slips_are_named() {
        let slips = [
            r#"{ action = "drop", dst-address = "2001:db8::1/48" }"#,
            r#"{ action = "drop", dst-address = "2001:db8::/129" }"#,
            r#"{ action = "drop", dst-address = "2001:zz::" }"#,
            r#"{ action = "drop", dst-address = "2001:db8::/32", src-address = "10.0.0.0/8" }"#,
            r#"{ action = "drop", dst-address = "2001:db8::/32", icmp-options = "8" }"#,
        ];
        let says = slips.map(|slip| read(slip).unwrap_err());
        insta::assert_snapshot!(says.join("\n"));
    }

    proptest! {
        #[test]
        fn an_ipv6_prefix_is_read_as_it_is_written(address: u128, length in 0_u8..=128) {
            let prefix = Ipv6Prefix::around(std::net::Ipv6Addr::from_bits(address), length);
            let text = prefix.to_string();
            prop_assert_eq!(Network::try_from(text), Ok(Network(prefix.into())));
        }

        #[test]
        fn no_text_is_a_panic(text in "[0-9a-f:./x]{0,40}") {
            let _ = Network::try_from(text);
        }
    }
}
