//! One call of a control connection, and what the owner does to it (RFC 2637 §3.2).

use std::num::NonZeroU16;

use super::{CallHandle, CallRequest, ClearCause, Connection, Direction, Event, Refusal};
use crate::pptp::message::codes::{DisconnectResult, GeneralError, IncomingResult, OutgoingResult};
use crate::pptp::message::{
    CallClearRequest, CallDisconnectNotify, IncomingCallReply, IncomingCallRequest, Kind, Message,
    OutgoingCallReply, OutgoingCallRequest, Text,
};
use crate::time::Instant;

/// Speed that we name in replies, bits per second. There is no line: the value is for logs.
pub(super) const CONNECT_SPEED: u32 = 100_000_000;
/// Either, of framing types and bearer types alike.
const EITHER: u32 = 3;

/// Which end of a call we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Pac,
    Pns,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) handle: CallHandle,
    pub(super) direction: Direction,
    pub(super) side: Side,
    /// Unknown until the owner accepts.
    pub(super) own_call_id: Option<NonZeroU16>,
    /// Unknown until the peer replies.
    pub(super) peer_call_id: Option<u16>,
    pub(super) step: Step,
}

/// The states of RFC 2637 §3.2.3 and §3.2.4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The owner has not answered yet: `wait_cs_ans` of the PAC, or before the PNS's reply.
    Requested {
        /// What the peer's request said of its buffers.
        peer_window: u16,
    },
    /// Our request is out.
    WaitReply { until: Instant },
    /// As PNS of an incoming call we replied; Incoming-Call-Connected is not in.
    WaitConnect { until: Instant },
    /// Data flows.
    Established,
    /// As PNS we sent Call-Clear-Request; Call-Disconnect-Notify is not in.
    WaitDisconnect { until: Instant },
}

impl Call {
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.step {
            Step::Requested { .. } | Step::Established => None,
            Step::WaitReply { until }
            | Step::WaitConnect { until }
            | Step::WaitDisconnect { until } => Some(until),
        }
    }

    /// What the peer has to send next.
    pub(super) fn awaited(&self) -> Option<Kind> {
        match (self.step, self.direction) {
            (Step::Requested { .. } | Step::Established, _) => None,
            (Step::WaitReply { .. }, Direction::Outgoing) => Some(Kind::OutgoingCallReply),
            (Step::WaitReply { .. }, Direction::Incoming) => Some(Kind::IncomingCallReply),
            (Step::WaitConnect { .. }, _) => Some(Kind::IncomingCallConnected),
            (Step::WaitDisconnect { .. }, _) => Some(Kind::CallDisconnectNotify),
        }
    }

    pub(super) fn cleared(&self, cause: ClearCause) -> Event {
        Event::CallCleared { call: self.handle, own_call_id: self.own_call_id, cause }
    }

    /// What a PAC sends at the end of a call.
    pub(super) fn disconnect(&self, result: DisconnectResult) -> Message {
        Message::CallDisconnectNotify(CallDisconnectNotify {
            // RFC 2637 §2.13: the PAC's Call ID. A call that was never accepted has none.
            call_id: self.own_call_id.map_or(0, NonZeroU16::get),
            result,
            error: GeneralError::None,
            cause: 0,
            statistics: Text::EMPTY,
        })
    }
}

impl Connection {
    pub(super) fn call(&mut self, matches: impl Fn(&Call) -> bool) -> Option<&mut Call> {
        self.calls.iter_mut().find(|call| matches(call))
    }

    /// Forgets a call and tells the owner why.
    pub(super) fn end_call(&mut self, handle: CallHandle, cause: ClearCause) {
        if let Some(place) = self.calls.iter().position(|call| call.handle == handle) {
            let call = self.calls.swap_remove(place);
            self.event(call.cleared(cause));
        }
    }

    pub(super) fn new_handle(&mut self) -> CallHandle {
        self.next_call = self.next_call.wrapping_add(1);
        CallHandle(self.next_call)
    }

    fn has_own_call_id(&self, id: NonZeroU16) -> bool {
        self.calls.iter().any(|call| call.own_call_id == Some(id))
    }

    /// The owner has registered the tunnel: only now the peer hears of our Call ID.
    pub(super) fn accept(&mut self, handle: CallHandle, own_call_id: NonZeroU16, now: Instant) {
        if self.has_own_call_id(own_call_id) {
            let refusal = Refusal::Error(GeneralError::NoResource);
            self.refuse(handle, refusal, ClearCause::OwnCallIdInUse);
            return;
        }
        let until = now + self.config.call_timeout;
        let Some(call) = self.call(|call| call.handle == handle) else { return };
        let (Step::Requested { peer_window }, Some(peer_call_id)) = (call.step, call.peer_call_id)
        else {
            return;
        };
        call.own_call_id = Some(own_call_id);
        match call.direction {
            Direction::Outgoing => {
                call.step = Step::Established;
                let result = OutgoingResult::Connected;
                self.reply_outgoing(own_call_id.get(), peer_call_id, result, GeneralError::None);
                let call = handle;
                self.event(Event::CallEstablished { call, own_call_id, peer_call_id, peer_window });
            }
            Direction::Incoming => {
                call.step = Step::WaitConnect { until };
                let result = IncomingResult::Connect;
                self.reply_incoming(own_call_id.get(), peer_call_id, result, GeneralError::None);
            }
        }
    }

    /// Ends a call that waits for the owner's answer.
    pub(super) fn refuse(&mut self, handle: CallHandle, refusal: Refusal, cause: ClearCause) {
        let Some(call) = self.call(|call| call.handle == handle) else { return };
        let (Step::Requested { .. }, Some(peer_call_id)) = (call.step, call.peer_call_id) else {
            return;
        };
        match call.direction {
            Direction::Outgoing => {
                let (result, error) = match refusal {
                    Refusal::Prohibited => (OutgoingResult::DoNotAccept, GeneralError::None),
                    Refusal::Error(error) => (OutgoingResult::GeneralError, error),
                };
                self.reply_outgoing(0, peer_call_id, result, error);
            }
            Direction::Incoming => {
                let (result, error) = match refusal {
                    Refusal::Prohibited => (IncomingResult::DoNotAccept, GeneralError::None),
                    Refusal::Error(error) => (IncomingResult::GeneralError, error),
                };
                self.reply_incoming(0, peer_call_id, result, error);
            }
        }
        self.end_call(handle, cause);
    }

    pub(super) fn reply_outgoing(
        &mut self,
        call_id: u16,
        peer_call_id: u16,
        result: OutgoingResult,
        error: GeneralError,
    ) {
        self.send(Message::OutgoingCallReply(OutgoingCallReply {
            call_id,
            peer_call_id,
            result,
            error,
            cause: 0,
            connect_speed: CONNECT_SPEED,
            window: self.config.window,
            processing_delay: 0,
            physical_channel: 0,
        }));
    }

    pub(super) fn reply_incoming(
        &mut self,
        call_id: u16,
        peer_call_id: u16,
        result: IncomingResult,
        error: GeneralError,
    ) {
        self.send(Message::IncomingCallReply(IncomingCallReply {
            call_id,
            peer_call_id,
            result,
            error,
            window: self.config.window,
            transmit_delay: 0,
        }));
    }

    pub(super) fn start_call(
        &mut self,
        direction: Direction,
        own_call_id: NonZeroU16,
        now: Instant,
    ) {
        if !self.is_established() || self.has_own_call_id(own_call_id) {
            self.event(Event::CallNotStarted { own_call_id });
            return;
        }
        let handle = self.new_handle();
        let call_id = own_call_id.get();
        // RFC 2637 §2.7: any number that names the call in both logs will do.
        let serial_number = call_id;
        let side = match direction {
            Direction::Outgoing => Side::Pns,
            Direction::Incoming => Side::Pac,
        };
        self.send(match direction {
            Direction::Outgoing => Message::OutgoingCallRequest(OutgoingCallRequest {
                call_id,
                serial_number,
                minimum_bps: 300,
                maximum_bps: CONNECT_SPEED,
                bearer_type: EITHER,
                framing_type: EITHER,
                window: self.config.window,
                processing_delay: 0,
                phone_number_length: 0,
                phone_number: Text::EMPTY,
                subaddress: Text::EMPTY,
            }),
            Direction::Incoming => Message::IncomingCallRequest(IncomingCallRequest {
                call_id,
                serial_number,
                // RFC 2637 §2.9: digital; there is no "either" here.
                bearer_type: 2,
                physical_channel: 0,
                dialed_number_length: 0,
                dialing_number_length: 0,
                dialed_number: Text::EMPTY,
                dialing_number: Text::EMPTY,
                subaddress: Text::EMPTY,
            }),
        });
        self.calls.push(Call {
            handle,
            direction,
            side,
            own_call_id: Some(own_call_id),
            peer_call_id: None,
            step: Step::WaitReply { until: now + self.config.call_timeout },
        });
        self.event(Event::CallStarted { call: handle, own_call_id });
    }

    /// Takes a request of the peer to the owner, or answers it with the error that the RFC names.
    pub(super) fn requested(&mut self, request: CallRequest) {
        let peer_call_id = request.peer_call_id();
        if let Err(error) = self.admit(peer_call_id) {
            match request {
                CallRequest::Outgoing(_) => {
                    self.reply_outgoing(0, peer_call_id, OutgoingResult::GeneralError, error);
                }
                CallRequest::Incoming(_) => {
                    self.reply_incoming(0, peer_call_id, IncomingResult::GeneralError, error);
                }
            }
            self.event(Event::CallRefused { peer_call_id, error });
            return;
        }
        let handle = self.new_handle();
        let (direction, side) = match request {
            CallRequest::Outgoing(_) => (Direction::Outgoing, Side::Pac),
            CallRequest::Incoming(_) => (Direction::Incoming, Side::Pns),
        };
        self.calls.push(Call {
            handle,
            direction,
            side,
            own_call_id: None,
            peer_call_id: Some(peer_call_id),
            step: Step::Requested { peer_window: request.peer_window().unwrap_or(0) },
        });
        self.event(Event::CallRequested { call: handle, request });
    }

    /// RFC 2637 §2.16 names the errors.
    fn admit(&self, peer_call_id: u16) -> Result<(), GeneralError> {
        if !self.is_established() {
            Err(GeneralError::NotConnected)
        } else if self.calls.iter().any(|call| call.peer_call_id == Some(peer_call_id)) {
            // RFC 2637 §3.2.2: a Call ID is unique between one PNS and one PAC.
            Err(GeneralError::BadCallId)
        } else if self.calls.len() >= usize::from(self.config.max_calls) {
            Err(GeneralError::NoResource)
        } else {
            Ok(())
        }
    }

    pub(super) fn clear_call(
        &mut self,
        handle: CallHandle,
        result: DisconnectResult,
        now: Instant,
    ) {
        let until = now + self.config.call_timeout;
        let Some(call) = self.call(|call| call.handle == handle) else { return };
        match (call.side, call.step, call.own_call_id) {
            (_, Step::Requested { .. }, _) => {
                self.refuse(handle, Refusal::Prohibited, ClearCause::Local);
            }
            (_, Step::WaitDisconnect { .. }, _) => {}
            (Side::Pns, _, Some(own_call_id)) => {
                call.step = Step::WaitDisconnect { until };
                // RFC 2637 §2.12: the PNS's Call ID.
                let call_id = own_call_id.get();
                self.send(Message::CallClearRequest(CallClearRequest { call_id }));
            }
            (Side::Pac | Side::Pns, _, _) => {
                let farewell = call.disconnect(result);
                self.send(farewell);
                self.end_call(handle, ClearCause::Local);
            }
        }
    }
}
