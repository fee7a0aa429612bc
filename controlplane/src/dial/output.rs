//! What `penstock dial` prints: one line a step, for eyes or as JSON.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Instant;

use protocol::ppp::link::Network;
use serde_json::{Value, json};

use super::outgoing::{Ended, Progress};

/// Prints steps with their time since the start.
#[derive(Debug)]
pub(super) struct Output {
    json: bool,
    started: Instant,
    encoding: String,
    up: bool,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self { json, started: Instant::now(), encoding: "none".to_owned(), up: false }
    }

    /// The call went on.
    pub(super) fn show(&mut self, progress: Progress<'_>, interface: &str) {
        match progress {
            Progress::TcpConnected => self.step("tcp-connected"),
            Progress::Controlled => self.step("control-connection"),
            Progress::Called => self.step("call"),
            Progress::Link(step) => self.step(&step.to_string()),
            Progress::Encoding(encoding) => self.encoding = encoding,
            Progress::RouteStays(destination) => {
                self.step(&format!("there is a route to {destination} already: left alone"));
            }
            Progress::Up(network) => self.up(interface, network),
        }
    }

    fn step(&self, step: &str) {
        self.line(step, &json!({ "event": "step", "step": step }));
    }

    /// Data passes. A renegotiation changes nothing that concerns a person.
    fn up(&mut self, interface: &str, network: &Network) {
        if std::mem::replace(&mut self.up, true) {
            return self.step("up again");
        }
        let dns: Vec<_> = network.dns.iter().flatten().map(ToString::to_string).collect();
        let servers = if dns.is_empty() { "none".to_owned() } else { dns.join(", ") };
        let text = format!(
            "up: {interface} {} peer {}, {}, mtu {}, DNS {servers}",
            network.local, network.remote, self.encoding, network.mtu
        );
        let event = json!({
            "event": "up",
            "interface": interface,
            "address": network.local,
            "peer-address": network.remote,
            "encoding": self.encoding,
            "mtu": network.mtu,
            "dns-server": dns,
        });
        self.line(&text, &event);
    }

    /// It is over.
    pub(super) fn down(&self, ended: &Ended, server: SocketAddr) {
        let Ended { result, was_up, counters } = ended;
        let reason = result.as_ref().err().map_or_else(|| "closed".to_owned(), ToString::to_string);
        let text = if *was_up {
            format!(
                "down: {reason}; received {} packets, {} bytes, sent {} packets, {} bytes, lost {}",
                counters.rx_packets,
                counters.rx_bytes,
                counters.tx_packets,
                counters.tx_bytes,
                counters.lost
            )
        } else {
            format!("down: {reason}")
        };
        let event = json!({
            "event": "down",
            "server": server,
            "reason": reason,
            "was-up": was_up,
            "rx-packets": counters.rx_packets,
            "rx-bytes": counters.rx_bytes,
            "tx-packets": counters.tx_packets,
            "tx-bytes": counters.tx_bytes,
            "rx-lost": counters.lost,
            "rx-reordered": counters.reordered,
            "rx-duplicate": counters.duplicates,
            "round-trip-micros": counters.round_trip.map(|time| time.as_micros()),
        });
        self.line(&text, &event);
    }

    fn line(&self, text: &str, event: &Value) {
        let ms = self.started.elapsed().as_secs_f64() * 1e3;
        let line = if self.json {
            let mut event = event.clone();
            // Microseconds are as fine as it gets.
            event["ms"] = json!((ms * 1e3).round() / 1e3);
            format!("{event}\n")
        } else {
            format!("{ms:9.1} ms  {text}\n")
        };
        let mut out = io::stdout().lock();
        // Nobody is left to tell if the reader is gone; the call goes on.
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }
}
