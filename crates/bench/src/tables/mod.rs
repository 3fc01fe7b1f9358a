//! Do issuing and introspecting become slower with how many tokens PostgreSQL holds?
//!
//! 1. For each size: a database with the server's tables, filled with as many live tokens, and a server on it.
//! 2. In each round: issue on every server, then introspect on every server, one right after the other.

mod figures;

use std::{process::ExitCode, time::Duration};

use clap::{Args, value_parser};
use indicatif::ProgressBar;

use crate::{
    baseline_postgres::first_id_at,
    child::{STOP_WITHIN, unless_told_to_stop},
    clock,
    failure::Failure,
    filling::{self, Filling, begin_of_partition},
    grantry::{self, Grantry, Setup},
    load::{self, Load},
    options::{Stand, Timing},
    postgres::{Postgres, Session},
    progress,
    report::{self, Report},
    rows::Rows,
    scenario::{Scenario, Spec},
    supply::Supply,
};
use figures::{Figure, Size, Tables};

#[derive(Args)]
#[command(after_long_help = HOW)]
pub struct TablesArgs {
    #[command(flatten)]
    stand: Stand,
    #[command(flatten)]
    timing: Timing,
    /// How many tokens are there already, a database for each number; ratios are to the first
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "10000,1000000,10000000",
          value_parser = value_parser!(u64).range(1_000..=100_000_000))]
    sizes: Vec<u64>,
    /// How many tokens the server issues beforehand, to be introspected in turn
    #[arg(long, value_name = "N", default_value = "10000", value_parser = value_parser!(u64).range(1..=1_000_000))]
    pool: u64,
}

const HOW: &str = "The tokens that are there already were issued, as their ids say, in the last 22
hours, live for 24, and hold a slot each. They are made by SQL, in partitions of an hour, before the
server starts; the tokens that are introspected are issued by the server itself.
Ten million of them need about 20 GB on the disk, with the write-ahead log.
Each issuing round counts the rows that came: as many as tokens were answered.

  cargo build --release --workspace
  target/release/grantry-bench tables --out tables.json";

const SCENARIOS: [Scenario; 2] = [Scenario::Issue, Scenario::Introspect];
/// Of an hour each, the last of which ends before the server's own begin. They and their tokens stay for the run: with
/// a retention time of a day nothing of them may go yet.
const PARTITIONS: u32 = 22;
const LIFETIME: Duration = Duration::from_secs(24 * 3600);

pub async fn run(args: &TablesArgs) -> Result<ExitCode, Failure> {
    unless_told_to_stop(measure(args)).await
}

async fn measure(args: &TablesArgs) -> Result<ExitCode, Failure> {
    let directory = grantry::temporary_directory(&args.stand.work_dir)?;
    let postgres = Postgres::start(&args.stand.work_dir).await?;
    let steps = args.sizes.len() as u64 * (1 + 2 * u64::from(args.timing.rounds));
    let bar = progress::bar(steps, args.stand.quiet, "{bar:40} {pos}/{len} {msg}");
    let mut lanes = Vec::new();
    for size in &args.sizes {
        bar.set_message(format!("making {size} tokens"));
        lanes.push(Lane::start(args, &postgres, directory.path(), *size).await?);
        bar.inc(1);
    }
    for round in 0..args.timing.rounds {
        postgres.checkpoint().await?;
        for scenario in SCENARIOS {
            round_of(&mut lanes, scenario, round, &bar).await?;
        }
    }
    bar.finish_and_clear();
    let sizes = lanes.iter().map(Lane::size).collect();
    let tables = Tables::new(
        postgres.description(),
        args.timing.rounds,
        args.timing.seconds,
        args.timing.connections,
        sizes,
    );
    for lane in lanes {
        lane.server.stop(STOP_WITHIN)?;
    }
    postgres.stop()?;
    report::print(&tables.markdown())?;
    if let Some(path) = &args.stand.out {
        report::write_json("--out", path, &tables)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Every other round begins with the largest.
async fn round_of(
    lanes: &mut [Lane],
    scenario: Scenario,
    round: u32,
    bar: &ProgressBar,
) -> Result<(), Failure> {
    let mut order: Vec<_> = lanes.iter_mut().collect();
    if round % 2 == 1 {
        order.reverse();
    }
    for lane in order {
        bar.set_message(format!("round {}, {}, {} tokens", round + 1, scenario.name(), lane.tokens));
        lane.measure(scenario).await?;
        bar.inc(1);
    }
    Ok(())
}

/// A server on a database of a size.
struct Lane {
    tokens: u64,
    server: Grantry,
    session: Session,
    /// Counts only what came after the filling.
    new_tokens: String,
    bytes: u64,
    load: Load,
    pool: u64,
    introspected: Option<Supply>,
    issue: Vec<Figure>,
    introspect: Vec<Figure>,
}

impl Lane {
    async fn start(
        args: &TablesArgs,
        postgres: &Postgres,
        directory: &std::path::Path,
        tokens: u64,
    ) -> Result<Self, Failure> {
        let program = grantry::program(args.stand.server_bin.as_deref())?;
        let name = format!("tokens_{tokens}");
        let own = directory.join(&name);
        std::fs::create_dir(&own)
            .map_err(|error| Failure::new(format!("{} cannot be made: {error}", own.display())))?;
        let session = postgres.create_database(&name).await?;
        let setup = Setup::postgres(postgres.url(&name));
        grantry::migrate(&program, &own, &setup)?;
        let until = begin_of_partition(clock::since_epoch());
        let from = until - filling::WIDTH * PARTITIONS;
        let filling = Filling { tokens, from, partitions: PARTITIONS, lifetime: LIFETIME };
        filling::make(&session, &filling).await?;
        filling::attach(&session, &filling).await?;
        filling::hold_slots(&session, first_id_at(until)).await?;
        let bytes = session.number("SELECT pg_database_size(current_database())").await?.unsigned_abs();
        let server = Grantry::start(&program, &own, &setup).await?;
        let load = args.timing.load();
        let new_tokens = format!("tokens WHERE id >= '{}'", first_id_at(until));
        let (issue, introspect) = (Vec::new(), Vec::new());
        let mut lane = Self {
            tokens,
            server,
            session,
            new_tokens,
            bytes,
            load,
            pool: args.pool,
            introspected: None,
            issue,
            introspect,
        };
        lane.introspected = Some(Supply::obtain(&lane.spec(Scenario::Introspect)?).await?);
        Ok(lane)
    }

    fn spec(&self, scenario: Scenario) -> Result<Spec, Failure> {
        Ok(grantry::own_slots(scenario, self.server.endpoints()?, self.pool, self.load.clone()))
    }

    /// With the rows checked.
    async fn measure(&mut self, scenario: Scenario) -> Result<(), Failure> {
        let spec = self.spec(scenario)?;
        let before = self.session.count(&self.new_tokens).await?;
        let measured = match (&self.introspected, scenario) {
            (Some(supply), Scenario::Introspect) => load::measure(&spec, supply).await?,
            _ => load::measure(&spec, &Supply::obtain(&spec).await?).await?,
        };
        let after = self.session.count(&self.new_tokens).await?;
        let (answered, lost) = (measured.tally.tokens, measured.tally.lost);
        let rows = (scenario == Scenario::Issue).then_some(Rows { before, after, answered, lost });
        let Report { per_second, latency_us, .. } = Report::new(&spec, &measured, rows)?.into_usable()?;
        let figure = Figure { per_second, latency_us, rows };
        match scenario {
            Scenario::Issue => self.issue.push(figure),
            _ => self.introspect.push(figure),
        }
        Ok(())
    }

    fn size(&self) -> Size {
        let (issue, introspect) = (self.issue.clone(), self.introspect.clone());
        Size { tokens: self.tokens, bytes: self.bytes, issue, introspect }
    }
}
