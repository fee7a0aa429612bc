//! What goes into a control connection and what comes out of it. Types alone.

use std::fmt;
use std::num::NonZeroU16;
use std::time::Duration;

use crate::pptp::message::codes::{
    DisconnectResult, GeneralError, IncomingResult, OutgoingResult, StartResult, StopReason,
};
use crate::pptp::message::{
    self, CallDisconnectNotify, IncomingCallRequest, Kind, OutgoingCallRequest, Sender, Text,
    WanErrorNotify,
};
use crate::time::Instant;

/// How a control connection behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Our DNS name, told to the peer.
    pub host_name: Text<64>,
    /// Our product, told to the peer.
    pub vendor: Text<64>,
    /// Our revision, told to the peer.
    pub firmware_revision: u16,
    /// Packets that we say we buffer, for each call. A large one: some peers stall on a small one.
    pub window: u16,
    /// Calls at a time in this connection, whoever requested them. The peer's requests beyond it
    /// are refused.
    pub max_calls: u16,
    /// From the TCP connection to the established control connection (RFC 2637 §3.1.4: 60 s).
    pub establish_timeout: Duration,
    /// Without a message for that long, an Echo-Request is sent (RFC 2637 §3.1.4: 60 s).
    pub echo_interval: Duration,
    /// Echo-Request to Echo-Reply (RFC 2637 §3.1.4: 60 s).
    pub echo_timeout: Duration,
    /// Each step of a call that waits for the peer (RFC 2637 §3.2.1: 60 s).
    pub call_timeout: Duration,
    /// Stop-Control-Connection-Request to its reply.
    pub stop_timeout: Duration,
    /// A missing Echo-Reply closes nothing while PPP lives ([`Input::PppAlive`]): some routers
    /// never answer.
    pub ppp_keeps_alive: bool,
}

impl Default for Config {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self {
            host_name: Text::EMPTY,
            vendor: Text::new("penstock"),
            firmware_revision: 1,
            window: 1024,
            max_calls: 64,
            establish_timeout: minute,
            echo_interval: minute,
            echo_timeout: minute,
            call_timeout: minute,
            // RFC 2637 §3 allows a minute; nobody wants to wait that long for a farewell.
            stop_timeout: Duration::from_secs(5),
            ppp_keeps_alive: true,
        }
    }
}

/// Which end of the control connection this is. Either may be PAC or PNS of a call: that is a
/// matter of who requests it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Accepted the TCP connection, answers Start-Control-Connection-Request.
    Server,
    /// Opened the TCP connection, sends Start-Control-Connection-Request.
    Client,
}

/// Names a call within its control connection. Never used again there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallHandle(pub(super) u32);

impl fmt::Display for CallHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a call was requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// By the PNS, with Outgoing-Call-Request: dial-in clients do this.
    Outgoing,
    /// By the PAC, with Incoming-Call-Request.
    Incoming,
}

/// A request that the owner has to answer, as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallRequest {
    /// The peer is the PNS.
    Outgoing(OutgoingCallRequest),
    /// The peer is the PAC.
    Incoming(IncomingCallRequest),
}

impl CallRequest {
    /// The peer's Call ID: in the key of the packets that we send.
    #[must_use]
    pub const fn peer_call_id(&self) -> u16 {
        match self {
            Self::Outgoing(request) => request.call_id,
            Self::Incoming(request) => request.call_id,
        }
    }

    /// Packets that the peer buffers. The PAC of an incoming call tells it later
    /// ([`Event::CallEstablished`]).
    #[must_use]
    pub const fn peer_window(&self) -> Option<u16> {
        match self {
            Self::Outgoing(request) => Some(request.window),
            Self::Incoming(_) => None,
        }
    }
}

/// Why a requested call is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Administratively prohibited.
    Prohibited,
    /// A general error, such as [`GeneralError::NoResource`].
    Error(GeneralError),
}

/// What the owner tells a control connection.
#[derive(Debug)]
pub enum Input<'a> {
    /// The TCP connection is open. The first input, once.
    Opened,
    /// Octets from the peer. Each whole message in them yields at most two outputs, so the size of
    /// the owner's read buffer bounds what is queued.
    Received(&'a [u8]),
    /// The instant of the last [`Output::Wait`](crate::machine::Output::Wait) has come.
    DeadlinePassed,
    /// The TCP connection was closed by the peer, or broke.
    PeerClosed,
    /// Answer to [`Event::CallRequested`]. The tunnel must be known to the data plane before: the
    /// peer's first packet races the reply. A call that is gone meanwhile is ignored:
    /// [`Event::CallCleared`] has said so.
    Accept {
        /// The call.
        call: CallHandle,
        /// Our Call ID for it.
        own_call_id: NonZeroU16,
    },
    /// Answer to [`Event::CallRequested`].
    Refuse {
        /// The call.
        call: CallHandle,
        /// Why.
        refusal: Refusal,
    },
    /// Request a call of the peer. The connection must be established.
    StartCall {
        /// As PNS (outgoing) or as PAC (incoming).
        direction: Direction,
        /// Our Call ID for it. The tunnel must be known to the data plane before.
        own_call_id: NonZeroU16,
    },
    /// End a call.
    ClearCall {
        /// The call. One that is gone is ignored: it may have ended meanwhile.
        call: CallHandle,
        /// Told to the peer if we are the PAC; a PNS cannot give a reason.
        result: DisconnectResult,
    },
    /// End the connection and its calls.
    Stop(StopReason),
    /// The newest packet through a tunnel of this connection came then. Needed no earlier than
    /// with [`Self::DeadlinePassed`], before it.
    PppAlive(Instant),
}

/// What a control connection tells its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Start messages were exchanged: calls may come and go.
    Established {
        /// What the peer says of itself.
        peer: Sender,
        /// Its version of the protocol.
        version: u16,
    },
    /// The peer wants a call: register the tunnel, then [`Input::Accept`], or [`Input::Refuse`].
    CallRequested {
        /// The call.
        call: CallHandle,
        /// What it asks for.
        request: CallRequest,
    },
    /// [`Input::StartCall`] was sent to the peer.
    CallStarted {
        /// Names the call from now on.
        call: CallHandle,
        /// Our Call ID for it, from the input.
        own_call_id: NonZeroU16,
    },
    /// Data may flow.
    CallEstablished {
        /// The call.
        call: CallHandle,
        /// Our Call ID: in the key of packets that we receive.
        own_call_id: NonZeroU16,
        /// The peer's Call ID: in the key of packets that we send.
        peer_call_id: u16,
        /// Packets that the peer buffers.
        peer_window: u16,
    },
    /// Set-Link-Info came. PPTP's PPP is not byte-stuffed: it changes nothing on the wire.
    LinkInfo {
        /// The call.
        call: CallHandle,
        /// Send ACCM.
        send_accm: u32,
        /// Receive ACCM.
        receive_accm: u32,
    },
    /// The peer's PAC counts errors on its line.
    WanError {
        /// The call.
        call: CallHandle,
        /// The counters.
        errors: WanErrorNotify,
    },
    /// The call is over; its Call ID may be freed.
    CallCleared {
        /// The call.
        call: CallHandle,
        /// Our Call ID, if the call had one.
        own_call_id: Option<NonZeroU16>,
        /// Why.
        cause: ClearCause,
    },
    /// [`Input::StartCall`] was impossible: the connection is not established, or has a call with
    /// this Call ID.
    CallNotStarted {
        /// Our Call ID, from the input.
        own_call_id: NonZeroU16,
    },
    /// A request of the peer was answered with an error that is no business of the owner's.
    CallRefused {
        /// The peer's Call ID.
        peer_call_id: u16,
        /// The answer.
        error: GeneralError,
    },
    /// A message names a call that does not exist, or that is not in a state for it. It changed
    /// nothing; after a call's end it is normal.
    Ignored {
        /// Which message.
        kind: Kind,
        /// The Call ID in it, 0 if it has none.
        call_id: u16,
    },
    /// The peer does not answer Echo-Requests; PPP is alive, so the connection stays.
    EchoUnanswered,
    /// The connection is over and so are its calls: close TCP once all is sent. Always the last
    /// event.
    Closed(CloseReason),
}

/// What error and cause add to a result; zero adds nothing (RFC 2637 §2.16).
fn detail(error: GeneralError, cause: u16) -> String {
    match (error, cause) {
        (GeneralError::None, 0) => String::new(),
        (GeneralError::None, cause) => format!(" (cause {cause})"),
        (error, 0) => format!(" (error: {error})"),
        (error, cause) => format!(" (error: {error}, cause {cause})"),
    }
}

/// Why a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClearCause {
    /// [`Input::ClearCall`] or [`Input::Refuse`].
    #[error("cleared by this end")]
    Local,
    /// [`Input::Accept`] named a Call ID that another call of this connection has.
    #[error("own Call ID is in use already")]
    OwnCallIdInUse,
    /// The peer is PNS and sent Call-Clear-Request.
    #[error("cleared by the peer (Call-Clear-Request)")]
    Requested,
    /// The peer is PAC and sent Call-Disconnect-Notify.
    #[error("disconnected by the peer: {}{}", .0.result, detail(.0.error, .0.cause))]
    Disconnected(CallDisconnectNotify),
    /// The peer refused our outgoing call.
    #[error("refused by the peer: {result}{}", detail(*error, *cause))]
    OutgoingRefused {
        /// Its result.
        result: OutgoingResult,
        /// Says more of a general error.
        error: GeneralError,
        /// Says more of a failure.
        cause: u16,
    },
    /// The peer refused our incoming call.
    #[error("refused by the peer: {result}{}", detail(*error, 0))]
    IncomingRefused {
        /// Its result.
        result: IncomingResult,
        /// Says more of a general error.
        error: GeneralError,
    },
    /// The control connection is over, [`Event::Closed`] follows.
    #[error("the control connection ended")]
    ConnectionEnded,
}

/// Why a control connection ended, in an operator's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// [`Input::Stop`], and the peer agreed or closed TCP.
    #[error("stopped by this end")]
    Stopped,
    /// [`Input::Stop`], and no answer came in time.
    #[error("stopped by this end; the peer did not answer")]
    StopUnanswered,
    /// The peer asked for it.
    #[error("stopped by the peer: {0}")]
    PeerStopped(StopReason),
    /// TCP ended.
    #[error("TCP connection closed by the peer")]
    PeerClosed,
    /// The start messages did not come in time.
    #[error("the peer did not establish the control connection in time")]
    NotEstablished,
    /// No Echo-Reply and no PPP.
    #[error("the peer does not answer Echo-Requests")]
    EchoTimeout,
    /// A step of a call did not come in time (RFC 2637 §3.2.1: the entire connection is closed).
    #[error("the peer did not send {0} in time")]
    CallTimeout(Kind),
    /// Octets that are no message.
    #[error("protocol violation: {0}")]
    Malformed(#[from] message::Error),
    /// A message that has no place here.
    #[error("protocol violation: unexpected {0}")]
    Unexpected(Kind),
    /// The peer gave two calls the same Call ID.
    #[error("protocol violation: the peer used its Call ID {0} for two calls")]
    PeerCallIdTwice(u16),
    /// The peer's version of the protocol is too old.
    #[error("the peer speaks PPTP version {:#06x}, 0x0100 is needed", .0)]
    Version(u16),
    /// The server refused our Start-Control-Connection-Request.
    #[error("the server refused the control connection: {result}{}", detail(*error, 0))]
    StartRefused {
        /// Its result.
        result: StartResult,
        /// Says more of a general error.
        error: GeneralError,
    },
}
