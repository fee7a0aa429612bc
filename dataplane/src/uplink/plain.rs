//! Packets of tunnels without encryption, and those of stateful MPPE, one at a time.
//!
//! Implements RFC 3078 §8.2 as far as it is a tunnel's: whoever cannot be read is asked to start again.
//! Never believes what was not inspected.

use protocol::gre::Verdict;
use protocol::mppe::Header as MppeHeader;

use super::decrypt::leaked;
use super::inspect::{inspect, inspect_plaintext, look};
use super::pass::{look_ahead, pass};
use super::{Data, Stages};
use crate::api::{DropReason, Event};
use crate::bridge;
use crate::mppe::stateful;
use crate::table::{Half, Protection, Tunnel};
use crate::worker::Core;

/// Takes what waits of such packets through all stages.
pub(super) fn run(core: &mut Core, stages: &mut Stages) {
    for data in stages.plain.drain(..) {
        inspect_plain(core, data, |packet, tunnel| {
            if tunnel.bridge.is_some() && bridge::is_bridged(packet) {
                let believable = bridge::is_believable(packet);
                return believable.then_some(()).ok_or(DropReason::InnerMalformed);
            }
            inspect(packet, tunnel.network.as_ref())
        });
    }
    let Stages { stateful, stateful_budget, .. } = stages;
    for (data, header) in stateful.drain(..) {
        decrypt_stateful(core, data, header, stateful_budget);
    }
}

/// A plain packet of a tunnel without encryption.
pub(super) fn inspect_plain(
    core: &mut Core,
    mut data: Data,
    inspect: impl FnOnce(&[u8], &Tunnel) -> Result<(), DropReason>,
) {
    let Some(tunnel) = core.table.tunnel(data.slot) else {
        core.sink.drop(data.frame, DropReason::TunnelUnknown);
        return;
    };
    // Again, for the same number may be in the burst twice.
    if matches!(tunnel.window.check(data.sequence), Verdict::Duplicate | Verdict::TooOld) {
        tunnel.shared.duplicates.add(1);
        core.sink.drop_of(data.frame, DropReason::SequenceReplayed, &tunnel.shared);
        return;
    }
    match inspect(data.frame.data(), tunnel) {
        Ok(()) => {
            look_ahead(core, &mut data);
            pass(core, data);
        }
        Err(reason) => core.sink.drop_of(data.frame, reason, &tunnel.shared),
    }
}

/// Stateful MPPE. A packet that cannot be read has the control plane ask the peer to start again.
fn decrypt_stateful(
    core: &mut Core,
    mut data: Data,
    header: MppeHeader,
    budget: &mut stateful::Budget,
) {
    let now = core.now;
    let Some(tunnel) = core.table.tunnel(data.slot) else {
        return core.sink.drop(data.frame, DropReason::TunnelUnknown);
    };
    let Protection::Stateful(mppe) = &mut tunnel.protection else {
        return core.sink.drop_of(data.frame, DropReason::NetworkClosed, &tunnel.shared);
    };
    let Half::Stateful(receiver) = &mut mppe.receive else {
        return core.sink.drop_of(data.frame, DropReason::NetworkClosed, &tunnel.shared);
    };
    let missing = match tunnel.window.check(data.sequence) {
        Verdict::New { gap } => tunnel.window.highest().map(|_| gap),
        // The keystream has run past it.
        Verdict::Late { .. } => {
            return core.sink.drop_of(data.frame, DropReason::MppeOutOfStep, &tunnel.shared);
        }
        Verdict::Duplicate | Verdict::TooOld => {
            tunnel.shared.duplicates.add(1);
            return core.sink.drop_of(data.frame, DropReason::SequenceReplayed, &tunnel.shared);
        }
    };
    let (network, ipv6) = (tunnel.network.as_ref(), tunnel.ipv6.as_deref());
    let bridged = tunnel.bridge.is_some();
    // A good header with a source that the peer has from elsewhere is the peer's too.
    let believes = |plaintext: &[u8]| {
        matches!(look(plaintext, network, ipv6, bridged), Ok(_) | Err(DropReason::SourceForeign))
    };
    let result = receiver.decrypt(header, missing, now, budget, data.frame.data_mut(), believes);
    if let Err(refused) = result {
        let reason = match refused {
            stateful::Refused::NotEncrypted => DropReason::MppeMalformed,
            stateful::Refused::OutOfStep => DropReason::MppeOutOfStep,
            stateful::Refused::OverBudget => DropReason::MppeBudget,
            stateful::Refused::Plaintext => DropReason::MppeRefused,
        };
        let ask = mppe.asks.allows(now).then_some(tunnel.id);
        core.sink.drop_of(data.frame, reason, &tunnel.shared);
        if let Some(tunnel) = ask {
            // One that finds the ring full is made up for by the next packet.
            core.tell(Event::OutOfStep { tunnel });
        }
        return;
    }
    match inspect_plaintext(&mut data.frame, network, ipv6, bridged) {
        Ok(()) => {
            look_ahead(core, &mut data);
            pass(core, data);
        }
        Err(reason) => leaked(core, data, reason),
    }
}
