use serde::Serialize;

use super::{
    Ground, Plan,
    figures::{Speed, latencies, per_second, ratio},
    policies::{POLICIES, Policy},
};
use crate::{
    child::STOP_WITHIN,
    failure::Failure,
    grantry::Grantry,
    load,
    postgres::Session,
    report::Report,
    rows::Rows,
    table::{markdown, thousands},
    turns::in_turn,
};

/// With neither copies nor a log that anything waits for.
const WITHOUT: [(&str, &str); 2] =
    [("GRANTRY_CACHE__ENABLED", "false"), ("GRANTRY_CACHE__COHERENCE", "none")];

/// One measurement.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Figure {
    #[serde(flatten)]
    speed: Speed,
    rows: Rows,
}

/// A policy, and its figures round by round.
#[derive(Debug, Serialize)]
pub struct Compared {
    policy: Policy,
    with: Vec<Figure>,
    without: Vec<Figure>,
}

#[derive(Debug, Serialize)]
pub struct Issuing {
    pub postgres: String,
    /// That are asked for in turn, but with `reuse`.
    slots: u64,
    policies: Vec<Compared>,
}

pub async fn measure(plan: &Plan, slots: u64) -> Result<Issuing, Failure> {
    let ground = plan.ground().await?;
    let mut with = Lane::start(&ground, plan, "with", &[]).await?;
    let mut without = Lane::start(&ground, plan, "without", &WITHOUT).await?;
    let bar = plan.bar(2 * POLICIES.len() as u64 * u64::from(plan.rounds));
    let mut policies: Vec<_> = POLICIES.map(Compared::new).into();
    for round in 0..plan.rounds {
        ground.postgres.checkpoint().await?;
        for compared in &mut policies {
            let Compared { policy, with: by_with, without: by_without } = compared;
            let pair = vec![(&mut with, by_with), (&mut without, by_without)];
            for (lane, figures) in in_turn(pair, round) {
                bar.set_message(format!(
                    "issuing, round {}, {}, {} caches",
                    round + 1,
                    policy.name(),
                    lane.name
                ));
                figures.push(lane.measure(plan, *policy, slots).await?);
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    let postgres = ground.postgres.description();
    for lane in [with, without] {
        lane.server.stop(STOP_WITHIN)?;
    }
    ground.postgres.stop()?;
    Ok(Issuing { postgres, slots, policies })
}

struct Lane {
    name: &'static str,
    server: Grantry,
    session: Session,
}

impl Lane {
    async fn start(
        ground: &Ground,
        plan: &Plan,
        name: &'static str,
        settings: &[(&str, &str)],
    ) -> Result<Self, Failure> {
        // "with" is a word of SQL.
        let (server, session) = ground.server(plan, &format!("{name}_caches"), settings).await?;
        server.create_clients(&POLICIES.map(Policy::client)).await?;
        Ok(Self { name, server, session })
    }

    /// With the rows checked.
    async fn measure(&self, plan: &Plan, policy: Policy, slots: u64) -> Result<Figure, Failure> {
        let (spec, supply) = policy.requests(self.server.endpoints()?, slots, plan.load.clone())?;
        let before = self.session.count("tokens").await?;
        let measured = load::measure(&spec, &supply).await?;
        let after = self.session.count("tokens").await?;
        let (answered, lost) = (measured.tally.tokens, measured.tally.lost);
        let rows = Rows { before, after, answered, lost };
        let report = Report::new(&spec, &measured, Some(rows))?.into_usable();
        let Report { per_second, latency_us, .. } = report
            .map_err(|failure| Failure::new(format!("{} {} caches: {failure}", policy.name(), self.name)))?;
        Ok(Figure { speed: Speed { per_second, latency_us }, rows })
    }
}

impl Compared {
    fn new(policy: Policy) -> Self {
        Self { policy, with: Vec::new(), without: Vec::new() }
    }

    fn row(&self) -> Vec<String> {
        let [with, without] = [&self.with, &self.without].map(|figures| speeds(figures));
        let mut row = vec![self.policy.name().to_owned(), ratio(&with, &without)];
        row.extend([per_second(&with), per_second(&without)].map(thousands));
        let ([p50, p99], [p50_without, p99_without]) = (latencies(&with), latencies(&without));
        row.extend([p50, p50_without, p99, p99_without]);
        row
    }
}

fn speeds(figures: &[Figure]) -> Vec<Speed> {
    figures.iter().map(|figure| figure.speed).collect()
}

impl Issuing {
    pub fn markdown(&self) -> String {
        let header = [
            "issuing",
            "with / without",
            "with, per second",
            "without",
            "with, p50 ms",
            "without",
            "with, p99 ms",
            "without",
        ];
        let rows: Vec<_> = self.policies.iter().map(Compared::row).collect();
        let figures = self.policies.iter().flat_map(|compared| compared.with.iter().chain(&compared.without));
        let issued = figures.filter(|figure| figure.rows.after - figure.rows.before > 1);
        let answered: u64 = issued.map(|figure| figure.rows.answered).sum();
        format!(
            "{}\nWith the revocation log and the caches, and without: one slot with reuse, {} in turn with the others. Rows \
             checked: {} new tokens answered, as many rows written; none or one a round with reuse.\n",
            markdown(&header, &rows),
            thousands(self.slots as f64),
            thousands(answered as f64),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caches::figures::tests::speed;

    fn figures(rates: &[f64], written: u64) -> Vec<Figure> {
        let rows = Rows { before: 5, after: 5 + written, answered: 10, lost: 0 };
        rates.iter().map(|rate| Figure { speed: speed(*rate), rows }).collect()
    }

    #[test]
    fn a_policy_is_compared_round_by_round_and_its_rows_are_counted() {
        let compared = |policy, written| Compared {
            policy,
            with: figures(&[95.0, 40.0], written),
            without: figures(&[100.0, 50.0], written),
        };
        let policies = vec![compared(Policy::Reuse, 0), compared(Policy::Multiple, 10)];
        let issuing = Issuing { postgres: "PostgreSQL".into(), slots: 1_000, policies };
        assert_eq!(issuing.policies[0].row()[..4], ["reuse", "0.88 (0.80 - 0.95)", "68", "75"]);
        let text = issuing.markdown();
        assert!(text.contains("40 new tokens answered"), "{text}");
    }
}
