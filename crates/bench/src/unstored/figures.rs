use std::time::Duration;

use serde::Serialize;

use super::signing::Algorithm;
use super::snapshot::Snapshot;
use crate::{
    clock,
    machine::Machine,
    stats::{Spread, ratios},
    table::{markdown, thousands},
    tally::Latency,
};

/// One measurement.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Figure {
    pub per_second: f64,
    pub latency_us: Latency,
}

/// An algorithm, and its figures round by round.
#[derive(Debug, Serialize)]
pub struct Compared {
    algorithm: Algorithm,
    server: Vec<Figure>,
    signer: Vec<Figure>,
}

/// What a steady rate did.
#[derive(Debug, Serialize)]
pub struct Held {
    pub algorithm: Algorithm,
    pub seconds: f64,
    pub rate: u32,
    pub tokens: u64,
    pub figure: Figure,
    /// In bytes.
    pub memory_before: u64,
    pub memory_after: u64,
    /// Bytes that the process had written to disk, while nobody asked and while the rate was held.
    pub written_per_second_idle: f64,
    pub written_per_second: f64,
    pub rows: u64,
}

#[derive(Serialize)]
pub struct Unstored {
    /// RFC 3339.
    at: String,
    machine: Machine,
    rounds: u32,
    seconds: f64,
    connections: usize,
    algorithms: Vec<Compared>,
    held: Option<Held>,
    snapshot: Option<Snapshot>,
}

impl Compared {
    pub const fn new(algorithm: Algorithm) -> Self {
        Self { algorithm, server: Vec::new(), signer: Vec::new() }
    }

    pub fn add(&mut self, signs_only: bool, figure: Figure) {
        if signs_only { &mut self.signer } else { &mut self.server }.push(figure);
    }

    fn row(&self) -> Vec<String> {
        let pairs = self.server.iter().zip(&self.signer);
        let pairs: Vec<_> = pairs.map(|(server, signer)| (server.per_second, signer.per_second)).collect();
        let ratio = Spread::of(ratios(&pairs)).map_or_else(String::new, |ratio| {
            format!("{:.2} ({:.2} - {:.2})", ratio.median, ratio.least, ratio.most)
        });
        let median = |figures: &[Figure], value: fn(&Figure) -> f64| {
            Spread::of(figures.iter().map(value)).map_or(0.0, |spread| spread.median)
        };
        vec![
            self.algorithm.name().to_owned(),
            ratio,
            thousands(median(&self.server, |figure| figure.per_second)),
            thousands(median(&self.signer, |figure| figure.per_second)),
            format!("{:.2}", median(&self.server, |figure| figure.latency_us.p50 as f64) / 1000.0),
            format!("{:.2}", median(&self.server, |figure| figure.latency_us.p99 as f64) / 1000.0),
        ]
    }
}

impl Held {
    fn sentence(&self) -> String {
        format!(
            "{} tokens a second ({}) for {} s: {} tokens, p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms; memory {} MB before \
             and {} MB after; {} rows; {} bytes a second written to disk, and {} while nobody asked.\n",
            self.rate,
            self.algorithm.name(),
            self.seconds,
            thousands(self.tokens as f64),
            self.figure.latency_us.p50 as f64 / 1000.0,
            self.figure.latency_us.p99 as f64 / 1000.0,
            self.figure.latency_us.p99_9 as f64 / 1000.0,
            thousands(self.memory_before as f64 / 1e6),
            thousands(self.memory_after as f64 / 1e6),
            self.rows,
            thousands(self.written_per_second),
            thousands(self.written_per_second_idle),
        )
    }
}

impl Unstored {
    pub fn new(
        rounds: u32,
        seconds: Duration,
        connections: usize,
        algorithms: Vec<Compared>,
        (held, snapshot): (Option<Held>, Option<Snapshot>),
    ) -> Self {
        let (at, machine, seconds) = (clock::date(), Machine::here(), seconds.as_secs_f64());
        Self { at, machine, rounds, seconds, connections, algorithms, held, snapshot }
    }

    pub fn markdown(&self) -> String {
        let header = ["algorithm", "/ signer alone", "per second", "signer alone", "p50 ms", "p99 ms"];
        let rows: Vec<_> = self.algorithms.iter().map(Compared::row).collect();
        let Machine { cores, os, arch, commit } = &self.machine;
        let held = self.held.as_ref().map(Held::sentence).unwrap_or_default();
        let snapshot = self.snapshot.as_ref().map(Snapshot::sentence).unwrap_or_default();
        format!(
            "{}\n{held}\n{snapshot}\n{}, commit {}, {cores} cores ({os}, {arch}), servers and generator on one machine; medians of {} \
             rounds of {} s, {} connections, closed loop. No round wrote a row.\n",
            markdown(&header, &rows),
            self.at,
            commit.as_deref().unwrap_or("unknown"),
            self.rounds,
            self.seconds,
            self.connections,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_compared_with_the_signer_of_its_round() {
        let latency_us = Latency { p50: 1_000, p90: 2_000, p99: 3_000, p99_9: 4_000, max: 5_000 };
        let mut compared = Compared::new(Algorithm::Es256);
        for (server, signer) in [(80.0, 100.0), (45.0, 50.0), (35.0, 70.0)] {
            compared.add(false, Figure { per_second: server, latency_us });
            compared.add(true, Figure { per_second: signer, latency_us });
        }
        assert_eq!(compared.row(), ["ES256", "0.80 (0.50 - 0.90)", "45", "70", "1.00", "3.00"]);
    }
}
