use serde::Serialize;

use super::{
    Ground, Plan,
    figures::{Speed, latencies, median, per_second, ratio},
};
use crate::{
    baseline,
    child::STOP_WITHIN,
    failure::Failure,
    grantry::{self, Grantry, Metrics},
    load::{self, Load},
    redis::Redis,
    report::Report,
    scenario::{Scenario, Spec},
    supply::Supply,
    table::{markdown, thousands},
    turns::in_turn,
};

/// What an answer is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    Baseline,
    NearCache,
    DataSpace,
    Store,
}

/// Of the answers of a server, those that must come from where they are said to.
const NEARLY_ALL: f64 = 0.99;

impl Source {
    fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline server",
            Self::NearCache => "near cache",
            Self::DataSpace => "data space",
            Self::Store => "PostgreSQL",
        }
    }

    fn database(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::NearCache => "near_cache",
            Self::DataSpace => "data_space",
            Self::Store => "store",
        }
    }

    fn settings(self, redis: &str) -> Vec<(&'static str, &str)> {
        match self {
            Self::Baseline | Self::NearCache => Vec::new(),
            Self::DataSpace => vec![
                ("GRANTRY_CACHE__TOKENS__CAPACITY", "1"),
                ("GRANTRY_DATA_SPACE__DISCOVERY", redis),
                // With less patience a moment in which the machine does something else would be answered by the store.
                ("GRANTRY_DATA_SPACE__ANSWER_TIMEOUT", "1s"),
            ],
            Self::Store => {
                vec![("GRANTRY_CACHE__ENABLED", "false"), ("GRANTRY_CACHE__COHERENCE", "bounded")]
            }
        }
    }

    /// # Errors
    /// The answers came from elsewhere.
    fn check(self, shares: Shares) -> Result<(), Failure> {
        let Shares { near_cache, data_space } = shares;
        let is_so = match self {
            Self::Baseline => true,
            Self::NearCache => near_cache >= NEARLY_ALL,
            Self::DataSpace => data_space >= NEARLY_ALL,
            Self::Store => near_cache + data_space <= 1.0 - NEARLY_ALL,
        };
        if is_so {
            return Ok(());
        }
        Err(Failure::new(format!(
            "the answers should have come from: {}; but the server's metrics say that the near cache gave {:.1} % of them \
             and the data space {:.1} % (see --pool)",
            self.name(),
            near_cache * 100.0,
            data_space * 100.0,
        )))
    }
}

/// What part of the answers came from where; the rest came from the store.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Shares {
    near_cache: f64,
    data_space: f64,
}

/// One measurement.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Figure {
    #[serde(flatten)]
    speed: Speed,
    /// None for the baseline server.
    shares: Option<Shares>,
}

#[derive(Debug, Serialize)]
pub struct Answers {
    source: Source,
    figures: Vec<Figure>,
}

#[derive(Debug, Serialize)]
pub struct Introspection {
    pub postgres: String,
    redis: String,
    /// Tokens that are introspected in turn.
    pool: u64,
    answers: Vec<Answers>,
}

pub async fn measure(plan: &Plan, pool: u64) -> Result<Introspection, Failure> {
    let ground = plan.ground().await?;
    let redis = Redis::start(&plan.work_dir).await?;
    let (baseline, baseline_url) = baseline::start(&["baseline"])?;
    let bar = plan.bar(3 + 4 * u64::from(plan.rounds));
    let mut lanes = Vec::new();
    for source in [Source::NearCache, Source::DataSpace, Source::Store] {
        bar.set_message(format!("introspection, making the pool for: {}", source.name()));
        lanes.push(Lane::start(&ground, plan, source, pool, &redis.url()).await?);
        bar.inc(1);
    }
    let likeness = Lane::baseline(&lanes[0], &baseline_url)?;
    lanes.insert(0, likeness);
    for round in 0..plan.rounds {
        ground.postgres.checkpoint().await?;
        for lane in in_turn(lanes.iter_mut().collect(), round) {
            bar.set_message(format!("introspection, round {}, {}", round + 1, lane.source.name()));
            lane.measure().await?;
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let (postgres, redis_version) = (ground.postgres.description(), redis.description());
    let mut answers = Vec::new();
    for lane in lanes {
        lane.server.map(|server| server.stop(STOP_WITHIN)).transpose()?;
        answers.push(Answers { source: lane.source, figures: lane.figures });
    }
    baseline.stop(STOP_WITHIN)?;
    redis.stop()?;
    ground.postgres.stop()?;
    Ok(Introspection { postgres, redis: redis_version, pool, answers })
}

struct Lane {
    source: Source,
    /// None for the baseline server, which says nothing of itself.
    server: Option<Grantry>,
    spec: Spec,
    supply: Supply,
    figures: Vec<Figure>,
}

impl Lane {
    /// With every token of the pool introspected twice: whatever can hold a copy has one.
    async fn start(
        ground: &Ground,
        plan: &Plan,
        source: Source,
        pool: u64,
        redis: &str,
    ) -> Result<Self, Failure> {
        let (server, _) = ground.server(plan, source.database(), &source.settings(redis)).await?;
        let endpoints = server.endpoints()?;
        let spec = grantry::own_slots(Scenario::Introspect, endpoints, pool, plan.load.clone());
        let supply = Supply::obtain(&spec).await?;
        let twice = Load { count: Some(2 * pool), ..spec.load.clone() };
        let warming = Spec { load: twice, ..spec.clone() };
        load::measure(&warming, &supply).await?;
        Ok(Self { source, server: Some(server), spec, supply, figures: Vec::new() })
    }

    /// With the same requests as another.
    fn baseline(other: &Self, url: &str) -> Result<Self, Failure> {
        let spec = Spec { endpoints: grantry::endpoints(url)?, ..other.spec.clone() };
        let supply = other.supply.likeness();
        Ok(Self { source: Source::Baseline, server: None, spec, supply, figures: Vec::new() })
    }

    async fn measure(&mut self) -> Result<(), Failure> {
        let before = self.copies().await?;
        let measured = load::measure(&self.spec, &self.supply).await?;
        let after = self.copies().await?;
        let sent = measured.tally.sent as f64;
        let Report { per_second, latency_us, .. } =
            Report::new(&self.spec, &measured, None)?.into_usable()?;
        let shares = before.zip(after).map(|(before, after)| after.since(before, sent));
        shares.map(|shares| self.source.check(shares)).transpose()?;
        self.figures.push(Figure { speed: Speed { per_second, latency_us }, shares });
        Ok(())
    }

    async fn copies(&self) -> Result<Option<Copies>, Failure> {
        let Some(server) = &self.server else { return Ok(None) };
        Ok(Some(Copies::in_metrics(&server.metrics().await?)))
    }
}

/// Copies of tokens that a server has found so far.
#[derive(Debug, Clone, Copy)]
struct Copies {
    near_cache: f64,
    data_space: f64,
}

impl Copies {
    fn in_metrics(metrics: &Metrics) -> Self {
        let found = |name| metrics.count(name, &[("cache", "tokens")]);
        Self {
            near_cache: found("grantry_cache_hits_total"),
            data_space: found("grantry_data_space_hits_total"),
        }
    }

    fn since(self, before: Self, answers: f64) -> Shares {
        let share = |found: f64| if answers > 0.0 { found / answers } else { 0.0 };
        Shares {
            near_cache: share(self.near_cache - before.near_cache),
            data_space: share(self.data_space - before.data_space),
        }
    }
}

impl Introspection {
    pub fn markdown(&self) -> String {
        let header = [
            "introspection from",
            "/ baseline server",
            "/ near cache",
            "/ PostgreSQL",
            "per second",
            "p50 ms",
            "p99 ms",
            "near cache %",
            "data space %",
        ];
        let rows: Vec<_> = self.answers.iter().map(|answers| self.row(answers)).collect();
        format!(
            "{}\n{} tokens, introspected in turn. {}.\n",
            markdown(&header, &rows),
            thousands(self.pool as f64),
            self.redis,
        )
    }

    fn row(&self, answers: &Answers) -> Vec<String> {
        let speeds = answers.speeds();
        let mut row = vec![answers.source.name().to_owned()];
        for reference in [Source::Baseline, Source::NearCache, Source::Store] {
            let reference = self.answers.iter().find(|other| other.source == reference);
            row.push(reference.map(|other| ratio(&speeds, &other.speeds())).unwrap_or_default());
        }
        row.push(thousands(per_second(&speeds)));
        row.extend(latencies(&speeds));
        let share = |part: fn(&Shares) -> f64| {
            let shares: Vec<_> = answers.figures.iter().filter_map(|figure| figure.shares).collect();
            let percent = 100.0 * median(shares.iter().map(part));
            if shares.is_empty() { String::new() } else { format!("{percent:.1}") }
        };
        row.extend([share(|shares| shares.near_cache), share(|shares| shares.data_space)]);
        row
    }
}

impl Answers {
    fn speeds(&self) -> Vec<Speed> {
        self.figures.iter().map(|figure| figure.speed).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caches::figures::tests::speed;

    fn answers(source: Source, rates: &[f64], shares: Option<Shares>) -> Answers {
        let figures = rates.iter().map(|rate| Figure { speed: speed(*rate), shares }).collect();
        Answers { source, figures }
    }

    #[test]
    fn each_source_is_compared_with_the_others_of_its_round() {
        let shares = |near_cache, data_space| Some(Shares { near_cache, data_space });
        let found = Introspection {
            postgres: "PostgreSQL".into(),
            redis: "Redis".into(),
            pool: 1_000,
            answers: vec![
                answers(Source::Baseline, &[100.0, 50.0], None),
                answers(Source::NearCache, &[80.0, 40.0], shares(1.0, 0.0)),
                answers(Source::DataSpace, &[40.0, 20.0], shares(0.0, 0.995)),
                answers(Source::Store, &[20.0, 20.0], shares(0.0, 0.0)),
            ],
        };
        let row = |number: usize| found.row(&found.answers[number]);
        assert_eq!(row(0)[1..3], ["1.00 (1.00 - 1.00)", "1.25 (1.25 - 1.25)"]);
        assert_eq!(row(0)[7..], ["", ""]);
        assert_eq!(
            row(2),
            [
                "data space",
                "0.40 (0.40 - 0.40)",
                "0.50 (0.50 - 0.50)",
                "1.50 (1.00 - 2.00)",
                "30",
                "1.00",
                "3.00",
                "0.0",
                "99.5"
            ]
        );
        assert!(found.markdown().contains("1,000 tokens"));
    }

    #[test]
    fn answers_that_come_from_elsewhere_are_no_figure() {
        let shares = |near_cache, data_space| Shares { near_cache, data_space };
        assert!(Source::NearCache.check(shares(0.995, 0.0)).is_ok());
        assert!(Source::NearCache.check(shares(0.9, 0.1)).is_err());
        assert!(Source::DataSpace.check(shares(0.0, 1.0)).is_ok());
        let refused = Source::DataSpace.check(shares(0.3, 0.2)).unwrap_err().to_string();
        assert!(refused.contains("gave 30.0 %") && refused.contains("space 20.0 %"), "{refused}");
        assert!(
            Source::Store.check(shares(0.0, 0.0)).is_ok() && Source::Store.check(shares(0.02, 0.0)).is_err()
        );
    }

    #[test]
    fn shares_are_of_what_came_between_two_looks() {
        let look = |near: u32, space: u32| {
            let text = format!(
                "grantry_cache_hits_total{{cache=\"tokens\",tier=\"memory\"}} {near}\n\
                 grantry_cache_hits_total{{cache=\"clients\",tier=\"memory\"}} 99\n\
                 grantry_data_space_hits_total{{cache=\"tokens\"}} {space}\n"
            );
            Copies::in_metrics(&Metrics(text))
        };
        let shares = look(110, 40).since(look(10, 30), 200.0);
        assert_eq!(shares, Shares { near_cache: 0.5, data_space: 0.05 });
    }
}
