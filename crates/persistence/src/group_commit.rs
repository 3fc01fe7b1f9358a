//! Group commit without a timer: a batch is what arrived while the one before it was being committed, so nobody
//! waits for company and the busier it is, the cheaper each commit becomes.

use std::pin::Pin;
use std::sync::Arc;

use grantry_store::{Outage, Store, StoreError, TokenWrite, WriteOutcome};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

type Answer = Result<WriteOutcome, StoreError>;

struct Pending {
    write: TokenWrite,
    answer: oneshot::Sender<Answer>,
}

pub struct GroupCommit {
    queue: mpsc::Sender<Pending>,
    refused: Counter,
}

impl GroupCommit {
    pub fn start(store: Arc<dyn Store>, queue_capacity: usize, max_batch: usize) -> Self {
        let (queue, pending) = mpsc::channel(queue_capacity.max(1));
        tokio::spawn(Writer::new(store, max_batch.max(1)).run(pending));
        Self { queue, refused: counter!("grantry_commit_queue_refusals_total") }
    }

    /// The write's outcome, once it is committed.
    pub async fn submit(&self, write: TokenWrite) -> Answer {
        let (answer, outcome) = oneshot::channel();
        self.queue.try_send(Pending { write, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                self.refused.increment(1);
                StoreError::unavailable(
                    Outage::Overloaded,
                    "the queue of writes waiting for a commit is full",
                )
            }
            mpsc::error::TrySendError::Closed(_) => {
                StoreError::unavailable(Outage::Closed, "the writer has stopped")
            }
        })?;
        outcome
            .await
            .unwrap_or_else(|_| Err(StoreError::unavailable(Outage::Closed, "the writer has stopped")))
    }
}

struct Writer {
    store: Arc<dyn Store>,
    max_batch: usize,
    queue_depth: Gauge,
    batch_size: Histogram,
    seconds: Histogram,
    bisected: Counter,
}

impl Writer {
    fn new(store: Arc<dyn Store>, max_batch: usize) -> Self {
        Self {
            store,
            max_batch,
            queue_depth: gauge!("grantry_commit_queue_depth"),
            batch_size: histogram!("grantry_commit_batch_size"),
            seconds: histogram!("grantry_commit_seconds"),
            bisected: counter!("grantry_commit_bisections_total"),
        }
    }

    async fn run(self, mut pending: mpsc::Receiver<Pending>) {
        let mut arrived = Vec::with_capacity(self.max_batch);
        while pending.recv_many(&mut arrived, self.max_batch).await > 0 {
            self.queue_depth.set(pending.len() as f64);
            self.batch_size.record(arrived.len() as f64);
            let (writes, answers): (Vec<_>, Vec<_>) =
                arrived.drain(..).map(|pending| (pending.write, pending.answer)).unzip();
            let started = Instant::now();
            let outcomes = self.commit(writes).await;
            self.seconds.record(started.elapsed());
            for (answer, outcome) in answers.into_iter().zip(outcomes) {
                // A caller that has given up does not need the answer; its write is committed all the same.
                let _ = answer.send(outcome);
            }
        }
    }

    /// One outcome a write, in order. A batch that the store refuses is halved until what it refuses stands alone; an
    /// outage ends the whole batch at once, since halves would meet the same.
    fn commit(&self, writes: Vec<TokenWrite>) -> Pin<Box<dyn Future<Output = Vec<Answer>> + Send + '_>> {
        Box::pin(async move {
            let count = writes.len();
            let error = match self.store.token_write(writes.clone()).await {
                Ok(outcomes) => return outcomes.into_iter().map(Ok).collect(),
                Err(error) => error,
            };
            if error.is_outage() || count == 1 {
                tracing::warn!(%error, count, "a batch of token writes was not committed");
                return vec![Err(error); count];
            }
            self.bisected.increment(1);
            let mut first = writes;
            let second = first.split_off(count / 2);
            let mut answers = self.commit(first).await;
            answers.extend(self.commit(second).await);
            answers
        })
    }
}
