//! Group commit without a timer: a batch is what arrived while the one before it was being committed, so nobody
//! waits for company and the busier it is, the cheaper each commit becomes.

use std::pin::Pin;
use std::sync::Arc;

use grantry_store::{Outage, Store, StoreError, TokenWrite, TokenWriters, WriteOutcome};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, timeout};

/// While one batch is flushed, the next is worked on.
const USUALLY_AT_ONCE: usize = 2;

/// A flush that takes longer is a slow one.
const QUICK_FLUSH: Duration = Duration::from_millis(1);

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
        tokio::spawn(Dispatcher::new(store, max_batch.max(1)).run(pending));
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

/// Takes batches from the queue, one after the other or, where the store wants it, several at a time.
struct Dispatcher {
    committer: Arc<Committer>,
    /// How many batches may be under way.
    most_at_once: usize,
    max_batch: usize,
    queue_depth: Gauge,
    batch_size: Histogram,
}

impl Dispatcher {
    fn new(store: Arc<dyn Store>, max_batch: usize) -> Self {
        let most_at_once = match store.token_writers() {
            TokenWriters::One => 1,
            TokenWriters::UpTo(most) => most.max(1),
        };
        Self {
            committer: Arc::new(Committer::new(store)),
            most_at_once,
            max_batch,
            queue_depth: gauge!("grantry_commit_queue_depth"),
            batch_size: histogram!("grantry_commit_batch_size"),
        }
    }

    async fn run(self, mut pending: mpsc::Receiver<Pending>) {
        let mut under_way = JoinSet::new();
        loop {
            let mut batch = Vec::with_capacity(self.max_batch.min(pending.len().max(1)));
            if pending.recv_many(&mut batch, self.max_batch).await == 0 {
                break;
            }
            self.queue_depth.set(pending.len() as f64);
            self.batch_size.record(batch.len() as f64);
            if self.most_at_once == 1 {
                self.committer.serve(batch).await;
                continue;
            }
            let committer = Arc::clone(&self.committer);
            under_way.spawn(async move { committer.serve(batch).await });
            self.make_room(&mut under_way).await;
        }
        // What was taken from the queue is committed, though nobody may wait for it any more.
        while under_way.join_next().await.is_some() {}
    }

    /// Waits until another batch may start: at once below [`USUALLY_AT_ONCE`]. Beyond that only once the batches under
    /// way have had time for a quick flush and are still not done: with a slow one, what has arrived meanwhile need not
    /// wait for it, since the database flushes what came together in one go. Too many at once would only make the batches
    /// smaller.
    async fn make_room(&self, under_way: &mut JoinSet<()>) {
        while under_way.try_join_next().is_some() {}
        if under_way.len() >= USUALLY_AT_ONCE.min(self.most_at_once) {
            // Either one is done, or the time is over.
            let _ = timeout(QUICK_FLUSH, under_way.join_next()).await;
        }
        while under_way.len() >= self.most_at_once {
            under_way.join_next().await;
        }
    }
}

struct Committer {
    store: Arc<dyn Store>,
    seconds: Histogram,
    bisected: Counter,
}

impl Committer {
    fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            seconds: histogram!("grantry_commit_seconds"),
            bisected: counter!("grantry_commit_bisections_total"),
        }
    }

    async fn serve(&self, batch: Vec<Pending>) {
        let (writes, answers): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|pending| (pending.write, pending.answer)).unzip();
        let started = Instant::now();
        let outcomes = self.commit(writes).await;
        self.seconds.record(started.elapsed());
        for (answer, outcome) in answers.into_iter().zip(outcomes) {
            // A caller that has given up does not need the answer; its write is committed all the same.
            let _ = answer.send(outcome);
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
