//! What does it cost that expired tokens leave PostgreSQL, and who feels it?
//!
//! In each round, for each of the two ways:
//! 1. Let a million expired tokens go with nothing else going on: how long, how many bytes of write-ahead log?
//! 2. Issue for a while at a fixed rate, let another million go, and go on issuing until they are gone; count the new
//!    rows.

mod figures;
mod removal;
mod windows;

use std::{cell::Cell, process::ExitCode, time::Duration};

use clap::{Args, value_parser};

use crate::{
    baseline_postgres::first_id_at,
    child::{STOP_WITHIN, unless_told_to_stop},
    clock,
    failure::Failure,
    filling::{Filling, begin_of_partition},
    grantry::{self, Grantry, Setup},
    options::{self, Stand},
    postgres::{Postgres, Session},
    progress, report,
    rows::Rows,
    scenario::Scenario,
};
use figures::{Cleanup, Figure};
use removal::Way;
use windows::Issuing;

#[derive(Args)]
#[command(after_long_help = HOW)]
pub struct CleanupArgs {
    #[command(flatten)]
    stand: Stand,
    /// How many expired tokens go each time
    #[arg(long, value_name = "N", default_value = "1000000", value_parser = value_parser!(u64).range(10_000..=100_000_000))]
    tokens: u64,
    /// How often everything is measured, one after the other
    #[arg(long, default_value = "3", value_parser = value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Tokens issued meanwhile, a second
    #[arg(long, default_value = "1000", value_parser = options::rate)]
    rate: f64,
    /// Connections
    #[arg(long, default_value = "64", value_parser = options::connections)]
    connections: usize,
}

const HOW: &str = "The tokens were issued, as their ids say, over a day that ended a day ago, and lived
for an hour. As partitions of the server's own table they go at its next sweep,
which it makes by itself; beside it the same rows lie in a table without partitions,
and go by DELETE, a range of the primary key at a time, and VACUUM.

  cargo build --release --workspace
  target/release/grantry-bench cleanup --out cleanup.json";

/// Of an hour each.
const PARTITIONS: u32 = 24;
const LIFETIME: Duration = Duration::from_secs(3600);
/// When the first was issued. The last was 26 hours ago then, longer than the server's retention time.
const AGO: Duration = Duration::from_secs(50 * 3600);
/// Seconds of issuing before anything goes.
const WITHOUT: u32 = 8;

pub async fn run(args: &CleanupArgs) -> Result<ExitCode, Failure> {
    unless_told_to_stop(measure(args)).await
}

async fn measure(args: &CleanupArgs) -> Result<ExitCode, Failure> {
    let program = grantry::program(args.stand.server_bin.as_deref())?;
    let directory = grantry::temporary_directory(&args.stand.work_dir)?;
    let postgres = Postgres::start(&args.stand.work_dir).await?;
    let session = postgres.create_database("cleanup").await?;
    let setup = Setup::postgres(postgres.url("cleanup"));
    let server = Grantry::start(&program, directory.path(), &setup).await?;
    let issuing = Issuing { endpoints: server.endpoints()?, connections: args.connections, rate: args.rate };
    let bar = progress::bar(2 * u64::from(args.rounds), args.stand.quiet, "{bar:40} {pos}/{len} {msg}");
    let mut figures = Vec::new();
    for round in 0..args.rounds {
        let mut ways = [Way::Drop, Way::Delete];
        if round % 2 == 1 {
            ways.reverse();
        }
        for way in ways {
            bar.set_message(format!("round {}, {way:?}", round + 1));
            figures.push(figure(way, &postgres, &session, &issuing, args.tokens).await?);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let cleanup = Cleanup::new(postgres.description(), args.tokens, args.rate, figures);
    server.stop(STOP_WITHIN)?;
    postgres.stop()?;
    report::print(&cleanup.markdown())?;
    if let Some(path) = &args.stand.out {
        report::write_json("--out", path, &cleanup)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn figure(
    way: Way,
    postgres: &Postgres,
    session: &Session,
    issuing: &Issuing,
    tokens: u64,
) -> Result<Figure, Failure> {
    let filling = filling(tokens);
    way.prepare(session, &filling).await?;
    postgres.checkpoint().await?;
    let calm = way.remove(session, &filling).await?;

    let filling = self::filling(tokens);
    way.prepare(session, &filling).await?;
    postgres.checkpoint().await?;
    let new_tokens = format!("tokens WHERE id >= '{}'", first_id_at(filling.until()));
    let before = session.count(&new_tokens).await?;
    let mut windows = issuing.windows(WITHOUT).await?;
    let done = Cell::new(false);
    let removing = async {
        let removed = way.remove(session, &filling).await;
        done.set(true);
        removed
    };
    let (loaded, more) = tokio::join!(removing, issuing.windows_until(&done));
    windows.extend(more?);
    let loaded = loaded?;
    let answered = windows.iter().map(|window| window.answered).sum();
    Rows { before, after: session.count(&new_tokens).await?, answered, lost: 0 }.check(Scenario::Issue)?;
    Figure::new(way, &calm, &loaded, &windows)
        .ok_or_else(|| Failure::new("nothing was issued while the tokens went; give a higher --rate"))
}

fn filling(tokens: u64) -> Filling {
    let from = begin_of_partition(clock::since_epoch().saturating_sub(AGO));
    Filling { tokens, from, partitions: PARTITIONS, lifetime: LIFETIME }
}
