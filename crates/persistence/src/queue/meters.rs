use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::queue::QueueState;

/// What operators see of the queue.
#[derive(Clone)]
pub struct Meters {
    pub batch_size: Histogram,
    pub drain_seconds: Histogram,
    pub retries: Counter,
    depth: Gauge,
    lag: Gauge,
    at_risk: Gauge,
    parked: Gauge,
}

impl Meters {
    pub fn new() -> Self {
        Self {
            batch_size: histogram!("grantry_drain_batch_size"),
            drain_seconds: histogram!("grantry_drain_seconds"),
            retries: counter!("grantry_drain_retries_total"),
            depth: gauge!("grantry_persistence_queue_depth"),
            lag: gauge!("grantry_persistence_lag_seconds"),
            at_risk: gauge!("grantry_persistence_tokens_at_risk"),
            parked: gauge!("grantry_persistence_parked"),
        }
    }

    /// The tokens at risk are those that would be gone with the machine.
    pub fn show(&self, state: QueueState) {
        self.depth.set(state.depth as f64);
        self.lag.set(state.lag.as_secs_f64());
        self.at_risk.set((state.depth + state.parked) as f64);
        self.parked.set(state.parked as f64);
    }
}
