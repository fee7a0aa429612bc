//! The report as HTML: one file, that any browser shows and any printer prints.

use std::fmt::Write;

use anyhow::Result;

use super::{Chapter, targets};
use crate::run::table::Table;
use crate::section::Outcome;

/// Rows of a table that nobody reads unasked.
const LONG: usize = 20;

const STYLE: &str = include_str!("style.css");

/// The whole page.
///
/// # Errors
/// When a plot cannot be drawn.
pub fn page(chapters: &[Chapter]) -> Result<String> {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>penstock: measured</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header><h1>penstock: measured</h1>\n"
    );
    if let Some(chapter) = chapters.first() {
        let machine = &chapter.about.machine;
        write!(
            html,
            "<p class=\"machine\">{} · {} core{} · Linux {} · {}</p>",
            escape(&machine.cpu),
            machine.cores,
            if machine.cores == 1 { "" } else { "s" },
            escape(&machine.kernel),
            escape(&machine.date),
        )?;
    }
    html += "<nav>";
    for chapter in chapters {
        write!(html, "<a href=\"#{}\">{}</a> ", chapter.name, escape(chapter.section.title))?;
    }
    html += "</nav></header>\n<main>\n";
    if chapters.iter().any(|chapter| chapter.about.quick) {
        html += "<p class=\"warning\">Made with <code>--quick</code>: this shows that everything \
                 works, not how fast it is.</p>\n";
    }
    let all: Vec<_> =
        chapters.iter().flat_map(|chapter| &chapter.section.targets).cloned().collect();
    if !all.is_empty() {
        html += "<section id=\"targets\"><h2>Targets</h2>\n";
        let outcomes: Vec<_> = all.iter().map(|target| Some(target.outcome())).collect();
        html += &tally(&outcomes)?;
        let table = Table { title: String::new(), ..targets(&all) };
        html += &self::table(&table, &outcomes)?;
        html += "</section>\n";
    }
    for chapter in chapters {
        html += &section(chapter)?;
    }
    html += "</main>\n</body>\n</html>\n";
    Ok(html)
}

fn section(chapter: &Chapter) -> Result<String> {
    let Chapter { name, about, section } = chapter;
    let mut html = format!(
        "<section id=\"{name}\"><h2>{}</h2>\n<p>{}</p>\n",
        escape(section.title),
        escape(section.about)
    );
    if let Some(error) = &about.error {
        writeln!(html, "<p class=\"warning\">Did not come to its end: {}</p>", escape(error))?;
    }
    html += "<div class=\"plots\">\n";
    for plot in &section.plots {
        writeln!(html, "<figure>{}</figure>", plot.svg()?.trim())?;
    }
    html += "</div>\n";
    for one in &section.tables {
        if one.rows.len() > LONG {
            let title = escape(&one.title);
            writeln!(html, "<details><summary>{title}: {} rows</summary>", one.rows.len())?;
            html += &table(&Table { title: String::new(), ..one.clone() }, &[])?;
            html += "</details>\n";
        } else {
            html += &table(one, &[])?;
        }
    }
    write!(
        html,
        "<details><summary>Where these figures come from</summary>\n\
         <p><code>penstock-bench {}</code>, {:.0} s</p>\n{}</details></section>\n",
        escape(&about.command),
        about.seconds,
        table(&about.machine.table(), &[])?
    )?;
    Ok(html)
}

/// How many targets were hit, and how many not.
fn tally(outcomes: &[Option<Outcome>]) -> Result<String> {
    let count = |wanted: &[Outcome]| {
        outcomes.iter().flatten().filter(|outcome| wanted.contains(outcome)).count()
    };
    let mut html = String::from("<p class=\"tally\">");
    for (class, words, wanted) in [
        ("hit", "hit", &[Outcome::Hit, Outcome::Stretch][..]),
        ("missed", "missed", &[Outcome::Missed]),
        ("unmeasured", "not measured", &[Outcome::NotMeasured]),
    ] {
        let number = count(wanted);
        if number > 0 {
            write!(html, "<span class=\"{class}\"><b>{number}</b> {words}</span>")?;
        }
    }
    html += "</p>\n";
    Ok(html)
}

/// `outcomes` colours rows.
fn table(table: &Table, outcomes: &[Option<Outcome>]) -> Result<String> {
    let mut html = String::from("<div class=\"table\"><table>\n");
    if !table.title.is_empty() {
        writeln!(html, "<caption>{}</caption>", escape(&table.title))?;
    }
    html += "<thead><tr>";
    let class = |index: usize| {
        let is_number = table.columns.get(index).is_some_and(|column| column.is_number);
        if is_number { " class=\"number\"" } else { "" }
    };
    for (index, column) in table.columns.iter().enumerate() {
        write!(html, "<th{}>{}</th>", class(index), escape(&column.name))?;
    }
    html += "</tr></thead>\n<tbody>\n";
    for (number, row) in table.rows.iter().enumerate() {
        html += match outcomes.get(number).copied().flatten() {
            Some(Outcome::Stretch | Outcome::Hit) => "<tr class=\"hit\">",
            Some(Outcome::Missed) => "<tr class=\"missed\">",
            Some(Outcome::NotMeasured) => "<tr class=\"unmeasured\">",
            None => "<tr>",
        };
        for (index, cell) in row.iter().enumerate() {
            write!(html, "<td{}>{}</td>", class(index), escape(cell))?;
        }
        html += "</tr>\n";
    }
    html += "</tbody></table></div>\n";
    if !table.note.is_empty() {
        writeln!(html, "<p class=\"note\">{}</p>", escape(&table.note))?;
    }
    Ok(html)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::About;
    use crate::run::machine::Machine;
    use crate::run::table::left;
    use crate::section::{Bound, Section, Target};

    #[test]
    fn what_results_contain_is_text_and_never_markup() {
        let mut words = Table::new("Failures <by> reason", [left("reason")]);
        words.row(["<script>alert(1)</script>"]);
        let target = Target {
            what: "a & b".into(),
            measured: Some(2.0),
            bound: Bound::AtMost(1.0),
            stretch: None,
            unit: "ms",
        };
        let chapter = Chapter {
            name: "dial",
            about: About {
                name: "dial".into(),
                command: "dial --out \"x\"".into(),
                quick: true,
                machine: Machine::describe(),
                seconds: 1.0,
                error: Some("<gone>".into()),
            },
            section: Section {
                title: "Logins",
                about: "How fast.",
                targets: vec![target],
                plots: Vec::new(),
                tables: vec![words],
            },
        };
        let html = page(&[chapter]).unwrap();
        assert!(!html.contains("<script>") && html.contains("&lt;script&gt;"), "{html}");
        assert!(html.contains("<tr class=\"missed\"><td>a &amp; b</td>"), "{html}");
        assert!(html.contains("Did not come to its end: &lt;gone&gt;"), "{html}");
    }
}
