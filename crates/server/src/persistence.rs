//! Starts persistence as `[token_persistence]` says, and ends it so that nothing that was answered is left behind.

use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use grantry_persistence::journal::{
    Disk, Journal, JournalOpenError, JournalOptions, NodeName, RealDisk, Recovery, inspect,
};
use grantry_persistence::{Persistence, QueueJournal};
use grantry_store::{NodeId, Store};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::ambient::{clock, rng};
use crate::config::{Config, Journal as JournalSetting, TokenPersistence};
use crate::failure::Failure;

/// The file of the journal's directory that its server holds locked.
const LOCK: &str = "lock";

/// Opens the journal, or finds out what this node is called without one.
pub async fn open(config: &Config) -> Result<QueueJournal, Failure> {
    let setting = &config.token_persistence;
    let fresh_node = NodeId::random(rng().as_ref());
    Ok(match setting.journal_options() {
        Some(options) => {
            let (journal, recovery) = open_journal(&setting.journal_dir, fresh_node, options).await?;
            QueueJournal::On(journal, recovery)
        }
        None => {
            refuse_to_forget(setting).await?;
            QueueJournal::Off(name(setting, fresh_node).await?)
        }
    })
}

pub async fn start(
    config: &Config,
    store: Arc<dyn Store>,
    journal: QueueJournal,
) -> Result<Arc<Persistence>, Failure> {
    let settings = config.persistence_settings();
    match config.token_persistence.has_queue() {
        true => Persistence::start_with_queue(store, clock(), settings, journal).await.map_err(Failure::from),
        false => Ok(Persistence::start(store, clock(), settings, journal.node())),
    }
}

/// Without a journal a queue keeps its name in the directory all the same, so that a restart does not cost one more of the
/// numbers that nodes have.
async fn name(setting: &TokenPersistence, fresh_node: NodeId) -> Result<NodeName, JournalOpenError> {
    if !setting.has_queue() {
        return Ok(fresh_node.into());
    }
    let disk = RealDisk::new(&setting.journal_dir);
    blocking(move || NodeName::claim(&disk, fresh_node)).await
}

/// Reads the whole journal, and says what it cut off.
pub async fn open_journal(
    directory: &Path,
    fresh_node: NodeId,
    options: JournalOptions,
) -> Result<(Journal, Recovery), JournalOpenError> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(directory));
    let (journal, recovery) = blocking(move || Journal::open(disk, fresh_node, options)).await?;
    for finding in recovery.findings() {
        tracing::warn!(
            segment = finding.segment, bytes = finding.bytes, kept_as = finding.kept_as, kind = ?finding.kind,
            "the end of a segment of the journal cannot be read; it was set aside"
        );
    }
    Ok((journal, recovery))
}

/// A journal that nobody opens any more would keep its tokens from the store for good.
async fn refuse_to_forget(setting: &TokenPersistence) -> Result<(), Failure> {
    let directory = setting.journal_dir.clone();
    let left = blocking(move || left_behind(&directory)).await?;
    if left == 0 {
        return Ok(());
    }
    let (directory, key) = (
        setting.journal_dir.display(),
        match setting.has_queue() {
            true => "token_persistence.journal = \"off\"",
            false => "token_persistence.pool_size = 0",
        },
    );
    Err(Failure::new(format!(
        "the journal {directory} holds {left} tokens that were answered and may not be in the store yet, and with {key} \
         nobody would write them. Write them now: grantry journal drain {directory}"
    )))
}

/// Records in a journal that no server has open.
fn left_behind(directory: &Path) -> Result<u64, JournalOpenError> {
    let disk = RealDisk::new(directory);
    if !directory.join(LOCK).exists() || matches!(disk.lock(LOCK), Ok(None)) {
        return Ok(0);
    }
    Ok(inspect(&disk)?.segments.iter().map(|segment| segment.records).sum())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| resume_unwind(error.into_panic()))
}

/// Lets what is under way finish, then writes what waits for its row, both within `grace`.
pub async fn finish(listeners: JoinSet<()>, persistence: &Persistence, grace: Duration) {
    let deadline = Instant::now() + grace;
    if timeout_at(deadline, listeners.join_all()).await.is_err() {
        tracing::warn!("stopping, though some connections are still open (limits.shutdown_grace)");
    }
    let waiting = persistence.queue_state().depth;
    if waiting > 0 {
        tracing::info!(waiting, "stopping: writing the tokens that wait for their row");
    }
    match timeout_at(deadline, persistence.drain()).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => {
            tracing::warn!(%error, "other servers could not be told that this one has written everything");
        }
        Err(_) => tracing::warn!("the time to stop is over (limits.shutdown_grace)"),
    }
}

/// The last word of a server about the tokens that it answered and did not write.
pub fn say_what_is_left(persistence: &Persistence, setting: &TokenPersistence) {
    let state = persistence.queue_state();
    let left = state.depth + state.parked;
    let directory = setting.journal_dir.display();
    match setting.journal {
        _ if left == 0 => {}
        JournalSetting::Off => tracing::error!(
            left,
            parked = state.parked,
            "tokens that were answered are lost: they were not written, and token_persistence.journal is off"
        ),
        JournalSetting::Fsync | JournalSetting::Os => tracing::warn!(
            left,
            parked = state.parked,
            %directory,
            "tokens that were answered are in the journal and not in the store; the next start writes them, and \
             grantry journal drain does so without a server"
        ),
    }
}
