//! Messages about the control connection itself (RFC 2637 §2.1 to §2.6). Only their fields: what
//! they do is the connection's business.

use super::codes::{GeneralError, PlainResult, StartResult, StopReason};
use super::fields::{Reader, Text, Writer};

/// What both start messages say of their sender (RFC 2637 §2.1, §2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// 1: asynchronous framing, 2: synchronous.
    pub framing_capabilities: u32,
    /// 1: analog access, 2: digital.
    pub bearer_capabilities: u32,
    /// Sessions that a PAC can carry. A PNS sends 0, a PAC ignores it.
    pub maximum_channels: u16,
    /// Firmware revision of a PAC, driver version of a PNS.
    pub firmware_revision: u16,
    /// DNS name.
    pub host_name: Text<64>,
    /// Which product this is.
    pub vendor: Text<64>,
}

impl Sender {
    fn read(r: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            framing_capabilities: r.u32()?,
            bearer_capabilities: r.u32()?,
            maximum_channels: r.u16()?,
            firmware_revision: r.u16()?,
            host_name: r.text()?,
            vendor: r.text()?,
        })
    }

    fn write(&self, w: &mut Writer) {
        w.u32(self.framing_capabilities);
        w.u32(self.bearer_capabilities);
        w.u16(self.maximum_channels);
        w.u16(self.firmware_revision);
        w.text(&self.host_name);
        w.text(&self.vendor);
    }
}

/// Start-Control-Connection-Request (RFC 2637 §2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartRequest {
    /// Version of the protocol that the sender wishes to use; 1.0 is 0x0100.
    pub version: u16,
    /// Who sends it.
    pub sender: Sender,
}

impl StartRequest {
    pub(super) fn read(r: &mut Reader<'_>) -> Option<Self> {
        let version = r.u16()?;
        r.reserved::<2>()?;
        Some(Self { version, sender: Sender::read(r)? })
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.u16(self.version);
        w.reserved::<2>();
        self.sender.write(w);
    }
}

/// Start-Control-Connection-Reply (RFC 2637 §2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartReply {
    /// Version of the protocol that the sender wishes to use.
    pub version: u16,
    /// Whether the connection is established.
    pub result: StartResult,
    /// Says more of a general error.
    pub error: GeneralError,
    /// Who sends it.
    pub sender: Sender,
}

impl StartReply {
    pub(super) fn read(r: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            version: r.u16()?,
            result: r.u8()?.into(),
            error: r.u8()?.into(),
            sender: Sender::read(r)?,
        })
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.u16(self.version);
        w.u8(self.result.into());
        w.u8(self.error.into());
        self.sender.write(w);
    }
}

/// Stop-Control-Connection-Request (RFC 2637 §2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopRequest {
    /// Why the connection should be closed.
    pub reason: StopReason,
}

impl StopRequest {
    pub(super) fn read(r: &mut Reader<'_>) -> Option<Self> {
        let reason = r.u8()?.into();
        r.reserved::<3>()?;
        Some(Self { reason })
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.u8(self.reason.into());
        w.reserved::<3>();
    }
}

/// Stop-Control-Connection-Reply (RFC 2637 §2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopReply {
    /// Whether the connection is closed.
    pub result: PlainResult,
    /// Says more of a general error.
    pub error: GeneralError,
}

impl StopReply {
    pub(super) fn read(r: &mut Reader<'_>) -> Option<Self> {
        let reply = Self { result: r.u8()?.into(), error: r.u8()?.into() };
        r.reserved::<2>()?;
        Some(reply)
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.u8(self.result.into());
        w.u8(self.error.into());
        w.reserved::<2>();
    }
}

/// Echo-Request (RFC 2637 §2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EchoRequest {
    /// Comes back in the reply.
    pub identifier: u32,
}

impl EchoRequest {
    pub(super) fn read(r: &mut Reader<'_>) -> Option<Self> {
        Some(Self { identifier: r.u32()? })
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.u32(self.identifier);
    }
}

/// Echo-Reply (RFC 2637 §2.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EchoReply {
    /// Copied from the request.
    pub identifier: u32,
    /// Whether the request was accepted.
    pub result: PlainResult,
    /// Says more of a general error.
    pub error: GeneralError,
}

impl EchoReply {
    pub(super) fn read(r: &mut Reader<'_>) -> Option<Self> {
        let reply = Self { identifier: r.u32()?, result: r.u8()?.into(), error: r.u8()?.into() };
        r.reserved::<2>()?;
        Some(reply)
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.u32(self.identifier);
        w.u8(self.result.into());
        w.u8(self.error.into());
        w.reserved::<2>();
    }
}
