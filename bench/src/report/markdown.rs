//! The table of targets in a README, between two marks.

use anyhow::{Context, Result};

use crate::run::machine::Machine;
use crate::run::table::Table;

const BEGIN: &str = "<!-- measured -->\n";
const END: &str = "<!-- /measured -->";

/// The text with what stands between the marks replaced; `commits` are those of all results.
///
/// # Errors
/// When it has no marks.
pub fn fill(
    text: &str,
    table: &Table,
    machine: &Machine,
    commits: &str,
    is_quick: bool,
) -> Result<String> {
    let (before, rest) = text.split_once(BEGIN).context("no line <!-- measured -->")?;
    let (_, after) = rest.split_once(END).context("no <!-- /measured -->")?;
    let Machine { cpu, cores, kernel, date, .. } = machine;
    let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
    let mut filled = line(table.columns.iter().map(|column| column.name.as_str()).collect());
    filled += &line(
        table.columns.iter().map(|column| if column.is_number { "--:" } else { "---" }).collect(),
    );
    for row in &table.rows {
        filled += &line(row.iter().map(String::as_str).collect());
    }
    let warning =
        if is_quick { " A quick run: it shows that all works, not how fast." } else { "" };
    let machine =
        format!("\n{cpu}, {cores} cores, Linux {kernel}, {date}, commit {commits}.{warning}\n");
    Ok(format!("{before}{BEGIN}{filled}{machine}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::table::{left, right};

    #[test]
    fn what_stands_between_the_marks_is_replaced() {
        let mut table = Table::new("", [left("target"), right("measured")]);
        table.row(["logins", "2,500 /s"]);
        let text = "# x\n<!-- measured -->\nold\n<!-- /measured -->\nrest\n";
        let once = fill(text, &table, &Machine::describe(), "0123456789ab", false).unwrap();
        assert!(once.starts_with(
            "# x\n<!-- measured -->\n| target | measured |\n| --- | --: |\n| logins | 2,500 /s |\n"
        ));
        assert!(once.ends_with("<!-- /measured -->\nrest\n") && !once.contains("old"));
        assert_eq!(fill(&once, &table, &Machine::describe(), "0123456789ab", false).unwrap(), once);
        assert!(fill("no marks", &table, &Machine::describe(), "0123456789ab", false).is_err());
    }
}
