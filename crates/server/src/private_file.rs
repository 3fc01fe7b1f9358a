//! Files that hold a secret: readable by their owner only, written so that a reader sees all of one or nothing, even
//! after a crash.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::failure::Failure;

/// Far more than any secret; a larger file is not one.
const MAX_LEN: u64 = 4096;
const OTHERS: u32 = 0o077;

/// What processes that start at the same time take turns by. Released when dropped, and by the system when the process
/// ends. One process must not hold it twice.
pub struct DirectoryLock {
    _directory: File,
}

impl DirectoryLock {
    /// Makes the directory where it is missing, and waits for the lock.
    pub fn of(directory: &Path) -> Result<Self, Failure> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|error| Failure::of_file(directory, "made", &error))?;
        let locked = File::open(directory).and_then(|file| file.lock().map(|()| file));
        locked
            .map(|file| Self { _directory: file })
            .map_err(|error| Failure::of_file(directory, "locked", &error))
    }
}

/// The directory of a file, `.` for a bare name.
pub fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// `None` when there is no such file.
///
/// # Errors
/// Besides what keeps a file from being read: others may read it.
pub fn read(path: &Path) -> Result<Option<Zeroizing<String>>, Failure> {
    read_at_most(path, MAX_LEN)
}

/// The same for what may be longer.
pub fn read_at_most(path: &Path, most: u64) -> Result<Option<Zeroizing<String>>, Failure> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::of_file(path, "read", &error)),
    };
    let metadata = file.metadata().map_err(|error| Failure::of_file(path, "read", &error))?;
    if metadata.is_file() && metadata.mode() & OTHERS != 0 {
        return Err(Failure::new(format!(
            "{} can be read by others than its owner (mode {:04o}); run: chmod 600 {}",
            path.display(),
            metadata.mode() & 0o7777,
            path.display()
        )));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(most + 1).read_to_string(&mut text).map_err(|error| Failure::of_file(path, "read", &error))?;
    if text.len() as u64 > most {
        return Err(Failure::new(format!(
            "{} is longer than {most} bytes, and not one of ours",
            path.display()
        )));
    }
    Ok(Some(text))
}

/// Writes the file, in place of an earlier one.
pub fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let refused = |error: io::Error| Failure::of_file(path, "written", &error);
    let mut beside = OsString::from(path);
    beside.push(format!(".{}.new", std::process::id()));
    // One of a process that had this id and was killed here.
    let _ = fs::remove_file(&beside);
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside).map_err(refused)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&beside, path))
        .and_then(|()| File::open(directory_of(path))?.sync_all());
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written.map_err(refused)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_nobody_else_can_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        assert!(read(&path).unwrap().is_none());
        write(&path, "first").unwrap();
        write(&path, "second").unwrap();
        assert_eq!(*read(&path).unwrap().unwrap(), "second");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_file_that_others_may_read_is_refused_with_the_command_to_type() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        write(&path, "x").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refusal = read(&path).unwrap_err().to_string();
        assert!(refusal.contains("0640") && refusal.contains("chmod 600"), "{refusal}");
    }

    #[test]
    fn two_take_turns_in_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("deep/er");
        let first = DirectoryLock::of(&place).unwrap();
        assert!(matches!(File::open(&place).unwrap().try_lock(), Err(fs::TryLockError::WouldBlock)));
        drop(first);
        File::open(&place).unwrap().try_lock().unwrap();
    }
}
