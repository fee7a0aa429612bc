//! The clients' SQLite file.
//!
//! It holds passwords as they are, because PAP and CHAP need them: it is readable to its owner
//! alone. A client is one JSON object with the keys of `[[client]]`, so that both forms stay one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, params};

use crate::config::Client;
use crate::users::store::restrict;

/// Version of the schema that this program writes.
const VERSION: i64 = 1;

const SCHEMA: &str = "
    CREATE TABLE client (
        name     TEXT PRIMARY KEY,
        settings TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
";

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("clients' database {file}: {reason}")]
pub struct StoreError {
    file: PathBuf,
    reason: String,
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
        let failed = |reason: String| StoreError { file: file.to_owned(), reason };
        restrict(file).map_err(|error| failed(error.to_string()))?;
        let opened = || -> rusqlite::Result<(Connection, i64)> {
            let connection = Connection::open(file)?;
            connection.busy_timeout(Duration::from_secs(5))?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            let version = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
            if version == 0 {
                connection.execute_batch(&format!(
                    "BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;"
                ))?;
            }
            Ok((connection, version))
        };
        match opened().map_err(|error| failed(error.to_string()))? {
            (connection, 0 | VERSION) => Ok(Self { file: file.to_owned(), connection }),
            (_, found) => {
                Err(failed(format!("has schema {found}, this penstock knows up to {VERSION}")))
            }
        }
    }

    /// All clients.
    ///
    /// # Errors
    /// If the database fails, or holds what is no client.
    pub fn all(&self) -> Result<Vec<Client>, StoreError> {
        let texts = || -> rusqlite::Result<Vec<String>> {
            let mut select =
                self.connection.prepare("SELECT settings FROM client ORDER BY name")?;
            select.query_map((), |row| row.get(0))?.collect()
        };
        let texts = texts().map_err(|error| self.failed(error.to_string()))?;
        let parse = |text: &String| serde_json::from_str(text);
        texts
            .iter()
            .map(|text| parse(text).map_err(|error| self.failed(error.to_string())))
            .collect()
    }

    /// Adds or replaces a client.
    ///
    /// # Errors
    /// If the database fails.
    pub fn put(&self, client: &Client) -> Result<(), StoreError> {
        let settings =
            serde_json::to_string(client).map_err(|error| self.failed(error.to_string()))?;
        self.connection
            .execute(
                "INSERT OR REPLACE INTO client (name, settings) VALUES (?1, ?2)",
                params![client.name, settings],
            )
            .map(drop)
            .map_err(|error| self.failed(error.to_string()))
    }

    /// Removes a client, if there is one of that name.
    ///
    /// # Errors
    /// If the database fails.
    pub fn remove(&self, name: &str) -> Result<(), StoreError> {
        self.connection
            .execute("DELETE FROM client WHERE name = ?1", [name])
            .map(drop)
            .map_err(|error| self.failed(error.to_string()))
    }

    fn failed(&self, reason: String) -> StoreError {
        StoreError { file: self.file.clone(), reason }
    }
}
