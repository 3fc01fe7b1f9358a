//! Of the calls that want one key at the same time one, the leader, fetches; the others wait for what it brings.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

type Outcome<V> = watch::Receiver<Option<Arc<V>>>;

/// Bounded by the calls that are under way: each flight has a leader.
pub struct Flights<K, V> {
    under_way: Mutex<HashMap<K, Outcome<V>>>,
}

pub enum Role<'a, K: Eq + Hash, V> {
    Leader(Flight<'a, K, V>),
    Waiter(Waiter<V>),
}

/// Over when it is dropped, whether it brought anything or not.
pub struct Flight<'a, K: Eq + Hash, V> {
    flights: &'a Flights<K, V>,
    key: K,
    outcome: watch::Sender<Option<Arc<V>>>,
}

pub struct Waiter<V>(Outcome<V>);

impl<K: Eq + Hash + Clone, V> Flights<K, V> {
    pub fn new() -> Self {
        Self { under_way: Mutex::default() }
    }

    pub fn join(&self, key: &K) -> Role<'_, K, V> {
        let mut under_way = self.lock();
        if let Some(outcome) = under_way.get(key) {
            return Role::Waiter(Waiter(outcome.clone()));
        }
        let (outcome, waiter) = watch::channel(None);
        under_way.insert(key.clone(), waiter);
        Role::Leader(Flight { flights: self, key: key.clone(), outcome })
    }
}

impl<K, V> Flights<K, V> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, Outcome<V>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash, V> Flight<'_, K, V> {
    pub fn finish(self, found: Arc<V>) {
        self.outcome.send_replace(Some(found));
    }
}

impl<K: Eq + Hash, V> Drop for Flight<'_, K, V> {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.key);
    }
}

impl<V> Waiter<V> {
    /// What the flight brought; `None` when it ended without, however that was.
    pub async fn result(mut self) -> Option<Arc<V>> {
        self.0.wait_for(Option::is_some).await.ok()?.clone()
    }
}
