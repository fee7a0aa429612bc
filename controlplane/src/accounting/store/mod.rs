//! The accounting queue's SQLite file: sessions that live, with their last figures, and requests
//! that no server has answered yet.
//!
//! Every batch of changes is one transaction, so whatever kills the daemon, a session is either
//! open here or its Stop (RFC 2866 §4.1) is queued, never both and never neither. The file is
//! locked for as long as it is open. Knows nothing of what is in a request.

mod batch;

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OptionalExtension, params};
use tracing::warn;

use super::{Status, Usage, Volume};
use crate::sqlite::{Adrift, Anchor};
pub use batch::Change;
use batch::{Batch, from_column};

/// Version of the schema that this program writes.
const VERSION: i64 = 1;

const SCHEMA: &str = "
    CREATE TABLE session (
        id             TEXT PRIMARY KEY,
        attributes     BLOB NOT NULL,
        at             INTEGER NOT NULL,
        seconds        INTEGER NOT NULL,
        input_octets   INTEGER NOT NULL,
        input_packets  INTEGER NOT NULL,
        output_octets  INTEGER NOT NULL,
        output_packets INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE request (
        number     INTEGER PRIMARY KEY AUTOINCREMENT,
        session    TEXT,
        status     INTEGER NOT NULL,
        at         INTEGER NOT NULL,
        attributes BLOB NOT NULL
    ) STRICT;
    CREATE INDEX request_of_session ON request (session, status);
";

/// SQLite's number for `auto_vacuum = incremental`.
const INCREMENTAL: i64 = 2;

/// Pages of the file, of 4 KiB, that may lie idle; as many are given back at a time.
const SPARE_PAGES: i64 = 512;

/// What the log beside the file may keep on the disk, bytes.
const JOURNAL: i64 = 4 << 20;

/// How long another process that has the file may take to close it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why the queue cannot be used, with the file.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be made or read.
    #[error("accounting queue {file}: {error}")]
    File {
        /// Which file.
        file: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Another process has it.
    #[error("accounting queue {0} is in use by another process")]
    InUse(PathBuf),
    /// It holds something else, or half of what it held.
    #[error(
        "accounting queue {file} is damaged ({error}); what it holds cannot be sent: move it away"
    )]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// What SQLite says.
        error: rusqlite::Error,
    },
    /// SQLite refuses.
    #[error("accounting queue {file}: {error}")]
    Database {
        /// Which file.
        file: PathBuf,
        /// What SQLite says.
        error: rusqlite::Error,
    },
    /// It is not there any more.
    #[error("accounting queue {file}: {error}")]
    Adrift {
        /// Which file.
        file: PathBuf,
        /// What became of it.
        error: Adrift,
    },
    /// A later version of this program wrote it.
    #[error("accounting queue {file} has schema {found}, this penstock knows up to {VERSION}")]
    Newer {
        /// Which file.
        file: PathBuf,
        /// The version in it.
        found: i64,
    },
}

/// A session that was open when the daemon died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// What its requests have in common.
    pub attributes: Vec<u8>,
    /// When it was measured last, seconds since 1970.
    pub at: u64,
    /// What it had used by then.
    pub usage: Usage,
}

/// A request that waits, without what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Later requests have higher numbers.
    pub number: i64,
    /// The session that it is about; `None` if it is about all.
    pub session: Option<Arc<str>>,
    /// What it tells.
    pub status: Status,
}

/// The open file.
#[derive(Debug)]
pub struct Store {
    file: PathBuf,
    anchor: Anchor,
    connection: Connection,
    /// Requests in it.
    count: u64,
    /// Requests that it may hold.
    limit: u64,
}

/// What a batch of changes did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Requests that found no room.
    pub lost: u64,
}

impl Store {
    /// Opens the file, and makes it where there is none. It may hold `limit` requests; Stops may
    /// exceed that by a tenth.
    ///
    /// # Errors
    /// If it cannot be made, somebody has it, it is damaged or of a later version.
    pub fn open(file: &Path, limit: u64) -> Result<Self, StoreError> {
        let anchor = Anchor::cast(file)
            .map_err(|error| StoreError::File { file: file.to_owned(), error })?;
        let failed = |error| Self::error(file, error);
        let connection = Connection::open(file).map_err(failed)?;
        connection.busy_timeout(PATIENCE).map_err(failed)?;
        // Two daemons with one queue would both send it. Before WAL is touched, so that SQLite
        // needs no memory shared with other processes.
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(failed)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
        // A loss of power, too, shall lose nothing; batches make it cheap.
        connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
        connection.pragma_update(None, "journal_size_limit", JOURNAL).map_err(failed)?;
        connection.execute_batch("BEGIN IMMEDIATE; COMMIT;").map_err(failed)?;
        can_shrink(&connection).map_err(failed)?;
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
        let count: i64 = connection
            .query_row("SELECT count(*) FROM request", (), |row| row.get(0))
            .map_err(failed)?;
        Ok(Self { file: file.to_owned(), anchor, connection, count: from_column(count), limit })
    }

    /// Ends the sessions that nobody ended, and then tells that the daemon begins, in one step.
    /// Says how many they were.
    ///
    /// # Errors
    /// If the file fails.
    pub fn recover(
        &mut self,
        stop: impl Fn(&Orphan) -> Vec<u8>,
        on: Change,
    ) -> Result<usize, StoreError> {
        let orphans = self.orphans().map_err(|error| Self::error(&self.file, error))?;
        let count = orphans.len();
        let mut changes: Vec<_> = orphans
            .into_iter()
            .map(|(session, orphan)| Change::Closed { session, at: orphan.at, stop: stop(&orphan) })
            .collect();
        changes.push(on);
        self.write(&changes, &HashSet::new())?;
        Ok(count)
    }

    /// Makes all changes, or none.
    ///
    /// `sent` are requests on their way to a server: they stay as they are.
    ///
    /// # Errors
    /// If the file fails; then nothing has changed.
    pub fn write(
        &mut self,
        changes: &[Change],
        sent: &HashSet<i64>,
    ) -> Result<Written, StoreError> {
        self.hold()?;
        let mut count = self.count;
        let mut written = Written::default();
        let mut all = || {
            let transaction = self.connection.transaction()?;
            for change in changes {
                let mut batch =
                    Batch { transaction: &transaction, sent, count, limit: self.limit, lost: 0 };
                batch.write(change)?;
                count = batch.count;
                written.lost += batch.lost;
            }
            transaction.commit()
        };
        match all() {
            Ok(()) => {
                self.count = count;
                Ok(written)
            }
            Err(error) => Err(Self::error(&self.file, error)),
        }
    }

    /// Makes sure that what is written next is found again.
    fn hold(&mut self) -> Result<(), StoreError> {
        let held = self.anchor.hold(&mut self.connection);
        if held.map_err(|error| StoreError::Adrift { file: self.file.clone(), error })? {
            *self = Self::open(&self.file, self.limit)?;
            warn!(file = %self.file.display(), "the accounting queue was removed: written anew");
        }
        Ok(())
    }

    /// Gives room on the disk back that requests took which are gone, a little at a time.
    ///
    /// # Errors
    /// If the file fails.
    pub fn compact(&self) -> Result<(), StoreError> {
        let shrink = || -> rusqlite::Result<()> {
            let free: i64 =
                self.connection.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
            if free < SPARE_PAGES {
                return Ok(());
            }
            let sql = format!("PRAGMA incremental_vacuum({SPARE_PAGES})");
            let mut statement = self.connection.prepare(&sql)?;
            // Each row is a page that is given back.
            let mut pages = statement.query(())?;
            while pages.next()?.is_some() {}
            Ok(())
        };
        shrink().map_err(|error| Self::error(&self.file, error))
    }

    /// The first requests after this number, in order.
    ///
    /// # Errors
    /// If the file fails.
    pub fn after(&self, number: i64, limit: usize) -> Result<Vec<Waiting>, StoreError> {
        let read = || -> rusqlite::Result<Vec<Waiting>> {
            self.connection
                .prepare_cached(
                    "SELECT number, session, status FROM request
                     WHERE number > ?1 ORDER BY number LIMIT ?2",
                )?
                .query_map(params![number, i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
                    let session: Option<String> = row.get(1)?;
                    let status = row.get(2)?;
                    let status = Status::from_code(status)
                        .ok_or(rusqlite::Error::IntegralValueOutOfRange(2, status.into()))?;
                    Ok(Waiting { number: row.get(0)?, session: session.map(Arc::from), status })
                })?
                .collect()
        };
        read().map_err(|error| Self::error(&self.file, error))
    }

    /// When a request was made, in seconds since 1970, and what is in it; `None` if it was
    /// forgotten meanwhile.
    ///
    /// # Errors
    /// If the file fails.
    pub fn request(&self, number: i64) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        let read = || {
            self.connection
                .prepare_cached("SELECT at, attributes FROM request WHERE number = ?1")?
                .query_row([number], |row| Ok((from_column(row.get(0)?), row.get(1)?)))
                .optional()
        };
        read().map_err(|error| Self::error(&self.file, error))
    }

    /// How many requests wait.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.count
    }

    /// Whether none waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// When the oldest request that waits was made, seconds since 1970.
    ///
    /// # Errors
    /// If the file fails.
    pub fn oldest(&self) -> Result<Option<u64>, StoreError> {
        let read = || {
            self.connection
                .prepare_cached("SELECT at FROM request ORDER BY number LIMIT 1")?
                .query_row((), |row| row.get(0).map(from_column))
                .optional()
        };
        read().map_err(|error| Self::error(&self.file, error))
    }

    fn orphans(&self) -> rusqlite::Result<Vec<(Arc<str>, Orphan)>> {
        self.connection
            .prepare(
                "SELECT id, attributes, at, seconds,
                        input_octets, input_packets, output_octets, output_packets
                 FROM session ORDER BY id",
            )?
            .query_map((), |row| {
                let number = |column| row.get(column).map(from_column);
                let volume = Volume {
                    input_octets: number(4)?,
                    input_packets: number(5)?,
                    output_octets: number(6)?,
                    output_packets: number(7)?,
                };
                let usage = Usage { seconds: number(3)?, volume };
                let id: String = row.get(0)?;
                Ok((Arc::from(id), Orphan { attributes: row.get(1)?, at: number(2)?, usage }))
            })?
            .collect()
    }

    fn error(file: &Path, error: rusqlite::Error) -> StoreError {
        let file = file.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::InUse(file),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StoreError::Damaged { file, error }
            }
            _ => StoreError::Database { file, error },
        }
    }
}

/// Files of earlier versions never gave room back.
fn can_shrink(connection: &Connection) -> rusqlite::Result<()> {
    let mode: i64 = connection.pragma_query_value(None, "auto_vacuum", |row| row.get(0))?;
    if mode == INCREMENTAL {
        return Ok(());
    }
    connection.pragma_update(None, "auto_vacuum", INCREMENTAL)?;
    // It holds for a file that is written anew.
    connection.execute_batch("VACUUM")
}
