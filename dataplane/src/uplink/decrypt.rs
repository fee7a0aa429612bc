//! Stateless MPPE over a burst: keys, keystream, a look at each plaintext, and only then commit.
//!
//! Implements RFC 3078 §8 (which packets are taken). Never lets a packet move a key, a window or an
//! acknowledgement whose plaintext is not the peer's.

use protocol::gre::Verdict;

use super::inspect::inspect_plaintext;
use super::pass::{look_ahead, pass};
use super::{Data, Encrypted, Stages};
use crate::api::DropReason;
use crate::ipv4;
use crate::mppe::Refused;
use crate::mppe::state::SKIPPED_KEYS;
use crate::stage::Stage;
use crate::table::Tunnel;
use crate::worker::{BURST, Core};

/// Takes what waits of such packets through all stages.
pub(super) fn run(core: &mut Core, stages: &mut Stages) {
    let Stages { encrypted, mppe, .. } = stages;
    if encrypted.is_empty() {
        return;
    }
    mppe.plan(core.now, &mut core.table);
    core.cipher.derive_keys(mppe);
    core.watch.end(Stage::Keys);
    core.cipher.apply(mppe, encrypted.as_mut_slice());
    core.watch.end(Stage::Keystream);
    for (index, packet) in encrypted.iter_mut().enumerate() {
        let Some(tunnel) = core.table.tunnel(packet.data.slot) else { continue };
        if mppe.status(index).is_ok() {
            let (network, ipv6) = (tunnel.network.as_ref(), tunnel.ipv6.as_deref());
            packet.verdict =
                inspect_plaintext(&mut packet.data.frame, network, ipv6, tunnel.bridge.is_some());
            if is_credible(packet, tunnel) {
                mppe.accept(index);
            }
            look_ahead(core, &mut packet.data);
        }
    }
    mppe.commit(&mut core.table);
    core.watch.end(Stage::Inspect);
    for encrypted in encrypted.chunks(BURST) {
        let accepted = encrypted.iter().filter(|packet| packet.verdict.is_ok());
        core.exits
            .expect(accepted.filter_map(|packet| ipv4::destination(packet.data.frame.data())));
    }
    for (index, Encrypted { data, verdict }) in encrypted.drain(..).enumerate() {
        match (mppe.status(index), verdict) {
            (Ok(()), Ok(())) => pass(core, data),
            (Ok(()), Err(reason)) => leaked(core, data, reason),
            (Err(refused), verdict) => refuse(core, data, refused, verdict),
        }
    }
    core.watch.end(Stage::Forward);
}

/// A packet that is the peer's, but may not pass: it counts as one that came.
#[cold]
pub(super) fn leaked(core: &mut Core, data: Data, reason: DropReason) {
    let Some(tunnel) = core.table.tunnel(data.slot) else {
        return core.sink.drop(data.frame, DropReason::TunnelUnknown);
    };
    tunnel.accepted(data.sequence, core.now);
    core.acks.note(tunnel, core.now);
    core.sink.drop_of(data.frame, reason, &tunnel.shared);
}

/// A packet that MPPE has no key for, or whose plaintext is not the peer's.
#[cold]
fn refuse(core: &mut Core, data: Data, refused: Refused, verdict: Result<(), DropReason>) {
    let Some(tunnel) = core.table.tunnel(data.slot) else {
        return core.sink.drop(data.frame, DropReason::TunnelUnknown);
    };
    if matches!(refused, Refused::Replay | Refused::Late) {
        tunnel.shared.duplicates.add(1);
    }
    let reason = verdict.err().filter(|_| refused == Refused::Plaintext);
    let reason = reason.unwrap_or_else(|| drop_reason(refused));
    core.sink.drop_of(data.frame, reason, &tunnel.shared);
}

/// Whether the packet comes from the peer, so that keys, window and acknowledgement may move. A
/// good IPv4 header with the tunnel's source address says so. So does one with a source that the
/// peer has from elsewhere, but only as close to the last packet as skipped keys are kept: were it
/// a forgery that hit by chance, the true packets would still find theirs.
fn is_credible(packet: &Encrypted, tunnel: &Tunnel) -> bool {
    match packet.verdict {
        Ok(()) => true,
        Err(DropReason::SourceForeign) => match tunnel.window.check(packet.data.sequence) {
            Verdict::New { gap } => (gap as usize) < SKIPPED_KEYS,
            Verdict::Late { .. } => true,
            Verdict::Duplicate | Verdict::TooOld => false,
        },
        Err(_) => false,
    }
}

const fn drop_reason(refused: Refused) -> DropReason {
    match refused {
        Refused::NoKeys => DropReason::NetworkClosed,
        Refused::NotEncrypted | Refused::NotFlushed | Refused::Inconsistent => {
            DropReason::MppeMalformed
        }
        Refused::Late | Refused::Replay => DropReason::SequenceReplayed,
        Refused::WalkPending | Refused::OverBudget => DropReason::MppeBudget,
        Refused::Plaintext => DropReason::MppeRefused,
    }
}
