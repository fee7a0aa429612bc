//! Clients as they cross the API.
//!
//! A new client is the same object as `[[client]]`, with its password: the server wants that, not
//! its hash, and the socket is the operator's own. No answer holds it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::{Authentication, Client, Mrru, Secret, Span};
use crate::terms::Route;

/// What to change of a client. A key left out leaves as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
#[expect(missing_docs, reason = "`config::Client` says what each is")]
pub struct ClientChange {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Takes a password file away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// Takes a stored password away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<Authentication>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_default_route: Option<bool>,
    /// 0 takes it away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_route_distance: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<Route>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_mtu: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_mru: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mrru: Option<Mrru>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keepalive_timeout: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

impl ClientChange {
    /// Makes the change.
    pub fn apply(self, client: &mut Client) {
        fn set<T>(place: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *place = value;
            }
        }
        if self.password.is_some() || self.password_file.is_some() {
            client.password = self.password;
            client.password_file = self.password_file;
        }
        if let Some(distance) = self.default_route_distance {
            client.default_route_distance = Some(distance).filter(|distance| *distance != 0);
        }
        set(&mut client.connect_to, self.connect_to);
        set(&mut client.user, self.user);
        set(&mut client.profile, self.profile);
        set(&mut client.allow, self.allow);
        set(&mut client.add_default_route, self.add_default_route);
        set(&mut client.routes, self.routes);
        set(&mut client.max_mtu, self.max_mtu);
        set(&mut client.max_mru, self.max_mru);
        set(&mut client.mrru, self.mrru);
        set(&mut client.keepalive_timeout, self.keepalive_timeout);
        set(&mut client.disabled, self.disabled);
        set(&mut client.comment, self.comment);
    }
}

/// The name of a client that was added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Added {
    /// The name.
    pub name: String,
}

/// A client as the API shows one: what it is told, and RouterOS's `monitor`. `rx` is from the
/// server, `tx` to it; packets and bytes are inner IP packets of this call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "`config::Client` says what the first ones are")]
pub struct ClientView {
    pub name: String,
    pub connect_to: String,
    pub user: String,
    pub profile: String,
    pub allow: Vec<Authentication>,
    pub add_default_route: bool,
    pub default_route_distance: Option<u32>,
    pub routes: Vec<Route>,
    pub max_mtu: u16,
    pub max_mru: u16,
    pub mrru: Mrru,
    pub keepalive_timeout: String,
    /// RouterOS's flag X.
    pub disabled: bool,
    /// RouterOS's flag R: data passes.
    pub running: bool,
    pub comment: String,
    /// `configuration` or `database`.
    pub source: String,
    /// `dialing`, `verifying password...`, `connected`, `terminated`.
    pub status: String,
    /// Why the last call ended, until the next one is up.
    pub reason: Option<String>,
    /// Seconds until the next call.
    pub next_call: Option<f64>,
    /// Calls that were placed.
    pub calls: u64,
    /// Where the server is.
    pub server_address: Option<SocketAddr>,
    /// Our inner address.
    pub local_address: Option<Ipv4Addr>,
    /// The server's inner address, if it tells.
    pub remote_address: Option<Ipv4Addr>,
    /// Name servers that the server names.
    pub dns_server: Vec<Ipv4Addr>,
    /// Seconds since data passes.
    pub uptime: Option<u64>,
    /// Seconds since the last data packet.
    pub idle_time: Option<u64>,
    /// How data is protected: `MPPE128 stateless`, or `none`; `rx/tx` where they differ.
    pub encoding: Option<String>,
    /// Largest inner packet to the server, bytes.
    pub mtu: Option<u16>,
    /// Largest PPP packet from the server, bytes.
    pub mru: Option<u16>,
    pub rx_packets: u64,
    pub rx_bytes: u64,
    pub tx_packets: u64,
    pub tx_bytes: u64,
}
