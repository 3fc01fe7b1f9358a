//! What the journal asks of a disk: one flat directory of files that grow at their end. It stands in front of the file
//! system so that a test can pull the plug.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Held until it is dropped, or the process ends.
pub type DiskLock = Box<dyn Send + Sync>;

pub trait Disk: Send + Sync + 'static {
    /// The directory, for messages.
    fn directory(&self) -> &Path;

    /// Makes the directory where it is missing, durably.
    fn make_directory(&self) -> io::Result<()>;

    /// `None` while another process holds it.
    fn lock(&self, name: &str) -> io::Result<Option<DiskLock>>;

    /// The names of the files, in any order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// An empty file to append to; an error when there is one of that name.
    fn create_new(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// For reading.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Cuts the file off after `len` bytes, durably.
    fn truncate(&self, name: &str, len: u64) -> io::Result<()>;

    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes durable which files there are, and by what names.
    fn sync_directory(&self) -> io::Result<()>;
}

pub trait DiskFile: Send {
    /// At the end. After an error any number of the bytes may be there.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes what was written durable (`fdatasync`).
    fn sync_data(&mut self) -> io::Result<()>;

    fn truncate(&mut self, len: u64) -> io::Result<()>;

    /// How many bytes were read; 0 at the end.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    fn size(&self) -> io::Result<u64>;
}

/// Fills `into` from `offset` on, or as far as the file goes; how many bytes that were.
pub(super) fn read_full(file: &dyn DiskFile, offset: u64, into: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < into.len() {
        match file.read_at(offset + len as u64, &mut into[len..]) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

/// A directory of the file system. It and its files are its owner's alone (0700, 0600): a payload says who was given
/// which token.
#[derive(Debug, Clone)]
pub struct RealDisk {
    directory: PathBuf,
}

impl RealDisk {
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

impl Disk for RealDisk {
    fn directory(&self) -> &Path {
        &self.directory
    }

    fn make_directory(&self) -> io::Result<()> {
        let missing = self.directory.ancestors().take_while(|path| !path.exists()).count();
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        // The entry of a directory is in its parent. The nearest is synced even if nothing was missing: whoever made
        // the directory may have been killed before this.
        for parent in self.directory.ancestors().skip(1).take(missing.max(1)) {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            match File::open(parent).and_then(|parent| parent.sync_all()) {
                Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn lock(&self, name: &str) -> io::Result<Option<DiskLock>> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(self.path(name))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in self.directory.read_dir()? {
            // A name that is not UTF-8 is none of ours.
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn create_new(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create_new(true).mode(0o600);
        Ok(Box::new(RealFile(options.open(self.path(name))?)))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile(File::open(self.path(name))?)))
    }

    fn truncate(&self, name: &str, len: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(self.path(name))?;
        file.set_len(len)?;
        file.sync_data()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }
}

struct RealFile(File);

impl DiskFile for RealFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(into, offset)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}
