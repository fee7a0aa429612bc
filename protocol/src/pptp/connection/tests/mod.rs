//! What the tests share: one end, whose peer and owner is the test.

mod answers;
mod pair;
mod table;
mod timers;

use std::num::NonZeroU16;
use std::time::Duration;

use super::*;
use crate::machine::{Action, drive};
use crate::pptp::message::codes::{
    DisconnectResult, IncomingResult, OutgoingResult, PlainResult, StopReason,
};
use crate::pptp::message::{
    CallClearRequest, CallDisconnectNotify, EchoReply, IncomingCallConnected, IncomingCallReply,
    IncomingCallRequest, Kind, OutgoingCallReply, OutgoingCallRequest, SetLinkInfo, StopReply,
    Text, WanErrorNotify,
};

/// Our Call ID in these tests, and the peer's.
const OWN: u16 = 100;
const PEER: u16 = 200;

fn own() -> NonZeroU16 {
    NonZeroU16::new(OWN).unwrap()
}

fn at(seconds: u64) -> Instant {
    Instant::ORIGIN + Duration::from_secs(seconds)
}

type Actions = Vec<Action<Message, Event>>;

/// A machine under test and its clock.
struct End {
    machine: Connection,
    now: Instant,
    deadline: Option<Instant>,
}

impl End {
    fn server() -> Self {
        Self::opened(Connection::server(config()))
    }

    fn client() -> Self {
        Self::opened(Connection::client(config()))
    }

    fn opened(machine: Connection) -> Self {
        let mut end = Self { machine, now: Instant::ORIGIN, deadline: None };
        end.input(Input::Opened);
        end
    }

    /// With start messages exchanged.
    fn established(role: Role) -> Self {
        let mut end = match role {
            Role::Server => Self::server(),
            Role::Client => Self::client(),
        };
        end.receive(match role {
            Role::Server => start_request(VERSION),
            Role::Client => start_reply(VERSION, StartResult::Ok),
        });
        assert!(end.machine.is_established());
        end
    }

    fn input(&mut self, input: Input<'_>) -> Actions {
        let mut actions = Vec::new();
        self.deadline = drive(&mut self.machine, input, self.now, |action| actions.push(action));
        actions
    }

    fn receive(&mut self, message: Message) -> Actions {
        self.input(Input::Received(&message.emit()))
    }

    fn at(&mut self, seconds: u64, input: Input<'_>) -> Actions {
        self.now = at(seconds);
        self.input(input)
    }

    /// A server's call that the peer requested.
    fn requested(&mut self, request: Message) -> CallHandle {
        match &self.receive(request)[..] {
            [Action::Event(Event::CallRequested { call, .. })] => *call,
            other => panic!("{other:?}"),
        }
    }

    /// A server's call with a client: we are the PAC.
    fn as_pac(&mut self) -> CallHandle {
        let call = self.requested(outgoing_request(PEER));
        self.input(Input::Accept { call, own_call_id: own() });
        call
    }

    /// A client's call with a server: we are the PNS.
    fn as_pns(&mut self) -> CallHandle {
        let call = self.started(Direction::Outgoing);
        self.receive(outgoing_reply(OutgoingResult::Connected));
        call
    }

    fn started(&mut self, direction: Direction) -> CallHandle {
        match &self.input(Input::StartCall { direction, own_call_id: own() })[..] {
            [Action::Send(_), Action::Event(Event::CallStarted { call, .. })] => *call,
            other => panic!("{other:?}"),
        }
    }
}

fn config() -> Config {
    Config { host_name: Text::new("test"), max_calls: 2, ..Config::default() }
}

fn sender() -> Sender {
    Sender {
        framing_capabilities: 1,
        bearer_capabilities: 1,
        maximum_channels: 0,
        firmware_revision: 7,
        host_name: Text::new("peer"),
        vendor: Text::new("vendor"),
    }
}

fn start_request(version: u16) -> Message {
    Message::StartRequest(StartRequest { version, sender: sender() })
}

fn start_reply(version: u16, result: StartResult) -> Message {
    let error = GeneralError::None;
    Message::StartReply(StartReply { version, result, error, sender: sender() })
}

fn outgoing_request(call_id: u16) -> Message {
    Message::OutgoingCallRequest(OutgoingCallRequest {
        call_id,
        serial_number: 1,
        minimum_bps: 300,
        maximum_bps: 100_000_000,
        bearer_type: 3,
        framing_type: 3,
        window: 64,
        processing_delay: 0,
        phone_number_length: 0,
        phone_number: Text::EMPTY,
        subaddress: Text::EMPTY,
    })
}

fn outgoing_reply(result: OutgoingResult) -> Message {
    Message::OutgoingCallReply(OutgoingCallReply {
        call_id: if result == OutgoingResult::Connected { PEER } else { 0 },
        peer_call_id: OWN,
        result,
        error: GeneralError::None,
        cause: 0,
        connect_speed: 1,
        window: 64,
        processing_delay: 0,
        physical_channel: 0,
    })
}

fn incoming_request(call_id: u16) -> Message {
    Message::IncomingCallRequest(IncomingCallRequest {
        call_id,
        serial_number: 1,
        bearer_type: 2,
        physical_channel: 0,
        dialed_number_length: 0,
        dialing_number_length: 0,
        dialed_number: Text::EMPTY,
        dialing_number: Text::EMPTY,
        subaddress: Text::EMPTY,
    })
}

fn incoming_reply(result: IncomingResult) -> Message {
    Message::IncomingCallReply(IncomingCallReply {
        call_id: PEER,
        peer_call_id: OWN,
        result,
        error: GeneralError::None,
        window: 64,
        transmit_delay: 0,
    })
}

fn disconnect(call_id: u16) -> Message {
    Message::CallDisconnectNotify(CallDisconnectNotify {
        call_id,
        result: DisconnectResult::LostCarrier,
        error: GeneralError::None,
        cause: 16,
        statistics: Text::EMPTY,
    })
}

fn link_info(peer_call_id: u16) -> Message {
    let (send_accm, receive_accm) = (u32::MAX, u32::MAX);
    Message::SetLinkInfo(SetLinkInfo { peer_call_id, send_accm, receive_accm })
}

/// One message of each kind; the Call IDs are those of the calls that these tests make.
fn one_of(kind: Kind) -> Message {
    let (result, error) = (PlainResult::Ok, GeneralError::None);
    match kind {
        Kind::StartRequest => start_request(VERSION),
        Kind::StartReply => start_reply(VERSION, StartResult::Ok),
        Kind::StopRequest => Message::StopRequest(StopRequest { reason: StopReason::None }),
        Kind::StopReply => Message::StopReply(StopReply { result, error }),
        Kind::EchoRequest => Message::EchoRequest(EchoRequest { identifier: 77 }),
        Kind::EchoReply => Message::EchoReply(EchoReply { identifier: 1, result, error }),
        Kind::OutgoingCallRequest => outgoing_request(PEER),
        Kind::OutgoingCallReply => outgoing_reply(OutgoingResult::Connected),
        Kind::IncomingCallRequest => incoming_request(PEER),
        Kind::IncomingCallReply => incoming_reply(IncomingResult::Connect),
        Kind::IncomingCallConnected => Message::IncomingCallConnected(IncomingCallConnected {
            peer_call_id: OWN,
            connect_speed: 1,
            window: 64,
            transmit_delay: 0,
            framing_type: 2,
        }),
        // RFC 2637 §2.12, §2.13: each names the Call ID of its sender.
        Kind::CallClearRequest => Message::CallClearRequest(CallClearRequest { call_id: PEER }),
        Kind::CallDisconnectNotify => disconnect(PEER),
        Kind::WanErrorNotify => Message::WanErrorNotify(WanErrorNotify {
            peer_call_id: OWN,
            crc_errors: 1,
            framing_errors: 0,
            hardware_overruns: 0,
            buffer_overruns: 0,
            timeout_errors: 0,
            alignment_errors: 0,
        }),
        Kind::SetLinkInfo => link_info(OWN),
    }
}

/// Actions in the words of a transcript.
fn words(actions: &[Action<Message, Event>]) -> Vec<String> {
    actions
        .iter()
        .map(|action| match action {
            Action::Send(message) => format!("send {}", message_words(message)),
            Action::Event(event) => event_words(event),
        })
        .collect()
}

fn message_words(message: &Message) -> String {
    let kind = message.kind();
    match message {
        Message::StartReply(reply) => format!("{kind} ({})", reply.result),
        Message::StopRequest(request) => format!("{kind} ({})", request.reason),
        Message::EchoRequest(echo) => format!("{kind} #{}", echo.identifier),
        Message::EchoReply(echo) => format!("{kind} #{} ({})", echo.identifier, echo.error),
        Message::OutgoingCallReply(reply) => {
            let (own, peer) = (reply.call_id, reply.peer_call_id);
            format!("{kind} {own}/{peer} ({}, {})", reply.result, reply.error)
        }
        Message::IncomingCallReply(reply) => {
            let (own, peer) = (reply.call_id, reply.peer_call_id);
            format!("{kind} {own}/{peer} ({}, {})", reply.result, reply.error)
        }
        Message::IncomingCallConnected(connected) => format!("{kind} {}", connected.peer_call_id),
        Message::CallClearRequest(clear) => format!("{kind} {}", clear.call_id),
        Message::CallDisconnectNotify(notify) => {
            format!("{kind} {} ({})", notify.call_id, notify.result)
        }
        _ => kind.to_string(),
    }
}

fn event_words(event: &Event) -> String {
    match event {
        Event::Established { peer, .. } => format!("established with {}", peer.host_name),
        Event::CallRequested { call, request } => {
            format!("call {call} requested, peer's ID {}", request.peer_call_id())
        }
        Event::CallStarted { call, .. } => format!("call {call} started"),
        Event::CallEstablished { call, own_call_id, peer_call_id, peer_window } => {
            format!("call {call} established {own_call_id}/{peer_call_id}, window {peer_window}")
        }
        Event::CallCleared { call, cause, .. } => format!("call {call} over: {cause}"),
        Event::LinkInfo { call, .. } => format!("call {call}: link info"),
        Event::WanError { call, .. } => format!("call {call}: WAN errors"),
        Event::CallNotStarted { own_call_id } => format!("call with ID {own_call_id} not started"),
        Event::CallRefused { peer_call_id, error } => {
            format!("request with ID {peer_call_id} refused: {error}")
        }
        Event::Ignored { kind, call_id } => format!("ignored {kind} {call_id}"),
        Event::EchoUnanswered => "echo unanswered".into(),
        Event::Closed(reason) => format!("closed: {reason}"),
    }
}
