//! The packet path's books: what came in is what went out, what ended, what waits and what was dropped,
//! from XDP to the ports. They are looked at when a lab goes, whatever it was about.
//! Never balances what it does not see: devices of tunnels take their counters with them.

use std::time::Duration;

use crate::network::{ACCESS_LINK, CORE_LINK};
use crate::server::{CommandLine, Stats};
use crate::wait;

/// Until nothing is on its way and workers have asked the kernel for its counters, which they do once a
/// second.
const SETTLE: Duration = Duration::from_secs(10);

/// Those of a daemon. Dropping them looks at them, if it still runs and no test has failed.
#[derive(Debug)]
pub struct Books(pub(crate) CommandLine);

impl Drop for Books {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let mut newest = None;
        let balanced = wait::until("the books to balance", SETTLE, || {
            let Ok(stats) = self.0.stats() else { return Ok(Some(())) };
            let differ = differences(&stats);
            let balanced = differ.is_empty();
            newest = Some((differ, stats));
            Ok(balanced.then_some(()))
        });
        assert!(balanced.is_ok(), "{newest:#?}");
    }
}

fn differences(stats: &Stats) -> Vec<String> {
    let packets = |names: &[&str]| -> u64 {
        names.iter().map(|&name| stats.packets.get(name).copied().unwrap_or_default()).sum()
    };
    let driven = [ACCESS_LINK, CORE_LINK];
    let (mut received, mut sent, mut by_sockets) = (0, 0, 0);
    for port in &stats.ports {
        let lost = |names: &[&str]| -> u64 {
            names.iter().map(|&name| port.drops.get(name).copied().unwrap_or_default()).sum()
        };
        received += port.rx_packets;
        sent += port.tx_packets + lost(&["transmit_full", "transmit_refused"]);
        if driven.contains(&port.name.as_str()) {
            by_sockets += port.rx_packets + lost(&["xdp_receive", "xdp_receive_ring"]);
        }
    }
    let redirected = stats.xdp.iter().filter(|(name, _)| name.starts_with("redirect_"));
    let drops: u64 = stats.drops.values().sum();
    let began = packets(&["received", "originated"]);
    let ended = packets(&["sent", "consumed", "queued", "fragments"]) + drops;
    let (handed, taken) = (packets(&["handed_over"]), packets(&["taken_over"]));
    let redirected = redirected.map(|(_, count)| count).sum();
    let sums = [
        ("packets that came into being, and that ended", began, ended, began == ended),
        ("packets handed over, and taken over", handed, taken, handed == taken),
        (
            "packets that XDP redirected, and what sockets received or lost",
            redirected,
            by_sockets,
            redirected == by_sockets,
        ),
        (
            "packets of ports, and of workers",
            received,
            packets(&["received"]),
            received <= packets(&["received"]),
        ),
        (
            "packets sent by ports or lost there, and sent by workers",
            sent,
            packets(&["sent"]),
            sent <= packets(&["sent"]),
        ),
    ];
    let differ = sums.into_iter().filter(|(.., agree)| !agree);
    differ.map(|(what, one, other, _)| format!("{what}: {one}, {other}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn books_that_do_not_balance_say_which_sum_is_off() {
        let stats = |sent: u64, redirected: u64| -> Stats {
            serde_json::from_value(serde_json::json!({
                "packets": {"received": 10, "originated": 2, "sent": sent, "consumed": 3, "queued": 1},
                "control": {},
                "drops": {"no_tunnel": 2},
                "xdp": {"redirect_tunnel": redirected, "pass_vlan": 70},
                "ports": [
                    {"name": "access", "rx-packets": 7, "tx-packets": 4, "drops": {"xdp_receive": 1}},
                    {"name": "gre", "rx-packets": 3, "tx-packets": 1, "drops": {"transmit_full": 1}},
                ],
                "accounting": null,
            }))
            .unwrap()
        };
        assert!(differences(&stats(6, 8)).is_empty());
        let off = "packets that came into being, and that ended: 12, 13";
        assert_eq!(differences(&stats(7, 8)), [off]);
        let off = "packets that XDP redirected, and what sockets received or lost: 9, 8";
        assert_eq!(differences(&stats(6, 9)), [off]);
    }
}
