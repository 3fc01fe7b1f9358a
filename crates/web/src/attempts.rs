//! Failed authentications, counted per client and address and per address within a window, so that guessing is slow
//! and nobody can lock a client out from elsewhere.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{counter, gauge};
use tokio::time::Instant;

use crate::address::{counted_as, wider_network};
use crate::state::Limits;

/// Keys counted one by one. Beyond them failures are counted by the wider network that they come from: a flood of
/// addresses neither fills the memory nor goes uncounted, and blocks nobody outside the networks that it comes from.
const CAPACITY: usize = 100_000;
/// With those networks; what comes after that is not counted.
const CAPACITY_WITH_NETWORKS: usize = 200_000;

#[derive(PartialEq, Eq, Hash, Clone, Copy)]
enum Key {
    Client(u64, IpAddr),
    Address(IpAddr),
    Network(IpAddr),
}

pub struct Attempts {
    per_client: u32,
    per_address: u32,
    window: Duration,
    /// Keyed, so that nobody can choose client ids that collide.
    hasher: RandomState,
    counts: Mutex<Counts>,
    /// How many keys are counted; as long as it is none, asking takes no lock.
    tracked: AtomicUsize,
}

struct Counts {
    since: Instant,
    failures: HashMap<Key, u32>,
}

impl Attempts {
    pub fn new(limits: &Limits) -> Self {
        Self {
            per_client: limits.failed_attempts_per_client,
            per_address: limits.failed_attempts_per_address,
            window: limits.failed_attempts_window,
            hasher: RandomState::new(),
            counts: Mutex::new(Counts { since: Instant::now(), failures: HashMap::new() }),
            tracked: AtomicUsize::new(0),
        }
    }

    /// How many seconds the caller has to wait, if it has failed too often.
    pub fn blocked(&self, client_id: &str, address: IpAddr) -> Option<u64> {
        if self.tracked.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let counts = self.current();
        let count = |key| counts.failures.get(&key).copied().unwrap_or(0);
        let network = Key::Network(wider_network(address));
        let [client, address] = self.keys(client_id, address);
        let blocked = count(client) >= self.per_client
            || count(address) >= self.per_address
            || count(network) >= self.per_address;
        if !blocked {
            return None;
        }
        counter!("grantry_failed_attempts_blocked_total").increment(1);
        Some(self.window.saturating_sub(counts.since.elapsed()).as_secs().max(1))
    }

    pub fn record_failure(&self, client_id: &str, address: IpAddr) {
        counter!("grantry_failed_attempts_total").increment(1);
        let keys = self.keys(client_id, address);
        let mut counts = self.current();
        for mut key in keys {
            if counts.failures.len() >= CAPACITY && !counts.failures.contains_key(&key) {
                key = Key::Network(wider_network(address));
            }
            if counts.failures.len() >= CAPACITY_WITH_NETWORKS && !counts.failures.contains_key(&key) {
                counter!("grantry_failed_attempts_uncounted_total").increment(1);
                continue;
            }
            *counts.failures.entry(key).or_default() += 1;
        }
        self.tracked.store(counts.failures.len(), Ordering::Relaxed);
        gauge!("grantry_failed_attempts_tracked").set(counts.failures.len() as f64);
    }

    /// The counts of the window that runs now.
    fn current(&self) -> MutexGuard<'_, Counts> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.since.elapsed() >= self.window {
            counts.since = Instant::now();
            counts.failures.clear();
            self.tracked.store(0, Ordering::Relaxed);
        }
        counts
    }

    fn keys(&self, client_id: &str, address: IpAddr) -> [Key; 2] {
        let address = counted_as(address);
        [Key::Client(self.hasher.hash_one(client_id), address), Key::Address(address)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts() -> Attempts {
        Attempts::new(&Limits {
            max_body_bytes: 0,
            body_timeout: Duration::ZERO,
            request_timeout: Duration::ZERO,
            max_concurrent_requests: 0,
            failed_attempts_per_client: 3,
            failed_attempts_per_address: 5,
            failed_attempts_window: Duration::from_secs(60),
        })
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[tokio::test]
    async fn a_client_is_blocked_from_the_failing_address_only() {
        let attempts = attempts();
        for _ in 0..3 {
            assert_eq!(attempts.blocked("a", HERE), None);
            attempts.record_failure("a", HERE);
        }
        assert!(attempts.blocked("a", HERE).is_some());
        assert_eq!(attempts.blocked("b", HERE), None);
        assert_eq!(attempts.blocked("a", THERE), None);
    }

    #[tokio::test]
    async fn an_address_is_blocked_whatever_client_it_names() {
        let attempts = attempts();
        for n in 0..5 {
            attempts.record_failure(&format!("client {n}"), HERE);
        }
        assert!(attempts.blocked("fresh", HERE).is_some());
        assert_eq!(attempts.blocked("fresh", THERE), None);
    }

    #[tokio::test]
    async fn a_flood_of_addresses_blocks_its_own_networks_and_nobody_else() {
        let attempts = attempts();
        let flood =
            |n: u32| IpAddr::V6(std::net::Ipv6Addr::from_bits((0x2001_0db8 << 96) | (u128::from(n) << 64)));
        for n in 0..u32::try_from(CAPACITY).unwrap() {
            attempts.record_failure("a", flood(n));
        }
        assert!(attempts.blocked("fresh", flood(u32::MAX)).is_some());
        assert_eq!(attempts.blocked("fresh", HERE), None);
        assert!(attempts.current().failures.len() <= CAPACITY + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_window_ends() {
        let attempts = attempts();
        for _ in 0..3 {
            attempts.record_failure("a", HERE);
        }
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(attempts.blocked("a", HERE), Some(1));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(attempts.blocked("a", HERE), None);
    }
}
