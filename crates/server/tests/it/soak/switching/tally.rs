use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How often what was answered.
#[derive(Default)]
pub struct Tally {
    issued: AtomicUsize,
    refreshed: AtomicUsize,
    introspected: AtomicUsize,
    revoked: AtomicUsize,
    refused: AtomicUsize,
    unavailable: AtomicUsize,
}

impl Tally {
    /// Gives how many there were before.
    pub fn add_issued(&self) -> usize {
        self.issued.fetch_add(1, Ordering::SeqCst)
    }

    pub fn add_refreshed(&self) {
        self.refreshed.fetch_add(1, Ordering::SeqCst);
    }

    pub fn add_introspected(&self) {
        self.introspected.fetch_add(1, Ordering::SeqCst);
    }

    pub fn add_revoked(&self) {
        self.revoked.fetch_add(1, Ordering::SeqCst);
    }

    pub fn add_refused(&self) {
        self.refused.fetch_add(1, Ordering::SeqCst);
    }

    pub fn add_unavailable(&self) {
        self.unavailable.fetch_add(1, Ordering::SeqCst);
    }

    pub fn revoked(&self) -> usize {
        self.revoked.load(Ordering::SeqCst)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |of: &AtomicUsize| of.load(Ordering::SeqCst);
        write!(
            f,
            "{} issued, {} refreshed, {} introspected, {} revoked, {} refused after an acknowledgement, {} answers 503",
            number(&self.issued),
            number(&self.refreshed),
            number(&self.introspected),
            number(&self.revoked),
            number(&self.refused),
            number(&self.unavailable),
        )
    }
}
