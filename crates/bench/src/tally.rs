use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::{
    failure::Failure,
    mix::{Part, Parts},
    pace::Ticket,
};

/// Latencies are kept in microseconds, to three digits, up to this; longer ones count as this.
const LONGEST_MICROS: u64 = 600_000_000;

/// What has been answered so far.
pub struct Tally {
    /// Requests that were meant to start earlier belong to the warm-up: counted, not measured.
    measure_from: Instant,
    /// When the last measured request was answered.
    last: Instant,
    latency: Histogram<u64>,
    pub sent: u64,
    /// Right answers, those of the warm-up included.
    pub right: u64,
    /// Of a mix, the right answers by kind.
    pub parts: Parts,
    /// Tokens answered of which each should be a row of its own in the store.
    pub tokens: u64,
    pub wrong: BTreeMap<String, u64>,
    /// Requests without an answer, of which it is unknown whether the server obeyed them.
    pub lost: u64,
    /// The first thing that went wrong, in full.
    pub first_wrong: Option<String>,
}

impl Tally {
    pub fn new(measure_from: Instant) -> Result<Self, Failure> {
        let latency = Histogram::new_with_bounds(1, LONGEST_MICROS, 3)
            .map_err(|error| Failure::new(format!("no histogram: {error}")))?;
        Ok(Self {
            measure_from,
            last: measure_from,
            latency,
            sent: 0,
            right: 0,
            parts: Parts::new(),
            tokens: 0,
            wrong: BTreeMap::new(),
            lost: 0,
            first_wrong: None,
        })
    }

    /// A right answer that arrived at `now`.
    pub fn right(&mut self, ticket: Ticket, now: Instant) {
        self.sent += 1;
        self.right += 1;
        if ticket.intended >= self.measure_from {
            let micros = now.saturating_duration_since(ticket.intended).as_micros();
            self.latency.saturating_record(u64::try_from(micros).unwrap_or(LONGEST_MICROS));
            self.last = self.last.max(now);
        }
    }

    /// What a right answer, or what had to be asked before it, brought besides.
    pub fn brought(&mut self, tokens: u64, part: Option<Part>) {
        self.tokens += tokens;
        if let Some(part) = part {
            *self.parts.entry(part).or_default() += 1;
        }
    }

    /// An answer that is not what the scenario expects, counted under `name`.
    pub fn wrong(&mut self, name: String, in_full: impl FnOnce() -> String) {
        self.sent += 1;
        *self.wrong.entry(name).or_default() += 1;
        self.first_wrong.get_or_insert_with(in_full);
    }

    pub fn lost(&mut self, name: String, in_full: impl FnOnce() -> String) {
        self.lost += 1;
        self.wrong(name, in_full);
    }

    pub fn wrong_total(&self) -> u64 {
        self.wrong.values().sum()
    }

    pub fn measured(&self) -> u64 {
        self.latency.len()
    }

    pub fn span(&self) -> Duration {
        self.last.saturating_duration_since(self.measure_from)
    }

    pub fn per_second(&self) -> f64 {
        let seconds = self.span().as_secs_f64();
        if seconds > 0.0 { self.measured() as f64 / seconds } else { 0.0 }
    }

    pub fn latency(&self) -> Latency {
        let at = |quantile| self.latency.value_at_quantile(quantile).min(self.latency.max());
        Latency { p50: at(0.5), p90: at(0.9), p99: at(0.99), p99_9: at(0.999), max: self.latency.max() }
    }
}

/// In microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Latency {
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
    pub max: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn the_warm_up_is_counted_but_not_measured() {
        let start = clock::now();
        let from = start + Duration::from_secs(1);
        let mut tally = Tally::new(from).unwrap();
        tally.right(Ticket { index: 0, intended: start }, from);
        tally.right(Ticket { index: 1, intended: from }, from + Duration::from_secs(2));
        assert_eq!((tally.right, tally.measured()), (2, 1));
        assert!((tally.per_second() - 0.5).abs() < 1e-9);
    }

    #[test]
    fn latency_counts_from_the_intended_start() {
        let start = clock::now();
        let mut tally = Tally::new(start).unwrap();
        let late = start + Duration::from_millis(300);
        tally.right(Ticket { index: 0, intended: start }, late);
        assert!((299_000..=301_000).contains(&tally.latency().max));
    }

    #[test]
    fn wrong_answers_are_counted_by_name_and_the_first_is_kept() {
        let mut tally = Tally::new(clock::now()).unwrap();
        tally.wrong("status 500".into(), || "one".into());
        tally.wrong("status 500".into(), || "two".into());
        tally.lost("timeout".into(), || "three".into());
        assert_eq!((tally.wrong["status 500"], tally.lost, tally.wrong_total()), (2, 1, 3));
        assert_eq!(tally.first_wrong.as_deref(), Some("one"));
    }
}
