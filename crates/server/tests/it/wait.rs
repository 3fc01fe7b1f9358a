//! Waiting for what another process does, which has no event here, within a bound.

use std::fmt::Display;
use std::time::Duration;

const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Generous: a machine that is busy with other tests is not a failure.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// For a promise about time itself.
pub async fn seconds(seconds: u64) {
    // wait: for the time that is promised to pass.
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// Asks until there is an answer.
///
/// # Panics
/// After [`PATIENCE`], naming what never came.
pub async fn until<T>(what: impl Display, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited {PATIENCE:?} in vain: {what}");
        // wait: for another process, which is asked again and again within the bound.
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
