use std::path::PathBuf;

use indicatif::ProgressBar;
use serde::Serialize;

use super::CompareArgs;
use crate::{
    failure::Failure,
    form::Param,
    grantry::{self, Grantry, JWT_CLIENT, OPAQUE_CLIENT, REFRESH_CLIENT, SCOPE},
    grants::Grants,
    load::{self, Load},
    progress, raw_sqlite,
    report::Report,
    rows::Rows,
    scenario::{Endpoints, Scenario, Spec, token_form},
    supply::Supply,
    tally::Latency,
};

/// How many tokens each round introspects in turn.
const POOL: u64 = 1_000;
/// How many grants are refreshed, the same ones in every round.
const GRANTS: u64 = 1_000;

/// What is compared, and with what.
#[derive(Debug, Clone, Copy)]
pub struct Subject {
    pub name: &'static str,
    pub reference: Reference,
    scenario: Scenario,
    client: &'static str,
}

/// What a subject is measured against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reference {
    RawInsert,
    Baseline,
    /// The same server, issuing opaque tokens: one durable write on either side.
    Issue,
}

impl Reference {
    pub fn name(self) -> &'static str {
        match self {
            Self::RawInsert => "raw grouped insert",
            Self::Baseline => "baseline server",
            Self::Issue => "issue, opaque",
        }
    }
}

impl Subject {
    const fn new(name: &'static str, reference: Reference, scenario: Scenario, client: &'static str) -> Self {
        Self { name, reference, scenario, client }
    }

    /// Whether its rows agree with its answers one by one.
    pub fn writes_tokens(&self) -> bool {
        self.scenario.writes_tokens()
    }

    #[cfg(test)]
    pub fn for_test() -> Self {
        ISSUE
    }
}

const ISSUE: Subject = Subject::new("issue, opaque", Reference::RawInsert, Scenario::Issue, OPAQUE_CLIENT);

const SUBJECTS: [Subject; 8] = [
    ISSUE,
    Subject::new("issue, JWT", Reference::RawInsert, Scenario::Issue, JWT_CLIENT),
    Subject::new("refresh, opaque", Reference::RawInsert, Scenario::Refresh, REFRESH_CLIENT),
    Subject::new("refresh, opaque", Reference::Issue, Scenario::Refresh, REFRESH_CLIENT),
    Subject::new("reuse, opaque", Reference::Baseline, Scenario::Reuse, OPAQUE_CLIENT),
    Subject::new("reuse, JWT", Reference::Baseline, Scenario::Reuse, JWT_CLIENT),
    Subject::new("introspect, opaque", Reference::Baseline, Scenario::Introspect, OPAQUE_CLIENT),
    Subject::new("mixed, opaque", Reference::Baseline, Scenario::Mixed, REFRESH_CLIENT),
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

/// SQLite files.
pub struct Databases {
    pub of_the_server: PathBuf,
    pub of_the_raw_insert: PathBuf,
}

pub struct Rounds {
    rounds: u32,
    load: Load,
    server: Endpoints,
    grants: Grants,
    baseline: Endpoints,
    databases: Databases,
    bar: ProgressBar,
}

impl Rounds {
    pub fn new(
        args: &CompareArgs,
        server: &Grantry,
        baseline_url: &str,
        databases: Databases,
    ) -> Result<Self, Failure> {
        let load = args.timing.load();
        let steps = u64::from(args.timing.rounds) * SUBJECTS.len() as u64;
        Ok(Self {
            rounds: args.timing.rounds,
            load,
            server: server.endpoints()?,
            grants: server.grants(GRANTS),
            baseline: grantry::endpoints(baseline_url)?,
            databases,
            bar: progress::bar(steps, args.stand.quiet, "{bar:40} {pos}/{len} {msg}"),
        })
    }

    /// The pairs of every subject, round by round.
    pub async fn measure(&self) -> Result<Vec<(Subject, Vec<Pair>)>, Failure> {
        let mut subjects = SUBJECTS.map(|subject| (subject, Vec::new()));
        for round in 0..self.rounds {
            for (subject, pairs) in &mut subjects {
                self.bar.set_message(format!(
                    "round {}, {} against {}",
                    round + 1,
                    subject.name,
                    subject.reference.name()
                ));
                pairs.push(self.pair(*subject, round % 2 == 1).await?);
                self.bar.inc(1);
            }
        }
        self.bar.finish_and_clear();
        Ok(subjects.into())
    }

    /// Every other round the reference goes first, so that what grows during a round favours neither.
    async fn pair(&self, subject: Subject, reference_first: bool) -> Result<Pair, Failure> {
        let spec = self.spec(subject);
        let supply = Supply::obtain(&spec).await?;
        if reference_first {
            let reference = self.reference(subject, &spec, &supply).await?;
            Ok(Pair { reference, subject: self.on_server(&spec, &supply).await? })
        } else {
            let figure = self.on_server(&spec, &supply).await?;
            Ok(Pair { subject: figure, reference: self.reference(subject, &spec, &supply).await? })
        }
    }

    fn spec(&self, subject: Subject) -> Spec {
        let credentials = grantry::credentials(subject.client);
        let resource = Param { name: "resource".into(), value: "https://bench.example/{n}".into() };
        let own_slots = if subject.scenario == Scenario::Reuse { &[][..] } else { &[resource][..] };
        let form = token_form(Some(SCOPE), own_slots, &credentials);
        Spec {
            scenario: subject.scenario,
            endpoints: self.server.clone(),
            credentials,
            form,
            pool: POOL,
            grants: subject.scenario.refreshes().then(|| self.grants.clone()),
            load: self.load.clone(),
        }
    }

    /// With the rows checked.
    async fn on_server(&self, spec: &Spec, supply: &Supply) -> Result<Figure, Failure> {
        let counts_rows = spec.scenario != Scenario::Introspect;
        let count = || counts_rows.then(|| raw_sqlite::count(&self.databases.of_the_server)).transpose();
        let before = count()?;
        let measured = load::measure(spec, supply).await?;
        let rows = before.zip(count()?).map(|(before, after)| Rows {
            before,
            after,
            answered: measured.tally.tokens,
            lost: measured.tally.lost,
        });
        if spec.scenario.refreshes() {
            self.check_grants()?;
        }
        figure(Report::new(spec, &measured, rows)?, rows)
    }

    /// Refreshing must leave as many rows as there are grants.
    fn check_grants(&self) -> Result<(), Failure> {
        let rows = raw_sqlite::count_of(&self.databases.of_the_server, "grants")?;
        if rows == GRANTS {
            return Ok(());
        }
        Err(Failure::new(format!("refreshing {GRANTS} grants left {rows} rows of grants")))
    }

    /// The baseline server gets the same requests, tokens to introspect included.
    async fn reference(&self, subject: Subject, spec: &Spec, supply: &Supply) -> Result<Figure, Failure> {
        match subject.reference {
            Reference::RawInsert => {
                let Load { connections, warmup, seconds, .. } = self.load;
                let inserted =
                    raw_sqlite::insert(&self.databases.of_the_raw_insert, connections, warmup, seconds)
                        .await?;
                let (per_second, latency_us) = (inserted.per_second, inserted.latency_us);
                Ok(Figure { per_second, latency_us, rows: Some(inserted.rows) })
            }
            Reference::Issue => {
                let spec = self.spec(ISSUE);
                self.on_server(&spec, &Supply::obtain(&spec).await?).await
            }
            Reference::Baseline => {
                let spec = Spec { endpoints: self.baseline.clone(), ..spec.clone() };
                let measured = load::measure(&spec, &supply.likeness()).await?;
                figure(Report::new(&spec, &measured, None)?, None)
            }
        }
    }
}

/// # Errors
/// A figure with a problem in it ends the comparison.
fn figure(report: Report, rows: Option<Rows>) -> Result<Figure, Failure> {
    let Report { per_second, latency_us, .. } = report.into_usable()?;
    Ok(Figure { per_second, latency_us, rows })
}
