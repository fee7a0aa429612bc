//! What the data plane counts: packets that passed, and each reason for which one did not.
//!
//! Each reason to drop is one variant of [`DropReason`] and one counter per worker, so that
//! packets in = packets out + drops. Reading never stops a worker.

use std::time::Duration;

use crate::io::PortCounters;
pub use ebpf::Counters as XdpCounters;

pub use crate::io::PortDrop;

/// Why a worker dropped a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DropReason {
    /// An Ethernet frame without an IP packet, or what the kernel says in IPv6 on a link of its own.
    NotIpv4,
    /// An Ethernet frame with VLAN tags that no interface of ours has.
    VlanUnknown,
    /// An Ethernet frame for the MAC address of another machine.
    MacForeign,
    /// The outer packet is no well-formed IPv4 packet of protocol 47.
    OuterMalformed,
    /// GRE that is not PPTP's version 1 (RFC 2637 §4.1), brought in by the raw socket; the kernel
    /// has its own copy.
    GreForeign,
    /// A PPTP GRE header that is cut short, or whose payload length exceeds the packet.
    GreMalformed,
    /// PPTP GRE whose peer and Call ID belong to no tunnel.
    TunnelUnknown,
    /// PPTP GRE with the Call ID of a tunnel, but from another address than its peer's.
    PeerForeign,
    /// A sequence number that was received already, or lies behind the replay window.
    SequenceReplayed,
    /// A frame that is no PPP frame.
    PppMalformed,
    /// A control frame beyond the tunnel's rate limit.
    ControlRateLimited,
    /// A control frame that found the ring to the control plane full.
    EventsFull,
    /// A data frame before the control plane opened the network or chose the encryption; a packet
    /// that still waited for the tunnel's rate when the network or the tunnel was closed.
    NetworkClosed,
    /// A plain data frame while encryption is required.
    PlaintextRefused,
    /// An encrypted frame while the tunnel has no encryption.
    EncryptionUnexpected,
    /// An MPPE datagram cut short, without its flags, or with a coherency count that was used.
    MppeMalformed,
    /// An MPPE datagram whose key lies further ahead than the tunnel's budget reaches.
    MppeBudget,
    /// An MPPE datagram whose plaintext is no IPv4 packet: damaged, forged, or from wrong keys.
    MppeRefused,
    /// An inner packet that is no well-formed IPv4 packet.
    InnerMalformed,
    /// An inner source address that does not belong to the tunnel.
    SourceForeign,
    /// An inner packet to a multicast, broadcast, loopback or unspecified destination.
    DestinationForbidden,
    /// A packet of the core or the kernel that is no well-formed IPv4 packet.
    CoreMalformed,
    /// A packet for an address of ours that has no tunnel; answered with Host Unreachable.
    NoTunnel,
    /// A packet larger than its tunnel's MTU that says Don't Fragment, answered with Fragmentation
    /// Needed; or one that cannot be fragmented (too many pieces, too long as a whole).
    TooBig,
    /// A packet for a subscriber at the end of its time to live, answered with Time Exceeded.
    TtlExceeded,
    /// A packet whose outer header met congestion and whose inner one knows no ECN (RFC 6040 §4.2).
    Congestion,
    /// A packet that found no room before it for the headers of the way out.
    NoHeadroom,
    /// A packet for another worker that found the ring to it full.
    HandoverFull,
    /// A packet whose tunnel moved or closed while it was on its way to the worker.
    HandoverStale,
    /// A packet for a port that this worker does not have.
    NoPort,
    /// No free frame for a control frame, an acknowledgement or a packet's fragments.
    NoFrame,
    /// A packet from the subscriber that a rule drops.
    FilteredIncoming,
    /// A packet to the subscriber that a rule drops.
    FilteredOutgoing,
    /// A packet from the subscriber beyond the tunnel's rate. It was accepted and counts as
    /// received.
    RateExceeded,
    /// A packet to the subscriber that found its tunnel's queue at its share of frames.
    QueueFull,
    /// A packet to the subscriber that was taken out of its tunnel's queue because packets wait
    /// there for too long (RFC 8289).
    QueueDelay,
    /// A packet of stateful MPPE that follows a loss, or comes late: it cannot be read, and the
    /// peer is asked to start again (RFC 3078 §8.2).
    MppeOutOfStep,
    /// A fragment (RFC 1990) whose header is cut short; or a packet in fragments that exceeds our
    /// MRRU or must not be in any.
    FragmentMalformed,
    /// A fragment whose packet's others did not come in time, or not before LCP began anew.
    FragmentLost,
    /// A fragment that had to make room for newer ones, or found none.
    FragmentsFull,
    /// An Ethernet frame that a bridge sent into a tunnel whose peer takes none so long, or none with
    /// VLAN tags (RFC 3518).
    FrameRefused,
    /// A packet of the core for a subscriber whose source nobody outside can have: this network's,
    /// loopback, multicast, reserved, or the subscriber's own address (RFC 1812 §5.3.7).
    SourceMartian,
    /// A packet from the subscriber that only the kernel can handle (for an address of ours, at the end
    /// of its time to live, with options, for a neighbour that is not found yet), beyond what one
    /// tunnel may send there.
    SlowPathLimited,
}

impl DropReason {
    /// All reasons, in the order of their counters.
    pub const ALL: [Self; 43] = [
        Self::NotIpv4,
        Self::VlanUnknown,
        Self::MacForeign,
        Self::OuterMalformed,
        Self::GreForeign,
        Self::GreMalformed,
        Self::TunnelUnknown,
        Self::PeerForeign,
        Self::SequenceReplayed,
        Self::PppMalformed,
        Self::ControlRateLimited,
        Self::EventsFull,
        Self::NetworkClosed,
        Self::PlaintextRefused,
        Self::EncryptionUnexpected,
        Self::MppeMalformed,
        Self::MppeBudget,
        Self::MppeRefused,
        Self::InnerMalformed,
        Self::SourceForeign,
        Self::DestinationForbidden,
        Self::CoreMalformed,
        Self::NoTunnel,
        Self::TooBig,
        Self::TtlExceeded,
        Self::Congestion,
        Self::NoHeadroom,
        Self::HandoverFull,
        Self::HandoverStale,
        Self::NoPort,
        Self::NoFrame,
        Self::FilteredIncoming,
        Self::FilteredOutgoing,
        Self::RateExceeded,
        Self::QueueFull,
        Self::QueueDelay,
        Self::MppeOutOfStep,
        Self::FragmentMalformed,
        Self::FragmentLost,
        Self::FragmentsFull,
        Self::FrameRefused,
        Self::SourceMartian,
        Self::SlowPathLimited,
    ];

    /// The reason as metrics and reports name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotIpv4 => "not_ipv4",
            Self::VlanUnknown => "vlan_unknown",
            Self::MacForeign => "mac_foreign",
            Self::OuterMalformed => "outer_malformed",
            Self::GreForeign => "gre_foreign",
            Self::GreMalformed => "gre_malformed",
            Self::TunnelUnknown => "tunnel_unknown",
            Self::PeerForeign => "peer_foreign",
            Self::SequenceReplayed => "sequence_replayed",
            Self::PppMalformed => "ppp_malformed",
            Self::ControlRateLimited => "control_rate_limited",
            Self::EventsFull => "events_full",
            Self::NetworkClosed => "network_closed",
            Self::PlaintextRefused => "plaintext_refused",
            Self::EncryptionUnexpected => "encryption_unexpected",
            Self::MppeMalformed => "mppe_malformed",
            Self::MppeBudget => "mppe_budget",
            Self::MppeRefused => "mppe_refused",
            Self::InnerMalformed => "inner_malformed",
            Self::SourceForeign => "source_foreign",
            Self::DestinationForbidden => "destination_forbidden",
            Self::CoreMalformed => "core_malformed",
            Self::NoTunnel => "no_tunnel",
            Self::TooBig => "too_big",
            Self::TtlExceeded => "ttl_exceeded",
            Self::Congestion => "congestion",
            Self::NoHeadroom => "no_headroom",
            Self::HandoverFull => "handover_full",
            Self::HandoverStale => "handover_stale",
            Self::NoPort => "no_port",
            Self::NoFrame => "no_frame",
            Self::FilteredIncoming => "filtered_incoming",
            Self::FilteredOutgoing => "filtered_outgoing",
            Self::RateExceeded => "rate_exceeded",
            Self::QueueFull => "queue_full",
            Self::QueueDelay => "queue_delay",
            Self::MppeOutOfStep => "mppe_out_of_step",
            Self::FragmentMalformed => "fragment_malformed",
            Self::FragmentLost => "fragment_lost",
            Self::FragmentsFull => "fragments_full",
            Self::FrameRefused => "frame_refused",
            Self::SourceMartian => "source_martian",
            Self::SlowPathLimited => "slow_path_limited",
        }
    }
}

/// Dropped packets by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drops([u64; DropReason::ALL.len()]);

impl Default for Drops {
    fn default() -> Self {
        Self([0; DropReason::ALL.len()])
    }
}

impl Drops {
    pub(crate) const fn new(counts: [u64; DropReason::ALL.len()]) -> Self {
        Self(counts)
    }

    /// How many were dropped for `reason`.
    #[must_use]
    pub const fn of(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// How many were dropped for any reason.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Reasons and counts, zeros included.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().map(|&reason| (reason, self.of(reason)))
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += count;
        }
    }
}

/// One tunnel's counters at one moment. Packets and bytes are the subscriber's: inner IP packets,
/// counted after they were accepted (uplink) and when they were sent (downlink).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TunnelCounters {
    /// Inner packets from the peer.
    pub rx_packets: u64,
    /// Their bytes, from the inner IP header on.
    pub rx_bytes: u64,
    /// Inner packets to the peer.
    pub tx_packets: u64,
    /// Their bytes, from the inner IP header on.
    pub tx_bytes: u64,
    /// Sequence numbers of the peer that were passed over and have not come late.
    pub lost: u64,
    /// Packets that came after a later one.
    pub reordered: u64,
    /// Packets that came twice, or too late to tell.
    pub duplicates: u64,
    /// From a packet to the peer until its acknowledgement, smoothed; what the peer waited before it
    /// acknowledged is in it. `None` if it has acknowledged nothing.
    pub round_trip: Option<Duration>,
    /// How long ago the last well-formed GRE packet of this tunnel came, control frames and
    /// acknowledgements included. `None` if none has come.
    pub heard: Option<Duration>,
    /// How long ago an inner packet last passed, either way. `None` if none has passed.
    pub active: Option<Duration>,
    /// Packets of this tunnel that were dropped.
    pub drops: Drops,
}

/// The counters of all workers and ports at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Totals {
    /// Workers, in the order of their numbers.
    pub workers: Vec<WorkerTotals>,
    /// Ports, by worker.
    pub ports: Vec<PortTotals>,
    /// The XDP program's verdicts, by reason. `None` without AF_XDP.
    pub xdp: Option<XdpCounters>,
}

impl Totals {
    /// Drops of all workers together.
    #[must_use]
    pub fn drops(&self) -> Drops {
        let mut sum = Drops::default();
        for worker in &self.workers {
            sum.add(&worker.drops);
        }
        sum
    }
}

/// One worker's counters. `received + taken_over + originated` is `sent + handed_over + consumed +
/// queued + fragments` plus all drops, once the worker rests.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorkerTotals {
    /// Packets taken from ports.
    pub received: u64,
    /// Packets given to ports.
    pub sent: u64,
    /// Packets given to other workers.
    pub handed_over: u64,
    /// Packets taken from other workers.
    pub taken_over: u64,
    /// Packets made here: control frames of the control plane, acknowledgements alone, ICMP errors,
    /// fragments but for the first of a packet.
    pub originated: u64,
    /// Packets that ended here: control frames for the control plane, acknowledgements alone.
    pub consumed: u64,
    /// Packets that wait for their tunnel's rate now.
    pub queued: u64,
    /// Packets that the worker dropped.
    pub drops: Drops,
    /// Packets to subscribers that were marked because they had waited for too long (RFC 3168 §5).
    /// They count above like any other packet.
    pub ecn_marked: u64,
    /// TCP SYNs whose segment size was lowered. They count above like any other packet.
    pub mss_clamped: u64,
    /// Packets for subscribers that were cut into fragments; all but the first count above as made
    /// here.
    pub fragmented: u64,
    /// Packets to subscribers that were sent in fragments of multilink; all but the first count
    /// above as made here.
    pub multilink_sent: u64,
    /// Packets from subscribers that were put together from fragments; all but the first ended here.
    pub multilink_received: u64,
    /// Fragments that wait for the others of their packet now.
    pub fragments: u64,
    /// ICMP errors sent, which count above as made here. What they are about was dropped.
    pub icmp_errors: u64,
    /// Drops about which an ICMP error was due, but not sent for the rate limit.
    pub icmp_suppressed: u64,
    /// Tunnels that came to it from other workers.
    pub tunnels_taken: u64,
}

/// The counters of one queue of one port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortTotals {
    /// The interface's name; `gre` for the raw socket.
    pub name: String,
    /// The queue's number.
    pub queue: u32,
    /// Packets handed to the worker.
    pub received_packets: u64,
    /// Their bytes, from the first header of the port on.
    pub received_bytes: u64,
    /// Packets that the kernel took.
    pub sent_packets: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Packets that the port lost, by reason, zeros included.
    pub drops: Vec<(PortDrop, u64)>,
}

impl PortTotals {
    pub(crate) fn read(name: &str, queue: u32, counters: &PortCounters) -> Self {
        Self {
            name: name.to_owned(),
            queue,
            received_packets: counters.received_packets.get(),
            received_bytes: counters.received_bytes.get(),
            sent_packets: counters.sent_packets.get(),
            sent_bytes: counters.sent_bytes.get(),
            drops: PortDrop::ALL
                .iter()
                .map(|&reason| (reason, counters.dropped(reason).get()))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter_and_name() {
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
        let names: std::collections::BTreeSet<_> = DropReason::ALL.map(DropReason::name).into();
        assert_eq!(names.len(), DropReason::ALL.len());
    }
}
