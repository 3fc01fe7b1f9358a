use std::{fs, path::Path, time::Duration};

use serde::Serialize;

use super::rounds::{Figure, Pair, Subject};
use crate::{
    clock,
    failure::Failure,
    machine::Machine,
    stats::{Spread, ratios},
    table::{markdown, thousands},
};

/// Between these two lines of a file the table is put.
const BEGIN: &str = "<!-- figures: begin -->";
const END: &str = "<!-- figures: end -->";

#[derive(Serialize)]
pub struct Comparison {
    /// RFC 3339.
    at: String,
    machine: Machine,
    rounds: u32,
    seconds: f64,
    connections: usize,
    subjects: Vec<Compared>,
    /// Tokens that the server answered with 200 when it had to write them, each of which was found to be one row.
    rows_checked: u64,
}

#[derive(Serialize)]
struct Compared {
    name: &'static str,
    reference_name: &'static str,
    per_second: Spread,
    reference_per_second: Spread,
    /// Of the rates, taken within each round.
    ratio: Spread,
    p50_us: Spread,
    p99_us: Spread,
    pairs: Vec<Pair>,
}

impl Comparison {
    pub fn new(
        rounds: u32,
        seconds: Duration,
        connections: usize,
        subjects: Vec<(Subject, Vec<Pair>)>,
    ) -> Result<Self, Failure> {
        let rows_checked = issued(&subjects);
        let subjects: Option<Vec<_>> =
            subjects.into_iter().map(|(subject, pairs)| compare(subject, pairs)).collect();
        Ok(Self {
            at: clock::date(),
            machine: Machine::here(),
            rounds,
            seconds: seconds.as_secs_f64(),
            connections,
            subjects: subjects.ok_or_else(|| Failure::new("a reference answered nothing in every round"))?,
            rows_checked,
        })
    }

    pub fn markdown(&self) -> String {
        let header = ["what", "against", "ratio", "range", "per second", "reference", "p50 ms", "p99 ms"];
        let rows: Vec<_> = self.subjects.iter().map(Compared::row).collect();
        let Machine { cores, os, arch, commit } = &self.machine;
        format!(
            "{}\n{}, commit {}, {cores} cores ({os}, {arch}), server, generator and disk on one machine; medians of {} \
             rounds of {} s, {} connections, closed loop. Rows checked: {} tokens answered, as many rows written.\n",
            markdown(&header, &rows),
            self.at,
            commit.as_deref().unwrap_or("unknown"),
            self.rounds,
            self.seconds,
            self.connections,
            thousands(self.rows_checked as f64),
        )
    }
}

impl Compared {
    fn row(&self) -> Vec<String> {
        let millis = |micros: f64| format!("{:.2}", micros / 1000.0);
        vec![
            self.name.into(),
            self.reference_name.into(),
            format!("{:.2}", self.ratio.median),
            format!("{:.2} - {:.2}", self.ratio.least, self.ratio.most),
            thousands(self.per_second.median),
            thousands(self.reference_per_second.median),
            millis(self.p50_us.median),
            millis(self.p99_us.median),
        ]
    }
}

/// Each figure that writes tokens exists only because its rows agreed.
fn issued(subjects: &[(Subject, Vec<Pair>)]) -> u64 {
    let writing = subjects.iter().filter(|(subject, _)| subject.writes_tokens());
    writing.flat_map(|(_, pairs)| pairs).filter_map(|pair| pair.subject.rows).map(|rows| rows.answered).sum()
}

fn compare(subject: Subject, pairs: Vec<Pair>) -> Option<Compared> {
    let rates: Vec<_> =
        pairs.iter().map(|pair| (pair.subject.per_second, pair.reference.per_second)).collect();
    let of = |value: fn(&Figure) -> f64| Spread::of(pairs.iter().map(|pair| value(&pair.subject)));
    Some(Compared {
        name: subject.name,
        reference_name: subject.reference.name(),
        per_second: of(|figure| figure.per_second)?,
        reference_per_second: Spread::of(rates.iter().map(|(_, reference)| *reference))?,
        ratio: Spread::of(ratios(&rates))?,
        p50_us: of(|figure| figure.latency_us.p50 as f64)?,
        p99_us: of(|figure| figure.latency_us.p99 as f64)?,
        pairs,
    })
}

/// # Errors
/// The file lacks the marks.
pub fn check_marks(path: &Path) -> Result<(), Failure> {
    between_marks(&read(path)?, "").map(drop).ok_or_else(|| no_marks(path))
}

/// Replaces what stands between the marks.
pub fn put_into(path: &Path, table: &str) -> Result<(), Failure> {
    let text = between_marks(&read(path)?, table).ok_or_else(|| no_marks(path))?;
    let written = fs::write(path, text);
    written.map_err(|error| Failure::new(format!("--markdown {} cannot be written: {error}", path.display())))
}

fn read(path: &Path) -> Result<String, Failure> {
    let read = fs::read_to_string(path);
    read.map_err(|error| Failure::new(format!("--markdown {} cannot be read: {error}", path.display())))
}

fn no_marks(path: &Path) -> Failure {
    Failure::new(format!(
        "--markdown {}: the table's place is missing, the lines {BEGIN} and {END}",
        path.display()
    ))
}

fn between_marks(text: &str, table: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{table}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::Latency;

    fn figure(per_second: f64) -> Figure {
        let latency_us = Latency { p50: 1_000, p90: 2_000, p99: 3_000, p99_9: 4_000, max: 5_000 };
        Figure { per_second, latency_us, rows: None }
    }

    fn pair(subject: f64, reference: f64) -> Pair {
        Pair { subject: figure(subject), reference: figure(reference) }
    }

    #[test]
    fn a_row_shows_the_median_of_the_ratios_and_their_range() {
        let pairs = vec![pair(50.0, 100.0), pair(30.0, 50.0), pair(90.0, 100.0)];
        let compared = compare(Subject::for_test(), pairs).unwrap();
        assert_eq!(compared.row()[2..], ["0.60", "0.50 - 0.90", "50", "100", "1.00", "3.00"]);
    }

    #[test]
    fn a_reference_that_answers_nothing_has_no_ratio() {
        assert!(compare(Subject::for_test(), vec![pair(50.0, 0.0)]).is_none());
    }

    #[test]
    fn only_what_stands_between_the_marks_is_replaced() {
        let text = format!("above\n{BEGIN}\nold\n{END}\nbelow\n");
        let once = between_marks(&text, "| new |\n").unwrap();
        assert_eq!(once, format!("above\n{BEGIN}\n\n| new |\n\n{END}\nbelow\n"));
        assert_eq!(between_marks(&once, "| new |\n").unwrap(), once);
        assert_eq!(between_marks("no marks", "x"), None);
    }
}
