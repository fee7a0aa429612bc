//! The way from one phase of a link to the next, and to its end.
//!
//! Implements RFC 1661 §3. Keys never outlive the authentication that made them: whatever takes
//! LCP or CCP out of Opened ends in a new authentication or in the end of the link, since MPPE's
//! initial keys must not encrypt twice.

use std::net::Ipv4Addr;

use crate::mppe::{Cipher, Sender};
use crate::ppp::auth::running::{Demand, Outcome, Running};
use crate::ppp::auth::{Failure, StartKeys};
use crate::ppp::automaton::State;
use crate::ppp::ccp::{Ccp, Level, Proposal, Strengths};
use crate::ppp::frame::Protocol;
use crate::ppp::ipcp::{self, Ipcp};
use crate::ppp::ipv6cp::Ipv6cp;
use crate::ppp::lcp::{self, DEFAULT_MRU};
use crate::ppp::multilink::Multilink;
use crate::ppp::multilink::offer::Offer;
use crate::ppp::negotiation::{Layer, Signal};
use crate::ppp::options::Options;
use crate::ppp::packet::{Packet, code};
use crate::time::Instant;

use super::{
    Encryption, Event, Identifiers, Link, Network, Phase, Reason, Role, Side, Step, Verdict,
};

/// MPPE's header and the inner protocol field inside the peer's MRU (RFC 3078 §3).
pub(super) const MPPE_OVERHEAD: u16 = 4;
/// IP 20, GRE 16, PPP header 4, MPPE 2, inner protocol 2.
const OUTER_OVERHEAD: u16 = 44;

impl Link {
    pub(super) fn lcp_signal(&mut self, signal: Signal, packet: Option<Packet<'_>>, now: Instant) {
        match signal {
            Signal::Up => self.lcp_up(now),
            Signal::Down => self.lcp_down(packet.map(|packet| packet.code), now),
            Signal::Finished => self.end(),
            Signal::Extra => {
                if let Some(packet) = packet {
                    self.lcp_extra(packet, now);
                }
            }
            Signal::Dispute => {
                let peer = self.peer_side();
                let reason = match self.lcp.policy.failure() {
                    Some(lcp::Failure::LoopedBack) => Reason::LoopedBack,
                    Some(lcp::Failure::NoCommonMethod(offered)) => {
                        Reason::NoCommonMethod { peer, offered: offered.clone() }
                    }
                    None => Reason::LcpRefused(peer),
                };
                self.terminate(reason, now);
            }
        }
    }

    fn lcp_up(&mut self, now: Instant) {
        let peer = self.lcp.policy.peer();
        self.out.peer_mru = peer.mru;
        self.out.event(Event::FramingAgreed { framing: peer.framing, peer_mru: peer.mru });
        self.agree_multilink(peer.mru);
        self.out.event(Event::Step(Step::LcpUp));

        let (timers, entropy) = (self.config.timers, self.entropy.split());
        self.method = self.lcp.policy.demanded().or(peer.demands);
        let Some(method) = self.method else {
            // Without a proof there are no keys.
            return if self.encryption.permits_clear() {
                self.start_network(now);
            } else {
                self.terminate(Reason::NotAuthenticated, now);
            };
        };
        let out = &mut self.out;
        let running = match &self.config.role {
            Role::Server { name, challenge_interval, .. } => {
                let (identifier, interval) = (self.challenges, *challenge_interval);
                let demand = Demand { method, name, identifier, interval, timers };
                Some(Running::authenticator(&demand, entropy, now, out))
            }
            Role::Client { user, credential, .. } => {
                Running::peer(method, user, credential, timers, entropy, now, out)
            }
        };
        match running {
            Some(running) => {
                self.phase = Phase::Authentication;
                self.auth = Some(running);
            }
            None => self.terminate(Reason::NoClearPassword(method), now),
        }
    }

    /// What is not too large for both the peer and the path goes in one piece, without a header of
    /// its own: on one link that keeps the order (RFC 1990 §2).
    fn agree_multilink(&mut self, peer_mru: u16) {
        let whole = self.config.mtu.saturating_add(MPPE_OVERHEAD);
        let path = self.config.outer_mtu.saturating_sub(OUTER_OVERHEAD - MPPE_OVERHEAD);
        let largest = whole.min(path).min(peer_mru);
        let offer = self.lcp.policy.multilink();
        let agreed = offer.map(|offer| offer.outcome(largest)).unwrap_or_default();
        if agreed != Multilink::default() || self.multilink != Multilink::default() {
            self.multilink = agreed;
            self.out.event(Event::MultilinkAgreed(agreed));
        }
    }

    /// Largest inner packet to send.
    fn mtu(&self) -> u16 {
        let unit = self.lcp.policy.multilink().and_then(Offer::unit);
        match unit {
            Some(unit) => unit.saturating_sub(MPPE_OVERHEAD).min(self.config.mtu.max(DEFAULT_MRU)),
            None => self.whole_mtu(),
        }
    }

    /// Largest inner packet that goes in one piece.
    pub(super) fn whole_mtu(&self) -> u16 {
        self.config
            .mtu
            .min(self.out.peer_mru.saturating_sub(MPPE_OVERHEAD))
            .min(self.config.outer_mtu.saturating_sub(OUTER_OVERHEAD))
    }

    /// LCP left Opened: whatever stood on it is gone, keys too. `code` is the packet's that did it.
    fn lcp_down(&mut self, code: Option<u8>, now: Instant) {
        if self.phase == Phase::Up {
            self.out.event(Event::NetworkDown);
        }
        if let Some(identifier) = self.auth.take().and_then(|auth| auth.identifier()) {
            self.challenges = identifier;
        }
        self.end_ipv6cp();
        self.end_bcp();
        self.ccp = None;
        self.ipcp = None;
        self.keys = None;
        self.method = None;
        self.addresses = None;
        self.ccp_patience = None;
        self.reset_request = None;
        self.held = None;
        self.held_ipv6 = None;
        self.encryption = self.config.encryption;
        self.out.peer_mru = DEFAULT_MRU;
        match self.lcp.state() {
            State::Closing | State::Stopping => {
                let peer = self.peer_side();
                let reason = if code == Some(code::TERMINATE_REQUEST) {
                    Reason::PeerTerminated { peer, text: self.lcp.peer_farewell().to_owned() }
                } else {
                    Reason::LcpRefused(peer)
                };
                self.ending.get_or_insert(reason);
                self.phase = Phase::Terminating;
                self.login_deadline = None;
            }
            // A renegotiation: authentication and CCP run again.
            _ => {
                self.phase = Phase::Lcp;
                self.start_login_timer(now);
            }
        }
    }

    /// Only a network that was up earns a new time: a peer that starts again and again without ever
    /// logging in would have none to keep otherwise.
    fn start_login_timer(&mut self, now: Instant) {
        self.login_deadline.get_or_insert(now + self.config.login_timeout);
    }

    pub(super) fn auth_outcome(&mut self, outcome: Outcome, now: Instant) {
        match outcome {
            Outcome::Ask(attempt) => {
                // Later Challenges are answered while data passes.
                if self.phase == Phase::Authentication {
                    self.phase = Phase::Verdict;
                }
                self.out.event(Event::Authenticate(attempt));
            }
            Outcome::Succeeded(keys) => {
                self.keys = keys;
                self.out.event(Event::Step(Step::Authenticated));
                self.start_network(now);
            }
            Outcome::Failed(reason) => self.terminate(reason, now),
        }
    }

    pub(super) fn verdict(&mut self, identifier: u8, verdict: Verdict, now: Instant) {
        let Some(auth) = self.auth.as_mut().filter(|auth| auth.awaits(identifier)) else { return };
        match verdict {
            Verdict::Accept { accepted, addresses, encryption, message } => {
                if let Err(reason) = auth.accept(&accepted, &message, now, &mut self.out) {
                    return self.terminate(reason, now);
                }
                // An MS-CHAP re-authentication changes no keys, and nothing else.
                if self.phase != Phase::Verdict {
                    return;
                }
                self.keys = accepted.keys;
                self.addresses = Some(addresses);
                self.encryption = encryption.unwrap_or(self.config.encryption);
                self.out.event(Event::Step(Step::Authenticated));
                self.start_network(now);
            }
            Verdict::Reject { refusal, message, retry } => {
                let failure = Failure { refusal, retry, message };
                if !auth.refuse(&failure, &mut self.out) {
                    let Failure { refusal, message, .. } = failure;
                    self.terminate(Reason::LoginRefused { refusal, message }, now);
                } else if self.phase == Phase::Verdict {
                    self.phase = Phase::Authentication;
                }
            }
        }
    }

    /// The network phase: CCP first, where there may be encryption.
    fn start_network(&mut self, now: Instant) {
        let keys = self.keys.as_ref().map_or(Strengths::NONE, StartKeys::strengths);
        let required = self.encryption.strengths;
        self.encryption.strengths = required.intersection(keys);
        match self.encryption.level {
            Level::Require if self.encryption.strengths.is_empty() => {
                self.terminate(self.no_keys(required), now);
            }
            Level::Deny => self.start_ipcp(now),
            _ if self.encryption.strengths.is_empty() => self.without_encryption(now),
            Level::Allow => {
                self.phase = Phase::Ccp;
                self.ccp_patience = Some(now + self.config.timers.restart);
            }
            Level::Prefer | Level::Require => self.start_ccp(now),
        }
    }

    fn no_keys(&self, required: Strengths) -> Reason {
        self.method.map_or(Reason::NotAuthenticated, |method| Reason::NoKeys { method, required })
    }

    fn start_ccp(&mut self, now: Instant) {
        self.phase = Phase::Ccp;
        self.ccp_patience = None;
        let mut ccp = Layer::new(Ccp::new(self.encryption), self.config.timers);
        ccp.begin(now, &mut self.out);
        self.ccp = Some(ccp);
    }

    /// Where we only allow encryption the peer has to propose it, at the latest while IPCP is being
    /// negotiated: reordering may have put its CCP behind its IPCP.
    pub(super) fn peer_proposes_encryption(&mut self, now: Instant) {
        if self.encryption.level == Level::Allow && matches!(self.phase, Phase::Ccp | Phase::Ipcp) {
            if let Some(ipcp) = &mut self.ipcp {
                ipcp.lower_down(now, &mut self.out);
            }
            self.end_ipv6cp();
            self.end_bcp();
            self.start_ccp(now);
        }
    }

    /// The peer's IPCP comes first: it proposes no encryption.
    pub(super) fn peer_goes_on_without_encryption(&mut self, now: Instant) {
        if self.ccp_patience.is_some() {
            self.start_ipcp(now);
        }
    }

    /// There will be no encryption, and none is required.
    fn without_encryption(&mut self, now: Instant) {
        if let Some(mut ccp) = self.ccp.take() {
            ccp.close("no encryption", now, &mut self.out);
        }
        self.encryption.level = Level::Deny;
        self.start_ipcp(now);
    }

    pub(super) fn ccp_signal(&mut self, signal: Signal, now: Instant) {
        match signal {
            Signal::Up => self.ccp_up(now),
            // A renegotiation of CCP alone would start again with the keys of this login, and a
            // keystream must not be used twice: the whole login runs again.
            Signal::Down if self.ccp.as_ref().map(Layer::state) != Some(State::Stopping) => {
                self.renegotiate(now);
            }
            Signal::Down => self.encryption_lost(true, now),
            Signal::Finished if self.encryption.permits_clear() => self.without_encryption(now),
            Signal::Finished => self.terminate(Reason::CcpUnanswered(self.peer_side()), now),
            Signal::Dispute => self.encryption_lost(false, now),
            Signal::Extra => {}
        }
    }

    fn ccp_up(&mut self, now: Instant) {
        let outcome = self.ccp.as_ref().and_then(|ccp| ccp.policy.outcome());
        let (Some((receive, send)), Some(keys)) = (outcome, &self.keys) else {
            return self.encryption_lost(false, now);
        };
        let (we, peer) = match self.config.side() {
            Side::Server => (Sender::Server, Sender::Client),
            Side::Client => (Sender::Client, Sender::Server),
        };
        let cipher = |sender, Proposal { strength, mode }| Cipher {
            key: keys.session_key(sender, strength),
            mode,
        };
        let encryption =
            Encryption::Mppe { receive: cipher(peer, receive), send: cipher(we, send) };
        self.out.event(Event::Encryption(encryption));
        self.out.event(Event::Step(Step::CcpUp));
        self.start_ipcp(now);
    }

    /// There is no encryption (any more). What was encrypted never goes on in the clear.
    pub(super) fn encryption_lost(&mut self, was_open: bool, now: Instant) {
        if !was_open && self.encryption.permits_clear() {
            return self.without_encryption(now);
        }
        let peer = self.peer_side();
        let reason = match self.method {
            Some(method) if !was_open => {
                let required = self.encryption.strengths;
                Reason::EncryptionRefused { peer, method, required }
            }
            _ => Reason::EncryptionEnded(peer),
        };
        self.terminate(reason, now);
    }

    pub(super) fn start_ipcp(&mut self, now: Instant) {
        self.phase = Phase::Ipcp;
        self.ccp_patience = None;
        let (addresses, timers) = (&self.addresses, self.config.timers);
        let ipcp = self.ipcp.get_or_insert_with(|| {
            let policy = addresses.as_ref().map_or_else(Ipcp::client, Ipcp::server);
            Layer::new(policy, timers)
        });
        ipcp.begin(now, &mut self.out);
        self.start_ipv6cp(now);
        self.start_bcp(now);
        if let Some(held) = self.held.take() {
            self.ipcp_packet(&held, now);
        }
    }

    /// A peer that chooses its address is answered when its owner decided (RFC 1332 §3.3). Says
    /// whether this request waits for that.
    pub(super) fn peer_chooses(&mut self, request: Packet<'_>, payload: &[u8]) -> bool {
        let chooses = self.ipcp.as_ref().is_some_and(|ipcp| ipcp.policy.awaits_choice());
        let Some(options) = Options::parse(request.data).ok().filter(|_| chooses) else {
            return false;
        };
        // Whatever it repeats meanwhile, it is asked about once.
        if self.held.replace(payload.to_vec()).is_none() {
            self.out.event(Event::AddressWanted(ipcp::wanted(options)));
        }
        true
    }

    pub(super) fn assign(&mut self, address: Ipv4Addr, now: Instant) {
        let ipcp = self.ipcp.as_mut().filter(|ipcp| ipcp.policy.awaits_choice());
        if let Some(ipcp) = ipcp {
            ipcp.policy.assign(address);
            if let Some(held) = self.held.take() {
                self.ipcp_packet(&held, now);
            }
        }
    }

    /// IPV6CP goes its way beside IPCP: it never holds up the login, and never ends it.
    fn start_ipv6cp(&mut self, now: Instant) {
        let Some(addresses) = self.addresses.filter(|_| self.has_ipv6()) else { return };
        let policy = Ipv6cp::new(addresses.ipv6, self.entropy.split());
        let mut layer = Layer::new(policy, self.config.timers);
        layer.begin(now, &mut self.out);
        self.ipv6cp = Some(Box::new(layer));
        if let Some(held) = self.held_ipv6.take() {
            self.ipv6cp_packet(&held, now);
        }
    }

    pub(super) fn ipv6cp_signal(&mut self, signal: Signal, now: Instant) {
        let Some(layer) = &mut self.ipv6cp else { return };
        match signal {
            Signal::Up => {
                let local = layer.policy.local();
                // There is no Ack of a request without one.
                let Some(remote) = layer.policy.remote() else { return };
                self.out.event(Event::Step(Step::Ipv6cpUp));
                self.out.event(Event::Ipv6Up(Identifiers { local, remote }));
            }
            Signal::Down => self.out.event(Event::Ipv6Down),
            // Naks without end, from either side: there is no IPv6 with this peer.
            Signal::Dispute => {
                if layer.close("no agreement", now, &mut self.out) == Some(Signal::Down) {
                    self.out.event(Event::Ipv6Down);
                }
            }
            // A request of the peer's brings it back.
            Signal::Finished | Signal::Extra => {}
        }
    }

    /// What it stood on is gone.
    fn end_ipv6cp(&mut self) {
        let was_open = self.ipv6cp.take().is_some_and(|layer| layer.state() == State::Opened);
        if was_open {
            self.out.event(Event::Ipv6Down);
        }
    }

    pub(super) fn ipcp_signal(&mut self, signal: Signal, now: Instant) {
        match signal {
            Signal::Up => self.ipcp_up(now),
            Signal::Down => {
                self.out.event(Event::NetworkDown);
                self.phase = Phase::Ipcp;
                self.start_login_timer(now);
            }
            Signal::Finished => self.terminate(Reason::NetworkRefused(self.peer_side()), now),
            Signal::Dispute => {
                let dispute = self.ipcp.as_ref().and_then(|ipcp| ipcp.policy.dispute());
                let reason = match (dispute, self.config.side()) {
                    (Some((wanted, assigned)), _) => Reason::AddressRefused { wanted, assigned },
                    (None, Side::Client) => Reason::NoAddress,
                    (None, Side::Server) => Reason::NetworkRefused(self.peer_side()),
                };
                self.terminate(reason, now);
            }
            Signal::Extra => {}
        }
    }

    fn ipcp_up(&mut self, now: Instant) {
        let Some(ipcp) = &self.ipcp else { return };
        // From here on it is too late for the peer to propose encryption.
        if self.ccp.is_none() {
            self.encryption.level = Level::Deny;
            self.out.event(Event::Encryption(Encryption::None));
        }
        // A server whose peer rejects the option still knows its own address.
        let own = self.addresses.map(|addresses| addresses.local);
        let Some(local) = ipcp.policy.local().or(own) else {
            return self.terminate(Reason::NoAddress, now);
        };
        let network = Network {
            local,
            remote: ipcp.policy.remote(),
            dns: ipcp.policy.dns(),
            wins: ipcp.policy.wins(),
            mtu: self.mtu(),
        };
        self.phase = Phase::Up;
        self.login_deadline = None;
        self.keepalive.heard(now);
        self.out.event(Event::Step(Step::IpcpUp));
        self.out.event(Event::NetworkUp(network));
    }

    /// The peer knows no such protocol (RFC 1661 §5.7).
    pub(super) fn protocol_rejected(&mut self, data: &[u8], now: Instant) {
        let Some(number) = data.first_chunk().copied().map(u16::from_be_bytes) else { return };
        match Protocol::new(number) {
            Some(Protocol::LCP) => {
                if let Some(signal) = self.lcp.protocol_rejected(now, &mut self.out) {
                    self.lcp_signal(signal, None, now);
                }
            }
            Some(Protocol::CCP) if self.ccp.is_some() => {
                let open = self.ccp.as_ref().is_some_and(|ccp| ccp.state() == State::Opened);
                self.encryption_lost(open, now);
            }
            Some(Protocol::IPCP) => {
                let ipcp = self.ipcp.as_mut();
                let signal = ipcp.and_then(|ipcp| ipcp.protocol_rejected(now, &mut self.out));
                if let Some(signal) = signal {
                    self.ipcp_signal(signal, now);
                }
            }
            Some(Protocol::BCP) => {
                let layer = self.bcp.as_mut();
                let signal = layer.and_then(|layer| layer.protocol_rejected(now, &mut self.out));
                if let Some(signal) = signal {
                    self.bcp_signal(signal, now);
                }
            }
            Some(Protocol::IPV6CP) => {
                let layer = self.ipv6cp.as_mut();
                let signal = layer.and_then(|layer| layer.protocol_rejected(now, &mut self.out));
                if let Some(signal) = signal {
                    self.ipv6cp_signal(signal, now);
                }
            }
            // What else we send: only what this side's authentication needs.
            protocol => {
                if protocol.is_some() && protocol == self.auth.as_ref().map(Running::protocol) {
                    self.terminate(Reason::AuthenticationUnanswered(self.peer_side()), now);
                }
            }
        }
    }

    /// Takes LCP through Down and Up: all of the login runs again.
    fn renegotiate(&mut self, now: Instant) {
        if self.lcp.lower_down(now, &mut self.out) == Some(Signal::Down) {
            self.lcp_down(None, now);
        }
        self.lcp.begin(now, &mut self.out);
    }

    /// Ends the link in good order: Terminate-Request, and [`Event::Down`] once it is answered.
    pub(super) fn terminate(&mut self, reason: Reason, now: Instant) {
        let text = reason.to_string();
        self.ending.get_or_insert(reason);
        match self.lcp.close(&text, now, &mut self.out) {
            Some(Signal::Down) => self.lcp_down(None, now),
            Some(Signal::Finished) => return self.end(),
            _ => {}
        }
        self.phase = Phase::Terminating;
        self.login_deadline = None;
        // Nothing was ever sent, so there is nothing to take back.
        if matches!(self.lcp.state(), State::Initial | State::Closed) {
            self.end();
        }
    }

    /// Ends the link without a word to the peer, whom no word would reach.
    pub(super) fn lost(&mut self, reason: Reason, now: Instant) {
        self.ending.get_or_insert(reason);
        if self.lcp.lower_down(now, &mut self.out) == Some(Signal::Down) {
            self.lcp_down(None, now);
        }
        self.end();
    }

    fn end(&mut self) {
        let reason = self.ending.take().unwrap_or_else(|| self.stall());
        self.phase = Phase::Ended;
        self.out.event(Event::Down(reason));
    }

    /// Why nothing goes on here.
    pub(super) fn stall(&self) -> Reason {
        if self.heard { Reason::Stalled(self.phase) } else { Reason::NoAnswer(self.peer_side()) }
    }
}
