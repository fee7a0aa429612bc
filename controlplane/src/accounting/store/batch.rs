//! Changes of the queue, and what each does to the file within its batch's transaction.

use std::collections::HashSet;
use std::sync::Arc;

use rusqlite::{Transaction, params};

use crate::accounting::{Status, Usage};

/// Something that the file has to remember, or can forget. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A session began.
    Opened {
        /// Its Acct-Session-Id.
        session: Arc<str>,
        /// When.
        at: u64,
        /// What its Stop will need, should nobody live to make it.
        attributes: Vec<u8>,
        /// The request that tells of it.
        start: Vec<u8>,
    },
    /// A session was measured.
    Measured {
        /// Its Acct-Session-Id.
        session: Arc<str>,
        /// When.
        at: u64,
        /// What it has used so far.
        usage: Usage,
        /// The request that tells of it, if one is due. It takes the place of one that waits.
        interim: Option<Vec<u8>>,
    },
    /// A session's attributes are others now.
    Described {
        /// Its Acct-Session-Id.
        session: Arc<str>,
        /// As in [`Self::Opened`].
        attributes: Vec<u8>,
    },
    /// A session ended. An interim that waits is not needed any more.
    Closed {
        /// Its Acct-Session-Id.
        session: Arc<str>,
        /// When.
        at: u64,
        /// The request that tells of it.
        stop: Vec<u8>,
    },
    /// Something that concerns all sessions: Accounting-On, Accounting-Off.
    Service {
        /// Which.
        status: Status,
        /// When.
        at: u64,
        /// The request that tells of it.
        attributes: Vec<u8>,
    },
    /// A request is done with.
    Done(i64),
    /// No server answered a request for now. An interim is forgotten if something newer waits.
    Unanswered(i64),
}

/// Changes within a transaction.
pub(super) struct Batch<'a> {
    pub(super) transaction: &'a Transaction<'a>,
    pub(super) sent: &'a HashSet<i64>,
    pub(super) count: u64,
    pub(super) limit: u64,
    pub(super) lost: u64,
}

impl Batch<'_> {
    pub(super) fn write(&mut self, change: &Change) -> rusqlite::Result<()> {
        match change {
            Change::Opened { session, at, attributes, start } => {
                self.execute(
                    "INSERT OR REPLACE INTO session VALUES (?1, ?2, ?3, 0, 0, 0, 0, 0)",
                    params![session, attributes, to_column(*at)],
                )?;
                self.queue(Some(session), Status::Start, *at, start)
            }
            Change::Measured { session, at, usage, interim } => {
                let Usage { seconds, volume } = usage;
                let known = self.execute(
                    "UPDATE session SET at = ?2, seconds = ?3, input_octets = ?4,
                     input_packets = ?5, output_octets = ?6, output_packets = ?7 WHERE id = ?1",
                    params![
                        session,
                        to_column(*at),
                        to_column(*seconds),
                        to_column(volume.input_octets),
                        to_column(volume.input_packets),
                        to_column(volume.output_octets),
                        to_column(volume.output_packets),
                    ],
                )?;
                match interim {
                    Some(interim) if known == 1 => self.interim(session, *at, interim),
                    _ => Ok(()),
                }
            }
            Change::Described { session, attributes } => self
                .execute(
                    "UPDATE session SET attributes = ?2 WHERE id = ?1",
                    params![session, attributes],
                )
                .map(drop),
            Change::Closed { session, at, stop } => {
                self.execute("DELETE FROM session WHERE id = ?1", [session])?;
                for number in self.waiting_interims(session)? {
                    self.forget(number)?;
                }
                self.queue(Some(session), Status::Stop, *at, stop)
            }
            Change::Service { status, at, attributes } => {
                self.queue(None, *status, *at, attributes)
            }
            Change::Done(number) => self.forget(*number),
            Change::Unanswered(number) => {
                let forgotten = self.execute(
                    "DELETE FROM request AS old WHERE number = ?1 AND status = ?2 AND EXISTS
                     (SELECT 1 FROM request AS new
                      WHERE new.session = old.session AND new.number > old.number)",
                    params![number, Status::Interim.code()],
                )?;
                self.count -= u64::try_from(forgotten).unwrap_or(0);
                Ok(())
            }
        }
    }

    /// Only the newest interim is of use: what waits is replaced where it stands.
    fn interim(&mut self, session: &str, at: u64, attributes: &[u8]) -> rusqlite::Result<()> {
        match self.waiting_interims(session)?.first() {
            Some(number) => self
                .execute(
                    "UPDATE request SET at = ?2, attributes = ?3 WHERE number = ?1",
                    params![number, to_column(at), attributes],
                )
                .map(drop),
            None => self.queue(Some(session), Status::Interim, at, attributes),
        }
    }

    fn queue(
        &mut self,
        session: Option<&str>,
        status: Status,
        at: u64,
        attributes: &[u8],
    ) -> rusqlite::Result<()> {
        let limit = match status {
            Status::Start | Status::Interim => self.limit,
            // They are what is billed.
            Status::Stop | Status::On | Status::Off => self.limit.saturating_add(self.limit / 10),
        };
        if self.count >= limit {
            self.lost += 1;
            return Ok(());
        }
        self.execute(
            "INSERT INTO request (session, status, at, attributes) VALUES (?1, ?2, ?3, ?4)",
            params![session, status.code(), to_column(at), attributes],
        )?;
        self.count += 1;
        Ok(())
    }

    fn waiting_interims(&self, session: &str) -> rusqlite::Result<Vec<i64>> {
        let mut statement = self
            .transaction
            .prepare_cached("SELECT number FROM request WHERE session = ?1 AND status = ?2")?;
        let numbers: Vec<i64> = statement
            .query_map(params![session, Status::Interim.code()], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        Ok(numbers.into_iter().filter(|number| !self.sent.contains(number)).collect())
    }

    fn forget(&mut self, number: i64) -> rusqlite::Result<()> {
        let forgotten = self.execute("DELETE FROM request WHERE number = ?1", [number])?;
        self.count -= u64::try_from(forgotten).unwrap_or(0);
        Ok(())
    }

    fn execute(&self, sql: &str, values: impl rusqlite::Params) -> rusqlite::Result<usize> {
        self.transaction.prepare_cached(sql)?.execute(values)
    }
}

/// SQLite's integers have a sign. No counter here lives long enough to need the 64th bit.
fn to_column(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn from_column(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
