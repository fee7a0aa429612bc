//! One daemon to a database: whoever serves from the file holds it as long as it runs.
//!
//! The kernel lets go of the file with its holder, however that ends. The command line changes
//! users without a claim: SQLite orders writers, but users in memory would not see each other's.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// Why the database is not ours.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Another daemon serves from it.
    #[error("users' database {0} is in use by another penstock serve")]
    Taken(PathBuf),
    /// The file cannot be opened or held.
    #[error("users' database {file}: {error}")]
    File {
        /// Which file.
        file: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// The right to serve from a database, as long as the value lives.
///
/// It must outlive the database's connection: a process that closes any descriptor of a file
/// loses the locks that SQLite has on it.
#[derive(Debug)]
pub struct Claim(#[expect(dead_code, reason = "held, never read")] File);

impl Claim {
    /// Claims a database that exists.
    ///
    /// # Errors
    /// If another process has a claim, or the file cannot be opened.
    pub fn lay(database: &Path) -> Result<Self, ClaimError> {
        let failed = |error| ClaimError::File { file: database.to_owned(), error };
        let file = File::open(database).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(ClaimError::Taken(database.to_owned())),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_has_one_claim_by_whatever_name_and_the_next_when_that_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users.db");
        assert!(matches!(Claim::lay(&file), Err(ClaimError::File { .. })));
        std::fs::write(&file, b"").unwrap();
        let alias = folder.path().join("alias.db");
        std::os::unix::fs::symlink(&file, &alias).unwrap();

        let claim = Claim::lay(&file).unwrap();
        let refused = Claim::lay(&alias).unwrap_err();
        assert!(matches!(&refused, ClaimError::Taken(name) if *name == alias), "{refused}");
        drop(claim);
        Claim::lay(&alias).unwrap();
    }
}
