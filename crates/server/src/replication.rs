//! Looks at how the store is replicated, at the start and from then on, and says what a failover could lose: in the log
//! when it changes, and in metrics.

use std::sync::Arc;
use std::time::Duration;

use grantry_store::{ReplicationMode, ReplicationState, Store};
use metrics::{Gauge, describe_gauge, gauge};
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// From one look to the next. Each is a read of the server's own tables.
const INTERVAL: Duration = Duration::from_secs(5);

/// What is seen at the start, and the task that goes on looking. `None` where there is nothing to say: a store that is one
/// process or one file, or one that does not answer at the moment.
pub async fn watch(store: Arc<dyn Store>) -> (Option<ReplicationState>, JoinHandle<()>) {
    let mut watch = Watch { meters: Meters::new(), said: None };
    let first = watch.look(store.as_ref()).await;
    let task = tokio::spawn(async move {
        loop {
            sleep(INTERVAL).await;
            watch.look(store.as_ref()).await;
        }
    });
    (first, task)
}

struct Watch {
    meters: Meters,
    /// Mode and warnings that the log has last.
    said: Option<(ReplicationMode, Vec<String>)>,
}

impl Watch {
    async fn look(&mut self, store: &dyn Store) -> Option<ReplicationState> {
        match store.replication_state().await {
            Ok(state) => {
                let state = state?;
                self.meters.show(&state);
                self.say(&state);
                Some(state)
            }
            Err(error) => {
                // That the store is out of reach is said by whoever needs it.
                tracing::debug!(%error, "how the store is replicated cannot be seen");
                None
            }
        }
    }

    fn say(&mut self, state: &ReplicationState) {
        let (mode, warnings) = (state.mode, &state.warnings);
        if self.said.as_ref().is_some_and(|said| said.0 == mode && said.1 == *warnings) {
            return;
        }
        tracing::info!("the store is replicated so: {state}");
        let is_new = |warning: &&String| self.said.as_ref().is_none_or(|said| !said.1.contains(warning));
        for warning in warnings.iter().filter(is_new) {
            tracing::warn!("{warning}");
        }
        self.said = Some((mode, warnings.clone()));
    }
}

struct Meters {
    synchronous: Gauge,
    asynchronous: Gauge,
    required: Gauge,
    lag: Gauge,
    warnings: Gauge,
}

impl Meters {
    fn new() -> Self {
        describe_gauge!("grantry_store_replicas", "Standbys of the store that are connected, by kind.");
        describe_gauge!("grantry_store_replicas_required", "Standbys that a commit of the store waits for.");
        describe_gauge!(
            "grantry_store_replay_lag_seconds",
            "How far the last of the store's standbys is behind; 0 while nothing is committed."
        );
        describe_gauge!(
            "grantry_store_replication_warnings",
            "Why commits of the store can be lost or have to wait, as many reasons as the log names."
        );
        Self {
            synchronous: gauge!("grantry_store_replicas", "state" => "sync"),
            asynchronous: gauge!("grantry_store_replicas", "state" => "async"),
            required: gauge!("grantry_store_replicas_required"),
            lag: gauge!("grantry_store_replay_lag_seconds"),
            warnings: gauge!("grantry_store_replication_warnings"),
        }
    }

    fn show(&self, state: &ReplicationState) {
        let waited_for = |standby: &&grantry_store::Standby| standby.is_synchronous == Some(true);
        let synchronous = state.standbys.iter().filter(waited_for).count();
        let required = match state.mode {
            ReplicationMode::Synchronous { required } => required,
            ReplicationMode::Single | ReplicationMode::Asynchronous => 0,
        };
        let lag = state.standbys.iter().filter_map(|standby| standby.replay_lag).max().unwrap_or_default();
        self.synchronous.set(synchronous as f64);
        self.asynchronous.set((state.standbys.len() - synchronous) as f64);
        self.required.set(f64::from(required));
        self.lag.set(lag.as_secs_f64());
        self.warnings.set(state.warnings.len() as f64);
    }
}
