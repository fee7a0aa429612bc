//! `[[radius]]`, `[aaa]` and `[radius-incoming]`: RouterOS's `/radius`, `/ppp aaa` and `/radius
//! incoming`.
//!
//! Which servers are asked, what about, and from whom we take orders. Secrets are never printed.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use protocol::radius::Secret;
use serde::{Deserialize, Deserializer};

use super::{Config, ConfigError, Span};

/// RouterOS's `/radius`: one server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Radius {
    /// Its address.
    pub address: IpAddr,
    /// What it shares with us.
    #[serde(deserialize_with = "secret")]
    pub secret: Secret,
    /// UDP port for logins; zero: it is not asked about logins.
    #[serde(default = "defaults::authentication_port")]
    pub authentication_port: u16,
    /// UDP port for accounting; zero: it is told nothing.
    #[serde(default = "defaults::accounting_port")]
    pub accounting_port: u16,
    /// How long its first answer is waited for; each further time twice as long.
    #[serde(default = "defaults::timeout")]
    pub timeout: Timeout,
    /// How often a request is sent before the next server is asked.
    #[serde(default = "defaults::tries")]
    pub tries: u32,
    /// Its share among servers that have one. Zero: asked while none of those lives, in order.
    #[serde(default)]
    pub weight: u32,
    /// How long it is left alone after it was found silent.
    #[serde(default = "defaults::dead_time")]
    pub dead_time: Span,
    /// Whether an answer without Message-Authenticator is refused (CVE-2024-3596).
    #[serde(default = "defaults::require_message_authenticator")]
    pub require_message_authenticator: bool,
    /// Our address of requests; the kernel's choice if there is none.
    #[serde(default)]
    pub src_address: Option<IpAddr>,
    /// Most requests that are with it at once.
    #[serde(default = "defaults::max_in_flight")]
    pub max_in_flight: u32,
}

/// A length of time that may be a part of a second, as RouterOS's default is: "300ms", "2s".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Timeout(Duration);

impl Timeout {
    /// The same as the standard library's type.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl TryFrom<String> for Timeout {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let time = match text.strip_suffix("ms") {
            Some(digits) => digits
                .parse()
                .map(Duration::from_millis)
                .map_err(|_| format!("`{text}` is no length of time: write \"300ms\" or \"2s\""))?,
            None => text.parse::<Span>()?.duration(),
        };
        Ok(Self(time))
    }
}

mod defaults {
    use std::time::Duration;

    use super::{Span, Timeout};

    pub(super) const fn authentication_port() -> u16 {
        1812
    }

    pub(super) const fn accounting_port() -> u16 {
        1813
    }

    pub(super) const fn timeout() -> Timeout {
        Timeout(Duration::from_secs(2))
    }

    pub(super) const fn tries() -> u32 {
        3
    }

    pub(super) const fn dead_time() -> Span {
        Span::seconds(30)
    }

    pub(super) const fn require_message_authenticator() -> bool {
        true
    }

    pub(super) const fn max_in_flight() -> u32 {
        2048
    }
}

/// RouterOS's `/ppp aaa`: who judges logins and what is told of sessions.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Aaa {
    /// Whether RADIUS judges logins.
    pub use_radius: bool,
    /// Who is asked first.
    pub order: Order,
    /// What sends a login on to the other one.
    pub fallback: Fallback,
    /// Whether RADIUS is told of sessions.
    pub accounting: bool,
    /// Time between two interim accounts of a session for which RADIUS names none. Zero: none.
    pub interim_update: Span,
    /// NAS-Identifier; our host name if empty.
    pub nas_identifier: String,
    /// NAS-IP-Address; the address from which servers are asked if there is none.
    pub nas_ip_address: Option<Ipv4Addr>,
    /// Put behind a name that has none, with an `@`, in what RADIUS is asked.
    pub default_realm: String,
    /// Whether `DOMAIN\` and `@realm` are taken off in what RADIUS is asked.
    pub strip_realm: bool,
}

impl Default for Aaa {
    fn default() -> Self {
        Self {
            use_radius: false,
            order: Order::LocalFirst,
            fallback: Fallback::Unknown,
            accounting: true,
            interim_update: Span::seconds(0),
            nas_identifier: String::new(),
            nas_ip_address: None,
            default_realm: String::new(),
            strip_realm: false,
        }
    }
}

/// Who is asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Our own users, as RouterOS does it.
    LocalFirst,
    /// RADIUS.
    RadiusFirst,
}

/// What sends a login on to whoever is asked second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fallback {
    /// Nothing: the first one's word is final.
    No,
    /// The first one cannot tell: there is no such local user, or RADIUS does not answer.
    Unknown,
    /// That, or the first one refused.
    Refused,
}

/// RouterOS's `/radius incoming`: CoA-Requests and Disconnect-Requests (RFC 5176).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RadiusIncoming {
    /// Whether they are listened for.
    pub accept: bool,
    /// Where.
    pub address: IpAddr,
    /// UDP port.
    pub port: u16,
    /// Whether one without Message-Authenticator is ignored.
    pub require_message_authenticator: bool,
    /// Whether one without Event-Timestamp is ignored: without, a captured one can be sent again.
    pub require_event_timestamp: bool,
    /// Who may send them besides the servers of `[[radius]]`.
    pub client: Vec<IncomingClient>,
}

impl Default for RadiusIncoming {
    fn default() -> Self {
        Self {
            accept: false,
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port: 3799,
            require_message_authenticator: false,
            require_event_timestamp: false,
            client: Vec::new(),
        }
    }
}

/// Somebody who may send CoA-Requests and Disconnect-Requests.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct IncomingClient {
    /// Their address.
    pub address: IpAddr,
    /// What they share with us.
    #[serde(deserialize_with = "secret")]
    pub secret: Secret,
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    String::deserialize(deserializer).map(Secret::new)
}

impl Config {
    pub(super) fn validate_radius(&self) -> Result<(), ConfigError> {
        let fail = |reason: String| Err(ConfigError::new(reason));
        let mut seen = HashSet::new();
        for server in &self.radius {
            server.validate()?;
            let ports = [server.authentication_port, server.accounting_port];
            for (service, port) in ports.into_iter().enumerate() {
                if port != 0 && !seen.insert((service, server.address, port)) {
                    return fail(format!(
                        "[[radius]]: {} with port {port} is given twice",
                        server.address
                    ));
                }
            }
        }
        let aaa = &self.aaa;
        if aaa.use_radius {
            if self.radius.iter().all(|server| server.authentication_port == 0) {
                return fail(
                    "`use-radius = true`, but no [[radius]] has an `authentication-port`"
                        .to_owned(),
                );
            }
            if aaa.order == Order::LocalFirst && aaa.fallback == Fallback::No {
                return fail(
                    "`order = \"local-first\"` with `fallback = \"no\"` never asks RADIUS: give \
                     `fallback = \"unknown\"` or `use-radius = false`"
                        .to_owned(),
                );
            }
        }
        if aaa.interim_update.unless_zero().is_some_and(|interval| interval.as_secs() < 60) {
            return fail("`interim-update` is below a minute (RFC 2869 §2.1)".to_owned());
        }
        self.radius_incoming.validate(&self.radius)
    }
}

impl Radius {
    fn validate(&self) -> Result<(), ConfigError> {
        let address = self.address;
        let fail = |reason: &str| Err(ConfigError::new(format!("[[radius]] {address}: {reason}")));
        if address.is_unspecified() || address.is_multicast() {
            return fail("this is no server's `address`");
        }
        if self.secret.as_bytes().is_empty() {
            return fail("`secret` is empty");
        }
        if self.authentication_port == 0 && self.accounting_port == 0 {
            return fail("it has neither an `authentication-port` nor an `accounting-port`");
        }
        let range = Duration::from_millis(100)..=Duration::from_secs(60);
        if !range.contains(&self.timeout.duration()) {
            return fail("`timeout`: give \"100ms\" to \"60s\"");
        }
        if !(1..=10).contains(&self.tries) {
            return fail("`tries`: give 1 to 10");
        }
        if !(1..=65_536).contains(&self.max_in_flight) {
            return fail("`max-in-flight`: give 1 to 65536");
        }
        if self.src_address.is_some_and(|source| source.is_ipv4() != address.is_ipv4()) {
            return fail("`src-address` and `address` are one IPv4 and the other IPv6");
        }
        Ok(())
    }
}

impl RadiusIncoming {
    fn validate(&self, servers: &[Radius]) -> Result<(), ConfigError> {
        let fail = |reason: String| Err(ConfigError::new(format!("[radius-incoming]: {reason}")));
        if self.accept && self.port == 0 {
            return fail("`port` is zero".to_owned());
        }
        let mut seen = HashSet::new();
        for client in &self.client {
            if client.secret.as_bytes().is_empty() {
                return fail(format!("the `secret` of {} is empty", client.address));
            }
            if !seen.insert(client.address) {
                return fail(format!("{} is given twice", client.address));
            }
        }
        if self.accept && self.client.is_empty() && servers.is_empty() {
            return fail("`accept = true`, but there is nobody to accept from".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "[[radius]]\naddress = \"192.0.2.10\"\nsecret = \"xyzzy\"\n";

    fn slip(text: &str) -> String {
        Config::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_server_needs_an_address_and_a_secret() {
        let config = Config::parse(SERVER).unwrap();
        let [server] = config.radius.as_slice() else { panic!("one server") };
        assert_eq!((server.authentication_port, server.accounting_port), (1812, 1813));
        assert_eq!((server.timeout.duration().as_secs(), server.tries, server.weight), (2, 3, 0));
        assert!(server.require_message_authenticator);
        assert!(slip("[[radius]]\naddress = \"192.0.2.10\"\n").contains("missing field `secret`"));
    }

    #[test]
    fn a_timeout_may_be_routeros_default() {
        let config = Config::parse(&format!("{SERVER}timeout = \"300ms\"\n")).unwrap();
        assert_eq!(config.radius[0].timeout.duration(), Duration::from_millis(300));
    }

    #[test]
    fn a_secret_is_not_printed() {
        let config = Config::parse(SERVER).unwrap();
        assert!(!format!("{config:?}").contains("xyzzy"));
    }

    #[test]
    fn slips_are_answered_with_what_is_wrong() {
        let server = |more: &str| slip(&format!("{SERVER}{more}\n"));
        let answers = [
            server("authentication-port = 0\naccounting-port = 0"),
            server("timeout = \"0s\""),
            server("timeout = \"fastms\""),
            server("tries = 0"),
            server("max-in-flight = 0"),
            server("src-address = \"2001:db8::1\""),
            server("require-message-auth = false"),
            slip("[[radius]]\naddress = \"0.0.0.0\"\nsecret = \"x\"\n"),
            slip("[[radius]]\naddress = \"192.0.2.10\"\nsecret = \"\"\n"),
            slip(&SERVER.repeat(2)),
            slip("[aaa]\nuse-radius = true\n"),
            slip(&format!("[aaa]\nuse-radius = true\nfallback = \"no\"\n{SERVER}")),
            slip("[aaa]\ninterim-update = \"30s\"\n"),
            slip("[radius-incoming]\naccept = true\n"),
            slip("[radius-incoming]\naccept = true\nport = 0\n"),
            slip("[[radius-incoming.client]]\naddress = \"192.0.2.1\"\nsecret = \"\"\n"),
        ];
        insta::assert_snapshot!(answers.join("\n"));
    }
}
