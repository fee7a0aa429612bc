//! The configuration: one TOML file whose keys are RouterOS's words in kebab-case.
//!
//! [`Config`] holds what the operator declares; `example.toml` shows each key with its default and
//! is what `penstock config example` prints. What changes while running (users) is not here, and
//! nothing here is ever written by us.

mod error;
mod prefixes;
mod range;
mod span;

#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use error::ConfigError;
pub use range::{AddressRange, is_for_hosts};
pub use span::Span;

/// Where the configuration is looked for when no file is named.
pub const DEFAULT_FILE: &str = "/etc/penstock/penstock.toml";

/// Every key with its default and a comment, itself a valid configuration file.
pub const EXAMPLE: &str = include_str!("example.toml");

/// The name of the profile that completes all others.
pub const DEFAULT_PROFILE: &str = "default";

/// All that the operator declares.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// SQLite file of the users.
    pub database: PathBuf,
    /// More users, in the form of pppd's chap-secrets; read again when it changes.
    pub users_file: Option<PathBuf>,
    /// Unix socket of the API.
    pub control_socket: PathBuf,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Which log lines are written: a level, or `tracing` directives.
    pub log_level: String,
    /// What we accept and propose.
    pub server: Server,
    /// What a peer can cost us.
    pub limits: Limits,
    /// Threads, ports and drivers of the packet path.
    pub dataplane: Dataplane,
    /// What a session gets, by name.
    pub profile: Vec<Profile>,
    /// Addresses for sessions.
    pub pool: Vec<Pool>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            database: "/var/lib/penstock/penstock.db".into(),
            users_file: None,
            control_socket: "/run/penstock/control.sock".into(),
            log_format: LogFormat::Human,
            log_level: "info".to_owned(),
            server: Server::default(),
            limits: Limits::default(),
            dataplane: Dataplane::default(),
            profile: vec![Profile::built_in()],
            pool: vec![Pool::built_in()],
        }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For eyes.
    Human,
    /// One JSON object a line.
    Json,
}

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
    /// Whether data is encrypted.
    pub encryption: Encryption,
    /// Largest inner packet that we send, bytes.
    pub max_mtu: u16,
    /// Largest PPP packet that we receive, bytes; offered as our MRU.
    pub max_mru: u16,
    /// Silence after which the peer is asked whether it lives; twice that ends the session.
    /// Zero: never asked.
    pub keepalive_timeout: Span,
    /// Profile of users that name none.
    pub default_profile: String,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: vec![SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 1723)],
            host_name: String::new(),
            authentication: vec![Authentication::Mschap2],
            encryption: Encryption::Require,
            max_mtu: 1450,
            max_mru: 1450,
            keepalive_timeout: Span::seconds(30),
            default_profile: DEFAULT_PROFILE.to_owned(),
        }
    }
}

/// A way to prove who one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Authentication {
    /// MS-CHAPv2, RFC 2759.
    Mschap2,
}

/// Whether data is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encryption {
    /// 128-bit stateless MPPE, or no session.
    Require,
    /// None: data crosses in the clear.
    Deny,
}

/// What a peer can cost us. Zero is no limit.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// Sessions in total.
    pub max_sessions: u32,
    /// Control connections with no session up, in total.
    pub max_half_open: u32,
    /// The same for one peer address.
    pub max_half_open_per_address: u32,
    /// Time from the TCP connection to the session's address.
    pub login_timeout: Span,
    /// Calls that one control connection may carry at once.
    pub max_calls_per_connection: u32,
    /// How long a stop waits for peers to take leave.
    pub shutdown_timeout: Span,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_sessions: 0,
            max_half_open: 1000,
            max_half_open_per_address: 50,
            login_timeout: Span::seconds(60),
            max_calls_per_connection: 16,
            shutdown_timeout: Span::seconds(5),
        }
    }
}

/// Threads, ports and drivers of the packet path.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Dataplane {
    /// Pinned worker threads; 0 is one for each core that we may run on.
    pub workers: u16,
    /// Packets that each worker can hold at once, in 4 KiB each; 1024 at least.
    pub frames: u32,
    /// Name of the TUN interface.
    pub tun: String,
    /// Ports that AF_XDP drives. None: raw GRE socket and TUN.
    pub interface: Vec<Interface>,
}

impl Default for Dataplane {
    fn default() -> Self {
        Self { workers: 0, frames: 4096, tun: "penstock".to_owned(), interface: Vec::new() }
    }
}

/// One port of the packet path.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Interface {
    /// Its name in the kernel.
    pub name: String,
    /// Which side it serves.
    pub role: Role,
}

/// Which side a port serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Subscribers' tunnels arrive here.
    Access,
    /// Subscribers' packets leave in the clear here.
    Core,
    /// Both.
    Both,
}

/// RouterOS's `/ppp profile`. A key left out is taken from the profile `default`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Profile {
    /// What users refer to.
    pub name: String,
    /// Our end of the tunnel; all sessions may share it.
    pub local_address: Option<Ipv4Addr>,
    /// The subscriber's end: the name of a pool.
    pub remote_address: Option<String>,
    /// Name servers for the subscriber, at most two.
    pub dns_server: Option<Vec<DnsServer>>,
    /// WINS servers for the subscriber, at most two.
    pub wins_server: Option<Vec<Ipv4Addr>>,
    /// Whether the segment size of TCP connections is lowered to what the tunnel carries.
    pub change_tcp_mss: Option<bool>,
}

impl Profile {
    fn built_in() -> Self {
        Self {
            name: DEFAULT_PROFILE.to_owned(),
            local_address: Some(Ipv4Addr::new(10, 99, 0, 1)),
            remote_address: Some("default".to_owned()),
            dns_server: Some(vec![DnsServer::System]),
            wins_server: Some(Vec::new()),
            change_tcp_mss: Some(true),
        }
    }
}

/// A name server to give to subscribers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum DnsServer {
    /// Those that this machine itself asks, save loopback ones.
    System,
    /// This one.
    Address(Ipv4Addr),
}

impl TryFrom<String> for DnsServer {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "system" {
            return Ok(Self::System);
        }
        text.parse()
            .map(Self::Address)
            .map_err(|_| format!("`{text}` is neither an IPv4 address nor \"system\""))
    }
}

/// Addresses for sessions.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Pool {
    /// What profiles refer to.
    pub name: String,
    /// Where its addresses lie.
    pub ranges: Vec<AddressRange>,
}

impl Pool {
    fn built_in() -> Self {
        Self {
            name: "default".to_owned(),
            ranges: vec![AddressRange {
                first: Ipv4Addr::new(10, 99, 0, 2),
                last: Ipv4Addr::new(10, 99, 15, 254),
            }],
        }
    }
}

/// What a session gets: a profile completed by the profile `default`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedProfile {
    /// Our end of the tunnel.
    pub local_address: Ipv4Addr,
    /// The pool of the subscriber's end. `None`: only users with an address of their own.
    pub pool: Option<String>,
    /// Name servers, with `system` still to be looked up.
    pub dns_servers: Vec<DnsServer>,
    /// WINS servers.
    pub wins_servers: Vec<Ipv4Addr>,
    /// Whether the segment size of TCP connections is lowered to what the tunnel carries.
    pub change_tcp_mss: bool,
}

impl Config {
    /// Reads and checks `file`.
    ///
    /// # Errors
    /// With file, line and reason, if it cannot be read or says what makes no sense.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| ConfigError::in_file(file, format!("cannot be read: {error}")))?;
        Self::parse(&text).map_err(|error| error.of(file))
    }

    /// Reads and checks a configuration given as text.
    ///
    /// # Errors
    /// As [`Self::load`], without the file.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Self =
            toml::from_str(text).map_err(|error| ConfigError::from_toml(&error, text))?;
        config.validate()?;
        Ok(config)
    }

    /// Loads the file named, or the default one, or where there is none uses the defaults.
    /// Says which file it was.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn find(file: Option<&Path>) -> Result<(Self, Option<PathBuf>), ConfigError> {
        let default = Path::new(DEFAULT_FILE);
        match file {
            Some(file) => Ok((Self::load(file)?, Some(file.to_owned()))),
            None if default.exists() => Ok((Self::load(default)?, Some(default.to_owned()))),
            None => Ok((Self::default(), None)),
        }
    }

    /// What a session of this profile gets, or `None` if there is no such profile.
    #[must_use]
    pub fn resolve(&self, name: &str) -> Option<ResolvedProfile> {
        let named = |name: &str| self.profile.iter().find(|profile| profile.name == name);
        let profile = named(name)?;
        let default = named(DEFAULT_PROFILE);
        let or_default = |field: Option<Ipv4Addr>| {
            field.or_else(|| default.and_then(|default| default.local_address))
        };
        Some(ResolvedProfile {
            local_address: or_default(profile.local_address)?,
            pool: profile
                .remote_address
                .clone()
                .or_else(|| default.and_then(|default| default.remote_address.clone())),
            dns_servers: profile
                .dns_server
                .clone()
                .or_else(|| default.and_then(|default| default.dns_server.clone()))
                .unwrap_or_default(),
            wins_servers: profile
                .wins_server
                .clone()
                .or_else(|| default.and_then(|default| default.wins_server.clone()))
                .unwrap_or_default(),
            change_tcp_mss: profile
                .change_tcp_mss
                .or_else(|| default.and_then(|default| default.change_tcp_mss))
                .unwrap_or(true),
        })
    }
}
