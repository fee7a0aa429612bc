//! Objects that commands add and that are there after a restart: a SQLite file for each kind.
//!
//! An object is the JSON of its section in the configuration file, so that both forms stay one. The
//! file may hold passwords as they are, because PAP and CHAP need them: it is readable to its owner
//! alone.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::warn;
use zeroize::Zeroizing;

use crate::sqlite::Anchor;

/// Version of the schema that this program writes.
const VERSION: i64 = 1;

/// What is kept, by its name.
pub trait Kept: Serialize + DeserializeOwned {
    /// The table of its kind, a word of letters.
    const TABLE: &'static str;

    /// Its name.
    fn name(&self) -> &str;
}

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("database {file}: {reason}")]
pub struct StoreError {
    file: PathBuf,
    reason: String,
}

/// The open database.
#[derive(Debug)]
pub struct Store<T> {
    file: PathBuf,
    anchor: Anchor,
    connection: Connection,
    kind: PhantomData<fn() -> T>,
}

impl<T: Kept> Store<T> {
    /// Opens the file, and makes it (and its folder) where there is none.
    ///
    /// # Errors
    /// If it cannot be made, is no database, or is of a later version.
    pub fn open(file: &Path) -> Result<Self, StoreError> {
        let failed = |reason: String| StoreError { file: file.to_owned(), reason };
        let anchor = Anchor::cast(file).map_err(|error| failed(error.to_string()))?;
        let opened = || -> rusqlite::Result<(Connection, i64)> {
            let connection = Connection::open(file)?;
            connection.busy_timeout(Duration::from_secs(5))?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            let version = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
            if version == 0 {
                connection.execute_batch(&format!(
                    "BEGIN IMMEDIATE;
                     CREATE TABLE {} (name TEXT PRIMARY KEY, settings TEXT NOT NULL)
                     STRICT, WITHOUT ROWID;
                     PRAGMA user_version = {VERSION}; COMMIT;",
                    T::TABLE
                ))?;
            }
            Ok((connection, version))
        };
        match opened().map_err(|error| failed(error.to_string()))? {
            (connection, 0 | VERSION) => {
                Ok(Self { file: file.to_owned(), anchor, connection, kind: PhantomData })
            }
            (_, found) => {
                Err(failed(format!("has schema {found}, this penstock knows up to {VERSION}")))
            }
        }
    }

    /// All, by name.
    ///
    /// # Errors
    /// If the database fails, or holds what is none of the kind.
    pub fn all(&self) -> Result<Vec<T>, StoreError> {
        let texts = || -> rusqlite::Result<Vec<Zeroizing<String>>> {
            let query = format!("SELECT settings FROM {} ORDER BY name", T::TABLE);
            let mut select = self.connection.prepare(&query)?;
            select.query_map((), |row| row.get(0).map(Zeroizing::new))?.collect()
        };
        let texts = texts().map_err(|error| self.failed(error.to_string()))?;
        let parse = |text: &str| serde_json::from_str(text);
        texts
            .iter()
            .map(|text| parse(text).map_err(|error| self.failed(error.to_string())))
            .collect()
    }

    /// Adds or replaces one.
    ///
    /// # Errors
    /// If the database fails.
    pub fn put(&mut self, object: &T) -> Result<(), StoreError> {
        self.hold()?;
        let settings = serde_json::to_string(object).map(Zeroizing::new);
        let settings = settings.map_err(|error| self.failed(error.to_string()))?;
        let statement =
            format!("INSERT OR REPLACE INTO {} (name, settings) VALUES (?1, ?2)", T::TABLE);
        self.connection
            .execute(&statement, params![object.name(), *settings])
            .map(drop)
            .map_err(|error| self.failed(error.to_string()))
    }

    /// Removes one, if there is one of that name.
    ///
    /// # Errors
    /// If the database fails.
    pub fn remove(&mut self, name: &str) -> Result<(), StoreError> {
        self.hold()?;
        self.connection
            .execute(&format!("DELETE FROM {} WHERE name = ?1", T::TABLE), [name])
            .map(drop)
            .map_err(|error| self.failed(error.to_string()))
    }

    /// Makes sure that what is written next is found again.
    fn hold(&mut self) -> Result<(), StoreError> {
        let held = self.anchor.hold(&mut self.connection);
        if held.map_err(|error| self.failed(error.to_string()))? {
            *self = Self::open(&self.file)?;
            warn!(file = %self.file.display(), "the database was removed: written anew");
        }
        Ok(())
    }

    fn failed(&self, reason: String) -> StoreError {
        StoreError { file: self.file.clone(), reason }
    }
}
