//! Rows leave in bounded steps with a pause after each, so that clean-up never holds up issuing, however much there
//! is to remove.

use std::sync::Arc;
use std::time::Duration;

use grantry_store::{Store, Swept};
use metrics::counter;

/// Rows of each noun that one step may remove.
const STEP: usize = 500;
/// Between steps while there is more to remove.
const PAUSE: Duration = Duration::from_millis(20);
/// Between rounds, once nothing was left.
const INTERVAL: Duration = Duration::from_secs(30);

pub async fn run(store: Arc<dyn Store>, retention: Duration) {
    loop {
        match store.retention_sweep(retention, STEP).await {
            Ok(swept) if swept.is_empty() => tokio::time::sleep(INTERVAL).await,
            Ok(swept) => {
                count(swept);
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => {
                tracing::warn!(%error, "a step of the clean-up failed; it is tried again later");
                tokio::time::sleep(INTERVAL).await;
            }
        }
    }
}

fn count(swept: Swept) {
    for (noun, rows) in [
        ("tokens", swept.tokens),
        ("slots", swept.slots),
        ("log_entries", swept.log_entries),
        ("nodes", swept.nodes),
    ] {
        counter!("grantry_retention_removed_total", "noun" => noun).increment(rows);
    }
}
