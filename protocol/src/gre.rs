//! Enhanced GRE, the data channel of PPTP (RFC 2637 §4): headers, sequence numbers, replay window
//! and acknowledgments. Small `Copy` values for the path of a packet: nothing here allocates, and
//! nothing moves a window before its caller says that the payload was accepted.

use std::time::Duration;

use crate::time::Instant;

/// IP protocol number of GRE.
pub const IP_PROTOCOL: u8 = 47;
/// Protocol type of PPP in GRE (RFC 2637 §4.1).
pub const PROTOCOL_TYPE: u16 = 0x880B;
/// Octets of the longest header: both numbers are present.
pub const MAX_HEADER_LEN: usize = 16;
/// Octets of the shortest header: no number is present.
pub const MIN_HEADER_LEN: usize = 8;

/// How long an acknowledgment may wait for a data packet to ride on.
pub const ACK_DELAY: Duration = Duration::from_millis(100);

// The first sixteen bits (RFC 2637 §4.1).
const CHECKSUM: u16 = 0x8000;
const ROUTING: u16 = 0x4000;
const KEY: u16 = 0x2000;
const SEQUENCE: u16 = 0x1000;
const STRICT_ROUTE: u16 = 0x0800;
const RECURSION: u16 = 0x0700;
const ACKNOWLEDGMENT: u16 = 0x0080;
const FLAGS: u16 = 0x0078;
const VERSION: u16 = 0x0007;
/// All bits that must be zero.
const MUST_BE_ZERO: u16 = CHECKSUM | ROUTING | STRICT_ROUTE | RECURSION | FLAGS;

/// A header of enhanced GRE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The receiver's Call ID (RFC 2637 §4.1).
    pub call_id: u16,
    /// Octets of payload. Zero when `sequence` is absent.
    pub payload_len: u16,
    /// Present if and only if the packet carries data.
    pub sequence: Option<u32>,
    /// Highest sequence number that the sender has accepted from us.
    pub acknowledgment: Option<u32>,
}

/// Why a packet is no PPTP data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Other GRE: it is somebody else's to take, and to be passed on rather than dropped.
    #[error("GRE version {version}, protocol {protocol:#06x}: not PPTP")]
    NotOurs {
        /// Version bits, 0 to 7.
        version: u8,
        /// Protocol type.
        protocol: u16,
    },
    /// Claims to be PPTP's and is wrong.
    #[error("malformed GRE: {0}")]
    Malformed(Malformed),
}

/// What is wrong with a packet that claims to be PPTP's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Shorter than its header.
    #[error("header cut short")]
    Truncated,
    /// The K bit is missing.
    #[error("no key")]
    NoKey,
    /// A bit is set that must be zero: C, R, s, Recur or Flags.
    #[error("reserved bits set")]
    ReservedBits,
    /// The payload length exceeds what arrived.
    #[error("payload length exceeds the packet")]
    PayloadLength,
    /// Payload without a sequence number.
    #[error("payload without sequence number")]
    Unsequenced,
    /// Neither payload nor acknowledgment.
    #[error("neither sequence nor acknowledgment number")]
    Empty,
}

impl Header {
    /// Splits a packet (without its IP header) into header and payload.
    ///
    /// What follows the payload is cut off: Ethernet pads short frames, so the key's payload length
    /// is trusted and not the frame's.
    ///
    /// # Errors
    /// [`Error::NotOurs`] for other GRE, [`Error::Malformed`] for what is broken.
    #[inline]
    pub fn parse(packet: &[u8]) -> Result<(Self, &[u8]), Error> {
        let malformed = |reason| Err(Error::Malformed(reason));
        let Some((&[b0, b1, b2, b3, l0, l1, c0, c1], rest)) = packet.split_first_chunk() else {
            return Err(refusal(packet));
        };
        let bits = u16::from_be_bytes([b0, b1]);
        // RFC 2637 §4.1: Ver must contain 1, K is set, and Protocol Type is 0x880B.
        if bits & (VERSION | KEY | MUST_BE_ZERO) != KEY | 1
            || u16::from_be_bytes([b2, b3]) != PROTOCOL_TYPE
        {
            return Err(refusal(packet));
        }
        let payload_len = u16::from_be_bytes([l0, l1]);
        let mut rest = rest;
        let mut number = |present: bool| match (present, rest.split_first_chunk()) {
            (false, _) => Ok(None),
            (true, Some((octets, after))) => {
                rest = after;
                Ok(Some(u32::from_be_bytes(*octets)))
            }
            (true, None) => Err(Error::Malformed(Malformed::Truncated)),
        };
        // An acknowledgment without sequence number stands at offset 8, with one at offset 12.
        let sequence = number(bits & SEQUENCE != 0)?;
        let acknowledgment = number(bits & ACKNOWLEDGMENT != 0)?;
        match (sequence, acknowledgment) {
            (None, None) => return malformed(Malformed::Empty),
            // RFC 2637 §4.1: S is set if payload is present.
            (None, _) if payload_len != 0 => return malformed(Malformed::Unsequenced),
            _ => {}
        }
        let Some(payload) = rest.get(..usize::from(payload_len)) else {
            return malformed(Malformed::PayloadLength);
        };
        let call_id = u16::from_be_bytes([c0, c1]);
        Ok((Self { call_id, payload_len, sequence, acknowledgment }, payload))
    }

    /// Octets of this header: 8, 12 or 16.
    #[must_use]
    #[inline]
    pub const fn header_len(&self) -> usize {
        MIN_HEADER_LEN
            + if self.sequence.is_some() { 4 } else { 0 }
            + if self.acknowledgment.is_some() { 4 } else { 0 }
    }

    /// Writes the header to the start of `buffer` and returns its length.
    #[inline]
    pub fn emit(&self, buffer: &mut [u8; MAX_HEADER_LEN]) -> usize {
        let mut bits = KEY | 1;
        let [first, second] = match (self.sequence, self.acknowledgment) {
            (Some(sequence), acknowledgment) => [sequence, acknowledgment.unwrap_or(0)],
            (None, acknowledgment) => [acknowledgment.unwrap_or(0), 0],
        };
        if self.sequence.is_some() {
            bits |= SEQUENCE;
        }
        if self.acknowledgment.is_some() {
            bits |= ACKNOWLEDGMENT;
        }
        buffer[0..2].copy_from_slice(&bits.to_be_bytes());
        buffer[2..4].copy_from_slice(&PROTOCOL_TYPE.to_be_bytes());
        buffer[4..6].copy_from_slice(&self.payload_len.to_be_bytes());
        buffer[6..8].copy_from_slice(&self.call_id.to_be_bytes());
        buffer[8..12].copy_from_slice(&first.to_be_bytes());
        buffer[12..16].copy_from_slice(&second.to_be_bytes());
        self.header_len()
    }
}

/// What is wrong with the first octets of a packet.
#[cold]
fn refusal(packet: &[u8]) -> Error {
    let Some(&[b0, b1, b2, b3]) = packet.first_chunk() else {
        return Error::Malformed(Malformed::Truncated);
    };
    let bits = u16::from_be_bytes([b0, b1]);
    let protocol = u16::from_be_bytes([b2, b3]);
    if bits & VERSION != 1 || protocol != PROTOCOL_TYPE {
        return Error::NotOurs { version: b1 & 0x07, protocol };
    }
    Error::Malformed(if bits & KEY == 0 {
        Malformed::NoKey
    } else if bits & MUST_BE_ZERO != 0 {
        Malformed::ReservedBits
    } else {
        Malformed::Truncated
    })
}

/// How far `a` lies after `b`, sequence numbers wrapping at 2^32. Negative: before it.
#[must_use]
pub const fn distance(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b).cast_signed()
}

/// Whether sequence number `a` comes after `b`.
#[must_use]
pub const fn is_after(a: u32, b: u32) -> bool {
    distance(a, b) > 0
}

/// What a sequence number means to the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Higher than all before. `gap` packets are missing in front of it: 0 is the normal case.
    New {
        /// Numbers skipped since the highest accepted one.
        gap: u32,
    },
    /// Overtaken by others, not seen before.
    Late {
        /// Distance to the highest accepted number, at least 1.
        behind: u32,
    },
    /// Accepted before.
    Duplicate,
    /// So far behind that nobody knows whether it was accepted.
    TooOld,
}

/// Which sequence numbers a receiver has accepted.
///
/// The first number may be any: the RFC starts at 0, Linux at 1. [`check`](Self::check) never
/// changes anything; [`commit`](Self::commit) is called when the payload has been accepted, so that
/// a forged number cannot move the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Window {
    /// Blocks of 64 numbers, a ring: the bit of number n is bit n mod 64 of block n / 64 mod 16.
    /// Where the highest number's block will stand, that of 16 blocks before stands still.
    seen: [u64; Self::WORDS],
    /// The highest number's block. It stands beside the number, so that a tunnel that loses nothing
    /// touches this and no more.
    newest: u64,
    highest: u32,
    started: bool,
}

impl Window {
    const WORDS: usize = 16;
    /// Numbers, counted down from the highest, of which the window knows whether they were accepted.
    pub const SIZE: u32 = 1024;
    /// Numbers of a block.
    const BLOCK: u32 = u64::BITS;

    /// Accepts any first number.
    #[must_use]
    pub const fn new() -> Self {
        Self { seen: [0; Self::WORDS], newest: 0, highest: 0, started: false }
    }

    /// The highest number accepted, if any was.
    #[must_use]
    pub const fn highest(&self) -> Option<u32> {
        if self.started { Some(self.highest) } else { None }
    }

    /// Classifies `sequence`.
    #[must_use]
    #[inline]
    pub fn check(&self, sequence: u32) -> Verdict {
        if !self.started {
            return Verdict::New { gap: 0 };
        }
        if is_after(sequence, self.highest) {
            return Verdict::New { gap: sequence.wrapping_sub(self.highest) - 1 };
        }
        let behind = self.highest.wrapping_sub(sequence);
        if behind >= Self::SIZE {
            Verdict::TooOld
        } else if self.block(sequence) & Self::bit(sequence) != 0 {
            Verdict::Duplicate
        } else {
            Verdict::Late { behind }
        }
    }

    /// Records that the packet with `sequence` was accepted, and says what it was until then. Does
    /// nothing for a duplicate or a number that is too old.
    #[inline]
    pub fn commit(&mut self, sequence: u32) -> Verdict {
        let verdict = self.check(sequence);
        match verdict {
            Verdict::New { .. } => {
                if Self::blocks(self.highest, sequence) > 0 {
                    self.move_on(sequence);
                }
                self.highest = sequence;
                self.started = true;
                self.newest |= Self::bit(sequence);
            }
            Verdict::Late { .. } if Self::blocks(sequence, self.highest) == 0 => {
                self.newest |= Self::bit(sequence);
            }
            Verdict::Late { .. } => self.seen[Self::place(sequence)] |= Self::bit(sequence),
            Verdict::Duplicate | Verdict::TooOld => {}
        }
        verdict
    }

    /// The block of a number in the window.
    #[inline]
    const fn block(&self, sequence: u32) -> u64 {
        match Self::blocks(sequence, self.highest) {
            0 => self.newest,
            _ => self.seen[Self::place(sequence)],
        }
    }

    /// How many blocks further on a number's is.
    const fn blocks(from: u32, to: u32) -> u32 {
        (to / Self::BLOCK).wrapping_sub(from / Self::BLOCK) % (u32::MAX / Self::BLOCK + 1)
    }

    const fn place(sequence: u32) -> usize {
        (sequence % Self::SIZE / Self::BLOCK) as usize
    }

    const fn bit(sequence: u32) -> u64 {
        1 << (sequence % Self::BLOCK)
    }

    /// Goes on to the block of a higher number, past others that nothing was accepted of.
    #[cold]
    fn move_on(&mut self, sequence: u32) {
        let steps = Self::blocks(self.highest, sequence);
        self.seen[Self::place(self.highest)] = std::mem::take(&mut self.newest);
        if steps > Self::SIZE / Self::BLOCK {
            self.seen = [0; Self::WORDS];
            return;
        }
        for step in 1..steps {
            self.seen[Self::place(self.highest.wrapping_add(step * Self::BLOCK))] = 0;
        }
    }
}

/// When a receiver owes its peer an acknowledgment (RFC 2637 §4.1, §4.2.5).
///
/// The highest accepted number is acknowledged, with the next data packet or alone: after
/// [`ACK_DELAY`], or as soon as half of the peer's window is outstanding. Numbers lost on the way
/// count as outstanding, for they fill the peer's window too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledger {
    highest: u32,
    acknowledged: u32,
    started: bool,
    /// When the acknowledgment that is owed goes out alone.
    due: Option<Instant>,
    limit: u32,
}

impl Acknowledger {
    /// For a peer that sends at most `peer_window` packets without acknowledgment.
    #[must_use]
    pub fn new(peer_window: u16) -> Self {
        let limit = u32::from(peer_window / 2).max(1);
        Self { highest: 0, acknowledged: 0, started: false, due: None, limit }
    }

    /// `sequence` was accepted (or is the highest of several that were).
    #[inline]
    pub fn accepted(&mut self, sequence: u32, now: Instant) {
        if !self.started {
            self.started = true;
            self.acknowledged = sequence.wrapping_sub(1);
        } else if !is_after(sequence, self.highest) {
            return;
        }
        self.highest = sequence;
        if self.due.is_none() {
            self.due = Some(now + ACK_DELAY);
        }
    }

    /// When [`due`](Self::due) will be true, unless more packets make it earlier.
    #[must_use]
    #[inline]
    pub const fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Whether an acknowledgment has to go out now, alone if need be.
    #[must_use]
    #[inline]
    pub fn due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| {
            now >= due || self.highest.wrapping_sub(self.acknowledged) >= self.limit
        })
    }

    /// The acknowledgment for a packet that leaves now; `None` if the peer knows already.
    #[inline]
    pub fn take(&mut self) -> Option<u32> {
        self.due.take()?;
        self.acknowledged = self.highest;
        Some(self.highest)
    }
}

#[cfg(test)]
mod tests;
