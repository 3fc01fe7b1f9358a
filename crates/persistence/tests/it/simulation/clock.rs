use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use grantry_protocol::{Clock, Timestamp};
use tokio::time::{Instant, sleep};

const START: Timestamp = Timestamp::from_secs(1_800_000_000);

/// Runs with Tokio's time, beside the clocks of the other machines.
pub struct SkewedClock {
    since: Instant,
    /// Milliseconds.
    offset: AtomicI64,
}

impl SkewedClock {
    pub fn new(since: Instant, offset: i64) -> Self {
        Self { since, offset: AtomicI64::new(offset) }
    }

    pub fn step(&self, millis: i64) {
        self.offset.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Clock for SkewedClock {
    fn now(&self) -> Timestamp {
        let elapsed = self.since.elapsed().as_millis() as i64;
        Timestamp::from_millis(START.as_millis() + elapsed + self.offset.load(Ordering::Relaxed))
    }
}

/// Tokio's time runs on as soon as nobody has anything to do.
pub async fn pass(span: Duration) {
    // wait: for simulated time
    sleep(span).await;
}
