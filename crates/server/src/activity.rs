//! What happens on a connection, so that one on which nothing does can be closed. hyper's own time-out for a request's head
//! makes a timer for each request; here one timer looks on, a few times in the life of a connection.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::sleep;

/// How often within the time that a connection may be silent it is looked at.
const LOOKS: u32 = 2;

#[derive(Default)]
pub struct Activity {
    /// Requests whose head has arrived, and writes that the peer has taken.
    events: AtomicU64,
    /// Requests that are being answered.
    running: AtomicU64,
    is_http2: AtomicBool,
}

/// One request that is being answered; until it is dropped.
pub struct Running<'a>(&'a Activity);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Activity {
    pub fn request(&self, is_http2: bool) -> Running<'_> {
        self.mark();
        self.running.fetch_add(1, Ordering::Relaxed);
        if is_http2 {
            self.is_http2.store(true, Ordering::Relaxed);
        }
        Running(self)
    }

    /// The peer has taken something.
    pub fn mark(&self) {
        self.events.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns when nothing has happened for `patience`, or up to half as much longer; never for HTTP/2, whose peers are
    /// asked whether they are there.
    pub async fn silence(&self, patience: Duration) {
        let (mut seen, mut quiet) = (0, 0);
        while quiet < LOOKS {
            sleep(patience / LOOKS).await;
            let events = self.events.load(Ordering::Relaxed);
            let is_busy = events != seen || self.running.load(Ordering::Relaxed) > 0;
            quiet = if is_busy { 0 } else { quiet + 1 };
            seen = events;
            if self.is_http2.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::{Instant, timeout};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_is_silent_after_the_time_itself() {
        let begun = Instant::now();
        Activity::default().silence(PATIENCE).await;
        assert!(begun.elapsed() >= PATIENCE && begun.elapsed() < PATIENCE * 11 / 10);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_counts_from_the_last_answer() {
        let activity = Arc::new(Activity::default());
        let silence = {
            let activity = Arc::clone(&activity);
            tokio::spawn(async move { activity.silence(PATIENCE).await })
        };
        let running = activity.request(false);
        // wait: on a clock that stands still until everybody waits.
        sleep(PATIENCE * 5).await;
        assert!(!silence.is_finished());
        drop(running);
        activity.mark();
        let answered = Instant::now();
        silence.await.unwrap();
        assert!(answered.elapsed() >= PATIENCE && answered.elapsed() <= PATIENCE * 16 / 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_over_http2_is_never_silent() {
        let activity = Activity::default();
        drop(activity.request(true));
        assert!(timeout(PATIENCE * 100, activity.silence(PATIENCE)).await.is_err());
    }
}
