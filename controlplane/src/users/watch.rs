//! Reads the users-file again when it changes.
//!
//! The folder is watched, not the file, because editors and Ansible put a new file in its place.
//! Never fails a login: what was read last stays until the next good reading.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{info, warn};

use super::Users;

/// The file is read when it was left alone for so long: it is seldom written at one stroke, and
/// half of it would lock the others out.
const SETTLE: Duration = Duration::from_millis(500);

/// The longest that a file which never rests is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads the file each time that it changes, for as long as the future is polled.
pub async fn watch(users: Users, file: PathBuf) {
    let (changed, mut changes) = mpsc::channel(1);
    let name = file.file_name().map(ToOwned::to_owned);
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let ours = event.is_ok_and(|event| {
            !event.kind.is_access()
                && event.paths.iter().any(|path| path.file_name() == name.as_deref())
        });
        if ours {
            // Full means that a reading is due anyway.
            let _ = changed.try_send(());
        }
    });
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut watcher = match watcher {
        Ok(watcher) => watcher,
        Err(error) => return warn!(file = %file.display(), %error, "users-file is not watched"),
    };
    if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
        return warn!(file = %file.display(), %error, "users-file is not watched");
    }
    // It may have changed before it was watched.
    read(&users, &file).await;
    while changes.recv().await.is_some() {
        let rests =
            async { while timeout(SETTLE, changes.recv()).await.is_ok_and(|it| it.is_some()) {} };
        let _ = timeout(PATIENCE, rests).await;
        read(&users, &file).await;
    }
}

/// Reads the file, and logs what it says and what in it makes no sense.
pub async fn read(users: &Users, file: &Path) {
    let task = {
        let (users, file) = (users.clone(), file.to_owned());
        tokio::task::spawn_blocking(move || users.read_file(&file))
    };
    match task.await {
        Ok(Ok((count, bad))) => {
            info!(file = %file.display(), users = count, bad_lines = bad.len(), "users-file read");
            for bad in bad {
                warn!(file = %file.display(), line = bad.line, reason = bad.reason, "users-file");
            }
        }
        Ok(Err(error)) => warn!(file = %file.display(), %error, "users-file cannot be read"),
        Err(error) => warn!(file = %file.display(), %error, "users-file cannot be read"),
    }
}
