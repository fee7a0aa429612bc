//! The place of a session in the inner network: its address, and the kernel's route to it.
//!
//! Taking one may wait for the older session of the same user that has the address. Never gives an
//! address back before the kernel's route to it is gone.

use std::net::Ipv4Addr;
use std::time::Duration;

use tracing::debug;

use crate::api::types::Selector;
use crate::daemon::Daemon;
use crate::daemon::ending::Ending;
use crate::kernel::{Destination, Kernel, KernelError};
use crate::pool::{self, Lease};
use crate::terms::{Remote, Terms};

/// How long a login waits for the session that has its address to end.
const PATIENCE: Duration = Duration::from_secs(5);

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
    pub(super) fn new(daemon: &Daemon, lease: Lease) -> Self {
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

/// The place that these terms mean.
///
/// # Errors
/// If there is none, with the reason for the log.
pub(super) async fn take(daemon: &Daemon, terms: &Terms) -> Result<Place, String> {
    let lease = match &terms.remote {
        Some(Remote::Address(address)) => own_address(daemon, *address, &terms.user).await,
        Some(Remote::Pool(pool)) => daemon.addresses.from_pool(pool, &terms.user),
        Some(Remote::PeerChoice) => return Err("the peer may not choose its address".to_owned()),
        None => return Err("neither the user has an address nor the profile".to_owned()),
    };
    lease.map(|lease| Place::new(daemon, lease)).map_err(|refusal| refusal.to_string())
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
