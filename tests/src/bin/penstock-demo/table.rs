//! The live table: rates from two looks at the daemon's sessions, losses from the traffic itself.
//! On a terminal it is drawn over the one before, elsewhere printed now and then.
//! Never shows a figure that nobody measured.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::Instant;

use lab::server::Session;

/// One row's figures that the daemon does not have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) loss: f64,
    /// Microseconds; 0 is not measured yet.
    pub(crate) round_trip: u64,
}

/// What was drawn last.
#[derive(Debug)]
pub(crate) struct Table {
    before: HashMap<u64, Session>,
    at: Instant,
    drawn_lines: usize,
    terminal: bool,
}

impl Table {
    pub(crate) fn new() -> Self {
        Self {
            before: HashMap::new(),
            at: Instant::now(),
            drawn_lines: 0,
            terminal: io::stdout().is_terminal(),
        }
    }

    /// Whether it is drawn in place, and can be drawn often.
    pub(crate) fn is_live(&self) -> bool {
        self.terminal
    }

    /// Draws the sessions as they are now.
    pub(crate) fn draw(
        &mut self,
        sessions: &[Session],
        measured: impl Fn(&str) -> Option<Measured>,
    ) -> io::Result<()> {
        let now = Instant::now();
        let text = self.render(sessions, now.duration_since(self.at).as_secs_f64(), measured);
        let mut out = io::stdout().lock();
        if self.terminal && self.drawn_lines > 0 {
            write!(out, "\x1b[{}A\x1b[J", self.drawn_lines)?;
        }
        out.write_all(text.as_bytes())?;
        out.flush()?;
        self.drawn_lines = text.lines().count();
        self.at = now;
        self.before = sessions.iter().map(|session| (session.id, session.clone())).collect();
        Ok(())
    }

    fn render(
        &self,
        sessions: &[Session],
        seconds: f64,
        measured: impl Fn(&str) -> Option<Measured>,
    ) -> String {
        let mut text = format!(
            "\n{:<8} {:<13} {:<18} {:>8} {:>10} {:>8} {:>10} {:>7} {:>8}\n",
            "USER",
            "ADDRESS",
            "ENCODING",
            "UP p/s",
            "UP bit/s",
            "DOWN p/s",
            "DOWN bit/s",
            "LOSS",
            "PING"
        );
        let mut sum = [0.0; 4];
        for session in sessions {
            let user = session.user.as_deref().unwrap_or("-");
            let address = session.address.map_or("-".to_owned(), |address| address.to_string());
            let rates = self.rates(session, seconds);
            for (sum, rate) in sum.iter_mut().zip(rates) {
                *sum += rate;
            }
            let [up, up_bits, down, down_bits] = rates.map(short);
            let (loss, ping) = match measured(user) {
                Some(Measured { loss, round_trip: 0 }) => (format!("{loss:.2}%"), "-".to_owned()),
                #[expect(clippy::cast_precision_loss, reason = "milliseconds with one digit")]
                Some(Measured { loss, round_trip }) => {
                    (format!("{loss:.2}%"), format!("{:.1} ms", round_trip as f64 / 1000.0))
                }
                None => ("-".to_owned(), "-".to_owned()),
            };
            // Writing to a String does not fail.
            let _ = writeln!(
                text,
                "{user:<8} {address:<13} {:<18} {up:>8} {up_bits:>10} {down:>8} {down_bits:>10} \
                 {loss:>7} {ping:>8}",
                session.encoding
            );
        }
        let [up, up_bits, down, down_bits] = sum.map(short);
        let _ = writeln!(
            text,
            "{:<41} {up:>8} {up_bits:>10} {down:>8} {down_bits:>10}",
            format!("{} sessions", sessions.len())
        );
        text
    }

    /// Packets and bits per second, up and down, since the table before.
    fn rates(&self, session: &Session, seconds: f64) -> [f64; 4] {
        let Some(before) = self.before.get(&session.id) else { return [0.0; 4] };
        let rate = |now: u64, before: u64| {
            #[expect(clippy::cast_precision_loss, reason = "rates are shown with three digits")]
            let difference = now.saturating_sub(before) as f64;
            difference / seconds
        };
        [
            rate(session.rx_packets, before.rx_packets),
            rate(session.rx_bytes, before.rx_bytes) * 8.0,
            rate(session.tx_packets, before.tx_packets),
            rate(session.tx_bytes, before.tx_bytes) * 8.0,
        ]
    }
}

/// Three digits and a unit.
fn short(value: f64) -> String {
    match value {
        value if value < 1e3 => format!("{value:.0}"),
        value if value < 1e6 => format!("{:.1} k", value / 1e3),
        value if value < 1e9 => format!("{:.1} M", value / 1e6),
        value => format!("{:.1} G", value / 1e9),
    }
}
