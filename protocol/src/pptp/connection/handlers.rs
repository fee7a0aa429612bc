//! What each message of the peer does, by state (RFC 2637 §3.1.1, §3.1.2, §3.2.3, §3.2.4).
//!
//! A message about the connection that comes at a wrong time is a violation; one that names a call
//! which does not exist is ignored, for it may have crossed the call's end.

use super::calls::{CONNECT_SPEED, Call, Side};
use super::{
    CallRequest, ClearCause, CloseReason, Connection, Direction, Event, Liveness, Role, State, Step,
};
use crate::pptp::VERSION;
use crate::pptp::message::codes::{
    DisconnectResult, GeneralError, IncomingResult, OutgoingResult, PlainResult, StartResult,
    StopReason,
};
use crate::pptp::message::{
    CallDisconnectNotify, EchoReply, EchoRequest, IncomingCallConnected, IncomingCallReply, Kind,
    Message, OutgoingCallReply, SetLinkInfo, StartReply, StartRequest, StopReply, StopRequest,
};
use crate::time::Instant;

impl Connection {
    pub(super) fn message(&mut self, message: &Message, now: Instant) {
        if let State::Established(Liveness::Heard { .. }) = self.state {
            self.state = State::Established(Liveness::Heard { since: now });
        }
        match (self.state, message) {
            (_, Message::StopRequest(request)) => self.on_stop_request(*request),
            (State::WaitStopReply { then, .. }, Message::StopReply(_)) => self.close(then),
            // Our calls are over; what the peer sent before it knew changes nothing.
            (State::WaitStopReply { .. }, _) => self.ignore(message.kind(), 0),
            (_, Message::EchoRequest(request)) => self.on_echo_request(*request),
            (_, Message::StartRequest(request)) => self.on_start_request(request, now),
            (_, Message::OutgoingCallRequest(request)) => {
                self.requested(CallRequest::Outgoing(*request));
            }
            (_, Message::IncomingCallRequest(request)) => {
                self.requested(CallRequest::Incoming(*request));
            }
            (State::WaitStart { .. }, Message::StartReply(reply)) if self.role == Role::Client => {
                self.on_start_reply(reply, now);
            }
            (State::Established(liveness), message) => {
                self.established_message(liveness, message, now);
            }
            _ => self.close(CloseReason::Unexpected(message.kind())),
        }
    }

    fn established_message(&mut self, liveness: Liveness, message: &Message, now: Instant) {
        match message {
            Message::EchoReply(reply) => self.on_echo_reply(liveness, *reply, now),
            Message::OutgoingCallReply(reply) => self.on_outgoing_reply(reply),
            Message::IncomingCallReply(reply) => self.on_incoming_reply(reply),
            Message::IncomingCallConnected(connected) => self.on_connected(connected),
            Message::CallClearRequest(request) => self.on_clear_request(request.call_id),
            Message::CallDisconnectNotify(notify) => self.on_disconnect(notify),
            Message::SetLinkInfo(info) => self.on_link_info(*info),
            Message::WanErrorNotify(errors) => {
                // RFC 2637 §2.14: the Call ID of the PNS, which is us.
                match self.own_call(Side::Pns, errors.peer_call_id) {
                    Some(call) => {
                        let call = call.handle;
                        self.event(Event::WanError { call, errors: *errors });
                    }
                    None => self.ignore(Kind::WanErrorNotify, errors.peer_call_id),
                }
            }
            _ => self.close(CloseReason::Unexpected(message.kind())),
        }
    }

    fn ignore(&mut self, kind: Kind, call_id: u16) {
        self.event(Event::Ignored { kind, call_id });
    }

    fn own_call(&mut self, side: Side, own_call_id: u16) -> Option<&mut Call> {
        self.call(|call| {
            call.side == side && call.own_call_id.is_some_and(|id| id.get() == own_call_id)
        })
    }

    fn on_stop_request(&mut self, request: StopRequest) {
        let (result, error) = (PlainResult::Ok, GeneralError::None);
        self.send(Message::StopReply(StopReply { result, error }));
        match self.state {
            // Both ends stop at the same time.
            State::WaitStopReply { then, .. } => self.close(then),
            _ => self.close(CloseReason::PeerStopped(request.reason)),
        }
    }

    fn on_echo_request(&mut self, request: EchoRequest) {
        let (result, error) = if self.is_established() {
            (PlainResult::Ok, GeneralError::None)
        } else {
            (PlainResult::GeneralError, GeneralError::NotConnected)
        };
        // RFC 2637 §2.6: the identifier is copied.
        let identifier = request.identifier;
        self.send(Message::EchoReply(EchoReply { identifier, result, error }));
    }

    fn on_echo_reply(&mut self, liveness: Liveness, reply: EchoReply, now: Instant) {
        match liveness {
            Liveness::Asked { .. } if reply.identifier == self.echo_identifier => {
                self.state = State::Established(Liveness::Heard { since: now });
            }
            // A reply that came after its time, or to nothing.
            Liveness::Asked { .. } | Liveness::Heard { .. } => self.ignore(Kind::EchoReply, 0),
        }
    }

    fn on_start_request(&mut self, request: &StartRequest, now: Instant) {
        match (self.role, self.state) {
            (Role::Server, State::WaitStart { .. }) if request.version < VERSION => {
                // RFC 2637 §2.2, §3.1.2: the reply says so, then TCP is closed.
                self.send_start_reply(StartResult::VersionNotSupported);
                self.close(CloseReason::Version(request.version));
            }
            (Role::Server, State::WaitStart { .. }) => {
                // RFC 2637 §3.1.2: a later version is answered with ours.
                self.send_start_reply(StartResult::Ok);
                self.establish(request.version, request.sender, now);
            }
            (Role::Server, State::Established(_)) => {
                self.send_start_reply(StartResult::AlreadyExists);
                self.ignore(Kind::StartRequest, 0);
            }
            _ => self.close(CloseReason::Unexpected(Kind::StartRequest)),
        }
    }

    fn on_start_reply(&mut self, reply: &StartReply, now: Instant) {
        if reply.result != StartResult::Ok {
            let (result, error) = (reply.result, reply.error);
            self.close(CloseReason::StartRefused { result, error });
        } else if reply.version < VERSION {
            // RFC 2637 §3.1.1: an earlier version that is not supported.
            self.stop(StopReason::Protocol, CloseReason::Version(reply.version), now);
        } else {
            self.establish(reply.version, reply.sender, now);
        }
    }

    fn establish(&mut self, version: u16, peer: crate::pptp::message::Sender, now: Instant) {
        self.state = State::Established(Liveness::Heard { since: now });
        self.event(Event::Established { peer, version });
    }

    fn on_outgoing_reply(&mut self, reply: &OutgoingCallReply) {
        let accepted = reply.result == OutgoingResult::Connected;
        let taken = self.peer_call_id_taken(reply.call_id);
        let call = self.own_call(Side::Pns, reply.peer_call_id);
        let Some(call) = call
            .filter(|call| call.direction == Direction::Outgoing && call.peer_call_id.is_none())
        else {
            self.ignore(Kind::OutgoingCallReply, reply.peer_call_id);
            return;
        };
        let handle = call.handle;
        if !accepted {
            let (result, error, cause) = (reply.result, reply.error, reply.cause);
            self.end_call(handle, ClearCause::OutgoingRefused { result, error, cause });
            return;
        }
        if taken {
            self.close(CloseReason::PeerCallIdTwice(reply.call_id));
            return;
        }
        call.peer_call_id = Some(reply.call_id);
        self.connected(handle, reply.call_id, reply.window);
    }

    fn on_incoming_reply(&mut self, reply: &IncomingCallReply) {
        let accepted = reply.result == IncomingResult::Connect;
        let taken = self.peer_call_id_taken(reply.call_id);
        let call = self.own_call(Side::Pac, reply.peer_call_id);
        let Some(call) = call.filter(|call| matches!(call.step, Step::WaitReply { .. })) else {
            self.ignore(Kind::IncomingCallReply, reply.peer_call_id);
            return;
        };
        let handle = call.handle;
        if !accepted {
            let (result, error) = (reply.result, reply.error);
            self.end_call(handle, ClearCause::IncomingRefused { result, error });
            return;
        }
        if taken {
            self.close(CloseReason::PeerCallIdTwice(reply.call_id));
            return;
        }
        call.peer_call_id = Some(reply.call_id);
        self.send(Message::IncomingCallConnected(IncomingCallConnected {
            peer_call_id: reply.call_id,
            connect_speed: CONNECT_SPEED,
            window: self.config.window,
            transmit_delay: 0,
            // RFC 2637 §2.11: synchronous; nothing is byte-stuffed.
            framing_type: 2,
        }));
        self.connected(handle, reply.call_id, reply.window);
    }

    fn on_connected(&mut self, connected: &IncomingCallConnected) {
        let call = self.own_call(Side::Pns, connected.peer_call_id);
        let call = call.filter(|call| matches!(call.step, Step::WaitConnect { .. }));
        match call.map(|call| (call.handle, call.peer_call_id)) {
            Some((handle, Some(peer))) => self.connected(handle, peer, connected.window),
            _ => self.ignore(Kind::IncomingCallConnected, connected.peer_call_id),
        }
    }

    /// The peer's last step came, unless we have begun to clear the call meanwhile.
    fn connected(&mut self, handle: super::CallHandle, peer_call_id: u16, peer_window: u16) {
        let Some(call) = self.call(|call| call.handle == handle) else { return };
        let Some(own_call_id) = call.own_call_id else { return };
        if matches!(call.step, Step::WaitDisconnect { .. }) {
            return;
        }
        call.step = Step::Established;
        let call = handle;
        self.event(Event::CallEstablished { call, own_call_id, peer_call_id, peer_window });
    }

    fn peer_call_id_taken(&self, peer_call_id: u16) -> bool {
        self.calls.iter().any(|call| call.peer_call_id == Some(peer_call_id))
    }

    fn on_clear_request(&mut self, pns_call_id: u16) {
        // RFC 2637 §2.12: the Call ID of the PNS, which is the peer.
        let call = self
            .call(|call| call.side == Side::Pac && call.peer_call_id == Some(pns_call_id))
            .copied();
        match call {
            Some(call) => {
                self.send(call.disconnect(DisconnectResult::Request));
                self.end_call(call.handle, ClearCause::Requested);
            }
            None => self.ignore(Kind::CallClearRequest, pns_call_id),
        }
    }

    fn on_disconnect(&mut self, notify: &CallDisconnectNotify) {
        // RFC 2637 §2.13: the Call ID of the PAC, which is the peer. A call that it never accepted
        // has none: its answer to our Call-Clear-Request carries 0 (which pptpd gives to calls).
        let named =
            |call: &&Call| call.side == Side::Pns && call.peer_call_id == Some(notify.call_id);
        let unnamed = |call: &&Call| {
            notify.call_id == 0
                && call.peer_call_id.is_none()
                && matches!(call.step, Step::WaitDisconnect { .. })
        };
        let call = self.calls.iter().find(named).or_else(|| self.calls.iter().find(unnamed));
        match call.map(|call| call.handle) {
            Some(handle) => self.end_call(handle, ClearCause::Disconnected(*notify)),
            None => self.ignore(Kind::CallDisconnectNotify, notify.call_id),
        }
    }

    fn on_link_info(&mut self, info: SetLinkInfo) {
        // RFC 2637 §2.15: the Call ID of the PAC, which is us.
        match self.own_call(Side::Pac, info.peer_call_id).map(|call| call.handle) {
            Some(call) => {
                let SetLinkInfo { send_accm, receive_accm, .. } = info;
                self.event(Event::LinkInfo { call, send_accm, receive_accm });
            }
            None => self.ignore(Kind::SetLinkInfo, info.peer_call_id),
        }
    }
}
