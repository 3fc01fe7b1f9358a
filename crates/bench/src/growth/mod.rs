//! Does refreshing become slower, or the store larger than by its tokens, with how often it has been done?
//!
//! 1. Start the server that will grow, obtain its grants, and count the rows of every table.
//! 2. Measure rounds at three stations: at the start, half-way and at the end. A round starts another server, warms
//!    both, and measures one right after the other, slice by slice.
//! 3. Refresh the growing server at full speed from one station to the next.
//! 4. Count the rows again.

mod account;
mod figures;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, value_parser};
use indicatif::ProgressBar;
use serde::Serialize;

use crate::{
    child::{STOP_WITHIN, unless_told_to_stop},
    failure::Failure,
    form::Form,
    grantry::{self, Grantry, REFRESH_CLIENT, Setup},
    load::{self, Load},
    options::{self, Stand},
    progress,
    report::{self, Report},
    scenario::{Scenario, Spec},
    supply::Supply,
};
use account::Account;
use figures::{Growth, Round, Station};

#[derive(Args)]
#[command(after_long_help = HOW)]
pub struct GrowthArgs {
    #[command(flatten)]
    stand: Stand,
    #[command(flatten)]
    plan: Plan,
}

/// How much is refreshed, and when it is measured.
#[derive(Debug, Clone, Copy, Args, Serialize)]
struct Plan {
    /// How many grants are refreshed in turn
    #[arg(long, value_name = "N", default_value = "1000", value_parser = value_parser!(u64).range(1..=1_000_000))]
    grants: u64,
    /// How often the growing server is refreshed in all
    #[arg(long, value_name = "N", default_value = "1000000", value_parser = value_parser!(u64).range(1..=1_000_000_000))]
    refreshes: u64,
    /// Rounds at each of the three stations
    #[arg(long, default_value = "7", value_parser = value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How many refreshes are measured in a round, on either server
    #[arg(long, value_name = "N", default_value = "20000", value_parser = value_parser!(u64).range(100..=10_000_000))]
    sample: u64,
    /// How many refreshes warm either server before they are measured
    #[arg(long, value_name = "N", default_value = "2000", value_parser = value_parser!(u64).range(1..=10_000_000))]
    warmup: u64,
    /// Connections; each has grants of its own
    #[arg(long, default_value = "64", value_parser = options::connections)]
    connections: usize,
}

const HOW: &str = "Each round starts another server with as many grants, refreshes both servers to
warm them, and then measures them in turn, a quarter of the sample at a time,
every other time the other way round. What counts is the ratio of the grown
server to the fresh one, at the end against at the start: a machine whose speed
changes meanwhile changes both sides of each ratio.

The exit code is 0 only if every refresh was answered with both tokens, the rows
of tokens grew by exactly the answers, there are as many rows of grants as
grants, and no other table grew with the refreshes. Access tokens must live for
longer than the run, or the rows of expired ones go meanwhile.

  cargo build --release --workspace
  target/release/grantry-bench growth --out growth.json";

/// A sample is measured in so many parts, in turn on either server, so that a moment in which the machine does something
/// else is felt by both, and so are the checkpoints of a database.
const SLICES: u64 = 4;
/// Between two movements of the progress bar.
const STEP: u64 = 20_000;
/// More than enough for any number of refreshes that is measured at once.
const AT_MOST: Duration = Duration::from_secs(3600);

pub async fn run(args: &GrowthArgs) -> Result<ExitCode, Failure> {
    unless_told_to_stop(grow(args)).await
}

async fn grow(args: &GrowthArgs) -> Result<ExitCode, Failure> {
    let stations = args.plan.stations()?;
    let program = grantry::program(args.stand.server_bin.as_deref())?;
    let directory = grantry::temporary_directory(&args.stand.work_dir)?;
    let bar = progress::bar(args.plan.refreshes, args.stand.quiet, "{bar:40} {percent:>3} % {msg}");
    let mut grown = Served::start(&program, directory.path(), &args.plan).await?;
    let before = Account::take(&grown.database)?;
    let mut measured = Vec::new();
    for (name, begin) in stations {
        bar.set_message(format!("to the {name}"));
        grown.refresh_up_to(begin, &bar).await?;
        let mut rounds = Vec::new();
        for number in 0..args.plan.rounds {
            bar.set_message(format!("at the {name}, round {}", number + 1));
            let fresh_first = number % 2 == 1;
            rounds.push(round(&program, directory.path(), &args.plan, &mut grown, fresh_first).await?);
            bar.set_position(grown.refreshed);
        }
        measured.push(Station::new(name, rounds)?);
    }
    bar.finish_and_clear();
    let after = Account::take(&grown.database)?;
    let growth = Growth::new(args.plan, measured, grown.refreshed, before, after);
    grown.server.stop(STOP_WITHIN)?;
    report::print(&growth.markdown())?;
    if let Some(path) = &args.stand.out {
        report::write_json("--out", path, &growth)?;
    }
    Ok(if growth.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn round(
    program: &Path,
    directory: &Path,
    plan: &Plan,
    grown: &mut Served,
    fresh_first: bool,
) -> Result<Round, Failure> {
    let own = grantry::temporary_directory(directory)?;
    let mut fresh = Served::start(program, own.path(), plan).await?;
    let after = grown.refreshed;
    grown.refresh(plan.warmup).await?;
    fresh.refresh(plan.warmup).await?;
    let (mut grown_took, mut fresh_took) = (Duration::ZERO, Duration::ZERO);
    for (index, slice) in plan.slices().into_iter().enumerate() {
        if (index % 2 == 1) != fresh_first {
            fresh_took += fresh.refresh(slice).await?;
            grown_took += grown.refresh(slice).await?;
        } else {
            grown_took += grown.refresh(slice).await?;
            fresh_took += fresh.refresh(slice).await?;
        }
    }
    fresh.server.stop(STOP_WITHIN)?;
    let rate = |took: Duration| plan.sample as f64 / took.as_secs_f64();
    Ok(Round { after, grown_per_second: rate(grown_took), fresh_per_second: rate(fresh_took) })
}

impl Plan {
    /// After how many refreshes each station begins. The last ends with the last refresh.
    ///
    /// # Errors
    /// The stations overlap.
    fn stations(&self) -> Result<[(&'static str, u64); 3], Failure> {
        let span = u64::from(self.rounds) * (self.warmup + self.sample);
        let Some(rest) = self.refreshes.checked_sub(3 * span) else {
            return Err(Failure::new(format!(
                "--refreshes {} are too few for three stations of {span}; give {} or more, or a smaller --rounds or \
                 --sample",
                self.refreshes,
                3 * span
            )));
        };
        Ok([("start", 0), ("middle", span + rest / 2), ("end", 2 * span + rest)])
    }

    /// The sample in parts as even as they can be.
    fn slices(&self) -> [u64; SLICES as usize] {
        let mut slices = [self.sample / SLICES; SLICES as usize];
        slices[0] += self.sample % SLICES;
        slices
    }

    #[cfg(test)]
    fn for_test(grants: u64) -> Self {
        Self { grants, refreshes: 1_000, rounds: 2, sample: 90, warmup: 10, connections: 4 }
    }
}

/// A server with its grants.
struct Served {
    server: Grantry,
    database: PathBuf,
    spec: Spec,
    supply: Supply,
    /// How often it has been refreshed; each was answered with both tokens.
    refreshed: u64,
}

impl Served {
    async fn start(program: &Path, directory: &Path, plan: &Plan) -> Result<Self, Failure> {
        let database = directory.join("grantry.db");
        let server = Grantry::start(program, directory, &Setup::sqlite(&database)).await?;
        let load = Load::closed_loop(plan.connections, Duration::ZERO, AT_MOST);
        let spec = Spec {
            scenario: Scenario::Refresh,
            endpoints: server.endpoints()?,
            credentials: grantry::credentials(REFRESH_CLIENT),
            form: Form::new(),
            pool: 0,
            grants: Some(server.grants(plan.grants)),
            load,
        };
        let supply = Supply::obtain(&spec).await?;
        Ok(Self { server, database, spec, supply, refreshed: 0 })
    }

    /// Returns how long it took.
    ///
    /// # Errors
    /// An answer was wrong, or not all were given.
    async fn refresh(&mut self, count: u64) -> Result<Duration, Failure> {
        self.spec.load.count = Some(count);
        let measured = load::measure(&self.spec, &self.supply).await?;
        Report::new(&self.spec, &measured, None)?.into_usable()?;
        let right = measured.tally.right;
        if right != count {
            return Err(Failure::new(format!("{right} of {count} refreshes were done within {AT_MOST:?}")));
        }
        self.refreshed += right;
        Ok(measured.tally.span())
    }

    async fn refresh_up_to(&mut self, total: u64, bar: &ProgressBar) -> Result<(), Failure> {
        while self.refreshed < total {
            self.refresh(STEP.min(total - self.refreshed)).await?;
            bar.set_position(self.refreshed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stations_are_at_the_start_half_way_and_at_the_end() {
        let mut plan = Plan::for_test(1);
        assert_eq!(plan.stations().unwrap(), [("start", 0), ("middle", 400), ("end", 800)]);
        plan.refreshes = 600;
        assert_eq!(plan.stations().unwrap(), [("start", 0), ("middle", 200), ("end", 400)]);
        assert_eq!(Plan { sample: 103, ..plan }.slices(), [28, 25, 25, 25]);
        plan.refreshes = 599;
        assert!(plan.stations().unwrap_err().to_string().contains("give 600 or more"));
    }
}
