//! One run that compares a real server with what it is built on, in alternating rounds.

mod figures;
mod rounds;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;

use crate::{
    baseline,
    child::{STOP_WITHIN, unless_told_to_stop},
    failure::Failure,
    grantry::{self, Grantry, Setup},
    options::{Stand, Timing},
    report,
};
use figures::Comparison;
use rounds::{Databases, Rounds};

#[derive(Args)]
#[command(after_long_help = HOW)]
pub struct CompareArgs {
    #[command(flatten)]
    stand: Stand,
    #[command(flatten)]
    timing: Timing,
    /// Also put the table into this file, between its marks
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "docs/benchmarks.md")]
    markdown: Option<PathBuf>,
}

const HOW: &str = "Each round measures, one right after the other: issuing and refreshing on the
server and the raw grouped insert of such rows; refreshing and issuing on the
server; reusing, introspecting and the mix on the server and the same requests to
the baseline server. The ratio of each pair is taken within its round, because a
machine's own speed changes by the hour; the table shows the median of the ratios
and their range. Every other round measures each pair the other way round.

  cargo build --release --workspace
  target/release/grantry-bench compare --markdown --out benchmarks.json";

pub async fn run(args: &CompareArgs) -> Result<ExitCode, Failure> {
    unless_told_to_stop(compare(args)).await
}

async fn compare(args: &CompareArgs) -> Result<ExitCode, Failure> {
    // Found before the long part, not after it.
    args.markdown.as_deref().map(figures::check_marks).transpose()?;
    let server_bin = grantry::program(args.stand.server_bin.as_deref())?;
    let directory = grantry::temporary_directory(&args.stand.work_dir)?;
    let databases = Databases::prepare(&server_bin, directory.path())?;
    let server =
        Grantry::start(&server_bin, directory.path(), &Setup::sqlite(&databases.of_the_server)).await?;
    let (baseline, baseline_url) = baseline::start(&["baseline"])?;
    let rounds = Rounds::new(args, &server, &baseline_url, databases)?;
    let subjects = rounds.measure().await?;
    baseline.stop(STOP_WITHIN)?;
    server.stop(STOP_WITHIN)?;
    let comparison =
        Comparison::new(args.timing.rounds, args.timing.seconds, args.timing.connections, subjects)?;
    report::print(&comparison.markdown())?;
    if let Some(path) = &args.stand.out {
        report::write_json("--out", path, &comparison)?;
    }
    if let Some(path) = &args.markdown {
        figures::put_into(path, &comparison.markdown())?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Databases {
    /// The one for the raw insert gets the server's tables and nothing else.
    fn prepare(program: &Path, directory: &Path) -> Result<Self, Failure> {
        let raw = grantry::temporary_directory(directory)?;
        let of_the_raw_insert = directory.join("raw.db");
        grantry::migrate(program, raw.path(), &Setup::sqlite(&of_the_raw_insert))?;
        Ok(Self { of_the_server: directory.join("grantry.db"), of_the_raw_insert })
    }
}
