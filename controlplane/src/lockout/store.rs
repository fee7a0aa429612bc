//! Locks over a restart: an SQLite file beside the users', written behind logins.
//!
//! Times are kept as the calendar's, because the machine's own count begins anew. Never on the
//! path of a login.

use std::fs::OpenOptions;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, Transaction, params};

use super::book::{Changes, Kept, Subject};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS lock (
        kind    TEXT NOT NULL CHECK (kind IN ('address', 'user')),
        subject TEXT NOT NULL,
        until   INTEGER NOT NULL,
        locks   INTEGER NOT NULL,
        PRIMARY KEY (kind, subject)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS bound (
        user    TEXT NOT NULL,
        address TEXT NOT NULL,
        PRIMARY KEY (user, address)
    ) STRICT, WITHOUT ROWID;
";

/// Why locks cannot be kept, with the file.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be made.
    #[error("{file}: {error}")]
    File {
        /// Which file.
        file: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// SQLite refuses.
    #[error("{file}: {error}")]
    Database {
        /// Which file.
        file: PathBuf,
        /// What SQLite says.
        error: rusqlite::Error,
    },
}

/// The open file.
#[derive(Debug)]
pub(super) struct Store {
    file: PathBuf,
    connection: Connection,
}

impl Store {
    /// Opens or makes the file beside the users' database.
    pub(super) fn open(database: &Path) -> Result<Self, StoreError> {
        let mut name = database.file_stem().unwrap_or_default().to_owned();
        name.push("-lockouts.db");
        let file = database.with_file_name(name);
        // User names concern nobody but the daemon.
        let mut options = OpenOptions::new();
        let made = options.write(true).create(true).truncate(false).mode(0o600).open(&file);
        made.map_err(|error| StoreError::File { file: file.clone(), error })?;
        let open = || {
            let connection = Connection::open(&file)?;
            connection.busy_timeout(Duration::from_secs(5))?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            // A lock that a power cut takes back is no loss.
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            connection.execute_batch(SCHEMA)?;
            Ok(connection)
        };
        match open() {
            Ok(connection) => Ok(Self { file, connection }),
            Err(error) => Err(StoreError::Database { file, error }),
        }
    }

    /// The locks that are not over.
    pub(super) fn load(&self) -> Result<Vec<Kept>, StoreError> {
        let read = || -> rusqlite::Result<Vec<Kept>> {
            let mut locks =
                self.connection.prepare("SELECT kind, subject, until, locks FROM lock")?;
            let mut bound = self.connection.prepare("SELECT address FROM bound WHERE user = ?1")?;
            let mut kept = Vec::new();
            let mut rows = locks.query(())?;
            while let Some(row) = rows.next()? {
                let (kind, subject): (String, String) = (row.get(0)?, row.get(1)?);
                let Some(until) = instant(row.get(2)?) else { continue };
                let subject = match (kind.as_str(), subject.parse()) {
                    ("address", Ok(address)) => Subject::Address(address),
                    ("address", Err(_)) => continue,
                    _ => Subject::User(Arc::from(subject)),
                };
                let addresses = match &subject {
                    Subject::Address(_) => Vec::new(),
                    Subject::User(user) => bound
                        .query_map([&**user], |row| row.get::<_, String>(0))?
                        .filter_map(|text| Some(text.ok()?.parse::<Ipv4Addr>().ok()))
                        .flatten()
                        .collect(),
                };
                kept.push(Kept { subject, until, locks: row.get(3)?, addresses });
            }
            Ok(kept)
        };
        read().map_err(|error| self.failed(error))
    }

    /// Writes what changed, all of it or nothing.
    pub(super) fn write(&mut self, changes: &Changes) -> Result<(), StoreError> {
        let written = self.connection.transaction().and_then(|transaction| {
            for subject in &changes.gone {
                remove(&transaction, subject)?;
            }
            for kept in &changes.kept {
                put(&transaction, kept)?;
            }
            transaction.commit()
        });
        written.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: rusqlite::Error) -> StoreError {
        StoreError::Database { file: self.file.clone(), error }
    }
}

fn words(subject: &Subject) -> (&'static str, String) {
    match subject {
        Subject::Address(address) => ("address", address.to_string()),
        Subject::User(user) => ("user", user.to_string()),
    }
}

fn remove(transaction: &Transaction<'_>, subject: &Subject) -> rusqlite::Result<()> {
    let (kind, name) = words(subject);
    transaction
        .prepare_cached("DELETE FROM lock WHERE kind = ?1 AND subject = ?2")?
        .execute(params![kind, name])?;
    if let Subject::User(user) = subject {
        transaction.prepare_cached("DELETE FROM bound WHERE user = ?1")?.execute([&**user])?;
    }
    Ok(())
}

fn put(transaction: &Transaction<'_>, kept: &Kept) -> rusqlite::Result<()> {
    remove(transaction, &kept.subject)?;
    let (kind, name) = words(&kept.subject);
    transaction
        .prepare_cached("INSERT INTO lock (kind, subject, until, locks) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![kind, name, calendar(kept.until), kept.locks])?;
    let mut bind =
        transaction.prepare_cached("INSERT INTO bound (user, address) VALUES (?1, ?2)")?;
    for address in &kept.addresses {
        bind.execute(params![name, address.to_string()])?;
    }
    Ok(())
}

/// Seconds since 1970, rounded up.
pub(super) fn calendar(at: Instant) -> i64 {
    let left = at.saturating_duration_since(Instant::now());
    let at = (SystemTime::now() + left).duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(at.as_millis().div_ceil(1000)).unwrap_or(i64::MAX)
}

/// `None` if it is over.
fn instant(calendar: i64) -> Option<Instant> {
    let at = UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(calendar).ok()?))?;
    let left = at.duration_since(SystemTime::now()).ok()?;
    Instant::now().checked_add(left)
}
