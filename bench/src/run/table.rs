//! Tables of results: the same one is printed on terminals and stands in the report.

use std::fmt;

/// A column's name and the side that its cells stand at.
#[derive(Debug, Clone)]
pub struct Column {
    pub name: String,
    pub is_number: bool,
}

/// A column of words.
pub fn left(name: impl Into<String>) -> Column {
    Column { name: name.into(), is_number: false }
}

/// A column of numbers.
pub fn right(name: impl Into<String>) -> Column {
    Column { name: name.into(), is_number: true }
}

/// A table with a title, and a note below it.
#[derive(Debug, Clone)]
pub struct Table {
    pub title: String,
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<String>>,
    pub note: String,
}

impl Table {
    /// A table without rows.
    pub fn new(title: impl Into<String>, columns: impl IntoIterator<Item = Column>) -> Self {
        let columns = columns.into_iter().collect();
        Self { title: title.into(), columns, rows: Vec::new(), note: String::new() }
    }

    /// Adds a row of as many cells as there are columns.
    pub fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        let cells: Vec<_> = cells.into_iter().map(Into::into).collect();
        debug_assert_eq!(cells.len(), self.columns.len(), "a cell for each column");
        self.rows.push(cells);
    }

    /// With something to know about it.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}

/// A figure with so many places, or a dash where there is none.
pub fn figure(value: impl Into<Option<f64>>, places: usize) -> String {
    value.into().map_or_else(|| "-".to_owned(), |value| format!("{value:.places$}"))
}

/// A figure with three digits, or all that it has before the point.
pub fn number(value: f64) -> String {
    let places = match value.abs() {
        small if small < 10.0 => 2,
        middle if middle < 100.0 => 1,
        _ => 0,
    };
    let text = figure(value, places);
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.title.is_empty() {
            writeln!(f, "{}", self.title)?;
        }
        let head: Vec<_> = self.columns.iter().map(|column| column.name.clone()).collect();
        let lines: Vec<_> = std::iter::once(&head).chain(&self.rows).collect();
        let width = |index: usize| {
            lines.iter().filter_map(|line| line.get(index)).map(|cell| cell.chars().count()).max()
        };
        let widths: Vec<_> = (0..head.len()).map(|index| width(index).unwrap_or(0)).collect();
        for line in lines {
            let mut text = String::new();
            for ((cell, column), width) in line.iter().zip(&self.columns).zip(&widths) {
                if column.is_number {
                    text += &format!("{cell:>width$}  ");
                } else {
                    text += &format!("{cell:<width$}  ");
                }
            }
            writeln!(f, "{}", text.trim_end())?;
        }
        if !self.note.is_empty() {
            writeln!(f, "{}", self.note)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_left_and_numbers_right() {
        let mut table = Table::new("Packets", [left("way"), right("ns"), right("Mpps")]);
        table.row(["uplink".to_owned(), figure(1234.56, 0), figure(0.8099, 2)]);
        table.row(["both".to_owned(), figure(7.0, 0), figure(None, 2)]);
        insta::assert_snapshot!(table.note("Of one core.").to_string(), @r"
        Packets
        way       ns  Mpps
        uplink  1235  0.81
        both       7     -
        Of one core.
        ");
    }

    #[test]
    fn numbers_have_three_digits() {
        let all = [0.0, 0.126, 1.2, 5.5, 9.999, 12.34, 999.6, 12345.6].map(number);
        assert_eq!(all.join(" "), "0 0.13 1.2 5.5 10 12.3 1000 12346");
    }
}
