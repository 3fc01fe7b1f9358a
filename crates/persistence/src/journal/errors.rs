use std::io;
use std::path::{Path, PathBuf};

/// Why a record is not acknowledged. Nothing is known of what became of it: after [`JournalError::Failed`] it may come
/// back when the journal is opened next, so what it asks for must do no harm when it is done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    #[error("a record of {bytes} bytes is too large for the journal")]
    TooLarge { bytes: usize },
    /// More records wait for the disk than `queue_capacity`.
    #[error("the queue of records waiting for the journal is full")]
    Overloaded,
    /// The records that have not been drained take up `max_bytes`.
    #[error("the journal holds {max_bytes} bytes that have not been drained, which is all that it may")]
    Full { max_bytes: u64 },
    /// The disk refused to write or to sync.
    #[error("the journal could not be written: {0}")]
    Failed(String),
    #[error("the journal has been closed")]
    Closed,
}

/// Why a journal cannot be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalOpenError {
    #[error(
        "another process uses the journal directory {}; give each node a directory of its own with \
         token_persistence.journal_dir",
        .directory.display()
    )]
    Locked { directory: PathBuf },
    #[error("{} cannot be {doing}: {source}", .path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "{} does not hold the id of a node; put it back as it was, or remove it to let the journal take its segments' \
         id or a new one",
        .path.display()
    )]
    InvalidNode { path: PathBuf },
    /// Its records would be replayed under the wrong name.
    #[error(
        "{} was written by node {segment_node}, but the directory is that of node {node}; move it to a directory of \
         its own and start a node with token_persistence.journal_dir set to that",
        .path.display()
    )]
    ForeignSegment { path: PathBuf, segment_node: String, node: String },
    #[error("{} has format {version}, which a newer Grantry wrote; start that one", .path.display())]
    NewerFormat { path: PathBuf, version: u32 },
}

impl JournalOpenError {
    pub(super) fn io(
        directory: &Path,
        name: &str,
        doing: &'static str,
    ) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = if name.is_empty() { directory.to_owned() } else { directory.join(name) };
        move |source| Self::Io { doing, path, source }
    }
}
