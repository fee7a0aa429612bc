//! `[server]`: RouterOS's `/interface pptp-server server`.
//!
//! What we accept and propose. Never what a user gets: that is the profile's.

use std::net::{Ipv4Addr, SocketAddrV4};

use clap::ValueEnum;
use protocol::ppp::auth::{self, Method};
use protocol::ppp::ccp;
use serde::{Deserialize, Serialize};

use super::encryption::{self, Encryption, EncryptionMode, KeyBits};
use super::{ConfigError, DEFAULT_PROFILE, Mrru, Span, interface_name};
use crate::kernel::Destination;
use crate::users::charset::Charset;

/// RouterOS's `/interface pptp-server server`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Server {
    /// Whether calls are accepted at all.
    pub enabled: bool,
    /// Where the control connection is listened for.
    pub listen: Vec<SocketAddrV4>,
    /// Name that we give of ourselves in PPTP and CHAP; the machine's own if empty.
    pub host_name: String,
    /// Accepted ways to prove who one is.
    pub authentication: Vec<Authentication>,
    /// Time between challenges to a peer that is logged in (CHAP). Zero: never again.
    pub chap_interval: Span,
    /// Whether data is encrypted.
    pub encryption: Encryption,
    /// With which keys: the strongest that the peer has.
    pub encryption_strengths: Vec<KeyBits>,
    /// When keys change. In stateful mode a lost packet costs all that follow, until the sender was
    /// asked to start again.
    pub encryption_mode: EncryptionMode,
    /// Largest inner packet that we send, bytes.
    pub max_mtu: u16,
    /// Largest PPP packet that we receive, bytes; offered as our MRU.
    pub max_mru: u16,
    /// Largest packet that we put together from fragments (multilink on one link, RFC 1990).
    pub mrru: Mrru,
    /// Silence after which the peer is asked whether it lives; twice that ends the session.
    /// Zero: never asked.
    pub keepalive_timeout: Span,
    /// Profile of users that name none.
    pub default_profile: String,
    /// Interfaces on which we answer ARP for subscribers whose address is in their subnet.
    pub proxy_arp: Vec<String>,
    /// Where control connections are accepted from; empty is from everywhere.
    pub client_ip_range: Vec<Destination>,
    /// Where users without `remote-access` may call from.
    pub local_networks: Vec<Destination>,
    /// Charsets that the names of local users are looked for in, the first one first.
    pub name_charset: Vec<Charset>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: vec![SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 1723)],
            host_name: String::new(),
            authentication: vec![Authentication::Mschap2],
            chap_interval: Span::seconds(0),
            encryption: Encryption::Require,
            encryption_strengths: vec![KeyBits::Bits128],
            encryption_mode: EncryptionMode::Stateless,
            max_mtu: 1450,
            max_mru: 1450,
            mrru: Mrru::DISABLED,
            keepalive_timeout: Span::seconds(30),
            default_profile: DEFAULT_PROFILE.to_owned(),
            proxy_arp: Vec::new(),
            client_ip_range: Vec::new(),
            local_networks: Vec::new(),
            name_charset: Charset::ALL.to_vec(),
        }
    }
}

/// A way to prove who one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Authentication {
    /// MS-CHAPv2, RFC 2759.
    Mschap2,
    /// MS-CHAPv1, RFC 2433: the same keys in both directions.
    Mschap1,
    /// CHAP with MD5, RFC 1994: no encryption.
    Chap,
    /// PAP, RFC 1334: no encryption, not even of the password.
    Pap,
}

impl Authentication {
    /// All, the strongest first.
    pub const ALL: [Self; 4] = [Self::Mschap2, Self::Mschap1, Self::Chap, Self::Pap];
}

impl From<Authentication> for Method {
    fn from(authentication: Authentication) -> Self {
        match authentication {
            Authentication::Mschap2 => Self::MsChapV2,
            Authentication::Mschap1 => Self::MsChapV1,
            Authentication::Chap => Self::ChapMd5,
            Authentication::Pap => Self::Pap,
        }
    }
}

impl Server {
    /// The methods of authentication in PPP's words.
    #[must_use]
    pub fn methods(&self) -> Vec<Method> {
        self.authentication.iter().copied().map(Method::from).collect()
    }

    /// What is wanted of encryption, in CCP's words, where it is wanted like this.
    #[must_use]
    pub fn encryption_policy(&self, encryption: Encryption) -> ccp::Policy {
        encryption::policy(encryption, &self.encryption_strengths, self.encryption_mode)
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let fail = |reason: String| Err(ConfigError::new(reason));
        for name in &self.proxy_arp {
            interface_name(name)
                .map_err(|reason| ConfigError::new(format!("`proxy-arp`: {reason}")))?;
        }
        if self.listen.is_empty() {
            return fail("`listen` is empty: to accept no calls set `enabled = false`".to_owned());
        }
        for (index, one) in self.listen.iter().enumerate() {
            let overlaps = |other: &&SocketAddrV4| {
                one.port() == other.port()
                    && (one.ip() == other.ip()
                        || one.ip().is_unspecified()
                        || other.ip().is_unspecified())
            };
            if let Some(other) = self.listen.iter().skip(index + 1).find(overlaps) {
                return fail(format!("`listen`: {one} and {other} are one place to listen"));
            }
        }
        if self.encryption_strengths.is_empty() {
            return fail("`encryption-strengths` is empty: name at least 128".to_owned());
        }
        if let Err(error) = auth::offered(&self.methods(), self.encryption_policy(self.encryption))
        {
            return fail(format!("`authentication`: {error}"));
        }
        for (key, value) in [("max-mtu", self.max_mtu), ("max-mru", self.max_mru)] {
            if !(576..=1500).contains(&value) {
                return fail(format!("`{key} = {value}`: give 576 to 1500 bytes"));
            }
        }
        if self.name_charset.is_empty() {
            return fail("`name-charset` is empty: no user could be found".to_owned());
        }
        Ok(())
    }

    /// Largest inner packet that any session takes, bytes.
    #[must_use]
    pub fn inner_mtu(&self) -> u16 {
        self.mrru.inner_mtu(self.max_mtu)
    }

    /// Whether control connections from this address are accepted.
    #[must_use]
    pub fn serves(&self, peer: Ipv4Addr) -> bool {
        self.client_ip_range.is_empty()
            || self.client_ip_range.iter().any(|network| network.contains(peer))
    }

    /// Whether users without `remote-access` may call from this address.
    #[must_use]
    pub fn is_local_network(&self, peer: Ipv4Addr) -> bool {
        self.local_networks.iter().any(|network| network.contains(peer))
    }
}
