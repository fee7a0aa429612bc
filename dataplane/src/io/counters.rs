//! What a port counts: packets, bytes, and one counter for each reason to lose a packet.
//!
//! The worker that owns the port is the only writer; anyone reads, at any time, without stopping
//! it. Values only grow.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that one thread adds to and all may read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only for the owner: with two writers additions get lost.
    #[inline]
    pub fn add(&self, n: u64) {
        // A plain load and store: with one writer there is nothing to lock the bus for.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Takes over a total that somebody else counts, as the kernel does for its own drops.
    pub fn set(&self, total: u64) {
        self.0.store(total, Ordering::Relaxed);
    }

    /// The value now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why a port lost a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortDrop {
    /// The packet is longer than a frame.
    TooLong,
    /// The kernel's receive queue of the socket or device was full.
    SocketQueue,
    /// What the kernel handed over contradicts itself: a short header, an offload that does not
    /// fit the packet.
    Malformed,
    /// No room for sending: the ring, socket buffer or device queue is full.
    TransmitFull,
    /// The kernel refused the packet: no route, too big, link down.
    TransmitRefused,
    /// AF_XDP: a descriptor named a chunk that was not the kernel's to give.
    BadDescriptor,
    /// AF_XDP: the kernel dropped a packet that was redirected to the socket (`rx_dropped`; an
    /// empty fill ring in copy mode is among the causes).
    XdpReceive,
    /// AF_XDP: the receive ring was full (`rx_ring_full`).
    XdpReceiveRing,
    /// AF_XDP: the kernel refused a descriptor of the fill ring (`rx_invalid_descs`).
    XdpInvalidFill,
    /// AF_XDP: the kernel refused a descriptor of the transmit ring (`tx_invalid_descs`).
    XdpInvalidTransmit,
}

impl PortDrop {
    /// All reasons, in the order of their counters.
    pub const ALL: [Self; 10] = [
        Self::TooLong,
        Self::SocketQueue,
        Self::Malformed,
        Self::TransmitFull,
        Self::TransmitRefused,
        Self::BadDescriptor,
        Self::XdpReceive,
        Self::XdpReceiveRing,
        Self::XdpInvalidFill,
        Self::XdpInvalidTransmit,
    ];

    /// The reason as metrics name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::SocketQueue => "socket_queue",
            Self::Malformed => "malformed",
            Self::TransmitFull => "transmit_full",
            Self::TransmitRefused => "transmit_refused",
            Self::BadDescriptor => "bad_descriptor",
            Self::XdpReceive => "xdp_receive",
            Self::XdpReceiveRing => "xdp_receive_ring",
            Self::XdpInvalidFill => "xdp_invalid_fill",
            Self::XdpInvalidTransmit => "xdp_invalid_transmit",
        }
    }
}

/// Counters of one queue of one port, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct PortCounters {
    /// Packets handed to the worker.
    pub received_packets: Counter,
    /// Their bytes, from the first header of the port's link on.
    pub received_bytes: Counter,
    /// Packets taken by the kernel.
    pub sent_packets: Counter,
    /// Their bytes.
    pub sent_bytes: Counter,
    drops: [Counter; PortDrop::ALL.len()],
}

impl PortCounters {
    /// The counter of one reason.
    #[must_use]
    pub fn dropped(&self, reason: PortDrop) -> &Counter {
        &self.drops[reason as usize]
    }

    /// Packets lost for whatever reason.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.drops.iter().map(Counter::get).sum()
    }

    pub(super) fn received(&self, packets: usize, bytes: usize) {
        self.received_packets.add(packets as u64);
        self.received_bytes.add(bytes as u64);
    }

    pub(super) fn sent(&self, packets: usize, bytes: usize) {
        self.sent_packets.add(packets as u64);
        self.sent_bytes.add(bytes as u64);
    }
}
