//! Whether this node could issue a token right now, found out by doing what issuing does: a write that goes through
//! the commit queue, then a read.

use std::sync::Arc;
use std::time::Duration;

use grantry_store::Store;
use metrics::gauge;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::Persistence;

const INTERVAL: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(5);
/// A success older than this says nothing any more, should the probe itself hang.
const VALID_FOR: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    /// The first probe has not come back yet.
    Starting,
    /// The last probe failed or is overdue; why stands in the log.
    Unavailable,
    /// The node is shutting down.
    Stopping,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Starting,
    Succeeded(Instant),
    Failed,
    Stopping,
}

/// Keeps the state that `/readyz` answers from, so that asking costs nothing.
#[derive(Clone)]
pub struct ReadinessProbe {
    state: Arc<watch::Sender<State>>,
}

impl Default for ReadinessProbe {
    fn default() -> Self {
        Self { state: Arc::new(watch::Sender::new(State::Starting)) }
    }
}

impl ReadinessProbe {
    pub fn readiness(&self) -> Readiness {
        match *self.state.borrow() {
            State::Starting => Readiness::Starting,
            State::Succeeded(at) if at.elapsed() < VALID_FOR => Readiness::Ready,
            State::Succeeded(_) | State::Failed => Readiness::Unavailable,
            State::Stopping => Readiness::Stopping,
        }
    }

    /// Load balancers are told to look elsewhere before the listener closes.
    pub fn stop(&self) {
        self.state.send_replace(State::Stopping);
    }

    /// Returns once the node is shutting down.
    pub async fn stopped(&self) {
        let mut state = self.state.subscribe();
        // It cannot be dropped while this holds the sender.
        let _ = state.wait_for(|state| matches!(state, State::Stopping)).await;
    }

    /// Probes for ever; run it as a task.
    pub async fn run(self, persistence: Arc<Persistence>, store: Arc<dyn Store>) {
        let ready = gauge!("grantry_ready");
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let outcome = timeout(TIMEOUT, probe(&persistence, store.as_ref())).await;
            let state = match outcome {
                Ok(Ok(())) => State::Succeeded(Instant::now()),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the readiness probe failed: this node cannot issue tokens");
                    State::Failed
                }
                Err(_) => {
                    tracing::warn!(
                        "the readiness probe took longer than {TIMEOUT:?}: this node cannot issue tokens"
                    );
                    State::Failed
                }
            };
            ready.set(if matches!(state, State::Succeeded(_)) { 1.0 } else { 0.0 });
            self.state.send_if_modified(|current| {
                let running = !matches!(current, State::Stopping);
                if running {
                    *current = state;
                }
                running
            });
        }
    }
}

async fn probe(persistence: &Persistence, store: &dyn Store) -> Result<(), crate::PersistenceError> {
    persistence.heartbeat().await?;
    store.revocation_head().await?;
    Ok(())
}
