//! `penstock user`: through the daemon where one runs, so that the next login sees the change;
//! else straight in the database.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use hyper::Method;
use protocol::mschap::NtHash;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fields::Fields;
use super::{Failure, output, password, runtime};
use crate::api::client::{Client, ClientError};
use crate::api::types::{Applied, Import, UserView};
use crate::config::Config;
use crate::pool::Addresses;
use crate::users::secret::{Change, Clear};
use crate::users::wire::HexHash;
use crate::users::{Imported, OnConflict, User, UserError, Users, file};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Add a user; the password is asked for, or read from standard input
    Add(Add),
    /// Change a user: the next login sees it; what is not named stays as it is
    Set(Set),
    /// Remove a user: the next login is refused
    Remove {
        /// The user's name
        name: String,
        /// End the sessions that are up, too; they stay otherwise
        #[arg(long)]
        apply: bool,
    },
    /// List users
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show all that is known of one user, but the password
    Show {
        /// The user's name
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Add the users of a file
    #[command(subcommand)]
    Import(ImportFrom),
}

#[derive(Debug, Subcommand)]
pub(super) enum ImportFrom {
    /// The form of pppd: a line each, `client server secret [address]`
    ChapSecrets(ChapSecrets),
}

#[derive(Debug, Args)]
pub(super) struct ChapSecrets {
    /// The file; /etc/ppp/chap-secrets as a rule
    file: PathBuf,
    /// What to do with users that exist already
    #[arg(long, value_name = "WHAT", default_value = "refuse")]
    existing: Existing,
    /// Keep the clear passwords, which CHAP-MD5 needs; otherwise their NT hashes alone are kept
    #[arg(long)]
    allow_chap: bool,
    /// Import the good lines even if others make no sense
    #[arg(long)]
    skip_bad_lines: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Existing {
    /// Import nobody, and say who exists
    Refuse,
    /// Leave them as they are
    Skip,
    /// Replace them
    Replace,
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// The user's name
    name: String,
    #[command(flatten)]
    fields: Fields,
}

#[derive(Debug, Args)]
pub(super) struct Set {
    /// The user's name
    name: String,
    /// Another name
    #[arg(long, value_name = "NAME")]
    new_name: Option<String>,
    /// Ask for a new password, or read it from standard input
    #[arg(long)]
    password: bool,
    #[command(flatten)]
    fields: Fields,
    /// Sessions that are up follow too: rate, timeouts, filters; who is disabled is disconnected.
    /// Addresses and encryption stay until the next login
    #[arg(long)]
    apply: bool,
}

pub(super) fn run(command: Command, config: &Config) -> Result<(), Failure> {
    match command {
        Command::Add(add) => {
            let password = password::new(&add.name)?;
            let mut new = add.fields.change();
            new.name = Some(add.name);
            new.nt_hash = Some(HexHash(NtHash::of_password(&password)));
            if add.fields.allow_chap == Some(true) {
                new.password = Some(Some(Clear::new(&password)));
            }
            through(config, Method::POST, "/v1/users", &new, |users| {
                users.add(new.clone().into_user()?)
            })
        }
        Command::Set(set) => change(config, set),
        Command::Remove { name, apply } => {
            let path = path(&name, apply);
            let applied: Applied = through(config, Method::DELETE, &path, &(), |users| {
                users.remove(&name).map(|()| Applied::default())
            })?;
            report(apply, applied)
        }
        Command::List { json } => list(config, json),
        Command::Show { name, json } => show(config, &name, json),
        Command::Import(ImportFrom::ChapSecrets(import)) => chap_secrets(config, &import),
    }
}

fn change(config: &Config, set: Set) -> Result<(), Failure> {
    let mut change = set.fields.change();
    change.name = set.new_name;
    if set.fields.allow_chap == Some(true) && !set.password {
        let reason = "--allow-chap yes keeps the clear password: give it with --password";
        return Err(Failure::Usage(reason.to_owned()));
    }
    if set.password {
        let password = password::new(&set.name)?;
        change.nt_hash = Some(HexHash(NtHash::of_password(&password)));
        if set.fields.allow_chap == Some(true) {
            change.password = Some(Some(Clear::new(&password)));
        }
    }
    if set.fields.allow_chap == Some(false) {
        change.password = Some(None);
    }
    if change.is_empty() && !set.apply {
        let reason = "say what to change; see penstock user set --help";
        return Err(Failure::Usage(reason.to_owned()));
    }
    let applied = through(config, Method::PATCH, &path(&set.name, set.apply), &change, |users| {
        users.change(&set.name, change.clone()).map(|_| Applied::default())
    })?;
    report(set.apply, applied)
}

fn report(apply: bool, applied: Applied) -> Result<(), Failure> {
    if !apply {
        return Ok(());
    }
    Ok(output::pairs([
        ("sessions changed", applied.changed.to_string()),
        ("sessions disconnected", applied.disconnected.to_string()),
    ])?)
}

fn chap_secrets(config: &Config, import: &ChapSecrets) -> Result<(), Failure> {
    let name = import.file.display();
    let bytes = std::fs::read(&import.file)
        .map(zeroize::Zeroizing::new)
        .map_err(|error| Failure::Usage(format!("{name}: {error}")))?;
    let (users, bad) = file::parse(&bytes);
    for bad in &bad {
        output::warn(&format!("{name}, line {}: {}", bad.line, bad.reason))?;
    }
    if !bad.is_empty() && !import.skip_bad_lines {
        return Err(Failure::Usage(format!(
            "nobody was imported: {} lines make no sense; correct them or say --skip-bad-lines",
            bad.len()
        )));
    }
    let new = |(_, user): (usize, User)| Change {
        nt_hash: Some(HexHash(user.credential.nt_hash().clone())),
        password: user
            .credential
            .clear()
            .filter(|_| import.allow_chap)
            .map(|clear| Some(Clear::new(&String::from_utf8_lossy(clear.as_bytes())))),
        name: Some(user.name),
        remote_address: Some(user.remote_address),
        ..Change::default()
    };
    let import = Import {
        users: users.into_iter().map(new).collect(),
        on_conflict: match import.existing {
            Existing::Refuse => OnConflict::Refuse,
            Existing::Skip => OnConflict::Skip,
            Existing::Replace => OnConflict::Replace,
        },
    };
    let imported: Imported = through(config, Method::POST, "/v1/users/import", &import, |users| {
        let new: Result<_, _> = import.users.iter().cloned().map(Change::into_user).collect();
        users.import(new?, import.on_conflict)
    })?;
    Ok(output::pairs([
        ("added", imported.added.to_string()),
        ("replaced", imported.replaced.to_string()),
        ("skipped", imported.skipped.to_string()),
        ("bad lines", bad.len().to_string()),
    ])?)
}

/// Through the daemon, or where none runs by `direct`.
fn through<Q: Serialize, T: DeserializeOwned>(
    config: &Config,
    method: Method,
    path: &str,
    body: &Q,
    direct: impl FnOnce(&Users) -> Result<T, UserError>,
) -> Result<T, Failure> {
    let client = Client::new(&config.control_socket);
    match runtime()?.block_on(client.call(method, path, body)) {
        Err(ClientError::NotRunning(_)) => Ok(direct(&offline(config)?)?),
        answer => Ok(answer?),
    }
}

fn list(config: &Config, json: bool) -> Result<(), Failure> {
    let users: Vec<UserView> = through(config, Method::GET, "/v1/users", &(), |users| {
        Ok(users.list().iter().map(|(user, source)| UserView::new(user, *source)).collect())
    })?;
    if json {
        return Ok(output::json(&users)?);
    }
    let rows: Vec<_> = users
        .into_iter()
        .map(|user| {
            vec![
                user.name,
                user.profile.unwrap_or_else(|| "-".to_owned()),
                user.remote_address.map_or_else(|| "-".to_owned(), |address| address.to_string()),
                yes_no(user.disabled),
                user.source,
                user.comment,
            ]
        })
        .collect();
    let head = ["NAME", "PROFILE", "REMOTE-ADDRESS", "DISABLED", "SOURCE", "COMMENT"];
    Ok(output::table(&head, &rows)?)
}

fn show(config: &Config, name: &str, json: bool) -> Result<(), Failure> {
    let user: UserView = through(config, Method::GET, &path(name, false), &(), |users| {
        let (user, source) = users.get(name).ok_or_else(|| UserError::Unknown(name.to_owned()))?;
        Ok(UserView::new(&user, source))
    })?;
    if json {
        return Ok(output::json(&user)?);
    }
    fn own<T: ToString>(value: Option<T>) -> String {
        value.map_or_else(|| "-".to_owned(), |value| value.to_string())
    }
    fn joined<T: ToString>(values: &[T]) -> String {
        values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
    let rate = user.rate_limit.map(|limit| match limit.is_unlimited() {
        true => "unlimited".to_owned(),
        false => limit.to_string(),
    });
    Ok(output::pairs([
        ("name", output::shown(&user.name)),
        ("service", user.service.to_string()),
        ("caller-id", joined(&user.caller_id)),
        ("profile", own(user.profile)),
        ("local-address", own(user.local_address)),
        ("remote-address", own(user.remote_address)),
        ("routes", joined(&user.routes)),
        ("remote-ipv6-prefix", own(user.remote_ipv6_prefix)),
        ("delegated-ipv6-prefix", own(user.delegated_ipv6_prefix)),
        ("ipv6-routes", joined(&user.ipv6_routes)),
        ("rate-limit", own(rate)),
        ("session-timeout", own(user.session_timeout)),
        ("idle-timeout", own(user.idle_timeout)),
        ("limit-bytes-in", own(user.limit_bytes_in)),
        ("limit-bytes-out", own(user.limit_bytes_out)),
        ("remote-access", yes_no(user.remote_access)),
        ("allow-chap", yes_no(user.allow_chap)),
        ("disabled", yes_no(user.disabled)),
        ("comment", output::shown(&user.comment)),
        ("source", user.source),
    ])?)
}

fn yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

/// The users as they lie on the disk.
fn offline(config: &Config) -> Result<Users, Failure> {
    let users = Users::open(config, Addresses::new(config))?;
    if let Some(file) = &config.users_file
        && file.exists()
    {
        users.read_file(file)?;
    }
    Ok(users)
}

fn path(name: &str, apply: bool) -> String {
    let apply = if apply { "?apply=true" } else { "" };
    format!("/v1/users/{}{apply}", escaped(name))
}

/// Every byte that could mean something in a path is escaped (RFC 3986 §2.1).
pub(super) fn escaped(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}
