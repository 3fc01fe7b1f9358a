use std::{path::Path, sync::Arc, time::Duration};

use indicatif::ProgressBar;
use serde::Serialize;

use super::{
    Ground, Plan,
    figures::{Speed, latencies, median, per_second},
    subscribers::{STEP, Subscribers},
};
use crate::{
    child::STOP_WITHIN,
    clock,
    failure::Failure,
    grantry::{self, Grantry, Metrics, Setup},
    load::{self, Load},
    report::Report,
    rows::Rows,
    scenario::{Scenario, Spec},
    table::{markdown, thousands},
    turns::in_turn,
};

const LOADED_WITHIN: Duration = Duration::from_secs(600);
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Longer than any run takes, shorter than the server keeps them.
const LIFETIME: (&str, &str) = ("GRANTRY_TOKENS__ACCESS_TOKEN_LIFETIME", "12h");
/// The first stream of what is asked before anything is measured; that of a round is its number.
const SETTLING: u64 = 1 << 32;
/// Requests of one stream, from one movement of the progress bar to the next.
const SETTLING_STEP: u64 = 1_000_000;
/// Even a cache of one copy is asked so often, to warm the rest of the server.
const LEAST_SETTLING: u64 = 100_000;
/// More than any machine takes for a step.
const SETTLED_WITHIN: Duration = Duration::from_secs(3600);

/// What the flags say of this part.
pub struct Asked<'a> {
    pub tokens: u64,
    pub capacities: &'a [u64],
    pub eviction_policies: &'a [String],
    pub exponent: f64,
    /// Requests for each copy of the capacity.
    pub settle: u64,
}

impl Asked<'_> {
    /// How many requests a server answers before anything is measured. More capacity than tokens needs no more.
    fn settling(&self, capacity: u64) -> u64 {
        let requests = self.settle * capacity.min(self.tokens);
        if self.settle == 0 { 0 } else { requests.max(LEAST_SETTLING) }
    }
}

/// One measurement.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Figure {
    #[serde(flatten)]
    speed: Speed,
    /// Of the look-ups for tokens, warm-up included.
    hit_ratio: f64,
}

/// What the process has in use, in bytes.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Memory {
    /// When it was ready; its cache may have begun to fill.
    ready: u64,
    /// When its cache was filled as a start fills it.
    loaded: u64,
    /// After the last round.
    last: u64,
}

#[derive(Debug, Serialize)]
pub struct Cache {
    capacity: u64,
    eviction_policy: String,
    /// That of a cache which always holds the most popular tokens.
    best_hit_ratio: f64,
    /// In memory, after the last round.
    copies: u64,
    memory: Memory,
    figures: Vec<Figure>,
}

#[derive(Debug, Serialize)]
pub struct Zipf {
    pub postgres: String,
    tokens: u64,
    exponent: f64,
    settle: u64,
    issued: Rows,
    caches: Vec<Cache>,
}

pub async fn measure(plan: &Plan, asked: &Asked<'_>) -> Result<Zipf, Failure> {
    let ground = plan.ground().await?;
    let servers = asked.capacities.len() as u64 * asked.eviction_policies.len() as u64;
    let settling: u64 =
        asked.capacities.iter().map(|capacity| asked.settling(*capacity).div_ceil(SETTLING_STEP)).sum();
    let settling = settling * asked.eviction_policies.len() as u64;
    let bar = plan.bar(asked.tokens.div_ceil(STEP) + settling + servers * u64::from(plan.rounds));
    bar.set_message(format!("zipf, issuing {} tokens", asked.tokens));
    let (server, session) = ground.server(plan, ISSUER, &[LIFETIME]).await?;
    let before = session.count("tokens").await?;
    let subscribers = Subscribers::issue(&server, &plan.load, asked.tokens, asked.exponent, &bar).await?;
    server.stop(STOP_WITHIN)?;
    let subscribers = Arc::new(subscribers);
    let after = session.count("tokens").await?;
    let issued = Rows { before, after, answered: asked.tokens, lost: 0 };
    issued.check(Scenario::Issue)?;
    // Else it would come by itself, in the middle of a measurement.
    session.run("VACUUM (ANALYZE) tokens").await?;
    session.run("VACUUM (ANALYZE) slots").await?;
    let mut lanes = Vec::new();
    for eviction_policy in asked.eviction_policies {
        for capacity in asked.capacities {
            bar.set_message(format!("zipf, settling, capacity {capacity}, {eviction_policy}"));
            let lane = Lane::start(&ground, plan, *capacity, eviction_policy, asked.tokens).await?;
            lane.settle(&subscribers, asked.settling(*capacity), &bar).await?;
            lanes.push(lane);
        }
    }
    for round in 0..plan.rounds {
        ground.postgres.checkpoint().await?;
        for lane in in_turn(lanes.iter_mut().collect(), round) {
            let Lane { capacity, eviction_policy, .. } = lane;
            bar.set_message(format!("zipf, round {}, capacity {capacity}, {eviction_policy}", round + 1));
            lane.measure(&subscribers, u64::from(round)).await?;
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let mut caches = Vec::new();
    for lane in lanes {
        caches.push(lane.finish(&subscribers).await?);
    }
    let postgres = ground.postgres.description();
    ground.postgres.stop()?;
    Ok(Zipf {
        postgres,
        tokens: asked.tokens,
        exponent: asked.exponent,
        settle: asked.settle,
        issued,
        caches,
    })
}

/// The database and the directory of the server that issues, whose master key the others have.
const ISSUER: &str = "subscribers";

/// A server with a capacity.
struct Lane {
    capacity: u64,
    eviction_policy: String,
    server: Grantry,
    spec: Spec,
    memory: Memory,
    figures: Vec<Figure>,
}

impl Lane {
    /// Returns when its cache is loaded.
    async fn start(
        ground: &Ground,
        plan: &Plan,
        capacity: u64,
        eviction_policy: &str,
        tokens: u64,
    ) -> Result<Self, Failure> {
        let key = ground.directory.path().join(ISSUER).join("master.key");
        let own = ground.own_directory(&format!("{eviction_policy}_{capacity}"))?;
        let setup = setup(ground.postgres.url(ISSUER), &key, capacity, eviction_policy);
        let server = Grantry::join(&plan.program, &own, &setup).await?;
        let ready = server.memory()?;
        wait_until_loaded(&server, capacity.min(tokens)).await?;
        let loaded = server.memory()?;
        let spec = grantry::own_slots(Scenario::Introspect, server.endpoints()?, 0, plan.load.clone());
        let memory = Memory { ready, loaded, last: loaded };
        let eviction_policy = eviction_policy.to_owned();
        Ok(Self { capacity, eviction_policy, server, spec, memory, figures: Vec::new() })
    }

    async fn settle(
        &self,
        subscribers: &Arc<Subscribers>,
        requests: u64,
        bar: &ProgressBar,
    ) -> Result<(), Failure> {
        for (stream, begin) in (SETTLING..).zip((0..requests).step_by(SETTLING_STEP as usize)) {
            let count = SETTLING_STEP.min(requests - begin);
            let (warmup, seconds) = (Duration::ZERO, SETTLED_WITHIN);
            let load = Load { count: Some(count), warmup, seconds, ..self.spec.load.clone() };
            let spec = Spec { load, ..self.spec.clone() };
            let measured = load::measure(&spec, &subscribers.supply(stream)).await?;
            Report::new(&spec, &measured, None)?.into_usable()?;
            bar.inc(1);
        }
        Ok(())
    }

    async fn measure(&mut self, subscribers: &Arc<Subscribers>, stream: u64) -> Result<(), Failure> {
        let before = Lookups::in_metrics(&self.server.metrics().await?);
        let measured = load::measure(&self.spec, &subscribers.supply(stream)).await?;
        let after = Lookups::in_metrics(&self.server.metrics().await?);
        let Report { per_second, latency_us, .. } =
            Report::new(&self.spec, &measured, None)?.into_usable()?;
        let hit_ratio = after.hit_ratio_since(before).ok_or_else(|| {
            Failure::new("the server's metrics say that nothing was looked up in the cache of tokens")
        })?;
        self.figures.push(Figure { speed: Speed { per_second, latency_us }, hit_ratio });
        Ok(())
    }

    async fn finish(self, subscribers: &Subscribers) -> Result<Cache, Failure> {
        let last = self.server.memory()?;
        let copies = self.server.metrics().await?.count("grantry_cache_size", &TOKENS) as u64;
        self.server.stop(STOP_WITHIN)?;
        Ok(Cache {
            capacity: self.capacity,
            eviction_policy: self.eviction_policy,
            best_hit_ratio: subscribers.best_hit_ratio(self.capacity),
            copies,
            memory: Memory { last, ..self.memory },
            figures: self.figures,
        })
    }
}

const TOKENS: [(&str, &str); 1] = [("cache", "tokens")];

/// Nothing else is asked for than tokens by their text: that of slots' holders is kept small, so that memory is that of
/// tokens.
fn setup(url: String, master_key: &Path, capacity: u64, eviction_policy: &str) -> Setup {
    Setup::postgres(url).with(&[
        LIFETIME,
        ("GRANTRY_KEYS__MASTER_KEY_FILE", &master_key.display().to_string()),
        ("GRANTRY_CACHE__TOKENS__CAPACITY", &capacity.to_string()),
        ("GRANTRY_CACHE__TOKENS__EVICTION_POLICY", eviction_policy),
        ("GRANTRY_CACHE__TOKEN_OWNERS__CAPACITY", "1"),
    ])
}

/// A start fills its cache beside the requests.
async fn wait_until_loaded(server: &Grantry, wanted: u64) -> Result<(), Failure> {
    let until = clock::now() + LOADED_WITHIN;
    let mut loaded = 0.0;
    while clock::now() < until {
        loaded = server.metrics().await?.count("grantry_cache_loaded_total", &TOKENS);
        if loaded >= wanted as f64 {
            return Ok(());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Err(Failure::new(format!(
        "after {LOADED_WITHIN:?} the server's cache is loaded with {loaded} of {wanted} tokens"
    )))
}

/// What the near cache of tokens was asked for so far.
#[derive(Debug, Clone, Copy)]
struct Lookups {
    hits: f64,
    misses: f64,
}

impl Lookups {
    fn in_metrics(metrics: &Metrics) -> Self {
        let hits = metrics.count("grantry_cache_hits_total", &TOKENS);
        Self { hits, misses: metrics.count("grantry_cache_misses_total", &TOKENS) }
    }

    fn hit_ratio_since(self, before: Self) -> Option<f64> {
        let (hits, misses) = (self.hits - before.hits, self.misses - before.misses);
        (hits + misses > 0.0).then(|| hits / (hits + misses))
    }
}

impl Zipf {
    pub fn markdown(&self) -> String {
        let header = [
            "near cache",
            "capacity",
            "copies",
            "hit ratio",
            "best possible",
            "per second",
            "p50 ms",
            "p99 ms",
            "memory, ready",
            "loaded",
            "at the end",
        ];
        let rows: Vec<_> = self.caches.iter().map(Cache::row).collect();
        format!(
            "{}\nIntrospection of {} tokens, drawn by Zipf with exponent {}, after {} requests for each copy of the \
             capacity. Rows checked: {} tokens \
             answered, as many rows written.\n",
            markdown(&header, &rows),
            thousands(self.tokens as f64),
            self.exponent,
            self.settle,
            thousands(self.issued.answered as f64),
        )
    }
}

impl Cache {
    fn row(&self) -> Vec<String> {
        let speeds: Vec<_> = self.figures.iter().map(|figure| figure.speed).collect();
        let megabytes = |bytes: u64| format!("{} MB", thousands(bytes as f64 / 1_000_000.0));
        let mut row = vec![
            self.eviction_policy.clone(),
            thousands(self.capacity as f64),
            thousands(self.copies as f64),
            format!("{:.3}", median(self.figures.iter().map(|figure| figure.hit_ratio))),
            format!("{:.3}", self.best_hit_ratio),
            thousands(per_second(&speeds)),
        ];
        row.extend(latencies(&speeds));
        row.extend([self.memory.ready, self.memory.loaded, self.memory.last].map(megabytes));
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caches::figures::tests::speed;

    #[test]
    fn a_row_shows_medians_and_what_could_be_had_at_best() {
        let figure = |rate, hit_ratio| Figure { speed: speed(rate), hit_ratio };
        let cache = Cache {
            capacity: 1_024,
            eviction_policy: "lru".into(),
            best_hit_ratio: 0.5098,
            copies: 1_000,
            memory: Memory { ready: 30_000_000, loaded: 31_000_000, last: 1_234_000_000 },
            figures: vec![figure(30_000.0, 0.3), figure(20_000.0, 0.41), figure(10_000.0, 0.4)],
        };
        assert_eq!(
            cache.row(),
            [
                "lru", "1,024", "1,000", "0.400", "0.510", "20,000", "1.00", "3.00", "30 MB", "31 MB",
                "1,234 MB"
            ]
        );
    }

    #[test]
    fn a_cache_settles_by_its_capacity() {
        let asked = |settle| Asked {
            tokens: 1_400_000,
            capacities: &[],
            eviction_policies: &[],
            exponent: 1.0,
            settle,
        };
        let settling = [1_024, 100_000, 2_000_000].map(|capacity| asked(10).settling(capacity));
        assert_eq!(settling, [100_000, 1_000_000, 14_000_000]);
        assert_eq!(asked(0).settling(1_000_000), 0);
    }

    #[test]
    fn the_hit_ratio_is_of_what_came_between_two_looks() {
        let look = |memory: u32, disk: u32, misses: u32| {
            Lookups::in_metrics(&Metrics(format!(
                "grantry_cache_hits_total{{cache=\"tokens\",tier=\"memory\"}} {memory}\n\
                 grantry_cache_hits_total{{cache=\"tokens\",tier=\"disk\"}} {disk}\n\
                 grantry_cache_misses_total{{cache=\"tokens\"}} {misses}\n\
                 grantry_cache_misses_total{{cache=\"clients\"}} 50\n"
            )))
        };
        assert_eq!(look(60, 20, 30).hit_ratio_since(look(10, 10, 10)), Some(0.75));
        assert_eq!(look(1, 1, 1).hit_ratio_since(look(1, 1, 1)), None);
    }
}
