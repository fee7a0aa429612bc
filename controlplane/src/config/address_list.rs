//! `[address-list]`: where RouterOS's address-lists are in nftables.

use serde::Deserialize;
use serde::de::Error as _;

use super::ConfigError;

/// Where address-lists are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct AddressList {
    /// The table whose sets they are.
    pub table: Table,
}

impl Default for AddressList {
    fn default() -> Self {
        let table = Table { family: "inet".to_owned(), name: "penstock".to_owned() };
        Self { table }
    }
}

/// A table of nftables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// `inet`, `ip` and so on.
    pub family: String,
    /// Its name in the family.
    pub name: String,
}

impl<'de> Deserialize<'de> for Table {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || D::Error::custom(format!("`{text}` is no table: write \"inet penstock\""));
        let (family, name) = text.split_once(' ').ok_or_else(wrong)?;
        if !["inet", "ip", "bridge", "netdev"].contains(&family) || !is_identifier(name) {
            return Err(wrong());
        }
        Ok(Self { family: family.to_owned(), name: name.to_owned() })
    }
}

impl AddressList {
    /// Whether a list may be called so: by a name that nft's own language can write.
    ///
    /// # Errors
    /// If not.
    pub fn check_name(name: &str) -> Result<(), ConfigError> {
        if is_identifier(name) {
            return Ok(());
        }
        Err(ConfigError::new(format!(
            "address-list `{name}`: a name is letters, digits and `_.-`, and starts with a letter"
        )))
    }
}

fn is_identifier(name: &str) -> bool {
    let starts = |c: char| c.is_ascii_alphabetic() || c == '_';
    let goes_on = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    name.starts_with(starts) && name.chars().all(goes_on) && name.len() <= 128
}
