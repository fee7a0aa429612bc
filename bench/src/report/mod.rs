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

use crate::run::machine::{DIRTY, UNKNOWN};
use crate::run::table::{Table, left, number, right};
use crate::run::{About, Options};
use crate::section::{Section, Target};

/// Makes a section of a result, which is JSON.
type Read = fn(&str) -> Result<Section>;

/// Names of results, and who reads them, in the page's order.
const SECTIONS: &[(&str, Read)] = &[
    ("mppe", crate::mppe::section),
    ("pipeline", crate::pipeline::section),
    ("wire", crate::wire::section),
    ("overload", crate::overload::section),
    ("peer", crate::peer::section),
    ("scale", crate::scale::section),
    ("load", crate::load::section),
    ("dial", crate::dial::section),
];

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
    /// of targets; refused for results whose code no commit names
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

/// The commits that results come from, each once, in the order of the results.
///
/// # Errors
/// When one was measured on a tree with changes, or of no repository: nobody could measure it again.
fn commits<'a>(results: impl IntoIterator<Item = &'a About>) -> Result<String> {
    let (mut commits, mut nameless) = (Vec::new(), Vec::new());
    for About { name, machine, .. } in results {
        let commit = machine.commit.as_str();
        if commit.ends_with(DIRTY) || commit == UNKNOWN {
            nameless.push(format!("{name} ({commit})"));
        } else if !commits.contains(&commit) {
            commits.push(commit);
        }
    }
    if !nameless.is_empty() {
        let nameless = nameless.join(", ");
        bail!("no commit names the code that was measured: {nameless}; commit, then measure again");
    }
    Ok(commits.join(", "))
}

/// Makes the page.
///
/// # Errors
/// When results that no commit names are for a README, when there is no result, or one that cannot be read; the page has all others then.
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
    // Before anything is written.
    let readme = match &arguments.readme {
        Some(readme) => Some((readme, commits(chapters.iter().map(|chapter| &chapter.about))?)),
        None => None,
    };
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
    if let (Some((readme, commits)), Some(chapter)) = (readme, chapters.first()) {
        let text =
            fs::read_to_string(readme).with_context(|| format!("reading {}", readme.display()))?;
        let about = &chapter.about;
        let text = markdown::fill(&text, &targets(&all), &about.machine, &commits, about.quick)
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
    use crate::run::machine::Machine;

    #[test]
    fn what_no_commit_names_is_not_for_a_readme() {
        let about = |name: &str, commit: &str| About {
            name: name.to_owned(),
            command: name.to_owned(),
            quick: false,
            machine: Machine { commit: commit.to_owned(), ..Machine::describe() },
            seconds: 1.0,
            error: None,
        };
        let clean = [about("mppe", "0123456789ab"), about("wire", "ba9876543210")];
        assert_eq!(commits(&clean).unwrap(), "0123456789ab, ba9876543210");
        assert_eq!(commits([&clean[0], &clean[0]]).unwrap(), "0123456789ab");
        for commit in ["0123456789ab-dirty", UNKNOWN] {
            let dirty = about("dial", commit);
            let error = commits([&clean[0], &dirty]).unwrap_err().to_string();
            assert!(error.contains(&format!("dial ({commit})")), "{error}");
        }
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
