use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_postgres::Client;

use super::rows::{Inserts, Row};
use crate::{
    failure::Failure,
    postgres::{connect, failed},
};

/// Rows that wait for a writer; further requests wait for a place.
const WAITING: usize = 8192;

/// A row, and whom to tell that it is committed.
struct Job {
    row: Row,
    committed: oneshot::Sender<()>,
}

/// Connections that commit what has arrived while they committed the last; nobody waits for a timer.
#[derive(Clone)]
pub struct Writers {
    jobs: mpsc::Sender<Job>,
}

impl Writers {
    /// `max_batch` rows at most make one transaction.
    pub async fn start(url: &str, count: usize, max_batch: usize) -> Result<Self, Failure> {
        let (jobs, arrivals) = mpsc::channel(WAITING);
        let arrivals = Arc::new(Mutex::new(arrivals));
        for _ in 0..count {
            let client = connect(url).await?;
            let inserts = Inserts::prepare(&client).await.map_err(|error| failed(&error))?;
            tokio::spawn(write_all(client, inserts, arrivals.clone(), max_batch));
        }
        Ok(Self { jobs })
    }

    /// Whether the row is committed.
    pub async fn write(&self, row: Row) -> bool {
        let (committed, done) = oneshot::channel();
        self.jobs.send(Job { row, committed }).await.is_ok() && done.await.is_ok()
    }
}

async fn write_all(
    client: Client,
    inserts: Inserts,
    arrivals: Arc<Mutex<mpsc::Receiver<Job>>>,
    max_batch: usize,
) {
    let mut jobs = Vec::new();
    // Only one writer at a time waits for rows, so that they are not dealt out one by one.
    while arrivals.lock().await.recv_many(&mut jobs, max_batch).await > 0 {
        let (rows, committed): (Vec<_>, Vec<_>) = jobs.drain(..).map(|job| (job.row, job.committed)).unzip();
        if let Err(error) = inserts.write(&client, &rows).await {
            // The callers are dropped and answered with 503, which ends the measurement.
            eprintln!("{}", failed(&error));
            continue;
        }
        for caller in committed {
            // A caller that is gone needs no answer.
            let _ = caller.send(());
        }
    }
}
