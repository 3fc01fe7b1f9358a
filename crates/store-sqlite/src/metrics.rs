use metrics::{Gauge, Histogram, describe_gauge, describe_histogram, gauge, histogram};

/// What the store tells about itself. The handles are made when it is opened, so the recorder must be there before.
///
/// | metric | kind | means |
/// |---|---|---|
/// | `grantry_store_read_batch_size` | histogram | reads that were answered from one snapshot |
/// | `grantry_store_queue_depth{queue="reads"\|"writes"}` | gauge | what was still waiting when a thread took its work |
/// | `grantry_store_busy_wait_seconds` | histogram | how long a write waited for other processes, if it had to |
/// | `grantry_store_wal_pages` | gauge | length of the write-ahead log after a commit |
#[derive(Clone)]
pub struct Metrics {
    pub read_batch_size: Histogram,
    pub reads_waiting: Gauge,
    pub writes_waiting: Gauge,
    pub busy_wait_seconds: Histogram,
    pub wal_pages: Gauge,
}

impl Metrics {
    pub fn new() -> Self {
        describe_histogram!("grantry_store_read_batch_size", "Reads that were answered from one snapshot.");
        describe_gauge!(
            "grantry_store_queue_depth",
            "Jobs still waiting when a thread of the store took its work."
        );
        describe_histogram!(
            "grantry_store_busy_wait_seconds",
            "How long a write waited for other processes."
        );
        describe_gauge!("grantry_store_wal_pages", "Length of the write-ahead log after a commit.");
        Self {
            read_batch_size: histogram!("grantry_store_read_batch_size"),
            reads_waiting: gauge!("grantry_store_queue_depth", "queue" => "reads"),
            writes_waiting: gauge!("grantry_store_queue_depth", "queue" => "writes"),
            busy_wait_seconds: histogram!("grantry_store_busy_wait_seconds"),
            wal_pages: gauge!("grantry_store_wal_pages"),
        }
    }
}
