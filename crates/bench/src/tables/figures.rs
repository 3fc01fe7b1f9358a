use std::time::Duration;

use serde::Serialize;

use crate::{
    clock,
    machine::Machine,
    rows::Rows,
    stats::{Spread, ratios},
    table::{markdown, thousands},
    tally::Latency,
};

/// One measurement.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Figure {
    pub per_second: f64,
    pub latency_us: Latency,
    pub rows: Option<Rows>,
}

/// A database, and its figures round by round.
#[derive(Debug, Serialize)]
pub struct Size {
    /// That were there before.
    pub tokens: u64,
    /// Of the database before the first round.
    pub bytes: u64,
    pub issue: Vec<Figure>,
    pub introspect: Vec<Figure>,
}

#[derive(Serialize)]
pub struct Tables {
    /// RFC 3339.
    at: String,
    machine: Machine,
    postgres: String,
    rounds: u32,
    seconds: f64,
    connections: usize,
    sizes: Vec<Size>,
}

impl Tables {
    pub fn new(
        postgres: String,
        rounds: u32,
        seconds: Duration,
        connections: usize,
        sizes: Vec<Size>,
    ) -> Self {
        let (at, machine, seconds) = (clock::date(), Machine::here(), seconds.as_secs_f64());
        Self { at, machine, postgres, rounds, seconds, connections, sizes }
    }

    pub fn markdown(&self) -> String {
        let header = ["what", "tokens there", "database", "ratio", "range", "per second", "p50 ms", "p99 ms"];
        let issue = self.rows("issue", |size| &size.issue);
        let introspect = self.rows("introspect", |size| &size.introspect);
        let rows: Vec<_> = issue.into_iter().chain(introspect).collect();
        let Machine { cores, os, arch, commit } = &self.machine;
        let counted = self.sizes.iter().flat_map(|size| &size.issue).filter_map(|figure| figure.rows);
        let answered: u64 = counted.map(|rows| rows.answered).sum();
        format!(
            "{}\n{}, commit {}, {cores} cores ({os}, {arch}), servers, generator and disk on one machine; medians of {} \
             rounds of {} s, {} connections, closed loop; ratios to the first size, taken within each round. Rows \
             checked: {} tokens answered, as many rows written. {}.\n",
            markdown(&header, &rows),
            self.at,
            commit.as_deref().unwrap_or("unknown"),
            self.rounds,
            self.seconds,
            self.connections,
            thousands(answered as f64),
            self.postgres,
        )
    }

    fn rows(&self, what: &str, figures: fn(&Size) -> &Vec<Figure>) -> Vec<Vec<String>> {
        let smallest = self.sizes.first().map(|size| figures(size).as_slice()).unwrap_or_default();
        self.sizes.iter().map(|size| row(what, size, figures(size), smallest)).collect()
    }
}

fn row(what: &str, size: &Size, figures: &[Figure], smallest: &[Figure]) -> Vec<String> {
    let median =
        |value: fn(&Figure) -> f64| Spread::of(figures.iter().map(value)).map_or(0.0, |spread| spread.median);
    let pairs = figures.iter().zip(smallest);
    let pairs: Vec<_> = pairs.map(|(figure, small)| (figure.per_second, small.per_second)).collect();
    let (ratio, range) = Spread::of(ratios(&pairs)).map_or_else(Default::default, |ratio| {
        (format!("{:.2}", ratio.median), format!("{:.2} - {:.2}", ratio.least, ratio.most))
    });
    vec![
        what.to_owned(),
        thousands(size.tokens as f64),
        format!("{} MB", thousands(size.bytes as f64 / 1_000_000.0)),
        ratio,
        range,
        thousands(median(|figure| figure.per_second)),
        format!("{:.2}", median(|figure| figure.latency_us.p50 as f64) / 1000.0),
        format!("{:.2}", median(|figure| figure.latency_us.p99 as f64) / 1000.0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(tokens: u64, rates: &[f64]) -> Size {
        let latency_us = Latency { p50: 1_000, p90: 2_000, p99: 3_000, p99_9: 4_000, max: 5_000 };
        let figures: Vec<_> =
            rates.iter().map(|rate| Figure { per_second: *rate, latency_us, rows: None }).collect();
        Size { tokens, bytes: 5_000_000, issue: figures.clone(), introspect: figures }
    }

    #[test]
    fn ratios_are_to_the_first_size_of_the_same_round() {
        let sizes = vec![size(1_000, &[10.0, 20.0, 40.0]), size(2_000, &[9.0, 10.0, 32.0])];
        let tables = Tables::new("PostgreSQL".into(), 3, Duration::from_secs(1), 4, sizes);
        let rows = tables.rows("issue", |size| &size.issue);
        assert_eq!(rows[0][3..5], ["1.00", "1.00 - 1.00"]);
        assert_eq!(rows[1], ["issue", "2,000", "5 MB", "0.80", "0.50 - 0.90", "10", "1.00", "3.00"]);
    }
}
