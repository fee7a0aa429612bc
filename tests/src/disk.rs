//! A small disk of a test's own, to be filled and worn out.
//! It is mounted in a mount namespace of the calling thread: what that thread starts sees it, and
//! the machine does not. It is gone with the last of them.
//! Never touches a file system of the machine.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

/// A mounted disk.
#[derive(Debug)]
pub struct Disk {
    directory: TempDir,
}

impl Disk {
    /// Mounts a disk of so many KiB for the calling thread and the processes that it will start.
    ///
    /// # Errors
    /// Without root.
    pub fn new(kib: u32) -> Result<Self> {
        let directory = TempDir::new()?;
        unshare(CloneFlags::CLONE_NEWNS).context("making a mount namespace")?;
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        let options = format!("size={kib}k,mode=700");
        mount(
            Some("lab"),
            directory.path(),
            Some("tmpfs"),
            MsFlags::empty(),
            Some(options.as_str()),
        )
        .context("mounting a disk")?;
        Ok(Self { directory })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Makes it read-only; nothing may be open for writing.
    ///
    /// # Errors
    /// When something is.
    pub fn make_read_only(&self) -> Result<()> {
        let none: Option<&str> = None;
        mount(none, self.path(), none, MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, none)
            .context("making a disk read-only")
    }

    /// Fills it to the last byte; the file that does it makes room again when it is removed.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn fill(&self) -> Result<PathBuf> {
        let path = self.path().join("full");
        let mut file = File::create(&path)?;
        for size in [4096, 1] {
            while file.write_all(&vec![0xFF; size]).is_ok() {}
        }
        Ok(path)
    }
}
