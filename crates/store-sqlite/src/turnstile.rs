use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use grantry_store::{Outage, StoreError};

use crate::patience::Patience;

/// A lock file next to the database, passed by each writer on its way to SQLite's own lock.
///
/// SQLite's lock has no queue: whoever has just committed finds it free at once, while the others sleep between two
/// looks. Whoever waits for it therefore stands in the turnstile, of which there is one, and leaves it only with the
/// lock in hand; whoever comes back from a commit has to wait behind. Without a contest it costs one `flock` pair.
pub struct Turnstile {
    file: File,
    path: PathBuf,
}

/// Standing in the turnstile; left when dropped, and by the kernel when the process dies.
pub struct Passage<'a>(&'a File);

impl Turnstile {
    pub fn path_beside(database: &Path) -> PathBuf {
        let mut path = OsString::from(database);
        path.push("-turnstile");
        path.into()
    }

    pub fn open(database: &Path) -> io::Result<Self> {
        let path = Self::path_beside(database);
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        Ok(Self { file, path })
    }

    /// Tries in small steps, because a wait for `flock` itself has no deadline.
    pub fn enter(&self, patience: &mut Patience) -> Result<Passage<'_>, StoreError> {
        loop {
            match self.file.try_lock() {
                Ok(()) => return Ok(Passage(&self.file)),
                Err(TryLockError::WouldBlock) if patience.wait() => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(StoreError::unavailable(
                        Outage::Busy,
                        "other processes wait for the database, too",
                    ));
                }
                Err(TryLockError::Error(error)) => {
                    let message = format!("{} cannot be locked: {error}", self.path.display());
                    return Err(StoreError::unavailable(Outage::Io, message));
                }
            }
        }
    }
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        // Fails only for a file that is not open.
        let _ = self.0.unlock();
    }
}
