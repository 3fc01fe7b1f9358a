use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use grantry_protocol::Rng;
use grantry_store::{Outage, StoreError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::connect::Connector;
use crate::errors::closed;
use crate::link::Link;
use crate::pool_backoff::Backoff;
use crate::pool_metrics::{OpenLink, PoolMetrics};

/// Links for one use, made when they are needed and kept. Writers, readers and probes have a pool each, so that none
/// starves another.
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

/// What it says about the server when somebody has given up waiting for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivenUp {
    /// A caller has gone away.
    Nothing,
    /// It may not be the one that takes writes any more: readers and writers have to look for the right one, too.
    Misled,
}

struct Shared {
    connector: Arc<Connector>,
    rng: Arc<dyn Rng>,
    places: Arc<Semaphore>,
    idle: Mutex<Vec<Kept>>,
    /// One connects at a time: what it learns, the others need not find out.
    backoff: tokio::sync::Mutex<Backoff>,
    given_up: GivenUp,
    patience: Duration,
    metrics: PoolMetrics,
}

struct Kept {
    link: Link,
    generation: u64,
    _counted: OpenLink,
}

/// A link that goes back into its pool, unless something is unfinished on it; then it is closed.
pub struct Borrowed {
    kept: Option<Kept>,
    pool: Pool,
    _place: OwnedSemaphorePermit,
}

impl Pool {
    pub fn new(
        connector: Arc<Connector>,
        size: usize,
        patience: Duration,
        rng: Arc<dyn Rng>,
        metrics: PoolMetrics,
        given_up: GivenUp,
    ) -> Self {
        let (places, idle) = (Arc::new(Semaphore::new(size)), Mutex::default());
        let backoff = tokio::sync::Mutex::default();
        Self(Arc::new(Shared { connector, rng, places, idle, backoff, given_up, patience, metrics }))
    }

    /// A link of which nothing is under way. From this call on, the wait for it and all that is sent over it have to be
    /// done within the pool's patience, `busy_timeout`.
    pub async fn borrow(&self) -> Result<Borrowed, StoreError> {
        self.borrow_for(self.0.patience).await
    }

    /// The same with another patience.
    pub async fn borrow_for(&self, patience: Duration) -> Result<Borrowed, StoreError> {
        let deadline = Instant::now() + patience;
        let place = timeout_at(deadline, Arc::clone(&self.0.places).acquire_owned()).await;
        let place = place.map_err(|_| overloaded())?.map_err(|_| closed())?;
        let mut kept = match self.take_idle() {
            Some(kept) => kept,
            None => self.connect(deadline, patience).await?,
        };
        kept.link.allow_until(deadline, patience);
        Ok(Borrowed { kept: Some(kept), pool: self.clone(), _place: place })
    }

    /// No link from before this call is used again, of no pool: what one of them met concerns them all.
    pub fn renew(&self) {
        self.0.connector.renew();
        self.idle().clear();
    }

    /// The one that was used last, so that few are used.
    fn take_idle(&self) -> Option<Kept> {
        let mut idle = self.idle();
        let current = self.0.connector.generation();
        std::iter::from_fn(|| idle.pop()).find(|kept| kept.link.is_idle() && kept.generation == current)
    }

    async fn connect(&self, deadline: Instant, patience: Duration) -> Result<Kept, StoreError> {
        let mut backoff = timeout_at(deadline, self.0.backoff.lock()).await.map_err(|_| overloaded())?;
        loop {
            if let Some(until) = backoff.until() {
                if until >= deadline {
                    return Err(backoff.last_error().map_or_else(overloaded, |error| error.clone().into()));
                }
                sleep_until(until).await;
            }
            let generation = self.0.connector.generation();
            match self.0.connector.connect(deadline, patience).await {
                Ok(link) => {
                    backoff.succeeded();
                    return Ok(Kept { link, generation, _counted: self.0.metrics.opened() });
                }
                Err(error) => {
                    self.0.metrics.failed();
                    tracing::warn!(server = self.0.connector.server, "cannot connect to PostgreSQL: {error}");
                    backoff.failed(error, Instant::now(), self.0.rng.as_ref());
                }
            }
        }
    }

    fn give_back(&self, kept: Kept) {
        let was_given_up = self.0.given_up == GivenUp::Misled && !kept.link.is_idle();
        if kept.link.is_misled() || was_given_up {
            self.renew();
        }
        if kept.link.is_idle() && kept.generation == self.0.connector.generation() {
            self.idle().push(kept);
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Kept>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn overloaded() -> StoreError {
    StoreError::unavailable(Outage::Overloaded, "every connection to PostgreSQL is in use")
}

impl Deref for Borrowed {
    type Target = Link;

    fn deref(&self) -> &Link {
        match &self.kept {
            Some(kept) => &kept.link,
            None => unreachable!("taken on drop alone"),
        }
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if let Some(kept) = self.kept.take() {
            self.pool.give_back(kept);
        }
    }
}
