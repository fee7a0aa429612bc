//! What the kernel learns of a call: the interface's address and the routes that were asked for.
//!
//! All of it is taken away at the end, for the interface may stay. A server that lies behind one of
//! the routes keeps the way that it had, or the tunnel would run into itself.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::debug;

use crate::kernel::{Destination, Hop, Kernel, KernelError};
use crate::terms::Route;

/// The two halves of everything: more specific than a default route, so that one stays as it is.
const HALVES: [Destination; 2] = [
    Destination { address: Ipv4Addr::UNSPECIFIED, length: 1 },
    Destination { address: Ipv4Addr::new(128, 0, 0, 0), length: 1 },
];

const EVERYTHING: Destination = Destination { address: Ipv4Addr::UNSPECIFIED, length: 0 };

/// What is routed to the interface of a call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Through {
    /// These networks. The next router is always the server.
    pub routes: Vec<Route>,
    /// Everything, and how.
    pub default: Option<DefaultRoute>,
}

/// How everything is routed to an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultRoute {
    /// Before all other default routes.
    First,
    /// As a default route of this metric: the lowest one counts.
    Metric(u32),
}

/// Ways to servers that calls keep, shared by all that may call the same one.
#[derive(Debug, Clone, Default)]
pub struct Pins(Arc<Mutex<HashMap<Ipv4Addr, Pin>>>);

#[derive(Debug, Clone, Copy)]
struct Pin {
    hop: Hop,
    users: usize,
}

impl Pins {
    fn lock(&self) -> MutexGuard<'_, HashMap<Ipv4Addr, Pin>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the way to `server` as it is now.
    async fn hold(&self, kernel: &Kernel, server: Ipv4Addr) -> Result<(), KernelError> {
        if let Some(pin) = self.lock().get_mut(&server) {
            pin.users += 1;
            return Ok(());
        }
        let hop = kernel.hop_to(server).await?;
        kernel.pin(server, hop).await?;
        self.lock().entry(server).or_insert(Pin { hop, users: 0 }).users += 1;
        Ok(())
    }

    async fn release(&self, kernel: &Kernel, server: Ipv4Addr) {
        let gone = {
            let mut pins = self.lock();
            let Some(pin) = pins.get_mut(&server) else { return };
            pin.users -= 1;
            let gone = (pin.users == 0).then_some(pin.hop);
            if gone.is_some() {
                pins.remove(&server);
            }
            gone
        };
        if let Some(hop) = gone {
            undone(kernel.unpin(server, hop).await);
        }
    }
}

/// What was told to the kernel.
#[derive(Debug)]
pub struct Routes {
    kernel: Kernel,
    pins: Pins,
    interface: String,
    address: Option<Ipv4Addr>,
    routed: Vec<(Destination, u32)>,
    pinned: Option<Ipv4Addr>,
}

impl Routes {
    /// Nothing yet.
    #[must_use]
    pub const fn new(kernel: Kernel, pins: Pins) -> Self {
        Self {
            kernel,
            pins,
            interface: String::new(),
            address: None,
            routed: Vec::new(),
            pinned: None,
        }
    }

    /// The interface has its address.
    pub(super) async fn up(
        &mut self,
        interface: &str,
        mtu: u16,
        local: Ipv4Addr,
        remote: Option<Ipv4Addr>,
    ) -> Result<(), KernelError> {
        interface.clone_into(&mut self.interface);
        if let Some(old) = self.address.take_if(|old| *old != local) {
            undone(self.kernel.remove_address(interface, old).await);
        }
        self.kernel.bring_up(interface, mtu).await?;
        self.kernel.add_address(interface, local, remote).await?;
        self.address = Some(local);
        Ok(())
    }

    /// Adds the routes that were asked for. Returns those that the machine has already: they are
    /// somebody else's and stay, now and at the end.
    pub(super) async fn add(
        &mut self,
        through: &Through,
        server: Ipv4Addr,
    ) -> Result<Vec<Destination>, KernelError> {
        let mut wanted: Vec<_> =
            through.routes.iter().map(|route| (route.destination, route.metric)).collect();
        match through.default {
            Some(DefaultRoute::First) => wanted.extend(HALVES.map(|half| (half, 0))),
            Some(DefaultRoute::Metric(metric)) => wanted.push((EVERYTHING, metric)),
            None => {}
        }
        if wanted.iter().any(|(destination, _)| destination.contains(server)) {
            self.pins.hold(&self.kernel, server).await?;
            self.pinned = Some(server);
        }
        let mut others = Vec::new();
        for (destination, metric) in wanted {
            if self.kernel.route_by(destination, &self.interface, metric).await? {
                self.routed.push((destination, metric));
            } else {
                others.push(destination);
            }
        }
        Ok(others)
    }

    /// Takes all of it away.
    pub(super) async fn remove(&mut self) {
        for (destination, metric) in self.routed.drain(..) {
            undone(self.kernel.unroute_by(destination, &self.interface, metric).await);
        }
        if let Some(address) = self.address.take() {
            undone(self.kernel.remove_address(&self.interface, address).await);
        }
        if let Some(server) = self.pinned.take() {
            self.pins.release(&self.kernel, server).await;
        }
    }
}

/// Somebody else may have taken it away already.
fn undone(result: Result<(), KernelError>) {
    if let Err(error) = result {
        debug!(%error, "gone already");
    }
}
