//! What the calls' PPP says, and what is answered: logins are judged elsewhere and come back as a
//! message, so that none of them holds up another call of the connection.

use std::sync::Arc;

use protocol::ppp::link::{self, Verdict};
use protocol::pptp::connection::{self as pptp, CallHandle};
use protocol::pptp::message::codes::DisconnectResult;
use tracing::info;

use super::{Decided, Judged, Task};
use crate::aaa::{self, Decision, Login, lease};
use crate::daemon::counters::Count;
use crate::daemon::ending::{Ended, TerminateCause};
use crate::daemon::starting::Ticket;
use crate::daemon::subscriber::Judging;

impl Task {
    pub(super) async fn link_input(&mut self, handle: CallHandle, input: link::Input<'_>) {
        if let Some(call) = self.calls.get_mut(&handle) {
            let events = call.call.input(input).await;
            self.link_events(handle, events).await;
        }
    }

    pub(super) async fn link_events(&mut self, handle: CallHandle, events: Vec<link::Event>) {
        for event in events {
            let now = self.shared.plane.clock().now();
            let Some(call) = self.calls.get_mut(&handle) else { return };
            match event {
                link::Event::Authenticate(attempt) => {
                    let (shared, judged) = (Arc::clone(&self.shared), self.judged.clone());
                    let (name, identifier) = (attempt.name.clone(), attempt.identifier);
                    let login = Login {
                        attempt,
                        session: call.session.handle(),
                        peer: self.peer_address,
                        local: self.local,
                        placed: call.placed(),
                    };
                    let ticket = call.ticket().map(Ticket::asked);
                    let judging = Judging::start(async move {
                        let decision = aaa::judge(&shared, &login, ticket).await;
                        let decision = Box::new(decision);
                        let decided = Decided::Login { identifier, decision };
                        // A connection that ended meanwhile gives the address back by dropping it.
                        let _ = judged.put(Judged { call: handle, decided });
                    });
                    call.attempt(&name, identifier, judging);
                }
                link::Event::AddressWanted(wanted) => {
                    let (shared, judged) = (Arc::clone(&self.shared), self.judged.clone());
                    let (had, terms) = (call.address(), call.session.terms());
                    let outer = [self.peer_address, self.local];
                    call.chooses(Judging::start(async move {
                        let lease = match terms.filter(|_| had.is_none()) {
                            Some(terms) => lease::choose(&shared, &terms, wanted, outer).await,
                            None => Err("there is nothing to choose".to_owned()),
                        };
                        let decided = Decided::Address(lease);
                        let _ = judged.put(Judged { call: handle, decided });
                    }));
                }
                link::Event::Step(step) => call.step(&step.to_string(), now),
                link::Event::Encryption(encryption) => {
                    call.session.update(|facts| facts.encoding = encryption.to_string());
                }
                link::Event::MultilinkAgreed(multilink) => {
                    let mrru = multilink.receive.map(|receiving| receiving.mrru);
                    call.session.update(|facts| facts.mrru = mrru);
                }
                link::Event::BridgeUp(bridging) => {
                    let session = call.session.id();
                    let link::Bridging { largest, tagged } = bridging;
                    info!(session, largest, tagged, "session bridged");
                }
                link::Event::NetworkUp(network) => {
                    let ends = (self.peer_address, self.local);
                    call.up(&network, self.peer, ends, &self.shared).await;
                    self.permit = None;
                }
                link::Event::Down(reason) => {
                    let wish = call.session.wish();
                    call.ended.get_or_insert_with(|| Ended::of_link(&reason, wish.as_ref()));
                    let result = DisconnectResult::AdminShutdown;
                    self.pptp_input(pptp::Input::ClearCall { call: handle, result });
                }
                link::Event::NetworkDown => call.down(&self.shared).await,
                link::Event::Ipv6Up(identifiers) => {
                    call.ipv6(Some(identifiers), &self.shared).await;
                }
                link::Event::Ipv6Down => call.ipv6(None, &self.shared).await,
                link::Event::FramingAgreed { .. }
                | link::Event::BridgeDown
                | link::Event::Resynchronise => {}
            }
        }
        if let Some(call) = self.calls.get(&handle) {
            let phase = call.call.phase();
            call.session.update(|facts| facts.phase = phase);
        }
    }

    pub(super) async fn judged(&mut self, judged: Judged) {
        let Judged { call: handle, decided } = judged;
        let Some(call) = self.calls.get_mut(&handle) else { return };
        let (identifier, decision) = match decided {
            Decided::Login { identifier, decision } => (identifier, decision),
            Decided::Address(lease) => {
                let input = match call.chosen(lease, &self.shared).await {
                    Ok(address) => link::Input::Assign(address),
                    Err(reason) => {
                        self.shared.counters.add(Count::NoAddress);
                        link::Input::Close(link::Reason::Closed(reason))
                    }
                };
                return self.link_input(handle, input).await;
            }
        };
        // The peer has begun anew meanwhile: what it would get now is another login's.
        if !call.was_judged(identifier) {
            return;
        }
        let input = match *decision {
            Decision::Grant { terms, place, accepted } => {
                // What was wrong with an earlier try of the same exchange.
                call.ended = None;
                let encryption = Some(terms.encryption);
                match call.granted(*terms, place.map(|place| *place), &self.shared).await {
                    Some(addresses) => {
                        let message = "Access granted".to_owned();
                        let verdict = Verdict::Accept { accepted, addresses, encryption, message };
                        link::Input::Verdict { identifier, verdict }
                    }
                    None => link::Input::Close(link::Reason::Closed("no address".to_owned())),
                }
            }
            Decision::Refuse { refusal, reason, retry, message } => {
                call.ended = Some(Ended { reason, cause: TerminateCause::UserError });
                let message = message.unwrap_or_else(|| "Access denied".to_owned());
                link::Input::Verdict {
                    identifier,
                    verdict: Verdict::Reject { refusal, message, retry },
                }
            }
            Decision::Nothing { reason } => link::Input::Close(link::Reason::Closed(reason)),
        };
        self.link_input(handle, input).await;
    }
}
