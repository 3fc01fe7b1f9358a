//! Waiting for what the verifier does by itself, within a bound.

use std::time::Duration;

const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// Generous: a machine that is busy with other tests is not a failure.
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(tokio::time::Instant::now() < deadline, "waited {PATIENCE:?} in vain: {what}");
        // wait: for a task of the verifier, which is looked at again and again within the bound.
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
