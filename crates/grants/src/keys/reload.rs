//! How a process hears of keys that another one has changed: it looks.
//!
//! 1. Read the list. The same as before: nothing to do.
//! 2. Open it with the present master key; if that does not fit, with those that the host offers now.
//! 3. Keep it. Whatever went wrong, the keys from before stay, and a gauge and the log say so.

use std::sync::Arc;
use std::time::Duration;

use grantry_store::KeyRecord;
use metrics::gauge;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::snapshot::Snapshot;
use super::{KeyRing, KeyRingError, MasterKey};

/// Half of the second within which a revoked key has to be refused everywhere.
const EVERY: Duration = Duration::from_millis(500);

/// The master keys that the host has now: its key may have been replaced. May read files.
pub type Masters = Arc<dyn Fn() -> Vec<MasterKey> + Send + Sync>;

impl KeyRing {
    /// Follows the store's keys until it is aborted; `masters` are tried when the present master key does not fit.
    pub fn start_reload(self: &Arc<Self>, masters: Masters) -> JoinHandle<()> {
        // The first ones stay: there is one host.
        let _ = self.masters.set(masters);
        let ring = Arc::clone(self);
        tokio::spawn(async move {
            let mut ticks = interval(EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut failing = false;
            loop {
                ticks.tick().await;
                failing = ring.reload_and_report(failing).await;
            }
        })
    }

    /// Answers whether it failed; says so once, not twice a second.
    async fn reload_and_report(&self, was_failing: bool) -> bool {
        let outcome = self.reload().await;
        gauge!("grantry_keys_reload_failed").set(f64::from(u8::from(outcome.is_err())));
        match (&outcome, was_failing) {
            (Err(error), false) => {
                tracing::warn!(%error, "the store's keys cannot be read; those from before stay in use");
            }
            (Ok(()), true) => tracing::info!("the store's keys can be read again"),
            _ => {}
        }
        outcome.is_err()
    }

    /// Brings the ring up to the store.
    pub async fn reload(&self) -> Result<(), KeyRingError> {
        let _reading = self.reading.lock().await;
        self.read().await.map(drop)
    }

    /// The keys as they are in the store now. `reading` must be held.
    pub(super) async fn read(&self) -> Result<Arc<Snapshot>, KeyRingError> {
        // 1.
        let records = self.store.key_list().await?;
        let present = self.snapshot.load_full();
        if present.is_of(&records) {
            return Ok(present);
        }
        // 2.
        let algorithm = self.options.signing_algorithm;
        let opened = match Snapshot::open(&records, &present.master, algorithm, Some(&present)) {
            Err(KeyRingError::WrongMasterKey { purpose, version }) => {
                let master = self.other_master(&records).await;
                let master = master.ok_or(KeyRingError::WrongMasterKey { purpose, version })?;
                Snapshot::open(&records, &master, algorithm, None)?
            }
            opened => opened?,
        };
        // 3.
        Ok(self.keep(opened))
    }

    pub(super) fn keep(&self, snapshot: Snapshot) -> Arc<Snapshot> {
        let snapshot = Arc::new(snapshot);
        self.snapshot.store(Arc::clone(&snapshot));
        snapshot
    }

    async fn other_master(&self, records: &[KeyRecord]) -> Option<MasterKey> {
        let masters = Arc::clone(self.masters.get()?);
        let masters = tokio::task::spawn_blocking(move || masters()).await.ok()?;
        masters.into_iter().find(|master| master.opens_all(records))
    }
}
