use std::io;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use grantry_protocol::{Clock, Timestamp};
use grantry_store::{Bell, Result, StoreError};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::errors::{classify, closed, is_busy};
use crate::metrics::Metrics;
use crate::options::SqliteOptions;
use crate::patience::Patience;
use crate::queue::Queue;
use crate::revocations::LogEnd;
use crate::turnstile::Turnstile;
use crate::wal::WalBound;

type Job = Box<dyn FnOnce(&WriteConnection) + Send>;

/// The thread that writes, and the queue to it.
pub struct Writer {
    queue: Option<Queue<Job>>,
    thread: Option<JoinHandle<()>>,
    busy_timeout: Duration,
}

/// What the thread owns.
pub struct WriteConnection {
    pub connection: Connection,
    pub turnstile: Turnstile,
    pub clock: Arc<dyn Clock>,
    pub bell: Bell,
    pub wal: WalBound,
    pub metrics: Metrics,
}

/// A transaction that holds the write lock.
pub struct WriteTx<'c> {
    transaction: Transaction<'c>,
    /// On the store's clock, read once the lock was held.
    pub now: Timestamp,
    pub log_end: LogEnd,
}

impl Writer {
    pub fn start(connection: WriteConnection, options: &SqliteOptions) -> io::Result<Self> {
        let (queue, jobs) = Queue::new(options.write_queue, options.queue_timeout);
        let thread =
            thread::Builder::new().name("store-write".into()).spawn(move || serve(connection, jobs))?;
        Ok(Self { queue: Some(queue), thread: Some(thread), busy_timeout: options.busy_timeout })
    }

    /// Runs `work` in one transaction and commits it if it succeeds. It is done even if the caller stops waiting.
    pub async fn run<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut WriteTx<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let deadline = Instant::now() + self.busy_timeout;
        let job: Job = Box::new(move |connection| {
            let _ = reply.send(connection.transaction(deadline, work));
        });
        self.queue.as_ref().ok_or_else(closed)?.submit(job).await?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }
}

impl Drop for Writer {
    /// Ends the queue and waits until the jobs in it are done and the connection is closed.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(mut connection: WriteConnection, mut jobs: Receiver<Job>) {
    while let Some(job) = jobs.blocking_recv() {
        connection.metrics.writes_waiting.set(jobs.len() as f64);
        job(&connection);
        // The caller has its answer by now.
        connection.wal.keep(&connection.connection);
    }
}

impl WriteConnection {
    fn transaction<T>(
        &self,
        deadline: Instant,
        work: impl FnOnce(&mut WriteTx<'_>) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let transaction = self.begin(deadline)?;
        let mut tx = WriteTx { transaction, now: self.clock.now(), log_end: LogEnd::default() };
        // A panic is a defect in the handling of this one job, so it is refused like a write that can never succeed;
        // the transaction rolls back, and the thread and its connection stay good for the next.
        let outcome = catch_unwind(AssertUnwindSafe(|| work(&mut tx)))
            .map_err(|_| StoreError::Rejected("the store panicked over this write".into()))?;
        let value = outcome.map_err(classify)?;
        if tx.commit().map_err(classify)? {
            self.bell.ring();
        }
        Ok(value)
    }

    fn begin(&self, deadline: Instant) -> Result<Transaction<'_>> {
        let mut patience = Patience::until(deadline);
        let begun = self.begin_in_turn(&mut patience);
        if let Some(waited) = patience.waited() {
            self.metrics.busy_wait_seconds.record(waited);
        }
        begun
    }

    /// Stays in the turnstile until it has SQLite's write lock.
    fn begin_in_turn(&self, patience: &mut Patience) -> Result<Transaction<'_>> {
        let _passage = self.turnstile.enter(patience)?;
        loop {
            match Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate) {
                Err(error) if is_busy(&error) && patience.wait() => {}
                begun => return begun.map_err(classify),
            }
        }
    }
}

impl WriteTx<'_> {
    /// Whether the log has moved on by it.
    fn commit(self) -> rusqlite::Result<bool> {
        let has_moved = self.log_end.write(&self.transaction)?;
        self.transaction.commit()?;
        Ok(has_moved)
    }
}

impl Deref for WriteTx<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.transaction
    }
}

#[cfg(test)]
mod tests;
