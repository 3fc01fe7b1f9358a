//! Writes the file: whole, beside the old one, and then in its place. What comes while it is written is in the next one,
//! so callers who come at the same time share one.

use std::fs::File;
use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use grantry_grants::{ClientKeeper, NotKept};
use grantry_protocol::{Client, ClientId, Seen};
use grantry_store::Store;
use metrics::{Counter, Gauge, counter, gauge};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::format::render;
use crate::failure::Failure;
use crate::private_file;

/// Clients that are read at a time.
const PAGE: usize = 1000;
/// What other nodes change comes in bursts.
const BURST: Duration = Duration::from_millis(100);
/// A client that another node has made is in no log, and neither is a key.
const LOOK: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_secs(1);

/// How many times the file was to be written. They are numbered from 1.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    begun: u64,
    completed: u64,
    has_failed: bool,
}

pub struct Writer {
    path: PathBuf,
    store: Arc<dyn Store>,
    cluster: String,
    progress: watch::Sender<Progress>,
    wanted: Notify,
    writes: Counter,
    failed: Gauge,
    _lock: File,
}

#[async_trait]
impl ClientKeeper for Writer {
    async fn keep(&self) -> Result<(), NotKept> {
        let mut progress = self.progress.subscribe();
        let begun = progress.borrow().begun;
        self.wanted.notify_one();
        match progress.wait_for(|progress| progress.completed > begun).await {
            Ok(progress) if !progress.has_failed => Ok(()),
            _ => Err(NotKept),
        }
    }
}

impl Writer {
    pub fn new(path: PathBuf, store: Arc<dyn Store>, cluster: String, lock: File) -> Self {
        Self {
            path,
            store,
            cluster,
            progress: watch::Sender::default(),
            wanted: Notify::new(),
            writes: counter!("grantry_clients_file_writes_total"),
            failed: gauge!("grantry_clients_file_failed"),
            _lock: lock,
        }
    }

    pub async fn run(self: Arc<Self>, mut changed: watch::Receiver<Seen>) {
        let mut written = String::new();
        let mut was_failing = false;
        loop {
            was_failing = self.write_and_report(&mut written, was_failing).await;
            let burst = async {
                if changed.changed().await.is_err() {
                    pending::<()>().await;
                }
                sleep(BURST).await;
            };
            tokio::select! {
                () = self.wanted.notified() => {}
                () = burst => {}
                () = sleep(if was_failing { AGAIN } else { LOOK }) => {}
            }
        }
    }

    async fn write_and_report(&self, written: &mut String, was_failing: bool) -> bool {
        self.progress.send_modify(|progress| progress.begun += 1);
        let outcome = self.write(written).await;
        let has_failed = outcome.is_err();
        match outcome {
            Err(error) if !was_failing => {
                tracing::error!(%error, "the clients cannot be written to store.clients_file; this is tried again and again");
            }
            Ok(()) if was_failing => tracing::info!("store.clients_file is written again"),
            _ => {}
        }
        self.failed.set(f64::from(u8::from(has_failed)));
        self.progress.send_modify(|progress| {
            progress.completed = progress.begun;
            progress.has_failed = has_failed;
        });
        has_failed
    }

    /// Nothing where nothing has changed.
    async fn write(&self, written: &mut String) -> Result<(), Failure> {
        let keys = self.store.key_list().await?;
        let mut clients: Vec<Client> = Vec::new();
        loop {
            let after: Option<ClientId> = clients.last().map(|client| client.id.clone());
            let page = self.store.client_list(after.as_ref(), PAGE).await?;
            let is_last = page.len() < PAGE;
            clients.extend(page);
            if is_last {
                break;
            }
        }
        let text = render(&self.cluster, &keys, &clients);
        if text == *written {
            return Ok(());
        }
        let path = self.path.clone();
        let writing = tokio::task::spawn_blocking(move || private_file::write(&path, &text).map(|()| text));
        *written = writing.await.map_err(|error| Failure::new(error.to_string()))??;
        self.writes.increment(1);
        Ok(())
    }
}
