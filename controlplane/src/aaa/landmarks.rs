//! What the kernel is told for several sessions at once: networks that are behind more than one, and
//! ends of tunnels of ours on the common interface. It stays until the last one has gone.
//!
//! Never takes away, and never replaces, what somebody else told the kernel.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::host::is_own_address;
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
#[derive(Debug, Clone, Default)]
pub struct Landmarks {
    /// Held while the kernel is told, so that it hears of a new one after it forgot the last one.
    needed: Arc<Mutex<HashMap<Landmark, usize>>>,
    /// What the kernel is being told of sessions that have ended.
    leaving: TaskTracker,
}

impl Landmarks {
    /// A session has ended: the kernel is told by and by, for its end waits for nobody. Without a
    /// runtime the daemon is gone, and the interface with all its routes.
    pub fn leave(&self, telling: impl Future<Output = ()> + Send + 'static) {
        if let Ok(runtime) = Handle::try_current() {
            self.leaving.spawn_on(telling, &runtime);
        }
    }

    /// Waits until the kernel knows of all sessions that have ended, or for so long.
    pub async fn finish(&self, patience: Duration) {
        self.leaving.close();
        if tokio::time::timeout(patience, self.leaving.wait()).await.is_err() {
            warn!(sessions = self.leaving.len(), "the kernel was not told of all ends in time");
        }
    }

    /// One more session needs it. `false`: the machine has it without us, and it is not to be
    /// lowered.
    ///
    /// # Errors
    /// If the kernel refuses, also because it has another route to the network.
    pub async fn raise(&self, kernel: &Kernel, landmark: &Landmark) -> Result<bool, KernelError> {
        let mut needed = self.needed.lock().await;
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
            // What cannot be asked is left as it is.
            Landmark::End { local, .. } if is_own_address(*local).unwrap_or(true) => {
                return Ok(false);
            }
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
        let mut needed = self.needed.lock().await;
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
