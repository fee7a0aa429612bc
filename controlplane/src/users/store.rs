//! The users' SQLite file.
//!
//! WAL, so that the command line reads while the daemon writes; the schema has a version; the file
//! is readable to its owner alone, because an NT hash is worth as much as the password.

use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::mschap::NtHash;
use rusqlite::{Connection, Row, params};

use super::User;

/// Version of the schema that this program writes.
const VERSION: i64 = 1;

const SCHEMA: &str = "
    CREATE TABLE user (
        name           TEXT PRIMARY KEY,
        nt_hash        BLOB NOT NULL CHECK (length(nt_hash) = 16),
        profile        TEXT,
        remote_address TEXT,
        disabled       INTEGER NOT NULL,
        comment        TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
";

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
    /// A later version of this program wrote it.
    #[error("users' database {file} has schema {found}, this penstock knows up to {VERSION}")]
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
    connection: Connection,
}

impl Store {
    /// Opens the file, and makes it (and its folder) where there is none.
    ///
    /// # Errors
    /// If it cannot be made, is no database, or is of a later version.
    pub fn open(file: &Path) -> Result<Self, StoreError> {
        restrict(file).map_err(|error| StoreError::File { file: file.to_owned(), error })?;
        let failed = |error| StoreError::Database { file: file.to_owned(), error };
        let connection = Connection::open(file).map_err(failed)?;
        connection.busy_timeout(Duration::from_secs(5)).map_err(failed)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
        let version: i64 = connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(failed)?;
        match version {
            0 => connection
                .execute_batch(&format!(
                    "BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;"
                ))
                .map_err(failed)?,
            VERSION => {}
            found => return Err(StoreError::Newer { file: file.to_owned(), found }),
        }
        Ok(Self { file: file.to_owned(), connection })
    }

    /// All users.
    ///
    /// # Errors
    /// If the database fails.
    pub fn all(&self) -> Result<Vec<User>, StoreError> {
        let read = || -> rusqlite::Result<Vec<User>> {
            self.connection
                .prepare(
                    "SELECT name, nt_hash, profile, remote_address, disabled, comment FROM user",
                )?
                .query_map((), user)?
                .collect()
        };
        read().map_err(|error| self.failed(error))
    }

    /// Adds or replaces a user.
    ///
    /// # Errors
    /// If the database fails.
    pub fn put(&self, user: &User) -> Result<(), StoreError> {
        self.connection
            .execute(
                "INSERT OR REPLACE INTO user
                 (name, nt_hash, profile, remote_address, disabled, comment)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    user.name,
                    user.nt_hash.as_bytes(),
                    user.profile,
                    user.remote_address.map(|address| address.to_string()),
                    user.disabled,
                    user.comment,
                ],
            )
            .map(drop)
            .map_err(|error| self.failed(error))
    }

    /// Removes a user, if there is one of that name.
    ///
    /// # Errors
    /// If the database fails.
    pub fn remove(&self, name: &str) -> Result<(), StoreError> {
        self.connection
            .execute("DELETE FROM user WHERE name = ?1", [name])
            .map(drop)
            .map_err(|error| self.failed(error))
    }

    fn failed(&self, error: rusqlite::Error) -> StoreError {
        StoreError::Database { file: self.file.clone(), error }
    }
}

fn user(row: &Row<'_>) -> rusqlite::Result<User> {
    let address: Option<String> = row.get(3)?;
    let remote_address = address.map(|text| text.parse()).transpose().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(3, rusqlite::types::Type::Text, Box::new(error))
    })?;
    Ok(User {
        name: row.get(0)?,
        nt_hash: NtHash::from_bytes(row.get(1)?),
        profile: row.get(2)?,
        remote_address,
        disabled: row.get(4)?,
        comment: row.get(5)?,
    })
}

/// Makes the file for its owner alone. SQLite gives the files beside it the same mode.
pub(crate) fn restrict(file: &Path) -> io::Result<()> {
    if let Some(folder) = file.parent().filter(|folder| !folder.exists()) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Err(_) if fs::metadata(file)?.permissions().mode() & 0o077 != 0 => {
            fs::set_permissions(file, Permissions::from_mode(0o600))
        }
        _ => Ok(()),
    }
}
