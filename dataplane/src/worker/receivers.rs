//! Whom an Ethernet frame is for: the MAC addresses of this machine, as its routes know interfaces.
//!
//! A link brings frames of others, too: a switch floods what it has not learned. XDP sees them before
//! the kernel would turn them away (`PACKET_OTHERHOST`), so workers do. Never looks behind the address.

use std::sync::Arc;

use super::{Attached, Kind};
use crate::route::{Interfaces, Snapshot};

/// Octets of a MAC address.
const LEN: usize = 6;

/// The addresses that frames are for.
#[derive(Debug, Default)]
pub(super) struct Receivers {
    /// By port: the index of its interface.
    ports: Vec<u32>,
    /// By port: the interface's own, which nearly all frames have. `None` where it is not known, and
    /// every frame is taken.
    own: Vec<Option<[u8; LEN]>>,
    /// Those of all interfaces, in order: VLANs, bonds and macvlans (VRRP) above a port may have
    /// others than the port.
    all: Vec<[u8; LEN]>,
    /// What the above was taken from.
    interfaces: Arc<Interfaces>,
}

impl Receivers {
    pub(super) fn new(ports: &[Attached]) -> Self {
        let ifindex = |port: &Attached| match port.kind {
            Kind::Interface(ifindex) => ifindex,
            Kind::Raw | Kind::Tun => 0,
        };
        Self {
            ports: ports.iter().map(ifindex).collect(),
            own: vec![None; ports.len()],
            ..Self::default()
        }
    }

    /// Takes over what routes know of interfaces, if that changed.
    pub(super) fn renew(&mut self, snapshot: &Snapshot) {
        let interfaces = snapshot.interfaces();
        if Arc::ptr_eq(&self.interfaces, interfaces) {
            return;
        }
        self.interfaces = Arc::clone(interfaces);
        for (own, ifindex) in self.own.iter_mut().zip(&self.ports) {
            *own = snapshot.interface(*ifindex).and_then(|interface| interface.mac);
        }
        self.all.clear();
        self.all.extend(interfaces.values().filter_map(|interface| interface.mac));
        self.all.sort_unstable();
    }

    /// Those of a port's frames.
    #[inline]
    pub(super) fn of_port(&self, port: usize) -> Receiver<'_> {
        Receiver { own: self.own.get(port).copied().flatten(), all: &self.all }
    }
}

/// Whom frames of one port are for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Receiver<'a> {
    own: Option<[u8; LEN]>,
    all: &'a [[u8; LEN]],
}

impl Receiver<'_> {
    /// Whether a frame is for this machine. One that is cut short is nobody's.
    #[inline]
    pub(super) fn takes(self, frame: &[u8]) -> bool {
        let Some(own) = self.own else { return true };
        frame.first_chunk().is_some_and(|to| *to == own || self.has(to))
    }

    #[cold]
    fn has(self, to: &[u8; LEN]) -> bool {
        self.all.binary_search(to).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::tests::{Port, links};

    const MACS: [[u8; LEN]; 3] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 3]];

    fn frame(to: [u8; LEN]) -> Vec<u8> {
        [&to[..], &[2, 0, 0, 0, 1, 1, 0x08, 0x00, 0x45]].concat()
    }

    #[test]
    fn a_port_takes_frames_for_any_interface_of_the_machine_as_it_is_now() {
        let port = |ifindex, mac| Port {
            ifindex,
            mac,
            prefix: "198.51.100.0/24",
            neighbour: ([198, 51, 100, 1].into(), [2, 0, 0, 0, 9, 9]),
        };
        let mut receivers =
            Receivers { ports: vec![1, 7], own: vec![None; 2], ..Receivers::default() };
        let takes =
            |receivers: &Receivers, at| MACS.map(|mac| receivers.of_port(at).takes(&frame(mac)));
        assert_eq!(takes(&receivers, 0), [true; 3], "no interface is known");
        receivers.renew(&links(&[port(1, MACS[0]), port(2, MACS[1])]).load());
        assert_eq!(takes(&receivers, 0), [true, true, false]);
        assert_eq!(takes(&receivers, 1), [true; 3], "this one is not");
        assert!(!receivers.of_port(0).takes(&frame(MACS[0])[..5]));
        receivers.renew(&links(&[port(1, MACS[2]), port(2, MACS[1])]).load());
        assert_eq!(takes(&receivers, 0), [false, true, true]);
    }
}
