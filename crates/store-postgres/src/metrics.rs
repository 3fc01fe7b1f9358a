use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};

/// What the store tells about itself, besides its connections. The handles are made when it is opened, so the recorder
/// must be there before.
///
/// | metric | kind | means |
/// |---|---|---|
/// | `grantry_store_read_batch_size` | histogram | reads that were answered in one round trip |
/// | `grantry_store_queue_depth{queue="reads"}` | gauge | what was still waiting when a group was taken |
/// | `grantry_store_repeated_total` | counter | transactions and reads that met another and were tried again |
#[derive(Clone)]
pub struct Metrics {
    pub read_batch_size: Histogram,
    pub reads_waiting: Gauge,
    pub repeated: Counter,
}

impl Metrics {
    pub fn new() -> Self {
        describe_histogram!("grantry_store_read_batch_size", "Reads that were answered together.");
        describe_gauge!("grantry_store_queue_depth", "Reads still waiting when a group of them was taken.");
        describe_counter!(
            "grantry_store_repeated_total",
            "Transactions that met another and were tried again."
        );
        Self {
            read_batch_size: histogram!("grantry_store_read_batch_size"),
            reads_waiting: gauge!("grantry_store_queue_depth", "queue" => "reads"),
            repeated: counter!("grantry_store_repeated_total"),
        }
    }
}
