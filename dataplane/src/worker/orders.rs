//! What the control plane orders for a tunnel, carried out by its worker.
//!
//! Each order is whole before the next packet is looked at. Waits for nothing.

use super::Core;
use crate::api::{Bridge, Command, Forward, Multilink, TunnelId};
use crate::mailbox::{Destinations, destinations_ipv6};
use crate::table::{Inside, Way};
use crate::{bridge, downlink};

impl Core {
    pub(super) fn obey(&mut self, command: Command) {
        match command {
            Command::SendControl { tunnel, frame } => {
                downlink::send_control(self, tunnel, &frame);
            }
            Command::SetPeer { tunnel, peer_call_id, peer_window } => {
                if let Some(tunnel) = self.table.tunnel_by_id(tunnel) {
                    tunnel.meet(peer_call_id, peer_window);
                }
            }
            Command::SetFraming { tunnel, framing, magic } => {
                if let Some(tunnel) = self.table.tunnel_by_id(tunnel) {
                    (tunnel.framing, tunnel.magic) = (framing, magic);
                }
            }
            Command::SetMultilink { tunnel, multilink } => {
                if let Some(tunnel) = self.table.tunnel_by_id(tunnel) {
                    self.fragments.set(tunnel, multilink, &mut self.sink);
                }
            }
            Command::SetEncryption { tunnel, encryption } => {
                if let Some(tunnel) = self.table.tunnel_by_id(tunnel) {
                    tunnel.protect(encryption, self.now);
                }
            }
            Command::Flush { tunnel } => {
                let tunnel = self.table.tunnel_by_id(tunnel);
                if let Some(sender) = tunnel.and_then(|tunnel| tunnel.protection.sender()) {
                    sender.flush();
                }
            }
            Command::SetBridge { tunnel, bridge } => self.set_bridge(tunnel, bridge),
            Command::SetForward { tunnel, forward } => self.set_forward(tunnel, forward),
            Command::SetNetwork { tunnel: id, network } => {
                let Some(tunnel) = self.table.tunnel_by_id(id) else { return };
                let prefixes = network.as_ref().map_or(&[][..], |network| &network.prefixes);
                let destinations = Destinations::of(&tunnel.forward, prefixes);
                // They were for whoever had the tunnel's addresses until now.
                self.sink.empty_queue(tunnel, &mut self.waiting);
                tunnel.network = network.map(Inside::from);
                self.table.set_destinations(id, destinations);
            }
            Command::SetIpv6 { tunnel: id, ipv6 } => {
                let Some(tunnel) = self.table.tunnel_by_id(id) else { return };
                let prefixes = destinations_ipv6(&tunnel.forward, ipv6.as_ref());
                tunnel.ipv6 = ipv6.map(Box::new);
                self.table.set_destinations_ipv6(id, prefixes);
            }
            Command::SendPacket { tunnel, packet } => {
                downlink::send_packet(self, tunnel, &packet);
            }
            Command::SetLimits { tunnel, limits } => {
                if let Some(tunnel) = self.table.tunnel_by_id(tunnel) {
                    tunnel.limit(limits, &mut self.waiting, self.now);
                }
            }
            Command::SetFilters { tunnel, incoming, outgoing } => {
                if let Some(tunnel) = self.table.tunnel_by_id(tunnel) {
                    tunnel.filter(incoming, outgoing);
                }
            }
        }
    }

    fn set_forward(&mut self, id: TunnelId, forward: Forward) {
        let Some(tunnel) = self.table.tunnel_by_id(id) else { return };
        if let Way::Device(place) = tunnel.way {
            self.devices.detach(place, &mut self.sink);
        }
        tunnel.way = match &forward {
            Forward::Fast => Way::Fast,
            Forward::Kernel => Way::Kernel,
            Forward::Device(device) => match device.0.port() {
                Ok(port) => Way::Device(self.devices.attach(Box::new(port), id.slot)),
                Err(error) => {
                    tracing::error!(%error, device = device.name(), "a device has no port");
                    Way::Nowhere
                }
            },
        };
        tunnel.forward = forward;
    }

    fn set_bridge(&mut self, id: TunnelId, bridge: Option<Bridge>) {
        let Some(tunnel) = self.table.tunnel_by_id(id) else { return };
        if let Some(before) = tunnel.bridge.take() {
            self.devices.detach(before.place, &mut self.sink);
        }
        let Some(bridge) = bridge else { return };
        match bridge.tap.0.port() {
            Ok(port) => {
                let place = self.devices.attach(Box::new(port), id.slot);
                tunnel.bridge = Some(Box::new(bridge::State::new(&bridge, place)));
            }
            Err(error) => tracing::error!(%error, tap = bridge.tap.name(), "a TAP has no port"),
        }
    }

    /// Forgets a tunnel. Its device is free for another one, and what waited for its rate goes.
    pub(super) fn close(&mut self, id: TunnelId) {
        self.end_move(id);
        self.set_forward(id, Forward::Fast);
        self.set_bridge(id, None);
        if let Some(tunnel) = self.table.tunnel_by_id(id) {
            self.sink.empty_queue(tunnel, &mut self.waiting);
            self.fragments.set(tunnel, Multilink::default(), &mut self.sink);
        }
        self.table.close(id);
    }
}
