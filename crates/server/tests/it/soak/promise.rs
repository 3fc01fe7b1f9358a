//! What the soaks of the promise share: a revocation that was acknowledged holds everywhere after the bound, whatever
//! happens meanwhile. Callers end tokens and go on to ask; what they saw is judged by one clock.

pub mod callers;
mod check;
pub mod faults;
pub mod http;
pub mod run;
pub mod tally;
pub mod verdict;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use self::faults::{Fault, Faults};
use self::tally::Tally;

/// Who is asked: servers or gateways.
pub const NODES: usize = 3;
/// The default, which is what they are given, too.
pub const MAX_STALENESS: Duration = Duration::from_secs(1);

/// What happened, and what was seen of it.
pub struct Record<F: Fault> {
    pub faults: Faults<F>,
    tally: Mutex<Tally<F>>,
}

impl<F: Fault> Record<F> {
    pub fn new() -> Self {
        Self { faults: Faults::none_yet(), tally: Mutex::new(Tally::new()) }
    }

    pub fn tally(&self) -> MutexGuard<'_, Tally<F>> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For as long as a fault is in force.
pub async fn pass(length: Duration) {
    // wait: for the length of a fault, which is what is tested.
    sleep(length).await;
}

pub fn percent_of_bound(percent: u32) -> Duration {
    MAX_STALENESS * percent / 100
}
