//! Configurations of other systems made ours: what was understood, and what was not and why.
//!
//! | module | what |
//! |---|---|
//! | [`routeros`] | an `/export` of RouterOS 6 or 7 |
//! | [`accel_ppp`] | `accel-ppp.conf` |
//! | [`chap_secrets`] | pppd's users |
//! | `mend` | references that lead nowhere |
//!
//! Every line of the source is either taken over or named in the report. Passwords are never in
//! the report. Nothing is changed here; who calls decides what becomes of the outcome.

pub mod accel_ppp;
pub mod chap_secrets;
mod draft;
mod mend;
pub mod routeros;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Write as _;

pub use draft::{Draft, NewSecret};

/// Bytes of a source that are read at most.
pub const LARGEST: u64 = 16 << 20;

/// What a source came to.
#[derive(Debug, Default)]
pub struct Imported {
    /// The configuration and the users.
    pub draft: Draft,
    /// What is told of it, by line.
    pub report: Report,
}

/// A text without the mark that some editors put before UTF-8.
fn unmarked(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes)
}

/// What is told of an import.
#[derive(Debug, Default)]
pub struct Report {
    lines: Vec<Line>,
    /// Lines that are no part of PPTP, by what they are about.
    foreign: BTreeMap<String, Vec<usize>>,
    /// What holds for the whole.
    remarks: Vec<String>,
}

/// What became of one line.
#[derive(Debug, Default)]
struct Line {
    number: usize,
    /// What it is about.
    subject: String,
    /// What it became.
    became: Option<String>,
    /// What of it was left, and why.
    left: Vec<String>,
}

impl Report {
    /// A line was understood: it became this, less what is `left`.
    fn taken(&mut self, number: usize, subject: String, became: String, left: Vec<String>) {
        self.lines.push(Line { number, subject, became: Some(became), left });
    }

    /// A line was not taken over.
    fn left(&mut self, number: usize, subject: String, why: impl Into<String>) {
        self.lines.push(Line { number, subject, became: None, left: vec![why.into()] });
    }

    /// A line is about something else.
    fn foreign(&mut self, number: usize, about: String) {
        self.foreign.entry(about).or_default().push(number);
    }

    fn remark(&mut self, text: impl Into<String>) {
        self.remarks.push(text.into());
    }

    /// How many lines were taken over as a whole, taken over in part, and not.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        let taken = |line: &&Line| line.became.is_some();
        let whole = self.lines.iter().filter(taken).filter(|line| line.left.is_empty()).count();
        let part = self.lines.iter().filter(taken).count() - whole;
        let not = self.lines.len() - whole - part;
        (whole, part, not + self.foreign.values().map(Vec::len).sum::<usize>())
    }

    /// The report as an operator reads it.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for Line { number, subject, became, left } in &self.lines {
            let became = became.as_deref().unwrap_or("not taken over");
            // Writing to a String does not fail.
            let _ = writeln!(text, "line {number}: {}: {became}", harmless(subject));
            for why in left {
                let _ = writeln!(text, "    {}", harmless(why));
            }
        }
        for (about, lines) in &self.foreign {
            let _ = writeln!(text, "{}: {}: no part of PPTP", numbers(lines), harmless(about));
        }
        for remark in &self.remarks {
            let _ = writeln!(text, "note: {remark}");
        }
        let (whole, part, not) = self.counts();
        let _ = writeln!(text, "{whole} lines taken over, {part} in part, {not} not");
        text
    }
}

/// What a source says steers no terminal and fills no screen.
fn harmless(text: &str) -> String {
    const MOST: usize = 200;
    let shown = text.chars().take(MOST);
    let mut shown: String = shown
        .flat_map(|letter| match letter.is_control() {
            true => letter.escape_default().collect::<Vec<_>>(),
            false => vec![letter],
        })
        .collect();
    if text.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    shown
}

/// Line numbers, runs as ranges.
fn numbers(lines: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &line in lines {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == line => *last = line,
            _ => runs.push((line, line)),
        }
    }
    let shown = runs.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    let word = if lines.len() == 1 { "line" } else { "lines" };
    format!("{word} {}", shown.collect::<Vec<_>>().join(", "))
}
