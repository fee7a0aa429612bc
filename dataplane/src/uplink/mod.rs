//! From the subscriber: GRE packets in, inner IP packets out, in stages over a whole burst.
//!
//! Implements RFC 2637 §4 (GRE), RFC 1661 §2 (PPP frames), RFC 3078 §8 (which MPPE packets are
//! taken) and RFC 1812 §5.2.2, §5.3.7 (what a router verifies). Never lets a packet move a key, a
//! window or an acknowledgement that was not accepted, nor plain data of an encrypted tunnel pass.

mod admit;
mod common;
mod decrypt;
mod echo;
mod inspect;
mod ipv6;
mod pass;
mod plain;

use protocol::gre::Verdict;
use protocol::mppe::Header as MppeHeader;

use crate::api::DropReason;
use crate::frame::Frame;
use crate::ipv4;
use crate::mppe::{Payloads, ReceiveBurst, stateful};
use crate::stage::Stage;
use crate::table::{Protection, Table};
use crate::worker::{BURST, Core, From};
pub(crate) use admit::{call, is_for};
use common::Common;
pub(crate) use pass::to_router;

/// What waits between stages. Empty between bursts; kept for its capacity.
#[derive(Debug, Default)]
pub(crate) struct Stages {
    plain: Vec<Data>,
    /// In the order of the burst below.
    encrypted: Vec<Encrypted>,
    mppe: ReceiveBurst,
    /// Of tunnels with stateful MPPE.
    stateful: Vec<(Data, MppeHeader)>,
    /// What they may spend on keys far ahead.
    stateful_budget: stateful::Budget,
}

/// A data frame of one of this worker's tunnels, from the inner packet on.
#[derive(Debug)]
struct Data {
    frame: Frame,
    slot: u32,
    sequence: u32,
    /// The outer type of service.
    tos: u8,
    /// Where the tunnel is that the inner destination lies behind, once that was looked up.
    to: u32,
}

/// The same, still encrypted or just decrypted: from the inner protocol number on.
#[derive(Debug)]
struct Encrypted {
    data: Data,
    /// Whether the plaintext is a packet of the tunnel's, once there is one.
    verdict: Result<(), DropReason>,
}

impl Payloads for [Encrypted] {
    fn payload(&mut self, packet: usize) -> &mut [u8] {
        self.get_mut(packet).map_or(&mut [], |packet| packet.data.frame.data_mut())
    }
}

/// Takes packets that start with the outer IP header through all stages. What is for another
/// subscriber waits for the downlink afterwards.
pub(crate) fn run(core: &mut Core, frames: &mut Vec<Frame>, from: From) {
    if frames.is_empty() {
        return;
    }
    core.watch.begin();
    let mut stages = std::mem::take(&mut core.uplink);
    for frames in frames.chunks(BURST) {
        expect(core, frames);
    }
    stages.mppe.clear();
    for frame in frames.drain(..) {
        if let Err(frame) = admit_common(core, frame, &mut stages) {
            admit::admit(core, frame, from, &mut stages);
        }
    }
    core.watch.end(Stage::Admit);
    plain::run(core, &mut stages);
    core.watch.end(Stage::Forward);
    decrypt::run(core, &mut stages);
    core.uplink = stages;
}

/// Takes in what nearly all packets are: one of the common form, by a tunnel of this worker whose
/// MPPE is stateless. Gives others back, and nothing has moved.
#[expect(clippy::inline_always, reason = "headers are to stay in registers, not to be copied")]
#[inline(always)]
fn admit_common(core: &mut Core, mut frame: Frame, stages: &mut Stages) -> Result<(), Frame> {
    let Some(packet) = Common::read(frame.data()) else { return Err(frame) };
    let Common { peer, local, call_id, sequence, acknowledgment, header, tos, start, len } = packet;
    let Some((slot, tunnel)) = core.table.caller(peer, local, call_id) else { return Err(frame) };
    let is_open = matches!(tunnel.protection, Protection::Mppe(_)) && tunnel.network.is_some();
    let verdict = tunnel.window.check(sequence);
    if !is_open
        || matches!(verdict, Verdict::Duplicate | Verdict::TooOld)
        || !frame.crop(start, len)
    {
        return Err(frame);
    }
    tunnel.shared.heard.set(core.now);
    if let Some(number) = acknowledgment {
        tunnel.acknowledged(number, core.now);
    }
    stages.mppe.push(slot, tunnel.protection.receive_state(), sequence, header, len);
    let data = Data { frame, slot, sequence, tos, to: Table::NOWHERE };
    stages.encrypted.push(Encrypted { data, verdict: Err(DropReason::MppeRefused) });
    Ok(())
}

/// Has the processor fetch what a burst will need. Takes any octets for Call IDs: a wrong one costs
/// a fetch in vain.
fn expect(core: &Core, frames: &[Frame]) {
    /// Where the Call ID stands behind an IP header without options.
    const CALL_ID: usize = ipv4::HEADER_LEN + 6;
    core.table.expect_calls(frames.iter().map(|frame| {
        let octets = frame.data().get(CALL_ID..).and_then(<[u8]>::first_chunk);
        u16::from_be_bytes(octets.copied().unwrap_or_default())
    }));
}
