//! `[hooks]`: the operator's programs that run when sessions come and go.
//!
//! Programs alone, no command lines: no shell reads what subscribers call themselves.

use std::path::PathBuf;

use serde::Deserialize;

use super::{ConfigError, Span};

/// Programs that run when sessions come and go.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Hooks {
    /// When a session has its address.
    pub up: Option<PathBuf>,
    /// When its terms were changed while it lives.
    pub change: Option<PathBuf>,
    /// When it has ended.
    pub down: Option<PathBuf>,
    /// Programs that run at once.
    pub max_running: u32,
    /// How long one may run before it is killed.
    pub timeout: Span,
    /// Where RADIUS's attributes of a session are for them: this, a dot, and the interface.
    pub radattr: PathBuf,
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            up: None,
            change: None,
            down: None,
            max_running: 16,
            timeout: Span::seconds(30),
            radattr: "/run/penstock/radattr".into(),
        }
    }
}

impl Hooks {
    /// All programs with their keys.
    pub fn programs(&self) -> impl Iterator<Item = (&'static str, &PathBuf)> {
        let all = [("up", &self.up), ("change", &self.change), ("down", &self.down)];
        all.into_iter().filter_map(|(key, program)| Some((key, program.as_ref()?)))
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        for (key, program) in self.programs() {
            if !program.is_absolute() {
                return Err(ConfigError::new(format!(
                    "`{key} = \"{}\"` of [hooks] is no absolute path",
                    program.display()
                )));
            }
        }
        if self.max_running == 0 || self.timeout.unless_zero().is_none() {
            return Err(ConfigError::new(
                "`max-running` and `timeout` of [hooks] must not be zero".to_owned(),
            ));
        }
        Ok(())
    }
}
