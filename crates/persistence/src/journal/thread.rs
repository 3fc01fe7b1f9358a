//! The thread that owns the log, and the bounded queue to it. A group is what arrived while the one before it was being
//! written, so nobody waits for company.

use std::io;
use std::thread::{self, JoinHandle};

use metrics::{Counter, Gauge, counter, gauge};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::Receipt;
use super::errors::JournalError;
use super::log::Log;
use super::record::RECORD_HEADER;

/// The most records in a group.
const MAX_GROUP: usize = 4096;
/// A group is closed with the record that makes it this large.
const MAX_GROUP_BYTES: usize = 1024 * 1024;

enum Job {
    Append { payload: Vec<u8>, answer: oneshot::Sender<Result<Receipt, JournalError>> },
    Seal { done: oneshot::Sender<()> },
    Sweep,
    Close { left: oneshot::Sender<u64> },
}

pub struct Writer {
    queue: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    refusals: Counter,
}

impl Writer {
    pub fn start(log: Log, queue_capacity: usize) -> io::Result<Self> {
        let (queue, jobs) = mpsc::channel(queue_capacity.max(1));
        let thread = thread::Builder::new().name("journal".into()).spawn(move || serve(log, jobs))?;
        let refusals = counter!("grantry_journal_refusals_total");
        Ok(Self { queue: Some(queue), thread: Some(thread), refusals })
    }

    pub async fn append(&self, payload: Vec<u8>) -> Result<Receipt, JournalError> {
        let (answer, written) = oneshot::channel();
        self.queue()?.try_send(Job::Append { payload, answer }).map_err(|error| match error {
            TrySendError::Full(_) => {
                self.refusals.increment(1);
                JournalError::Overloaded
            }
            TrySendError::Closed(_) => JournalError::Closed,
        })?;
        written.await.unwrap_or(Err(JournalError::Closed))
    }

    pub async fn seal(&self) -> Result<(), JournalError> {
        let (done, sealed) = oneshot::channel();
        self.queue()?.send(Job::Seal { done }).await.map_err(|_| JournalError::Closed)?;
        sealed.await.map_err(|_| JournalError::Closed)
    }

    /// Has drained segments removed. When the queue is full nothing is lost by not asking: they are removed when the next
    /// segment begins, too.
    pub fn sweep(&self) {
        if let Ok(queue) = self.queue() {
            let _ = queue.try_send(Job::Sweep);
        }
    }

    pub async fn close(&self) -> Result<u64, JournalError> {
        let (left, closed) = oneshot::channel();
        self.queue()?.send(Job::Close { left }).await.map_err(|_| JournalError::Closed)?;
        closed.await.map_err(|_| JournalError::Closed)
    }

    fn queue(&self) -> Result<&mpsc::Sender<Job>, JournalError> {
        self.queue.as_ref().ok_or(JournalError::Closed)
    }
}

impl Drop for Writer {
    /// Ends the queue and waits until what is in it is written and the directory is free again.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(mut log: Log, mut jobs: mpsc::Receiver<Job>) {
    let depth: Gauge = gauge!("grantry_journal_queue_depth");
    let mut arrived = Vec::with_capacity(MAX_GROUP);
    let mut group = Group::default();
    while jobs.blocking_recv_many(&mut arrived, MAX_GROUP) > 0 {
        depth.set(jobs.len() as f64);
        for job in arrived.drain(..) {
            match job {
                Job::Append { payload, answer } => group.push(payload, answer),
                Job::Sweep => log.sweep(),
                Job::Seal { done } => {
                    group.append(&mut log);
                    log.seal();
                    let _ = done.send(());
                }
                Job::Close { left } => {
                    group.append(&mut log);
                    let _ = left.send(log.close());
                    return;
                }
            }
            if group.bytes >= MAX_GROUP_BYTES {
                group.append(&mut log);
            }
        }
        group.append(&mut log);
    }
}

#[derive(Default)]
struct Group {
    payloads: Vec<Vec<u8>>,
    answers: Vec<oneshot::Sender<Result<Receipt, JournalError>>>,
    bytes: usize,
}

impl Group {
    fn push(&mut self, payload: Vec<u8>, answer: oneshot::Sender<Result<Receipt, JournalError>>) {
        self.bytes += RECORD_HEADER + payload.len();
        self.payloads.push(payload);
        self.answers.push(answer);
    }

    fn append(&mut self, log: &mut Log) {
        if self.payloads.is_empty() {
            return;
        }
        let first = log.append(&self.payloads);
        for (index, answer) in (0..).zip(self.answers.drain(..)) {
            // A caller that has given up leaves its record in the journal: nobody drains it, so it comes back.
            let _ = answer.send(first.clone().map(|first| Receipt(first + index)));
        }
        self.payloads.clear();
        self.bytes = 0;
    }
}
