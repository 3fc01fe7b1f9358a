use std::cell::OnceCell;
use std::io;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use grantry_protocol::{LogHead, Seen};
use grantry_store::{Outage, Result, StoreError};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;

use crate::errors::{classify, closed};
use crate::metrics::Metrics;
use crate::options::SqliteOptions;
use crate::queue::Queue;
use crate::revocations::log_head_select;
use crate::rules::last_rule_select;

/// The most reads that share a snapshot, so that none keeps the write-ahead log from being folded in for long.
const GROUP: usize = 256;

type Job = Box<dyn FnOnce(Result<&Snapshot<'_>>) + Send>;

/// The threads that read, and the queue to them.
pub struct Readers {
    queue: Option<Queue<Job>>,
    threads: Vec<JoinHandle<()>>,
}

/// A transaction that sees the store as it was at one moment.
pub struct Snapshot<'c> {
    transaction: Transaction<'c>,
    log_head: OnceCell<LogHead>,
    last_rule: OnceCell<Option<Seen>>,
}

impl Readers {
    /// One thread for each connection.
    pub fn start(
        connections: Vec<Connection>,
        options: &SqliteOptions,
        metrics: &Metrics,
    ) -> io::Result<Self> {
        let (queue, jobs) = Queue::new(options.read_queue, options.queue_timeout);
        let jobs = Arc::new(Mutex::new(jobs));
        let threads = connections.into_iter().map(|connection| {
            let (jobs, metrics) = (Arc::clone(&jobs), metrics.clone());
            thread::Builder::new()
                .name("store-read".into())
                .spawn(move || serve(&connection, &jobs, &metrics))
        });
        Ok(Self { queue: Some(queue), threads: threads.collect::<io::Result<_>>()? })
    }

    /// Runs `read` on a snapshot that was taken after this call.
    pub async fn run<T, F>(&self, read: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Snapshot<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |snapshot| {
            // Nobody waits for the answer any more.
            if !reply.is_closed() {
                let _ = reply.send(snapshot.and_then(|snapshot| answered(snapshot, read)));
            }
        });
        self.queue.as_ref().ok_or_else(closed)?.submit(job).await?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }
}

impl Drop for Readers {
    /// Ends the queue and waits until the jobs in it are answered and the connections are closed.
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn serve(connection: &Connection, jobs: &Mutex<Receiver<Job>>, metrics: &Metrics) {
    let mut group = Vec::with_capacity(GROUP);
    loop {
        {
            // One thread listens; once it has work it lets the next one listen.
            let mut jobs = jobs.lock().unwrap_or_else(PoisonError::into_inner);
            if jobs.is_empty() {
                // Going to sleep and being woken costs more than most reads, so those who are about to ask may do so
                // first: 4 % less CPU time a request under load, nothing when idle.
                thread::yield_now();
            }
            if jobs.blocking_recv_many(&mut group, GROUP) == 0 {
                return;
            }
            metrics.reads_waiting.set(jobs.len() as f64);
        }
        metrics.read_batch_size.record(group.len() as f64);
        run_group(connection, &mut group);
    }
}

fn run_group(connection: &Connection, group: &mut Vec<Job>) {
    match Snapshot::begin(connection).map_err(classify) {
        Ok(snapshot) => group.drain(..).for_each(|job| job(snapshot.intact())),
        Err(error) => group.drain(..).for_each(|job| job(Err(error.clone()))),
    }
}

/// A panic over one read must not take the others of its group or the thread with it.
fn answered<T>(
    snapshot: &Snapshot<'_>,
    read: impl FnOnce(&Snapshot<'_>) -> rusqlite::Result<T>,
) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(|| read(snapshot))) {
        Ok(outcome) => outcome.map_err(classify),
        Err(_) => Err(StoreError::Corrupt("the store panicked over what it read".into())),
    }
}

impl<'c> Snapshot<'c> {
    fn begin(connection: &'c Connection) -> rusqlite::Result<Self> {
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Deferred)?;
        Ok(Self { transaction, log_head: OnceCell::new(), last_rule: OnceCell::new() })
    }

    /// After some errors SQLite ends the transaction by itself; what follows would see several moments.
    fn intact(&self) -> Result<&Self> {
        if self.transaction.is_autocommit() {
            return Err(StoreError::unavailable(
                Outage::Io,
                "an error before this read ended its transaction",
            ));
        }
        Ok(self)
    }

    /// Where the revocation log ended at the moment of the snapshot.
    pub fn log_head(&self) -> rusqlite::Result<LogHead> {
        once(&self.log_head, || log_head_select(self))
    }

    /// The last rule in the log at that moment.
    pub fn last_rule(&self) -> rusqlite::Result<Option<Seen>> {
        once(&self.last_rule, || last_rule_select(self))
    }
}

/// What the reads of a group need alike is read for the first of them.
fn once<T: Copy>(cell: &OnceCell<T>, read: impl FnOnce() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    if let Some(value) = cell.get() {
        return Ok(*value);
    }
    let value = read()?;
    Ok(*cell.get_or_init(|| value))
}

impl Deref for Snapshot<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.transaction
    }
}

#[cfg(test)]
mod tests;
