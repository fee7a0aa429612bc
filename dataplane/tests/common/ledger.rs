//! Every packet is accounted for: by the counters of the kernel's interfaces, of the XDP program, of
//! the ports and of the workers.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;

use dataplane::api::Handle;
use dataplane::api::counters::WorkerTotals;
use dataplane::io::PortDrop;
use ebpf::Verdict;

use super::common::eventually;

/// Columns of /proc/net/dev.
const RX_PACKETS: usize = 1;
const TX_PACKETS: usize = 9;
const TX_DROPPED: usize = 11;

/// The interfaces of a data plane, and what they had counted before it started.
pub struct Ledger<'a> {
    interfaces: &'a [&'a str],
    before: Kernel,
    /// What each was seen to have counted: it may be gone.
    newest: RefCell<HashMap<&'a str, Kernel>>,
}

/// What the kernel counted.
#[derive(Clone, Copy, Default)]
struct Kernel {
    received: u64,
    /// Sent, or lost for want of a carrier.
    sent: u64,
}

impl<'a> Ledger<'a> {
    /// To be opened before the data plane starts.
    pub fn open(interfaces: &'a [&'a str]) -> Self {
        let mut ledger = Self { interfaces, before: Kernel::default(), newest: RefCell::default() };
        ledger.before = ledger.read();
        ledger
    }

    /// The sums agree as soon as all packets have arrived and workers have looked at the kernel's
    /// counters, which they do once a second.
    pub fn balance(&self, handle: &Handle) {
        let mut difference = Vec::new();
        let balanced = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually("the sums agree", || {
                difference = self.differences(handle);
                difference.is_empty().then_some(())
            });
        }));
        assert!(balanced.is_ok(), "{difference:#?}\n{:#?}", handle.totals());
    }

    fn differences(&self, handle: &Handle) -> Vec<String> {
        let now = self.read();
        let totals = handle.totals();
        let xdp = totals.xdp.unwrap();
        let is_ours = |name: &str| self.interfaces.contains(&name);
        let (mut received, mut sent, mut redirected, mut by_sockets) = (0, 0, 0, 0);
        for port in &totals.ports {
            let dropped = |reasons: &[PortDrop]| -> u64 {
                let all = port.drops.iter().filter(|(reason, _)| reasons.contains(reason));
                all.map(|(_, count)| count).sum()
            };
            received += port.received_packets;
            sent +=
                port.sent_packets + dropped(&[PortDrop::TransmitFull, PortDrop::TransmitRefused]);
            if is_ours(&port.name) {
                redirected += port.received_packets
                    + dropped(&[PortDrop::XdpReceive, PortDrop::XdpReceiveRing]);
            }
            // What the raw socket sends leaves by the interfaces too.
            if is_ours(&port.name) || port.name == "gre" {
                by_sockets += port.sent_packets;
            }
        }
        let worker =
            |field: fn(&WorkerTotals) -> u64| -> u64 { totals.workers.iter().map(field).sum() };
        let sums = [
            (
                "frames that the interfaces received, and verdicts of XDP",
                now.received - self.before.received,
                xdp.iter().map(|(_, count)| count).sum(),
            ),
            (
                "packets that XDP redirected, and what sockets received or lost",
                xdp.iter()
                    .filter(|(reason, _)| reason.verdict() == Verdict::Redirect)
                    .map(|(_, count)| count)
                    .sum(),
                redirected,
            ),
            ("packets of ports, and of workers", received, worker(|worker| worker.received)),
            (
                "packets handed over, and taken over",
                worker(|worker| worker.handed_over),
                worker(|worker| worker.taken_over),
            ),
            (
                "packets that came into being, and that ended",
                worker(|worker| worker.received + worker.originated),
                worker(|worker| {
                    worker.sent
                        + worker.consumed
                        + worker.queued
                        + worker.fragments
                        + worker.drops.total()
                }),
            ),
            ("packets sent by workers, and by ports", worker(|worker| worker.sent), sent),
            (
                "packets sent by ports, and by the interfaces",
                by_sockets,
                now.sent - self.before.sent,
            ),
        ];
        let differ = sums.into_iter().filter(|(_, one, other)| one != other);
        differ.map(|(what, one, other)| format!("{what}: {one}, {other}")).collect()
    }

    /// What the kernel has counted for all of the interfaces, up to the end of those that are gone.
    fn read(&self) -> Kernel {
        // Of the network namespace of this thread, which sysfs does not know.
        let table = fs::read_to_string("/proc/thread-self/net/dev").unwrap();
        let mut newest = self.newest.borrow_mut();
        for line in table.lines() {
            let Some((name, numbers)) = line.trim().split_once(':') else { continue };
            let Some(&name) = self.interfaces.iter().find(|known| **known == name) else {
                continue;
            };
            let column = |column: usize| -> u64 {
                numbers.split_whitespace().nth(column).unwrap().parse().unwrap()
            };
            let sent = column(TX_PACKETS) + column(TX_DROPPED);
            newest.insert(name, Kernel { received: column(RX_PACKETS), sent });
        }
        let mut sum = Kernel::default();
        for kernel in newest.values() {
            sum.received += kernel.received;
            sum.sent += kernel.sent;
        }
        sum
    }
}
