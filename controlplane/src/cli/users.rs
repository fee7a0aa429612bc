//! `penstock user`: through the daemon where one runs, so that the next login sees the change;
//! else straight in the database.

use std::net::Ipv4Addr;

use clap::{Args, Subcommand};
use hyper::Method;
use protocol::mschap::NtHash;

use super::{Failure, output, password, runtime};
use crate::api::client::{Client, ClientError};
use crate::api::types::{HexHash, NewUser, UserChange, UserView};
use crate::config::Config;
use crate::pool::Addresses;
use crate::users::Users;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Add a user; the password is asked for, or read from standard input
    Add(Add),
    /// Change a user; what is not named stays as it is
    Set(Set),
    /// Remove a user; sessions that are up stay up
    Remove {
        /// The user's name
        name: String,
    },
    /// List users
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// The user's name
    name: String,
    /// Profile of the configuration [default: the server's default-profile]
    #[arg(long)]
    profile: Option<String>,
    /// An address of the user's own [default: one of the profile's pool]
    #[arg(long, value_name = "ADDRESS")]
    remote_address: Option<Ipv4Addr>,
    /// Refuse the user until enabled again
    #[arg(long)]
    disabled: bool,
    /// A note
    #[arg(long, default_value = "")]
    comment: String,
}

#[derive(Debug, Args)]
pub(super) struct Set {
    /// The user's name
    name: String,
    /// Ask for a new password, or read it from standard input
    #[arg(long)]
    password: bool,
    /// Another profile; "" for the server's default-profile
    #[arg(long)]
    profile: Option<String>,
    /// Another address of the user's own; "" for one of the profile's pool
    #[arg(long, value_name = "ADDRESS")]
    remote_address: Option<String>,
    /// Refuse the user (yes) or not (no)
    #[arg(long, value_name = "yes|no", value_parser = yes_or_no)]
    disabled: Option<bool>,
    /// Another note
    #[arg(long)]
    comment: Option<String>,
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("say yes or no".to_owned()),
    }
}

pub(super) fn run(command: Command, config: &Config) -> Result<(), Failure> {
    match command {
        Command::Add(add) => {
            let password = password::new(&add.name)?;
            let new = NewUser {
                name: add.name,
                nt_hash: HexHash(NtHash::of_password(&password)),
                profile: add.profile,
                remote_address: add.remote_address,
                disabled: add.disabled,
                comment: add.comment,
            };
            change(config, Method::POST, "/v1/users", &new, |users| users.add(new.clone().into()))
        }
        Command::Set(set) => {
            let (name, change_of) = set.into_change()?;
            let path = user_path(&name);
            change(config, Method::PATCH, &path, &change_of, |users| {
                users.change(&name, change_of.clone().into())
            })
        }
        Command::Remove { name } => {
            change(config, Method::DELETE, &user_path(&name), &(), |users| users.remove(&name))
        }
        Command::List { json } => list(config, json),
    }
}

impl Set {
    fn into_change(self) -> Result<(String, UserChange), Failure> {
        let nothing = !self.password
            && self.profile.is_none()
            && self.remote_address.is_none()
            && self.disabled.is_none()
            && self.comment.is_none();
        if nothing {
            return Err(Failure::Usage(
                "say what to change; see penstock user set --help".to_owned(),
            ));
        }
        let remote_address = match self.remote_address.as_deref() {
            None => None,
            Some("") => Some(None),
            Some(text) => Some(Some(
                text.parse().map_err(|_| Failure::Usage(format!("`{text}` is no IPv4 address")))?,
            )),
        };
        let nt_hash = if self.password {
            Some(HexHash(NtHash::of_password(&password::new(&self.name)?)))
        } else {
            None
        };
        let change = UserChange {
            nt_hash,
            profile: self.profile.map(|profile| Some(profile).filter(|name| !name.is_empty())),
            remote_address,
            disabled: self.disabled,
            comment: self.comment,
        };
        Ok((self.name, change))
    }
}

/// Through the daemon, or where none runs by `direct`.
fn change<Q: serde::Serialize>(
    config: &Config,
    method: Method,
    path: &str,
    body: &Q,
    direct: impl FnOnce(&Users) -> Result<(), crate::users::UserError>,
) -> Result<(), Failure> {
    let client = Client::new(&config.control_socket);
    match runtime()?.block_on(client.call(method, path, body)) {
        Err(ClientError::NotRunning(_)) => Ok(direct(&offline(config)?)?),
        answer => Ok(answer?),
    }
}

fn list(config: &Config, json: bool) -> Result<(), Failure> {
    let client = Client::new(&config.control_socket);
    let users: Vec<UserView> = match runtime()?.block_on(client.call(Method::GET, "/v1/users", &()))
    {
        Err(ClientError::NotRunning(_)) => {
            let users = offline(config)?;
            users.list().iter().map(|(user, source)| UserView::new(user, *source)).collect()
        }
        answer => answer?,
    };
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
                if user.disabled { "yes" } else { "no" }.to_owned(),
                user.source,
                user.comment,
            ]
        })
        .collect();
    let head = ["NAME", "PROFILE", "REMOTE-ADDRESS", "DISABLED", "SOURCE", "COMMENT"];
    Ok(output::table(&head, &rows)?)
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

fn user_path(name: &str) -> String {
    format!("/v1/users/{}", escaped(name))
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
