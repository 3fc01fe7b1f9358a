use std::time::Duration;

use serde::Serialize;

use super::{capacities::Zipf, introspection::Introspection, issuing::Issuing};
use crate::{
    clock,
    machine::Machine,
    stats::{Spread, ratios},
    tally::Latency,
};

/// Everything that a run found.
#[derive(Serialize)]
pub struct Caches {
    /// RFC 3339.
    at: String,
    machine: Machine,
    rounds: u32,
    seconds: f64,
    connections: usize,
    pub introspection: Option<Introspection>,
    pub zipf: Option<Zipf>,
    pub issuing: Option<Issuing>,
}

impl Caches {
    pub fn new(rounds: u32, seconds: Duration, connections: usize) -> Self {
        Self {
            at: clock::date(),
            machine: Machine::here(),
            rounds,
            seconds: seconds.as_secs_f64(),
            connections,
            introspection: None,
            zipf: None,
            issuing: None,
        }
    }

    /// A table for each part, and what is true of all.
    pub fn markdown(&self) -> String {
        let introspection = self.introspection.as_ref().map(Introspection::markdown);
        let zipf = self.zipf.as_ref().map(Zipf::markdown);
        let issuing = self.issuing.as_ref().map(Issuing::markdown);
        let mut out: Vec<_> = [introspection, zipf, issuing].into_iter().flatten().collect();
        let Machine { cores, os, arch, commit } = &self.machine;
        out.push(format!(
            "{}, commit {}, {cores} cores ({os}, {arch}), servers, generator and disk on one machine; medians of {} \
             rounds of {} s, {} connections, closed loop. {}.\n",
            self.at,
            commit.as_deref().unwrap_or("unknown"),
            self.rounds,
            self.seconds,
            self.connections,
            self.postgres(),
        ));
        out.join("\n")
    }

    /// The same for every part.
    fn postgres(&self) -> &str {
        let introspection = self.introspection.as_ref().map(|part| &part.postgres);
        let zipf = self.zipf.as_ref().map(|part| &part.postgres);
        let issuing = self.issuing.as_ref().map(|part| &part.postgres);
        introspection.or(zipf).or(issuing).map_or("", String::as_str)
    }
}

/// Speed and latency of one measurement.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Speed {
    pub per_second: f64,
    pub latency_us: Latency,
}

/// The median of something over the rounds, 0 without any.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    Spread::of(values).map_or(0.0, |spread| spread.median)
}

/// Of the rates of the rounds, each against the other of the same round; empty without any.
pub fn ratio(speeds: &[Speed], references: &[Speed]) -> String {
    let pairs = speeds.iter().zip(references);
    let pairs: Vec<_> = pairs.map(|(speed, other)| (speed.per_second, other.per_second)).collect();
    Spread::of(ratios(&pairs)).map_or_else(String::new, |ratio| {
        format!("{:.2} ({:.2} - {:.2})", ratio.median, ratio.least, ratio.most)
    })
}

/// Medians of the latency in milliseconds, the half and the worst hundredth.
pub fn latencies(speeds: &[Speed]) -> [String; 2] {
    let of = |value: fn(&Latency) -> u64| {
        let millis = median(speeds.iter().map(|speed| value(&speed.latency_us) as f64)) / 1000.0;
        format!("{millis:.2}")
    };
    [of(|latency| latency.p50), of(|latency| latency.p99)]
}

pub fn per_second(speeds: &[Speed]) -> f64 {
    median(speeds.iter().map(|speed| speed.per_second))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn speed(per_second: f64) -> Speed {
        let latency_us = Latency { p50: 1_000, p90: 2_000, p99: 3_000, p99_9: 4_000, max: 5_000 };
        Speed { per_second, latency_us }
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let [speeds, references] = [[10.0, 10.0, 32.0], [10.0, 20.0, 40.0]].map(|rates| rates.map(speed));
        assert_eq!(ratio(&speeds, &references), "0.80 (0.50 - 1.00)");
        assert_eq!(ratio(&[], &references), "");
        assert_eq!(latencies(&speeds), ["1.00", "3.00"]);
        assert_eq!(per_second(&speeds), 10.0);
    }
}
