use std::time::Duration;

/// What "written" means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalMode {
    /// `fdatasync` returned: it survives a crash of the machine.
    Fsync,
    /// `write(2)` returned: it survives a crash of the process.
    Os,
}

#[derive(Debug, Clone, Copy)]
pub struct JournalOptions {
    pub mode: JournalMode,
    /// A segment is closed before a group would make it larger. Only a group that is larger by itself does.
    pub segment_bytes: u64,
    /// What the segments with records that have not been drained may have together; an append past it is
    /// [`JournalError::Full`](super::JournalError::Full).
    pub max_bytes: u64,
    /// How many records may wait for the thread; one more is
    /// [`JournalError::Overloaded`](super::JournalError::Overloaded).
    pub queue_capacity: usize,
    /// For how long, after two failures in a row, appends are refused before the disk is tried again.
    pub retry_period: Duration,
}

impl JournalOptions {
    pub fn new(mode: JournalMode) -> Self {
        Self {
            mode,
            segment_bytes: 16 * 1024 * 1024,
            max_bytes: 1024 * 1024 * 1024,
            queue_capacity: 65_536,
            retry_period: Duration::from_secs(1),
        }
    }
}
