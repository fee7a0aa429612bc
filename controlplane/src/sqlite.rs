//! What all our SQLite files have in common: their owner alone may read them, and one that
//! somebody takes away under the running daemon is noticed and written anew.
//!
//! Without that, everything would be written to a file that has no name any more, and be gone with
//! the process.

use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::mem;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rusqlite::Connection;

/// The file that a connection has open, by more than its name.
#[derive(Debug)]
pub struct Anchor {
    file: PathBuf,
    device: u64,
    inode: u64,
}

/// Why nothing may be written.
#[derive(Debug, thiserror::Error)]
pub enum Adrift {
    /// Another file has the name.
    #[error("it was replaced while it was in use: start penstock again to use the new file")]
    Replaced,
    /// The system refuses.
    #[error(transparent)]
    File(#[from] io::Error),
    /// SQLite refuses.
    #[error("it was removed while it was in use, and cannot be written anew: {0}")]
    Database(#[from] rusqlite::Error),
}

impl Anchor {
    /// Makes the file (and its folder) where there is none, and takes it from everybody else.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn cast(file: &Path) -> io::Result<Self> {
        restrict(file)?;
        let found = fs::metadata(file)?;
        Ok(Self { file: file.to_owned(), device: found.dev(), inode: found.ino() })
    }

    /// Makes sure that what is written next has a name. If the file is gone, what is in it is
    /// written to a new one, which the caller has to open: then the answer is true, and the
    /// connection is one to nothing.
    ///
    /// # Errors
    /// If another file is in its place, or it cannot be written anew.
    pub fn hold(&self, connection: &mut Connection) -> Result<bool, Adrift> {
        match fs::metadata(&self.file) {
            Ok(found) if (found.dev(), found.ino()) == (self.device, self.inode) => {
                return Ok(false);
            }
            Ok(_) => return Err(Adrift::Replaced),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            Err(_) => {}
        }
        restrict(&self.file)?;
        connection.execute("VACUUM INTO ?1", [self.file.to_string_lossy()])?;
        // The old connection removes its log by name, so it has to go before there is a new one;
        // and a log that was left would be taken for the new file's.
        drop(mem::replace(connection, Connection::open_in_memory()?));
        for suffix in ["-wal", "-shm"] {
            let mut log = self.file.clone().into_os_string();
            log.push(suffix);
            match fs::remove_file(log) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(true)
    }
}

fn restrict(file: &Path) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn written(folder: &TempDir) -> (PathBuf, Anchor, Connection) {
        let file = folder.path().join("file.db");
        let anchor = Anchor::cast(&file).unwrap();
        let connection = Connection::open(&file).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (7)").unwrap();
        (file, anchor, connection)
    }

    #[test]
    fn a_file_that_was_removed_is_written_anew_with_all_that_it_held() {
        let folder = TempDir::new().unwrap();
        let (file, anchor, mut connection) = written(&folder);
        assert!(!anchor.hold(&mut connection).unwrap());
        // Its log stays, as it does when an operator removes only the file that they know.
        fs::remove_file(&file).unwrap();
        assert!(anchor.hold(&mut connection).unwrap());
        let anew = Connection::open(&file).unwrap();
        let held: i64 = anew.query_row("SELECT x FROM t", (), |row| row.get(0)).unwrap();
        assert_eq!(held, 7);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o077, 0);
    }

    #[test]
    fn a_file_that_was_replaced_is_left_alone() {
        let folder = TempDir::new().unwrap();
        let (file, anchor, mut connection) = written(&folder);
        let other = folder.path().join("other");
        fs::write(&other, "other").unwrap();
        fs::rename(&other, &file).unwrap();
        assert!(matches!(anchor.hold(&mut connection), Err(Adrift::Replaced)));
        assert_eq!(fs::read(&file).unwrap(), b"other");
    }
}
