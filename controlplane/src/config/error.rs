//! What is wrong with a configuration, said with file, line, reason and what was meant.
//!
//! The checks stand with the sections. Never looks at the machine: that is what `penstock check`
//! does beyond this.

use std::fmt;
use std::path::{Path, PathBuf};

/// A configuration that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    file: Option<PathBuf>,
    line: Option<usize>,
    reason: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, "{}, line {line}: ", file.display())?,
            (Some(file), None) => write!(f, "{}: ", file.display())?,
            (None, Some(line)) => write!(f, "line {line}: ")?,
            (None, None) => {}
        }
        f.write_str(&self.reason)
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    pub(super) fn in_file(file: &Path, reason: String) -> Self {
        Self { file: Some(file.to_owned()), line: None, reason }
    }

    pub(super) fn of(self, file: &Path) -> Self {
        Self { file: Some(file.to_owned()), ..self }
    }

    /// What is wrong, without the place.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    pub(super) fn new(reason: String) -> Self {
        Self { file: None, line: None, reason }
    }

    pub(super) fn from_toml(error: &toml::de::Error, text: &str) -> Self {
        let line = error
            .span()
            .and_then(|span| text.get(..span.start))
            .map(|before| before.bytes().filter(|byte| *byte == b'\n').count() + 1);
        Self { file: None, line, reason: explain(error.message()) }
    }
}

/// serde names the unknown word first and then all that it knows: one likely word serves better
/// than the list.
fn explain(message: &str) -> String {
    let (what, known) = match message.split_once(", expected ") {
        Some((what, known)) if what.starts_with("unknown ") => (what, known),
        _ => return message.to_owned(),
    };
    let Some(word) = what.split('`').nth(1) else { return message.to_owned() };
    let kind = if what.starts_with("unknown field") { "key" } else { "value" };
    let nearest = known
        .split('`')
        .skip(1)
        .step_by(2)
        .map(|candidate| (strsim::normalized_damerau_levenshtein(word, candidate), candidate))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((likeness, candidate)) if likeness >= 0.5 => {
            format!("unknown {kind} `{word}`: did you mean `{candidate}`?")
        }
        _ => format!("unknown {kind} `{word}`: expected {known}"),
    }
}
