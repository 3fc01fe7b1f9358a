use std::time::Duration;

/// How the store is run. The defaults suit a server.
#[derive(Debug, Clone, Copy)]
pub struct SqliteOptions {
    /// How long a write waits, from when it was handed in, for other processes to let go of the file.
    pub busy_timeout: Duration,
    /// Threads that read, each with a connection of its own; at least 1.
    pub reader_threads: usize,
    /// Reads that may wait for a thread; at least 1.
    pub read_queue: usize,
    /// Writes that may wait for the thread that writes; at least 1.
    pub write_queue: usize,
    /// How long a caller waits for a place in a full queue before it is told that the store is overloaded.
    pub queue_timeout: Duration,
    /// After how many pages the write-ahead log is folded into the file. Larger is faster (20,000 against SQLite's
    /// 1,000: 1.7 x), takes more room and lets the write that comes upon it wait for longer.
    pub wal_pages: u32,
    /// The most pages of 4 KiB that the file may have. Absent: as large as the disk allows.
    pub max_pages: Option<u32>,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            busy_timeout: Duration::from_secs(5),
            reader_threads: 2,
            read_queue: 4096,
            write_queue: 256,
            queue_timeout: Duration::from_secs(1),
            wal_pages: 20_000,
            max_pages: None,
        }
    }
}
