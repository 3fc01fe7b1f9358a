use std::{fmt::Write as _, time::Duration};

use serde::Serialize;

use super::{
    conditions::Condition,
    contenders::{self, Contender, RATIOS},
    rounds::{Cell, Figure, Plan},
};
use crate::{
    clock,
    machine::Machine,
    stats::{Spread, ratios},
    table::{markdown, thousands},
};

/// Everything that a run found.
#[derive(Serialize)]
pub struct Modes {
    /// RFC 3339.
    at: String,
    machine: Machine,
    postgres: String,
    rounds: u32,
    seconds: f64,
    conditions: Vec<Measured>,
    callers: Vec<usize>,
    cells: Vec<Cell>,
    #[serde(skip)]
    contenders: Vec<&'static Contender>,
}

/// A condition, and what it does to a commit.
#[derive(Serialize)]
pub struct Measured {
    #[serde(flatten)]
    pub condition: &'static Condition,
    /// A single commit, on a connection with nothing else on it.
    pub commit_us: u64,
}

impl Measured {
    pub fn new(condition: &'static Condition, commit: Duration) -> Self {
        Self { condition, commit_us: commit.as_micros() as u64 }
    }
}

impl Modes {
    pub fn new(
        postgres: String,
        plan: &Plan,
        contenders: Vec<&'static Contender>,
        conditions: Vec<Measured>,
        cells: Vec<Cell>,
    ) -> Self {
        Self {
            at: clock::date(),
            machine: Machine::here(),
            postgres,
            rounds: plan.rounds,
            seconds: plan.seconds.as_secs_f64(),
            conditions,
            callers: plan.callers.clone(),
            cells,
            contenders,
        }
    }

    /// The ratios, and for each condition the rates and latencies behind them.
    pub fn markdown(&self) -> String {
        let mut out = self.ratios();
        for Measured { condition, commit_us } in &self.conditions {
            let commit = *commit_us as f64 / 1000.0;
            // Writing to a String cannot fail.
            let _ = write!(out, "\nRates, {} (a commit alone takes {commit:.2} ms):\n\n", condition.name);
            out += &self.rates(condition);
        }
        out + "\n" + &self.legend()
    }

    /// One row for each condition and number of callers; a column for each pair that was measured.
    fn ratios(&self) -> String {
        let pairs: Vec<_> =
            RATIOS.into_iter().filter(|(one, other)| self.has(one) && self.has(other)).collect();
        let titles: Vec<_> =
            pairs.iter().map(|(one, other)| format!("{} / {}", name(one), name(other))).collect();
        let mut header = vec!["condition", "callers"];
        header.extend(titles.iter().map(String::as_str));
        let rows = self.places().map(|(condition, callers)| {
            let mut row = vec![condition.name.to_owned(), callers.to_string()];
            row.extend(pairs.iter().map(|pair| self.ratio(condition, callers, *pair)));
            row
        });
        markdown(&header, &rows.collect::<Vec<_>>())
    }

    fn ratio(&self, condition: &Condition, callers: usize, (one, other): (&str, &str)) -> String {
        let rates = |key| self.figures(condition, callers, key).map(|figure| figure.per_second);
        let pairs: Vec<_> = rates(one).zip(rates(other)).collect();
        Spread::of(ratios(&pairs)).map_or_else(String::new, |ratio| {
            format!("{:.2} ({:.2} - {:.2})", ratio.median, ratio.least, ratio.most)
        })
    }

    /// One row for each contender, and another for the rows of one that defers; a column for each number of callers.
    fn rates(&self, condition: &Condition) -> String {
        let titles: Vec<_> = self.callers.iter().map(ToString::to_string).collect();
        let mut header = vec!["callers: a second (p50 / p99 ms)"];
        header.extend(titles.iter().map(String::as_str));
        let mut rows = Vec::new();
        for contender in &self.contenders {
            rows.push(self.row(contender.name, |callers| self.rate(condition, callers, contender.key)));
            if contender.defers() {
                rows.push(
                    self.row("- its rows written", |callers| self.written(condition, callers, contender.key)),
                );
            }
        }
        markdown(&header, &rows)
    }

    fn row(&self, title: &str, cell: impl Fn(usize) -> String) -> Vec<String> {
        std::iter::once(title.to_owned()).chain(self.callers.iter().map(|callers| cell(*callers))).collect()
    }

    fn written(&self, condition: &Condition, callers: usize, key: &str) -> String {
        let deferred = self.figures(condition, callers, key).filter_map(|figure| figure.deferred);
        let written = Spread::of(deferred.map(|deferred| deferred.written_per_second));
        written.map_or_else(String::new, |written| thousands(written.median))
    }

    fn rate(&self, condition: &Condition, callers: usize, key: &str) -> String {
        let of = |value: fn(&Figure) -> f64| {
            Spread::of(self.figures(condition, callers, key).map(value)).map_or(0.0, |spread| spread.median)
        };
        format!(
            "{} ({:.2} / {:.2})",
            thousands(of(|figure| figure.per_second)),
            of(|figure| figure.latency_us.p50 as f64) / 1000.0,
            of(|figure| figure.latency_us.p99 as f64) / 1000.0
        )
    }

    fn legend(&self) -> String {
        let Machine { cores, os, arch, commit } = &self.machine;
        let answered: u64 = self.all().map(|figure| figure.rows.answered).sum();
        let drained =
            self.all().filter_map(|figure| figure.deferred).map(|deferred| deferred.drained_us).max();
        let drained = drained.map_or_else(String::new, |micros| {
            format!(
                " The rows of asynchronous modes were there {:.2} s after the last answer at most.",
                micros as f64 / 1_000_000.0
            )
        });
        format!(
            "{}, commit {}, {cores} cores ({os}, {arch}), servers, generator and disk on one machine; medians of {} \
             rounds of {} s, closed loop, ranges in brackets. Rows checked: {} tokens answered, as many rows written.\
             {drained} {}.\n",
            self.at,
            commit.as_deref().unwrap_or("unknown"),
            self.rounds,
            self.seconds,
            thousands(answered as f64),
            self.postgres,
        )
    }

    fn has(&self, key: &str) -> bool {
        self.contenders.iter().any(|contender| contender.key == key)
    }

    fn places(&self) -> impl Iterator<Item = (&'static Condition, usize)> {
        let conditions = self.conditions.iter().map(|measured| measured.condition);
        conditions.flat_map(|condition| self.callers.iter().map(move |callers| (condition, *callers)))
    }

    fn all(&self) -> impl Iterator<Item = &Figure> {
        self.cells.iter().flat_map(|cell| &cell.figures)
    }

    fn figures(&self, condition: &Condition, callers: usize, key: &str) -> impl Iterator<Item = &Figure> {
        let wanted = (condition.key, callers);
        let cells = self.cells.iter().filter(move |cell| (cell.condition, cell.callers) == wanted);
        let key = key.to_owned();
        cells.filter(move |cell| cell.contender == key).flat_map(|cell| &cell.figures)
    }
}

fn name(key: &str) -> &'static str {
    contenders::by_key(key).map_or("", |contender| contender.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        modes::{conditions::CONDITIONS, contenders::SYNC},
        rows::Rows,
        tally::Latency,
    };

    fn figure(per_second: f64) -> Figure {
        let latency_us = Latency { p50: 1_000, p90: 2_000, p99: 3_000, p99_9: 4_000, max: 5_000 };
        let rows = Rows { before: 0, after: 10, answered: 10, lost: 0 };
        Figure { per_second, latency_us, rows, deferred: None }
    }

    #[test]
    fn a_table_has_ratios_of_what_was_measured_and_the_rates_behind_them() {
        let condition = &CONDITIONS[0];
        let cell = |contender, rates: &[f64]| Cell {
            condition: condition.key,
            callers: 10,
            contender,
            figures: rates.iter().copied().map(figure).collect(),
        };
        let plan = Plan {
            rounds: 3,
            seconds: Duration::from_secs(1),
            warmup: Duration::ZERO,
            callers: vec![10],
            conditions: vec![condition],
        };
        let contenders: Vec<_> =
            [SYNC, "baseline-grouped"].map(|key| contenders::by_key(key).unwrap()).into();
        let cells = vec![cell(SYNC, &[50.0, 30.0, 90.0]), cell("baseline-grouped", &[100.0, 50.0, 100.0])];
        let measured = vec![Measured::new(condition, Duration::from_micros(250))];
        let text = Modes::new("PostgreSQL".into(), &plan, contenders, measured, cells).markdown();
        assert!(text.contains("| as it is  |      10 |       0.60 (0.50 - 0.90) |"), "{text}");
        assert!(text.contains("| sync                             |  50 (1.00 / 3.00) |"), "{text}");
        assert!(text.contains("alone takes 0.25 ms") && text.contains("60 tokens answered"), "{text}");
        assert!(!text.contains("async"), "{text}");
    }
}
