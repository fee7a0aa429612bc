//! What we are to the host at the other end of a session beside moving its packets: its router in
//! IPv6, and who answers its DHCP.
//!
//! The machine is `protocol::router`; here it learns what the session has, and its packets go into
//! the tunnel. Nothing is said before both IPCP and, for IPv6, IPV6CP are open.

use std::net::Ipv6Addr;
use std::sync::Arc;

use dataplane::api;
use protocol::machine::{Action, drive};
use protocol::ppp::link::{Identifiers, Network};
use protocol::router::{Event, Input, Ipv4Settings, Lifetimes, Router, Settings};
use protocol::time::Instant;
use tracing::{debug, warn};

use crate::call::Call;
use crate::ipv6::{Given, SMALLEST_MTU};
use crate::terms::Terms;

/// The router's end of a session.
#[derive(Debug, Default)]
pub(super) struct Gateway {
    router: Router,
    next: Option<Instant>,
    network: Option<Network>,
    identifiers: Option<Identifiers>,
}

/// What a session has, for its router.
pub(super) struct Circumstances<'a> {
    pub(super) terms: &'a Terms,
    pub(super) given: Option<&'a Given>,
    pub(super) duid: &'a Arc<[u8]>,
    pub(super) session: u64,
}

impl Gateway {
    /// When [`Self::tick`] is due.
    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.next
    }

    /// IPCP is open, or no longer.
    pub(super) const fn set_network(&mut self, network: Option<Network>) {
        self.network = network;
    }

    /// IPV6CP is open, or no longer.
    pub(super) const fn set_identifiers(&mut self, identifiers: Option<Identifiers>) {
        self.identifiers = identifiers;
    }

    /// Has data plane and host know what holds now.
    pub(super) async fn refresh(&mut self, call: &mut Call, about: &Circumstances<'_>) {
        let ipv4 = self.network.as_ref().map(|network| ipv4_settings(network, about.terms));
        self.say(call, Input::Ipv4(ipv4), about.session).await;
        let settings = self.ipv6_settings(call, about);
        let inside = settings.as_ref().and_then(|settings| {
            Some(api::Ipv6Network {
                prefixes: about.given?.all().collect(),
                local: about.terms.ipv6.local.unwrap_or_else(|| own_address(settings)),
                peer: settings.remote.link_local(),
            })
        });
        call.set_ipv6(inside).await;
        self.say(call, Input::Ipv6(settings), about.session).await;
    }

    /// The host said something to its router.
    pub(super) async fn packet(&mut self, call: &Call, packet: &[u8], session: u64) {
        self.say(call, Input::Packet(packet), session).await;
    }

    /// Does what is due by now.
    pub(super) async fn tick(&mut self, call: &Call, session: u64) {
        if self.next.is_some_and(|at| at <= call.clock().now()) {
            self.say(call, Input::Deadline, session).await;
        }
    }

    async fn say(&mut self, call: &Call, input: Input<'_>, session: u64) {
        let mut packets = Vec::new();
        self.next = drive(&mut self.router, input, call.clock().now(), |action| match action {
            Action::Send(packet) => packets.push(packet),
            Action::Event(Event::Delegated) => debug!(session, "IPv6 prefix delegated"),
            Action::Event(Event::Released) => debug!(session, "IPv6 prefix given back"),
        });
        for packet in packets {
            call.send_packet(packet).await;
        }
    }

    fn ipv6_settings(&self, call: &Call, about: &Circumstances<'_>) -> Option<Settings> {
        let (network, identifiers) = (self.network.as_ref()?, self.identifiers?);
        let given = about.given?;
        let mtu = call.mtu(network);
        if mtu < SMALLEST_MTU {
            warn!(session = about.session, mtu, "no IPv6: its links have 1280 bytes at least");
            return None;
        }
        Some(Settings {
            local: identifiers.local,
            remote: identifiers.remote,
            prefix: given.prefix(),
            delegated: given.delegated(),
            dns: about.terms.ipv6.dns.clone(),
            domain: about.terms.domain.clone(),
            mtu,
            duid: Arc::clone(about.duid),
            lifetimes: Lifetimes::default(),
        })
    }
}

/// Our address in a prefix of the link's own, where we have no other: errors come from it.
fn own_address(settings: &Settings) -> Ipv6Addr {
    let prefix =
        settings.prefix.or(settings.delegated).map_or(0, |prefix| prefix.address().to_bits());
    Ipv6Addr::from_bits(prefix | u128::from(settings.local.bits()))
}

fn ipv4_settings(network: &Network, terms: &Terms) -> Ipv4Settings {
    Ipv4Settings {
        local: network.local,
        remote: network.remote,
        dns: terms.dns,
        wins: terms.wins,
        domain: terms.domain.clone(),
        routes: terms.dhcp_routes.iter().map(|route| (route.address, route.length)).collect(),
    }
}
