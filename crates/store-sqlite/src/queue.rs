use std::time::Duration;

use grantry_store::{Outage, Result, StoreError};
use tokio::sync::mpsc::{self, Receiver, Sender};

use crate::errors::closed;

/// The bounded way to a thread of the store.
pub struct Queue<J> {
    sender: Sender<J>,
    timeout: Duration,
}

impl<J> Queue<J> {
    pub fn new(capacity: usize, timeout: Duration) -> (Self, Receiver<J>) {
        let (sender, receiver) = mpsc::channel(capacity.max(1));
        (Self { sender, timeout }, receiver)
    }

    /// Waits for a place for a bounded time.
    pub async fn submit(&self, job: J) -> Result<()> {
        // Almost always there is a place, and then there is no need for a timer.
        let job = match self.sender.try_send(job) {
            Ok(()) => return Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(closed()),
            Err(mpsc::error::TrySendError::Full(job)) => job,
        };
        self.sender.send_timeout(job, self.timeout).await.map_err(|error| match error {
            mpsc::error::SendTimeoutError::Closed(_) => closed(),
            mpsc::error::SendTimeoutError::Timeout(_) => {
                StoreError::unavailable(Outage::Overloaded, "the queue in front of the database is full")
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_queue_is_waited_for_and_then_overloaded() {
        let (queue, mut receiver) = Queue::new(1, Duration::from_millis(5));
        queue.submit(1).await.unwrap();
        let refused = queue.submit(2).await;
        assert!(matches!(refused, Err(StoreError::Unavailable { outage: Outage::Overloaded, .. })));
        assert_eq!(receiver.recv().await, Some(1));
        queue.submit(3).await.unwrap();
        assert_eq!(receiver.recv().await, Some(3));
    }

    #[tokio::test]
    async fn a_queue_without_a_thread_is_closed() {
        let (queue, receiver) = Queue::new(1, Duration::from_secs(60));
        drop(receiver);
        assert_eq!(queue.submit(1).await, Err(closed()));
    }

    #[tokio::test]
    async fn a_queue_that_closes_while_a_caller_waits_is_closed() {
        let (queue, receiver) = Queue::new(1, Duration::from_secs(60));
        queue.submit(1).await.unwrap();
        let (outcome, ()) = tokio::join!(queue.submit(2), async { drop(receiver) });
        assert_eq!(outcome, Err(closed()));
    }
}
