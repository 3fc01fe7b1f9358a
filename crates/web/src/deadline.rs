//! Bounds in time that cost nothing where there is nothing to wait for.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::timeout;

/// What `run` gives within `limit`. Unlike that of [`timeout`], the timer is made when there is something to wait for, and
/// apart: it is large, and aligned for the wheel that it hangs in, which every future around it would have to be.
pub async fn within<T>(limit: Duration, run: impl Future<Output = T>) -> Option<T> {
    let mut run = pin!(run);
    match poll_fn(|context| Poll::Ready(run.as_mut().poll(context))).await {
        Poll::Ready(output) => Some(output),
        Poll::Pending => Box::pin(timeout(limit, run)).await.ok(),
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_ready_or_comes_in_time_is_given_and_nothing_after_it() {
        let limit = Duration::from_secs(1);
        assert_eq!(within(limit, ready(1)).await, Some(1));
        // wait: on a clock that stands still until everybody waits.
        assert_eq!(within(limit, async { sleep(limit / 2).await }).await, Some(()));
        assert_eq!(within(limit, pending::<()>()).await, None);
    }
}
