use serde::Serialize;

use super::{Plan, account::Account};
use crate::{
    clock,
    failure::Failure,
    machine::Machine,
    stats::{Spread, ratios},
    table::{markdown, thousands},
};

/// The two servers, measured one right after the other.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Round {
    /// How often the grown server had been refreshed before.
    pub after: u64,
    pub grown_per_second: f64,
    pub fresh_per_second: f64,
}

/// Rounds back to back.
#[derive(Serialize)]
pub struct Station {
    name: &'static str,
    grown_per_second: Spread,
    fresh_per_second: Spread,
    /// Of the medians.
    ratio: f64,
    /// Of the rates, taken within each round.
    ratios: Spread,
    rounds: Vec<Round>,
}

impl Station {
    /// # Errors
    /// The fresh server answered nothing.
    pub fn new(name: &'static str, rounds: Vec<Round>) -> Result<Self, Failure> {
        let pairs: Vec<_> = rounds.iter().map(|it| (it.grown_per_second, it.fresh_per_second)).collect();
        let spreads = || {
            let grown = Spread::of(pairs.iter().map(|(grown, _)| *grown))?;
            let fresh = Spread::of(pairs.iter().map(|(_, fresh)| *fresh))?;
            Some((grown, fresh, Spread::of(ratios(&pairs))?))
        };
        let (grown, fresh, ratios) =
            spreads().ok_or_else(|| Failure::new("the fresh server answered nothing in every round"))?;
        let ratio = grown.median / fresh.median;
        Ok(Self { name, grown_per_second: grown, fresh_per_second: fresh, ratio, ratios, rounds })
    }

    fn row(&self) -> Vec<String> {
        vec![
            self.name.into(),
            thousands(self.rounds.first().map_or(0, |round| round.after) as f64),
            thousands(self.grown_per_second.median),
            thousands(self.fresh_per_second.median),
            format!("{:.3}", self.ratio),
            format!("{:.3}", self.ratios.median),
            format!("{:.2} - {:.2}", self.ratios.least, self.ratios.most),
        ]
    }
}

/// What `--out` has.
#[derive(Serialize)]
pub struct Growth {
    /// RFC 3339.
    at: String,
    machine: Machine,
    #[serde(flatten)]
    plan: Plan,
    stations: Vec<Station>,
    /// The ratio at the last station, divided by the ratio at the first: 1 if refreshing is as fast as it was.
    end_against_start: f64,
    /// The same of the medians of the rounds' ratios.
    end_against_start_in_rounds: f64,
    answered: u64,
    before: Account,
    after: Account,
    /// Why the run has failed.
    problem: Option<String>,
}

impl Growth {
    pub fn new(plan: Plan, stations: Vec<Station>, answered: u64, before: Account, after: Account) -> Self {
        let compared = |ratio: fn(&Station) -> f64| {
            let of = |station: Option<&Station>| station.map_or(f64::NAN, ratio);
            of(stations.last()) / of(stations.first())
        };
        let end_against_start = compared(|station| station.ratio);
        let end_against_start_in_rounds = compared(|station| station.ratios.median);
        let problem = after.check(&before, answered, plan.grants).err().map(|failure| failure.to_string());
        let (at, machine) = (clock::date(), Machine::here());
        Self {
            at,
            machine,
            plan,
            stations,
            end_against_start,
            end_against_start_in_rounds,
            answered,
            before,
            after,
            problem,
        }
    }

    pub fn is_good(&self) -> bool {
        self.problem.is_none()
    }

    pub fn markdown(&self) -> String {
        let header =
            ["station", "refreshed before", "grown, per second", "fresh", "ratio", "in rounds", "range"];
        let rows: Vec<_> = self.stations.iter().map(Station::row).collect();
        let Plan { grants, rounds, sample, warmup, connections, .. } = self.plan;
        let Machine { cores, os, arch, commit } = &self.machine;
        let mut out = format!(
            "{}\nThe ratio at the end is {:.3} of the ratio at the start, {:.3} by the medians of the rounds' ratios.\n\n{}\n\
             {}, commit {}, {cores} cores ({os}, {arch}), servers, generator and disk on one machine; {grants} grants, \
             {rounds} rounds a station of {} refreshes after {} to warm up, {connections} connections, closed loop. \
             {} refreshes answered; the database has {} MB.\n",
            markdown(&header, &rows),
            self.end_against_start,
            self.end_against_start_in_rounds,
            self.tables(),
            self.at,
            commit.as_deref().unwrap_or("unknown"),
            thousands(sample as f64),
            thousands(warmup as f64),
            thousands(self.answered as f64),
            self.after.bytes / 1_000_000,
        );
        if let Some(problem) = &self.problem {
            out += &format!("FAILED: {problem}\n");
        }
        out
    }

    fn tables(&self) -> String {
        let row = |(table, after): (&String, &u64)| {
            let before = self.before.of(table);
            let added = *after as f64 - before as f64;
            vec![table.clone(), thousands(before as f64), thousands(*after as f64), thousands(added)]
        };
        let mut rows: Vec<_> = self.after.rows.iter().map(row).collect();
        let [before, after] = [self.before.bytes, self.after.bytes].map(|bytes| bytes as f64 / 1_000.0);
        rows.push(vec![
            "kB of the files".into(),
            thousands(before),
            thousands(after),
            thousands(after - before),
        ]);
        markdown(&["rows of", "before", "after", "more"], &rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(after: u64, grown_per_second: f64, fresh_per_second: f64) -> Round {
        Round { after, grown_per_second, fresh_per_second }
    }

    #[test]
    fn the_end_is_compared_with_the_start_by_way_of_the_fresh_server() {
        let start = Station::new("start", vec![round(0, 90.0, 100.0), round(10, 99.0, 110.0)]).unwrap();
        // The machine has become half as fast, the grown server another tenth slower.
        let end = Station::new("end", vec![round(90, 40.5, 50.0)]).unwrap();
        assert_eq!(start.row(), ["start", "0", "94", "105", "0.900", "0.900", "0.90 - 0.90"]);
        let account = || Account { rows: [("grants".into(), 1)].into(), bytes: 5_000_000 };
        let plan = Plan::for_test(1);
        let growth = Growth::new(plan, vec![start, end], 0, account(), account());
        assert!((growth.end_against_start - 0.9).abs() < 1e-9);
        assert!((growth.end_against_start_in_rounds - 0.9).abs() < 1e-9);
        assert!(growth.is_good() && growth.markdown().contains("is 0.900 of"), "{}", growth.markdown());
    }

    #[test]
    fn a_store_that_grows_by_more_than_tokens_fails_the_run() {
        let account =
            |slots| Account { rows: [("grants".into(), 1), ("slots".into(), slots)].into(), bytes: 0 };
        let growth = Growth::new(Plan::for_test(1), Vec::new(), 0, account(0), account(100));
        assert!(!growth.is_good() && growth.markdown().contains("FAILED: slots has grown"));
    }
}
