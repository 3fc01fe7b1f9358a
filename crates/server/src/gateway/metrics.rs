use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge,
};

use super::answer::Outcome;

/// Handles are kept, since looking one up by its labels costs more than counting.
pub struct GatewayMetrics {
    /// Checks that run at this moment.
    pub running: Gauge,
    outcomes: [Counter; Outcome::ALL.len()],
    seconds: Histogram,
}

impl GatewayMetrics {
    pub fn new() -> Self {
        describe_gauge!(
            "grantry_gateway_running_checks",
            "Checks under way; gateway.limits.max_concurrent_requests is the bound."
        );
        describe_counter!("grantry_gateway_checks_total", "Checks, by what became of them.");
        describe_histogram!("grantry_gateway_check_seconds", "How long a check took.");
        Self {
            running: gauge!("grantry_gateway_running_checks"),
            outcomes: Outcome::ALL.map(|name| counter!("grantry_gateway_checks_total", "outcome" => name)),
            seconds: metrics::histogram!("grantry_gateway_check_seconds"),
        }
    }

    pub fn record(&self, outcome: &Outcome, took: Duration) {
        let name = outcome.name();
        if let Some(index) = Outcome::ALL.iter().position(|own| *own == name) {
            self.outcomes[index].increment(1);
        }
        self.seconds.record(took);
    }
}
