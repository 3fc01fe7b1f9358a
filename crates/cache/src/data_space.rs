//! Copies in the data space, on the way from a near cache to the store.
//!
//! The data space is never waited for longer than its patience, and left out altogether once it has failed: requests go on
//! to the store until a probe in the background finds it well again. What is put goes there in the background, too: nobody
//! waits for it, and what does not fit into the queue is dropped. That a copy is missing costs a look at the store; that
//! one is out of date costs the same, because whoever finds it judges it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use grantry_store::{CopyKind, DataSpace, DataSpaceView, Outage, Precedence, SharedCopy, StoreError};
use metrics::{Counter, Gauge, counter, gauge};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// Copies that wait to be put; one more is dropped.
const QUEUE: usize = 16_384;
/// The most copies that are put at once.
const BATCH: usize = 512;
/// A copy that has waited for longer is dropped: that of a client is good for as long as the log remembers its changes.
const OLDEST: Duration = Duration::from_secs(10);
/// From one probe to the next while all is well: nobody may have asked for anything.
const LOOK: Duration = Duration::from_secs(1);
/// From one probe to the next while the data space is left out.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// What a probe or a batch may take before it counts as failed; nobody waits for either.
const HOPELESS: Duration = Duration::from_secs(5);

/// The data space as this node uses it. What runs in the background ends with it.
pub struct SharedCopies {
    state: Arc<State>,
    queue: mpsc::Sender<Parcel>,
    _tasks: JoinSet<()>,
}

struct Parcel {
    copy: SharedCopy,
    since: Instant,
}

struct State {
    space: Arc<dyn DataSpace>,
    patience: Duration,
    /// Why it is left out; absent while it is not.
    failure: Mutex<Option<String>>,
    failed: Notify,
    meters: Meters,
}

impl SharedCopies {
    /// Must be called inside a Tokio runtime. `patience` is what a look-up may take.
    pub fn start(space: Arc<dyn DataSpace>, patience: Duration) -> Self {
        let state = Arc::new(State {
            space,
            patience,
            failure: Mutex::default(),
            failed: Notify::new(),
            meters: Meters::new(),
        });
        state.meters.up.set(1.0);
        let (queue, parcels) = mpsc::channel(QUEUE);
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&state).put_all(parcels));
        tasks.spawn(Arc::clone(&state).probe_always());
        Self { state, queue, _tasks: tasks }
    }

    /// The copy, if there is one that `is_good`, at once or within the patience.
    pub async fn find<V: DeserializeOwned>(
        &self,
        kind: CopyKind,
        key: &str,
        is_good: impl FnOnce(&V) -> bool,
    ) -> Option<V> {
        let state = &self.state;
        if state.is_left_out() {
            state.meters.left_out.increment(1);
            return None;
        }
        let found = timeout(state.patience, state.space.copy_find(kind, key)).await;
        let found = found.unwrap_or_else(|_| Err(no_answer(state.patience)));
        let copy = match found {
            Ok(copy) => copy.and_then(|bytes| serde_json::from_slice(&bytes).ok()).filter(is_good),
            Err(error) => {
                state.meters.failed_finds.increment(1);
                state.leave_out(&error);
                return None;
            }
        };
        let outcome =
            if copy.is_some() { "grantry_data_space_hits_total" } else { "grantry_data_space_misses_total" };
        counter!(outcome, "cache" => kind.as_str()).increment(1);
        copy
    }

    /// For other nodes to find, soon and for as long as `ttl`.
    pub fn put(
        &self,
        kind: CopyKind,
        key: String,
        value: &impl Serialize,
        ttl: Duration,
        precedence: Precedence,
    ) {
        let state = &self.state;
        if state.is_left_out() || ttl < Duration::from_millis(1) {
            return;
        }
        let Ok(value) = serde_json::to_vec(value) else { return };
        let copy = SharedCopy { kind, key, value, ttl, precedence };
        if self.queue.try_send(Parcel { copy, since: Instant::now() }).is_err() {
            state.meters.dropped.increment(1);
        }
    }

    pub fn view(&self) -> DataSpaceView {
        DataSpaceView { failure: self.state.failure().clone(), replicas: self.state.space.replicas() }
    }
}

impl State {
    fn failure(&self) -> MutexGuard<'_, Option<String>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_left_out(&self) -> bool {
        self.failure().is_some()
    }

    fn leave_out(&self, error: &StoreError) {
        let mut failure = self.failure();
        if failure.is_none() {
            *failure = Some(error.to_string());
            self.meters.up.set(0.0);
            self.failed.notify_one();
            tracing::warn!(%error, "the data space fails; it is left out, and requests go on to the store");
        }
    }

    fn take_in(&self) {
        if self.failure().take().is_some() {
            self.meters.up.set(1.0);
            tracing::info!("the data space is used again");
        }
    }

    /// What has come while one batch was put is the next one.
    async fn put_all(self: Arc<Self>, mut parcels: mpsc::Receiver<Parcel>) {
        let (mut arrived, mut is_refusing) = (Vec::with_capacity(BATCH), false);
        while parcels.recv_many(&mut arrived, BATCH).await > 0 {
            let fresh = |parcel: &Parcel| parcel.since.elapsed() < OLDEST && !self.is_left_out();
            let count = arrived.len();
            let copies: Vec<SharedCopy> = arrived.drain(..).filter(fresh).map(|parcel| parcel.copy).collect();
            self.meters.dropped.increment((count - copies.len()) as u64);
            if copies.is_empty() {
                continue;
            }
            let put = timeout(HOPELESS, self.space.copy_put(&copies)).await;
            match put.unwrap_or_else(|_| Err(no_answer(HOPELESS))) {
                Ok(()) => {
                    self.meters.put.increment(copies.len() as u64);
                    is_refusing = false;
                }
                Err(error) => {
                    self.meters.failed_puts.increment(copies.len() as u64);
                    self.refused(&error, !std::mem::replace(&mut is_refusing, true));
                }
            }
        }
    }

    /// One that takes nothing more can still be read.
    fn refused(&self, error: &StoreError, is_first: bool) {
        let can_be_read = matches!(
            error,
            StoreError::Unavailable { outage: Outage::Full | Outage::ReadOnly, .. } | StoreError::Rejected(_)
        );
        if !can_be_read {
            self.leave_out(error);
        } else if is_first {
            tracing::warn!(%error, "the data space takes no copies; other nodes look into the store instead");
        }
    }

    async fn probe_always(self: Arc<Self>) {
        let mut pause = FIRST_PAUSE;
        loop {
            if self.is_left_out() {
                sleep(pause).await;
                pause = (pause * 2).min(LOOK);
            } else {
                pause = FIRST_PAUSE;
                tokio::select! {
                    () = sleep(LOOK) => {}
                    () = self.failed.notified() => continue,
                }
            }
            let probed = timeout(HOPELESS, self.space.probe()).await;
            match probed.unwrap_or_else(|_| Err(no_answer(HOPELESS))) {
                Ok(()) => self.take_in(),
                Err(error) => self.leave_out(&error),
            }
        }
    }
}

fn no_answer(within: Duration) -> StoreError {
    StoreError::unavailable(Outage::Io, format!("no answer from the data space within {within:?}"))
}

struct Meters {
    up: Gauge,
    left_out: Counter,
    put: Counter,
    dropped: Counter,
    failed_finds: Counter,
    failed_puts: Counter,
}

impl Meters {
    fn new() -> Self {
        Self {
            up: gauge!("grantry_data_space_up"),
            left_out: counter!("grantry_data_space_left_out_total"),
            put: counter!("grantry_data_space_puts_total"),
            dropped: counter!("grantry_data_space_dropped_total"),
            failed_finds: counter!("grantry_data_space_failures_total", "operation" => "find"),
            failed_puts: counter!("grantry_data_space_failures_total", "operation" => "put"),
        }
    }
}
