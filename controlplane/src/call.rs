//! A call: one PPP link machine and the tunnel that it runs through, on either side.
//!
//! What the link wants of the data plane is done here; what it wants of its owner (a verdict on a
//! login, to know that it ended) is handed on. Knows nothing of PPTP's control connection.

use std::net::Ipv4Addr;

use dataplane::api::{self, Limits, Rules};
use protocol::machine::{Action, drive};
use protocol::ppp::link::{Encryption, Event, Input, Link, Network, Phase, Reason};
use protocol::time::Instant;

use crate::clock::Clock;
use crate::kernel::Destination;
use crate::plane::Tunnel;

/// Whose packets pass through the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The peer's own address: it is a subscriber.
    Peer,
    /// Every address: the peer is the way to the world.
    Everything,
}

/// What bounds a tunnel's packets besides the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// Whether the segment size of TCP connections is lowered.
    pub clamp_mss: bool,
    /// Largest inner packet to the peer, bytes, where it is below the link's.
    pub mtu: Option<u16>,
    /// Networks behind the peer.
    pub behind: Vec<Destination>,
    /// How fast, each way.
    pub limits: Limits,
    /// Which packets of the peer pass.
    pub incoming: Rules,
    /// Which packets to the peer pass.
    pub outgoing: Rules,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            clamp_mss: true,
            mtu: None,
            behind: Vec::new(),
            limits: Limits::default(),
            incoming: Rules::default(),
            outgoing: Rules::default(),
        }
    }
}

/// A link and its tunnel.
#[derive(Debug)]
pub struct Call {
    link: Link,
    tunnel: Tunnel,
    clock: Clock,
    reach: Reach,
    bounds: Bounds,
    forward: api::Forward,
    /// Where Ethernet frames come from and go to, if the peer wants them too.
    tap: Option<api::Tap>,
    /// What the data plane lets pass, while the network is up.
    network: Option<Network>,
    ipv6: Option<api::Ipv6Network>,
    deadline: Option<Instant>,
}

impl Call {
    /// A link that waits for its opening.
    #[must_use]
    pub fn new(link: Link, tunnel: Tunnel, clock: Clock, reach: Reach) -> Self {
        Self {
            link,
            tunnel,
            clock,
            reach,
            bounds: Bounds::default(),
            forward: api::Forward::Fast,
            tap: None,
            network: None,
            ipv6: None,
            deadline: None,
        }
    }

    /// Bounds what passes from now on.
    pub async fn set_bounds(&mut self, bounds: Bounds) {
        let tunnel = self.tunnel.id();
        let before = std::mem::replace(&mut self.bounds, bounds);
        let now = &self.bounds;
        if before.limits != now.limits {
            let limits = now.limits;
            self.tunnel.command(api::Command::SetLimits { tunnel, limits }).await;
        }
        if before.incoming != now.incoming || before.outgoing != now.outgoing {
            let (incoming, outgoing) = (now.incoming.clone(), now.outgoing.clone());
            self.tunnel.command(api::Command::SetFilters { tunnel, incoming, outgoing }).await;
        }
        let network_differs = before.clamp_mss != now.clamp_mss
            || before.mtu != now.mtu
            || before.behind != now.behind;
        if network_differs && let Some(network) = &self.network {
            self.tunnel.command(self.open_network(network)).await;
        }
    }

    /// Says who forwards its packets from now on.
    pub async fn set_forward(&mut self, forward: api::Forward) {
        let tunnel = self.tunnel.id();
        self.forward = forward.clone();
        self.tunnel.command(api::Command::SetForward { tunnel, forward }).await;
        // It takes effect with the network.
        if let Some(network) = &self.network {
            self.tunnel.command(self.open_network(network)).await;
            self.show_running(true);
        }
        if self.ipv6.is_some() {
            let ipv6 = self.ipv6.clone();
            self.tunnel.command(api::Command::SetIpv6 { tunnel, ipv6 }).await;
        }
    }

    /// Says whose IPv6 passes from now on.
    pub async fn set_ipv6(&mut self, ipv6: Option<api::Ipv6Network>) {
        let tunnel = self.tunnel.id();
        if ipv6.is_some() || self.ipv6.is_some() {
            self.ipv6.clone_from(&ipv6);
            self.tunnel.command(api::Command::SetIpv6 { tunnel, ipv6 }).await;
        }
    }

    /// Sends the peer an IP packet, protected as data is.
    pub async fn send_packet(&self, packet: Box<[u8]>) {
        let tunnel = self.tunnel.id();
        self.tunnel.command(api::Command::SendPacket { tunnel, packet }).await;
    }

    /// Has Ethernet frames pass by this device once BCP is open.
    pub fn set_tap(&mut self, tap: Option<api::Tap>) {
        self.tap = tap;
    }

    /// By which device Ethernet frames pass.
    #[must_use]
    pub const fn tap(&self) -> Option<&api::Tap> {
        self.tap.as_ref()
    }

    /// Who forwards its packets.
    #[must_use]
    pub const fn forward(&self) -> &api::Forward {
        &self.forward
    }

    /// The tunnel.
    #[must_use]
    pub const fn tunnel(&self) -> &Tunnel {
        &self.tunnel
    }

    /// The clock of its machine.
    #[must_use]
    pub const fn clock(&self) -> Clock {
        self.clock
    }

    /// Where the link stands.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.link.phase()
    }

    /// Why the link ends, if it does.
    #[must_use]
    pub const fn ending(&self) -> Option<&Reason> {
        self.link.ending()
    }

    /// When [`Self::tick`] is due.
    #[must_use]
    pub const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Does what is due by now, and says what the owner has to know.
    pub async fn tick(&mut self) -> Vec<Event> {
        if self.deadline.is_none_or(|deadline| deadline > self.clock.now()) {
            return Vec::new();
        }
        // Only the data plane knows of traffic, and of echoes once the network is open.
        let mut events = match self.tunnel.heard() {
            Some(heard) => self.input(Input::Heard(heard)).await,
            None => Vec::new(),
        };
        events.extend(self.input(Input::Deadline).await);
        events
    }

    /// Tells the link something, and does what it wants of the data plane. Says what the owner has
    /// to know, in order.
    pub async fn input(&mut self, input: Input<'_>) -> Vec<Event> {
        let mut actions = Vec::new();
        self.deadline =
            drive(&mut self.link, input, self.clock.now(), |action| actions.push(action));
        let mut events = Vec::new();
        for action in actions {
            match action {
                Action::Send(frame) => {
                    let tunnel = self.tunnel.id();
                    self.tunnel.command(api::Command::SendControl { tunnel, frame }).await;
                }
                Action::Event(event) => {
                    match &event {
                        Event::NetworkUp(network) => {
                            self.network = Some(*network);
                            self.show_running(true);
                        }
                        Event::NetworkDown => {
                            self.network = None;
                            self.show_running(false);
                        }
                        _ => {}
                    }
                    if let Some(command) = self.command(&event) {
                        self.tunnel.command(command).await;
                    }
                    events.push(event);
                }
            }
        }
        events
    }

    fn show_running(&self, running: bool) {
        if let api::Forward::Device(device) = &self.forward {
            device.set_running(running);
        }
    }

    /// What an event means for the data plane.
    fn command(&self, event: &Event) -> Option<api::Command> {
        let tunnel = self.tunnel.id();
        match event {
            Event::FramingAgreed { framing, .. } => {
                let framing = api::Framing {
                    compress_address_control: framing.compress_address_control,
                    compress_protocol: framing.compress_protocol,
                };
                let magic = self.link.magic();
                Some(api::Command::SetFraming { tunnel, framing, magic })
            }
            Event::MultilinkAgreed(multilink) => {
                Some(api::Command::SetMultilink { tunnel, multilink: *multilink })
            }
            Event::Encryption(encryption) => {
                let encryption = match encryption {
                    Encryption::None => api::Encryption::None,
                    Encryption::Mppe { receive, send } => {
                        api::Encryption::Mppe { receive: receive.clone(), send: send.clone() }
                    }
                };
                Some(api::Command::SetEncryption { tunnel, encryption })
            }
            Event::BridgeUp(bridging) => {
                let (largest, tagged) = (bridging.largest, bridging.tagged);
                let bridge = self.tap.clone().map(|tap| api::Bridge { tap, largest, tagged });
                Some(api::Command::SetBridge { tunnel, bridge })
            }
            Event::BridgeDown => Some(api::Command::SetBridge { tunnel, bridge: None }),
            Event::NetworkUp(network) => Some(self.open_network(network)),
            Event::NetworkDown => Some(api::Command::SetNetwork { tunnel, network: None }),
            Event::Resynchronise => Some(api::Command::Flush { tunnel }),
            Event::Ipv6Up(_)
            | Event::Ipv6Down
            | Event::Step(_)
            | Event::Authenticate(_)
            | Event::AddressWanted(_)
            | Event::Down(_) => None,
        }
    }

    fn open_network(&self, network: &Network) -> api::Command {
        let own = match self.reach {
            Reach::Peer => api::Prefix::host(network.remote),
            Reach::Everything => api::Prefix { address: Ipv4Addr::UNSPECIFIED, length: 0 },
        };
        let behind = self.bounds.behind.iter();
        let behind = behind.map(|&Destination { address, length }| api::Prefix { address, length });
        // Which sources may come by an interface of the peer's own the kernel knows: routes that
        // name it are the operator's to make, and so are filters.
        let any = matches!(self.forward, api::Forward::Device(_))
            .then_some(api::Prefix { address: Ipv4Addr::UNSPECIFIED, length: 0 });
        let network = api::Network {
            prefixes: std::iter::once(own).chain(behind).chain(any).collect(),
            mtu: self.mtu(network),
            local: network.local,
            clamp_mss: self.bounds.clamp_mss,
        };
        api::Command::SetNetwork { tunnel: self.tunnel.id(), network: Some(network) }
    }

    /// Largest inner packet to the peer, bytes.
    #[must_use]
    pub fn mtu(&self, network: &Network) -> u16 {
        self.bounds.mtu.map_or(network.mtu, |mtu| mtu.min(network.mtu))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.show_running(false);
    }
}
