//! One run of one measurement: where its result goes, how it shows itself, what it ran on.
//!
//! A result is written as often as it grows, so that a run that fails keeps what it had. Beside
//! `NAME.json`, which holds figures alone, `about/NAME.json` says which machine, program and
//! arguments they come from and whether the run came to its end. Never measures anything.
//!
//! | module | what |
//! |---|---|
//! | [`interrupt`] | signals |
//! | [`machine`] | the machine's description |
//! | [`table`] | tables, for terminals and for the report |

pub mod interrupt;
pub mod machine;
pub mod table;

use std::fmt::Display;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

use machine::Machine;
use table::Table;

/// What all measurements understand.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Print the result as JSON, and no tables
    #[arg(long, global = true)]
    pub json: bool,
    /// Few and short measurements: they show that all works, not how fast it is
    #[arg(long, global = true)]
    pub quick: bool,
    /// Folder of the results
    #[arg(long, global = true, value_name = "FOLDER", default_value = "target/bench")]
    pub out: PathBuf,
    /// Name of the result in that folder [default: the subcommand's]
    #[arg(long, global = true, value_parser = file_name)]
    pub name: Option<String>,
}

fn file_name(text: &str) -> Result<String, String> {
    let is_plain = !text.is_empty() && !text.starts_with('.') && !text.contains('/');
    is_plain.then(|| text.to_owned()).ok_or_else(|| "a name without a folder".to_owned())
}

/// What a result comes from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct About {
    pub name: String,
    /// Arguments of `penstock-bench`.
    pub command: String,
    pub quick: bool,
    pub machine: Machine,
    pub seconds: f64,
    /// Why it ended before its end.
    pub error: Option<String>,
}

impl About {
    /// Where that of the result `name` is.
    pub fn path(folder: &Path, name: &str) -> PathBuf {
        folder.join("about").join(format!("{name}.json"))
    }
}

/// A measurement that is under way.
#[derive(Debug)]
pub struct Run {
    options: Options,
    about: About,
    began: Instant,
    result: Option<String>,
    bars: MultiProgress,
}

impl Run {
    /// Takes the place of the last result of that name.
    ///
    /// # Errors
    /// When its folder cannot be written to.
    pub fn new(options: &Options, name: &str) -> Result<Self> {
        let name = options.name.clone().unwrap_or_else(|| name.to_owned());
        let about = About::path(&options.out, &name);
        if let Some(folder) = about.parent() {
            fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        for old in [options.out.join(format!("{name}.json")), about] {
            match fs::remove_file(&old) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("removing {}", old.display()));
                }
                _ => {}
            }
        }
        let command = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
        let about = About {
            name,
            command,
            quick: options.quick,
            machine: Machine::describe(),
            seconds: 0.0,
            error: None,
        };
        let bars = MultiProgress::new();
        Ok(Self { options: options.clone(), about, began: Instant::now(), result: None, bars })
    }

    /// Whether to be done in seconds.
    pub const fn is_quick(&self) -> bool {
        self.options.quick
    }

    /// Writes all figures so far; those of the last call are the result.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn record(&mut self, result: &impl Serialize) -> Result<()> {
        let json = serde_json::to_string_pretty(result)?;
        write(&self.result_path(), &json)?;
        self.result = Some(json);
        Ok(())
    }

    /// Prints a table.
    ///
    /// # Errors
    /// When nobody reads our output any more.
    pub fn show(&self, table: &Table) -> Result<()> {
        self.say(format_args!("\n{}", table.to_string().trim_end()))
    }

    /// Prints a line.
    ///
    /// # Errors
    /// As [`Run::show`].
    pub fn say(&self, line: impl Display) -> Result<()> {
        if !self.options.json {
            self.bars.suspend(|| writeln!(io::stdout(), "{line}"))?;
        }
        Ok(())
    }

    /// A bar for `steps` steps of something, where there is a terminal to draw it on.
    pub fn progress(&self, what: &str, steps: u64) -> ProgressBar {
        let style = ProgressStyle::with_template(
            "{prefix:<18} {bar:32.cyan/dim} {human_pos}/{human_len} {elapsed} {msg}",
        );
        let bar = ProgressBar::new(steps).with_prefix(what.to_owned());
        let bar = if let Ok(style) = style { bar.with_style(style) } else { bar };
        let bar = self.bars.add(bar);
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }

    /// Writes what the result comes from, and gives `outcome` back.
    ///
    /// # Errors
    /// That of the measurement, or that nothing could be written.
    pub fn finish(mut self, outcome: Result<()>) -> Result<()> {
        self.bars.clear()?;
        self.about.seconds = self.began.elapsed().as_secs_f64();
        self.about.error = outcome.as_ref().err().map(|error| format!("{error:#}"));
        let about = About::path(&self.options.out, &self.about.name);
        write(&about, &serde_json::to_string_pretty(&self.about)?)?;
        match &self.result {
            Some(json) if self.options.json => writeln!(io::stdout(), "{json}")?,
            Some(_) => self.say(format_args!("\nwrote {}", self.result_path().display()))?,
            None => {}
        }
        let kept =
            if self.result.is_some() { "; what was measured until then is kept" } else { "" };
        outcome.with_context(|| format!("{} did not come to its end{kept}", self.about.name))
    }

    fn result_path(&self) -> PathBuf {
        self.options.out.join(format!("{}.json", self.about.name))
    }
}

/// Whoever reads the file meanwhile sees the old one or the new one.
fn write(path: &Path, text: &str) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, path))
        .with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(folder: &Path) -> Options {
        Options { json: true, quick: true, out: folder.to_owned(), name: None }
    }

    #[test]
    fn a_run_that_fails_keeps_its_figures_and_says_why_it_ended() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = Run::new(&options(folder.path()), "load").unwrap();
        run.record(&[1, 2]).unwrap();
        run.record(&[1, 2, 3]).unwrap();
        let error = run.finish(Err(anyhow::anyhow!("the server is gone"))).unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "load did not come to its end; what was measured until then is kept: the server is gone"
        );
        let kept = fs::read_to_string(folder.path().join("load.json")).unwrap();
        assert_eq!(serde_json::from_str::<Vec<u32>>(&kept).unwrap(), [1, 2, 3]);
        let about = fs::read_to_string(About::path(folder.path(), "load")).unwrap();
        let about: About = serde_json::from_str(&about).unwrap();
        assert_eq!(about.error.as_deref(), Some("the server is gone"));
        assert!(about.machine.cores > 0);
    }

    #[test]
    fn a_run_without_figures_leaves_none_of_an_older_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = Run::new(&options(folder.path()), "dial").unwrap();
        run.record(&"old").unwrap();
        run.finish(Ok(())).unwrap();
        let run = Run::new(&options(folder.path()), "dial").unwrap();
        run.finish(Err(anyhow::anyhow!("no root"))).unwrap_err();
        assert!(!folder.path().join("dial.json").exists());
    }
}
