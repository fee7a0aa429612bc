//! What the kernel is told for several sessions at once: networks that are behind more than one, and
//! ends of tunnels of ours on the common interface. It stays until the last one has gone.
//!
//! Never takes away, and never replaces, what somebody else told the kernel.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use tokio::sync::Mutex;

use crate::daemon::plan::is_ours;
use crate::kernel::{Destination, Kernel, KernelError};

/// Something that the kernel is told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Landmark {
    /// A network is reached by an interface.
    Route {
        /// Which.
        interface: String,
        /// The network.
        destination: Destination,
        /// The kernel prefers the route with the lower one.
        metric: u32,
    },
    /// An interface has our end of a tunnel.
    End {
        /// Which.
        interface: String,
        /// Our address.
        local: Ipv4Addr,
    },
}

/// How many sessions need each. Clones share it.
///
/// Held while the kernel is told, so that it hears of a new one after it forgot the last one.
#[derive(Debug, Clone, Default)]
pub struct Landmarks(Arc<Mutex<HashMap<Landmark, usize>>>);

impl Landmarks {
    /// One more session needs it. `false`: the machine has it without us, and it is not to be
    /// lowered.
    ///
    /// # Errors
    /// If the kernel refuses, also because it has another route to the network.
    pub async fn raise(&self, kernel: &Kernel, landmark: &Landmark) -> Result<bool, KernelError> {
        let mut needed = self.0.lock().await;
        if let Some(count) = needed.get_mut(landmark) {
            *count += 1;
            return Ok(true);
        }
        match landmark {
            Landmark::Route { interface, destination, metric } => {
                if !kernel.route_if_new(*destination, interface, *metric).await? {
                    return Ok(false);
                }
            }
            Landmark::End { local, .. } if is_ours(*local) => return Ok(false),
            Landmark::End { interface, local } => {
                kernel.add_address(interface, *local, None).await?;
            }
        }
        needed.insert(landmark.clone(), 1);
        Ok(true)
    }

    /// One session less needs it.
    ///
    /// # Errors
    /// If the kernel does not know it any more.
    pub async fn lower(&self, kernel: &Kernel, landmark: Landmark) -> Result<(), KernelError> {
        let mut needed = self.0.lock().await;
        match needed.get_mut(&landmark) {
            Some(count) if *count > 1 => {
                *count -= 1;
                return Ok(());
            }
            Some(_) => _ = needed.remove(&landmark),
            None => return Ok(()),
        }
        match landmark {
            Landmark::Route { interface, destination, metric } => {
                kernel.unroute_by(destination, &interface, metric).await
            }
            Landmark::End { interface, local } => kernel.remove_address(&interface, local).await,
        }
    }
}
