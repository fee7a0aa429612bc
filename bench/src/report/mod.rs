//! One page of all results: tables, plots, targets and the machines that they come from.
//!
//! Each measurement makes its own [`Section`] of the JSON that it wrote; [`SECTIONS`] names them in
//! the page's order. The page needs nothing from elsewhere. Never measures anything.
//!
//! | module | what |
//! |---|---|
//! | [`plot`] | plots, as SVG |
//! | [`page`] | HTML |
//! | `markdown` | the table in a README |

mod markdown;
pub mod page;
pub mod plot;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::run::table::{Table, figure, left, right};
use crate::run::{About, Options};
use plot::Plot;

/// Makes a section of a result, which is JSON.
type Read = fn(&str) -> Result<Section>;

/// Names of results, and who reads them, in the page's order.
const SECTIONS: &[(&str, Read)] = &[
    ("mppe", crate::mppe::section),
    ("pipeline", crate::pipeline::section),
    ("wire", crate::wire::section),
    ("peer", crate::peer::section),
    ("scale", crate::scale::section),
    ("load", crate::load::section),
    ("dial", crate::dial::section),
];

/// What a measurement has to say.
#[derive(Debug)]
pub struct Section {
    pub title: &'static str,
    /// What was measured, and how, in a few sentences.
    pub about: &'static str,
    pub targets: Vec<Target>,
    pub plots: Vec<Plot>,
    pub tables: Vec<Table>,
}

/// What a figure is to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    pub what: String,
    /// None: was not measured.
    pub measured: Option<f64>,
    pub bound: Bound,
    /// What would be better still.
    pub stretch: Option<f64>,
    pub unit: &'static str,
}

/// Which side of a target is the good one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// How a figure stands to its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Stretch,
    Hit,
    Missed,
    NotMeasured,
}

impl Target {
    pub fn outcome(&self) -> Outcome {
        let is_within = |measured: f64, bound: f64| match self.bound {
            Bound::AtLeast(_) => measured >= bound,
            Bound::AtMost(_) => measured <= bound,
        };
        let (Bound::AtLeast(bound) | Bound::AtMost(bound)) = self.bound;
        match (self.measured, self.stretch) {
            (None, _) => Outcome::NotMeasured,
            (Some(measured), Some(stretch)) if is_within(measured, stretch) => Outcome::Stretch,
            (Some(measured), _) if is_within(measured, bound) => Outcome::Hit,
            (Some(_), _) => Outcome::Missed,
        }
    }

    /// The bound in words, without its unit.
    fn bound(&self) -> String {
        match self.bound {
            Bound::AtLeast(bound) => format!("≥ {}", number(bound)),
            Bound::AtMost(bound) => format!("≤ {}", number(bound)),
        }
    }
}

impl Outcome {
    const fn words(self) -> &'static str {
        match self {
            Self::Stretch => "hit, stretch too",
            Self::Hit => "hit",
            Self::Missed => "missed",
            Self::NotMeasured => "not measured",
        }
    }
}

/// A figure with three digits, or all that it has before the point.
fn number(value: f64) -> String {
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

/// All targets of a page.
fn targets(targets: &[Target]) -> Table {
    let columns =
        [left("target"), right("measured"), right("is to be"), right("better"), left("outcome")];
    let mut table = Table::new("Targets", columns);
    for target in targets {
        let with_unit = |text: String| format!("{text} {}", target.unit).trim_end().to_owned();
        table.row([
            target.what.clone(),
            target.measured.map_or_else(|| "-".to_owned(), |value| with_unit(number(value))),
            with_unit(target.bound()),
            target.stretch.map_or_else(|| "-".to_owned(), |value| with_unit(number(value))),
            target.outcome().words().to_owned(),
        ]);
    }
    table
}

/// What to make.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The page [default: report.html beside the results]
    #[arg(long)]
    html: Option<PathBuf>,
    /// Folder for the plots as files of their own
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,
    /// File of which the part between `<!-- measured -->` and `<!-- /measured -->` becomes the table
    /// of targets
    #[arg(long, value_name = "FILE")]
    readme: Option<PathBuf>,
}

/// A result, and where it comes from.
#[derive(Debug)]
pub struct Chapter {
    name: &'static str,
    about: About,
    section: Section,
}

/// Makes the page.
///
/// # Errors
/// When there is no result, or one that cannot be read; the page has all others then.
pub fn run(arguments: &Arguments, options: &Options) -> Result<()> {
    let (mut chapters, mut errors) = (Vec::new(), Vec::new());
    for &(name, read) in SECTIONS {
        let path = options.out.join(format!("{name}.json"));
        let about = About::path(&options.out, name);
        let chapter = || {
            let text = |path: &PathBuf| {
                fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
            };
            let section = read(&text(&path)?).with_context(|| format!("{}", path.display()))?;
            let about = serde_json::from_str(&text(&about)?)
                .with_context(|| format!("{}", about.display()))?;
            anyhow::Ok(Chapter { name, about, section })
        };
        if path.exists() {
            match chapter() {
                Ok(chapter) => chapters.push(chapter),
                Err(error) => errors.push(format!("{error:#}")),
            }
        }
    }
    if chapters.is_empty() && errors.is_empty() {
        bail!("no results in {}: run a measurement first", options.out.display());
    }
    let html = arguments.html.clone().unwrap_or_else(|| options.out.join("report.html"));
    fs::write(&html, page::page(&chapters)?)
        .with_context(|| format!("writing {}", html.display()))?;
    if let Some(folder) = &arguments.plots {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        for chapter in &chapters {
            for (number, plot) in chapter.section.plots.iter().enumerate() {
                let path = folder.join(format!("{}-{}.svg", chapter.name, number + 1));
                fs::write(&path, plot.svg()?)
                    .with_context(|| format!("writing {}", path.display()))?;
            }
        }
    }
    let all: Vec<_> = chapters.iter().flat_map(|chapter| chapter.section.targets.clone()).collect();
    if let (Some(readme), Some(chapter)) = (&arguments.readme, chapters.first()) {
        let text =
            fs::read_to_string(readme).with_context(|| format!("reading {}", readme.display()))?;
        let text =
            markdown::fill(&text, &targets(&all), &chapter.about.machine, chapter.about.quick)
                .with_context(|| format!("{}", readme.display()))?;
        fs::write(readme, text).with_context(|| format!("writing {}", readme.display()))?;
    }
    let mut out = std::io::stdout();
    if options.json {
        let page = serde_json::json!({ "report": html, "unreadable": errors });
        std::io::Write::write_fmt(&mut out, format_args!("{page}\n"))?;
    } else {
        std::io::Write::write_fmt(
            &mut out,
            format_args!("{}\nwrote {}\n", targets(&all), html.display()),
        )?;
    }
    if !errors.is_empty() {
        bail!("results that cannot be read: {}", errors.join("; "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_by_the_side_that_is_good() {
        let target = |measured, bound, stretch| {
            Target { what: String::new(), measured, bound, stretch, unit: "" }.outcome()
        };
        use Bound::{AtLeast, AtMost};
        assert_eq!(target(Some(7.0), AtLeast(7.0), Some(9.0)), Outcome::Hit);
        assert_eq!(target(Some(9.1), AtLeast(7.0), Some(9.0)), Outcome::Stretch);
        assert_eq!(target(Some(6.9), AtLeast(7.0), None), Outcome::Missed);
        assert_eq!(target(Some(15.0), AtMost(16.0), Some(6.0)), Outcome::Hit);
        assert_eq!(target(Some(17.0), AtMost(16.0), Some(6.0)), Outcome::Missed);
        assert_eq!(target(None, AtMost(16.0), None), Outcome::NotMeasured);
    }

    #[test]
    fn numbers_have_three_digits() {
        let all = [0.0, 0.126, 1.2, 5.5, 9.999, 12.34, 999.6, 12345.6].map(number);
        assert_eq!(all.join(" "), "0 0.13 1.2 5.5 10 12.3 1000 12346");
    }

    #[test]
    fn without_results_there_is_no_page() {
        let folder = tempfile::tempdir().unwrap();
        let options =
            Options { json: true, quick: false, out: folder.path().to_owned(), name: None };
        let arguments = Arguments { html: None, plots: None, readme: None };
        let error = run(&arguments, &options).unwrap_err();
        assert!(error.to_string().starts_with("no results in "), "{error}");

        fs::write(folder.path().join("dial.json"), "{").unwrap();
        let error = run(&arguments, &options).unwrap_err();
        assert!(error.to_string().contains("dial.json"), "{error}");
    }
}
