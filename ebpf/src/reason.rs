//! Why packets got their verdicts from the XDP program, and how many: one variant and one counter
//! per reason, in the order of `enum reason` in `bpf/constants.h`. Never counts anything that the
//! program did not decide (a full AF_XDP ring is counted by its socket).

/// Why a packet got its verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Reason {
    /// Frames without a tag have no role on this interface, or it is just being attached or
    /// detached.
    PassUnknownPort,
    /// The frame ends within the Ethernet header, a tag or the IP header.
    PassShort,
    /// Frames with these VLAN tags have no role on this interface.
    PassVlan,
    /// Neither IPv4 nor IPv6: ARP, a third tag and the like.
    PassNotIp,
    /// IP in a frame to a broadcast or multicast MAC address: never forwarded (RFC 1812 §5.3.4).
    PassGroupAddress,
    /// The IPv4 header has options, or is none.
    PassIpOptions,
    /// A fragment: the kernel reassembles, a raw socket brings GRE back.
    PassFragment,
    /// GRE to a listener that ends within the header up to the Call ID.
    PassGreShort,
    /// GRE to a listener that is not PPTP's: other version or protocol type, or no key
    /// (RFC 2637 §4.1).
    PassGreNotPptp,
    /// GRE of a known tunnel, by a queue without an AF_XDP socket.
    PassGreNoSocket,
    /// Other IP by a port that has the access role only, to others than subscribers.
    PassNoCoreRole,
    /// IP to an address in no prefix of subscribers.
    PassNoPrefix,
    /// IP to a subscriber whose packets the kernel forwards, or to an address of ours among theirs
    /// ([`crate::PrefixAction::Kernel`], [`crate::PrefixAction::Own`]).
    PassExemptPrefix,
    /// IP to a subscriber, by a queue without an AF_XDP socket.
    PassSubscriberNoSocket,
    /// PPTP's GRE to a listener, with a Call ID that no tunnel has.
    DropUnknownTunnel,
    /// PPTP's GRE to a listener, with a Call ID that only tunnels of other peers have.
    DropOtherPeer,
    /// IP to a subscriber by a port that has the access role only: the kernel would forward it
    /// into the tunnel.
    DropAccessToSubscriber,
    /// PPTP's GRE of a known tunnel, to a worker.
    RedirectTunnel,
    /// IPv4 to a subscriber, to a worker.
    RedirectSubscriber,
    /// IPv6 to a subscriber, to a worker.
    RedirectSubscriberIpv6,
}

/// Where a packet went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// To the kernel's network stack.
    Pass,
    /// Nowhere.
    Drop,
    /// To an AF_XDP socket.
    Redirect,
}

impl Reason {
    /// All reasons, in the order of their counters.
    pub const ALL: [Self; 20] = [
        Self::PassUnknownPort,
        Self::PassShort,
        Self::PassVlan,
        Self::PassNotIp,
        Self::PassGroupAddress,
        Self::PassIpOptions,
        Self::PassFragment,
        Self::PassGreShort,
        Self::PassGreNotPptp,
        Self::PassGreNoSocket,
        Self::PassNoCoreRole,
        Self::PassNoPrefix,
        Self::PassExemptPrefix,
        Self::PassSubscriberNoSocket,
        Self::DropUnknownTunnel,
        Self::DropOtherPeer,
        Self::DropAccessToSubscriber,
        Self::RedirectTunnel,
        Self::RedirectSubscriber,
        Self::RedirectSubscriberIpv6,
    ];

    /// The name that metrics and logs use.
    pub fn name(self) -> &'static str {
        match self {
            Self::PassUnknownPort => "pass_unknown_port",
            Self::PassShort => "pass_short",
            Self::PassVlan => "pass_vlan",
            Self::PassNotIp => "pass_not_ip",
            Self::PassGroupAddress => "pass_group_address",
            Self::PassIpOptions => "pass_ip_options",
            Self::PassFragment => "pass_fragment",
            Self::PassGreShort => "pass_gre_short",
            Self::PassGreNotPptp => "pass_gre_not_pptp",
            Self::PassGreNoSocket => "pass_gre_no_socket",
            Self::PassNoCoreRole => "pass_no_core_role",
            Self::PassNoPrefix => "pass_no_prefix",
            Self::PassExemptPrefix => "pass_exempt_prefix",
            Self::PassSubscriberNoSocket => "pass_subscriber_no_socket",
            Self::DropUnknownTunnel => "drop_unknown_tunnel",
            Self::DropOtherPeer => "drop_other_peer",
            Self::DropAccessToSubscriber => "drop_access_to_subscriber",
            Self::RedirectTunnel => "redirect_tunnel",
            Self::RedirectSubscriber => "redirect_subscriber",
            Self::RedirectSubscriberIpv6 => "redirect_subscriber_ipv6",
        }
    }

    /// The verdict that this is a reason for.
    pub fn verdict(self) -> Verdict {
        match self {
            Self::DropUnknownTunnel | Self::DropOtherPeer | Self::DropAccessToSubscriber => {
                Verdict::Drop
            }
            Self::RedirectTunnel | Self::RedirectSubscriber | Self::RedirectSubscriberIpv6 => {
                Verdict::Redirect
            }
            _ => Verdict::Pass,
        }
    }
}

/// Packets per reason since the program was loaded, over all ports and CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters([u64; Reason::ALL.len()]);

impl Counters {
    pub(crate) fn new(packets: [u64; Reason::ALL.len()]) -> Self {
        Self(packets)
    }

    /// Packets that got their verdict for this reason.
    pub fn get(&self, reason: Reason) -> u64 {
        self.0[reason as usize]
    }

    /// All reasons and their packets.
    pub fn iter(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        Reason::ALL.into_iter().zip(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_begin_with_the_verdict() {
        for reason in Reason::ALL {
            let verdict = match reason.verdict() {
                Verdict::Pass => "pass_",
                Verdict::Drop => "drop_",
                Verdict::Redirect => "redirect_",
            };
            assert!(reason.name().starts_with(verdict), "{}", reason.name());
        }
    }

    #[test]
    fn all_is_in_the_order_of_the_counters() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }
}
