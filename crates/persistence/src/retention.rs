//! Rows leave in bounded steps with a pause after each, so that clean-up never holds up issuing, however much there
//! is to remove.

use std::time::Duration;

use grantry_store::{GrantsSwept, Store, Swept};
use metrics::counter;

/// Rows of each noun that one step may remove.
const STEP: usize = 500;
/// Between steps while there is more to remove.
const PAUSE: Duration = Duration::from_millis(20);
/// Between rounds, once nothing was left.
const INTERVAL: Duration = Duration::from_secs(30);

/// Grants that one step of their walk looks at, and how long it rests after each: a million are walked in 3 minutes.
const GRANTS_STEP: usize = 500;
const GRANTS_PAUSE: Duration = Duration::from_millis(100);
/// Between walks. A grant that is over may stay a while; it is refused all the same.
const GRANTS_INTERVAL: Duration = Duration::from_secs(600);

pub async fn run(store: &dyn Store, retention: Duration) {
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

/// Grants live for weeks and change in place, so they are walked over, slowly, rather than found by an index.
pub async fn walk_grants(store: &dyn Store, retention: Duration) {
    let mut after = None;
    loop {
        match store.retention_sweep_grants(after, retention, GRANTS_STEP).await {
            Ok(GrantsSwept { removed, last }) => {
                counter!("grantry_retention_removed_total", "noun" => "grants").increment(removed);
                after = last;
                let rest = if last.is_some() { GRANTS_PAUSE } else { GRANTS_INTERVAL };
                tokio::time::sleep(rest).await;
            }
            Err(error) => {
                tracing::warn!(%error, "a step of the clean-up of grants failed; it is tried again later");
                tokio::time::sleep(INTERVAL).await;
            }
        }
    }
}

fn count(swept: Swept) {
    for (noun, rows) in [
        ("assertions", swept.assertions),
        ("tokens", swept.tokens),
        ("slots", swept.slots),
        ("log_entries", swept.log_entries),
        ("nodes", swept.nodes),
        ("early_ends", swept.early_ends),
        ("partitions", swept.partitions),
    ] {
        counter!("grantry_retention_removed_total", "noun" => noun).increment(rows);
    }
}
