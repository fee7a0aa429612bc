//! Bridging beside IP: BCP goes its way as IPV6CP does, and never holds up or ends a login.
//!
//! Implements RFC 3518 §4.1 (the phases of BCP). Carries no frame.

use crate::ppp::automaton::State;
use crate::ppp::bcp::{Bcp, HEADER};
use crate::ppp::multilink::offer::Offer;
use crate::ppp::negotiation::{Layer, Signal};
use crate::ppp::packet::Packet;
use crate::time::Instant;

use super::{Bridging, Event, Link, Phase, Step};

impl Link {
    /// Whether the login was given a bridge, or wants one as a client.
    pub(super) fn has_bridge(&self) -> bool {
        self.config.bridge || self.addresses.is_some_and(|addresses| addresses.bridge)
    }

    /// A request that comes before CCP is open is repeated; no login waits for it.
    pub(super) fn bcp_packet(&mut self, payload: &[u8], now: Instant) {
        let Ok(packet) = Packet::parse(payload) else { return };
        if self.phase != Phase::Ccp
            && let Some(layer) = &mut self.bcp
            && let Some(signal) = layer.receive(packet, now, &mut self.out)
        {
            self.bcp_signal(signal, now);
        }
    }

    pub(super) fn start_bcp(&mut self, now: Instant) {
        if self.has_bridge() {
            let mut layer = Layer::new(Bcp::new(), self.config.timers);
            layer.begin(now, &mut self.out);
            self.bcp = Some(Box::new(layer));
        }
    }

    pub(super) fn bcp_signal(&mut self, signal: Signal, now: Instant) {
        let whole = self.whole_mtu();
        let Some(layer) = &mut self.bcp else { return };
        match signal {
            Signal::Up => {
                // Reassembly takes what IP's MTU does not show: an Ethernet header, and tags.
                let unit = self.lcp.policy.multilink().and_then(Offer::unit);
                let inner =
                    unit.map_or(whole, |unit| unit.saturating_sub(super::phases::MPPE_OVERHEAD));
                let header = u16::try_from(HEADER.len()).unwrap_or_default();
                let largest = inner.saturating_sub(header);
                let tagged = layer.policy.peer_takes_tagged();
                self.out.event(Event::Step(Step::BcpUp));
                self.out.event(Event::BridgeUp(Bridging { largest, tagged }));
            }
            Signal::Down => self.out.event(Event::BridgeDown),
            Signal::Dispute => {
                if layer.close("no agreement", now, &mut self.out) == Some(Signal::Down) {
                    self.out.event(Event::BridgeDown);
                }
            }
            Signal::Finished | Signal::Extra => {}
        }
    }

    /// What it stood on is gone.
    pub(super) fn end_bcp(&mut self) {
        let was_open = self.bcp.take().is_some_and(|layer| layer.state() == State::Opened);
        if was_open {
            self.out.event(Event::BridgeDown);
        }
    }
}
