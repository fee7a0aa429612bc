//! A secret: who a user is, how the password is proved and what is the user's own.
//!
//! RouterOS's `/ppp secret`, with its words. What a secret leaves open comes from its profile. An
//! NT hash is kept of the password; the password itself only for users who may use CHAP-MD5
//! (RFC 1994 §2.2), which cannot do without.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use protocol::ppp::auth::Credential;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::UserError;
use crate::config::Span;
use crate::ipv6::Prefix;
use crate::kernel::Destination;
use crate::rate_limit::RateLimit;
use crate::terms::{RemoteAddress, Route};
use crate::users::wire::{HexHash, present};

/// Who may in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name, as the peer sends it (less a `DOMAIN\`).
    pub name: String,
    /// What is kept of the password: its hash, or itself if the user may use CHAP-MD5.
    pub credential: Credential,
    /// What the secret is for: who dials in by PPTP needs `any` or `pptp`.
    pub service: Service,
    /// Where the user may call from; empty is from everywhere.
    pub caller_id: Vec<Destination>,
    /// The profile; `None` is the server's `default-profile`.
    pub profile: Option<String>,
    /// Our end of the tunnel; `None` is the profile's.
    pub local_address: Option<Ipv4Addr>,
    /// The subscriber's end, an address or a pool; `None` is the profile's.
    pub remote_address: Option<RemoteAddress>,
    /// Networks behind the subscriber, beside the profile's.
    pub routes: Vec<Route>,
    /// The prefix of the user's link; `None` is one of the profile's.
    pub remote_ipv6_prefix: Option<Prefix>,
    /// The prefix that is delegated to the user; `None` is one of the profile's.
    pub delegated_ipv6_prefix: Option<Prefix>,
    /// IPv6 networks behind the subscriber.
    pub ipv6_routes: Vec<Prefix>,
    /// How fast the user may be; `None` is the profile's.
    pub rate_limit: Option<RateLimit>,
    /// How long a session may last, zero for ever; `None` is the profile's.
    pub session_timeout: Option<Span>,
    /// How long a session may carry no packet, zero for ever; `None` is the profile's.
    pub idle_timeout: Option<Span>,
    /// Octets that a session may send us.
    pub limit_bytes_in: Option<u64>,
    /// Octets that a session may be sent.
    pub limit_bytes_out: Option<u64>,
    /// Whether the user may call from outside of `local-networks`.
    pub remote_access: bool,
    /// Refused until enabled again.
    pub disabled: bool,
    /// The operator's note.
    pub comment: String,
}

impl User {
    /// A user of whom nothing but name and password is said.
    #[must_use]
    pub fn new(name: &str, credential: Credential) -> Self {
        Self {
            name: name.to_owned(),
            credential,
            service: Service::Any,
            caller_id: Vec::new(),
            profile: None,
            local_address: None,
            remote_address: None,
            routes: Vec::new(),
            remote_ipv6_prefix: None,
            delegated_ipv6_prefix: None,
            ipv6_routes: Vec::new(),
            rate_limit: None,
            session_timeout: None,
            idle_timeout: None,
            limit_bytes_in: None,
            limit_bytes_out: None,
            remote_access: true,
            disabled: false,
            comment: String::new(),
        }
    }

    /// The address that belongs to this user alone.
    #[must_use]
    pub const fn own_address(&self) -> Option<Ipv4Addr> {
        match self.remote_address {
            Some(RemoteAddress::Address(address)) => Some(address),
            _ => None,
        }
    }
}

/// A clear password. Wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Clear(Zeroizing<String>);

impl From<String> for Clear {
    fn from(password: String) -> Self {
        Self(Zeroizing::new(password))
    }
}

impl From<Clear> for String {
    fn from(clear: Clear) -> Self {
        clear.as_str().to_owned()
    }
}

impl Clear {
    /// Keeps this password.
    #[must_use]
    pub fn new(password: &str) -> Self {
        Self(Zeroizing::new(password.to_owned()))
    }

    /// The password.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Clear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clear(..)")
    }
}

/// What a secret is for, in RouterOS's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// Everything.
    #[default]
    Any,
    /// This program.
    Pptp,
    /// Serial lines; not us.
    Async,
    /// Not us.
    Isdn,
    /// Not us.
    L2tp,
    /// Not us.
    Ovpn,
    /// Not us.
    Pppoe,
    /// Not us.
    Sstp,
}

impl Service {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Any, "any"),
        (Self::Pptp, "pptp"),
        (Self::Async, "async"),
        (Self::Isdn, "isdn"),
        (Self::L2tp, "l2tp"),
        (Self::Ovpn, "ovpn"),
        (Self::Pppoe, "pppoe"),
        (Self::Sstp, "sstp"),
    ];

    /// Whether users with it may dial in by PPTP.
    #[must_use]
    pub const fn is_ours(self) -> bool {
        matches!(self, Self::Any | Self::Pptp)
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.into_iter().find(|(service, _)| service == self);
        f.write_str(name.map_or("", |(_, name)| name))
    }
}

impl FromStr for Service {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|(_, name)| *name == text);
        known.map(|(service, _)| service).ok_or_else(|| {
            let names = Self::ALL.map(|(_, name)| name).join(", ");
            format!("`{text}` is no service: one of {names}")
        })
    }
}

/// What to change of a user, or with a name and a hash what a new one is. A key left out leaves as
/// it is; `null` takes away.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Change {
    /// Another name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Hash of another password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nt_hash: Option<HexHash>,
    /// The same password in the clear, for CHAP-MD5.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub password: Option<Option<Clear>>,
    /// Another service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// Other places to call from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller_id: Option<Vec<Destination>>,
    /// Another profile, or the server's.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub profile: Option<Option<String>>,
    /// Another address of ours, or the profile's.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub local_address: Option<Option<Ipv4Addr>>,
    /// Another address or pool, or the profile's.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub remote_address: Option<Option<RemoteAddress>>,
    /// Other networks behind the subscriber.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<Route>>,
    /// Another prefix of the link, or the profile's.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub remote_ipv6_prefix: Option<Option<Prefix>>,
    /// Another delegated prefix, or the profile's.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub delegated_ipv6_prefix: Option<Option<Prefix>>,
    /// Other IPv6 networks behind the subscriber.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6_routes: Option<Vec<Prefix>>,
    /// Another rate, or the profile's.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub rate_limit: Option<Option<RateLimit>>,
    /// Another time, or the profile's.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub session_timeout: Option<Option<Span>>,
    /// Another time, or the profile's.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub idle_timeout: Option<Option<Span>>,
    /// Another limit, or none.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub limit_bytes_in: Option<Option<u64>>,
    /// Another limit, or none.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub limit_bytes_out: Option<Option<u64>>,
    /// From outside or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_access: Option<bool>,
    /// Refused or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// Another note.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

impl Change {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        serde_json::to_value(self)
            .is_ok_and(|value| value.as_object().is_some_and(serde_json::Map::is_empty))
    }

    /// The new user that it describes.
    ///
    /// # Errors
    /// Without a name or a password.
    pub fn into_user(self) -> Result<User, UserError> {
        let name = self.name.clone().ok_or(UserError::Name)?;
        let hash = self.nt_hash.clone().ok_or_else(|| UserError::NoPassword(name.clone()))?;
        let mut user = User::new(&name, Credential::of_hash(hash.0));
        self.apply(&mut user)?;
        Ok(user)
    }

    /// Changes the user.
    ///
    /// # Errors
    /// If the clear password would no longer be the one of the hash; nothing is changed then.
    pub fn apply(self, user: &mut User) -> Result<(), UserError> {
        let credential = match (self.password, self.nt_hash.map(|hash| hash.0)) {
            (Some(Some(clear)), hash) => {
                let credential = Credential::of_password(clear.as_str());
                if hash.is_some_and(|hash| hash != *credential.nt_hash()) {
                    return Err(UserError::Clear(user.name.clone()));
                }
                Some(credential)
            }
            (Some(None), hash) => {
                let hash = hash.unwrap_or_else(|| user.credential.nt_hash().clone());
                Some(Credential::of_hash(hash))
            }
            (None, Some(hash)) if user.credential.clear().is_some() => {
                if hash != *user.credential.nt_hash() {
                    return Err(UserError::Clear(user.name.clone()));
                }
                None
            }
            (None, hash) => hash.map(Credential::of_hash),
        };
        fn set<T>(field: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *field = value;
            }
        }
        set(&mut user.credential, credential);
        set(&mut user.name, self.name);
        set(&mut user.service, self.service);
        set(&mut user.caller_id, self.caller_id);
        set(&mut user.profile, self.profile);
        set(&mut user.local_address, self.local_address);
        set(&mut user.remote_address, self.remote_address);
        set(&mut user.routes, self.routes);
        set(&mut user.remote_ipv6_prefix, self.remote_ipv6_prefix);
        set(&mut user.delegated_ipv6_prefix, self.delegated_ipv6_prefix);
        set(&mut user.ipv6_routes, self.ipv6_routes);
        set(&mut user.rate_limit, self.rate_limit);
        set(&mut user.session_timeout, self.session_timeout);
        set(&mut user.idle_timeout, self.idle_timeout);
        set(&mut user.limit_bytes_in, self.limit_bytes_in);
        set(&mut user.limit_bytes_out, self.limit_bytes_out);
        set(&mut user.remote_access, self.remote_access);
        set(&mut user.disabled, self.disabled);
        set(&mut user.comment, self.comment);
        Ok(())
    }
}
