//! What the kernel learns of a call: the interface's address and the routes that were asked for.
//!
//! Routes by the interface go with it. The route that keeps the server reachable beside a default
//! route through the tunnel is taken away at the end.

use std::net::Ipv4Addr;

use super::arguments::{Arguments, YesNo};
use crate::kernel::{Destination, Hop, Kernel, KernelError};

/// The two halves of everything: more specific than a default route, so that one stays as it is.
const HALVES: [Destination; 2] = [
    Destination { address: Ipv4Addr::UNSPECIFIED, length: 1 },
    Destination { address: Ipv4Addr::new(128, 0, 0, 0), length: 1 },
];

/// What was told to the kernel.
#[derive(Debug)]
pub(super) struct Routes {
    kernel: Kernel,
    server: Ipv4Addr,
    to_server: Option<Hop>,
}

impl Routes {
    pub(super) const fn new(kernel: Kernel, server: Ipv4Addr) -> Self {
        Self { kernel, server, to_server: None }
    }

    /// The interface has its address.
    pub(super) async fn up(
        &self,
        interface: &str,
        mtu: u16,
        local: Ipv4Addr,
        remote: Option<Ipv4Addr>,
    ) -> Result<(), KernelError> {
        self.kernel.bring_up(interface, mtu).await?;
        self.kernel.add_address(interface, local, remote).await
    }

    /// Adds the routes that were asked for.
    pub(super) async fn add(
        &mut self,
        arguments: &Arguments,
        interface: &str,
    ) -> Result<(), KernelError> {
        let mut through = arguments.route.clone();
        if arguments.add_default_route == YesNo::Yes {
            through.extend(HALVES);
        }
        let server = self.server_itself();
        if through.iter().any(|destination| destination.contains(self.server)) {
            let hop = self.kernel.hop_to(self.server).await?;
            self.kernel.add(server, hop).await?;
            self.to_server = Some(hop);
        }
        for destination in through {
            self.kernel.route_to_interface(destination, interface, None).await?;
        }
        Ok(())
    }

    /// Takes away what does not go with the interface.
    pub(super) async fn remove(&mut self) {
        if let Some(hop) = self.to_server.take() {
            // Somebody else may have taken it away already.
            let _ = self.kernel.remove(self.server_itself(), hop).await;
        }
    }

    const fn server_itself(&self) -> Destination {
        Destination { address: self.server, length: 32 }
    }
}
