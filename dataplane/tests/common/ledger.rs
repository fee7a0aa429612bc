//! Every packet is accounted for: by the counters of the kernel's interfaces, of the XDP program, of
//! the ports and of the workers.

#![allow(clippy::unwrap_used, reason = "a test")]

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
}

/// What the kernel counted for all of the interfaces.
#[derive(Clone, Copy)]
struct Kernel {
    received: u64,
    /// Sent, or lost for want of a carrier.
    sent: u64,
}

impl<'a> Ledger<'a> {
    /// To be opened before the data plane starts.
    pub fn open(interfaces: &'a [&'a str]) -> Self {
        Self { interfaces, before: Kernel::read(interfaces) }
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
        let now = Kernel::read(self.interfaces);
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
}

impl Kernel {
    fn read(interfaces: &[&str]) -> Self {
        // Of the network namespace of this thread, which sysfs does not know.
        let table = fs::read_to_string("/proc/thread-self/net/dev").unwrap();
        let sum = |column: usize| -> u64 {
            let ours = table.lines().filter_map(|line| line.trim().split_once(':'));
            let ours = ours.filter(|(name, _)| interfaces.contains(name));
            let numbers = ours.map(|(_, numbers)| numbers.split_whitespace().nth(column));
            numbers.map(|number| number.unwrap().parse::<u64>().unwrap()).sum()
        };
        Self { received: sum(RX_PACKETS), sent: sum(TX_PACKETS) + sum(TX_DROPPED) }
    }
}
