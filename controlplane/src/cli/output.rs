//! Tables for eyes, JSON for programs.

use std::io::{self, Write};

use serde::Serialize;

/// Prints rows below a head, columns aligned.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    io::stdout().write_all(render(head, rows).as_bytes())
}

/// Prints what went wrong without ending the command.
pub(super) fn warn(text: &str) -> io::Result<()> {
    io::stderr().write_all(format!("penstock: {}\n", shown(text)).as_bytes())
}

/// Prints one value as JSON.
pub(super) fn json(value: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    io::stdout().write_all(text.as_bytes())
}

/// Prints names and values, one pair a line.
pub(super) fn pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> io::Result<()> {
    let pairs: Vec<_> = pairs.into_iter().collect();
    let width = pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let lines: String =
        pairs.iter().map(|(name, value)| format!("{name:>width$}: {value}\n")).collect();
    io::stdout().write_all(lines.as_bytes())
}

fn render(head: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = std::iter::once(head.iter().map(ToString::to_string).collect())
        .chain(rows.iter().map(|row| row.iter().map(|cell| shown(cell)).collect()))
        .collect();
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
        })
        .map(|width| width.unwrap_or(0))
        .collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<_> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// What peers and operators typed must not steer the terminal.
pub(super) fn shown(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escaped: Vec<char> =
                if c.is_control() { c.escape_default().collect() } else { vec![c] };
            escaped
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_control_characters_harmless() {
        let rows = [
            vec!["иван".to_owned(), "10.0.0.2".to_owned()],
            vec!["a\u{1b}[31m".to_owned(), "-".to_owned()],
        ];
        insta::assert_snapshot!(render(&["user", "address"], &rows), @r"
        user         address
        иван         10.0.0.2
        a\u{1b}[31m  -
        ");
    }
}
