//! What do the caches gain, and what do they and the revocation log cost? On PostgreSQL, in three parts:
//!
//! 1. `introspection`: the same requests, answered by the baseline server, from the near cache, from the data space and
//!    from PostgreSQL.
//! 2. `zipf`: the tokens of many subscribers, some asked for far more often than others, with near caches of several
//!    capacities.
//! 3. `issuing`: with the log and the caches, and without, by what a client gets that asks again.

mod capacities;
mod figures;
mod introspection;
mod issuing;
mod policies;
mod subscribers;
mod zipf;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, ValueEnum, value_parser};
use indicatif::ProgressBar;

use crate::{
    child::unless_told_to_stop,
    failure::Failure,
    grantry::{self, Grantry, Setup},
    load::Load,
    options::{Stand, Timing},
    postgres::{Postgres, Session},
    progress, report,
};
use figures::Caches;

#[derive(Args)]
#[command(after_long_help = HOW)]
pub struct CachesArgs {
    #[command(flatten)]
    stand: Stand,
    #[command(flatten)]
    timing: Timing,
    /// Only these parts [default: all]
    #[arg(long, value_name = "PART,...", value_delimiter = ',', value_enum)]
    only: Option<Vec<Part>>,
    /// introspection: how many tokens the server issues beforehand, to be introspected in turn
    #[arg(long, value_name = "N", default_value = "1000", value_parser = value_parser!(u64).range(100..=50_000))]
    pool: u64,
    /// zipf: how many tokens there are, each in a slot of its own; the server issues them beforehand
    #[arg(long, value_name = "N", default_value = "1400000", value_parser = value_parser!(u64).range(1_000..=20_000_000))]
    tokens: u64,
    /// zipf: how many copies the near cache holds at most, a server for each number
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1024,100000,1000000",
          value_parser = value_parser!(u64).range(1..=100_000_000))]
    capacities: Vec<u64>,
    /// zipf: which copy makes room for a new one, a server for each capacity and policy: lru, lfu, s3fifo
    #[arg(long, value_name = "POLICY,...", value_delimiter = ',', default_value = "lru",
          value_parser = ["lru", "lfu", "s3fifo"])]
    eviction_policies: Vec<String>,
    /// zipf: the token that is the n-th most popular is asked for in proportion to n^-EXPONENT
    #[arg(long, default_value = "1.0", value_parser = zipf::exponent)]
    exponent: f64,
    /// zipf: how many requests for each copy of its capacity a server answers before anything is measured, so that its
    /// cache holds what it will go on holding
    #[arg(long, value_name = "N", default_value = "10", value_parser = value_parser!(u64).range(0..=1_000))]
    settle: u64,
    /// issuing: how many slots are asked for in turn with `multiple` and `replace`
    #[arg(long, value_name = "N", default_value = "1000", value_parser = value_parser!(u64).range(100..=1_000_000))]
    slots: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Introspection, by where the answer comes from
    Introspection,
    /// Near caches of several capacities, asked for tokens by a Zipf distribution
    Zipf,
    /// Issuing with the log and the caches, and without
    Issuing,
}

const HOW: &str = "introspection  A pool of tokens is introspected in turn. The servers differ in where
               the answer comes from: the baseline server (a fixed answer), the
               near cache, the data space (a near cache of one copy, so that
               each look-up goes to a Redis that this program starts), or
               PostgreSQL (cache.enabled = false: the client is read, too).
               Each server's metrics must agree, for 99 of 100 answers.
zipf           The server issues all tokens; the default number needs about
               4 GB on the disk, with the write-ahead log. Then a server for each capacity
               starts on that database, fills its cache with the newest tokens
               as any start does, and is asked as often as --settle says.
               Which token is popular has nothing to do with its age. The best
               possible hit ratio is that of a cache which always holds the
               most popular tokens. Memory is what the process has in use:
               when it is ready (loading may have begun), when the cache is
               loaded, and after the last round.
issuing        A server with the defaults, and one with cache.enabled = false
               and coherence = \"none\". With `reuse` all ask for one slot, and
               get the same token again; with `multiple` and `replace` they ask
               for --slots slots in turn, and get a new token each time.
               Each round counts the rows.

All in a closed loop, with databases on a PostgreSQL server that this program
starts, one for each part. Rounds go through the servers in another order each
time; ratios are taken within a round, and medians over the rounds.

  cargo build --release --workspace
  target/release/grantry-bench caches --out caches.json
  target/release/grantry-bench caches --only zipf --tokens 100000 \\
      --capacities 1024,10000 --rounds 3";

/// What the parts have in common.
struct Plan {
    program: PathBuf,
    work_dir: PathBuf,
    rounds: u32,
    load: Load,
    quiet: bool,
}

impl Plan {
    fn of(args: &CachesArgs) -> Result<Self, Failure> {
        Ok(Self {
            program: grantry::program(args.stand.server_bin.as_deref())?,
            work_dir: args.stand.work_dir.clone(),
            rounds: args.timing.rounds,
            load: args.timing.load(),
            quiet: args.stand.quiet,
        })
    }

    fn bar(&self, steps: u64) -> ProgressBar {
        progress::bar(steps, self.quiet, "{bar:40} {pos}/{len} {msg}")
    }

    async fn ground(&self) -> Result<Ground, Failure> {
        let directory = grantry::temporary_directory(&self.work_dir)?;
        let postgres = Postgres::start(&self.work_dir).await?;
        Ok(Ground { directory, postgres })
    }
}

/// Where the servers of one part are. Should anything fail, PostgreSQL goes with it, after them.
struct Ground {
    directory: tempfile::TempDir,
    postgres: Postgres,
}

impl Ground {
    /// A server with a database of its own.
    async fn server(
        &self,
        plan: &Plan,
        name: &str,
        settings: &[(&str, &str)],
    ) -> Result<(Grantry, Session), Failure> {
        let session = self.postgres.create_database(name).await?;
        let setup = Setup::postgres(self.postgres.url(name)).with(settings);
        let server = Grantry::start(&plan.program, &self.own_directory(name)?, &setup).await?;
        Ok((server, session))
    }

    fn own_directory(&self, name: &str) -> Result<PathBuf, Failure> {
        let own = self.directory.path().join(name);
        let made = std::fs::create_dir(&own);
        made.map_err(|error| Failure::new(format!("{} cannot be made: {error}", own.display())))?;
        Ok(own)
    }
}

pub async fn run(args: &CachesArgs) -> Result<ExitCode, Failure> {
    unless_told_to_stop(measure(args)).await
}

async fn measure(args: &CachesArgs) -> Result<ExitCode, Failure> {
    let plan = Plan::of(args)?;
    let wants = |part| args.only.as_ref().is_none_or(|only| only.contains(&part));
    let mut caches = Caches::new(args.timing.rounds, args.timing.seconds, args.timing.connections);
    if wants(Part::Introspection) {
        caches.introspection = Some(introspection::measure(&plan, args.pool).await?);
    }
    if wants(Part::Zipf) {
        let asked = capacities::Asked {
            tokens: args.tokens,
            capacities: &args.capacities,
            eviction_policies: &args.eviction_policies,
            exponent: args.exponent,
            settle: args.settle,
        };
        caches.zipf = Some(capacities::measure(&plan, &asked).await?);
    }
    if wants(Part::Issuing) {
        caches.issuing = Some(issuing::measure(&plan, args.slots).await?);
    }
    report::print(&caches.markdown())?;
    if let Some(path) = &args.stand.out {
        report::write_json("--out", path, &caches)?;
    }
    Ok(ExitCode::SUCCESS)
}
