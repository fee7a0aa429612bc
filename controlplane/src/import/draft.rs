//! A configuration that is being made: tables with our keys, and users.

use std::collections::HashSet;
use std::fmt::Write as _;

use protocol::mschap::NtHash;
use serde_json::json;
use toml::{Table, Value};
use zeroize::Zeroizing;

use crate::config::{Config, ConfigError, DEFAULT_PROFILE};
use crate::terms::Route;
use crate::users::wire::HexHash;

/// The configuration and the users that came out.
#[derive(Debug, Default)]
pub struct Draft {
    /// Keys at the top.
    pub(super) top: Table,
    pub(super) server: Table,
    pub(super) pools: Vec<Table>,
    pub(super) ipv6_pools: Vec<Table>,
    pub(super) profiles: Vec<Table>,
    pub(super) bindings: Vec<Table>,
    pub(super) clients: Vec<Table>,
    pub(super) radius: Vec<Table>,
    pub(super) aaa: Table,
    pub(super) incoming: Table,
    /// Who may in, each name once.
    users: Vec<NewSecret>,
    names: HashSet<String>,
}

/// A user that came out, in the words of `penstock user add`.
#[derive(Clone, PartialEq, Eq)]
pub struct NewSecret {
    /// The name.
    pub name: String,
    /// The password.
    pub password: Zeroizing<String>,
    /// All else, as keys and values of the API.
    pub more: Vec<(&'static str, serde_json::Value)>,
}

impl NewSecret {
    fn is_disabled(&self) -> bool {
        self.more.iter().any(|(key, value)| *key == "disabled" && value == true)
    }

    /// The user may not in until somebody looks at it: what would have kept it out is not known here.
    pub(super) fn disable(&mut self) {
        self.more.retain(|(key, _)| *key != "disabled");
        self.more.push(("disabled", json!(true)));
    }

    /// The text of a key that it has.
    pub(super) fn word(&self, wanted: &str) -> Option<&str> {
        self.more.iter().find(|(key, _)| *key == wanted).and_then(|(_, value)| value.as_str())
    }

    /// The routes of a key that has some.
    pub(super) fn list(&self, wanted: &str) -> Option<Vec<Route>> {
        let (_, value) = self.more.iter().find(|(key, _)| *key == wanted)?;
        let words = value.as_array()?.iter().filter_map(serde_json::Value::as_str);
        Some(words.filter_map(|word| word.parse().ok()).collect())
    }

    /// Takes a key away.
    pub(super) fn drop_key(&mut self, unwanted: &str) {
        self.more.retain(|(key, _)| *key != unwanted);
    }
}

impl std::fmt::Debug for NewSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewSecret").field("name", &self.name).field("more", &self.more).finish()
    }
}

impl Draft {
    /// Who may in.
    #[must_use]
    pub fn users(&self) -> &[NewSecret] {
        &self.users
    }

    /// The same, to be mended. Their names stay.
    pub(super) const fn users_mut(&mut self) -> &mut Vec<NewSecret> {
        &mut self.users
    }

    /// Whether there is a user of this name already.
    pub(super) fn has_user(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Adds a user whose name nobody has.
    pub(super) fn add_user(&mut self, user: NewSecret) {
        self.names.insert(user.name.clone());
        self.users.push(user);
    }

    /// Whether nothing came out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.users.is_empty() && self.text().is_empty()
    }

    /// The profile of this name, made if there is none.
    pub(super) fn profile(&mut self, name: &str) -> &mut Table {
        let is_it = |table: &Table| table.get("name").and_then(Value::as_str) == Some(name);
        let at = self.profiles.iter().position(is_it).unwrap_or_else(|| {
            self.profiles.push(Table::from_iter([("name".to_owned(), name.into())]));
            self.profiles.len() - 1
        });
        &mut self.profiles[at]
    }

    /// The configuration file, checked by the rules of the daemon's own.
    ///
    /// # Errors
    /// If what came out makes no sense to the daemon: with its reason.
    pub fn toml(&self) -> Result<String, ConfigError> {
        let text = self.text();
        Config::parse(&text).map(|_| text)
    }

    /// The configuration file as it came out, whatever the daemon says of it.
    #[must_use]
    pub fn text(&self) -> String {
        let mut root = self.top.clone();
        let mut profiles = self.profiles.clone();
        let is_default = |table: &Table| table["name"].as_str() == Some(DEFAULT_PROFILE);
        // Others are completed by it, so it is there.
        if !profiles.is_empty() && !profiles.iter().any(is_default) {
            profiles.push(Table::from_iter([("name".to_owned(), DEFAULT_PROFILE.into())]));
        }
        if let Some(default) = profiles.iter_mut().find(|table| is_default(table)) {
            default.entry("local-address").or_insert_with(|| "10.99.0.1".into());
        }
        for (key, table) in
            [("server", &self.server), ("aaa", &self.aaa), ("radius-incoming", &self.incoming)]
        {
            if !table.is_empty() {
                root.insert(key.to_owned(), Value::Table(table.clone()));
            }
        }
        for (key, tables) in [
            ("pool", &self.pools),
            ("ipv6-pool", &self.ipv6_pools),
            ("profile", &profiles),
            ("binding", &self.bindings),
            ("client", &self.clients),
            ("radius", &self.radius),
        ] {
            if !tables.is_empty() {
                let tables = tables.iter().cloned().map(Value::Table).collect();
                root.insert(key.to_owned(), Value::Array(tables));
            }
        }
        // A table of strings, numbers and tables of them has a text.
        toml::to_string(&root).unwrap_or_default()
    }

    /// A user as the API takes it. The clear password goes along where CHAP needs it.
    #[must_use]
    pub fn body(&self, user: &NewSecret) -> serde_json::Value {
        let more = user.more.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
        let mut body: serde_json::Map<_, _> = more.collect();
        let hash = HexHash(NtHash::of_password(&user.password));
        body.insert("name".to_owned(), json!(user.name));
        body.insert("nt-hash".to_owned(), json!(hash));
        let methods = self.server.get("authentication").and_then(Value::as_array);
        if methods.is_some_and(|methods| methods.contains(&"chap".into())) {
            body.insert("password".to_owned(), json!(*user.password));
        }
        serde_json::Value::Object(body)
    }

    /// The users as a chap-secrets file, and what it cannot hold, by user. Who is disabled is left
    /// out: such a file cannot say it.
    #[must_use]
    pub fn users_file(&self) -> (Zeroizing<String>, Vec<String>) {
        let mut text = Zeroizing::new(String::new());
        let mut short = Vec::new();
        for user in &self.users {
            if user.is_disabled() {
                short.push(format!("`{}`: disabled, so it is not in the file", user.name));
                continue;
            }
            if user.password.contains(['\n', '\r']) {
                let why = "its password has a line's end, so it is not in the file";
                short.push(format!("`{}`: {why}", user.name));
                continue;
            }
            let address = user.more.iter().find_map(|(key, value)| {
                let address = (*key == "remote-address").then(|| value.as_str()).flatten()?;
                address.parse::<std::net::Ipv4Addr>().ok()
            });
            let is_held = |key: &str| key == "remote-address" && address.is_some();
            let keys = user.more.iter().map(|(key, _)| *key).filter(|key| !is_held(key));
            let keys = keys.collect::<Vec<_>>().join(", ");
            if !keys.is_empty() {
                short.push(format!("`{}`: the file cannot say {keys}", user.name));
            }
            let address = address.map_or_else(|| "*".to_owned(), |address| address.to_string());
            let (name, password) = (quoted(&user.name), Zeroizing::new(quoted(&user.password)));
            // Writing to a String does not fail.
            let _ = writeln!(text, "{name} * {} {address}", *password);
        }
        (text, short)
    }
}

fn quoted(word: &str) -> String {
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Whether a profile may have this key with this value, by the rules of the daemon's own.
///
/// # Errors
/// With their reason.
pub(super) fn profile_takes(key: &str, value: &Value) -> Result<(), String> {
    profile_with(key, value, &[])
}

/// As [`profile_takes`], beside these IPv6 pools, which the value may name.
///
/// # Errors
/// With the daemon's reason.
pub(super) fn profile_with(key: &str, value: &Value, ipv6_pools: &[Table]) -> Result<(), String> {
    let mut profile = Table::from_iter([
        ("name".to_owned(), DEFAULT_PROFILE.into()),
        ("local-address".to_owned(), "10.99.0.1".into()),
    ]);
    profile.insert(key.to_owned(), value.clone());
    let own = format!("profile `{DEFAULT_PROFILE}`: ");
    daemon_takes([("profile", &[profile][..]), ("ipv6-pool", ipv6_pools)])
        .map_err(|why| why.strip_prefix(&own).map_or(why.clone(), str::to_owned))
}

/// Whether the daemon takes these IPv6 pools beside each other.
///
/// # Errors
/// With its reason.
pub(super) fn ipv6_pools_hold(pools: &[Table]) -> Result<(), String> {
    daemon_takes([("ipv6-pool", pools)])
}

/// Whether the daemon takes this client, whatever its profile.
///
/// # Errors
/// With its reason.
pub(super) fn client_holds(client: &Table) -> Result<(), String> {
    let client: Table = client
        .iter()
        .filter(|(key, _)| *key != "profile")
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    daemon_takes([("client", &[client][..])])
}

fn daemon_takes<'a>(
    sections: impl IntoIterator<Item = (&'a str, &'a [Table])>,
) -> Result<(), String> {
    let sections = sections.into_iter().map(|(key, tables)| {
        let tables: Vec<Value> = tables.iter().cloned().map(Value::Table).collect();
        (key.to_owned(), tables.into())
    });
    let root = Table::from_iter(sections);
    let text = toml::to_string(&root).map_err(|error| error.to_string())?;
    Config::parse(&text).map(drop).map_err(|error| match error.reason() {
        unknown if unknown.starts_with("unknown key") => {
            "penstock has nothing of this kind".to_owned()
        }
        reason => reason.to_owned(),
    })
}
