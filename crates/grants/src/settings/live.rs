//! The settings of a node while it runs: its file, and over it what operators have changed on any node.
//!
//! 1. The first time they are read at the start, before the first request; then whenever the revocation log says that
//!    they were changed, and where it was read anew.
//! 2. What a node cannot understand, because a newer version wrote it, or cannot reconcile with its own file, it leaves
//!    alone: the settings from before stay in force. The log and a gauge say so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use grantry_protocol::{Seen, Timestamp};
use grantry_store::{Observed, Result, Store, StoredSettings};
use metrics::{Gauge, gauge};
use serde_json::{Map, Value, json};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::document::{Document, RUNTIME_KEYS, leaves};
use super::{CacheCapacities, FileSettings, InvalidSetting, TokenSettings};

/// After a failure; the store cannot be reached, or does not know yet what the log does.
const AGAIN: Duration = Duration::from_millis(100);

/// The settings as operators see them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsState {
    /// Of the stored settings. 0: nothing was ever changed.
    pub version: u64,
    pub updated_at: Option<Timestamp>,
    /// What is in force at this node, in the form in which it can be changed.
    pub settings: Map<String, Value>,
    /// Where each value comes from: `default`, `file`, `environment` or `run time`.
    pub sources: BTreeMap<&'static str, &'static str>,
    /// Why the stored settings are not in force at this node.
    pub problem: Option<InvalidSetting>,
}

impl SettingsState {
    /// As the admin API and the command line show it.
    pub fn to_json(&self) -> Value {
        let mut shown = json!({
            "version": self.version,
            "updated_at": self.updated_at.map(Timestamp::as_secs),
            "settings": self.settings,
            "sources": self.sources,
        });
        if let Some(problem) = &self.problem {
            shown["problem"] = json!({ "key": problem.key, "detail": problem.problem });
        }
        shown
    }
}

pub struct LiveSettings {
    pub(super) store: Arc<dyn Store>,
    pub(super) file: FileSettings,
    tokens: ArcSwap<TokenSettings>,
    /// Held from reading the store to keeping what was read, so that the older never takes the place of the newer.
    kept: Mutex<Kept>,
    version: Gauge,
    refused: Gauge,
}

/// What is in force.
struct Kept {
    document: Document,
    capacities: Option<CacheCapacities>,
    /// The version that was complained about.
    refused: Option<u64>,
}

impl LiveSettings {
    pub fn new(store: Arc<dyn Store>, file: FileSettings) -> Self {
        let kept = Kept { document: Document::default(), capacities: file.capacities, refused: None };
        Self {
            store,
            tokens: ArcSwap::from_pointee(file.tokens.clone()),
            file,
            kept: Mutex::new(kept),
            version: gauge!("grantry_settings_version"),
            refused: gauge!("grantry_settings_refused"),
        }
    }

    pub fn tokens(&self) -> Guard<Arc<TokenSettings>> {
        self.tokens.load()
    }

    /// Brings this node up to the store, and says what is in force then.
    pub async fn reload(&self) -> Result<SettingsState> {
        self.read(Seen::NOTHING).await.map(|(state, _)| state)
    }

    /// Also whether the store knew what the log had come to at `wanted`: a server that was deposed may not.
    async fn read(&self, wanted: Seen) -> Result<(SettingsState, bool)> {
        let mut kept = self.kept.lock().await;
        let Observed { seen, value } = self.store.settings_find().await?;
        let problem = match self.understood(value.as_ref()) {
            Ok((document, tokens, capacities)) => {
                self.keep(&mut kept, document, tokens, capacities, value.as_ref());
                None
            }
            Err(problem) => {
                self.refuse(&mut kept, value.as_ref(), &problem);
                Some(problem)
            }
        };
        Ok((self.state(&kept, value, problem), seen >= wanted))
    }

    fn understood(
        &self,
        stored: Option<&StoredSettings>,
    ) -> std::result::Result<(Document, TokenSettings, Option<CacheCapacities>), InvalidSetting> {
        let document = match stored {
            Some(stored) => Document::parse(&stored.document, &self.file)?,
            None => Document::default(),
        };
        let (tokens, capacities) = document.over(&self.file)?;
        Ok((document, tokens, capacities))
    }

    fn keep(
        &self,
        kept: &mut Kept,
        document: Document,
        tokens: TokenSettings,
        capacities: Option<CacheCapacities>,
        stored: Option<&StoredSettings>,
    ) {
        let version = stored.map_or(0, |stored| stored.version);
        self.version.set(version as f64);
        self.refused.set(0.0);
        kept.refused = None;
        if kept.document == document {
            return;
        }
        tracing::info!(version, "the settings were changed at run time");
        self.tokens.store(Arc::new(tokens));
        if let (Some(capacities), Some(apply)) = (capacities, &self.file.set_capacities) {
            apply(capacities);
        }
        (kept.document, kept.capacities) = (document, capacities);
    }

    fn refuse(&self, kept: &mut Kept, stored: Option<&StoredSettings>, problem: &InvalidSetting) {
        let version = stored.map_or(0, |stored| stored.version);
        self.refused.set(1.0);
        if kept.refused.replace(version) != Some(version) {
            tracing::error!(
                version,
                %problem,
                "the settings that were changed at run time cannot be used by this node; those from before stay in force \
                 here"
            );
        }
    }

    fn state(
        &self,
        kept: &Kept,
        stored: Option<StoredSettings>,
        problem: Option<InvalidSetting>,
    ) -> SettingsState {
        let changed = leaves(&kept.document.to_map());
        let source = |key: &'static str| match changed.contains_key(key) {
            true => "run time",
            false => self.file.origins.get(key).copied().unwrap_or("default"),
        };
        let settings = Document::of(&self.tokens.load(), kept.capacities).to_map();
        let in_force = leaves(&settings);
        let keys = RUNTIME_KEYS.into_iter().filter(|key| in_force.contains_key(*key));
        SettingsState {
            version: stored.as_ref().map_or(0, |stored| stored.version),
            updated_at: stored.map(|stored| stored.updated_at),
            settings,
            sources: keys.map(|key| (key, source(key))).collect(),
            problem,
        }
    }

    /// Follows the stored settings until it is aborted, or `changed` ends; that says how far the log has come where the
    /// settings were last changed.
    pub fn follow(self: &Arc<Self>, mut changed: watch::Receiver<Seen>) -> JoinHandle<()> {
        let settings = Arc::clone(self);
        tokio::spawn(async move {
            let mut is_failing = false;
            loop {
                let wanted = *changed.borrow_and_update();
                let is_done = settings.read_and_report(wanted, &mut is_failing).await;
                tokio::select! {
                    more = changed.changed() => if more.is_err() { break },
                    () = sleep(AGAIN), if !is_done => {}
                }
            }
        })
    }

    async fn read_and_report(&self, wanted: Seen, is_failing: &mut bool) -> bool {
        match self.read(wanted).await {
            Ok((_, is_done)) => {
                *is_failing = false;
                is_done
            }
            Err(error) => {
                if !std::mem::replace(is_failing, true) {
                    tracing::warn!(%error, "the settings cannot be read from the store; those from before stay in force");
                }
                false
            }
        }
    }
}
