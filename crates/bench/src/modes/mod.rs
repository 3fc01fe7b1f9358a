//! What do the modes of token persistence cost on PostgreSQL, and what does grouping commits gain?
//!
//! 1. Start PostgreSQL, and before it each server under test with a database of its own.
//! 2. See what each condition does to a single commit.
//! 3. In each round, under each condition, with each number of callers: issue on every server, one after the other,
//!    and count the rows.

mod conditions;
mod contenders;
mod field;
mod figures;
mod rounds;

use std::{process::ExitCode, time::Duration};

use clap::{Args, value_parser};

use crate::{
    child::unless_told_to_stop,
    failure::Failure,
    grantry,
    options::{self, Stand},
    report,
};
use conditions::{CONDITIONS, Condition};
use contenders::{CONTENDERS, Contender};
use field::Field;
use figures::{Measured, Modes};
use rounds::Plan;

#[derive(Args)]
#[command(after_long_help = HOW)]
pub struct ModesArgs {
    #[command(flatten)]
    stand: Stand,
    /// How often everything is measured, one after the other [default: 5]
    #[arg(long, value_parser = value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// How long each measurement takes, in seconds [default: 1]
    #[arg(long, value_parser = options::seconds)]
    seconds: Option<Duration>,
    /// How long to load before each measurement, in seconds
    #[arg(long, default_value = "0.3", value_parser = options::seconds_or_none)]
    warmup: Duration,
    /// With how many callers at once, one number after the other [default: 1,10,50,200,500]
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = options::connections)]
    callers: Option<Vec<usize>>,
    /// Under which conditions: as-is, far, flush-1, flush-4 [default: all]
    #[arg(long, value_name = "KEY,...", value_delimiter = ',', value_parser = conditions::by_key)]
    conditions: Option<Vec<&'static Condition>>,
    /// Only these servers: sync, async-fsync, async-os, single, baseline-grouped, baseline-single [default: all]
    #[arg(long, value_name = "KEY,...", value_delimiter = ',', value_parser = contenders::by_key)]
    only: Option<Vec<&'static Contender>>,
    /// A look in two minutes: one round of half a second, 10 and 200 callers, where nothing else is said
    #[arg(long)]
    quick: bool,
    /// Leave PostgreSQL running at the end, with its databases, and print how to end it
    #[arg(long)]
    keep: bool,
}

const HOW: &str = "Servers under test, each with a database of its own on one PostgreSQL server that
this program starts on loopback:
  sync              an answer means: committed; commits are grouped
  async-fsync       an answer means: in the journal, flushed; two writers drain it
  async-os          an answer means: in the journal, handed to the kernel
  single            as sync, but a commit for each token, on 8 connections, the
                    most that it takes
  baseline-grouped  no authorization server: the same HTTP stack writes the same
                    rows, grouped by two writers into one statement each
  baseline-single   the same with a commit for each token, on 50 connections

Conditions:
  as-is             loopback, and the disk as it is
  far               each round trip to PostgreSQL takes 1 ms longer (a proxy, whose
                    own work is on the same cores)
  flush-1, flush-4  each flush of PostgreSQL takes 1 or 4 ms longer (a library
                    that it loads; needs a C compiler); that of a journal does not

After each measurement the rows of tokens are counted: as many must have come as
tokens were answered. Where rows are written after the answer, they are counted
when the queue is empty. Ratios are taken within each round.

  cargo build --release --workspace
  target/release/grantry-bench modes --out modes.json";

pub async fn run(args: &ModesArgs) -> Result<ExitCode, Failure> {
    unless_told_to_stop(compare(args)).await
}

async fn compare(args: &ModesArgs) -> Result<ExitCode, Failure> {
    let plan = args.plan();
    let contenders = args.only.clone().unwrap_or_else(|| CONTENDERS.iter().collect());
    let directory = grantry::temporary_directory(&args.stand.work_dir)?;
    let server_bin = args.stand.server_bin.as_deref();
    let mut field =
        Field::start(server_bin, &args.stand.work_dir, directory.path(), &contenders, &plan.conditions)
            .await?;
    let mut conditions = Vec::new();
    for condition in &plan.conditions {
        conditions.push(Measured::new(condition, field.time_of_a_commit(condition).await?));
    }
    let cells = rounds::measure(&mut field, &plan, &contenders, args.stand.quiet).await?;
    let modes = Modes::new(field.description(), &plan, contenders, conditions, cells);
    let postgres = field.stop()?;
    report::print(&modes.markdown())?;
    if let Some(path) = &args.stand.out {
        report::write_json("--out", path, &modes)?;
    }
    if args.keep {
        report::print(&postgres.keep())?;
    } else {
        postgres.stop()?;
    }
    Ok(ExitCode::SUCCESS)
}

impl ModesArgs {
    fn plan(&self) -> Plan {
        let (rounds, seconds, callers) = if self.quick {
            (1, Duration::from_millis(500), vec![10, 200])
        } else {
            (5, Duration::from_secs(1), vec![1, 10, 50, 200, 500])
        };
        Plan {
            rounds: self.rounds.unwrap_or(rounds),
            seconds: self.seconds.unwrap_or(seconds),
            warmup: self.warmup,
            callers: self.callers.clone().unwrap_or(callers),
            conditions: self.conditions.clone().unwrap_or_else(|| CONDITIONS.iter().collect()),
        }
    }
}
