//! Messages about calls (RFC 2637 §2.7 to §2.15). Only their fields: what they do is the
//! connection's business. Windows are in packets, delays in tenths of a second, speeds in bits per
//! second.

use super::codes::{DisconnectResult, GeneralError, IncomingResult, OutgoingResult};
use super::fields::{Reader, Text, Writer};

/// Outgoing-Call-Request, PNS to PAC (RFC 2637 §2.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutgoingCallRequest {
    /// The PNS's Call ID.
    pub call_id: u16,
    /// Names the call in the logs of both sides.
    pub serial_number: u16,
    /// Lowest acceptable speed.
    pub minimum_bps: u32,
    /// Highest acceptable speed.
    pub maximum_bps: u32,
    /// 1: analog, 2: digital, 3: either.
    pub bearer_type: u32,
    /// 1: asynchronous, 2: synchronous, 3: either.
    pub framing_type: u32,
    /// Packets that the PNS buffers.
    pub window: u16,
    /// Delay that the PNS may add.
    pub processing_delay: u16,
    /// Digits in the phone number, as the peer counts them.
    pub phone_number_length: u16,
    /// The number to dial.
    pub phone_number: Text<64>,
    /// More of it.
    pub subaddress: Text<64>,
}

impl OutgoingCallRequest {
    pub(super) fn read(r: &mut Reader<'_>) -> Option<Self> {
        let call_id = r.u16()?;
        let serial_number = r.u16()?;
        let minimum_bps = r.u32()?;
        let maximum_bps = r.u32()?;
        let bearer_type = r.u32()?;
        let framing_type = r.u32()?;
        let window = r.u16()?;
        let processing_delay = r.u16()?;
        let phone_number_length = r.u16()?;
        r.reserved::<2>()?;
        Some(Self {
            call_id,
            serial_number,
            minimum_bps,
            maximum_bps,
            bearer_type,
            framing_type,
            window,
            processing_delay,
            phone_number_length,
            phone_number: r.text()?,
            subaddress: r.text()?,
        })
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.u16(self.call_id);
        w.u16(self.serial_number);
        w.u32(self.minimum_bps);
        w.u32(self.maximum_bps);
        w.u32(self.bearer_type);
        w.u32(self.framing_type);
        w.u16(self.window);
        w.u16(self.processing_delay);
        w.u16(self.phone_number_length);
        w.reserved::<2>();
        w.text(&self.phone_number);
        w.text(&self.subaddress);
    }
}

/// Outgoing-Call-Reply, PAC to PNS (RFC 2637 §2.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutgoingCallReply {
    /// The PAC's Call ID.
    pub call_id: u16,
    /// The PNS's Call ID, from the request.
    pub peer_call_id: u16,
    /// Whether the call is established.
    pub result: OutgoingResult,
    /// Says more of a general error.
    pub error: GeneralError,
    /// Says more of a failure; Q.931's causes for ISDN.
    pub cause: u16,
    /// Actual speed.
    pub connect_speed: u32,
    /// Packets that the PAC buffers.
    pub window: u16,
    /// Delay that the PAC may add.
    pub processing_delay: u16,
    /// For logs only.
    pub physical_channel: u32,
}

impl OutgoingCallReply {
    pub(super) fn read(r: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            call_id: r.u16()?,
            peer_call_id: r.u16()?,
            result: r.u8()?.into(),
            error: r.u8()?.into(),
            cause: r.u16()?,
            connect_speed: r.u32()?,
            window: r.u16()?,
            processing_delay: r.u16()?,
            physical_channel: r.u32()?,
        })
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.u16(self.call_id);
        w.u16(self.peer_call_id);
        w.u8(self.result.into());
        w.u8(self.error.into());
        w.u16(self.cause);
        w.u32(self.connect_speed);
        w.u16(self.window);
        w.u16(self.processing_delay);
        w.u32(self.physical_channel);
    }
}

/// Incoming-Call-Request, PAC to PNS (RFC 2637 §2.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IncomingCallRequest {
    /// The PAC's Call ID.
    pub call_id: u16,
    /// Names the call in the logs of both sides.
    pub serial_number: u16,
    /// 1: analog, 2: digital.
    pub bearer_type: u32,
    /// The channel that the call arrived on.
    pub physical_channel: u32,
    /// Digits in the dialed number, as the peer counts them.
    pub dialed_number_length: u16,
    /// Digits in the dialing number, as the peer counts them.
    pub dialing_number_length: u16,
    /// The number that the caller dialed.
    pub dialed_number: Text<64>,
    /// The caller's number.
    pub dialing_number: Text<64>,
    /// More of it.
    pub subaddress: Text<64>,
}

impl IncomingCallRequest {
    pub(super) fn read(r: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            call_id: r.u16()?,
            serial_number: r.u16()?,
            bearer_type: r.u32()?,
            physical_channel: r.u32()?,
            dialed_number_length: r.u16()?,
            dialing_number_length: r.u16()?,
            dialed_number: r.text()?,
            dialing_number: r.text()?,
            subaddress: r.text()?,
        })
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.u16(self.call_id);
        w.u16(self.serial_number);
        w.u32(self.bearer_type);
        w.u32(self.physical_channel);
        w.u16(self.dialed_number_length);
        w.u16(self.dialing_number_length);
        w.text(&self.dialed_number);
        w.text(&self.dialing_number);
        w.text(&self.subaddress);
    }
}

/// Incoming-Call-Reply, PNS to PAC (RFC 2637 §2.10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IncomingCallReply {
    /// The PNS's Call ID.
    pub call_id: u16,
    /// The PAC's Call ID, from the request.
    pub peer_call_id: u16,
    /// Whether the PAC should answer the call.
    pub result: IncomingResult,
    /// Says more of a general error.
    pub error: GeneralError,
    /// Packets that the PNS buffers.
    pub window: u16,
    /// Delay that the PNS may add.
    pub transmit_delay: u16,
}

impl IncomingCallReply {
    pub(super) fn read(r: &mut Reader<'_>) -> Option<Self> {
        let reply = Self {
            call_id: r.u16()?,
            peer_call_id: r.u16()?,
            result: r.u8()?.into(),
            error: r.u8()?.into(),
            window: r.u16()?,
            transmit_delay: r.u16()?,
        };
        r.reserved::<2>()?;
        Some(reply)
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.u16(self.call_id);
        w.u16(self.peer_call_id);
        w.u8(self.result.into());
        w.u8(self.error.into());
        w.u16(self.window);
        w.u16(self.transmit_delay);
        w.reserved::<2>();
    }
}

/// Incoming-Call-Connected, PAC to PNS (RFC 2637 §2.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IncomingCallConnected {
    /// The PNS's Call ID, from the reply.
    pub peer_call_id: u16,
    /// Actual speed.
    pub connect_speed: u32,
    /// Packets that the PAC buffers.
    pub window: u16,
    /// Delay that the PAC may add.
    pub transmit_delay: u16,
    /// 1: asynchronous, 2: synchronous.
    pub framing_type: u32,
}

impl IncomingCallConnected {
    pub(super) fn read(r: &mut Reader<'_>) -> Option<Self> {
        let peer_call_id = r.u16()?;
        r.reserved::<2>()?;
        Some(Self {
            peer_call_id,
            connect_speed: r.u32()?,
            window: r.u16()?,
            transmit_delay: r.u16()?,
            framing_type: r.u32()?,
        })
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.u16(self.peer_call_id);
        w.reserved::<2>();
        w.u32(self.connect_speed);
        w.u16(self.window);
        w.u16(self.transmit_delay);
        w.u32(self.framing_type);
    }
}

/// Call-Clear-Request, PNS to PAC (RFC 2637 §2.12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallClearRequest {
    /// The PNS's Call ID: the PAC's may not be known yet.
    pub call_id: u16,
}

impl CallClearRequest {
    pub(super) fn read(r: &mut Reader<'_>) -> Option<Self> {
        let call_id = r.u16()?;
        r.reserved::<2>()?;
        Some(Self { call_id })
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.u16(self.call_id);
        w.reserved::<2>();
    }
}

/// Call-Disconnect-Notify, PAC to PNS (RFC 2637 §2.13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallDisconnectNotify {
    /// The PAC's Call ID.
    pub call_id: u16,
    /// Why the call ended.
    pub result: DisconnectResult,
    /// Says more of a general error.
    pub error: GeneralError,
    /// Says more of the end; Q.931's causes for ISDN.
    pub cause: u16,
    /// Vendor-specific, for logs.
    pub statistics: Text<128>,
}

impl CallDisconnectNotify {
    pub(super) fn read(r: &mut Reader<'_>) -> Option<Self> {
        let call_id = r.u16()?;
        let result = r.u8()?.into();
        let error = r.u8()?.into();
        let cause = r.u16()?;
        r.reserved::<2>()?;
        Some(Self { call_id, result, error, cause, statistics: r.text()? })
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.u16(self.call_id);
        w.u8(self.result.into());
        w.u8(self.error.into());
        w.u16(self.cause);
        w.reserved::<2>();
        w.text(&self.statistics);
    }
}

/// WAN-Error-Notify, PAC to PNS (RFC 2637 §2.14). Counters since the call was established.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WanErrorNotify {
    /// The PNS's Call ID.
    pub peer_call_id: u16,
    /// Frames with CRC errors.
    pub crc_errors: u32,
    /// Improperly framed packets.
    pub framing_errors: u32,
    /// Overruns of receive buffers.
    pub hardware_overruns: u32,
    /// Overruns of buffers.
    pub buffer_overruns: u32,
    /// Time-outs.
    pub timeout_errors: u32,
    /// Alignment errors.
    pub alignment_errors: u32,
}

impl WanErrorNotify {
    pub(super) fn read(r: &mut Reader<'_>) -> Option<Self> {
        let peer_call_id = r.u16()?;
        r.reserved::<2>()?;
        Some(Self {
            peer_call_id,
            crc_errors: r.u32()?,
            framing_errors: r.u32()?,
            hardware_overruns: r.u32()?,
            buffer_overruns: r.u32()?,
            timeout_errors: r.u32()?,
            alignment_errors: r.u32()?,
        })
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.u16(self.peer_call_id);
        w.reserved::<2>();
        w.u32(self.crc_errors);
        w.u32(self.framing_errors);
        w.u32(self.hardware_overruns);
        w.u32(self.buffer_overruns);
        w.u32(self.timeout_errors);
        w.u32(self.alignment_errors);
    }
}

/// Set-Link-Info, PNS to PAC (RFC 2637 §2.15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetLinkInfo {
    /// The PAC's Call ID.
    pub peer_call_id: u16,
    /// Characters to escape when sending on an asynchronous line.
    pub send_accm: u32,
    /// Characters to drop when receiving on an asynchronous line.
    pub receive_accm: u32,
}

impl SetLinkInfo {
    pub(super) fn read(r: &mut Reader<'_>) -> Option<Self> {
        let peer_call_id = r.u16()?;
        r.reserved::<2>()?;
        Some(Self { peer_call_id, send_accm: r.u32()?, receive_accm: r.u32()? })
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.u16(self.peer_call_id);
        w.reserved::<2>();
        w.u32(self.send_accm);
        w.u32(self.receive_accm);
    }
}
