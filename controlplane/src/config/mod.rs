//! The configuration: one TOML file whose keys are RouterOS's words in kebab-case.
//!
//! [`Config`] holds what the operator declares; `example.toml` shows each key with its default and
//! is what `penstock config example` prints. What changes while running (users) is not here, and
//! nothing here is ever written by us.

mod accounting;
mod address_list;
mod binding;
mod client;
mod dataplane;
mod encryption;
mod error;
mod filter;
mod hooks;
mod ipv6_pool;
mod limits;
mod lockout;
mod mrru;
mod pool;
mod prefixes;
mod profile;
mod radius;
mod range;
mod server;
mod server_name;
mod span;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

pub use accounting::Accounting;
pub use address_list::{AddressList, Table};
pub use binding::Binding;
pub use client::{Client, Secret, interface_name};
pub use dataplane::{Dataplane, Interface, Mppe, Role, Vlan};
pub use encryption::{Encryption, EncryptionMode, KeyBits, policy};
pub use error::ConfigError;
pub use filter::Filter;
pub use hooks::Hooks;
pub use ipv6_pool::Ipv6Pool;
pub use limits::Limits;
pub use lockout::Lockout;
pub use mrru::Mrru;
pub use pool::Pool;
pub use profile::{DnsServer, Profile, ResolvedProfile};
pub use radius::{Aaa, Fallback, IncomingClient, Order, Radius, RadiusIncoming};
pub use range::{AddressRange, is_for_hosts};
pub use server::{Authentication, Server};
pub use server_name::{is_for_servers, server_name};
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
    /// Who guesses passwords.
    pub lockout: Lockout,
    /// The queue of what RADIUS servers are told of sessions.
    pub accounting: Accounting,
    /// Programs that run when sessions come and go.
    pub hooks: Hooks,
    /// Where address-lists are.
    pub address_list: AddressList,
    /// Threads, ports and drivers of the packet path.
    pub dataplane: Dataplane,
    /// What a session gets, by name.
    pub profile: Vec<Profile>,
    /// Addresses for sessions.
    pub pool: Vec<Pool>,
    /// IPv6 prefixes for sessions.
    pub ipv6_pool: Vec<Ipv6Pool>,
    /// Which packets of sessions pass, by name.
    pub filter: Vec<Filter>,
    /// Who judges logins and what is told of sessions.
    pub aaa: Aaa,
    /// RADIUS servers.
    pub radius: Vec<Radius>,
    /// Orders of RADIUS servers.
    pub radius_incoming: RadiusIncoming,
    /// Interfaces of their own for users.
    pub binding: Vec<Binding>,
    /// Tunnels that we dial ourselves.
    pub client: Vec<Client>,
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
            lockout: Lockout::default(),
            accounting: Accounting::default(),
            hooks: Hooks::default(),
            address_list: AddressList::default(),
            dataplane: Dataplane::default(),
            profile: vec![Profile::built_in()],
            pool: vec![Pool::built_in()],
            ipv6_pool: Vec::new(),
            filter: Vec::new(),
            aaa: Aaa::default(),
            radius: Vec::new(),
            radius_incoming: RadiusIncoming::default(),
            binding: Vec::new(),
            client: Vec::new(),
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

    /// A word that is no level would be taken for a part of the program, and silence all others.
    fn validate_log_level(&self) -> Result<(), ConfigError> {
        let level = |directive: &str| {
            let level = directive.rsplit('=').next().unwrap_or_default().trim();
            level.parse::<LevelFilter>().is_ok_and(|_| !level.is_empty())
        };
        let readable = self.log_level.parse::<EnvFilter>().is_ok();
        if readable && self.log_level.split(',').all(level) {
            return Ok(());
        }
        Err(ConfigError::new(format!(
            "`log-level = {:?}`: give off, error, warn, info, debug or trace, or `part=level` after \
             a comma",
            self.log_level
        )))
    }

    /// The checks that need more than one value.
    fn validate(&self) -> Result<(), ConfigError> {
        self.validate_log_level()?;
        if self.control_socket.as_os_str().is_empty() {
            return Err(ConfigError::new(
                "`control-socket` is empty: no command would reach the daemon".to_owned(),
            ));
        }
        self.server.validate()?;
        self.limits.validate()?;
        self.lockout.validate()?;
        self.accounting.validate()?;
        self.hooks.validate()?;
        self.dataplane.validate()?;
        self.validate_pools()?;
        self.validate_ipv6_pools()?;
        self.validate_filters()?;
        self.validate_profiles()?;
        self.validate_radius()?;
        self.validate_clients()?;
        self.validate_bindings()
    }
}
