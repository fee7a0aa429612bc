//! Two network namespaces: the daemon's, with FreeRADIUS where it judges, and the clients'.

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

use anyhow::Result;
use lab::load::{CLIENTS, account, allow_connections, most_connections};
use lab::netns::{self, Namespace};
use lab::radius::relay::{self, Relay};
use lab::radius::{FreeRadius, SECRET, Settings};
use lab::server::{Driver, Server};

use super::Users;

/// The daemon's address.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const RADIUS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
/// Where the pace of RADIUS is set.
const PACED: u16 = 1912;

/// All that a measurement needs.
#[derive(Debug)]
pub struct Scene {
    pub clients: Namespace,
    pub server: Server,
    _pace: Option<Relay>,
    _radius: Option<FreeRadius>,
    _namespace: Namespace,
}

impl Scene {
    /// `rate`: verdicts of RADIUS a second, 0 for as many as it gives.
    pub fn new(users: Users, count: usize, rate: u32) -> Result<Self> {
        allow_connections(count.min(most_connections()))?;
        let (clients, namespace) = (Namespace::new("clients")?, Namespace::new("server")?);
        netns::join((&clients, "server"), (&namespace, "clients"))?;
        clients.address("server", &format!("{GATEWAY}/30"))?;
        namespace.address("clients", &format!("{SERVER}/30"))?;
        namespace.route(CLIENTS, GATEWAY)?;
        // As deploy tells operators: a burst of dials must not find a short queue.
        namespace.sysctl("net/core/somaxconn", "65535")?;
        let accounts: Vec<_> = (0..count).map(account).collect();
        let mut settings = "log-level = \"warn\"\n\
             [[pool]]\nname = \"default\"\nranges = [\"10.128.0.2-10.129.255.254\"]\n"
            .to_owned();
        let (mut radius, mut pace) = (None, None);
        let mut local = Vec::new();
        match users {
            Users::Local => {
                local =
                    accounts.iter().map(|(name, word)| (name.as_str(), word.as_str())).collect();
            }
            Users::Radius => {
                let mut users = String::new();
                for (name, word) in &accounts {
                    writeln!(users, "{name} Cleartext-Password := \"{word}\"")?;
                }
                radius = Some(FreeRadius::start(&namespace, &Settings::new(RADIUS, &users))?);
                if rate > 0 {
                    let (at, to) =
                        (SocketAddrV4::new(RADIUS, PACED), SocketAddrV4::new(RADIUS, 1812));
                    pace = Some(Relay::start(&namespace, at, to, relay::paced(rate))?);
                }
                let port = if rate > 0 { PACED } else { 1812 };
                write!(
                    settings,
                    "[aaa]\nuse-radius = true\naccounting = false\n\
                     [[radius]]\naddress = \"{RADIUS}\"\nsecret = \"{SECRET}\"\n\
                     authentication-port = {port}\n"
                )?;
            }
        }
        let server = Server::start(&namespace, Driver::RawTun, &local, &settings)?;
        Ok(Self { clients, server, _pace: pace, _radius: radius, _namespace: namespace })
    }
}

/// Whether `scripts/setup test` has unpacked it.
pub fn has_freeradius() -> bool {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/peers/usr/sbin/freeradius")).exists()
}
