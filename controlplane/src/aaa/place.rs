//! The place of a session in the inner network: its address, its interface if it has one to itself,
//! and what the kernel is told of it: routes, and whom to answer ARP for.
//!
//! Never gives either back before the kernel has forgotten the session.

use std::net::Ipv4Addr;

use dataplane::api::Device;
use protocol::ipv6::Ipv6Prefix;
use tracing::{debug, warn};

use super::landmarks::{Landmark, Landmarks};
use super::seats::Seat;
use crate::bindings::Claim;
use crate::config::Config;
use crate::daemon::Daemon;
use crate::host::{interface_exists, own_addresses};
use crate::ipv6::Given;
use crate::kernel::{Destination, Kernel, KernelError};
use crate::pool::Lease;
use crate::terms::{Route, Terms};

/// A seat and an address that a session has, perhaps an interface, and what the kernel knows of them.
/// Dropping it makes the kernel forget, and only then gives them back.
#[derive(Debug)]
pub struct Place {
    lease: Option<Lease>,
    ipv6: Option<Box<Given>>,
    claim: Option<Claim>,
    seat: Option<Seat>,
    kernel: Kernel,
    landmarks: Landmarks,
    /// The tunnel's outer ends: the peer's address and ours.
    outer: [Ipv4Addr; 2],
    told: Told,
}

/// What the kernel was told, of which interface.
#[derive(Debug, Default)]
struct Told {
    interface: String,
    /// Our end of the tunnel, on an interface of the session's own.
    local: Option<Ipv4Addr>,
    /// The way to the subscriber's address.
    host: Option<Destination>,
    /// What other sessions may have told it, too.
    landmarks: Vec<Landmark>,
    /// Prefixes of its own.
    prefixes: Vec<Ipv6Prefix>,
    /// Interfaces on which it answers ARP for the address.
    proxied: Vec<String>,
}

impl Place {
    /// A place without an address gets it by [`Self::settle`].
    pub(super) fn new(
        daemon: &Daemon,
        lease: Option<Lease>,
        ipv6: Option<Given>,
        claim: Option<Claim>,
        seat: Seat,
        outer: [Ipv4Addr; 2],
    ) -> Self {
        let interface = match &claim {
            Some(claim) => claim.device().name().to_owned(),
            None => daemon.config.dataplane.tun.clone(),
        };
        Self {
            lease,
            ipv6: ipv6.map(Box::new),
            claim,
            seat: Some(seat),
            kernel: daemon.kernel.clone(),
            landmarks: daemon.landmarks.clone(),
            outer,
            told: Told { interface, ..Told::default() },
        }
    }

    /// The address, unless the peer has yet to choose it.
    #[must_use]
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.lease.as_ref().map(Lease::address)
    }

    /// The networks behind the subscriber, once it has an address.
    #[must_use]
    pub fn networks(&self, config: &Config, terms: &Terms) -> Vec<Route> {
        let all = |address| networks(config, terms, address, self.outer).0;
        self.address().map(all).unwrap_or_default()
    }

    /// The address is decided about.
    pub fn settle(&mut self, lease: Lease) {
        self.lease = Some(lease);
    }

    /// Its IPv6, if it has any.
    #[must_use]
    pub fn ipv6(&self) -> Option<&Given> {
        self.ipv6.as_deref()
    }

    /// The interface that the session has to itself.
    #[must_use]
    pub fn device(&self) -> Option<&Device> {
        self.claim.as_ref().map(Claim::device)
    }

    /// Tells the kernel where the session is: by an interface of its own, or where the route of a
    /// pool does not describe it, because its address is outside of all pools or its MTU smaller
    /// than the interface's; the networks behind it; and where its address is a neighbour's. What
    /// it was told before and is no longer true it forgets.
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
        let Some(address) = self.address() else { return Ok(()) };
        let reached = self.reach(daemon, address, local, mtu).await;
        let common = self.raise(daemon, address, local, terms).await;
        let proxied = self.proxy_arp(address, &daemon.config.server.proxy_arp).await;
        reached.and(common).and(proxied)
    }

    /// Tells the kernel of the session's IPv6: prefixes by an interface of its own, or those that no
    /// pool's route covers.
    ///
    /// # Errors
    /// The first thing that the kernel refuses; all others are told.
    pub async fn route_ipv6(&mut self, daemon: &Daemon) -> Result<(), KernelError> {
        let Some(given) = &self.ipv6 else { return Ok(()) };
        let pools: Vec<Ipv6Prefix> = match self.claim {
            Some(_) => Vec::new(),
            None => daemon.config.ipv6_pool.iter().map(|pool| pool.prefix.0).collect(),
        };
        let mut result = Ok(());
        for prefix in given.unrouted(&pools) {
            if self.told.prefixes.contains(&prefix) {
                continue;
            }
            match self.kernel.route_ipv6(prefix, &self.told.interface).await {
                Ok(()) => self.told.prefixes.push(prefix),
                Err(error) => result = result.and(Err(error)),
            }
        }
        result
    }

    async fn reach(
        &mut self,
        daemon: &Daemon,
        address: Ipv4Addr,
        local: Ipv4Addr,
        mtu: u16,
    ) -> Result<(), KernelError> {
        let Self { kernel, told, claim, .. } = self;
        if claim.is_some() {
            kernel.bring_up(&told.interface, mtu).await?;
            kernel.add_address(&told.interface, local, Some(address)).await?;
            told.local = Some(local);
            return Ok(());
        }
        let smaller = Some(mtu).filter(|mtu| *mtu < daemon.config.server.inner_mtu());
        if smaller.is_some() || told.host.is_some() || !daemon.addresses.in_a_pool(address) {
            kernel.route_to_interface(host(address), &told.interface, smaller).await?;
            told.host = Some(host(address));
        }
        Ok(())
    }

    /// What other sessions may have in common with this one: our end of the tunnel on the common
    /// interface, and the networks behind the subscriber.
    async fn raise(
        &mut self,
        daemon: &Daemon,
        address: Ipv4Addr,
        local: Ipv4Addr,
        terms: &Terms,
    ) -> Result<(), KernelError> {
        let Self { kernel, landmarks, told, claim, outer, .. } = self;
        let interface = &told.interface;
        // The next router behind a tunnel is always the peer.
        let (networks, refused) = networks(&daemon.config, terms, address, *outer);
        for reason in refused {
            warn!(user = terms.user, reason, "a network behind the subscriber is left out");
        }
        let networks = networks.into_iter().map(|network| {
            let (destination, metric) = (network.destination, network.metric);
            Landmark::Route { interface: interface.clone(), destination, metric }
        });
        let end = claim.is_none().then(|| Landmark::End { interface: interface.clone(), local });
        let wanted: Vec<Landmark> = end.into_iter().chain(networks).collect();
        let had = std::mem::take(&mut told.landmarks);
        let (stay, go): (Vec<_>, Vec<_>) = had.into_iter().partition(|had| wanted.contains(had));
        told.landmarks = stay;
        for landmark in go {
            forgotten(landmarks.lower(kernel, landmark).await);
        }
        let mut result = Ok(());
        for landmark in wanted {
            if told.landmarks.contains(&landmark) {
                continue;
            }
            match landmarks.raise(kernel, &landmark).await {
                Ok(true) => told.landmarks.push(landmark),
                Ok(false) => {}
                Err(error) => result = result.and(Err(error)),
            }
        }
        result
    }

    async fn proxy_arp(
        &mut self,
        address: Ipv4Addr,
        interfaces: &[String],
    ) -> Result<(), KernelError> {
        // What is missing was told of at the start.
        for interface in interfaces.iter().filter(|name| interface_exists(name)) {
            let subnets = self.kernel.subnets(interface).await?;
            let is_neighbour =
                |subnet: &Destination| subnet.length < 32 && subnet.contains(address);
            if subnets.iter().any(is_neighbour) && !self.told.proxied.contains(interface) {
                self.kernel.proxy_arp(address, interface).await?;
                self.told.proxied.push(interface.clone());
            }
        }
        Ok(())
    }
}

impl Told {
    const fn is_nothing(&self) -> bool {
        self.local.is_none()
            && self.host.is_none()
            && self.landmarks.is_empty()
            && self.prefixes.is_empty()
            && self.proxied.is_empty()
    }

    async fn undo(self, kernel: &Kernel, landmarks: &Landmarks, address: Option<Ipv4Addr>) {
        if let Some(address) = address {
            for interface in &self.proxied {
                forgotten(kernel.unproxy_arp(address, interface).await);
            }
        }
        for landmark in self.landmarks {
            forgotten(landmarks.lower(kernel, landmark).await);
        }
        if let Some(host) = self.host {
            forgotten(kernel.unroute_from_interface(host, &self.interface).await);
        }
        for prefix in self.prefixes {
            forgotten(kernel.unroute_ipv6(prefix, &self.interface).await);
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
        let (kernel, landmarks) = (self.kernel.clone(), self.landmarks.clone());
        let address = self.address();
        let told = std::mem::take(&mut self.told);
        let (claim, lease, seat) = (self.claim.take(), self.lease.take(), self.seat.take());
        let ipv6 = self.ipv6.take();
        if told.is_nothing() {
            return;
        }
        self.landmarks.leave(async move {
            told.undo(&kernel, &landmarks, address).await;
            // Whoever waits for the address finds the interface free.
            drop(claim);
            drop(lease);
            drop(ipv6);
            drop(seat);
        });
    }
}

const fn host(address: Ipv4Addr) -> Destination {
    Destination { address, length: 32 }
}

/// The networks behind a subscriber that has this address, and why others of its terms are none:
/// packets of others, of this machine, or of the tunnel itself would go there.
fn networks(
    config: &Config,
    terms: &Terms,
    address: Ipv4Addr,
    outer: [Ipv4Addr; 2],
) -> (Vec<Route>, Vec<String>) {
    let all: Vec<Route> = terms.routes.iter().copied().chain(around(terms, address)).collect();
    if all.is_empty() {
        return Default::default();
    }
    let own = match own_addresses() {
        Ok(own) => own,
        Err(error) => {
            return (Vec::new(), vec![format!("routes: this machine's addresses: {error}")]);
        }
    };
    let (mut behind, mut refused) = (Vec::new(), Vec::new());
    for network in all {
        let holds = |address: &&Ipv4Addr| network.destination.contains(**address);
        let taken = match config.accepts_route(&network) {
            Err(reason) => Err(reason),
            Ok(()) => match outer.iter().chain(&own).find(holds) {
                Some(held) if *held == outer[0] => {
                    Err(format!("route `{network}`: it holds {held}, the peer's own outer address"))
                }
                Some(held) => {
                    Err(format!("route `{network}`: it holds {held}, which is this machine's"))
                }
                None => Ok(()),
            },
        };
        match taken {
            Ok(()) => behind.push(network),
            Err(reason) => refused.push(reason),
        }
    }
    (behind, refused)
}

/// Framed-IP-Netmask (RFC 2865 §5.9). One with holes is none.
fn around(terms: &Terms, address: Ipv4Addr) -> Option<Route> {
    let mask = terms.netmask.map(Ipv4Addr::to_bits).filter(|mask| {
        mask.leading_ones() == mask.count_ones() && (1..32).contains(&mask.count_ones())
    })?;
    let length = u8::try_from(mask.count_ones()).unwrap_or(32);
    Some(Route { destination: Destination::around(address, length), gateway: None, metric: 0 })
}
