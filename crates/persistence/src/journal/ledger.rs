//! What each segment still holds: a count of the records that have not been drained, not the records themselves.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use metrics::{Gauge, gauge};

struct Account {
    first: u64,
    bytes: u64,
    outstanding: u64,
}

/// Shared by the log, which appends, and by whoever drains.
pub struct Ledger {
    /// In the order of their numbers.
    accounts: Mutex<VecDeque<Account>>,
    bytes: Gauge,
    segments: Gauge,
    records: Gauge,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            accounts: Mutex::default(),
            bytes: gauge!("grantry_journal_bytes"),
            segments: gauge!("grantry_journal_segments"),
            records: gauge!("grantry_journal_records"),
        }
    }
}

impl Ledger {
    /// A segment that comes after all others.
    pub fn open(&self, first: u64, bytes: u64, outstanding: u64) {
        let mut accounts = self.lock();
        accounts.push_back(Account { first, bytes, outstanding });
        self.show(&accounts);
    }

    /// To the last segment.
    pub fn append(&self, records: u64, bytes: u64) {
        let mut accounts = self.lock();
        if let Some(account) = accounts.back_mut() {
            account.bytes += bytes;
            account.outstanding += records;
        }
        self.show(&accounts);
    }

    /// Whether its segment can be removed by now.
    pub fn drain(&self, sequence: u64) -> bool {
        let mut accounts = self.lock();
        let count = accounts.len();
        let after = accounts.partition_point(|account| account.first <= sequence);
        let Some(account) = after.checked_sub(1).and_then(|index| accounts.get_mut(index)) else {
            return false;
        };
        account.outstanding = account.outstanding.saturating_sub(1);
        let removable = account.outstanding == 0 && after < count;
        self.show(&accounts);
        removable
    }

    /// The segments without a record that has not been drained, but for the last: that one may still grow.
    pub fn drained(&self) -> Vec<u64> {
        let accounts = self.lock();
        let closed = accounts.len().saturating_sub(1);
        accounts
            .iter()
            .take(closed)
            .filter(|account| account.outstanding == 0)
            .map(|account| account.first)
            .collect()
    }

    /// Like [`Ledger::drained`], with the last.
    pub fn drained_at_close(&self) -> Vec<u64> {
        self.lock().iter().filter(|account| account.outstanding == 0).map(|account| account.first).collect()
    }

    /// The segment's file is gone.
    pub fn remove(&self, first: u64) {
        let mut accounts = self.lock();
        accounts.retain(|account| account.first != first);
        self.show(&accounts);
    }

    pub fn outstanding(&self) -> u64 {
        self.lock().iter().map(|account| account.outstanding).sum()
    }

    /// Of the segments that cannot be removed because of what they hold.
    pub fn held_bytes(&self) -> u64 {
        self.lock().iter().filter(|account| account.outstanding > 0).map(|account| account.bytes).sum()
    }

    fn show(&self, accounts: &VecDeque<Account>) {
        self.bytes.set(accounts.iter().map(|account| account.bytes).sum::<u64>() as f64);
        self.segments.set(accounts.len() as f64);
        self.records.set(accounts.iter().map(|account| account.outstanding).sum::<u64>() as f64);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Account>> {
        // Counts are changed in one go, so a panic elsewhere leaves them right.
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
