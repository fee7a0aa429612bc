//! One tunnel as its owner has it: sequence numbers, acknowledgements, keys, addresses.
//!
//! Both halves are touched by one worker only. State moves when a packet was accepted, never
//! before, and clear frames move nothing once MPPE is on.

use std::net::Ipv4Addr;
use std::sync::Arc;

use protocol::gre::{Acknowledger, Verdict, Window};
use protocol::ppp::frame::Framing;
use protocol::time::Instant;

use crate::api::filter::Action;
use crate::api::{
    DropReason, Encryption, Forward, Ipv6Network, Limits, Mode, Network, Outer, Prefix, Rules,
    TunnelId,
};
use crate::bridge;
use crate::counters::TunnelShared;
use crate::filter;
use crate::inner::icmp;
use crate::ipv4::View;
use crate::ipv6;
use crate::limit::Bucket;
use crate::mppe::{ReceiveState, SendState, stateful};
use crate::multilink;
use crate::prefetch::prefetch_range;
use crate::shape::{Depth, Meter, Queue, Store};
use crate::worker::Remembered;

use super::besides::Besides;
use super::round_trip::RoundTrip;

/// From the subscriber, or to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Uplink,
    Downlink,
}

/// A tunnel's state, in an order in which what packets of one direction need stands together: the end
/// of the window is the uplink's, what stands behind the first half of `network` and before
/// `protection` the downlink's, the rest of the window and the skipped keys at the end of
/// [`ReceiveState`] are rarely anyone's.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Tunnel {
    pub(crate) window: Window,
    pub(crate) shared: Arc<TunnelShared>,
    /// What the tunnel is held to. `None` for one without limits and rules: its packets see no
    /// more of them than this.
    pub(crate) policy: Option<Box<Policy>>,
    /// `None` where nothing is sent or received in fragments.
    pub(crate) multilink: Option<Box<multilink::State>>,
    /// `None` where no Ethernet frames pass.
    pub(crate) bridge: Option<Box<bridge::State>>,
    /// Its IPv6, if it has any.
    pub(crate) ipv6: Option<Box<Ipv6Network>>,
    pub(crate) way: Way,
    pub(crate) acknowledger: Acknowledger,
    next_sequence: u32,
    /// Whether the tunnel waits in the worker's queues of acknowledgements.
    pub(crate) ack_waiting: bool,
    pub(crate) ack_urgent: bool,
    pub(crate) framing: Framing,
    pub(crate) network: Option<Inside>,
    round_trip: RoundTrip,
    /// The way out to the peer.
    pub(crate) exit: Remembered,
    pub(crate) outer: Outer,
    pub(crate) protection: Protection,
    pub(crate) id: TunnelId,
    pub(crate) control: ControlLimit,
    /// ICMP errors about packets for it.
    pub(crate) errors: icmp::TunnelLimit,
    /// Who forwards its packets; `way` is the worker's part in it.
    pub(crate) forward: Forward,
    /// What the peer says to its router.
    pub(crate) to_router: RouterLimit,
    /// What the peer sends that the kernel alone can handle.
    pub(crate) slow_path: SlowPathLimit,
    /// Of LCP, in echoes.
    pub(crate) magic: u32,
    /// Numbers of clear frames and of further fragments.
    besides: Besides,
}

impl Tunnel {
    /// Octets of [`Protection`] up to the end of [`SendState`], and of [`ReceiveState`] before what
    /// only packets need that come late or far ahead.
    const SEND: usize = 48;
    const RECEIVE: usize = 128;

    /// Asks the processor to load what each packet of a direction needs.
    #[inline]
    pub(crate) fn prefetch(&self, direction: Direction) {
        // The window's newest block stands at its end.
        let first = std::mem::offset_of!(Self, shared) - 16;
        let protection = std::mem::offset_of!(Self, protection);
        match direction {
            Direction::Uplink => {
                let hot = std::mem::offset_of!(Self, network) + Inside::HOT;
                prefetch_range(self, first..hot);
                prefetch_range(self, protection..protection + Self::RECEIVE);
            }
            Direction::Downlink => prefetch_range(self, first..protection + Self::SEND),
        }
    }

    pub(crate) fn new(id: TunnelId, outer: Outer, shared: Arc<TunnelShared>) -> Self {
        Self {
            id,
            outer,
            shared,
            framing: Framing::default(),
            way: Way::Fast,
            protection: Protection::Unset,
            network: None,
            policy: None,
            exit: Remembered::NOTHING,
            multilink: None,
            bridge: None,
            window: Window::new(),
            acknowledger: Acknowledger::new(outer.peer_window),
            ack_waiting: false,
            ack_urgent: false,
            control: ControlLimit::default(),
            errors: icmp::TunnelLimit::default(),
            forward: Forward::Fast,
            ipv6: None,
            to_router: RouterLimit::default(),
            slow_path: SlowPathLimit::default(),
            magic: 0,
            // RFC 2637 §4.1: the first packet of a session has the number zero.
            next_sequence: 0,
            besides: Besides::default(),
            round_trip: RoundTrip::default(),
        }
    }

    /// The sequence number of the packet that is sent now. Control frames and data share them.
    #[inline]
    pub(crate) fn take_sequence(&mut self, now: Instant) -> u32 {
        let sequence = self.next_sequence;
        self.next_sequence = sequence.wrapping_add(1);
        self.round_trip.sent(sequence, now);
        sequence
    }

    /// The peer acknowledges what we sent. That serves to measure alone: the send window is advisory.
    #[inline]
    pub(crate) fn acknowledged(&mut self, number: u32, now: Instant) {
        if let Some(measured) = self.round_trip.acknowledged(number, self.next_sequence, now) {
            self.shared.round_trip.measured(measured);
        }
    }

    /// A clear control frame came. Without MPPE it counts and is acknowledged like data; with it,
    /// anyone could have sent it and nothing moves.
    pub(crate) fn clear_frame(&mut self, sequence: u32, now: Instant) {
        match &mut self.protection {
            // Nothing was sent yet that could be lost.
            Protection::Unset => {
                self.window.commit(sequence);
                self.acknowledger.accepted(sequence, now);
            }
            Protection::None => self.accepted(sequence, now),
            Protection::Mppe(_) | Protection::Stateful(_) => {
                if self.came_besides(sequence)
                    && let Some(state) = self.protection.receive_state()
                {
                    state.count_clear_frame(sequence);
                }
            }
        }
    }

    /// A frame came that is no data packet by itself, and used up a sequence number; whether none came
    /// with that before.
    pub(crate) fn came_besides(&mut self, sequence: u32) -> bool {
        let is_new = self.besides.note(sequence);
        if is_new && matches!(self.window.check(sequence), Verdict::Late { .. }) {
            self.was_not_lost();
        }
        is_new
    }

    /// The peer said how it is to be reached.
    pub(crate) fn meet(&mut self, peer_call_id: u16, peer_window: u16) {
        self.outer.peer_call_id = peer_call_id;
        self.outer.peer_window = peer_window;
        self.acknowledger = Acknowledger::new(peer_window);
    }

    /// Sets what protects data from now on.
    pub(crate) fn protect(&mut self, encryption: Encryption, now: Instant) {
        let Encryption::Mppe { receive, send } = encryption else {
            self.protection = Protection::None;
            return;
        };
        let newest = self.window.highest().unwrap_or_default();
        // Clear frames have set these so far, and anyone can forge them: from here on only what
        // was decrypted counts.
        self.window = Window::new();
        self.besides = Besides::default();
        self.acknowledger = Acknowledger::new(self.outer.peer_window);
        let receive_state = |key| ReceiveState::new(key, newest, now);
        self.protection = match (receive.mode, send.mode) {
            (Mode::Stateless, Mode::Stateless) => Protection::Mppe(Mppe {
                send: SendState::new(&send.key),
                receive: receive_state(&receive.key),
            }),
            _ => Protection::Stateful(Box::new(Stateful {
                send: match send.mode {
                    Mode::Stateless => Half::Stateless(SendState::new(&send.key)),
                    Mode::Stateful => Half::Stateful(stateful::Sender::new(send.key)),
                },
                receive: match receive.mode {
                    Mode::Stateless => Half::Stateless(receive_state(&receive.key)),
                    Mode::Stateful => Half::Stateful(stateful::Receiver::new(receive.key)),
                },
                asks: AskLimit::default(),
            })),
        };
    }

    /// Sets what the tunnel may carry from now on.
    pub(crate) fn limit(&mut self, limits: Limits, store: &mut Store, now: Instant) {
        let mut policy = self.policy.take().unwrap_or_default();
        policy.uplink = limits.uplink.map(|limit| Meter::new(limit, Depth::Policer, now));
        let meter = limits.downlink.map(|limit| Meter::new(limit, Depth::Queue, now));
        if let Some(queue) = &mut policy.downlink {
            queue.set_meter(meter, store, self.id, now);
        } else {
            policy.downlink = meter.map(Queue::new);
        }
        self.policy = Some(policy);
        self.tidy();
    }

    /// The packets that wait for the tunnel's rate.
    pub(crate) fn queue(&mut self) -> Option<&mut Queue> {
        self.policy.as_mut()?.downlink.as_mut()
    }

    /// Forgets what holds the tunnel to nothing any more.
    pub(crate) fn tidy(&mut self) {
        if let Some(policy) = &mut self.policy {
            policy.downlink.take_if(|queue| queue.is_over());
        }
        self.policy.take_if(|policy| policy.is_empty());
    }

    /// Sets which packets pass from now on.
    pub(crate) fn filter(&mut self, incoming: Rules, outgoing: Rules) {
        let mut policy = self.policy.take().unwrap_or_default();
        (policy.incoming, policy.outgoing) = (incoming, outgoing);
        self.policy = Some(policy);
        self.tidy();
    }

    /// A data packet was accepted: window, acknowledgement and statistics move.
    #[inline]
    pub(crate) fn accepted(&mut self, sequence: u32, now: Instant) {
        match self.window.commit(sequence) {
            Verdict::New { gap: 0 } | Verdict::Duplicate | Verdict::TooOld => {}
            Verdict::New { gap } => self.missed(gap, sequence),
            Verdict::Late { .. } => {
                self.shared.reordered.add(1);
                if !self.besides.knows(sequence) {
                    self.was_not_lost();
                }
            }
        }
        self.acknowledger.accepted(sequence, now);
    }

    /// So many numbers before this one have not come as data.
    #[cold]
    fn missed(&mut self, gap: u32, sequence: u32) {
        let lost = gap - self.besides.among(gap, sequence);
        self.shared.lost.add(lost.into());
    }

    /// A number that was passed over has come.
    fn was_not_lost(&self) {
        self.shared.lost.set(self.shared.lost.get().saturating_sub(1));
    }
}

/// What a tunnel is held to, beyond what all are.
#[derive(Debug, Default)]
pub(crate) struct Policy {
    pub(crate) incoming: Rules,
    pub(crate) outgoing: Rules,
    pub(crate) uplink: Option<Meter>,
    pub(crate) downlink: Option<Queue>,
}

impl Policy {
    fn is_empty(&self) -> bool {
        self.incoming.is_empty()
            && self.outgoing.is_empty()
            && self.uplink.is_none()
            && self.downlink.is_none()
    }

    /// Whether a packet from the subscriber may go on.
    pub(crate) fn judge_uplink(
        &mut self,
        packet: &[u8],
        view: View,
        now: Instant,
    ) -> Result<(), DropReason> {
        let action = filter::judge(&self.incoming, packet, &view);
        self.police(action, view.total_len, now)
    }

    /// The same for a packet of IPv6.
    pub(crate) fn judge_uplink_ipv6(
        &mut self,
        packet: &[u8],
        view: &ipv6::View,
        now: Instant,
    ) -> Result<(), DropReason> {
        let action = filter::judge_ipv6(&self.incoming, packet, view);
        self.police(action, view.total_len, now)
    }

    #[inline]
    fn police(&mut self, action: Action, len: usize, now: Instant) -> Result<(), DropReason> {
        if action == Action::Drop {
            return Err(DropReason::FilteredIncoming);
        }
        let meter = self.uplink.as_mut();
        if meter.is_none_or(|meter| meter.take(len, now)) {
            Ok(())
        } else {
            Err(DropReason::RateExceeded)
        }
    }

    /// Whether a packet may go to the subscriber.
    pub(crate) fn judge_downlink(&self, packet: &[u8], view: View) -> Result<(), DropReason> {
        match filter::judge(&self.outgoing, packet, &view) {
            Action::Accept => Ok(()),
            Action::Drop => Err(DropReason::FilteredOutgoing),
        }
    }

    /// The same for a packet of IPv6.
    pub(crate) fn judge_downlink_ipv6(
        &self,
        packet: &[u8],
        view: &ipv6::View,
    ) -> Result<(), DropReason> {
        match filter::judge_ipv6(&self.outgoing, packet, view) {
            Action::Accept => Ok(()),
            Action::Drop => Err(DropReason::FilteredOutgoing),
        }
    }
}

/// The inner side of a tunnel, what all packets need first.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Inside {
    /// The first of the prefixes, of which nearly all tunnels have but one.
    first: Only,
    /// Largest inner packet.
    pub(crate) mtu: u16,
    pub(crate) clamp_mss: bool,
    /// Our end's address.
    pub(crate) local: Ipv4Addr,
    /// The other prefixes.
    others: Box<[Prefix]>,
}

/// Addresses that have these bits where the mask has ones.
#[derive(Debug, Clone, Copy)]
struct Only {
    bits: u32,
    mask: u32,
}

impl Only {
    /// None at all.
    const NOTHING: Self = Self { bits: 1, mask: 0 };

    #[inline]
    const fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & self.mask == self.bits
    }
}

impl From<Prefix> for Only {
    fn from(prefix: Prefix) -> Self {
        Self { bits: prefix.address.to_bits() & prefix.mask(), mask: prefix.mask() }
    }
}

impl Inside {
    /// Octets of what packets need of those with one prefix.
    const HOT: usize = std::mem::offset_of!(Self, local);

    /// Whether a packet with this source may come out of the tunnel.
    #[inline]
    pub(crate) fn covers(&self, source: Ipv4Addr) -> bool {
        self.first.contains(source) || self.others.iter().any(|prefix| prefix.contains(source))
    }
}

impl From<Network> for Inside {
    fn from(network: Network) -> Self {
        let Network { prefixes, mtu, local, clamp_mss } = network;
        let mut prefixes = prefixes.into_iter();
        let first = prefixes.next().map_or(Only::NOTHING, Only::from);
        Self { first, mtu, clamp_mss, local, others: prefixes.collect() }
    }
}

/// The way of what a tunnel brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// The workers' own.
    Fast,
    /// By the data plane's TUN.
    Kernel,
    /// By a device of the tunnel's own: its place among the worker's devices.
    Device(u32),
    /// By a device that could not be opened.
    Nowhere,
}

/// What protects the data of a tunnel.
#[derive(Debug)]
#[repr(align(64))]
#[expect(clippy::large_enum_variant, reason = "nearly all tunnels have MPPE, one fetch away")]
pub(crate) enum Protection {
    /// Not chosen yet: no data passes.
    Unset,
    /// Nothing.
    None,
    /// Stateless MPPE both ways.
    Mppe(Mppe),
    /// MPPE that is stateful one way at least.
    Stateful(Box<Stateful>),
}

impl Protection {
    /// What stateless MPPE keeps of what the peer sends.
    #[inline]
    pub(crate) fn receive_state(&mut self) -> Option<&mut ReceiveState> {
        match self {
            Self::Mppe(mppe) => Some(&mut mppe.receive),
            Self::Stateful(mppe) => match &mut mppe.receive {
                Half::Stateless(state) => Some(state),
                Half::Stateful(_) => None,
            },
            Self::Unset | Self::None => None,
        }
    }

    /// What stateless MPPE keeps of what we send.
    #[inline]
    pub(crate) fn send_state(&mut self) -> Option<&mut SendState> {
        match self {
            Self::Mppe(mppe) => Some(&mut mppe.send),
            Self::Stateful(mppe) => match &mut mppe.send {
                Half::Stateless(state) => Some(state),
                Half::Stateful(_) => None,
            },
            Self::Unset | Self::None => None,
        }
    }

    /// The sending half, if it is a stateful one.
    pub(crate) fn sender(&mut self) -> Option<&mut stateful::Sender> {
        match self {
            Self::Stateful(mppe) => match &mut mppe.send {
                Half::Stateful(sender) => Some(sender),
                Half::Stateless(_) => None,
            },
            _ => None,
        }
    }
}

/// MPPE's state, both ways.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Mppe {
    pub(crate) send: SendState,
    pub(crate) receive: ReceiveState,
}

/// MPPE whose directions have modes of their own.
#[derive(Debug)]
pub(crate) struct Stateful {
    pub(crate) send: Half<SendState, stateful::Sender>,
    pub(crate) receive: Half<ReceiveState, stateful::Receiver>,
    pub(crate) asks: AskLimit,
}

/// One direction.
#[derive(Debug)]
pub(crate) enum Half<L, F> {
    Stateless(L),
    Stateful(F),
}

/// How often the control plane is told that the peer has to start again.
pub(crate) type AskLimit = Bucket<4, 250_000>;

/// What a peer may say to its router: a flood of solicitations must not take from control frames.
pub(crate) type RouterLimit = Bucket<16, 200_000>;

/// Packets a second that the kernel has to handle one by one, each with a system call: 20,000, a few
/// hundredths of a worker. Whoever uses the machine's own services sends far fewer.
pub(crate) type SlowPathLimit = Bucket<4096, 50>;

/// What a tunnel may send to the control plane: one subscriber's flood must not keep others from
/// logging in. A login with all of its retransmissions has fewer than 64 frames; then 20 a second.
pub(crate) type ControlLimit = Bucket<64, 50_000>;

// What an uplink packet touches are these lines: the window's end up to the network, and what MPPE
// keeps of what the peer sends.
const _: () = assert!(std::mem::offset_of!(Tunnel, shared) == 144);
const _: () = assert!(std::mem::offset_of!(Tunnel, network) + Inside::HOT <= 256);
