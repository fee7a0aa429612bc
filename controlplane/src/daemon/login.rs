//! The verdict on a login: from memory, with an address from the profile's pool or the user's own.
//!
//! Nobody learns from an answer whether it was the name or the password that was wrong; the log
//! says it.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use protocol::ppp::auth::{Accepted, Attempt, Refusal};
use protocol::ppp::link;
use tracing::debug;

use super::Daemon;
use super::counters::Count;
use super::ending::Ending;
use crate::api::types::Selector;
use crate::config::Config;
use crate::host::name_servers;
use crate::kernel::{Destination, Kernel, KernelError};
use crate::pool::{self, Lease};
use crate::users::User;

/// How long a login waits for the session that has its address to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the sessions of a profile get: its configuration with `system` looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Our end of the tunnel.
    pub local_address: Ipv4Addr,
    /// The pool of the subscriber's end.
    pub pool: Option<String>,
    /// Name servers.
    pub dns: [Option<Ipv4Addr>; 2],
    /// WINS servers.
    pub wins: [Option<Ipv4Addr>; 2],
    /// Whether the segment size of TCP connections is lowered.
    pub clamp_mss: bool,
}

impl Profile {
    /// All profiles of the configuration by name.
    #[must_use]
    pub fn all(config: &Config) -> HashMap<String, Self> {
        let two = |servers: &[Ipv4Addr]| [servers.first().copied(), servers.get(1).copied()];
        config
            .profile
            .iter()
            .filter_map(|profile| {
                let resolved = config.resolve(&profile.name)?;
                let profile_of_sessions = Self {
                    local_address: resolved.local_address,
                    pool: resolved.pool,
                    dns: two(&name_servers(&resolved.dns_servers)),
                    wins: two(&resolved.wins_servers),
                    clamp_mss: resolved.change_tcp_mss,
                };
                Some((profile.name.clone(), profile_of_sessions))
            })
            .collect()
    }
}

/// An address that a session has, and the kernel's route to it where the pool's does not do.
/// Dropping it takes the route away, and only then gives the address back.
#[derive(Debug)]
pub struct Place {
    address: Ipv4Addr,
    lease: Option<Lease>,
    kernel: Kernel,
    interface: String,
    routed: bool,
}

impl Place {
    fn new(daemon: &Daemon, lease: Lease) -> Self {
        Self {
            address: lease.address(),
            lease: Some(lease),
            kernel: daemon.kernel.clone(),
            interface: daemon.config.dataplane.tun.clone(),
            routed: false,
        }
    }

    /// The address.
    #[must_use]
    pub const fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Tells the kernel of a session that the route of its pool does not describe: one with an
    /// address outside of all pools, or with a smaller MTU than the interface.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub async fn route(&mut self, daemon: &Daemon, mtu: u16) -> Result<(), KernelError> {
        let smaller = Some(mtu).filter(|mtu| *mtu < daemon.config.server.max_mtu);
        if smaller.is_some() || self.routed || !daemon.addresses.in_a_pool(self.address) {
            self.kernel.route_to_interface(host(self.address), &self.interface, smaller).await?;
            self.routed = true;
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Without a runtime the daemon is gone, and the interface with all its routes.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if !self.routed {
            return;
        }
        let (kernel, interface, lease) =
            (self.kernel.clone(), std::mem::take(&mut self.interface), self.lease.take());
        let destination = host(self.address);
        runtime.spawn(async move {
            if let Err(error) = kernel.unroute_from_interface(destination, &interface).await {
                debug!(%error, "route stays");
            }
            drop(lease);
        });
    }
}

const fn host(address: Ipv4Addr) -> Destination {
    Destination { address, length: 32 }
}

/// What was decided.
#[derive(Debug)]
pub enum Decision {
    /// The user may come in.
    Grant {
        /// Who.
        user: Arc<User>,
        /// The address; `None` keeps the one that the session has.
        place: Option<Place>,
        /// What IPCP assigns.
        addresses: link::Addresses,
        /// Whether the segment size of TCP connections is lowered.
        clamp_mss: bool,
        /// The keys and the proof for the peer.
        accepted: Accepted,
    },
    /// The peer is told that it may not.
    Refuse {
        /// In MS-CHAP's words.
        refusal: Refusal,
        /// In ours, for the log.
        reason: String,
    },
    /// The password is right, but there is nothing to give: the link is closed.
    Nothing {
        /// Why.
        reason: String,
    },
}

/// Decides. May wait for an older session of the same user to give its address back. A session
/// that authenticates anew, as `held` by user and address, keeps what it has.
pub async fn decide(
    daemon: &Daemon,
    attempt: &Attempt,
    held: Option<(String, Ipv4Addr)>,
) -> Decision {
    let refuse = |refusal, count, reason: &str| {
        daemon.counters.add(count);
        Decision::Refuse { refusal, reason: reason.to_owned() }
    };
    let Some(user) = daemon.users.find(&attempt.name) else {
        return refuse(Refusal::WrongPassword, Count::WrongPassword, "unknown user");
    };
    let Some(accepted) = attempt.verify(&user.nt_hash) else {
        return refuse(Refusal::WrongPassword, Count::WrongPassword, "wrong password");
    };
    if user.disabled {
        return refuse(Refusal::Disabled, Count::Disabled, "user is disabled");
    }
    let name = user.profile.as_ref().unwrap_or(&daemon.config.server.default_profile);
    let Some(profile) = daemon.profiles.get(name) else {
        return nothing(daemon, format!("profile `{name}` is not in the configuration"));
    };
    let (remote, place) = match held {
        Some((holder, address)) if holder == user.name => (address, None),
        _ => match place(daemon, &user, profile.pool.as_deref()).await {
            Ok(place) => (place.address(), Some(place)),
            Err(reason) => return nothing(daemon, reason),
        },
    };
    let addresses = link::Addresses {
        local: profile.local_address,
        remote,
        dns: profile.dns,
        wins: profile.wins,
    };
    Decision::Grant { user, place, addresses, clamp_mss: profile.clamp_mss, accepted }
}

/// The user's own address, or one of the pool.
async fn place(daemon: &Daemon, user: &User, pool: Option<&str>) -> Result<Place, String> {
    let lease = match (user.remote_address, pool) {
        (Some(address), _) => own_address(daemon, address, &user.name).await,
        (None, Some(pool)) => daemon.addresses.from_pool(pool, &user.name),
        (None, None) => return Err("neither the user has an address nor the profile".to_owned()),
    };
    lease.map(|lease| Place::new(daemon, lease)).map_err(|refusal| refusal.to_string())
}

fn nothing(daemon: &Daemon, reason: String) -> Decision {
    daemon.counters.add(Count::NoAddress);
    Decision::Nothing { reason }
}

/// A user who dials again before the old session was found dead takes its place: the address is
/// theirs, and they cannot be in two places with it.
async fn own_address(
    daemon: &Daemon,
    address: Ipv4Addr,
    user: &str,
) -> Result<Lease, pool::Refusal> {
    let tries = async {
        loop {
            match daemon.addresses.fixed(address, user) {
                Err(pool::Refusal::InUse { holder, .. }) if holder == user => {
                    let old = Selector { address: Some(address), ..Selector::default() };
                    daemon.sessions.disconnect(&old, &Ending::Replaced);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                answer => return answer,
            }
        }
    };
    match tokio::time::timeout(PATIENCE, tries).await {
        Ok(answer) => answer,
        Err(_) => Err(pool::Refusal::InUse { address, holder: user.to_owned() }),
    }
}
