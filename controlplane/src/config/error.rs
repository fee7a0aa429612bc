//! What is wrong with a configuration, said with file, line, reason and what was meant.
//!
//! The checks that need the whole file are here too; those of a single value stand with its type.
//! Never looks at the machine: that is what `penstock check` does beyond this.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};

use super::{Config, DEFAULT_PROFILE};

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

    fn new(reason: String) -> Self {
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

/// Longest name of a network interface that the kernel takes (IFNAMSIZ less its end).
const MAX_INTERFACE_NAME: usize = 15;

impl Config {
    /// The checks that need more than one value.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let fail = |reason: String| Err(ConfigError::new(reason));
        let server = &self.server;
        if server.listen.is_empty() {
            return fail("`listen` is empty: to accept no calls set `enabled = false`".to_owned());
        }
        if server.authentication.is_empty() {
            return fail("`authentication` is empty: name at least \"mschap2\"".to_owned());
        }
        for (key, value) in [("max-mtu", server.max_mtu), ("max-mru", server.max_mru)] {
            if !(576..=1500).contains(&value) {
                return fail(format!("`{key} = {value}`: give 576 to 1500 bytes"));
            }
        }
        if self.limits.login_timeout.unless_zero().is_none() {
            return fail("`login-timeout` must not be zero: a silent peer would stay".to_owned());
        }
        for name in self
            .dataplane
            .interface
            .iter()
            .map(|interface| &interface.name)
            .chain([&self.dataplane.tun])
        {
            if name.is_empty() || name.len() > MAX_INTERFACE_NAME || name.contains(['/', ' ']) {
                return fail(format!("`{name}` is no name of an interface (1 to 15 letters)"));
            }
        }
        self.validate_pools()?;
        self.validate_profiles()
    }

    fn validate_pools(&self) -> Result<(), ConfigError> {
        let mut seen = HashSet::new();
        let mut ranges = Vec::new();
        for pool in &self.pool {
            if pool.name.is_empty() || !seen.insert(&pool.name) {
                return Err(ConfigError::new(format!(
                    "[[pool]]: the name `{}` is {}",
                    pool.name,
                    if pool.name.is_empty() { "empty" } else { "given twice" }
                )));
            }
            if pool.ranges.is_empty() {
                return Err(ConfigError::new(format!("pool `{}` has no ranges", pool.name)));
            }
            ranges.extend(pool.ranges.iter().map(|range| (range, &pool.name)));
        }
        ranges.sort_by_key(|(range, _)| range.first);
        for pair in ranges.windows(2) {
            let [(a, first), (b, second)] = pair else { continue };
            if a.overlaps(b) {
                return Err(ConfigError::new(format!(
                    "pools overlap: {a} of `{first}` and {b} of `{second}`"
                )));
            }
        }
        Ok(())
    }

    fn validate_profiles(&self) -> Result<(), ConfigError> {
        let fail = |reason: String| Err(ConfigError::new(reason));
        let mut seen = HashSet::new();
        for profile in &self.profile {
            let name = &profile.name;
            if !seen.insert(name) {
                return fail(format!("[[profile]]: the name `{name}` is given twice"));
            }
            let Some(resolved) = self.resolve(name) else {
                return fail(format!(
                    "profile `{name}` has no `local-address`, and neither has `{DEFAULT_PROFILE}`"
                ));
            };
            if resolved.dns_servers.len() > 2 || resolved.wins_servers.len() > 2 {
                return fail(format!(
                    "profile `{name}`: IPCP can give two `dns-server` and two `wins-server`"
                ));
            }
            if let Some(pool) = &resolved.pool
                && !self.pool.iter().any(|known| &known.name == pool)
            {
                return fail(format!(
                    "profile `{name}`: `remote-address = \"{pool}\"` names no [[pool]]"
                ));
            }
        }
        if seen.contains(&self.server.default_profile) {
            Ok(())
        } else {
            fail(format!(
                "`default-profile = \"{}\"` names no [[profile]]",
                self.server.default_profile
            ))
        }
    }
}
