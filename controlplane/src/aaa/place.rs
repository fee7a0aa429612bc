//! The place of a session in the inner network: its address, its interface if it has one to itself,
//! and what the kernel is told of it: routes, and whom to answer ARP for.
//!
//! Taking one may wait for the older session of the same user that has the address or the
//! interface. Never gives either back before the kernel has forgotten the session.

use std::net::Ipv4Addr;
use std::time::Duration;

use dataplane::api::Device;
use tracing::debug;

use super::seats::Seat;
use crate::api::types::Selector;
use crate::bindings::{Claim, Refused};
use crate::daemon::Daemon;
use crate::daemon::ending::Ending;
use crate::daemon::plan::is_ours;
use crate::kernel::{Destination, Kernel, KernelError};
use crate::pool::{self, Lease};
use crate::terms::{Remote, Route, Terms};

/// How long a login waits for the session that has its address or interface to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it looks.
const INTERVAL: Duration = Duration::from_millis(20);

/// A seat and an address that a session has, perhaps an interface, and what the kernel knows of them.
/// Dropping it makes the kernel forget, and only then gives them back.
#[derive(Debug)]
pub struct Place {
    address: Ipv4Addr,
    lease: Option<Lease>,
    claim: Option<Claim>,
    seat: Option<Seat>,
    kernel: Kernel,
    told: Told,
}

/// What the kernel was told, of which interface.
#[derive(Debug, Default)]
struct Told {
    interface: String,
    /// Our end of the tunnel, on an interface of the session's own.
    local: Option<Ipv4Addr>,
    /// By destination and metric.
    routes: Vec<(Destination, u32)>,
    /// Interfaces on which it answers ARP for the address.
    proxied: Vec<String>,
}

impl Place {
    fn new(daemon: &Daemon, lease: Lease, claim: Option<Claim>, seat: Seat) -> Self {
        let interface = match &claim {
            Some(claim) => claim.device().name().to_owned(),
            None => daemon.config.dataplane.tun.clone(),
        };
        Self {
            address: lease.address(),
            lease: Some(lease),
            claim,
            seat: Some(seat),
            kernel: daemon.kernel.clone(),
            told: Told { interface, ..Told::default() },
        }
    }

    /// The address.
    #[must_use]
    pub const fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The interface that the session has to itself.
    #[must_use]
    pub fn device(&self) -> Option<&Device> {
        self.claim.as_ref().map(Claim::device)
    }

    /// Tells the kernel where the session is: by an interface of its own, or where the route of a
    /// pool does not describe it, because its address is outside of all pools or its MTU smaller
    /// than the interface's; the networks behind it; and where its address is a neighbour's.
    ///
    /// # Errors
    /// The first thing that the kernel refuses; all others are told.
    pub async fn route(
        &mut self,
        daemon: &Daemon,
        local: Ipv4Addr,
        mtu: u16,
        terms: &Terms,
    ) -> Result<(), KernelError> {
        let reached = self.reach(daemon, local, mtu).await;
        let routed = self.route_networks(&networks(terms, self.address)).await;
        let proxied = self.proxy_arp(&daemon.config.server.proxy_arp).await;
        reached.and(routed).and(proxied)
    }

    async fn reach(
        &mut self,
        daemon: &Daemon,
        local: Ipv4Addr,
        mtu: u16,
    ) -> Result<(), KernelError> {
        let Self { kernel, told, address, .. } = self;
        if self.claim.is_some() {
            kernel.bring_up(&told.interface, mtu).await?;
            kernel.add_address(&told.interface, local, Some(*address)).await?;
            told.local = Some(local);
            return Ok(());
        }
        if !is_ours(local) {
            // A user's own local-address; it stays for the user's next session.
            kernel.add_address(&told.interface, local, None).await?;
        }
        let smaller = Some(mtu).filter(|mtu| *mtu < daemon.config.server.max_mtu);
        let own = (host(*address), 0);
        let routed = told.routes.contains(&own);
        if smaller.is_some() || routed || !daemon.addresses.in_a_pool(*address) {
            kernel.route_to_interface(host(*address), &told.interface, smaller).await?;
            if !routed {
                told.routes.push(own);
            }
        }
        Ok(())
    }

    async fn route_networks(&mut self, networks: &[Route]) -> Result<(), KernelError> {
        for network in networks {
            let route = (network.destination, network.metric);
            if self.told.routes.contains(&route) {
                continue;
            }
            // The next router behind a tunnel is always the peer.
            self.kernel.route_by(route.0, &self.told.interface, route.1).await?;
            self.told.routes.push(route);
        }
        Ok(())
    }

    async fn proxy_arp(&mut self, interfaces: &[String]) -> Result<(), KernelError> {
        for interface in interfaces {
            let subnets = self.kernel.subnets(interface).await?;
            let is_neighbour =
                |subnet: &Destination| subnet.length < 32 && subnet.contains(self.address);
            if subnets.iter().any(is_neighbour) && !self.told.proxied.contains(interface) {
                self.kernel.proxy_arp(self.address, interface).await?;
                self.told.proxied.push(interface.clone());
            }
        }
        Ok(())
    }
}

impl Told {
    async fn undo(self, kernel: &Kernel, address: Ipv4Addr) {
        for interface in &self.proxied {
            forgotten(kernel.unproxy_arp(address, interface).await);
        }
        for (destination, metric) in self.routes {
            forgotten(kernel.unroute_by(destination, &self.interface, metric).await);
        }
        if let Some(local) = self.local {
            forgotten(kernel.remove_address(&self.interface, local).await);
        }
    }
}

/// Somebody else may have taken it away already.
fn forgotten(result: Result<(), KernelError>) {
    if let Err(error) = result {
        debug!(%error, "the kernel had forgotten");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Without a runtime the daemon is gone, and the interface with all its routes.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (kernel, address) = (self.kernel.clone(), self.address);
        let told = std::mem::take(&mut self.told);
        let (claim, lease, seat) = (self.claim.take(), self.lease.take(), self.seat.take());
        if told.local.is_none() && told.routes.is_empty() && told.proxied.is_empty() {
            return;
        }
        runtime.spawn(async move {
            told.undo(&kernel, address).await;
            // Whoever waits for the address finds the interface free.
            drop(claim);
            drop(lease);
            drop(seat);
        });
    }
}

const fn host(address: Ipv4Addr) -> Destination {
    Destination { address, length: 32 }
}

/// The networks behind a subscriber that has this address.
#[must_use]
pub fn networks(terms: &Terms, address: Ipv4Addr) -> Vec<Route> {
    // Framed-IP-Netmask (RFC 2865 §5.9). One with holes is none.
    let around = terms.netmask.map(Ipv4Addr::to_bits).filter(|mask| {
        mask.leading_ones() == mask.count_ones() && (1..32).contains(&mask.count_ones())
    });
    let around = around.map(|mask| Route {
        destination: Destination::around(address, u8::try_from(mask.count_ones()).unwrap_or(32)),
        gateway: None,
        metric: 0,
    });
    terms.routes.iter().copied().chain(around).collect()
}

/// The place that these terms mean, for the session that has this seat.
///
/// # Errors
/// If there is none, with the reason for the log.
pub(super) async fn take(daemon: &Daemon, terms: &Terms, seat: Seat) -> Result<Place, String> {
    let lease = match &terms.remote {
        Some(Remote::Address(address)) => own_address(daemon, *address, &terms.user).await,
        Some(Remote::Pool(pool)) => daemon.addresses.from_pool(pool, &terms.user),
        Some(Remote::PeerChoice) => return Err("the peer may not choose its address".to_owned()),
        None => return Err("neither the user has an address nor the profile".to_owned()),
    };
    let lease = lease.map_err(|refusal| refusal.to_string())?;
    let claim = own_interface(daemon, &terms.user).await?;
    Ok(Place::new(daemon, lease, claim, seat))
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
                    tokio::time::sleep(INTERVAL).await;
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

/// The same for an interface: packets of a bound user pass no other way, or the rules that name the
/// interface would not see them.
async fn own_interface(daemon: &Daemon, user: &str) -> Result<Option<Claim>, String> {
    let tries = async {
        loop {
            match daemon.bindings.claim(user) {
                Ok(claim) => return Some(claim),
                Err(Refused::None) => return None,
                Err(Refused::Taken(name)) => {
                    for session in daemon.sessions.all() {
                        if session.facts().interface.as_deref() == Some(name) {
                            session.disconnect(Ending::Replaced);
                        }
                    }
                    tokio::time::sleep(INTERVAL).await;
                }
            }
        }
    };
    let waited = tokio::time::timeout(PATIENCE, tries).await;
    waited.map_err(|_| "the user's interface is in use".to_owned())
}
