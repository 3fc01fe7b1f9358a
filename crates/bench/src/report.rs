use std::{collections::BTreeMap, io::Write as _, path::Path};

use serde::Serialize;

use crate::{
    clock,
    failure::Failure,
    grants::GrantFacts,
    load::{Load, Measured},
    machine::Machine,
    mix::Parts,
    pace::Backlog,
    rows::Rows,
    scenario::{Scenario, Spec},
    table::{markdown, millis, thousands},
    tally::Latency,
};

/// One run, as `--json` has it.
#[derive(Serialize)]
pub struct Report {
    program: &'static str,
    /// RFC 3339.
    at: String,
    machine: Machine,
    scenario: Scenario,
    target: String,
    load: LoadFacts,
    sent: u64,
    /// Right answers, warm-up included.
    right: u64,
    /// Right answers whose intended start was after the warm-up; rate and latencies are theirs.
    measured: u64,
    seconds: f64,
    pub per_second: f64,
    /// Microseconds from the intended start; in a closed loop that is when the request was sent.
    pub latency_us: Latency,
    /// Right answers of a mix by kind, warm-up included.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    parts: Parts,
    errors: BTreeMap<String, u64>,
    backlog: Option<Backlog>,
    pool: Option<PoolFacts>,
    grants: Option<GrantFacts>,
    rows: Option<Rows>,
    /// Whether the figures mean what they say.
    pub ok: bool,
    pub problems: Vec<String>,
}

#[derive(Serialize)]
struct LoadFacts {
    kind: &'static str,
    connections: usize,
    rate: Option<f64>,
    warmup_seconds: f64,
    seconds: f64,
    count: Option<u64>,
}

#[derive(Serialize)]
struct PoolFacts {
    tokens: u64,
    distinct: u64,
}

impl Report {
    pub fn new(spec: &Spec, measured: &Measured, rows: Option<Rows>) -> Result<Self, Failure> {
        let tally = &measured.tally;
        let problems = problems(spec.scenario, measured, rows);
        Ok(Self {
            program: concat!("grantry-bench ", env!("CARGO_PKG_VERSION")),
            at: clock::date(),
            machine: Machine::here(),
            scenario: spec.scenario,
            target: spec.target()?.to_string(),
            load: LoadFacts::of(&spec.load),
            sent: tally.sent,
            right: tally.right,
            measured: tally.measured(),
            seconds: tally.span().as_secs_f64(),
            per_second: tally.per_second(),
            latency_us: tally.latency(),
            parts: tally.parts.clone(),
            errors: tally.wrong.clone(),
            backlog: measured.backlog,
            pool: measured.pool.map(|(tokens, distinct)| PoolFacts { tokens, distinct }),
            grants: measured.grants,
            rows,
            ok: problems.is_empty(),
            problems,
        })
    }

    /// # Errors
    /// The figures do not mean what they say; the whole report says why.
    pub fn into_usable(self) -> Result<Self, Failure> {
        if self.ok { Ok(self) } else { Err(Failure::new(self.text())) }
    }

    /// For a person.
    pub fn text(&self) -> String {
        let mut out = format!("{}, {}\n{}\n\n", self.scenario.name(), self.load.text(), self.target);
        let Latency { p50, p90, p99, p99_9, max } = self.latency_us;
        let mut row = vec![self.scenario.name().to_owned(), thousands(self.per_second)];
        row.extend([p50, p90, p99, p99_9, max].map(millis));
        row.push(thousands(self.errors.values().sum::<u64>() as f64));
        let header = ["scenario", "per second", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms", "errors"];
        out += &markdown(&header, &[row]);
        out +=
            &format!("\n{} requests sent, {} measured in {:.1} s\n", self.sent, self.measured, self.seconds);
        if let Some(backlog) = self.backlog {
            out += &format!("backlog: {} at most, {} never sent\n", backlog.longest, backlog.unsent);
        }
        if let Some(pool) = &self.pool {
            out += &format!("pool: {} tokens, {} of them distinct\n", pool.tokens, pool.distinct);
        }
        if let Some(GrantFacts { count, obtained_again, lost }) = self.grants {
            out +=
                &format!("grants: {count}, {obtained_again} times obtained again, {lost} lost at the end\n");
        }
        if !self.parts.is_empty() {
            let counts = self.parts.iter().map(|(part, count)| format!("{count} {}", part.name()));
            out += &format!("mix: {}\n", counts.collect::<Vec<_>>().join(", "));
        }
        if let Some(rows) = self.rows {
            out +=
                &format!("rows: {} before, {} after; {} answers\n", rows.before, rows.after, rows.answered);
        }
        for (name, count) in &self.errors {
            out += &format!("{count} x {name}\n");
        }
        for problem in &self.problems {
            out += &format!("FAILED: {problem}\n");
        }
        out
    }
}

impl LoadFacts {
    fn of(load: &Load) -> Self {
        Self {
            kind: if load.rate.is_some() { "fixed rate" } else { "closed loop" },
            connections: load.connections,
            rate: load.rate,
            warmup_seconds: load.warmup.as_secs_f64(),
            seconds: load.seconds.as_secs_f64(),
            count: load.count,
        }
    }

    fn text(&self) -> String {
        let rate = self.rate.map(|rate| format!(" of {rate} a second")).unwrap_or_default();
        let warmup = self.warmup_seconds;
        format!(
            "{}{rate}, {} connections, {} s after {warmup} s of warm-up",
            self.kind, self.connections, self.seconds
        )
    }
}

/// Whatever makes the figures worthless.
fn problems(scenario: Scenario, measured: &Measured, rows: Option<Rows>) -> Vec<String> {
    let tally = &measured.tally;
    let mut problems = Vec::new();
    if tally.wrong_total() > 0 {
        let first = tally.first_wrong.as_deref().unwrap_or_default();
        problems.push(format!(
            "{} of {} requests went wrong; the first: {first}",
            tally.wrong_total(),
            tally.sent
        ));
    } else if tally.measured() == 0 {
        problems.push(
            "nothing was measured: the run ended within the warm-up (see --warmup, --count, --pool)".into(),
        );
    }
    if let Some(backlog) = measured.backlog.filter(|backlog| backlog.unsent > 0) {
        problems.push(format!(
            "the server does not keep up: {} requests of the schedule were never sent (see --rate, --max-backlog)",
            backlog.unsent
        ));
    }
    if let Some(Err(failure)) = rows.map(|rows| rows.check(scenario)) {
        problems.push(failure.to_string());
    }
    problems
}

/// # Errors
/// `flag` named a file that cannot be written.
pub fn write_json(flag: &str, path: &Path, value: &impl Serialize) -> Result<(), Failure> {
    let json =
        serde_json::to_string_pretty(value).map_err(|error| Failure::new(format!("no JSON: {error}")))?;
    let written = std::fs::write(path, json + "\n");
    written.map_err(|error| Failure::new(format!("{flag} {} cannot be written: {error}", path.display())))
}

/// To standard output.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Failure::new(format!("standard output is closed: {error}")))
}
