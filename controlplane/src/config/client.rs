//! `[[client]]`: RouterOS's `/interface pptp-client`, a tunnel that we dial ourselves.
//!
//! The same type is kept in SQLite for clients that commands added, and crosses the API.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Authentication, Config, ConfigError, DEFAULT_PROFILE, Mrru, Span, server_name};
use crate::terms::Route;
use crate::text::printable;

/// Names that mean something else to the kernel: sysctl's rows for all interfaces, and the loopback.
const NO_INTERFACE_NAMES: [&str; 5] = [".", "..", "lo", "all", "default"];

/// Longest name of a network interface that the kernel takes (IFNAMSIZ less its end).
const MAX_INTERFACE_NAME: usize = 15;

/// A tunnel that we dial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Client {
    /// The interface's name, 1 to 15 bytes.
    pub name: String,
    /// The server: address or host name, with a port after a colon if it is not 1723.
    pub connect_to: String,
    /// The name that we log in with, with `DOMAIN\` in front if the server wants one.
    pub user: String,
    /// Its password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// A file whose first line is the password; it counts before `password`. An absolute path:
    /// the daemon may have been started anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// The profile whose encryption and MSS clamping hold.
    #[serde(default = "default_profile")]
    pub profile: String,
    /// The ways to log in that we follow.
    #[serde(default = "every_way")]
    pub allow: Vec<Authentication>,
    /// Whether everything goes through the tunnel; the server stays reachable as it was.
    #[serde(default)]
    pub add_default_route: bool,
    /// The metric of that default route. `None`: it comes before all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_route_distance: Option<u32>,
    /// Networks that go through the tunnel.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// Largest inner packet that we send, bytes.
    #[serde(default = "default_size")]
    pub max_mtu: u16,
    /// Largest packet that we offer to receive, bytes.
    #[serde(default = "default_size")]
    pub max_mru: u16,
    /// Largest packet that we put together from fragments (multilink on one link, RFC 1990).
    #[serde(default)]
    pub mrru: Mrru,
    /// Silence after which the server is asked whether it lives; twice that ends the call.
    #[serde(default = "default_keepalive")]
    pub keepalive_timeout: Span,
    /// Not dialled until enabled.
    #[serde(default)]
    pub disabled: bool,
    /// The operator's note.
    #[serde(default)]
    pub comment: String,
}

fn default_profile() -> String {
    DEFAULT_PROFILE.to_owned()
}

fn every_way() -> Vec<Authentication> {
    Authentication::ALL.to_vec()
}

const fn default_size() -> u16 {
    1450
}

const fn default_keepalive() -> Span {
    Span::seconds(30)
}

/// A password that is never printed, and wiped when dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Secret(Zeroizing<String>);

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<Secret> for String {
    fn from(secret: Secret) -> Self {
        secret.text().to_owned()
    }
}

impl Secret {
    /// This password.
    #[must_use]
    pub const fn new(text: Zeroizing<String>) -> Self {
        Self(text)
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Whether the kernel takes this as the name of an interface.
///
/// # Errors
/// With what is wrong.
pub fn interface_name(name: &str) -> Result<(), String> {
    let is_word = !name.contains(['/', ':', '%']) && !name.chars().any(char::is_whitespace);
    if (1..=MAX_INTERFACE_NAME).contains(&name.len())
        && is_word
        && !name.chars().any(char::is_control)
        && !NO_INTERFACE_NAMES.contains(&name)
    {
        Ok(())
    } else {
        let name = printable(name.as_bytes());
        Err(format!(
            "`{name}` is no name of an interface (1 to 15 bytes, no blanks, `/`, `:`, `%`; not \
             `lo`, `all`, `default`)"
        ))
    }
}

impl Client {
    /// A client with RouterOS's defaults and no password.
    #[must_use]
    pub fn new(name: String, connect_to: String, user: String) -> Self {
        Self {
            name,
            connect_to,
            user,
            password: None,
            password_file: None,
            profile: default_profile(),
            allow: every_way(),
            add_default_route: false,
            default_route_distance: None,
            routes: Vec::new(),
            max_mtu: default_size(),
            max_mru: default_size(),
            mrru: Mrru::DISABLED,
            keepalive_timeout: default_keepalive(),
            disabled: false,
            comment: String::new(),
        }
    }

    /// Whether it makes sense by itself and its profile is there.
    ///
    /// # Errors
    /// With what does not.
    pub fn check(&self, profile_exists: impl Fn(&str) -> bool) -> Result<(), String> {
        interface_name(&self.name)?;
        let fail = |reason: &str| Err(format!("client `{}`: {reason}", self.name));
        let is_empty = |text: &str| text.is_empty() || text.chars().any(char::is_control);
        if let Err(reason) = server_name(&self.connect_to) {
            return fail(&format!("`connect-to`: {reason}"));
        }
        if let Some(file) = self.password_file.as_ref().filter(|file| !file.is_absolute()) {
            return fail(&format!("`password-file = {file:?}` is no absolute path"));
        }
        if is_empty(&self.user) || self.user.len() > crate::users::MAX_NAME {
            return fail("`user` has 1 to 255 bytes and no control characters");
        }
        if self.allow.is_empty() {
            return fail("`allow` is empty: name at least \"mschap2\"");
        }
        for (key, value) in [("max-mtu", self.max_mtu), ("max-mru", self.max_mru)] {
            if !(576..=1500).contains(&value) {
                return fail(&format!("`{key} = {value}`: give 576 to 1500 bytes"));
            }
        }
        if self.default_route_distance == Some(0) {
            return fail("`default-route-distance` is at least 1");
        }
        if !profile_exists(&self.profile) {
            return fail(&format!("there is no profile `{}`", self.profile));
        }
        Ok(())
    }
}

impl Config {
    pub(super) fn validate_clients(&self) -> Result<(), ConfigError> {
        let profile_exists = |name: &str| self.profile.iter().any(|profile| profile.name == name);
        let mut seen = HashSet::from([self.dataplane.tun.as_str()]);
        for client in &self.client {
            client.check(profile_exists).map_err(ConfigError::new)?;
            if !seen.insert(&client.name) {
                let reason = format!("[[client]]: the name `{}` is given twice", client.name);
                return Err(ConfigError::new(reason));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_client_needs_a_name_a_server_and_a_user() {
        let config = parse("[[client]]\nname = \"a\"\nconnect-to = \"s\"\nuser = \"u\"\n").unwrap();
        let client = &config.client[0];
        assert_eq!(client.allow, Authentication::ALL);
        assert_eq!((client.max_mtu, client.disabled), (1450, false));
        assert_eq!(client.profile, "default");
        let printed = format!("{:?}", Secret::new(Zeroizing::new("s3cret".to_owned())));
        assert!(!printed.contains("s3cret"));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_reason() {
        let of = |line: &str| {
            let text =
                format!("[[client]]\nname = \"out\"\nconnect-to = \"s\"\nuser = \"u\"\n{line}\n");
            format!("{}\n", parse(&text).unwrap_err())
        };
        let said = [
            "allow = []",
            "allow = [\"mschap3\"]",
            "max-mtu = 100",
            "profile = \"gold\"",
            "default-route-distance = 0",
            "keepalive = \"3s\"",
            "routes = [\"10.0.0.1/8\"]",
            "[[client]]\nname = \"out\"\nconnect-to = \"s\"\nuser = \"u\"",
            "[[client]]\nname = \"penstock\"\nconnect-to = \"s\"\nuser = \"u\"",
            "[[client]]\nname = \"sixteen-letters-\"\nconnect-to = \"s\"\nuser = \"u\"",
            "[[client]]\nname = \"two words\"\nconnect-to = \"s\"\nuser = \"u\"",
            "[[client]]\nname = \"b\"\nconnect-to = \"\"\nuser = \"u\"",
            "[[client]]\nname = \"b\"\nconnect-to = \"s:0\"\nuser = \"u\"",
            "[[client]]\nname = \"b\"\nconnect-to = \"224.0.0.1\"\nuser = \"u\"",
            "password-file = \"password\"",
        ]
        .map(of)
        .concat();
        insta::assert_snapshot!(said);
    }
}
