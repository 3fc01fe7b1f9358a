//! Reads that arrive while others are under way are answered together: one statement a kind, all in one round trip.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use grantry_protocol::{Client, ClientId, GrantId, NodeNumber, SlotKey, TokenId};
use grantry_store::{
    DeferredToken, Observed, Outage, Result as StoreResult, StoreError, StoredGrant, StoredToken,
};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::errors::Result;
use crate::link::Link;
use crate::metrics::Metrics;
use crate::pool::Pool;
use crate::store::may_be_repeated;

mod group;

use group::Group;

/// The most reads that share a round trip.
const GROUP: usize = 256;
/// The most that may wait; more are refused.
const WAITING: usize = 16 * 1024;
/// How often a group that met something passing is asked again.
const ATTEMPTS: u32 = 3;

/// One read, and where its answer goes.
pub enum Ask {
    Token(TokenId, Reply<Option<StoredToken>>),
    Deferred(TokenId, NodeNumber, Reply<DeferredToken>),
    Holder(SlotKey, Reply<Option<StoredToken>>),
    Client(ClientId, Reply<Observed<Option<Client>>>),
    Grant(GrantId, Reply<Option<StoredGrant>>),
    SlotsGrant(SlotKey, Reply<Option<StoredGrant>>),
}

pub type Reply<T> = oneshot::Sender<StoreResult<T>>;

/// The queue, and how many are at work on it: as many as there are links, each on a link of its own for as long as
/// there is something to do.
#[derive(Clone)]
pub struct Readers(Arc<Shared>);

struct Shared {
    pool: Pool,
    most_at_work: usize,
    patience: Duration,
    metrics: Metrics,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Ask>,
    at_work: usize,
}

impl Readers {
    pub fn new(pool: Pool, links: usize, patience: Duration, metrics: Metrics) -> Self {
        let queue = Mutex::default();
        Self(Arc::new(Shared { pool, most_at_work: links.max(1), patience, metrics, queue }))
    }

    pub fn pool(&self) -> &Pool {
        &self.0.pool
    }

    /// Answers with what a statement that is sent after this call has read.
    pub async fn ask<T>(&self, ask: impl FnOnce(Reply<T>) -> Ask) -> StoreResult<T> {
        let (reply, answer) = oneshot::channel();
        if self.submit(ask(reply))? {
            tokio::spawn(self.clone().work());
        }
        match timeout(self.0.patience, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(crate::errors::closed()),
            Err(_) => Err(StoreError::unavailable(
                Outage::Busy,
                format!("no answer from PostgreSQL within {:?}", self.0.patience),
            )),
        }
    }

    /// Whether one more is needed to work on the queue.
    fn submit(&self, ask: Ask) -> StoreResult<bool> {
        let mut queue = self.queue();
        if queue.waiting.len() == WAITING {
            return Err(StoreError::unavailable(Outage::Overloaded, "too many reads wait for PostgreSQL"));
        }
        queue.waiting.push_back(ask);
        let is_needed = queue.at_work < self.0.most_at_work;
        queue.at_work += usize::from(is_needed);
        Ok(is_needed)
    }

    async fn work(self) {
        // Those who are about to ask may do so first, and share the round trip.
        tokio::task::yield_now().await;
        while let Some(group) = self.next_group() {
            self.0.metrics.read_batch_size.record(group.len() as f64);
            self.answer(group).await;
        }
    }

    /// What has arrived; nothing to do ends the worker.
    fn next_group(&self) -> Option<Group> {
        let mut queue = self.queue();
        let count = queue.waiting.len().min(GROUP);
        if count == 0 {
            queue.at_work -= 1;
            return None;
        }
        let group = queue.waiting.drain(..count).collect();
        self.0.metrics.reads_waiting.set(queue.waiting.len() as f64);
        Some(group)
    }

    async fn answer(&self, group: Group) {
        for attempt in 1.. {
            let link = match self.0.pool.borrow().await {
                Ok(link) => link,
                Err(error) => return group.fail(&error),
            };
            match group.read(&link).await {
                Ok(found) => return group.reply(found),
                Err(error) if attempt < ATTEMPTS && may_be_repeated(&error, true) => {}
                Err(error) => return group.fail(&error.into()),
            }
        }
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
