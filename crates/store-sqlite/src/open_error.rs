use std::io;
use std::path::PathBuf;

use grantry_store::StoreError;

/// Why the store cannot be opened, where, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "the directory {} for the store cannot be made: {source}; make it for the user that runs grantry, or name \
         another place in [store] url", path.display()
    )]
    Directory { path: PathBuf, source: io::Error },

    #[error("{} is a directory; [store] url must name a file, such as {}/grantry.db", path.display(), path.display())]
    IsADirectory { path: PathBuf },

    #[error(
        "{} cannot be written: {source}; the user that runs grantry must be allowed to write the file and its \
         directory, and the file system must not be mounted read-only", path.display()
    )]
    NotWritable { path: PathBuf, source: io::Error },

    #[error(
        "{} is not an SQLite database, or is damaged; name another file in [store] url, or restore this one from a \
         backup", path.display()
    )]
    NotADatabase { path: PathBuf },

    #[error("{} is the database of another program; name another file in [store] url", path.display())]
    AnotherProgram { path: PathBuf },

    #[error(
        "{} was written by a newer version of grantry: its schema has version {found}, this one knows up to \
         {known}; run the newer version, or restore a backup from before the upgrade", path.display()
    )]
    NewerSchema { path: PathBuf, found: usize, known: usize },

    #[error(
        "{} cannot use a write-ahead log (SQLite stays with the journal mode \"{mode}\"), probably because it is on a \
         network file system; put it on a local disk", path.display()
    )]
    NoWal { path: PathBuf, mode: String },

    #[error("{} cannot be opened: {source}", path.display())]
    Store { path: PathBuf, source: StoreError },

    #[error("a thread for the store cannot be started: {0}; raise the limit of threads")]
    Thread(io::Error),
}
