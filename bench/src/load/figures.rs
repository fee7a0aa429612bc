//! The result of a load: `load.json`, its tables and its part of the report.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use lab::load::Tally;
use serde::{Deserialize, Serialize};

use super::traffic::Outcome;
use crate::report::plot::{Data, Plot};
use crate::run::table::{Table, figure, left, right};
use crate::section::Section;
use crate::stats::{Quantiles, median, round};

/// What was asked.
#[derive(Debug, Clone)]
pub struct Question {
    pub server: String,
    pub tunnels: usize,
    pub rate: f64,
    pub size: String,
    pub to: String,
}

/// `load.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Figures {
    pub server: String,
    pub tunnels: usize,
    /// Packets a second that each tunnel was to send.
    pub rate: f64,
    pub size: String,
    pub to: String,
    /// Tunnels that came up.
    pub up: usize,
    /// Tunnels that ended before they were to.
    pub lost_tunnels: u64,
    pub logins_per_second: f64,
    pub up_p50_ms: f64,
    pub up_p99_ms: f64,
    pub dials: u64,
    /// Dials that failed and tunnels that were lost, by reason.
    pub failures: BTreeMap<String, u64>,
    /// For how long was sent.
    pub seconds: f64,
    pub sent: u64,
    pub received: u64,
    /// Packets that this machine could not send in time.
    pub unsent: u64,
    pub loss_percent: f64,
    pub reordered: u64,
    pub duplicates: u64,
    /// Packets that were not what was sent.
    pub wrong: BTreeMap<String, u64>,
    /// Packets that came back, a second, of all tunnels.
    pub pps: f64,
    pub pps_per_tunnel: Option<Spread>,
    /// From sending to checking.
    pub latency_us: Option<Latency>,
}

/// Of tunnels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub min: f64,
    pub median: f64,
    pub max: f64,
    /// Jain's index: 1 if all have the same, 1/n if one has everything; none where nothing came back.
    pub fairness: Option<f64>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Latency {
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
    pub max: u64,
}

impl Spread {
    /// None of nothing.
    fn of(values: &[f64]) -> Option<Self> {
        let middle = median(values.to_vec())?;
        let sum: f64 = values.iter().sum();
        let squares: f64 = values.iter().map(|value| value * value).sum();
        let fairness = (squares > 0.0).then(|| sum * sum / (values.len() as f64 * squares));
        Some(Self {
            min: round(values.iter().copied().fold(f64::INFINITY, f64::min), 2),
            median: round(middle, 2),
            max: round(values.iter().copied().fold(0.0, f64::max), 2),
            fairness: fairness.map(|index| round(index, 4)),
        })
    }
}

impl Figures {
    /// After the dials, of which `took` is the time until all were up or given up.
    pub fn of_dials(question: Question, tally: &Tally, took: Duration) -> Self {
        let Question { server, tunnels, rate, size, to } = question;
        let ups = Quantiles::of_times(tally.up.iter().map(|up| up.steps.up));
        Self {
            server,
            tunnels,
            rate,
            size,
            to,
            up: tally.up.len(),
            lost_tunnels: tally.lost,
            logins_per_second: round(tally.up.len() as f64 / took.as_secs_f64(), 1),
            up_p50_ms: ups.p50,
            up_p99_ms: ups.p99,
            dials: tally.dials,
            failures: tally.failures.clone(),
            seconds: 0.0,
            sent: 0,
            received: 0,
            unsent: 0,
            loss_percent: 0.0,
            reordered: 0,
            duplicates: 0,
            wrong: BTreeMap::new(),
            pps: 0.0,
            pps_per_tunnel: None,
            latency_us: None,
        }
    }

    /// After the traffic.
    pub fn add_traffic(&mut self, tally: &Tally, outcome: &Outcome) {
        let Outcome { scores, latency, wrong, unsent, took } = outcome;
        let seconds = took.as_secs_f64();
        let sum = |of: fn(&super::traffic::Score) -> u64| scores.iter().map(of).sum::<u64>();
        (self.lost_tunnels, self.failures) = (tally.lost, tally.failures.clone());
        self.seconds = round(seconds, 3);
        (self.sent, self.received) = (sum(|score| score.sent), sum(|score| score.received));
        (self.reordered, self.duplicates) =
            (sum(|score| score.reordered), sum(|score| score.duplicates));
        self.unsent = *unsent;
        let lost = self.sent.saturating_sub(self.received);
        self.loss_percent = round(100.0 * lost as f64 / self.sent.max(1) as f64, 4);
        self.wrong = wrong.clone();
        self.pps = round(self.received as f64 / seconds, 1);
        let each: Vec<_> = scores.iter().map(|score| score.received as f64 / seconds).collect();
        self.pps_per_tunnel = Spread::of(&each);
        let at = |quantile| latency.value_at_quantile(quantile);
        self.latency_us = (!latency.is_empty()).then(|| Latency {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: latency.max(),
        });
    }

    pub fn tables(&self) -> Vec<Table> {
        let title = format!(
            "{} tunnels to {}, {} octets, to {}",
            self.tunnels, self.server, self.size, self.to
        );
        let mut all = Table::new(title, [left(""), right("")]);
        let mut row = |what: &str, value: String| all.row([what.to_owned(), value]);
        row("tunnels up", format!("{} of {}", self.up, self.tunnels));
        row("tunnels lost", self.lost_tunnels.to_string());
        row("logins/s", figure(self.logins_per_second, 1));
        row("time to up, p50 / p99, ms", format!("{:.1} / {:.1}", self.up_p50_ms, self.up_p99_ms));
        row("packets sent", self.sent.to_string());
        row("packets back", self.received.to_string());
        row("loss, %", figure(self.loss_percent, 3));
        row("reordered", self.reordered.to_string());
        row("duplicates", self.duplicates.to_string());
        row("not sent in time by this machine", self.unsent.to_string());
        row("packets/s, all tunnels", figure(self.pps, 0));
        if let Some(Spread { min, median, max, fairness }) = self.pps_per_tunnel {
            row(
                "packets/s of a tunnel, min / median / max",
                format!("{min:.1} / {median:.1} / {max:.1}"),
            );
            row("fairness (Jain's index)", figure(fairness, 4));
        }
        if let Some(Latency { p50, p90, p99, p99_9, max }) = self.latency_us {
            row("latency, p50, µs", p50.to_string());
            row("latency, p90, µs", p90.to_string());
            row("latency, p99, µs", p99.to_string());
            row("latency, p99.9, µs", p99_9.to_string());
            row("latency, max, µs", max.to_string());
        }
        let mut tables = vec![all];
        for (title, reasons) in [("Failures", &self.failures), ("Wrong packets", &self.wrong)] {
            if !reasons.is_empty() {
                let mut table = Table::new(title, [left("reason"), right("count")]);
                for (reason, count) in reasons {
                    table.row([reason.clone(), count.to_string()]);
                }
                tables.push(table);
            }
        }
        tables
    }
}

/// # Errors
/// When it is no result of a load.
pub fn section(json: &str) -> Result<Section> {
    let figures: Figures = serde_json::from_str(json)?;
    let mut plots = Vec::new();
    if let Some(latency) = figures.latency_us {
        let points = [
            ("p50", latency.p50),
            ("p90", latency.p90),
            ("p99", latency.p99),
            ("p99.9", latency.p99_9),
        ];
        plots.push(Plot {
            title: format!("Latency through {} tunnels, {:.0} packets/s", figures.up, figures.pps),
            x: String::new(),
            y: "µs".to_owned(),
            data: Data::Bars {
                groups: points.iter().map(|(name, _)| (*name).to_owned()).collect(),
                bars: vec![(
                    "latency".to_owned(),
                    points.iter().map(|&(_, us)| us as f64).collect(),
                )],
            },
        });
    }
    Ok(Section {
        title: "Load",
        about: "Tunnels of one process dial a server, negotiate MS-CHAPv2 and MPPE of 128 bit like any \
                client, and send encrypted packets that come back through the server and are checked \
                octet by octet. Client and server share this machine's cores where both are on it.",
        targets: Vec::new(),
        plots,
        tables: figures.tables(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fairness_is_one_for_equals_and_falls_to_a_share() {
        assert_eq!(Spread::of(&[]), None);
        let equal = Spread::of(&[10.0; 4]).unwrap();
        assert_eq!(
            (equal.min, equal.median, equal.max, equal.fairness),
            (10.0, 10.0, 10.0, Some(1.0))
        );
        let one = Spread::of(&[0.0, 0.0, 0.0, 8.0]).unwrap();
        assert_eq!((one.min, one.max, one.fairness), (0.0, 8.0, Some(0.25)));
        assert_eq!(Spread::of(&[0.0; 3]).unwrap().fairness, None);
    }
}
