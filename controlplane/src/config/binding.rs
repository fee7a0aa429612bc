//! `[[binding]]`: RouterOS's `/interface pptp-server`, an interface of its own for a user.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::{Config, ConfigError, interface_name};

/// An interface for a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Binding {
    /// The interface's name, 1 to 15 bytes.
    pub name: String,
    /// Who has it.
    pub user: String,
    /// Not given until enabled.
    #[serde(default)]
    pub disabled: bool,
    /// The operator's note.
    #[serde(default)]
    pub comment: String,
}

impl Config {
    pub(super) fn validate_bindings(&self) -> Result<(), ConfigError> {
        let fail = |reason: String| Err(ConfigError::new(reason));
        let clients = self.client.iter().map(|client| &client.name);
        let mut seen: HashSet<_> = clients.chain([&self.dataplane.tun]).collect();
        for binding in &self.binding {
            let Binding { name, user, .. } = binding;
            interface_name(name).map_err(ConfigError::new)?;
            if user.is_empty() {
                return fail(format!("binding `{name}`: `user` is empty"));
            }
            if !seen.insert(name) {
                return fail(format!("[[binding]]: the name `{name}` is given twice"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_interfaces_and_belong_to_one() {
        let parse = |text: &str| Config::parse(text).map_err(|error| error.to_string());
        let good = "[[binding]]\nname = \"pptp-in1\"\nuser = \"ivan\"\n";
        assert_eq!(parse(good).unwrap().binding[0].user, "ivan");
        let client = "[[client]]\nname = \"pptp-in1\"\nconnect-to = \"s\"\nuser = \"u\"\n";
        let said = [
            "[[binding]]\nname = \"sixteen-letters-\"\nuser = \"ivan\"\n".to_owned(),
            "[[binding]]\nname = \"pptp-in1\"\nuser = \"\"\n".to_owned(),
            "[[binding]]\nname = \"penstock\"\nuser = \"ivan\"\n".to_owned(),
            format!("{good}{good}"),
            format!("{good}{client}"),
        ]
        .map(|text| format!("{}\n", parse(&text).unwrap_err()))
        .concat();
        insta::assert_snapshot!(said, @r"
        `sixteen-letters-` is no name of an interface (1 to 15 bytes, no blanks, `/`, `:`, `%`; not `lo`, `all`, `default`)
        binding `pptp-in1`: `user` is empty
        [[binding]]: the name `penstock` is given twice
        [[binding]]: the name `pptp-in1` is given twice
        [[binding]]: the name `pptp-in1` is given twice
        ");
    }
}
