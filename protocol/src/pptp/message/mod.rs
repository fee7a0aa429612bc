//! The fifteen control messages (RFC 2637 §2): typed values, parsed and emitted.
//! Strict about cookie, types and length; lenient about reserved fields and the ends of texts.
//! Never keeps state and never answers.

pub mod codes;

mod call;
mod control;
mod fields;

use std::fmt;

pub use call::{
    CallClearRequest, CallDisconnectNotify, IncomingCallConnected, IncomingCallReply,
    IncomingCallRequest, OutgoingCallReply, OutgoingCallRequest, SetLinkInfo, WanErrorNotify,
};
pub use control::{
    EchoReply, EchoRequest, Sender, StartReply, StartRequest, StopReply, StopRequest,
};
pub use fields::Text;
use fields::{Reader, Writer};

/// Octets of the longest message, Incoming-Call-Request.
pub const MAX_LEN: usize = 220;
/// Octets from the start of a message through its Reserved0 field.
pub const HEADER_LEN: usize = 12;
/// Magic Cookie (RFC 2637 §1.4).
pub const MAGIC_COOKIE: u32 = 0x1A2B_3C4D;

/// PPTP Message Type of a control message; the other one, management, was never defined.
const CONTROL_MESSAGE: u16 = 1;

/// Why octets are no message. The connection that brought them has to be closed (RFC 2637 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The Magic Cookie is wrong: this is not PPTP, or the stream is out of step.
    #[error("magic cookie is {0:#010x}: not PPTP, or out of step")]
    Cookie(u32),
    /// Not a control message.
    #[error("PPTP message type is {0}, not 1 (control)")]
    MessageType(u16),
    /// None of the fifteen.
    #[error("unknown control message type {0}")]
    ControlType(u16),
    /// The length does not fit the type.
    #[error("{kind} has length {length}, must be {}", kind.message_len())]
    Length {
        /// The type.
        kind: Kind,
        /// Its Length field, or the octets that are there if they are fewer.
        length: usize,
    },
    /// Fewer octets than a header.
    #[error("{0} octets are no message")]
    Truncated(usize),
}

/// Control Message Type (RFC 2637 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// SCCRQ.
    StartRequest,
    /// SCCRP.
    StartReply,
    /// StopCCRQ.
    StopRequest,
    /// StopCCRP.
    StopReply,
    /// Echo-Request.
    EchoRequest,
    /// Echo-Reply.
    EchoReply,
    /// OCRQ.
    OutgoingCallRequest,
    /// OCRP.
    OutgoingCallReply,
    /// ICRQ.
    IncomingCallRequest,
    /// ICRP.
    IncomingCallReply,
    /// ICCN.
    IncomingCallConnected,
    /// CCRQ.
    CallClearRequest,
    /// CDN.
    CallDisconnectNotify,
    /// WEN.
    WanErrorNotify,
    /// SLI.
    SetLinkInfo,
}

impl Kind {
    /// All of them, in the order of their numbers, which start at 1.
    pub const ALL: [Self; 15] = [
        Self::StartRequest,
        Self::StartReply,
        Self::StopRequest,
        Self::StopReply,
        Self::EchoRequest,
        Self::EchoReply,
        Self::OutgoingCallRequest,
        Self::OutgoingCallReply,
        Self::IncomingCallRequest,
        Self::IncomingCallReply,
        Self::IncomingCallConnected,
        Self::CallClearRequest,
        Self::CallDisconnectNotify,
        Self::WanErrorNotify,
        Self::SetLinkInfo,
    ];

    fn from_number(number: u16) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// Number on the wire, 1 to 15.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16 + 1
    }

    /// Octets of the whole message. Each type has one length.
    #[must_use]
    pub const fn message_len(self) -> usize {
        match self {
            Self::StartRequest | Self::StartReply => 156,
            Self::StopRequest | Self::StopReply | Self::EchoRequest | Self::CallClearRequest => 16,
            Self::EchoReply => 20,
            Self::OutgoingCallRequest => 168,
            Self::OutgoingCallReply => 32,
            Self::IncomingCallRequest => 220,
            Self::IncomingCallReply | Self::SetLinkInfo => 24,
            Self::IncomingCallConnected => 28,
            Self::CallDisconnectNotify => 148,
            Self::WanErrorNotify => 40,
        }
    }
}

/// The RFC's name.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StartRequest => "Start-Control-Connection-Request",
            Self::StartReply => "Start-Control-Connection-Reply",
            Self::StopRequest => "Stop-Control-Connection-Request",
            Self::StopReply => "Stop-Control-Connection-Reply",
            Self::EchoRequest => "Echo-Request",
            Self::EchoReply => "Echo-Reply",
            Self::OutgoingCallRequest => "Outgoing-Call-Request",
            Self::OutgoingCallReply => "Outgoing-Call-Reply",
            Self::IncomingCallRequest => "Incoming-Call-Request",
            Self::IncomingCallReply => "Incoming-Call-Reply",
            Self::IncomingCallConnected => "Incoming-Call-Connected",
            Self::CallClearRequest => "Call-Clear-Request",
            Self::CallDisconnectNotify => "Call-Disconnect-Notify",
            Self::WanErrorNotify => "WAN-Error-Notify",
            Self::SetLinkInfo => "Set-Link-Info",
        })
    }
}

/// The first twelve octets of a message, checked. From them on its length is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    kind: Kind,
}

impl Header {
    /// Checks cookie, types, and that the length is that of the type.
    ///
    /// # Errors
    /// Everything that [`Error`] lists but [`Error::Truncated`].
    pub fn parse(octets: &[u8; HEADER_LEN]) -> Result<Self, Error> {
        let [l0, l1, m0, m1, c0, c1, c2, c3, t0, t1, _, _] = *octets;
        let cookie = u32::from_be_bytes([c0, c1, c2, c3]);
        if cookie != MAGIC_COOKIE {
            return Err(Error::Cookie(cookie));
        }
        let message_type = u16::from_be_bytes([m0, m1]);
        if message_type != CONTROL_MESSAGE {
            return Err(Error::MessageType(message_type));
        }
        let control_type = u16::from_be_bytes([t0, t1]);
        let kind = Kind::from_number(control_type).ok_or(Error::ControlType(control_type))?;
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        if length != kind.message_len() {
            return Err(Error::Length { kind, length });
        }
        Ok(Self { kind })
    }

    /// Which message this is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }
}

/// A control message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // The variants are what they hold.
pub enum Message {
    StartRequest(StartRequest),
    StartReply(StartReply),
    StopRequest(StopRequest),
    StopReply(StopReply),
    EchoRequest(EchoRequest),
    EchoReply(EchoReply),
    OutgoingCallRequest(OutgoingCallRequest),
    OutgoingCallReply(OutgoingCallReply),
    IncomingCallRequest(IncomingCallRequest),
    IncomingCallReply(IncomingCallReply),
    IncomingCallConnected(IncomingCallConnected),
    CallClearRequest(CallClearRequest),
    CallDisconnectNotify(CallDisconnectNotify),
    WanErrorNotify(WanErrorNotify),
    SetLinkInfo(SetLinkInfo),
}

impl Message {
    /// Parses the message at the start of `octets`; what follows it is not looked at.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn parse(octets: &[u8]) -> Result<Self, Error> {
        let Some((header, body)) = octets.split_first_chunk() else {
            return Err(Error::Truncated(octets.len()));
        };
        let kind = Header::parse(header)?.kind;
        Self::parse_body(kind, &mut Reader(body))
            .ok_or(Error::Length { kind, length: octets.len() })
    }

    fn parse_body(kind: Kind, r: &mut Reader<'_>) -> Option<Self> {
        Some(match kind {
            Kind::StartRequest => Self::StartRequest(StartRequest::read(r)?),
            Kind::StartReply => Self::StartReply(StartReply::read(r)?),
            Kind::StopRequest => Self::StopRequest(StopRequest::read(r)?),
            Kind::StopReply => Self::StopReply(StopReply::read(r)?),
            Kind::EchoRequest => Self::EchoRequest(EchoRequest::read(r)?),
            Kind::EchoReply => Self::EchoReply(EchoReply::read(r)?),
            Kind::OutgoingCallRequest => Self::OutgoingCallRequest(OutgoingCallRequest::read(r)?),
            Kind::OutgoingCallReply => Self::OutgoingCallReply(OutgoingCallReply::read(r)?),
            Kind::IncomingCallRequest => Self::IncomingCallRequest(IncomingCallRequest::read(r)?),
            Kind::IncomingCallReply => Self::IncomingCallReply(IncomingCallReply::read(r)?),
            Kind::IncomingCallConnected => {
                Self::IncomingCallConnected(IncomingCallConnected::read(r)?)
            }
            Kind::CallClearRequest => Self::CallClearRequest(CallClearRequest::read(r)?),
            Kind::CallDisconnectNotify => {
                Self::CallDisconnectNotify(CallDisconnectNotify::read(r)?)
            }
            Kind::WanErrorNotify => Self::WanErrorNotify(WanErrorNotify::read(r)?),
            Kind::SetLinkInfo => Self::SetLinkInfo(SetLinkInfo::read(r)?),
        })
    }

    /// Which of the fifteen.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::StartRequest(_) => Kind::StartRequest,
            Self::StartReply(_) => Kind::StartReply,
            Self::StopRequest(_) => Kind::StopRequest,
            Self::StopReply(_) => Kind::StopReply,
            Self::EchoRequest(_) => Kind::EchoRequest,
            Self::EchoReply(_) => Kind::EchoReply,
            Self::OutgoingCallRequest(_) => Kind::OutgoingCallRequest,
            Self::OutgoingCallReply(_) => Kind::OutgoingCallReply,
            Self::IncomingCallRequest(_) => Kind::IncomingCallRequest,
            Self::IncomingCallReply(_) => Kind::IncomingCallReply,
            Self::IncomingCallConnected(_) => Kind::IncomingCallConnected,
            Self::CallClearRequest(_) => Kind::CallClearRequest,
            Self::CallDisconnectNotify(_) => Kind::CallDisconnectNotify,
            Self::WanErrorNotify(_) => Kind::WanErrorNotify,
            Self::SetLinkInfo(_) => Kind::SetLinkInfo,
        }
    }

    /// The message as octets for the stream.
    #[must_use]
    pub fn emit(&self) -> Octets {
        let kind = self.kind();
        let mut w = Writer { buffer: [0; MAX_LEN], len: 0 };
        #[allow(clippy::cast_possible_truncation)] // At most MAX_LEN.
        w.u16(kind.message_len() as u16);
        w.u16(CONTROL_MESSAGE);
        w.u32(MAGIC_COOKIE);
        w.u16(kind.number());
        w.reserved::<2>();
        match self {
            Self::StartRequest(message) => message.write(&mut w),
            Self::StartReply(message) => message.write(&mut w),
            Self::StopRequest(message) => message.write(&mut w),
            Self::StopReply(message) => message.write(&mut w),
            Self::EchoRequest(message) => message.write(&mut w),
            Self::EchoReply(message) => message.write(&mut w),
            Self::OutgoingCallRequest(message) => message.write(&mut w),
            Self::OutgoingCallReply(message) => message.write(&mut w),
            Self::IncomingCallRequest(message) => message.write(&mut w),
            Self::IncomingCallReply(message) => message.write(&mut w),
            Self::IncomingCallConnected(message) => message.write(&mut w),
            Self::CallClearRequest(message) => message.write(&mut w),
            Self::CallDisconnectNotify(message) => message.write(&mut w),
            Self::WanErrorNotify(message) => message.write(&mut w),
            Self::SetLinkInfo(message) => message.write(&mut w),
        }
        Octets(w)
    }
}

/// An emitted message.
pub struct Octets(Writer);

impl std::ops::Deref for Octets {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.buffer[..self.0.len]
    }
}

#[cfg(test)]
mod tests;
