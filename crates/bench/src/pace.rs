//! When each request starts.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

use crate::{clock, failure::Failure};

/// How long the pacer sleeps at most before it looks whether the run has been given up.
const LOOK_UP: Duration = Duration::from_millis(50);

/// The right to send one request.
#[derive(Debug, Clone, Copy)]
pub struct Ticket {
    /// Counts the requests of a run from 0.
    pub index: u64,
    pub intended: Instant,
}

/// The start times of a fixed rate, as distances from the start of the run.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    pub rate: f64,
    pub total: u64,
}

impl Schedule {
    /// Computed from the index rather than from the previous start, so that rounding does not add up.
    pub fn intended(&self, index: u64) -> Duration {
        Duration::from_secs_f64(index as f64 / self.rate)
    }

    /// How many requests should have started when so much time has passed; the first starts at zero.
    pub fn due(&self, elapsed: Duration) -> u64 {
        ((elapsed.as_secs_f64() * self.rate) as u64).saturating_add(1).min(self.total)
    }
}

/// Hands out tickets to the workers.
pub enum Gate {
    Closed(ClosedLoop),
    Fixed(Arc<FixedRate>),
}

impl Gate {
    /// The next ticket, when its time has come; `None` when the run is over.
    pub async fn next(&self) -> Option<Ticket> {
        match self {
            Self::Closed(gate) => gate.next(),
            Self::Fixed(gate) => gate.next().await,
        }
    }

    pub fn give_up(&self) {
        match self {
            Self::Closed(gate) => gate.given_up.store(true, Relaxed),
            Self::Fixed(gate) => gate.permits.close(),
        }
    }
}

/// A worker that asks has had its answer and may send at once.
pub struct ClosedLoop {
    next: AtomicU64,
    limit: u64,
    until: Instant,
    given_up: AtomicBool,
}

impl ClosedLoop {
    pub fn new(limit: Option<u64>, until: Instant) -> Self {
        Self {
            next: AtomicU64::new(0),
            limit: limit.unwrap_or(u64::MAX),
            until,
            given_up: AtomicBool::new(false),
        }
    }

    fn next(&self) -> Option<Ticket> {
        let intended = clock::now();
        if intended >= self.until || self.given_up.load(Relaxed) {
            return None;
        }
        let index = self.next.fetch_add(1, Relaxed);
        (index < self.limit).then_some(Ticket { index, intended })
    }
}

/// A thread releases a permit at each intended start; permits that no worker has taken yet are the backlog.
pub struct FixedRate {
    schedule: Schedule,
    start: Instant,
    workers: usize,
    max_backlog: u64,
    permits: Semaphore,
    taken: AtomicU64,
    longest_backlog: AtomicU64,
}

/// How far a server lagged behind the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Backlog {
    /// The most requests that were due and waited for a free connection.
    pub longest: u64,
    /// Requests of the schedule that were never sent.
    pub unsent: u64,
}

impl FixedRate {
    pub fn new(schedule: Schedule, start: Instant, workers: usize, max_backlog: u64) -> Self {
        Self {
            schedule,
            start,
            workers,
            max_backlog,
            permits: Semaphore::new(0),
            taken: AtomicU64::new(0),
            longest_backlog: AtomicU64::new(0),
        }
    }

    /// Starts the thread. It is a thread because the runtime's timers are no finer than a millisecond.
    pub fn start_pacer(self: &Arc<Self>) -> Result<(), Failure> {
        let gate = Arc::clone(self);
        let started = thread::Builder::new().name("pacer".into()).spawn(move || gate.release_all());
        started.map(drop).map_err(|error| Failure::new(format!("the pacer thread does not start: {error}")))
    }

    pub fn backlog(&self) -> Backlog {
        let sent = self.taken.load(Relaxed).min(self.schedule.total);
        Backlog { longest: self.longest_backlog.load(Relaxed), unsent: self.schedule.total - sent }
    }

    async fn next(&self) -> Option<Ticket> {
        self.permits.acquire().await.ok()?.forget();
        let index = self.taken.fetch_add(1, Relaxed);
        let intended = self.start + self.schedule.intended(index);
        (index < self.schedule.total).then_some(Ticket { index, intended })
    }

    fn release_all(&self) {
        let mut released = 0;
        while released < self.schedule.total && !self.permits.is_closed() {
            let elapsed = clock::now().saturating_duration_since(self.start);
            let due = self.schedule.due(elapsed);
            if due > released {
                self.permits.add_permits((due - released) as usize);
                released = due;
                self.note_backlog();
            } else {
                thread::sleep(self.schedule.intended(released).saturating_sub(elapsed).min(LOOK_UP));
            }
        }
        // One more for each worker, with which it finds that the schedule has ended.
        self.permits.add_permits(self.workers);
    }

    fn note_backlog(&self) {
        let backlog = self.permits.available_permits() as u64;
        self.longest_backlog.fetch_max(backlog, Relaxed);
        if backlog > self.max_backlog {
            self.permits.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_start_evenly() {
        let schedule = Schedule { rate: 4.0, total: 10 };
        assert_eq!(schedule.intended(0), Duration::ZERO);
        assert_eq!(schedule.intended(1), Duration::from_millis(250));
        assert_eq!(schedule.intended(8), Duration::from_secs(2));
    }

    #[test]
    fn rounding_does_not_add_up() {
        let schedule = Schedule { rate: 3.0, total: u64::MAX };
        assert_eq!(schedule.intended(3_000_000), Duration::from_secs(1_000_000));
    }

    #[test]
    fn what_is_due_follows_the_time_and_ends_with_the_schedule() {
        let schedule = Schedule { rate: 1_000.0, total: 100 };
        assert_eq!(schedule.due(Duration::ZERO), 1);
        assert_eq!(schedule.due(Duration::from_micros(2_500)), 3);
        assert_eq!(schedule.due(Duration::from_secs(9)), 100);
    }

    #[test]
    fn a_closed_loop_ends_by_count() {
        let gate = ClosedLoop::new(Some(2), clock::now() + Duration::from_secs(60));
        assert!(gate.next().is_some() && gate.next().is_some());
        assert!(gate.next().is_none());
    }

    #[test]
    fn a_closed_loop_ends_by_time() {
        assert!(ClosedLoop::new(None, clock::now()).next().is_none());
    }

    #[tokio::test]
    async fn every_start_of_a_schedule_is_handed_out_once() {
        let gate = Arc::new(FixedRate::new(Schedule { rate: 1_000.0, total: 20 }, clock::now(), 1, 100));
        gate.start_pacer().unwrap();
        let mut last = None;
        while let Some(ticket) = gate.next().await {
            assert!(ticket.intended <= clock::now());
            assert_eq!(ticket.index, last.map_or(0, |last: u64| last + 1));
            last = Some(ticket.index);
        }
        assert_eq!(last, Some(19));
        assert_eq!(gate.backlog().unsent, 0);
    }

    #[tokio::test]
    async fn a_backlog_that_grows_too_long_ends_the_run() {
        let gate = FixedRate::new(Schedule { rate: 1_000_000.0, total: 1_000 }, clock::now(), 1, 10);
        gate.release_all();
        assert!(gate.next().await.is_none());
        assert!(gate.backlog().longest > 10 && gate.backlog().unsent == 1_000);
    }
}
