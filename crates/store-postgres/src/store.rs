//! How calls are carried out: on a link of their own, within the store's patience, again where that can help.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use grantry_protocol::Rng;
use grantry_store::{Outage, Result as StoreResult, StoreError};
use tokio::time::{Instant, sleep};

use crate::PostgresStore;
use crate::errors::{Cause, Error};
use crate::listener::Listener;
use crate::metrics::Metrics;
use crate::options::PostgresOptions;
use crate::partitions::Partitions;
use crate::pool::{Borrowed, Pool};
use crate::readers::Readers;
use crate::time::StoreTime;

/// How often a transaction is tried. Each failure means that another one succeeded.
const ATTEMPTS: u32 = 10;
/// The longest wait before the second attempt; it doubles with each up to 32 times as much. Random, so that those who met do not meet again.
const BACK_OFF: Duration = Duration::from_millis(2);

/// Why an attempt came to nothing.
pub enum Failure {
    Link(Error),
    Store(StoreError),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Link(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Does something in one transaction, which the block begins and ends. What met another transaction, or a partition
/// that was dropped, is tried again.
macro_rules! transact {
    ($store:expr, |$link:ident| $attempt:block) => {
        crate::store::transact!($store, $store.write, |$link| $attempt)
    };
    ($store:expr, $pool:expr, |$link:ident| $attempt:block) => {{
        let mut attempts = $store.attempts();
        loop {
            let borrowed = attempts.link(&$pool).await?;
            let $link: &crate::link::Link = &borrowed;
            let done = crate::store::attempt(async $attempt).await;
            if let std::ops::ControlFlow::Break(done) = attempts.after(borrowed, done).await {
                break done;
            }
        }
    }};
}

/// Reads something on a link of its own; again, where that can help.
macro_rules! reading {
    ($store:expr, |$link:ident| $attempt:block) => {{
        let mut attempts = $store.attempts_to_read();
        loop {
            let borrowed = attempts.link($store.readers.pool()).await?;
            let $link: &crate::link::Link = &borrowed;
            let done = crate::store::attempt_to_read(async $attempt).await;
            let done = done.map_err(crate::store::Failure::from);
            if let std::ops::ControlFlow::Break(done) = attempts.after(borrowed, done).await {
                break done;
            }
        }
    }};
}

pub(crate) use {reading, transact};

/// Tells the compiler what the block of `transact!` answers.
pub fn attempt<T, F: Future<Output = Result<T, Failure>>>(block: F) -> F {
    block
}

/// The same for `reading!`.
pub fn attempt_to_read<T, F: Future<Output = Result<T, Error>>>(block: F) -> F {
    block
}

/// The attempts at one thing.
pub struct Attempts<'s> {
    store: &'s PostgresStore,
    deadline: Instant,
    tried: u32,
    only_reads: bool,
}

impl Attempts<'_> {
    pub async fn link(&self, pool: &Pool) -> StoreResult<Borrowed> {
        pool.borrow_for(self.deadline.saturating_duration_since(Instant::now())).await
    }

    /// Goes on after a pause if another attempt can help.
    pub async fn after<T>(
        &mut self,
        link: Borrowed,
        done: Result<T, Failure>,
    ) -> ControlFlow<StoreResult<T>> {
        let error = match done {
            Ok(done) => return ControlFlow::Break(Ok(done)),
            Err(Failure::Store(error)) => {
                give_up(link).await;
                return ControlFlow::Break(Err(error));
            }
            Err(Failure::Link(error)) => error,
        };
        if !error.ends_link() {
            give_up(link).await;
        }
        if error.needs_partition() {
            self.store.partitions.forget();
        }
        if !(error.is_conflict() || error.needs_partition() || may_be_repeated(&error, self.only_reads)) {
            return ControlFlow::Break(Err(error.into()));
        }
        self.tried += 1;
        self.store.metrics.repeated.increment(1);
        if self.tried == ATTEMPTS {
            let message = format!("{ATTEMPTS} attempts met other transactions, the last one so: {error}");
            return ControlFlow::Break(Err(StoreError::unavailable(Outage::Busy, message)));
        }
        sleep(self.store.back_off(self.tried)).await;
        ControlFlow::Continue(())
    }
}

/// All that leads to the server.
pub struct Links {
    pub write: Pool,
    pub read: Pool,
    pub probe: Pool,
    pub listener: Listener,
}

impl PostgresStore {
    pub(crate) fn assemble(
        links: Links,
        time: StoreTime,
        partitions: Partitions,
        options: &PostgresOptions,
        rng: Arc<dyn Rng>,
    ) -> Self {
        let metrics = Metrics::new();
        Self {
            write: links.write,
            write_links: options.write_links,
            readers: Readers::new(links.read, options.read_links, options.busy_timeout, metrics.clone()),
            probes: links.probe,
            listener: links.listener,
            time,
            partitions,
            rng,
            busy_timeout: options.busy_timeout,
            metrics,
            slots_walked: Mutex::default(),
        }
    }

    pub(crate) fn attempts(&self) -> Attempts<'_> {
        Attempts { store: self, deadline: Instant::now() + self.busy_timeout, tried: 0, only_reads: false }
    }

    pub(crate) fn attempts_to_read(&self) -> Attempts<'_> {
        Attempts { only_reads: true, ..self.attempts() }
    }

    fn back_off(&self, tried: u32) -> Duration {
        let mut random = [0];
        self.rng.fill(&mut random);
        BACK_OFF * (1 << (tried - 1).min(5)) * u32::from(random[0]) / 255
    }
}

/// Whether the same again, on another link if need be, may succeed and does no harm: nothing of it was done, or it only
/// reads.
pub fn may_be_repeated(error: &Error, only_reads: bool) -> bool {
    match error.cause() {
        Cause::Collision | Cause::SessionChanged => true,
        Cause::Lost => only_reads,
        _ => false,
    }
}

/// The link is good for others once its transaction is over.
async fn give_up(link: Borrowed) {
    // If it fails, the link is not idle, and is closed.
    let _ = link.rollback().await;
}
