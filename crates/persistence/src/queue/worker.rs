//! One of the N writers that drain the queue: what has arrived while the last batch was written is the next batch.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use grantry_store::{Settlement, Store, StoreError, TokenWrite, WriteOutcome};
use metrics::counter;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use crate::journal::Journal;
use crate::queue::index::{Index, Job};
use crate::queue::meters::Meters;
use crate::unexpected;

/// Between two attempts at a store that is not available.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

pub struct Worker {
    pub store: Arc<dyn Store>,
    pub index: Arc<Index>,
    pub journal: Option<Arc<Journal>>,
    pub meters: Meters,
    pub max_batch: usize,
}

impl Worker {
    pub async fn run(self, mut jobs: mpsc::Receiver<Job>) {
        let mut arrived = Vec::with_capacity(self.max_batch);
        while jobs.recv_many(&mut arrived, self.max_batch).await > 0 {
            self.meters.batch_size.record(arrived.len() as f64);
            self.index.show(&self.meters);
            let started = Instant::now();
            self.settle(arrived.split_off(0)).await;
            self.meters.drain_seconds.record(started.elapsed());
            self.index.show(&self.meters);
        }
    }

    /// Does not come back before each of them is settled or parked. An outage is waited for, however long it lasts: the
    /// batch may have been committed, and is written again all the same, since a settlement is known by its token's id.
    /// A batch that the store refuses is halved, until what it refuses stands alone.
    fn settle(&self, batch: Vec<Job>) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let mut pause = FIRST_PAUSE;
            loop {
                let writes = batch.iter().map(|job| TokenWrite::Settle(Arc::clone(&job.entry.issue)));
                match self.store.token_write(writes.collect()).await {
                    Ok(outcomes) => {
                        for (job, outcome) in batch.into_iter().zip(outcomes) {
                            self.finish(job, &outcome);
                        }
                        return;
                    }
                    Err(error) if error.is_outage() => {
                        self.meters.retries.increment(1);
                        self.index.show(&self.meters);
                        tracing::warn!(%error, count = batch.len(), "queued tokens could not be written; trying again in {pause:?}");
                        sleep(pause).await;
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                    Err(error) => return self.halve_or_park(batch, &error).await,
                }
            }
        })
    }

    async fn halve_or_park(&self, mut batch: Vec<Job>, error: &StoreError) {
        if batch.len() > 1 {
            let second = batch.split_off(batch.len() / 2);
            self.settle(batch).await;
            self.settle(second).await;
            return;
        }
        for job in batch {
            tracing::error!(%error, token = %job.entry.id(), "a token that was answered cannot be written and is parked");
            counter!("grantry_tokens_parked_total").increment(1);
            self.index.park(job);
        }
    }

    fn finish(&self, job: Job, outcome: &WriteOutcome) {
        let Job { entry, receipt } = job;
        match outcome {
            WriteOutcome::Settled(settlement) => count(*settlement),
            other => {
                tracing::error!(error = %unexpected(other), "a settlement was answered with something else");
            }
        }
        if let (Some(journal), Some(receipt)) = (&self.journal, receipt) {
            journal.drained(receipt);
        }
        self.index.settled(&entry);
    }
}

fn count(settlement: Settlement) {
    let outcome = match settlement {
        Settlement::Active => "active",
        Settlement::ActiveAfter(_) => "active_after",
        Settlement::Retired => "retired",
        Settlement::Inactive => "inactive",
        Settlement::Revoked => "revoked",
        Settlement::AlreadyWritten => "already_written",
        Settlement::Expired => "expired",
    };
    counter!("grantry_settlements_total", "outcome" => outcome).increment(1);
    if matches!(settlement, Settlement::ActiveAfter(_) | Settlement::Inactive) {
        counter!("grantry_slot_conflicts_total", "mode" => "async").increment(1);
        counter!("grantry_recoveries_total", "mode" => "async").increment(1);
    }
}
