//! To the subscriber: inner IP packets in, GRE packets out, in stages over a whole burst.
//!
//! Implements RFC 3078 §7 (keys of packets), RFC 1661 §2 (PPP frames), RFC 2637 §4 (GRE)
//! and RFC 1812 §4.2.2.7, §5.2.6 (what is too large is cut, or answered). Never sends plain data of
//! an encrypted tunnel, and never gives a packet back to the kernel.

mod admit;
mod envelope;
mod ipv6;
mod own;
mod prepare;

use protocol::ppp::frame::Protocol;

use crate::api::DropReason;
use crate::frame::Frame;
use crate::link;
use crate::mppe::{Payloads, SendBurst};
use crate::shape::Release;
use crate::stage::Stage;
use crate::worker::{BURST, Core};
pub(crate) use admit::{admit, enter};
pub(crate) use envelope::envelope;
use envelope::{encrypt_stateful, send, send_encrypted};
pub(crate) use own::{reply_control, send_acknowledgement, send_control, send_packet};
use prepare::{prepare, protect, shape};

/// All that can come before an inner packet: Ethernet with its tags, IPv4 20, GRE 16, PPP 4,
/// multilink 4 and the protocol in it 2, MPPE 2 and the inner protocol 2.
pub(crate) const HEADERS: usize = link::MAX_HEADER_LEN + 50;

/// Packets that leave queues in one turn of a worker…
const RELEASES: usize = 4 * BURST;
/// …and those of one tunnel before others have their turn.
const RELEASES_PER_TURN: usize = BURST / 2;

/// What waits between stages. Empty between bursts; kept for its capacity.
#[derive(Debug, Default)]
pub(crate) struct Stages {
    /// Where the tunnels are that the packets of a burst are for.
    slots: Vec<u32>,
    /// Packets whose tunnel is known, in the order in which they came.
    waiting: Vec<Inner>,
    /// All but the first piece of the packet that was cut last.
    pieces: Vec<Frame>,
    plain: Vec<Ready>,
    /// In the order of the burst below.
    encrypted: Vec<Ready>,
    mppe: SendBurst,
    /// Of tunnels with stateful MPPE.
    stateful: Vec<Ready>,
}

impl Stages {
    /// Puts a packet for a tunnel of this worker in, verified and its Time To Live settled.
    #[inline]
    pub(crate) fn push(&mut self, frame: Frame, slot: u32) {
        self.waiting.push(Inner { frame, slot });
    }
}

/// An IP packet for one of this worker's tunnels.
#[derive(Debug)]
struct Inner {
    frame: Frame,
    slot: u32,
}

/// A packet that fits its tunnel, from the IP header on.
struct Fit {
    frame: Frame,
    slot: u32,
    tos: u8,
}

/// A packet that its tunnel takes.
#[derive(Debug)]
struct Ready {
    /// Starts with the inner protocol number if it is to be encrypted, with the IP header if not.
    frame: Frame,
    slot: u32,
    /// What the frame is to PPP.
    protocol: Protocol,
    /// Octets of the inner packet.
    length: usize,
    /// The inner type of service, which is the outer one too: DSCP (RFC 2983 §3) and ECN
    /// (RFC 6040 §4.1, normal mode).
    tos: u8,
}

impl Payloads for [Ready] {
    fn payload(&mut self, packet: usize) -> &mut [u8] {
        self.get_mut(packet).map_or(&mut [], |ready| ready.frame.data_mut())
    }
}

/// Takes the packets that wait through all stages, and those whose tunnel's rate has a turn for
/// them. `true` if there was such a turn.
pub(crate) fn run(core: &mut Core) -> bool {
    let is_due = core.waiting.deadline().is_some_and(|at| at <= core.now);
    if core.downlink.waiting.is_empty() && !is_due {
        return false;
    }
    core.watch.begin();
    let mut stages = std::mem::take(&mut core.downlink);
    for packet in &stages.waiting {
        packet.frame.prefetch_headroom();
    }
    stages.mppe.clear();
    let mut waiting = std::mem::take(&mut stages.waiting);
    for packet in waiting.drain(..) {
        prepare(core, packet, &mut stages);
    }
    stages.waiting = waiting;
    if is_due {
        release(core, &mut stages);
    }
    core.sink.meter.queued.set(core.waiting.len() as u64);
    core.watch.end(Stage::Prepare);
    for packet in stages.plain.drain(..) {
        send(core, packet);
    }
    for packet in stages.stateful.drain(..) {
        encrypt_stateful(core, packet);
    }
    if !stages.encrypted.is_empty() {
        core.watch.end(Stage::Envelope);
        stages.mppe.plan();
        core.cipher.derive_keys(&mut stages.mppe);
        core.watch.end(Stage::Keys);
        core.cipher.apply(&stages.mppe, stages.encrypted.as_mut_slice());
        core.watch.end(Stage::Keystream);
        for (index, packet) in stages.encrypted.drain(..).enumerate() {
            match stages.mppe.header(index) {
                Some(header) => send_encrypted(core, packet, header),
                None => core.sink.drop(packet.frame, DropReason::NetworkClosed),
            }
        }
        stages.mppe.commit(&mut core.table);
    }
    core.watch.end(Stage::Envelope);
    core.downlink = stages;
    is_due
}

/// Lets out what waits in the queues whose turn has come, in bounded work: what is left is due
/// still, behind those that have waited longer.
fn release(core: &mut Core, stages: &mut Stages) {
    let Core { table, sink, waiting, now, .. } = core;
    let mut left = RELEASES;
    while left > 0
        && let Some((at, id)) = waiting.next_due(*now)
    {
        let Some(tunnel) = table.tunnel_by_id(id) else { continue };
        if !tunnel.queue().is_some_and(|queue| queue.begin(at)) {
            continue;
        }
        let turn = left.min(RELEASES_PER_TURN);
        for _ in 0..turn {
            let Some(release) = tunnel.queue().and_then(|queue| queue.release(waiting, *now))
            else {
                break;
            };
            left -= 1;
            match release {
                Release::Send { packet, marked } => {
                    sink.meter.ecn_marked.add(u64::from(marked));
                    let fit = Fit { frame: packet.frame, slot: id.slot, tos: packet.tos };
                    protect(sink, tunnel, fit, stages);
                }
                Release::Drop(frame) => {
                    sink.drop_of(frame, DropReason::QueueDelay, &tunnel.shared);
                }
            }
        }
        if let Some(queue) = tunnel.queue() {
            queue.schedule(waiting, id, *now);
        }
        tunnel.tidy();
    }
}
