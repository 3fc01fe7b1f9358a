use std::{path::PathBuf, time::Duration};

use indicatif::ProgressBar;
use serde::Serialize;

use super::{
    CompareArgs,
    grantry::{self, Grantry, JWT_CLIENT, OPAQUE_CLIENT, SCOPE},
    own_target,
};
use crate::{
    failure::Failure,
    form::Param,
    load::{self, Load},
    pool, progress, raw_sqlite,
    report::Report,
    rows::Rows,
    scenario::{Endpoints, Pool, Scenario, Spec, token_form},
    tally::Latency,
};

/// How many tokens each round introspects in turn.
const POOL: u64 = 1_000;

/// What is compared, and with what.
#[derive(Debug, Clone, Copy)]
pub struct Subject {
    pub name: &'static str,
    pub reference: &'static str,
    scenario: Scenario,
    client: &'static str,
}

impl Subject {
    pub fn is_issue(&self) -> bool {
        self.scenario == Scenario::Issue
    }

    #[cfg(test)]
    pub fn for_test() -> Self {
        SUBJECTS[0]
    }
}

const RAW: &str = "raw grouped insert";
const BASELINE: &str = "baseline server";

const SUBJECTS: [Subject; 5] = [
    Subject { name: "issue, opaque", reference: RAW, scenario: Scenario::Issue, client: OPAQUE_CLIENT },
    Subject { name: "issue, JWT", reference: RAW, scenario: Scenario::Issue, client: JWT_CLIENT },
    Subject { name: "reuse, opaque", reference: BASELINE, scenario: Scenario::Reuse, client: OPAQUE_CLIENT },
    Subject { name: "reuse, JWT", reference: BASELINE, scenario: Scenario::Reuse, client: JWT_CLIENT },
    Subject {
        name: "introspect, opaque",
        reference: BASELINE,
        scenario: Scenario::Introspect,
        client: OPAQUE_CLIENT,
    },
];

/// One measurement.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Figure {
    pub per_second: f64,
    pub latency_us: Latency,
    pub rows: Option<Rows>,
}

/// A subject and its reference, measured one right after the other.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Pair {
    pub subject: Figure,
    pub reference: Figure,
}

pub struct Rounds {
    rounds: u32,
    load: Load,
    server: Endpoints,
    server_database: PathBuf,
    baseline: Endpoints,
    raw_database: PathBuf,
    bar: ProgressBar,
}

impl Rounds {
    pub fn new(
        args: &CompareArgs,
        server: &Grantry,
        baseline_url: &str,
        raw_database: PathBuf,
    ) -> Result<Self, Failure> {
        let load = Load {
            connections: args.connections,
            rate: None,
            warmup: args.warmup,
            seconds: args.seconds,
            count: None,
            timeout: Duration::from_secs(10),
            max_backlog: 0,
            quiet: true,
        };
        let steps = u64::from(args.rounds) * SUBJECTS.len() as u64;
        Ok(Self {
            rounds: args.rounds,
            load,
            server: endpoints(&server.url)?,
            server_database: server.database.clone(),
            baseline: endpoints(baseline_url)?,
            raw_database,
            bar: progress::bar(steps, args.quiet, "{bar:40} {pos}/{len} {msg}"),
        })
    }

    /// The pairs of every subject, round by round.
    pub async fn measure(&self) -> Result<Vec<(Subject, Vec<Pair>)>, Failure> {
        let mut subjects = SUBJECTS.map(|subject| (subject, Vec::new()));
        for round in 0..self.rounds {
            for (subject, pairs) in &mut subjects {
                self.bar.set_message(format!("round {}, {}", round + 1, subject.name));
                pairs.push(self.pair(*subject, round % 2 == 1).await?);
                self.bar.inc(1);
            }
        }
        self.bar.finish_and_clear();
        Ok(subjects.into())
    }

    /// Every other round the reference goes first, so that what grows during a round favours neither.
    async fn pair(&self, subject: Subject, reference_first: bool) -> Result<Pair, Failure> {
        let spec = self.spec(subject).await?;
        if reference_first {
            let reference = self.reference(&spec).await?;
            Ok(Pair { reference, subject: self.subject(&spec).await? })
        } else {
            let subject = self.subject(&spec).await?;
            Ok(Pair { subject, reference: self.reference(&spec).await? })
        }
    }

    /// The requests of a subject; both sides get the same ones, tokens to introspect included.
    async fn spec(&self, subject: Subject) -> Result<Spec, Failure> {
        let credentials = grantry::credentials(subject.client);
        let resource = Param { name: "resource".into(), value: "https://bench.example/{n}".into() };
        let own_slots = if subject.scenario == Scenario::Reuse { &[][..] } else { &[resource][..] };
        let form = token_form(Some(SCOPE), own_slots, &credentials);
        let mut spec = Spec {
            scenario: subject.scenario,
            endpoints: self.server.clone(),
            credentials,
            form,
            pool: Pool::Issue(POOL),
            load: self.load.clone(),
        };
        if subject.scenario == Scenario::Introspect {
            spec.pool = Pool::Given(pool::tokens(&spec).await?);
        }
        Ok(spec)
    }

    /// On the server, with its rows checked.
    async fn subject(&self, spec: &Spec) -> Result<Figure, Failure> {
        let counts_rows = spec.scenario != Scenario::Introspect;
        let count = || counts_rows.then(|| raw_sqlite::count(&self.server_database)).transpose();
        let before = count()?;
        let measured = load::measure(spec).await?;
        let rows = before.zip(count()?).map(|(before, after)| Rows {
            before,
            after,
            answered: measured.tally.right,
            lost: measured.tally.lost,
        });
        figure(&Report::new(spec, &measured, rows)?, rows)
    }

    async fn reference(&self, spec: &Spec) -> Result<Figure, Failure> {
        if spec.scenario == Scenario::Issue {
            let Load { connections, warmup, seconds, .. } = self.load;
            let inserted = raw_sqlite::insert(&self.raw_database, connections, warmup, seconds).await?;
            let (per_second, latency_us) = (inserted.per_second, inserted.latency_us);
            return Ok(Figure { per_second, latency_us, rows: Some(inserted.rows) });
        }
        let spec = Spec { endpoints: self.baseline.clone(), ..spec.clone() };
        let measured = load::measure(&spec).await?;
        figure(&Report::new(&spec, &measured, None)?, None)
    }
}

fn endpoints(url: &str) -> Result<Endpoints, Failure> {
    Ok(Endpoints {
        token: own_target(url, "/oauth2/token")?,
        introspect: Some(own_target(url, "/oauth2/introspect")?),
        revoke: Some(own_target(url, "/oauth2/revoke")?),
    })
}

/// # Errors
/// A figure with a problem in it ends the comparison.
fn figure(report: &Report, rows: Option<Rows>) -> Result<Figure, Failure> {
    if report.ok {
        return Ok(Figure { per_second: report.per_second, latency_us: report.latency_us, rows });
    }
    Err(Failure::new(report.text()))
}
