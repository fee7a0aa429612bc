//! Who forwards a tunnel's packets, and the devices of tunnels that have one to themselves.
//!
//! The fast path is the workers'. What nftables, conntrack, tc or `ip rule` shall see goes by the
//! kernel both ways, on every driver.

use std::sync::Arc;

use crate::io::tun::{StandingTap, StandingTun};

/// Who forwards a tunnel's packets.
#[derive(Debug, Clone, Default)]
pub enum Forward {
    /// The workers, as far as they can.
    #[default]
    Fast,
    /// The kernel: what the tunnel brings goes there by the data plane's TUN, and what is for the
    /// tunnel comes from there.
    Kernel,
    /// The kernel, by a device that the tunnel has to itself: what the tunnel brings goes there by
    /// this device, and what the kernel sends by it goes into the tunnel, whatever its
    /// destination. No packet comes to the tunnel in another way.
    Device(Device),
}

/// A TUN device for one tunnel at a time, made by [`super::Handle::device`]. Clones share it; the
/// device goes with the last of them and of the tunnels on it.
#[derive(Debug, Clone)]
pub struct Device(pub(crate) Arc<StandingTun>);

impl Device {
    /// The interface's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// Whether the interface is still there: somebody may have deleted it.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.0.exists()
    }

    /// Shows in the kernel whether a tunnel is up on it: the interface's line. Waits for the
    /// kernel's lock of interfaces, which is why no worker does it.
    pub fn set_running(&self, running: bool) {
        self.0.set_carrier(running);
    }
}

/// A TAP device for one bridged tunnel, made by [`super::Handle::tap`]. Clones share it; the device
/// goes with the last of them and of the tunnels on it.
#[derive(Debug, Clone)]
pub struct Tap(pub(crate) Arc<StandingTap>);

impl Tap {
    /// The interface's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.name()
    }
}

/// Ethernet frames that pass a tunnel beside IP (RFC 3518).
#[derive(Debug, Clone)]
pub struct Bridge {
    /// Where they come from and go to.
    pub tap: Tap,
    /// The longest that is sent, octets without its check sequence.
    pub largest: u16,
    /// Whether the peer takes frames with VLAN tags.
    pub tagged: bool,
}
