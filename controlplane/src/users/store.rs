//! The users' SQLite file.
//!
//! WAL, so that the command line reads while the daemon writes; the schema has a version; the file
//! is readable to its owner alone, because an NT hash is worth as much as the password.

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use protocol::mschap::NtHash;
use protocol::ppp::auth::Credential;
use rusqlite::{Connection, Row, Transaction, TransactionBehavior, params};
use tracing::warn;
use zeroize::Zeroizing;

use super::secret::User;
use crate::sqlite::{Adrift, Anchor};
use crate::terms::RemoteAddress;

/// What each version of the schema added to the one before.
const MIGRATIONS: [&str; 3] = [
    "CREATE TABLE user (
        name           TEXT PRIMARY KEY,
        nt_hash        BLOB NOT NULL CHECK (length(nt_hash) = 16),
        profile        TEXT,
        remote_address TEXT,
        disabled       INTEGER NOT NULL,
        comment        TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;",
    "ALTER TABLE user ADD COLUMN password TEXT;
     ALTER TABLE user ADD COLUMN service TEXT NOT NULL DEFAULT 'any';
     ALTER TABLE user ADD COLUMN caller_id TEXT NOT NULL DEFAULT '';
     ALTER TABLE user ADD COLUMN local_address TEXT;
     ALTER TABLE user ADD COLUMN routes TEXT NOT NULL DEFAULT '';
     ALTER TABLE user ADD COLUMN rate_limit TEXT;
     ALTER TABLE user ADD COLUMN session_timeout TEXT;
     ALTER TABLE user ADD COLUMN idle_timeout TEXT;
     ALTER TABLE user ADD COLUMN limit_bytes_in INTEGER;
     ALTER TABLE user ADD COLUMN limit_bytes_out INTEGER;
     ALTER TABLE user ADD COLUMN remote_access INTEGER NOT NULL DEFAULT 1;",
    "ALTER TABLE user ADD COLUMN remote_ipv6_prefix TEXT;
     ALTER TABLE user ADD COLUMN delegated_ipv6_prefix TEXT;
     ALTER TABLE user ADD COLUMN ipv6_routes TEXT NOT NULL DEFAULT '';",
];

/// Version of the schema that this program writes.
const VERSION: usize = MIGRATIONS.len();

const COLUMNS: &str =
    "name, nt_hash, profile, remote_address, disabled, comment, password, service,
    caller_id, local_address, routes, rate_limit, session_timeout, idle_timeout, limit_bytes_in,
    limit_bytes_out, remote_access, remote_ipv6_prefix, delegated_ipv6_prefix, ipv6_routes";

/// Why the database cannot be used, with the file.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be made or read.
    #[error("users' database {file}: {error}")]
    File {
        /// Which file.
        file: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// SQLite refuses.
    #[error("users' database {file}: {error}")]
    Database {
        /// Which file.
        file: PathBuf,
        /// What SQLite says.
        error: rusqlite::Error,
    },
    /// It is not there any more.
    #[error("users' database {file}: {error}")]
    Adrift {
        /// Which file.
        file: PathBuf,
        /// What became of it.
        error: Adrift,
    },
    /// A later version of this program wrote it.
    #[error(
        "users' database {file} has schema {found}, this penstock knows up to {VERSION}: \
         run the version that wrote it"
    )]
    Newer {
        /// Which file.
        file: PathBuf,
        /// The version in it.
        found: i64,
    },
}

/// The open database.
#[derive(Debug)]
pub struct Store {
    file: PathBuf,
    anchor: Anchor,
    connection: Connection,
}

impl Store {
    /// Opens the file, and makes it (and its folder) where there is none.
    ///
    /// # Errors
    /// If it cannot be made, is no database, or is of a later version.
    pub fn open(file: &Path) -> Result<Self, StoreError> {
        let anchor = Anchor::cast(file)
            .map_err(|error| StoreError::File { file: file.to_owned(), error })?;
        let failed = |error| StoreError::Database { file: file.to_owned(), error };
        let connection = Connection::open(file).map_err(failed)?;
        connection.busy_timeout(Duration::from_secs(5)).map_err(failed)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
        migrate(&connection, file)?;
        Ok(Self { file: file.to_owned(), anchor, connection })
    }

    /// All users.
    ///
    /// # Errors
    /// If the database fails.
    pub fn all(&self) -> Result<Vec<User>, StoreError> {
        let read = || -> rusqlite::Result<Vec<User>> {
            self.connection
                .prepare(&format!("SELECT {COLUMNS} FROM user"))?
                .query_map((), user)?
                .collect()
        };
        read().map_err(|error| self.failed(error))
    }

    /// Adds or replaces these users: all of them, or none if it fails. `gone` is the name that one
    /// of them had before.
    ///
    /// # Errors
    /// If the database fails.
    pub fn put(&mut self, users: &[&User], gone: Option<&str>) -> Result<(), StoreError> {
        let write = |connection: &mut Connection| -> rusqlite::Result<()> {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            if let Some(name) = gone {
                transaction.execute("DELETE FROM user WHERE name = ?1", [name])?;
            }
            for user in users {
                put(&transaction, user)?;
            }
            transaction.commit()
        };
        self.hold()?;
        write(&mut self.connection).map_err(|error| self.failed(error))
    }

    /// Removes a user, if there is one of that name.
    ///
    /// # Errors
    /// If the database fails.
    pub fn remove(&mut self, name: &str) -> Result<(), StoreError> {
        self.hold()?;
        self.connection
            .execute("DELETE FROM user WHERE name = ?1", [name])
            .map(drop)
            .map_err(|error| self.failed(error))
    }

    /// Makes sure that what is written next is found again.
    fn hold(&mut self) -> Result<(), StoreError> {
        let held = self.anchor.hold(&mut self.connection);
        if held.map_err(|error| StoreError::Adrift { file: self.file.clone(), error })? {
            *self = Self::open(&self.file)?;
            warn!(file = %self.file.display(), "the users' database was removed: written anew");
        }
        Ok(())
    }

    fn failed(&self, error: rusqlite::Error) -> StoreError {
        StoreError::Database { file: self.file.clone(), error }
    }
}

/// Brings the schema up to date, all of it or nothing.
fn migrate(connection: &Connection, file: &Path) -> Result<(), StoreError> {
    let failed = |error| StoreError::Database { file: file.to_owned(), error };
    // Whoever else starts at the same time waits here, and finds it done.
    connection.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
    let found: i64 =
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    let missing = usize::try_from(found).ok().and_then(|found| MIGRATIONS.get(found..));
    let Some(missing) = missing else {
        return Err(StoreError::Newer { file: file.to_owned(), found });
    };
    let steps = missing.concat();
    connection
        .execute_batch(&format!("{steps} PRAGMA user_version = {VERSION}; COMMIT;"))
        .map_err(failed)
}

fn put(transaction: &Transaction<'_>, user: &User) -> rusqlite::Result<()> {
    let holders: Vec<_> = (1..=20).map(|number| format!("?{number}")).collect();
    let statement =
        format!("INSERT OR REPLACE INTO user ({COLUMNS}) VALUES ({})", holders.join(", "));
    transaction
        .prepare_cached(&statement)?
        .execute(params![
            user.name,
            user.credential.nt_hash().as_bytes(),
            user.profile,
            shown(user.remote_address.as_ref()),
            user.disabled,
            user.comment,
            user.credential.clear().map(|clear| String::from_utf8_lossy(clear.as_bytes())),
            user.service.to_string(),
            joined(&user.caller_id),
            shown(user.local_address.as_ref()),
            joined(&user.routes),
            shown(user.rate_limit.as_ref()),
            shown(user.session_timeout.as_ref()),
            shown(user.idle_timeout.as_ref()),
            user.limit_bytes_in.map(|limit| i64::try_from(limit).unwrap_or(i64::MAX)),
            user.limit_bytes_out.map(|limit| i64::try_from(limit).unwrap_or(i64::MAX)),
            user.remote_access,
            shown(user.remote_ipv6_prefix.as_ref()),
            shown(user.delegated_ipv6_prefix.as_ref()),
            joined(&user.ipv6_routes),
        ])
        .map(drop)
}

fn user(row: &Row<'_>) -> rusqlite::Result<User> {
    let remote: Option<String> = row.get(3)?;
    let clear: Option<Zeroizing<String>> = row.get::<_, Option<String>>(6)?.map(Zeroizing::new);
    let limit = |column| -> rusqlite::Result<Option<u64>> {
        let limit: Option<i64> = row.get(column)?;
        Ok(limit.map(i64::unsigned_abs))
    };
    Ok(User {
        name: row.get(0)?,
        credential: match clear {
            Some(clear) => Credential::of_password(&clear),
            None => Credential::of_hash(NtHash::from_bytes(row.get(1)?)),
        },
        profile: row.get(2)?,
        remote_address: remote.map(RemoteAddress::from),
        disabled: row.get(4)?,
        comment: row.get(5)?,
        service: parsed(row, 7)?.unwrap_or_default(),
        caller_id: list(row, 8)?,
        local_address: parsed(row, 9)?,
        routes: list(row, 10)?,
        rate_limit: parsed(row, 11)?,
        session_timeout: parsed(row, 12)?,
        idle_timeout: parsed(row, 13)?,
        limit_bytes_in: limit(14)?,
        limit_bytes_out: limit(15)?,
        remote_access: row.get(16)?,
        remote_ipv6_prefix: parsed(row, 17)?,
        delegated_ipv6_prefix: parsed(row, 18)?,
        ipv6_routes: list(row, 19)?,
    })
}

fn shown(value: Option<&impl ToString>) -> Option<String> {
    value.map(ToString::to_string)
}

fn joined<T: ToString>(values: &[T]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// A column that may be missing, in the form in which it is shown.
fn parsed<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<T>>
where
    T: FromStr<Err: ToString>,
{
    let text: Option<String> = row.get(column)?;
    text.map(|text| value(&text, column)).transpose()
}

fn list<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<T>>
where
    T: FromStr<Err: ToString>,
{
    let text: String = row.get(column)?;
    text.split(',').filter(|word| !word.is_empty()).map(|word| value(word, column)).collect()
}

fn value<T>(text: &str, column: usize) -> rusqlite::Result<T>
where
    T: FromStr<Err: ToString>,
{
    text.parse().map_err(|error: T::Err| {
        let reason = error.to_string().into();
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, reason)
    })
}
